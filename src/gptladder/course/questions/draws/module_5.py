"""Questions of module 5: real tensors with gaps. The reference computes the answers when a question is drawn.

The same seed draws the same question on every machine, so an answer can be marked again later.
B batch, T time, C channels, D head size, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..blanks import Blank, GapText, entry_name, entry_of, loss_number, real_number, shape_of, whole_entry_of, whole_number
from ..exhibits import measured, quoted
from ..stable_random import StableRandom
from .small_models import build, build_with_weights, doubles, small_config
from .tables import line, lines, table

if TYPE_CHECKING:
    from torch import Tensor, nn


def scaled_up(seed: int) -> GapText:
    """5.1c: from hyperparameters to the number of parameters and tokens."""
    from ....model.gpt import GPT

    rng = StableRandom(seed)
    V, L, C, T, B = 65, rng.between(2, 6), 32 * rng.between(2, 6), 32 * rng.between(1, 8), 4 * rng.between(2, 16)
    H = rng.one_of((2, 4, 8))

    def parameters(width: int, layers: int) -> dict[str, nn.Parameter]:
        config = small_config(vocab_size=V, block_size=T, n_layer=layers, n_head=H, n_embd=width)
        return dict(build(lambda: GPT(config)).named_parameters())

    def count(parameters: dict[str, nn.Parameter], part: str) -> int:
        return sum(parameter.numel() for name, parameter in parameters.items() if name.startswith(part))

    named = parameters(C, L)
    block, twice, D = count(named, "layers.0."), count(parameters(2 * C, layers=1), "layers.0."), C // H
    once = [name for name in named if not name.startswith("layers.") or name.startswith(f"layers.{L}.")]
    first = [name for name in named if name.startswith("layers.0.") and ".heads." not in name]
    of_heads = "layers.0.attention.heads.0.query.weight"
    of_middle = "layers.0.feed_forward.expand.weight"

    def row(name: str, note: str = "") -> str:
        shape = "?" if name in (of_heads, of_middle) else str(tuple(named[name].shape))
        return f"  {name:<42}{shape:<16}{note}".rstrip()

    shown = lines(
        f"vocab_size {V}   block_size {T}   n_layer {L}   n_head {H}   n_embd {C}   batch_size {B}",
        f"{'The parameters of this GPT':<44}shape",
        [row(name) for name in once],
        row(of_heads, f"key and value too, in each of {H} heads"),
        [row(name, f"layers.0: the same in each of {L} blocks" if name == first[-1] else "") for name in first],
    )
    blanks = (
        shape_of(
            of_heads, named[of_heads], f"From {C} channels to a head size of {C} / {H} = {D}; in torch the outputs come first."
        ),
        shape_of(
            of_middle, named[of_middle], f"From {C} channels to four times as many, {4 * C}; in torch the outputs come first."
        ),
        whole_number(
            "query, key and value weights of one block",
            count(named, "layers.0.attention.heads."),
            f"3 x {C} x {C}, whatever the number of heads.",
        ),
        whole_number(
            "parameters of one feed-forward",
            count(named, "layers.0.feed_forward."),
            f"{C} x {4 * C} + {4 * C} to widen, {4 * C} x {C} + {C} to narrow again.",
        ),
        whole_number(
            "parameters of one block",
            block,
            f"The two numbers above, project with {C} x {C} + {C}, and two norms of 2 x {C}: 12 C^2 + 10 C in all.",
        ),
        whole_number(
            "parameters of the model",
            count(named, ""),
            f"{L} blocks, two tables of {V} x {C} and {T} x {C}, the last norm with 2 x {C}, unembed with {C} x {V}.",
        ),
        whole_number("tokens in a step", B * T, f"{B} blocks of {T} tokens: {B} x {T}."),
        real_number(
            "factor by which one block grows when n_embd is doubled",
            twice / block,
            f"{twice} / {block}: nearly 4, since most of the weights are in matrices of C x C.",
        ),
    )
    return GapText(shown, blanks)


@dataclass(frozen=True)
class Level:
    """One of the models whose texts are compared: its settings, and what its text shows."""

    n_layer: str
    n_embd: str
    block_size: int
    batch_size: int
    dropout: str
    shows: str


LEVELS = {  # by the name of its sample, worst first; a bigram has a table in place of layers
    "untrained": Level("", "", 8, 32, "", "all pairs of neighbours are about equally frequent"),
    "bigram": Level("", "", 8, 32, "", "pairs of letters fit, but hardly any word of four letters is right"),
    "layernorm": Level("3", "32", 8, 32, "0", "short words are right, longer ones are invented"),
    "gpt": Level("4", "128", 64, 32, "0.1", "most words exist, and names stand before the lines"),
}


def losses_of_texts(seed: int) -> GapText:
    """5.1c: texts of small and large models, to be matched with their losses."""
    rng = StableRandom(seed)
    samples = {name: measured().samples[name] for name in LEVELS}
    texts = dict(zip("ABCD", rng.shuffled(LEVELS), strict=True))
    chosen = rng.one_of(("layernorm", "gpt"))
    small, large, level = samples["layernorm"], samples["gpt"], LEVELS[chosen]
    settings = ("n_layer", "n_embd", "block_size", "batch_size", "dropout")
    heads = ("validation loss", "parameters", *settings, "steps")
    rows = [
        (
            *(f"{sample.loss:.3f}", f"{sample.parameters:,}"),
            *(str(getattr(LEVELS[name], setting)) for setting in settings),
            f"{sample.steps:,}",
        )
        for name, sample in samples.items()
    ]
    excerpts = []
    for letter, name in texts.items():
        excerpts += [f"Text {letter}", *quoted(samples[name].text, count=5, start=rng.between(0, 8))]
    shown = lines(
        ["".join(f"{cell:>{len(head) + 2}}" for cell, head in zip(row, heads, strict=True)) for row in (heads, *rows)], excerpts
    )
    read = samples[chosen].steps * level.batch_size * level.block_size
    loss = samples[chosen].loss
    blanks = (
        *(
            loss_number(
                f"validation loss of text {letter}", round(samples[name].loss, 3), f"{LEVELS[name].shows.capitalize()}."
            )
            for letter, name in texts.items()
        ),
        real_number(
            f"parameters of the model at {large.loss:.3f} / parameters of the model at {small.loss:.3f}",
            large.parameters / small.parameters,
            f"{large.parameters:,} / {small.parameters:,}: with four times the channels a matrix is sixteen times as large.",
        ),
        whole_number(
            f"tokens that the model at {loss:.3f} was trained on, counting repetitions",
            read,
            f"{samples[chosen].steps} steps of {level.batch_size} x {level.block_size} tokens.",
        ),
        real_number(
            f"perplexity at {loss:.3f}",
            math.exp(loss),
            f"e^{loss:.3f}: as unsure as with that many equally likely characters.",
        ),
    )
    return GapText(shown, blanks)


def raw_text_to_text(seed: int) -> GapText:
    """5.2a: encode, compute logits, choose the largest, append, decode."""
    import torch

    from ....model.bigram import Bigram
    from ....sampling.choose import Sampling
    from ....sampling.generate import generate
    from ....tokenizer import CharTokenizer

    rng = StableRandom(seed)
    tokenizer = CharTokenizer(rng.shuffled("aeghilmnorst")[:5])
    V, count = len(tokenizer), 3
    prompt = "".join(rng.shuffled(tokenizer.alphabet)[:3])
    tokens = torch.tensor([tokenizer.encode(prompt)])

    last = int(tokens[0, -1])

    def good(weight: Tensor) -> bool:
        """Check that each row has one largest entry, the characters differ, and reading the column gives another answer."""
        best, second = weight.topk(2, dim=1).values.T
        after = weight.argmax(dim=1).tolist()
        met = {last, after[last], after[after[last]], after[after[after[last]]]}
        return bool((best > second).all()) and len(met) == 4 and weight[:, last].argmax().item() != after[last]

    weight = rng.until(lambda: doubles([rng.several(V, -2, 4) for _ in range(V)]), good)
    model = build_with_weights(lambda: Bigram(small_config(vocab_size=V)), {"table.weight": weight})
    ids = [int(token) for token in generate(model, tokens, count, 8, Sampling(temperature=0))]
    logits = model(tokens)
    p = logits[0, -1].softmax(dim=-1)[ids[0]].item()
    text = prompt + tokenizer.decode(ids)
    asked = rng.between(0, V - 1)
    total = " + ".join(f"e^{value:.0f}" for value in weight[last].tolist())
    shown = lines(
        f"{'alphabet':<42}{'   '.join(f'{i} {character}' for i, character in enumerate(tokenizer.alphabet))}",
        table("table.weight", weight, note="the model: a bigram"),
        f"{'prompt':<42}{prompt}",
        f"{'tokens':<42}encode(prompt), as a batch of one",
        line(entry_name("tokens", (0,)), *(str(token) if i != 1 else "?" for i, token in enumerate(tokens[0].tolist()))),
        f"{'logits  shape ?':<42}model(tokens)",
        line(entry_name("logits", (0, 2, asked)), "?", note="at the last position"),
        f"{'next':<42}temperature 0: the largest logit",
        line("its id", "?"),
        line("its p (temp. 1)", "?"),
        f"The new token is appended, and everything is repeated until {count} characters are written.",
    )
    blanks = (
        whole_entry_of("tokens", tokens, (0, 1), f"The place of {prompt[1]!r} in the alphabet, counted from 0."),
        shape_of("logits", logits, f"One text, {len(prompt)} positions, {V} logits at each."),
        whole_entry_of("logits", logits, (0, 2, asked), f"The last token is {last}: entry {asked} of row {last}."),
        whole_number(
            "id of the first new token",
            ids[0],
            f"The largest entry of row {last} is {weight[last].max():.0f}, at place {ids[0]}.",
        ),
        real_number("its probability at temperature 1", p, f"e^{weight[last].max():.0f} / ({total})."),
        Blank(
            "shape of the tokens that the model reads to predict the second new token",
            (1, len(prompt) + 1),
            "The first new token was appended, so there is one more to read.",
        ),
        Blank(
            "prompt and new characters as text",
            text,
            f"Rows {last}, {ids[0]} and {ids[1]} have their largest entries at {ids[0]}, {ids[1]} and {ids[2]}: {text[-3:]!r}.",
        ),
    )
    return GapText(shown, blanks)


def logits_to_choice(seed: int) -> GapText:
    """5.2a: from the logits of the last position by temperature and top-k to probabilities."""
    from ....sampling.choose import keep_top_k

    rng = StableRandom(seed)
    temperature, k, V = rng.one_of((0.5, 2.0, 4.0)), rng.between(2, 3), 5
    values = rng.until(
        lambda: [value / 2 for value in rng.several(V, -4, 8)],
        lambda drawn: len(set(drawn)) == V and sorted(drawn)[-1] - sorted(drawn)[-3] <= 4 * temperature,
    )
    logits = doubles([values])
    kept = keep_top_k(logits / temperature, k)
    p, order = kept.softmax(dim=-1), sorted(range(V), key=lambda i: -values[i])
    first, second, cut = order[0], order[1], order[-1]
    total = " + ".join(f"e^{value:g}" for value in sorted((kept[0][kept[0].isfinite()]).tolist(), reverse=True))
    shown = lines(
        f"{'logits  (1, 5)':<42}at the last position",
        line("", *(f"{value:g}" for value in values)),
        line("temperature", f"{temperature:g}"),
        line("top_k", str(k)),
        f"{'scaled':<42}logits / temperature",
        line(entry_name("scaled", (0, first)), "?"),
        f"{'kept':<42}keep_top_k(scaled, {k})",
        f"{'p':<42}softmax of kept",
        *(line(entry_name("p", (0, i)), "?") for i in (first, second, cut)),
    )
    blanks = (
        real_number(
            entry_name("scaled", (0, first)),
            values[first] / temperature,
            f"{values[first]:g} / {temperature:g}: a temperature below 1 spreads the logits, one above 1 draws them together.",
        ),
        whole_number(
            "number of tokens that can be chosen",
            int((p > 0).sum()),
            f"The {k} largest logits stay; the others become minus infinity.",
        ),
        entry_of("p", p, (0, first), f"e^{kept[0, first]:g} / ({total})."),
        entry_of("p", p, (0, second), f"e^{kept[0, second]:g} / ({total})."),
        entry_of("p", p, (0, cut), "It became minus infinity, and e^-inf = 0."),
    )
    return GapText(shown, blanks)


DRAWS = (scaled_up, losses_of_texts, raw_text_to_text, logits_to_choice)
