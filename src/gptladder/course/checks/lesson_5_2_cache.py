"""Lesson 5.2, the key/value cache: keys and values of the tokens so far, kept from one call to the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .check import Check, Opened, Results, agree, beside, equal
from .pretend_gpu import keeps_form, stays_there
from .probes import SIZES, normal, run, two_tensors

APPEND = "KeyValueCache.append"
TAKEN_IN = "taken in"
REFUSAL, AFTERWARDS = "3 tokens after 3, with block_size 5", "2 tokens that fit"
NAMES = ("keys", "values")


def _cache(my: Opened, block_size: int) -> nn.Module:
    return my("model.cache").KeyValueCache(block_size)


def _append(cache: nn.Module, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return copies of the pair that append returns; raise Mistake if it is none, or if append writes into its arguments."""
    found = run(cache.append, keys, values, whose=APPEND)  # type: ignore[arg-type]
    all_keys, all_values = two_tensors(found, APPEND, "all keys and all values")
    return all_keys.clone(), all_values.clone()


def _pair(T: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return keys and values (2, 3, T, 5)."""
    return normal(2, 3, T, 5, seed=2 * seed), normal(2, 3, T, 5, seed=2 * seed + 1)


def _in_pieces(cache: nn.Module, pair: tuple[Tensor, Tensor], sizes: tuple[int, ...], case: str) -> Results:
    """Return what comes back after each piece of these sizes, beside all tokens so far."""
    results, known = Results(), 0
    for size in sizes:
        new = [part[:, :, known : known + size] for part in pair]
        known += size
        for name, found, whole in zip(NAMES, _append(cache, *new), pair, strict=True):
            results |= beside(found, whole[:, :, :known], f"{name} after {known} tokens {case}")
    return results


def cache_values(my: Opened) -> Results:
    """Return what comes back after each of three pieces, at several sizes."""
    results: Results = {}
    for B, T, H, D in SIZES:
        cache = _cache(my, T + 5)
        for size, seed in ((T, 0), (1, 1), (3, 2)):
            got = _append(cache, normal(B, H, size, D, seed=seed), normal(B, H, size, D, seed=seed + 9))
            for name, part in zip(NAMES, got, strict=True):
                results[f"B = {B}, H = {H}, D = {D}, piece {seed + 1}, {name}"] = part
    return results


def cache_forms(my: Opened) -> Results:
    """Return the dtypes for single precision, and where the results lie."""
    torch.set_default_dtype(torch.float32)
    keys, values = (part.float() for part in _pair(3))
    got = _append(_cache(my, 7), keys, values)

    def both(keys: Tensor, values: Tensor) -> Tensor:
        return torch.stack(tuple(_append(_cache(my, 7), keys, values)))

    return {"the dtype for float32": [str(part.dtype) for part in got]} | stays_there(both, keys, values, whose=APPEND)


def cache_whole(my: Opened) -> Results:
    """Return what comes back of seven tokens in several pieces, in caches of that size and of a larger one."""
    results: Results = {}
    for sizes in ((7,), (1,) * 7, (3, 1, 1, 2), (2, 5)):
        for room in (7, 9):
            case = f"in pieces of {', '.join(map(str, sizes))} with block_size {room}"
            results |= _in_pieces(_cache(my, room), _pair(7), sizes, case)
    return results


def _refusal(cache: nn.Module, T: int) -> str:
    """Return what becomes of T tokens that do not fit: the name of an error, or `TAKEN_IN`."""
    try:
        _append(cache, *_pair(T, seed=5))
    except (ValueError, RuntimeError, IndexError) as error:
        return type(error).__name__
    return TAKEN_IN


def cache_room(my: Opened) -> Results:
    """Return what becomes of too many tokens at once, and of too many after some."""
    cache = _cache(my, 5)
    at_once = _refusal(_cache(my, 5), 6)
    _append(cache, *_pair(3))
    return {"6 tokens at once, with block_size 5": at_once, "3 tokens after 3, with block_size 5": _refusal(cache, 3)}


def refuses(got: Results, wanted: Results) -> str | None:
    """Judge what became of tokens that do not fit: a ValueError."""
    for case, outcome in got.items():
        if outcome == TAKEN_IN:
            return f"{case}, do not fit, but append takes them in; it must raise a ValueError"
        if outcome != "ValueError":
            return f"{case}, do not fit and end in a {outcome}; append must raise a ValueError before it stores anything"
    return None


def cache_nothing_lost(my: Opened) -> Results:
    """Return what becomes of tokens that do not fit, and what comes back when tokens that fit come after them."""
    pair, cache = _pair(5), _cache(my, 5)
    _append(cache, *(part[:, :, :3] for part in pair))
    results: Results = {REFUSAL: _refusal(cache, 3)}
    if results[REFUSAL] == TAKEN_IN:
        return results
    try:
        got = _append(cache, *(part[:, :, 3:] for part in pair))
    except ValueError:
        return results | {AFTERWARDS: "refused"}
    return results | beside(got[0], pair[0], "keys") | beside(got[1], pair[1], "values")


HOLDS = agree("after a refusal the cache must still hold all tokens from before, with the new ones behind them ({case})")


def loses_nothing(got: Results, wanted: Results) -> str | None:
    """Judge `cache_nothing_lost`: a refusal changes nothing."""
    if got[REFUSAL] == TAKEN_IN:
        return refuses({REFUSAL: got[REFUSAL]}, {})
    if AFTERWARDS in got:
        return "after a refusal, tokens that do fit are refused too: what did not fit was stored all the same"
    return HOLDS(got, wanted)


def cache_clear(my: Opened) -> Results:
    """Return what comes back for three texts, one after the other in one cache, and its length."""
    cache, results = _cache(my, 6), Results()
    for number, sizes in enumerate(((4, 2), (1, 1), (3, 2, 1)), start=1):
        results |= _in_pieces(cache, _pair(sum(sizes), seed=number), sizes, f"of text {number}")
        results |= beside(cache.length, sum(sizes), f"length at the end of text {number}")
        cache.clear()  # type: ignore[operator]
    return results


def cache_apart(my: Opened) -> Results:
    """Return the keys that come back when another cache is used in between, as two blocks do, beside the right ones."""
    one, other = _cache(my, 4), _cache(my, 4)
    (keys, values), others = _pair(4), _pair(4, seed=3)
    _append(one, keys[:, :, :2], values[:, :, :2])
    _append(other, *others)
    return beside(_append(one, keys[:, :, 2:], values[:, :, 2:])[0], keys)


ID = "5.2-cache"
PIECES = "append must return all that it was given so far, the oldest first ({case})"
CLEAR = "length must count the tokens that are held, and after clear() the cache must begin empty again ({case})"
APART = "each cache must keep its own tokens; when another cache is used in between, all keys must come back as before"
CHECKS = (
    Check(ID, "values", "all keys and all values so far, the new ones last", cache_values, equal),
    Check(ID, "pieces", "in whatever pieces a text comes, the whole comes back", cache_whole, agree(PIECES), law=True),
    Check(ID, "room", "a ValueError for tokens that do not fit", cache_room, refuses, law=True),
    Check(ID, "nothing lost", "a refusal changes nothing", cache_nothing_lost, loses_nothing, law=True),
    Check(ID, "clear", "length counts the tokens held; clear() empties the cache", cache_clear, agree(CLEAR), law=True),
    Check(ID, "apart", "each cache keeps its own", cache_apart, agree(APART), law=True),
    Check(ID, "dtype and device", "with the keys' dtype, where they lie", cache_forms, keeps_form(APPEND, "keys")),
)
