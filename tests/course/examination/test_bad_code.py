"""Whatever a learner's file does, there is a verdict in words that names file and line, and nothing else is harmed."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib

import psutil
import pytest

from gptladder.course import outline
from gptladder.course.examination import known_mistakes
from gptladder.course.source.functions import text_of_body
from gptladder.course.workspace.layout import HOME, LOCK, PROJECT

HEAD, FILE = "3.3-head", "model/attention.py"
HERE = "# here"
LAST = "return self.dropout(weights) @ v"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked for it")


@pytest.fixture
def right(project):
    """The reference's body of Head.forward."""
    return text_of_body(project.text(FILE), "Head.forward")


def head_definition(project):
    """Return the place of Head.forward as verdicts write it: the line before its docstring."""
    before = project.text(FILE).split("(B, T, C) -> (B, T, D): softmax")[0]
    return f"mygpt/{FILE}:{before.count(chr(10))}"


def problems(verdict):
    return [finding.problem for finding in verdict.findings if finding.problem]


# --- what cannot be read


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("q, k, v = self", "q, k, v == = self", "invalid syntax"),
        ("        scores = q @", "      scores = q @", "unindent"),
        ("scores = q @", "scores = '\0' @", "null byte"),
        ("scores = q @", "scores = '\udce9' @", "utf-8"),
        ("scores = q @", "scores = " + "(" * 300 + "q" + ")" * 300 + " @", "parentheses"),
    ],
)
def test_a_file_that_python_cannot_read(project, examiner, old, new, words):
    text = project.text(FILE).replace(old, new + "", 1)
    project.write(FILE, text.encode("utf-8", "surrogateescape"))
    verdict = project.examine(examiner, HEAD)
    line = next(number for number, line in enumerate(text.splitlines(), start=1) if new in line)
    assert verdict.where == f"mygpt/{FILE}:{line}"
    assert verdict.problem.startswith(f"Python cannot read mygpt/{FILE}, line {line}: ")
    assert words in verdict.problem
    assert len(problems(verdict)) == len(verdict.findings)


def test_an_expression_that_is_too_deep(project, examiner):
    project.write(FILE, project.text(FILE) + "\ndeep = " + "-" * 100_000 + "1\n")
    assert "nested too deeply" in project.examine(examiner, HEAD).problem


def test_a_broken_file_that_is_needed_is_named(project, examiner):
    project.write("model/config.py", project.text("model/config.py") + "\ndef broken(:  # here\n")
    verdict = project.examine(examiner, HEAD)
    assert verdict.where == project.line("model/config.py", HERE)
    assert "cannot read mygpt/model/config.py" in verdict.problem


def test_a_broken_file_that_is_not_needed_does_not_matter(project, examiner):
    project.write("model/block.py", "def broken(:\n")
    project.write("training/loop.py", b"\xff\0")
    assert project.examine(examiner, HEAD).passed


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"# coding: latin-1\n# \xe9\n"], ids=["mark", "cookie"])
def test_what_python_reads_is_read(project, examiner, start):
    """Some editors put a byte order mark at the beginning, or a comment that names the encoding."""
    project.write(FILE, start + project.text(FILE).encode())
    assert project.examine(examiner, HEAD).passed


# --- what is not there


def test_a_file_that_is_gone(project, examiner):
    project.path(FILE).unlink()
    verdict = project.examine(examiner, HEAD)
    assert "mygpt.model.attention cannot be imported: its file is missing" in verdict.problem
    assert verdict.where == f"mygpt/{FILE}"


def test_a_folder_in_place_of_the_file(project, examiner):
    project.path(FILE).unlink()
    project.path(FILE).mkdir()
    assert "its file is missing" in project.examine(examiner, HEAD).problem


def test_a_file_that_is_gone_and_needed(project, examiner):
    project.path("model/config.py").unlink()
    verdict = project.examine(examiner, HEAD)
    assert "mygpt.model.config cannot be imported: its file is missing" in verdict.problem
    assert verdict.where == project.line(FILE, "from .config")


def test_no_package_at_all(project, examiner):
    shutil.rmtree(project.path("."))
    assert "mygpt cannot be imported: its file is missing" in project.examine(examiner, HEAD).problem


def test_an_empty_file(project, examiner):
    project.write(FILE, "")
    verdict = project.examine(examiner, HEAD)
    assert verdict.problem == "Head.forward is gone from mygpt.model.attention; the checks call it by that name"
    assert verdict.where == f"mygpt/{FILE}"


def test_a_function_that_is_renamed(project, examiner):
    """torch's own Module.forward only raises NotImplementedError, which must not be taken for an exercise not begun."""
    before, after = project.text(FILE).split("class MultiHead")
    project.write(FILE, f"{before.replace('def forward(', 'def forwards(')}class MultiHead{after}")
    verdict = project.examine(examiner, HEAD)
    assert "Head.forward is gone" in verdict.problem
    assert verdict.where == project.line(FILE, "class Head(")
    assert verdict.begun


def test_a_class_that_is_removed(project, examiner):
    before, after = project.text(FILE).split("class Head(")
    project.write(FILE, f"{before}class MultiHead{after.split('class MultiHead')[1]}")
    assert "Head.forward is gone" in project.examine(examiner, HEAD).problem


def test_a_circular_import(project, examiner):
    project.body(HEAD, "pass", before="from .block import Block\n")
    verdict = project.examine(examiner, HEAD)
    assert "circular import" in verdict.problem
    assert verdict.where == project.line("model/block.py", "import MultiHeadAttention")


# --- what never ends


@pytest.mark.parametrize("body", ["while True: x = x  # here", "import time\ntime.sleep(1000)  # here"], ids=["loop", "sleep"])
def test_a_function_that_never_returns(project, impatient, body):
    project.body(HEAD, body)
    verdict = project.examine(impatient, HEAD)
    assert verdict.where == project.line(FILE, HERE)
    assert "still running after " in verdict.problem


def test_recursion_without_end(project, impatient):
    """Time, memory or the stack runs out first, depending on the machine."""
    project.body(HEAD, "self.forward(x)  # here", before="import sys\nsys.setrecursionlimit(10**9)\n")
    verdict = project.examine(impatient, HEAD)
    assert any(words in verdict.problem for words in ("still running", "memory", "ended by signal"))
    assert verdict.where == project.line(FILE, HERE)


def test_a_file_that_never_ends(project, impatient):
    project.write("model/config.py", project.text("model/config.py") + "\nwhile True:\n    pass  # here\n")
    verdict = project.examine(impatient, HEAD)
    assert len(problems(verdict)) == len(verdict.findings)
    assert verdict.problem.startswith("still running after ")
    line = int(project.line("model/config.py", HERE).rpartition(":")[2])
    assert verdict.where in {f"mygpt/model/config.py:{line}", f"mygpt/model/config.py:{line - 1}"}


@pytest.mark.parametrize(
    "body",
    ["found = []\nwhile True: found.append(list(range(1000)))  # here", "while True: x = torch.cat([x, x])  # here"],
    ids=["pieces", "doubling"],
)
def test_memory_without_end(project, examiner, body):
    project.body(HEAD, body)
    verdict = project.examine(examiner, HEAD)
    assert "memory" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)


@linux
@pytest.mark.parametrize(
    "body", ["return torch.zeros(10**9).add_(1)  # here", "return [0] * 10**9  # here"], ids=["tensor", "list"]
)
def test_a_huge_piece_of_memory_is_not_given(project, examiner, body):
    project.body(HEAD, body)
    verdict = project.examine(examiner, HEAD)
    assert verdict.problem.startswith("it asks for more memory than a check may take")
    assert verdict.where == project.line(FILE, HERE)


def test_printing_without_end(project, examiner):
    project.body(HEAD, "while True: print('still here')  # here")
    verdict = project.examine(examiner, HEAD)
    assert "printed over a megabyte" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)
    assert verdict.printed.startswith("still here\n")
    assert len(verdict.printed) < 10_000


def test_what_is_printed_is_kept(project, examiner, right, capfd):
    project.body(HEAD, f"print('x is', tuple(x.shape), '\\u2713')\n{right}")
    verdict = project.examine(examiner, HEAD)
    assert verdict.passed
    assert "x is (2, 5, 6) \u2713\n" in verdict.printed
    assert "x is" not in "".join(capfd.readouterr())


def test_what_is_printed_before_a_loop_is_kept(project, impatient):
    project.body(HEAD, "print('before the loop')\nwhile True: pass")
    assert project.examine(impatient, HEAD).printed == "before the loop\n"


# --- what ends the program


@pytest.mark.parametrize("body", ["import sys\nsys.exit(0)  # here", "exit()  # here", "raise SystemExit  # here"])
def test_ending_the_program(project, examiner, body):
    project.body(HEAD, body)
    verdict = project.examine(examiner, HEAD)
    assert "it ends the program" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)
    assert {finding.check for finding in verdict.findings if not finding.problem} == {"parameters"}, "these need no forward"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os\nos._exit(0)", "ended with code 0 before there was a result: does something call os._exit?"),
        ("import os\nos._exit(3)", "ended with code 3"),
        ("import os\nos.abort()  # here", "ended by signal 6"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "ended by signal 9"),
        ("import ctypes\nctypes.string_at(0)  # here", "ended by signal 11"),
        ("import os, signal\nos.killpg(0, signal.SIGKILL)", "ended by signal 9"),
    ],
)
def test_ending_the_process(project, examiner, body, words):
    project.body(HEAD, body)
    verdict = project.examine(examiner, HEAD)
    assert words in verdict.problem
    assert verdict.where == (project.line(FILE, HERE) if HERE in body else head_definition(project))


def test_a_process_that_ends_early_keeps_its_results_and_fails_the_rest(project, examiner, right):
    project.body(HEAD, f"if x.dtype == torch.float32:\n    import os\n    os._exit(0)\n{right}")
    findings = project.examine(examiner, HEAD).findings
    names = [finding.check for finding in findings]
    place = names.index("dtype")
    assert place > 0
    assert all(finding.problem is None for finding in findings[:place])
    assert all("before there was a result" in finding.problem for finding in findings[place:])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("BaseException('no way')", "stops with BaseException: no way"),
        ("KeyboardInterrupt", "stops with KeyboardInterrupt"),
        ("GeneratorExit", "stops with GeneratorExit"),
        ("ValueError", "stops with ValueError"),
        ("ValueError('')", "stops with ValueError"),
        (r"ValueError('\n\n  first\nsecond')", "stops with ValueError: first"),
        ("ValueError('x' * 10**7)", "stops with ValueError: xxx"),
        ("Strange()", "stops with Strange"),
        ("SyntaxError(object())", "stops with SyntaxError"),
        ("ImportError(name=object())", "stops with ImportError"),
        ("NotImplementedError('later')", "raises NotImplementedError: later"),
        ("MemoryError", "it asks for more memory"),
    ],
)
def test_errors_of_all_kinds(project, examiner, error, words):
    strange = "class Strange(Exception):\n    def __str__(self):\n        raise SystemExit\n"
    project.body(HEAD, f"raise {error}  # here", before=strange)
    verdict = project.examine(examiner, HEAD)
    line = project.line(FILE, HERE).rpartition(":")[2]
    assert verdict.problem.startswith(words.replace("stops with", f"stops at line {line} with"))
    assert len(verdict.problem) < 400
    assert "\n" not in verdict.problem
    assert verdict.where == project.line(FILE, HERE)
    assert verdict.begun


def test_recursion(project, examiner):
    project.body(HEAD, "return self.forward(x)  # here")
    verdict = project.examine(examiner, HEAD)
    assert "RecursionError" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)


def test_an_exercise_left_as_in_the_starter_is_not_begun(project, examiner):
    project.body(HEAD, f'raise NotImplementedError("exercise {HEAD}")')
    verdict = project.examine(examiner, HEAD)
    assert not verdict.begun
    assert verdict.problem == f"not written yet (exercise {HEAD})"


@pytest.mark.parametrize("place", ["above", "below"])
def test_the_starters_raise_left_among_own_lines_is_named(project, examiner, right, place):
    """Whoever has written lines has begun, and is told which line to remove."""
    left = f'raise NotImplementedError("exercise {HEAD}")  # here'
    own = right.replace("return", "answer =")
    project.body(HEAD, f"{left}\n{right}" if place == "above" else f"{own}\n{left}")
    verdict = project.examine(examiner, HEAD)
    assert verdict.begun
    assert verdict.where == project.line(FILE, HERE)
    assert verdict.problem.startswith(f'`raise NotImplementedError("exercise {HEAD}")` still stands in {verdict.where}, ')
    assert verdict.problem.endswith("remove that line")


def test_the_starters_raise_below_a_return_harms_nobody(project, examiner, right):
    project.body(HEAD, f'{right}\nraise NotImplementedError("exercise {HEAD}")')
    assert project.examine(examiner, HEAD).passed


def test_with_mine_the_starters_raise_left_in_another_exercise_is_named(project, examiner):
    project.body("3.2-softmax", 'raise NotImplementedError("exercise 3.2-softmax")  # here\nreturn scores')
    verdict = project.examine(examiner, HEAD, mine=True)
    assert verdict.problem.startswith(f'`raise NotImplementedError("exercise 3.2-softmax")` still stands in {verdict.where}, ')
    assert verdict.where == project.line(FILE, HERE)


# --- what outlives the check


@pytest.mark.parametrize(
    "body",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)",
        "import os, subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)",
    ],
    ids=["thread", "fork", "program"],
)
@linux
def test_what_is_left_behind_is_ended(project, examiner, right, body):
    project.body(HEAD, f"if x.dtype == torch.float32:\n    {body.replace(chr(10), chr(10) + '    ')}\n{right}")
    assert project.examine(examiner, HEAD).passed
    for process in psutil.process_iter(["cmdline"]):
        assert (process.info["cmdline"] or [])[-2:] != ["sleep", "1000"]


# --- another signature


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("self", "takes 1 positional argument but 2 were given"),
        ("self, x, mask", "missing 1 required positional argument: 'mask'"),
        ("self, *, x", "takes 1 positional argument but 2 were given"),
    ],
)
def test_a_signature_that_cannot_be_called(project, examiner, signature, words):
    where = head_definition(project)
    change_signature(project, signature)
    verdict = project.examine(examiner, HEAD)
    assert words in verdict.problem
    assert verdict.where == where


@pytest.mark.parametrize("signature", ["self, inputs", "self, inputs, mask=None", "this, inputs", "self, *inputs"])
def test_other_names_are_fine(project, examiner, right, signature):
    body = right.replace("self.", "this.") if signature.startswith("this") else right
    project.body(HEAD, f"x = inputs{'[0]' if '*' in signature else ''}\n{body}")
    change_signature(project, signature)
    assert project.examine(examiner, HEAD).passed


def change_signature(project, signature):
    before, after = project.text(FILE).split("class MultiHead")
    before = before.replace("def forward(self, x: Tensor)", f"def forward({signature})")
    project.write(FILE, f"{before}class MultiHead{after}")


def test_a_function_made_in_another_way(project, examiner, right):
    """The exercise may be a lambda that calls a function in another file: only what it does counts."""
    helper = "\n".join(f"    {line}" for line in right.splitlines())
    project.write("mine.py", f"import math\nfrom .model.attention import causal_softmax\n\n\ndef look(self, x):\n{helper}\n")
    change_signature(project, "self, x: Tensor")
    project.body(HEAD, "return None")
    end = "\n\nfrom ..mine import look\n\nHead.forward = lambda self, x: look(self, x)\n"
    project.write(FILE, project.text(FILE) + end)
    assert project.examine(examiner, HEAD).passed


# --- another kind of result


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return None", "returned nothing (is a `return` missing?)"),
        ("return x, x", "returned a tuple; it must return a tensor"),
        ("return x.tolist()", "returned a list"),
        ("return x.detach().numpy()", "returned a ndarray"),
        ("return 'a head'", "returned a str"),
        ("return math.nan", "returned a float"),
    ],
)
def test_a_result_that_is_no_tensor(project, examiner, body, words):
    project.body(HEAD, body)
    verdict = project.examine(examiner, HEAD)
    assert words in verdict.problem
    assert verdict.where == head_definition(project)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("{} * math.nan", "is nan, not a finite number"),
        ("{} + math.inf", "is inf, not a finite number"),
        ("{}[..., :1]", "[2, 5, 1], where [2, 5, 4] is right"),
        ("({}).mean()", "[], where [2, 5, 4] is right"),
        ("({}).float()", "dtype float32, where float64 is right"),
        ("({}).long()", "dtype int64, where float64 is right"),
        ("({}).to(torch.complex128)", "torch.complex128"),
        ("({}).to_sparse()", "sparse"),
        ("({}).detach()", "without a gradient"),
        ("({}).data", "without a gradient"),
        ("x[..., : self.head_size]", "where"),
        ("x", "[2, 5, 6], where [2, 5, 4] is right"),
        ("self.value(x[:, :1]).expand(-1, x.size(1), -1)", "where"),
        ("x.new_zeros(1).expand(10**6, 10**6)", "[1000000, 1000000], where [2, 5, 4] is right"),
    ],
)
def test_a_tensor_that_is_wrong(project, examiner, right, last, words):
    project.body(HEAD, right.replace(LAST, f"return {last.format(LAST.removeprefix('return '))}"))
    verdict = project.examine(examiner, HEAD)
    assert any(words in problem for problem in problems(verdict))
    assert not any("cannot be compared" in problem for problem in problems(verdict))


def test_a_tensor_on_another_device(project, examiner, right):
    project.body(HEAD, right.replace(LAST, "return torch.empty_like(v, device='meta')"))
    assert any("lies on the device meta" in problem for problem in problems(project.examine(examiner, HEAD)))


def test_a_tensor_with_other_strides_is_right(project, examiner, right):
    project.body(HEAD, right.replace(LAST, "return (self.dropout(weights) @ v).mT.contiguous().mT"))
    assert project.examine(examiner, HEAD).passed


@pytest.mark.parametrize("change", ["x += 1", "x.data += 1", "x[:, 0] = 0", "x.data.clamp_(max=0)"])
def test_a_changed_input(project, examiner, right, change):
    project.body(HEAD, f"{change}\n{right}")
    found = problems(project.examine(examiner, HEAD))
    assert any("writes into `x`, its first argument" in problem for problem in found)


@pytest.mark.parametrize(
    "result",
    [
        *("return None", "return '01'", "return b'01'", "return {1, 2}", "return object()", "return [10 ** 10_000]"),
        "import torch\nreturn torch.tensor([1])",
        "import numpy\nreturn list(numpy.array([1, 2]))",
        "a = []\na.append(a)\nreturn a",
        "return (number for number in [1])",
    ],
)
def test_results_that_are_no_tensors(project, examiner, no_mutants, result):
    project.body("1.2-encode", result)
    found = problems(project.examine(examiner, "1.2-encode"))
    assert found
    assert not any("before there was a result" in problem for problem in found), found


@pytest.fixture
def no_mutants(monkeypatch):
    """Skip the search for known mistakes, which takes the most time."""
    monkeypatch.setattr(known_mistakes, "mutants", tuple)


@pytest.mark.parametrize("exercise", [entry["id"] for entry in tomllib.loads(outline.COURSE.read_text("utf-8"))["exercise"]])
def test_every_exercise_that_does_nothing(project, examiner, no_mutants, exercise):
    project.body(exercise, "return None")
    verdict = project.examine(examiner, exercise)
    assert not verdict.passed
    assert verdict.begun
    assert not any("cannot be compared" in problem for problem in problems(verdict)), problems(verdict)


# --- what all code shares


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("torch.softmax = lambda *a, **k: 1", "torch.softmax"),
        ("setattr(torch.Tensor, 'softmax', None)", "torch.Tensor.softmax"),
        ("torch.Tensor.__matmul__ = lambda a, b: a", "torch.Tensor.__matmul__"),
        ("torch.Tensor.contiguous = torch.Tensor.clone = torch.Tensor.detach = None", "torch.Tensor."),
        ("nn.Module.__call__ = lambda self, x: self.forward(x)", "torch.nn.Module.__call__"),
        ("nn.Linear.__call__ = lambda self, x: x", "torch.nn.Linear.__call__"),
        ("nn.Linear.forward = lambda self, x: x", "torch.nn.Linear.forward"),
        ("nn.Linear = None", "torch.nn.Linear"),
        ("vars(torch)['exp'] = None", "torch.exp"),
        ("if hasattr(torch, 'tril'): del torch.tril", "torch.tril"),
        ("math.sqrt = lambda x: 1.0", "math.sqrt"),
        ("import builtins; builtins.len = lambda x: 0", "builtins.len"),
        ("import builtins; builtins.print = builtins.open = builtins.isinstance = None", "builtins."),
        ("import builtins; del builtins.getattr", "builtins.getattr"),
    ],
)
@pytest.mark.parametrize("place", ["in the function", "at the top"])
def test_a_replaced_name_is_reported_with_its_line(project, examiner, right, line, name, place):
    if place == "at the top":
        project.body(HEAD, right, before=f"import math\nimport torch\nfrom torch import nn\n{line}  # here\n")
    else:
        project.body(HEAD, f"{line}  # here\n{right}")
    verdict = project.examine(examiner, HEAD)
    assert verdict.problem.startswith(f"it replaces {name}")
    assert "leave it as it is" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("torch.set_default_dtype(torch.float16)", "it sets torch's default dtype to torch.float16"),
        ("torch.set_grad_enabled(False)", "it switches gradients off"),
        ("torch.set_default_device('meta')", "it sets torch's default device to meta"),
    ],
)
def test_changed_settings_of_torch_are_reported_with_their_line(project, examiner, right, line, words):
    project.body(HEAD, right, before=f"import torch\n{line}  # here\n")
    verdict = project.examine(examiner, HEAD)
    assert verdict.problem.startswith(words)
    assert verdict.where == project.line(FILE, HERE)


@pytest.mark.parametrize("line", ["torch.manual_seed(3)", "torch.set_default_dtype(torch.float32)", "torch.set_num_threads(2)"])
def test_settings_that_harm_nobody(project, examiner, right, line):
    project.body(HEAD, right, before=f"import torch\n{line}\n")
    assert project.examine(examiner, HEAD).passed


def test_torch_may_load_its_compiler(project, examiner, right):
    """The compiler wraps functions of torch; that does not count as a change by the learner."""
    project.body(HEAD, right, before="import torch._dynamo\n")
    assert project.examine(examiner, HEAD).passed


@pytest.mark.parametrize(
    "code",
    [
        "import gptladder  # here",
        "from gptladder.model.attention import Head as Answer  # here",
        "import importlib; importlib.import_module('gptladder.model.attention')  # here",
        "__import__('gpt' + 'ladder')  # here",
        "try:\n    import gptladder.model  # here\nexcept ImportError:\n    pass",
        "import pkgutil; pkgutil.get_data('gptladder', 'model/attention.py')  # here",
    ],
)
@pytest.mark.parametrize("place", ["in the function", "at the top"])
def test_importing_the_answers(project, examiner, right, code, place):
    project.body(HEAD, right if place == "at the top" else f"{code}\n{right}", f"{code}\n" if place == "at the top" else "")
    verdict = project.examine(examiner, HEAD)
    assert verdict.problem == "it imports gptladder, which holds the answers; write the function yourself"
    assert verdict.where == project.line(FILE, HERE)


def test_importing_the_answers_in_another_file(project, examiner):
    project.write("model/config.py", project.text("model/config.py") + "\n\nimport gptladder  # here\n")
    verdict = project.examine(examiner, HEAD)
    assert "it imports gptladder" in verdict.problem
    assert verdict.where == project.line("model/config.py", HERE)


@pytest.mark.parametrize(
    "body", ["import sys\nsys.stdout.close()", "import sys\nsys.stdout = sys.stderr = None", "import os\nos.chdir('/')"]
)
def test_the_process_is_its_own(project, examiner, right, body):
    project.body(HEAD, f"{body}\n{right}")
    assert project.examine(examiner, HEAD).passed


def test_printing_to_what_was_closed(project, examiner, right):
    project.body(HEAD, f"import sys\nsys.stdout.close()\nprint('x')  # here\n{right}")
    verdict = project.examine(examiner, HEAD)
    assert "closed file" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)


def test_asking_for_input(project, examiner, right):
    project.body(HEAD, f"input('head size? ')  # here\n{right}")
    verdict = project.examine(examiner, HEAD)
    assert "EOFError" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)


# --- the record


SPOIL = [
    "open('.gptladder/record.json', 'w').write('{}')  # here",
    "open('.gptladder/project.json', 'ab').write(b' ')  # here",
    "import pathlib; pathlib.Path('.gptladder/record.json').unlink(missing_ok=True)  # here",
    "import os; os.path.exists('.gptladder/new.json') or os.rename('.gptladder/record.json', '.gptladder/new.json')  # here",
    "import os; os.makedirs('.gptladder/a/b', exist_ok=True); open('.gptladder/a/b/c', 'w')  # here",
    "import shutil; shutil.rmtree('.gptladder', ignore_errors=True)  # here",
    "import os, shutil; shutil.rmtree('.gptladder', ignore_errors=True); open('.gptladder', 'a')  # here",
    "import os; p = '.gptladder/record.json'; os.path.isdir(p) or (os.remove(p), os.mkdir(p))  # here",
]


@pytest.mark.parametrize("spoil", SPOIL)
def test_the_record_is_restored_byte_for_byte(project, examiner, right, spoil):
    home = project.folder / HOME
    (home / "record.json").write_bytes(b'{"format": 1}\r\n')
    (home / "answers.json").write_text("{}")
    (home / LOCK).touch()
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    project.body(HEAD, f"{spoil}\n{right}")
    verdict = project.examine(examiner, HEAD)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before
    assert verdict.findings[0].check == "record"
    assert verdict.problem.startswith("the code wrote into .gptladder/")
    assert len(verdict.findings) > 1, "the other results are still there"
    assert verdict.where == project.line(FILE, HERE)


def test_other_files_may_be_read_and_written(project, examiner, right):
    read, write = f"open('{HOME}/{PROJECT}').read()", "open('mine.txt', 'w').write('x')"
    project.body(HEAD, f"{read}\n{write}\n{right}")
    assert project.examine(examiner, HEAD).passed
    assert (project.folder / "mine.txt").read_text() == "x"
    assert json.loads((project.folder / HOME / PROJECT).read_text())


# --- whose line it is


def test_lines_are_the_learners_own_although_other_holes_are_filled(project, examiner):
    """A long body above is replaced by the reference's short one; line numbers must not change."""
    project.body("3.2-softmax", "\n".join(f"a{i} = {i}" for i in range(50)))
    project.body(HEAD, "return x.nonsense  # here")
    verdict = project.examine(examiner, HEAD)
    assert "nonsense" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)


def test_an_error_inside_a_filled_function_names_the_learners_line_that_called_it(project, examiner):
    project.body("3.2-causal", "\n".join(f"a{i} = {i}" for i in range(50)))
    project.body(HEAD, "return causal_softmax('scores')  # here")
    verdict = project.examine(examiner, HEAD)
    assert "AttributeError" in verdict.problem
    assert verdict.where == project.line(FILE, HERE)


def test_an_error_after_the_learners_function_has_returned_names_the_function(project, examiner, right):
    """The learner's __init__ makes no heads, so the reference's MultiHeadAttention.forward fails."""
    project.body("4.1-heads", "super().__init__()")
    verdict = project.examine(examiner, "4.1-heads")
    text = project.text(FILE)
    line = text[: text.index("def __init__(self, config: GPTConfig, project")].count("\n") + 1
    assert verdict.where == f"mygpt/{FILE}:{line}"


def test_with_mine_the_learners_own_functions_are_used(project, examiner):
    project.body("3.2-softmax", "return scores")
    assert project.examine(examiner, HEAD).passed
    verdict = project.examine(examiner, HEAD, mine=True)
    assert not verdict.passed
    assert verdict.begun


def test_with_mine_an_open_exercise_is_named(project, examiner):
    project.body("3.2-softmax", 'raise NotImplementedError("exercise 3.2-softmax")  # here')
    verdict = project.examine(examiner, HEAD, mine=True)
    assert verdict.problem == "not written yet (exercise 3.2-softmax)"
    assert verdict.where == project.line(FILE, HERE)
    assert verdict.begun


def test_an_import_that_the_learner_has_removed_is_missed(project, examiner):
    """Filled functions bring only the imports that they need themselves."""
    project.write(FILE, project.text(FILE).replace("import math\n", "", 1))
    verdict = project.examine(examiner, HEAD)
    assert "name 'math' is not defined" in verdict.problem
    project.body(HEAD, "return causal_softmax(self.query(x) @ self.key(x).mT * self.head_size**-0.5) @ self.value(x)")
    assert not any("NameError" in problem for problem in problems(project.examine(examiner, HEAD)))
