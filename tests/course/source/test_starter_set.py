"""The starter set stands alone: torch, the standard library and itself, in an empty folder."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path, PurePosixPath

import pytest

import gptladder
from gptladder.course.source.reference import STARTER_SET, reference_texts
from gptladder.course.workspace.make import TEMPLATES

PACKAGE = Path(gptladder.__file__).parent
MEMBERS = STARTER_SET
TRAIN = """
import sys
sys.modules["gptladder"] = None  # any import of it now fails
import json
import torch
from pathlib import Path
from mygpt.batches import Batches
from mygpt.model.config import GPTConfig
from mygpt.model.fusing import fuse, fused_cross_entropy
from mygpt.model.ladder import RUNGS
from mygpt.sampling.choose import Sampling
from mygpt.sampling.generate import generate
from mygpt.tokenizer import CharTokenizer
from mygpt.training.loop import train
from mygpt.training.loss import cross_entropy

torch.set_num_threads(1)
text = Path("text.txt").read_text()
tokenizer = CharTokenizer.of(text)
batches = Batches(torch.tensor(tokenizer.encode(text)), batch_size=8, block_size=8)
batches.splits["validation"] = batches.splits["validation"][:100]
config = GPTConfig(len(tokenizer), block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.1)
report = {}
for rung in RUNGS:
    for fused in (False, True) if rung.name in ("attention", "gpt") else (False,):
        torch.manual_seed(0)
        model = rung.build(config)
        model = fuse(model) if fused else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        loss = fused_cross_entropy if fused else cross_entropy
        first, *_, last = train(model, optimizer, batches, steps=20, evaluate_every=20, loss_function=loss)
        prompt = torch.tensor([tokenizer.encode("the ")])
        generator = torch.Generator().manual_seed(0)
        tokens = generate(model.eval(), prompt, 20, 8, Sampling(0.8, top_k=5), generator)
        written = tokenizer.decode(torch.cat(list(tokens)).tolist())
        report[f"{rung.name}, fused {fused}"] = first.validation_loss, last.validation_loss, written
package = sys.modules["mygpt"].__file__
loaded = sorted(name for name in sys.modules if name.startswith("gptladder."))
print(json.dumps({"package": package, "loaded": loaded, "rungs": report}))
"""


def copy_to(folder):
    for member in MEMBERS:
        target = folder / "mygpt" / member
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / member, target)


def imports_of(member):
    """Absolute modules, and the members of the package that relative imports lead to."""
    absolute, relative = set(), set()
    folder = PurePosixPath(member).parent
    for node in ast.walk(ast.parse((PACKAGE / member).read_text())):
        if isinstance(node, ast.Import):
            absolute |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            absolute.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            base = PurePosixPath(*folder.parts[: len(folder.parts) - node.level + 1], *(node.module or "").split("."))
            relative |= {resolved(base, alias.name) for alias in node.names}
    return absolute, relative


def resolved(base, name):
    """The file that `from base import name` reads: a module called name, or else base itself."""
    for candidate in (base / f"{name}.py", base.with_name(f"{base.name}.py") if base.name else base, base / "__init__.py"):
        if (PACKAGE / candidate).is_file():
            return str(candidate)
    raise AssertionError(f"{base} {name} leads nowhere")


@pytest.mark.parametrize("member", MEMBERS)
def test_absolute_imports_are_torch_or_the_standard_library(member):
    absolute, _ = imports_of(member)
    assert {name.split(".")[0] for name in absolute} <= {"torch", *sys.stdlib_module_names}


@pytest.mark.parametrize("member", MEMBERS)
def test_relative_imports_stay_in_the_set(member):
    _, relative = imports_of(member)
    assert relative <= set(MEMBERS)


@pytest.mark.parametrize("member", MEMBERS)
def test_nothing_is_imported_by_a_computed_name(member):
    names = {n.id for n in ast.walk(ast.parse((PACKAGE / member).read_text())) if isinstance(n, ast.Name)}
    assert not names & {"__import__", "importlib", "exec", "eval"}


def test_the_reader_of_imports_sees_them():
    assert imports_of("training/loop.py")[1] == {"batches.py", "training/loss.py"}
    assert imports_of("model/gpt.py")[1] == {"model/block.py", "model/config.py"}
    assert "torch.nn.functional" in imports_of("model/fusing.py")[0]
    assert "rungs.py" not in MEMBERS
    assert imports_of("rungs.py")[1] == {
        *("errors.py", "model/config.py", "model/controls.py", "model/ladder.py", "model/modern.py")
    }


def test_the_model_folder_is_whole_but_for_the_controls_and_the_modern_rung():
    """A post-norm block without its norm, or a modern attention, is nearly the one that learners are to write."""
    files = {f"model/{path.name}" for path in (PACKAGE / "model").glob("*.py")}
    assert files - {m for m in MEMBERS if m.startswith("model/")} == {
        *("model/controls.py", "model/modern.py", "model/modern_embeddings.py", "model/modern_parts.py", "model/rms_norm.py")
    }


def test_alone_in_an_empty_folder_it_trains_and_writes(tmp_path, small_text):
    copy_to(tmp_path)
    (tmp_path / "text.txt").write_text(small_text)
    (tmp_path / "train.py").write_text(TRAIN)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "train.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert Path(report["package"]).resolve() == (tmp_path / "mygpt" / "__init__.py").resolve()
    assert report["loaded"] == []
    assert len(report["rungs"]) == 8 + 2
    for name, (untrained, trained, written) in report["rungs"].items():
        assert trained < untrained - 0.1, name
        assert len(written) == 20, name
        assert set(written) <= set(small_text), name


def test_the_block_on_gptladder_holds(tmp_path):
    script = "import sys; sys.modules['gptladder'] = None; import gptladder.tokenizer"
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "ModuleNotFoundError" in result.stderr


# what a learner reads

TEMPLATE_NAMES = ("train.py", "generate.py", "README.md", "README-completed.md")
TEXTS = reference_texts() | {name: (TEMPLATES / name).read_text(encoding="utf-8") for name in TEMPLATE_NAMES}
MODULES_ELSEWHERE = {path.stem for path in PACKAGE.rglob("*.py")} - {PurePosixPath(member).stem for member in TEXTS}
MODELS_ELSEWHERE = {path.stem for path in (PACKAGE / "model").glob("*.py")} & MODULES_ELSEWHERE


def remarks(text):
    """The comments and docstrings of a file."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
    yield from (ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented))


def dead_ends(remark):
    """What a remark names and a project lacks: files and folders of this repository, modules that are not in the set."""
    names = {member.rpartition("/")[2] for member in TEXTS}
    found = re.findall(r"\bbenchmarks\b|\btests/|\bdocs/|\btools/", remark)
    found += [file for file in re.findall(r"\b\w+\.(?:py|md|toml)\b", remark) if file not in names]
    found += [name for name in re.findall(r"`(?:\w+\.)*(\w+)`", remark) if name in MODULES_ELSEWHERE - {"run"}]
    return found + [name for name in re.findall(r"\b\w+\b", remark) if name in MODELS_ELSEWHERE]


@pytest.mark.parametrize("name", TEXTS)
def test_no_line_is_over_100_columns(name):
    assert [line for line in TEXTS[name].splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".py")])
def test_no_remark_names_what_a_project_lacks(name):
    assert [(found, remark) for remark in remarks(TEXTS[name]) if (found := dead_ends(remark))] == []


@pytest.mark.parametrize(
    "remark",
    ["see LOG.md", "(benchmarks/bands.py)", "then parts and modern", "controls stand aside", "as `sampling.writer`"],
)
def test_a_dead_end_is_found(remark):
    assert dead_ends(remark)
