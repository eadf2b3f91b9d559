"""What is shown before a question of judgement: real samples, curves and programs, of which one is wrong in a known way."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
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
WIDTH = 92  # of a sample's line


@dataclass(frozen=True)
class Sample:
    """A text that a model wrote, and what the model was."""

    rung: str
    steps: int
    parameters: int
    loss: float  # validation
    text: str


@dataclass(frozen=True)
class Row:
    """Losses after a step; no training loss before the first."""

    step: int
    training: float | None
    validation: float


@dataclass(frozen=True)
class Measured:
    """What was measured once and is shipped, since it takes minutes to make: see `about` in exhibits.json."""

    samples: Mapping[str, Sample]
    curves: Mapping[str, tuple[Row, ...]]


@cache
def measured() -> Measured:
    """Of exhibits.json what is shown."""
    content = json.loads(MEASURED.read_text(encoding="utf-8"))
    samples = {
        name: Sample(*(found[key] for key in ("rung", "steps", "parameters", "loss", "text")))
        for name, found in content["samples"].items()
    }
    curves = {name: tuple(Row(*row) for row in found["rows"]) for name, found in content["curves"].items()}
    return Measured(samples, curves)


def quoted(text: str, count: int, start: int = 0) -> list[str]:
    """Some lines of a text from the one numbered `start`, behind a bar, long ones broken; empty ones are left out."""
    found = [line[i : i + WIDTH] for line in text.splitlines() for i in range(0, len(line), WIDTH)]
    return [f"  | {line}".rstrip() for line in found[start : start + count]]


def bigram_sample() -> str:
    """2.2c: a trained bigram's text."""
    sample = measured().samples["bigram"]
    title = f"Written by a bigram, {sample.steps:,} steps, validation loss {sample.loss:.3f}, temperature 1:"
    return "\n".join([title, *quoted(sample.text, 16)])


def four_samples() -> str:
    """2.2c: a trained bigram's text among three others."""
    parts = []
    for letter, name in zip("ABCD", ("layernorm", "untrained", "bigram", "unshifted"), strict=True):
        parts += [f"Text {letter}", *quoted(measured().samples[name].text, count=6, start=3), ""]
    return "\n".join(parts[:-1])


def bigram_curves() -> str:
    """2.2c: three trainings of the same table, of which one has a mistake in its code and one too little text."""
    parts = ["Three trainings of the bigram table by the same recipe: t training loss, v validation, * both."]
    for letter, name in zip("ABC", ("bigram", "unshifted", "small"), strict=True):
        parts += ["", f"Run {letter}", *plot(measured().curves[name])]
    return "\n".join(parts)


def plot(rows: tuple[Row, ...], highest: float = 4.5, lines: int = 9) -> list[str]:
    """Losses over steps, as letters, then as numbers."""
    found = [[" "] * len(rows) for _ in range(lines + 1)]
    for i, row in enumerate(rows):
        for loss, letter in ((row.training, "t"), (row.validation, "v")):
            if loss is not None:
                level = found[round(loss / highest * lines)]
                level[i] = letter if level[i] == " " else "*"
    drawn = [
        f"  {level * highest / lines:>10.1f} |{''.join(f'{mark:>7}' for mark in found[level])}".rstrip()
        for level in range(lines, -1, -1)
    ]
    numbers = {
        "step": [str(row.step) for row in rows],
        "training": ["" if row.training is None else f"{row.training:.3f}" for row in rows],
        "validation": [f"{row.validation:.3f}" for row in rows],
    }
    return [*drawn, *(f"  {name:<10}  {''.join(f'{cell:>7}' for cell in cells)}" for name, cells in numbers.items())]


def _body(file: str, name: str) -> str:
    return textwrap.indent(text_of_body((PACKAGE / file).read_text(encoding="utf-8"), name).rstrip(), "    ")


def pre_and_post_norm() -> str:
    """4.3b: the two blocks of this package, without their names."""
    programs = [_body("model/controls.py", "PostNormBlock.forward"), _body("model/block.py", "Block.forward")]
    return "\n\n".join(f"Program {letter}\n{text}" for letter, text in zip("AB", programs, strict=True))


NORM_OF_THE_STREAM = """\
    x = self.attention_norm(x)
    x = x + self.attention(x)
    x = self.feed_forward_norm(x)
    return x + self.feed_forward(x)"""


def norm_of_the_stream() -> str:
    """4.3b: a block whose norms stand on the residual road itself."""
    return f"A learner's Block.forward. It runs, its shapes are right, and its loss falls.\n{NORM_OF_THE_STREAM}"


def streams() -> str:
    """4.3b: what a pre-norm and a post-norm block leave behind them, block after block, in untrained models."""
    import torch

    from ...model.block import Block
    from ...model.config import GPTConfig
    from ...model.controls import PostNormBlock

    config = GPTConfig(vocab_size=65, block_size=16, n_layer=8, n_head=4, n_embd=64, dropout=0)
    lines = ["Eight untrained blocks in a row. Of what leaves each of them: the spread of a token's channels", ""]
    lines.append(f"  {'after block':<14}" + "".join(f"{i:>8}" for i in range(1, 9)))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for letter, kind in (("A", PostNormBlock), ("B", Block)):
            torch.manual_seed(1)
            x, spreads = torch.randn(4, 16, 64), []
            for _ in range(config.n_layer):
                x = kind(config)(x)
                spreads.append(x.std(dim=-1, correction=0).mean().item())
            lines.append(f"  {f'model {letter}':<14}" + "".join(f"{spread:>8.2f}" for spread in spreads))
    return "\n".join(lines)


LINES = (  # file, and what the line begins with
    ("model/gpt.py", "return self.token(tokens) + "),
    ("training/plan.py", "model.compile("),
    ("model/attention.py", "return softmax(scores.masked_fill("),
    ("sampling/decoding.py", "logits = model(context[:, known:], positions)"),
    ("training/plan.py", "with torch.autocast("),
    ("model/block.py", "x = x + self.attention("),
    ("model/block.py", "hidden = torch.relu("),
    ("training/plan.py", "for some_x, some_y in zip("),
)
LINE_NOTES = (
    "an embedding's output",
    "before a training",
    "attention weights; future is the upper triangle",
    "in the sampler: known tokens stand in the caches",
    "around the model's forward; dtype is bfloat16",
    "in a block",
    "in a feed-forward",
    "in a training step: a batch in slices, their gradients added up",
)


def lines_of_code() -> str:
    """5.2b: lines of this package; some make the model, some make it fast."""
    shown = ["Eight lines of this package:"]
    for number, ((file, begins), note) in enumerate(zip(LINES, LINE_NOTES, strict=True), start=1):
        shown += [f"{number}  {line_of(file, begins)}", f"       {note}"]
    return "\n".join(shown)


def line_of(file: str, begins: str) -> str:
    """The first line of a file of the package that begins so, without its comment. CourseError if there is none."""
    for line in (PACKAGE / file).read_text(encoding="utf-8").splitlines():
        if line.strip().startswith(begins):
            return line.split("  #")[0].strip()
    raise CourseError(f"{file}: no line begins with {begins!r}")


def changes() -> str:
    """5.2b: what becomes of the logits when one thing of a model is changed."""
    import torch

    lines = ["One GPT, the same tokens. One thing is changed: by how much does a logit move at most?", ""]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        tokens = torch.randint(65, (2, 16), generator=torch.Generator().manual_seed(1))
        logits = _small_gpt()(tokens)
        lines.append(f"  {'(the spread of the logits as they are)':<48}{logits.std().item():>10.1e}")
        for what, changed in _changed_logits(tokens).items():
            lines.append(f"  {what:<48}{(changed - logits).abs().max().item():>10.1e}")
    return "\n".join(lines)


def _small_gpt() -> GPT:
    """A GPT whose logits spread over about 1, the same each time. It sets torch's seed."""
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
    import torch

    from ...model.attention import Head, softmax
    from ...model.block import Block
    from ...model.cache import Caches
    from ...model.controls import PlainBlock
    from ...model.fusing import exchange, fuse

    class OpenHead(Head):
        def forward(self, x: Tensor) -> Tensor:
            return softmax(self.query(x) @ self.key(x).transpose(-2, -1) / self.head_size**0.5) @ self.value(x)

    def with_weights_of(part: nn.Module, other: nn.Module) -> nn.Module:
        other.load_state_dict(part.state_dict())
        return other.double()

    config, fused = _small_gpt().config, fuse(_small_gpt())
    with Caches(fused, config.block_size):
        one_by_one = [fused(tokens[:, [t]], torch.tensor([t])) for t in range(tokens.size(1))]
    unmasked = exchange(_small_gpt(), {Head: lambda head: with_weights_of(head, OpenHead(config, config.head_size))})
    plain = exchange(_small_gpt(), {Block: lambda block: with_weights_of(block, PlainBlock(config))})
    return {
        "attention as one fused call": fused(tokens),
        "a key/value cache, token after token": torch.cat(one_by_one, dim=1),
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
