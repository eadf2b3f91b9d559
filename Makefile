# GPT Ladder. `make` alone lists the targets. Three variables, all optional:
#   ARGS         arguments for the command behind a target:  make train ARGS="bigram --steps 500"
#   PYTHON       the Python to use instead of the first fit one on the PATH:  make setup PYTHON=/path/to/python3
#   TORCH_INDEX  the index to take torch (torch alone) from, for another build of it, such as CPU only:
#                make setup TORCH_INDEX=URL, in a fresh clone or after `make clean`

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CANDIDATES := python3.14 python3.13 python3.12 python3.11 python3 python

# The stamp is written last and names this folder. So a .venv is whole if its own Python reads that name in it; one that was
# interrupted, moved, copied or has lost its Python is not, and is made again.
MADE_FOR := $(shell $(BIN)/python -c 'print(open("$(STAMP)").read(), end="")' 2>/dev/null)
ifneq ($(MADE_FOR),$(CURDIR))
.PHONY: $(STAMP)
endif

PIP := $(BIN)/python -m pip install -c constraints.txt
SPREAD := --numprocesses auto --dist worksteal  # the tests side by side, one process for each core
BARS := $(shell [ -t 2 ] || echo --quiet)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup train test quick test-slow check verify wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv and install everything; quick when nothing changed
	@echo 'Ready: $(BIN)/gptladder --help'

train: $(STAMP) ## train the default model and print what it writes; ARGS="bigram" trains a rung
	@$(BIN)/gptladder train $(ARGS)

test: $(STAMP) ## run the tests, about five minutes on two cores
	@$(BIN)/python -m pytest $(SPREAD) $(ARGS)

quick: $(STAMP) ## run the tests of what you changed since the last commit
	@$(BIN)/python -m pytest $(SPREAD) -m 'not slow and not process' $$($(BIN)/python tools/tests_of_changes.py) $(ARGS)

test-slow: $(STAMP) ## run the tests that take longer
	@$(BIN)/python -m pytest $(SPREAD) -m slow $(ARGS)

check: $(STAMP) ## look at format, style and types
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

verify: $(STAMP) ## prove the course: starter, reference, wrong and right versions of every exercise
	@$(BIN)/gptladder course verify

wheel: $(STAMP) ## build the source archive and the wheel into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

clean: ## remove .venv, dist and all caches; runs/ stays
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(STAMP): pyproject.toml constraints.txt
ifneq ($(MADE_FOR),$(CURDIR))
	@found=; bare=; \
	for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
	  bare=$${bare:-$$python}; \
	done; \
	if [ -n "$$found" ]; then \
	  echo "Making $(VENV) with $$("$$found" --version)"; \
	  rm -rf $(VENV) && "$$found" -m venv $(VENV); \
	elif [ -n "$$bare" ]; then \
	  package=python$$("$$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv; \
	  echo "error: $$bare has no venv module; install it (Debian, Ubuntu: sudo apt install $$package) and try again" >&2; exit 1; \
	else \
	  echo "error: $(if $(PYTHON),PYTHON=$(PYTHON) is no Python 3.11 or newer,no Python 3.11 or newer on the PATH); install one" \
	    "(Debian 12+, Ubuntu 24.04+: sudo apt install python3 python3-venv; macOS: brew install python; other systems: https://www.python.org)" \
	    "or name one: make setup PYTHON=/path/to/python3" >&2; exit 1; \
	fi
endif
	@rm -f $@
	@$(PIP) --quiet --upgrade pip
	@echo 'Installing torch; it is large, so the first time this takes minutes'
ifdef TORCH_INDEX
	@$(PIP) $(BARS) --no-deps --index-url $(TORCH_INDEX) torch
endif
	@$(PIP) $(BARS) torch || { echo 'error: torch was not installed, see above; it needs a 64-bit Linux, Windows' \
	  'or macOS (Apple silicon), Python 3.11 to 3.14 and the package index' >&2; exit 1; }
	@echo 'Installing gptladder and its tools'
	@$(PIP) --quiet --build-constraint constraints.txt --group dev --editable .
	@printf %s "$$(pwd -P)" > $@
