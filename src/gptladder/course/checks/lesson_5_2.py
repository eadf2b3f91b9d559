"""Lesson 5.2: the complete GPT at work: top-k, the key/value cache, fused attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, all_true, difference, equal, past_stays
from .pretend_gpu import forms, stays_there
from .probes import SIZES, call, config, dropped, fill, normal, only, prefixed, with_gradients

TOP_K, APPEND, FUSED = "keep_top_k", "KeyValueCache.append", "FusedAttention.forward"
NEVER = float("-inf")
TAKEN_IN = "tokens that do not fit are taken in; they must lead to a ValueError"


def _kept(my: Opened, logits: Tensor, k: int) -> Tensor:
    return call(my("sampling.choose").keep_top_k, logits, k, whose=TOP_K)


def top_k_forms(my: Opened) -> Results:
    """Shape and dtype for several sizes."""
    return {
        f"for logits {shape} and k = {k}": [list(y.shape), str(y.dtype)]
        for shape, k in (((2, 5), 3), ((3, 1), 1), ((1, 7), 2))
        for y in [_kept(my, normal(*shape, dtype=torch.float32), k)]
    }


def top_k_count(my: Opened) -> Results:
    """Every k, on logits that are all different."""
    logits, results = normal(3, 7), {}
    for k in range(1, 8):
        left = (_kept(my, logits, k) > NEVER).sum(dim=1).tolist()
        results[f"k = {k}"] = (
            "" if left == [k] * 3 else f"k = {k} leaves {left} tokens in three rows of 7; it must leave {k} in each"
        )
    return results


def top_k_largest(my: Opened) -> Results:
    """Which are kept, and what becomes of the others."""
    logits, results = normal(3, 7), {}
    for k in (1, 3):
        y = _kept(my, logits, k)
        ranks = logits.argsort(dim=1, descending=True).argsort(dim=1)
        rest = y[ranks >= k]
        words = f"of a row and k = {k}"
        results[f"kept, k = {k}"] = (
            f"{words} the largest must stay as they were" if difference(y[ranks < k], logits[ranks < k]) else ""
        )
        results[f"rest, k = {k}"] = "" if (rest == NEVER).all() else f"{words} the others must become exactly minus infinity"
    return results


def top_k_rows(my: Opened) -> Results:
    """One row of much larger logits, and each row alone."""
    logits = normal(3, 7) + torch.tensor([[0.0], [50.0], [-50.0]])
    alone = torch.cat([_kept(my, logits[i : i + 1], 2) for i in range(3)])
    same = difference(_kept(my, logits, 2), alone) is None
    return {"rows": "" if same else "the rows of a batch have a say in one another; each row keeps its own k largest"}


def top_k_ties(my: Opened) -> Results:
    """The worked example, and a row of equal logits."""
    results: Results = {}
    for row, k, right in (((3.0, 2.0, 2.0, 1.0), 2, 3), ((1.0, 1.0, 1.0, 1.0), 1, 4), ((1.0, 2.0, 3.0, 3.0), 1, 2)):
        left = int((_kept(my, torch.tensor([row]), k) > NEVER).sum())
        results[f"{row}, {k}"] = (
            "" if left == right else f"of {row} k = {k} leaves {left}; {right} is right: equals stay together"
        )
    return results


def top_k_all(my: Opened) -> Results:
    """A k beyond the vocabulary."""
    logits = normal(2, 5)
    same = difference(_kept(my, logits, 9), logits) is None
    return {"all": "" if same else "with k = 9 all of 5 logits must stay as they were"}


def top_k_values(my: Opened) -> Results:
    """Logits with everything but the k largest taken out."""
    return {f"V = {V}, k = {k}": _kept(my, 3 * normal(B, V), k) for B, V, k in ((2, 5, 3), (3, 1, 1), (1, 11, 4))}


def _cache(my: Opened, block_size: int) -> nn.Module:
    return my("model.cache").KeyValueCache(block_size)


def _append(cache: nn.Module, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The pair that append returns. Mistake if it returns anything else or writes into what it was given."""
    before = keys.clone(), values.clone()
    found = cache.append(keys, values)  # type: ignore[operator]
    if not isinstance(found, tuple | list) or len(found) != 2 or not all(isinstance(part, Tensor) for part in found):
        raise Mistake(f"{APPEND} must return two tensors, all keys and all values, and not {type(found).__name__}")
    if not torch.equal(before[0], keys) or not torch.equal(before[1], values):
        raise Mistake(f"{APPEND} changed what it was given in place")
    return found[0], found[1]


def _pair(T: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Keys and values (2, 3, T, 5)."""
    return normal(2, 3, T, 5, seed=2 * seed), normal(2, 3, T, 5, seed=2 * seed + 1)


def _in_pieces(cache: nn.Module, keys: Tensor, values: Tensor, sizes: tuple[int, ...]) -> str:
    """What is wrong when these come piece by piece; empty if each time all so far is given back."""
    known = 0
    for size in sizes:
        known += size
        got = _append(cache, keys[:, :, known - size : known], values[:, :, known - size : known])
        for part, whole, name in zip(got, (keys, values), ("keys", "values"), strict=True):
            if problem := difference(part, whole[:, :, :known]):
                return f"{name} that came as pieces of {sizes} tokens: when {known} are there, {problem}"
    return ""


def cache_values(my: Opened) -> Results:
    """What comes back after each of three pieces, at several sizes."""
    results: Results = {}
    for B, T, H, D in SIZES:
        cache = _cache(my, T + 5)
        for size, seed in ((T, 0), (1, 1), (3, 2)):
            got = _append(cache, normal(B, H, size, D, seed=seed), normal(B, H, size, D, seed=seed + 9))
            results |= {
                f"B = {B}, H = {H}, D = {D}, piece {seed + 1}, {name}": part for name, part in zip("kv", got, strict=True)
            }
    return results


def cache_forms(my: Opened) -> Results:
    """Single precision, and where the result lies."""
    torch.set_default_dtype(torch.float32)
    keys, values = (part.float() for part in _pair(3))
    got = _append(_cache(my, 7), keys, values)

    def both(keys: Tensor, values: Tensor) -> Tensor:
        return torch.stack(tuple(_append(_cache(my, 7), keys, values)))

    if problem := stays_there(both, keys, values, whose=APPEND, given="keys")["device"]:
        raise Mistake(problem)
    return {"the dtype for float32": [str(part.dtype) for part in got]}


def cache_whole(my: Opened) -> Results:
    """Seven tokens, cut into pieces in several ways, in caches that just hold them and in larger ones."""
    keys, values = _pair(7)
    return {
        f"{sizes} in {room}": _in_pieces(_cache(my, room), keys, values, sizes)
        for sizes in ((7,), (1,) * 7, (3, 1, 1, 2), (2, 5))
        for room in (7, 9)
    }


def _refused(cache: nn.Module, T: int) -> str:
    """Empty if tokens that do not fit lead to a ValueError."""
    try:
        _append(cache, *_pair(T, seed=5))
    except ValueError:
        return ""
    except (RuntimeError, IndexError) as error:
        return (
            f"tokens that do not fit end in a {type(error).__name__}; raise a ValueError that says so before anything is stored"
        )
    return TAKEN_IN


def cache_room(my: Opened) -> Results:
    """Too many at once, and too many after some."""
    cache = _cache(my, 5)
    at_once = _refused(_cache(my, 5), 6)
    _append(cache, *_pair(3))
    return {"at once": at_once, "after 3": _refused(cache, 3)}


def cache_nothing_lost(my: Opened) -> Results:
    """What was there before a refusal is there after it."""
    keys, values = _pair(5)
    cache = _cache(my, 5)
    _append(cache, keys[:, :, :3], values[:, :, :3])
    if _refused(cache, 3) == TAKEN_IN:
        return {"lost": TAKEN_IN}
    try:
        got = _append(cache, keys[:, :, 3:], values[:, :, 3:])
    except ValueError:
        return {"lost": "after a refusal tokens that do fit are refused too: what did not fit was stored nevertheless"}
    off = difference(got[0], keys) or difference(got[1], values)
    return {"lost": f"after a refusal the cache no longer holds what it held: {off}" if off else ""}


def cache_clear(my: Opened) -> Results:
    """Three texts one after the other in one cache."""
    cache, results = _cache(my, 6), {}
    for number, sizes in enumerate(((4, 2), (1, 1), (3, 2, 1))):
        problem = _in_pieces(cache, *_pair(sum(sizes), seed=number), sizes)
        length = cache.length
        results[f"text {number}"] = (
            f"after {number} times clear(): {problem}"
            if problem and number
            else problem or (f"length is {length} with {sum(sizes)} tokens held" if length != sum(sizes) else "")
        )
        cache.clear()  # type: ignore[operator]
    return results


def cache_apart(my: Opened) -> Results:
    """Two caches in turn, as two blocks have them."""
    alone, one, other = (_cache(my, 4) for _ in range(3))
    (keys, values), (others, _) = _pair(4), _pair(4, seed=3)
    _append(alone, keys[:, :, :2], values[:, :, :2])
    wanted = _append(alone, keys[:, :, 2:], values[:, :, 2:])[0].clone()
    _append(one, keys[:, :, :2], values[:, :, :2])
    _append(other, others, others)
    off = difference(_append(one, keys[:, :, 2:], values[:, :, 2:])[0], wanted)
    return {"apart": f"what one cache is given turns up in another: {off}" if off else ""}


def _written_out(my: Opened, H: int, D: int, project: nn.Module | None = None, dropout: float = 0.0) -> nn.Module:
    settings = config(my, n_head=H, n_embd=H * D, dropout=dropout)
    project = project or nn.Linear(H * D, H * D)
    return fill(my("model.attention").MultiHeadAttention(settings, project=project)).eval()


def _fused(my: Opened, H: int, D: int, project: nn.Module | None = None, dropout: float = 0.0) -> nn.Module:
    return my("model.fusing").fuse(_written_out(my, H, D, project, dropout))


def fused_forms(my: Opened) -> Results:
    """Shape, dtype and device; a single token among the shapes."""
    return forms(_fused(my, 3, 4), (2, 5, 12), (3, 1, 12), (1, 7, 12), whose=FUSED)


def fused_causality(my: Opened) -> Results:
    """One token is changed."""
    attention, x = _fused(my, 3, 4), normal(2, 7, 12)
    changed = x.clone()
    changed[:, 4] = normal(2, 12, seed=1)
    return {"before": call(attention, x, whose=FUSED), "after": call(attention, changed, whose=FUSED), "changed": 4}


@torch.no_grad()
def fused_same(my: Opened) -> Results:
    """The written-out attention beside it; and a head that stands alone."""
    results: Results = {}
    for B, T, H, D in SIZES:
        x = normal(B, T, H * D)
        problem = difference(call(_fused(my, H, D), x, whose=FUSED), _written_out(my, H, D)(x))
        words = f"with B = {B}, T = {T}, H = {H}, D = {D} MultiHeadAttention gives something else: {problem}"
        results[f"B = {B}, T = {T}, H = {H}, D = {D}"] = words if problem else ""
    x, head = normal(2, 5, 6), fill(my("model.attention").Head(config(my, n_head=1, n_embd=6), 6)).eval()
    wanted = head(x)
    problem = difference(call(my("model.fusing").fuse(head), x, whose=FUSED), wanted)
    return results | {"a head alone": f"of a single head Head makes something else: {problem}" if problem else ""}


@torch.no_grad()
def fused_cache(my: Opened) -> Results:
    """Seven tokens, piece by piece."""
    x, results = normal(2, 7, 12), {}
    wanted = _written_out(my, 3, 4)(x)
    for sizes in ((7,), (4, 1, 1, 1), (2, 3, 2)):
        attention = _fused(my, 3, 4)
        attention.cache = attention.new_cache(7)  # type: ignore[operator]
        pieces = [call(attention, piece, whose=FUSED) for piece in x.split(sizes, dim=1)]
        problem = difference(torch.cat(pieces, dim=1), wanted)
        words = f"with a cache and pieces of {sizes} tokens something else comes out than for all at once: {problem}"
        results[f"pieces of {sizes}"] = words if problem else ""
    return results


@torch.no_grad()
def fused_weights_dropped(my: Opened) -> Results:
    """A text of one token has one weight per head: if that is dropped, so is all that the head says."""
    H, D, p, count = 3, 4, 0.5, 400
    attention, x = _fused(my, H, D, nn.Identity(), dropout=p), normal(count, 1, H * D)
    attention.dropout = nn.Identity()
    whole = call(attention, x, whose=FUSED)
    steady = difference(call(attention, x, whose=FUSED), whole) is None
    y = call(attention.train(), x, whose=FUSED).view(count, H, D)
    zeros = (y == 0).double()
    share, together = zeros.mean().item(), ((zeros.sum(dim=-1) % D) == 0).all()
    kept = y != 0
    grown = difference(y[kept], whole.view(count, H, D)[kept] / (1 - p)) is None
    off = abs(share - p) > 6 * math.sqrt(p * (1 - p) / (count * H))
    return {
        "eval": "" if steady else "weights are dropped in eval() too; only self.training drops",
        "share": f"in training about {share:.1f} of the attention weights are dropped, where config.dropout is {p}"
        if off
        else "",
        "weights": "" if together else "single numbers are dropped, not attention weights",
        "grown": "" if grown else "weights that dropout leaves must grow by 1/(1 - p)",
    }


def fused_dropout(my: Opened) -> Results:
    """What dropout does to an output of nothing but ones; and whether there is any behind the attention, wherever it stands."""
    attention = _fused(my, 3, 4, nn.Identity(), dropout=0.5)
    attention.dropout = only(0.0)
    some = difference(call(attention, normal(4, 7, 12), whose=FUSED), torch.zeros(4, 7, 12)) is None
    return {
        "last": dropped(_fused(my, 3, 4, only(1.0), dropout=0.5), normal(4, 7, 12), 0.5, whose=FUSED),
        "anywhere": "" if some else "self.dropout is not used, neither before nor after the projection",
    }


def fused_project(my: Opened) -> Results:
    """A projection that always says 7."""
    y = call(_fused(my, 3, 4, only(7.0)), normal(2, 5, 12), whose=FUSED)
    return {"project": "" if (y == 7).all() else "the output is not what self.project makes of the heads' outputs"}


def fused_values(my: Opened) -> Results:
    """Outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, H, D in (*SIZES, (2, 3, 1, 5)):
        attention = _fused(my, H, D)
        found = with_gradients(attention, normal(B, T, H * D), whose=FUSED, module=attention)
        results |= prefixed(f"B = {B}, T = {T}, H = {H}, D = {D}", found)
    return results


CHECKS = (
    Check("5.2-top-k", "shape", "(B, V) stays (B, V), of the logits' dtype", top_k_forms, equal),
    Check("5.2-top-k", "count", "k tokens of each row stay", top_k_count, all_true, law=True),
    Check(
        "5.2-top-k", "largest", "the largest stay as they were, the rest is minus infinity", top_k_largest, all_true, law=True
    ),
    Check("5.2-top-k", "rows", "each row by itself", top_k_rows, all_true, law=True),
    Check("5.2-top-k", "ties", "those equal to the k-th stay with it", top_k_ties, all_true, law=True),
    Check("5.2-top-k", "all", "a k larger than V keeps all", top_k_all, all_true, law=True),
    Check("5.2-top-k", "values", "the logits that are left", top_k_values, equal),
    Check("5.2-cache", "values", "all keys and all values so far, the new ones last", cache_values, equal),
    Check("5.2-cache", "pieces", "however a text is cut, the whole comes back", cache_whole, all_true, law=True),
    Check("5.2-cache", "room", "a ValueError for tokens that do not fit", cache_room, all_true, law=True),
    Check("5.2-cache", "nothing lost", "a refusal changes nothing", cache_nothing_lost, all_true, law=True),
    Check(
        "5.2-cache",
        "clear",
        "length counts the tokens held; after clear() the cache begins anew",
        cache_clear,
        all_true,
        law=True,
    ),
    Check("5.2-cache", "apart", "each cache keeps its own", cache_apart, all_true, law=True),
    Check("5.2-cache", "dtype and device", "of the keys' dtype, where they lie", cache_forms, equal),
    Check("5.2-fused", "shape", "(B, T, C) stays (B, T, C), of x's dtype, where x lies", fused_forms, equal),
    Check("5.2-fused", "causality", "no position sees a later one", fused_causality, past_stays, law=True),
    Check("5.2-fused", "project", "the heads' outputs pass through self.project", fused_project, all_true, law=True),
    Check("5.2-fused", "same", "what MultiHeadAttention gives, with the same weights", fused_same, all_true, law=True),
    Check("5.2-fused", "cache", "with a cache, piece by piece, the same comes out", fused_cache, all_true, law=True),
    Check(
        "5.2-fused",
        "weights dropped",
        "attention weights are dropped, in training alone",
        fused_weights_dropped,
        all_true,
        True,
    ),
    Check("5.2-fused", "dropout", "self.dropout comes last", fused_dropout, all_true, law=True),
    Check("5.2-fused", "values", "the output and its gradients", fused_values, equal),
)
