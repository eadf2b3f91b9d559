"""Lesson 1.2, its second half: the split and random blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .check import Check, Mistake, Opened, Results, agree, beside, equal, facts
from .pretend_gpu import lies_there, stays_there
from .probes import generator_facts, seeded, two_tensors, uses_generator

SPLITS = ((23, 0.9), (10, 0.9), (40, 0.75), (17, 0.5), (10, 1.0))
MANY = 400  # rows of a batch: enough for every step of a wrong version to come about, whatever it draws


def _split(my: Opened, N: int, *fraction: float) -> tuple[Tensor, Tensor]:
    """Return the two parts of the tokens 0, 1, 2, ...; raise Mistake if they are not two tensors of one dimension."""
    tokens = torch.arange(N)
    parts = two_tensors(my("batches").split(tokens, *fraction), "split", "for training and for validation")
    if not torch.equal(tokens, torch.arange(N)):
        raise Mistake("split writes into `tokens`, its first argument, which others still need")
    if any(part.dim() != 1 for part in parts):
        raise Mistake(
            f"split returned tensors of shapes {' and '.join(str(tuple(part.shape)) for part in parts)}; both are rows"
        )
    return parts


def _case(N: int, fraction: float) -> str:
    return f"{N} tokens at fraction {fraction:g}"


ONCE, IN_ORDER, NO_GAPS, IN_FRONT = "each once", "in order", "without gaps", "training in front"


def split_order(my: Opened) -> Results:
    """Return facts on both parts, but not which tokens they hold: a split that shuffles draws others each time."""
    results: Results = {}
    for N, fraction in SPLITS:
        parts = _split(my, N, fraction)
        steps = [step for part in parts for step in part.diff().tolist()]
        found = {
            ONCE: sorted(torch.cat(parts).tolist()) == list(range(N)),
            IN_ORDER: all(step > 0 for step in steps),
            NO_GAPS: all(step == 1 for step in steps),
            IN_FRONT: torch.cat(parts).tolist() == list(range(N)),
        }
        results |= {f"{_case(N, fraction)}, {fact}": holds for fact, holds in found.items()}
    return results


def split_sizes(my: Opened) -> Results:
    """Return how long each part is, and its dtype."""
    results: Results = {}
    for N, fraction in SPLITS:
        for name, part in zip(("training", "validation"), _split(my, N, fraction), strict=True):
            results[f"how many of {_case(N, fraction)} are for {name}"] = len(part)
            results[f"the dtype of those for {name}, of {_case(N, fraction)}"] = str(part.dtype)
    return results


def split_default(my: Opened) -> Results:
    """Return the fraction that stands in the signature."""
    return {"how many of 23 tokens are for training without a fraction": len(_split(my, 23)[0])}


def _batches(my: Opened, N: int, B: int, T: int) -> Any:  # noqa: ANN401  the Batches of the package under test
    """Return Batches over the tokens 0, 1, 2, ...: each token says where it stands."""
    return my("batches").Batches(torch.arange(N), B, T)


def _batch(batches: Any, split: str, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Return what get_batch returns; raise Mistake if it is not two tensors (B, T) of whole numbers."""
    x, y = two_tensors(batches.get_batch(split, generator or seeded()), "get_batch", "x and y")
    right = (batches.batch_size, batches.block_size)
    for name, part in (("x", x), ("y", y)):
        if tuple(part.shape) != right:
            given = f"from a split of {len(batches.splits[split])} tokens, {name} has the shape {tuple(part.shape)}"
            raise Mistake(f"{given}, where (batch_size, block_size) = {right} is right")
        if part.dtype != torch.int64:
            raise Mistake(f"{name} holds {str(part.dtype).removeprefix('torch.')}, where token ids are int64")
    return x, y


def batch_shapes(my: Opened) -> Results:
    """Return the shapes for sizes that are all different, a single token among them."""
    results: Results = {}
    for B, T in ((3, 5), (1, 7), (6, 1)):
        for split in ("train", "validation"):
            x, y = _batch(_batches(my, 100, B, T), split)
            results[f"{split}, batch_size {B}, block_size {T}"] = [list(x.shape), list(y.shape)]
    return results


def batch_targets(my: Opened) -> Results:
    """Return how far targets stand from their tokens."""
    x, y = _batch(_batches(my, 40, MANY, 5), "train")
    return beside((y - x).unique().tolist(), [1])


def batch_blocks(my: Opened) -> Results:
    """Return how far tokens stand from the one before them."""
    x, _ = _batch(_batches(my, 100, MANY, 5), "validation")
    return beside(x.diff(dim=1).unique().tolist(), [1])


def batch_sides(my: Opened) -> Results:
    """Return whether blocks of each split hold tokens of the other."""
    batches, results = _batches(my, 100, MANY, 5), {}
    for split, tokens in batches.splits.items():
        met = torch.cat(_batch(batches, split))
        results[f"{split}, strangers"] = bool(((met < tokens[0]) | (met > tokens[-1])).any())
    return results


OUTSIDE, NEVER, OFTEN, SELDOM = "begin outside", "never drawn", "drawn too often", "drawn too seldom"


def start_facts(starts: Tensor, fits: int) -> Results:
    """Return what is wrong with the drawn starts of blocks, where 0 to `fits` - 1 are right. Judged by `all_alike`.

    Places are named only as long as no coarser fault explains them, so that the results do not depend on the draw.
    """
    outside = bool((starts < 0).any() or (starts >= fits).any())
    counts = torch.bincount(starts.clamp(0, fits - 1), minlength=fits)
    share = counts / counts.double().mean()
    never = [] if outside else (counts == 0).nonzero().flatten().tolist()
    often = [] if outside or never else (share >= 1.5).nonzero().flatten().tolist()
    seldom = [] if outside or never or often else (share <= 0.65).nonzero().flatten().tolist()
    return {"places": fits, OUTSIDE: outside, NEVER: never, OFTEN: often, SELDOM: seldom}


def all_alike(got: Results, wanted: Results) -> str | None:
    """Judge `start_facts`: every place where a block fits is drawn, and about equally often."""
    fits = got["places"]
    if got[OUTSIDE]:
        return f"a block begins outside of the {fits} places of its split where one fits with its last target"
    if never := got[NEVER]:
        which = (
            {0: "the first", fits - 1: "the last"}.get(never[0], f"number {never[0]}") if len(never) == 1 else f"{len(never)}"
        )
        return f"of the {fits} places where a block fits, {which} {'is' if len(never) == 1 else 'are'} never drawn"
    for how, places in (("more", got[OFTEN]), ("less", got[SELDOM])):
        if places:
            return f"place {places[0]} is drawn far {how} often than the others; all must be equally likely"
    return None


def batch_starts(my: Opened) -> Results:
    """Return where many blocks begin, in a split with nine places where one fits."""
    batches, generator = _batches(my, 150, 8, 6), seeded()
    tokens = batches.splits["validation"]
    firsts = [_batch(batches, "validation", generator)[0][:, 0] for _ in range(400)]
    return start_facts(torch.cat(firsts) - tokens[0], len(tokens) - 6)


STOPS, FITTING = "stops", "the one that fits"


def batch_shortest(my: Opened) -> Results:
    """Return the batch from a split that is one token longer than a block."""
    batches = _batches(my, 30, 40, 2)
    tokens = batches.splits["validation"]
    try:
        x, y = _batch(batches, "validation")
    except NotImplementedError:
        raise
    except (RuntimeError, IndexError, ValueError) as error:
        return {STOPS: type(error).__name__, FITTING: False}
    return {STOPS: "", FITTING: bool(x.eq(tokens[:2]).all() and y.eq(tokens[1:]).all())}


def batch_rows(my: Opened) -> Results:
    """Return how far the rows of a batch begin behind the first one, if that is the same in many batches."""
    batches, generator = _batches(my, 100, 3, 5), seeded()
    firsts = torch.stack([_batch(batches, "train", generator)[0][:, 0] for _ in range(40)])
    apart = (firsts[:, 1:] - firsts[:, :1]).unique(dim=0).tolist()
    return {"always apart": apart[0] if len(apart) == 1 else []}


def each_by_itself(got: Results, wanted: Results) -> str | None:
    """Judge `batch_rows`: rows do not keep their distance from batch to batch."""
    if apart := got["always apart"]:
        places = " and ".join(map(str, apart))
        return f"in every batch the rows begin {places} places after the first row: draw a start of its own for each row"
    return None


def batch_generator(my: Opened) -> Results:
    """Return what the generator decides."""
    batches = _batches(my, 2000, 8, 3)
    return generator_facts(lambda generator: two_tensors(batches.get_batch("train", generator), "get_batch", "x and y")[0])


def batch_device(my: Opened) -> Results:
    """Return where the work would be done with the tokens on a GPU; the generator stays on the CPU."""
    batches = _batches(my, 60, 3, 4)

    def run(data: Tensor) -> Tensor:
        batches.splits["train"] = data
        return torch.cat(_batch(batches, "train"))

    return stays_there(run, torch.arange(54), whose="get_batch")


SPLIT, BATCH = "1.2-split", "1.2-batch"
KEPT_IN_ORDER = {
    ONCE: "of {case}, some come back twice or not at all; every token belongs to exactly one part",
    IN_ORDER: "of {case}, some have changed places; no token may move",
    NO_GAPS: "of {case}, each part skips some; each must be one piece of the text",
    IN_FRONT: "with {case}, the parts come in the wrong order: return the part to train on first, then the one to validate on",
}
CHECKS = (
    Check(SPLIT, "in order", "the two parts, joined, are the tokens again", split_order, facts(KEPT_IN_ORDER), law=True),
    Check(SPLIT, "sizes", "the first part holds fraction x N tokens, rounded down", split_sizes, equal),
    Check(SPLIT, "default", "without a fraction it is 0.9", split_default, equal),
    Check(BATCH, "shape", "x and y are (batch_size, block_size), int64", batch_shapes, equal),
    Check(
        BATCH,
        "blocks",
        "the tokens of a block follow one another in the text",
        batch_blocks,
        agree(
            "from one token of a block to the next it must be 1 place in the text, but these steps come about: {found}",
            numbers=False,
        ),
        law=True,
    ),
    Check(
        BATCH,
        "targets",
        "y is x moved on by one",
        batch_targets,
        agree("in the text 0, 1, 2, ... y - x must be 1 everywhere, but its values are {found}", numbers=False),
        law=True,
    ),
    Check(
        BATCH,
        "one split",
        "blocks come from the split that is asked for, and only from it",
        batch_sides,
        facts({"strangers": "blocks for {case} hold tokens of the other split, which they must never show"}),
        law=True,
    ),
    Check(BATCH, "starts", "a block may begin wherever it fits, all places equally likely", batch_starts, all_alike, law=True),
    Check(
        BATCH,
        "shortest",
        "a split one token longer than a block holds just one",
        batch_shortest,
        facts(
            {
                STOPS: "in a split of 3 tokens one block of 2 fits with its targets, but get_batch stops with {found}",
                FITTING: "in a split of 3 tokens only one block of 2 fits with its targets, but get_batch returns others",
            }
        ),
        law=True,
    ),
    Check(BATCH, "rows", "each row of a batch is drawn by itself", batch_rows, each_by_itself, law=True),
    Check(
        BATCH,
        "generator",
        "the generator decides what is drawn, and nothing else",
        batch_generator,
        uses_generator("get_batch"),
        law=True,
    ),
    Check(
        BATCH,
        "device",
        "x and y lie where the tokens lie",
        batch_device,
        lies_there("get_batch", "data", remedy="move it with .to(data.device)"),
        law=True,
    ),
)
