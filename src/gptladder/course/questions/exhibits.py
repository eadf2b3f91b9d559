"""Exhibits for a learner to judge: real samples, curves and programs, one of which is wrong in a known way.

Programs and lines of code are found in the files of the package by what they do, and shown without comments. So the wording of
the reference is free, and a line that is gone is a CourseError.
"""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..outline import CourseError
from ..source.functions import text_of_body
from ..source.reference import PACKAGE

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ...model.gpt import GPT

MEASURED = Path(__file__).parent / "exhibits.json"
WIDTH = 92  # characters in a line of a sample


@dataclass(frozen=True)
class Sample:
    """A text that a model wrote, and facts about the model."""

    rung: str
    steps: int
    parameters: int
    loss: float  # validation
    text: str


@dataclass(frozen=True)
class CurvePoint:
    """The losses at a step. There is no training loss before the first step."""

    step: int
    training: float | None
    validation: float


@dataclass(frozen=True)
class Measured:
    """The samples and curves of exhibits.json, which were measured once since they take minutes; its `about` says how."""

    samples: Mapping[str, Sample]
    curves: Mapping[str, tuple[CurvePoint, ...]]


@cache
def measured() -> Measured:
    """Return what exhibits.json holds."""
    content = json.loads(MEASURED.read_text(encoding="utf-8"))
    samples = {
        name: Sample(*(found[key] for key in ("rung", "steps", "parameters", "loss", "text")))
        for name, found in content["samples"].items()
    }
    curves = {name: tuple(CurvePoint(*row) for row in found["rows"]) for name, found in content["curves"].items()}
    return Measured(samples, curves)


def quoted(text: str, count: int, start: int = 0) -> list[str]:
    """Return `count` lines of a text from line `start` on, each behind a bar. Long lines are broken, empty ones left out."""
    found = [line[i : i + WIDTH] for line in text.splitlines() for i in range(0, len(line), WIDTH)]
    return [f"  | {line}".rstrip() for line in found[start : start + count]]


def bigram_sample() -> str:
    """2.2c: the text of a trained bigram."""
    sample = measured().samples["bigram"]
    title = f"Written by a bigram, {sample.steps:,} steps, validation loss {sample.loss:.3f}, temperature 1:"
    return "\n".join([title, *quoted(sample.text, 16)])


def four_samples() -> str:
    """2.2c: the text of a trained bigram among three others."""
    parts = []
    for letter, name in zip("ABCD", ("layernorm", "untrained", "bigram", "unshifted"), strict=True):
        parts += [f"Text {letter}", *quoted(measured().samples[name].text, count=6, start=3), ""]
    return "\n".join(parts[:-1])


def bigram_curves() -> str:
    """2.2c: three trainings of the same table, one with a mistake in its code and one with too little text."""
    parts = ["Three trainings of the bigram table by the same recipe (t training loss, v validation loss, * both):"]
    for letter, name in zip("ABC", ("bigram", "unshifted", "small"), strict=True):
        parts += ["", f"Run {letter}", *plot(measured().curves[name])]
    return "\n".join(parts)


def plot(points: tuple[CurvePoint, ...], highest: float = 4.5, lines: int = 9) -> list[str]:
    """Return lines of text: the losses over the steps, first as letters, then as numbers."""
    found = [[" "] * len(points) for _ in range(lines + 1)]
    for i, point in enumerate(points):
        for loss, letter in ((point.training, "t"), (point.validation, "v")):
            if loss is not None:
                level = found[round(loss / highest * lines)]
                level[i] = letter if level[i] == " " else "*"
    drawn = [
        f"  {level * highest / lines:>10.1f} |{''.join(f'{mark:>7}' for mark in found[level])}".rstrip()
        for level in range(lines, -1, -1)
    ]
    numbers = {
        "step": [str(point.step) for point in points],
        "training": ["" if point.training is None else f"{point.training:.3f}" for point in points],
        "validation": [f"{point.validation:.3f}" for point in points],
    }
    return [*drawn, *(f"  {name:<10}  {''.join(f'{cell:>7}' for cell in cells)}" for name, cells in numbers.items())]


def program(file: str, name: str) -> str:
    """Return the body of a function of the package, indented and without comments."""
    body = ast.parse(text_of_body((PACKAGE / file).read_text(encoding="utf-8"), name))
    return textwrap.indent(ast.unparse(body), "    ")


def pre_and_post_norm() -> str:
    """4.3b: the forward methods of this package's two blocks, without their names."""
    programs = [program("model/controls.py", "PostNormBlock.forward"), program("model/block.py", "Block.forward")]
    return "\n\n".join(f"Program {letter}\n{text}" for letter, text in zip("AB", programs, strict=True))


NORM_OF_THE_STREAM = """\
    x = self.attention_norm(x)
    x = x + self.attention(x)
    x = self.feed_forward_norm(x)
    return x + self.feed_forward(x)"""


def norm_of_the_stream() -> str:
    """4.3b: a block that normalises the residual stream itself."""
    return f"A learner's Block.forward. It runs, its shapes are right, and its loss falls.\n{NORM_OF_THE_STREAM}"


@contextmanager
def isolated() -> Iterator[None]:
    """Let torch compute inside the block without gradients, with random numbers of its own, and with one thread.

    Several threads gain nothing on tensors this small, and they wait for each other for seconds where other programs run.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def streams() -> str:
    """4.3b: the spread of what leaves each block, in an untrained pre-norm and an untrained post-norm model."""
    import torch

    from ...model.block import Block
    from ...model.config import GPTConfig
    from ...model.controls import PostNormBlock

    config = GPTConfig(vocab_size=65, block_size=16, n_layer=8, n_head=4, n_embd=64, dropout=0)
    lines = ["Two models of eight untrained blocks in a row. The spread of a token's channels after each block:", ""]
    lines.append(f"  {'after block':<14}" + "".join(f"{i:>8}" for i in range(1, 9)))
    with isolated():
        for letter, kind in (("A", PostNormBlock), ("B", Block)):
            torch.manual_seed(1)
            x, spreads = torch.randn(4, 16, 64), []
            for _ in range(config.n_layer):
                x = kind(config)(x)
                spreads.append(x.std(dim=-1, correction=0).mean().item())
            lines.append(f"  {f'model {letter}':<14}" + "".join(f"{spread:>8.2f}" for spread in spreads))
    return "\n".join(lines)


@dataclass(frozen=True)
class LineOfCode:
    """A line of the package, given by what it calls, and a note on where it stands."""

    where: str  # a file, or a folder whose files are searched in the order of their names
    calls: str
    note: str


LINES = (
    LineOfCode("model/gpt.py", "self.position", "the output of an embedding"),
    LineOfCode("training", "model.compile", "before a training"),
    LineOfCode("model/attention.py", "scores.masked_fill", "attention weights; `future` is the upper triangle"),
    LineOfCode("sampling/decoding.py", "model", "in the sampler; the `known` first tokens are in the caches"),
    LineOfCode("training", "torch.autocast", "around the model's forward; dtype is bfloat16"),
    LineOfCode("model/block.py", "self.attention", "in a block"),
    LineOfCode("model/block.py", "torch.relu", "in a feed-forward"),
    LineOfCode("training", "x.chunk", "in a training step: a batch in slices, whose gradients are added up"),
)


def lines_of_code() -> str:
    """5.2b: lines of this package; some make the model, some make it fast."""
    shown = ["Eight lines of this package:"]
    for number, line in enumerate(LINES, start=1):
        shown += [f"{number}  {line_that_calls(line.where, line.calls)}", f"       {line.note}"]
    return "\n".join(shown)


def line_that_calls(where: str, called: str) -> str:
    """Return the first statement in a file or folder of the package that calls this. CourseError if there is none."""
    place = PACKAGE / where
    for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == called]
        if calls:
            first = min(calls, key=lambda call: call.lineno)
            around = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and first in ast.walk(node)]
            innermost = max(around, key=lambda statement: statement.lineno)
            return ast.unparse(innermost).splitlines()[0]  # of a `with` or a `for` only the head
    raise CourseError(f"{where}: nothing calls {called!r}")


def changes() -> str:
    """5.2b: how far the logits of a model move when one thing in it is changed."""
    import torch

    lines = ["One GPT, the same tokens. One thing is changed each time: how far does a logit move at most?", ""]
    with isolated():
        tokens = torch.randint(65, (2, 16), generator=torch.Generator().manual_seed(1))
        logits = _small_gpt()(tokens)
        lines.append(f"  {'(standard deviation of the unchanged logits)':<48}{logits.std().item():>10.1e}")
        for what, changed in _changed_logits(tokens).items():
            lines.append(f"  {what:<48}{(changed - logits).abs().max().item():>10.1e}")
    return "\n".join(lines)


def _small_gpt() -> GPT:
    """Return a GPT whose logits have a spread of about 1, the same GPT each time. This sets torch's seed."""
    import torch

    from ...model.config import GPTConfig
    from ...model.gpt import GPT

    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=65, block_size=16, n_layer=2, n_head=4, n_embd=32, dropout=0)).double().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter.size(-1) ** -0.5)
    return model


def _changed_logits(tokens: Tensor) -> dict[str, Tensor]:
    """Return the logits of each changed model."""
    import torch

    from ...model.attention import Head, softmax
    from ...model.block import Block
    from ...model.cache import Caches
    from ...model.controls import PlainBlock
    from ...model.fusing import fuse, replace_modules

    class OpenHead(Head):
        def forward(self, x: Tensor) -> Tensor:
            return softmax(self.query(x) @ self.key(x).transpose(-2, -1) / self.head_size**0.5) @ self.value(x)

    def with_weights_of(part: nn.Module, other: nn.Module) -> nn.Module:
        other.load_state_dict(part.state_dict())
        return other.double()

    config, fused = _small_gpt().config, fuse(_small_gpt())
    with Caches(fused, config.block_size):
        one_by_one = [fused(tokens[:, [t]], torch.tensor([t])) for t in range(tokens.size(1))]
    unmasked = replace_modules(_small_gpt(), {Head: lambda head: with_weights_of(head, OpenHead(config, config.head_size))})
    plain = replace_modules(_small_gpt(), {Block: lambda block: with_weights_of(block, PlainBlock(config))})
    return {
        "attention as one fused call": fused(tokens),
        "a key/value cache, one token at a time": torch.cat(one_by_one, dim=1),
        "weights and products in bfloat16": _small_gpt().bfloat16()(tokens).double(),
        "every token at position 0": _small_gpt()(tokens, torch.zeros(tokens.size(1), dtype=torch.int64)),
        "no causal mask": unmasked(tokens),
        "no residual connections": plain(tokens),
    }


EXHIBITS: tuple[Callable[[], str], ...] = (
    *(bigram_sample, four_samples, bigram_curves),
    *(pre_and_post_norm, norm_of_the_stream, streams),
    *(lines_of_code, changes),
)
