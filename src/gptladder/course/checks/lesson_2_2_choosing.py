"""Lesson 2.2, its second part: the choice of the next token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .check import Check, Mistake, Opened, Results, equal, facts
from .fakes import V
from .pretend_gpu import lies_there, stays_there
from .probes import call, generator_facts, normal, prefixed, seeded, uses_generator

CHOOSE = "choose_next"
SIGMAS = 6  # how far a share may lie from its probability: a right one goes beyond once in 500 million


def new_sampling(my: Opened, **settings: Any) -> Any:  # noqa: ANN401  the Sampling of the package under test
    """Return settings of how the next token is drawn."""
    return my("sampling.choose").Sampling(**settings)


def settings_in_words(settings: dict[str, float]) -> str:
    """Return settings as a learner would write them."""
    return ", ".join(f"{name} = {value:g}" for name, value in settings.items()) or "temperature = 1"


def one_each(chosen: Tensor, rows: int, whose: str) -> None:
    """Raise Mistake if this is not one token for each row."""
    if tuple(chosen.shape) != (rows,) or chosen.dtype != torch.int64:
        given = f"shape {tuple(chosen.shape)} and {str(chosen.dtype).removeprefix('torch.')}"
        raise Mistake(f"{whose} {given} for {rows} rows; ({rows},) and int64 are right, one token each")


def _choose(my: Opened, logits: Tensor, sampling: Any, generator: torch.Generator | None = None) -> Tensor:  # noqa: ANN401
    """Return what choose_next returns; raise Mistake if it is not one token for each row."""
    chosen = call(my("sampling.choose").choose_next, logits, sampling, generator, whose=CHOOSE)
    one_each(chosen, len(logits), f"{CHOOSE} returned")
    if strange := [token for token in chosen.tolist() if not 0 <= token < logits.size(-1)]:
        raise Mistake(f"{CHOOSE} chose {strange[0]}, but tokens go from 0 to {logits.size(-1) - 1}")
    return chosen


def choose_sure(my: Opened) -> Results:
    """Return the tokens for settings and logits that leave nothing to chance."""
    results: Results = {}
    for B, size in ((3, 5), (1, 4), (6, 2)):
        logits = normal(B, size, seed=B)
        for settings in (
            {"temperature": 0.7, "top_k": 1},
            {"temperature": 0.0},
            {"top_p": 1e-6},
            {"temperature": 2.0, "top_k": 1},
        ):
            case = f"{B} rows of {size} with {settings_in_words(settings)}"
            results[case] = _choose(my, logits, new_sampling(my, **settings), seeded())
    torch.set_default_dtype(torch.float32)
    logits = torch.full((2, V), -60.0)
    logits[0, 3] = logits[1, 5] = 60.0
    results["rows with one logit far above all others"] = _choose(my, logits, new_sampling(my), seeded())
    return results


LARGEST, STILL = "takes the largest", "draws nothing"


def choose_greedy(my: Opened) -> Results:
    """Return what temperature 0 takes, and whether the generator stays where it is."""
    logits, generator = normal(5, V), seeded()
    before, results = generator.get_state(), Results()
    for settings in ({"temperature": 0.0}, {"temperature": 0.0, "top_k": 3, "top_p": 0.9}):
        chosen = _choose(my, logits, new_sampling(my, **settings), generator)
        results[f"{settings}, {LARGEST}"] = torch.equal(chosen, logits.max(dim=-1).indices)
        results[f"{settings}, {STILL}"] = torch.equal(generator.get_state(), before)
    return results


def shares(chosen: Tensor, right: list[float], case: str) -> Results:
    """Return which tokens come more or less often than their probabilities allow, and how often. Judged by `right_shares`.

    Right shares are not returned and wrong ones only in steps of 5 %, so that the draw hardly changes the results.
    """
    found = [(chosen == token).double().mean().item() for token in range(len(right))]
    strays = [
        token
        for token, (share, p) in enumerate(zip(found, right, strict=True))
        if abs(share - p) > SIGMAS * (p * (1 - p) / len(chosen)) ** 0.5
    ]
    in_steps = [round(20 * found[token]) / 20 for token in strays]
    return {f"{case}, right": right, f"{case}, strays": strays, f"{case}, shares": in_steps}


def right_shares(got: Results, wanted: Results) -> str | None:
    """Judge `shares`: every token comes as often as its probability allows."""
    for case in (name.removesuffix(", strays") for name, strays in got.items() if name.endswith(", strays") and strays):
        token, share = got[f"{case}, strays"][0], got[f"{case}, shares"][0]
        p = got[f"{case}, right"][token]
        if p == 0:
            return f"with {case}, token {token} is drawn, which should never come"
        return f"with {case}, token {token} comes in about {share:.0%} of the draws, where {100 * p:.3g}% is right"
    return None


def _drawn(my: Opened, right: list[float], logits: list[float], **settings: Any) -> Results:  # noqa: ANN401
    """Return the `shares` of 4,000 rows that are all alike."""
    chosen = _choose(my, torch.tensor([logits]).repeat(4000, 1), new_sampling(my, **settings), seeded())
    return shares(chosen, right, settings_in_words(settings))


def _logs(*shares: float) -> list[float]:
    return torch.tensor(shares).log().tolist()


FOUR = (0.1, 0.4, 0.3, 0.2)


def choose_shares(my: Opened) -> Results:
    """Return how often each token comes."""
    return _drawn(my, [0.5, 0.3, 0.15, 0.05], _logs(0.5, 0.3, 0.15, 0.05))


def choose_temperature(my: Opened) -> Results:
    """Return the shares at half and at twice the temperature: odds of 9 to 1 become 81 to 1, and 3 to 1."""
    half = _drawn(my, [81 / 82, 1 / 82], _logs(0.9, 0.1), temperature=0.5)
    return half | _drawn(my, [0.75, 0.25], _logs(0.9, 0.1), temperature=2.0)


def choose_top_k(my: Opened) -> Results:
    """Return the shares among the k likeliest."""
    cases = {2: [0, 4 / 7, 3 / 7, 0], 3: [0, 4 / 9, 3 / 9, 2 / 9], 9: [*FOUR]}
    return {name: value for k, right in cases.items() for name, value in _drawn(my, right, _logs(*FOUR), top_k=k).items()}


def choose_top_p(my: Opened) -> Results:
    """Return the shares among the likeliest that hold p together; then both limits at once, where k allows less."""
    half = _drawn(my, [0, 4 / 7, 3 / 7, 0], _logs(*FOUR), top_p=0.5)
    more = _drawn(my, [0, 4 / 9, 3 / 9, 2 / 9], _logs(*FOUR), top_p=0.8)
    return half | more | _drawn(my, [0, 4 / 7, 3 / 7, 0], _logs(*FOUR), top_k=2, top_p=0.95)


OWN, ANOTHERS, BY_ITSELF = "own logits", "never another row's", "drawn by itself"


def choose_rows(my: Opened) -> Results:
    """Return whether each row goes by its own logits, and draws for itself.

    That no row takes what only another row is sure of tells mistakes from one another; it is not judged.
    """
    sure = torch.tensor([3, 0, 6, 2] * 10)
    chosen = _choose(my, 40 * torch.eye(V)[sure], new_sampling(my), seeded())
    alike = _choose(my, torch.zeros(60, V), new_sampling(my), seeded())
    others = torch.isin(chosen, sure) & (chosen != sure)
    return {OWN: torch.equal(chosen, sure), ANOTHERS: not others.any().item(), BY_ITSELF: len(alike.unique()) > 1}


def choose_generator(my: Opened) -> Results:
    """Return what the generator decides."""
    logits, sampling = torch.zeros(60, V), new_sampling(my)
    return generator_facts(lambda generator: _choose(my, logits, sampling, generator))


def choose_device(my: Opened) -> Results:
    """Return where the work would be done with logits on a GPU, greedily and not."""
    results: Results = {}
    for temperature in (1.0, 0.0):
        sampling = new_sampling(my, temperature=temperature, top_k=3)

        def run(logits: Tensor, sampling: Any = sampling) -> Tensor:  # noqa: ANN401
            return _choose(my, logits, sampling, seeded())

        results |= prefixed(str(temperature), stays_there(run, normal(3, V), whose=CHOOSE))
    return results


GREEDY = {
    LARGEST: "at temperature 0 it takes a token that does not have the largest logit of its row",
    STILL: "at temperature 0 it draws from the generator, though nothing is left to chance",
}
EACH_ROW = {
    OWN: "each row must be chosen by its own logits, but rows that are sure of one token give another",
    BY_ITSELF: "each row must be drawn by itself, but 60 rows with the same logits all give the same token",
}
GENERATOR = "the generator decides what is drawn, and nothing else"
CHOICE = "2.2-choose"
CHECKS = (
    Check(CHOICE, "sure", "one token for each row, (B, V) -> (B,), int64", choose_sure, equal),
    Check(CHOICE, "greedy", "temperature 0 takes the largest logit and draws nothing", choose_greedy, facts(GREEDY), law=True),
    Check(CHOICE, "shares", "each token comes as often as its probability says", choose_shares, right_shares, law=True),
    Check(CHOICE, "temperature", "logits are divided by the temperature", choose_temperature, right_shares, law=True),
    Check(CHOICE, "top_k", "with top_k only the k likeliest are drawn", choose_top_k, right_shares, law=True),
    Check(CHOICE, "top_p", "with top_p only the fewest that hold p together are drawn", choose_top_p, right_shares, law=True),
    Check(CHOICE, "rows", "each row is chosen by itself", choose_rows, facts(EACH_ROW), law=True),
    Check(CHOICE, "generator", GENERATOR, choose_generator, uses_generator(CHOOSE), law=True),
    Check(CHOICE, "device", "the tokens lie where the logits lie", choose_device, lies_there(CHOOSE, "logits"), law=True),
)
