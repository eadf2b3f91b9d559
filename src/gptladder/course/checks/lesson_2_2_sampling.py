"""Lesson 2.2, its second half: the choice of the next token, and writing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, all_true, equal
from .fakes import Summing, Table, V, cycle
from .pretend_gpu import stays_there
from .probes import call, generator_problem, normal, prefixed, seeded, tokens

CHOOSE, GENERATE = "choose_next", "generate"
SIGMAS = 6  # how far a share may lie from its probability: a right one goes beyond once in 500 million


def _sampling(my: Opened, **settings: Any) -> Any:  # noqa: ANN401  the Sampling of the package under test
    return my("sampling.choose").Sampling(**settings)


def _choose(my: Opened, logits: Tensor, sampling: Any, generator: torch.Generator | None = None) -> Tensor:  # noqa: ANN401
    """What choose_next gives. Mistake if it is not one token for each row."""
    chosen = call(my("sampling.choose").choose_next, logits, sampling, generator, whose=CHOOSE)
    if chosen.shape != logits.shape[:1] or chosen.dtype != torch.int64:
        given = f"shape {tuple(chosen.shape)} and {str(chosen.dtype).removeprefix('torch.')}"
        raise Mistake(f"{CHOOSE} returned {given} for {len(logits)} rows; ({len(logits)},) and int64 are right, one token each")
    if strange := [token for token in chosen.tolist() if not 0 <= token < logits.size(-1)]:
        raise Mistake(f"{CHOOSE} chose {strange[0]}, but tokens go from 0 to {logits.size(-1) - 1}")
    return chosen


def shares_problem(chosen: Tensor, right: list[float]) -> str:
    """Which token came more or less often than its probability allows; empty if none did."""
    for token, p in enumerate(right):
        share = (chosen == token).double().mean().item()
        if p == 0 and share > 0:
            return f"token {token} is drawn, which should never come"
        if abs(share - p) > SIGMAS * (p * (1 - p) / len(chosen)) ** 0.5:
            return f"token {token} comes in {share:.0%} of the draws, where {p:.0%} are right"
    return ""


def _drawn(my: Opened, right: list[float], logits: list[float], **settings: Any) -> str:  # noqa: ANN401
    """The problem with the shares of 4,000 rows that are all alike."""
    chosen = _choose(my, torch.tensor([logits]).repeat(4000, 1), _sampling(my, **settings), seeded())
    words = ", ".join(f"{name} = {value:g}" for name, value in settings.items()) or "temperature = 1"
    problem = shares_problem(chosen, right)
    return f"with {words} {problem}" if problem else ""


def _logs(*shares: float) -> list[float]:
    return torch.tensor(shares).log().tolist()


def choose_sure(my: Opened) -> Results:
    """Settings and logits that leave nothing to chance."""
    results: Results = {}
    for B, size in ((3, 5), (1, 4), (6, 2)):
        logits = normal(B, size, seed=B)
        for settings in (
            {"temperature": 0.7, "top_k": 1},
            {"temperature": 0.0},
            {"top_p": 1e-6},
            {"temperature": 2.0, "top_k": 1},
        ):
            words = ", ".join(f"{name} = {value:g}" for name, value in settings.items())
            results[f"{B} rows of {size} with {words}"] = _choose(my, logits, _sampling(my, **settings), seeded())
    torch.set_default_dtype(torch.float32)
    logits = torch.full((2, V), -60.0)
    logits[0, 3] = logits[1, 5] = 60.0
    results["rows with one logit far above all others"] = _choose(my, logits, _sampling(my), seeded())
    return results


def choose_greedy(my: Opened) -> Results:
    """Temperature 0, with a generator that should stay where it is."""
    logits, generator = normal(5, V), seeded()
    before = generator.get_state()
    results = {}
    for settings in ({}, {"top_k": 3, "top_p": 0.9}):
        chosen = _choose(my, logits, _sampling(my, temperature=0, **settings), generator)
        if not torch.equal(chosen, logits.max(dim=-1).indices):
            results[str(settings)] = "at temperature 0 a token is taken that has not the largest logit of its row"
        elif not torch.equal(generator.get_state(), before):
            results[str(settings)] = "at temperature 0 something is drawn, though nothing is left to chance"
    return dict(results)


def choose_shares(my: Opened) -> Results:
    """How often each token comes."""
    return {"shares": _drawn(my, [0.5, 0.3, 0.15, 0.05], _logs(0.5, 0.3, 0.15, 0.05))}


def choose_temperature(my: Opened) -> Results:
    """Shares at half and at twice the temperature: odds of 9 to 1 become 81 to 1, and 3 to 1."""
    cases = {0.5: [81 / 82, 1 / 82], 2.0: [0.75, 0.25]}
    return {str(t): _drawn(my, right, _logs(0.9, 0.1), temperature=t) for t, right in cases.items()}


def choose_top_k(my: Opened) -> Results:
    """Shares among the k likeliest."""
    logits = _logs(0.1, 0.4, 0.3, 0.2)
    cases = {2: [0, 4 / 7, 3 / 7, 0], 3: [0, 4 / 9, 3 / 9, 2 / 9], 9: [0.1, 0.4, 0.3, 0.2]}
    return {str(k): _drawn(my, right, logits, top_k=k) for k, right in cases.items()}


def choose_top_p(my: Opened) -> Results:
    """Shares among the likeliest that hold p together; then both limits at once, where k allows less."""
    logits = _logs(0.1, 0.4, 0.3, 0.2)
    return {
        "0.5": _drawn(my, [0, 4 / 7, 3 / 7, 0], logits, top_p=0.5),
        "0.8": _drawn(my, [0, 4 / 9, 3 / 9, 2 / 9], logits, top_p=0.8),
        "both": _drawn(my, [0, 4 / 7, 3 / 7, 0], logits, top_k=2, top_p=0.95),
    }


def choose_rows(my: Opened) -> Results:
    """Every row has its own logits and its own luck."""
    own = _choose(my, 40 * torch.eye(V)[[3, 0, 6, 2]], _sampling(my), seeded()).tolist()
    if own != [3, 0, 6, 2]:
        return {"rows": f"rows that are sure of 3, 0, 6, 2 give {', '.join(map(str, own))}: each has logits of its own"}
    alike = _choose(my, torch.zeros(60, V), _sampling(my), seeded())
    return {"rows": "" if len(alike.unique()) > 1 else "60 rows alike all give the same token: each must draw for itself"}


def choose_generator(my: Opened) -> Results:
    """The same generator, another, and none."""
    logits, sampling = torch.zeros(60, V), _sampling(my)
    return {"generator": generator_problem(lambda generator: _choose(my, logits, sampling, generator), whose=CHOOSE)}


def choose_device(my: Opened) -> Results:
    """Whether it would run with logits on a GPU, greedily and not."""
    results: Results = {}
    for temperature in (1.0, 0.0):
        sampling = _sampling(my, temperature=temperature, top_k=3)

        def run(logits: Tensor, sampling: Any = sampling) -> Tensor:  # noqa: ANN401
            return _choose(my, logits, sampling, seeded())

        results |= prefixed(str(temperature), stays_there(run, normal(3, V), whose=CHOOSE, given="logits"))
    return results


def _generated(
    my: Opened,
    model: nn.Module,
    prompt: Tensor,
    count: int,
    block_size: int,
    generator: torch.Generator | None = None,
    **settings: Any,  # noqa: ANN401  those of Sampling
) -> list[Tensor]:
    """All that generate yields, greedily unless told otherwise. Mistake if it is not (B,) each."""
    sampling = _sampling(my, **({"temperature": 0.0} | settings))
    before = prompt.clone()
    found = my("sampling.generate").generate(model, prompt, count, block_size, sampling, generator)
    if found is None or not hasattr(found, "__iter__"):
        given = "nothing" if found is None else f"a {type(found).__name__}"
        raise Mistake(f"{GENERATE} returned {given}; it must yield each token as it comes")
    yielded = list(found)
    for token in yielded:
        if not isinstance(token, Tensor):
            raise Mistake(f"{GENERATE} yielded a {type(token).__name__}; it must yield tensors (B,)")
        if token.shape != prompt.shape[:1] or token.dtype != torch.int64:
            given = f"shape {tuple(token.shape)} and {str(token.dtype).removeprefix('torch.')}"
            raise Mistake(
                f"{GENERATE} yielded {given} for {len(prompt)} rows; ({len(prompt)},) and int64 are right, one token each"
            )
    if not torch.equal(prompt, before):
        raise Mistake(f"{GENERATE} changed its prompt in place; others still need it")
    return yielded


def generate_example(my: Opened) -> Results:
    """The docstring's: a model that has learned a cycle, greedily; two rows at once."""
    results = {}
    for rows, right in (([[0]], [[1, 2, 3, 4]]), ([[4, 0], [2, 5]], [[1, 2, 3, 4], [6, 0, 1, 2]])):
        found = torch.stack(_generated(my, Table(cycle()), torch.tensor(rows), 4, 8), dim=1).tolist()
        words = f"with a model that has learned to count from 0 to {V - 1} and round again, {rows} is continued by {found}"
        results[str(rows)] = "" if found == right else f"{words}, where {right} is right"
    return dict(results)


def generate_count(my: Opened) -> Results:
    """How many tokens come."""
    counts = {count: len(_generated(my, Table(cycle()), torch.tensor([[1, 2]]), count, 4)) for count in (0, 1, 9)}
    return {str(count): "" if n == count else f"with count {count} it yields {n} tokens" for count, n in counts.items()}


def generate_lazy(my: Opened) -> Results:
    """How often the model has been asked when the first token is there."""
    model = Table(cycle())
    found = my("sampling.generate").generate(model, torch.tensor([[1, 2]]), 5, 8, _sampling(my, temperature=0.0))
    next(iter(found))
    asked = len(model.contexts)
    return {"lazy": "" if asked == 1 else f"the model is asked {asked} times before the first token is yielded; once is right"}


CASES = ((1, 3, 8, 14), (2, 9, 8, 6), (2, 4, 5, 8), (3, 1, 1, 4), (1, 12, 3, 5))  # B, T, block_size, count


def generate_fits(my: Opened) -> Results:
    """How long the contexts are."""
    results = {}
    for B, T, block_size, count in CASES:
        model = Summing()
        _generated(my, model, tokens(B, T, vocab_size=V), count, block_size)
        longest = max(context.size(1) for context in model.contexts)
        problem = f"the model is given {longest} tokens, more than its block_size {block_size}"
        results[f"{T}, {block_size}"] = problem if longest > block_size else ""
    return dict(results)


def generate_suffix(my: Opened) -> Results:
    """Every context beside the prompt and what has been yielded so far."""
    for B, T, block_size, count in CASES:
        model, prompt = Summing(), tokens(B, T, vocab_size=V)
        yielded = _generated(my, model, prompt, count, block_size)
        written = torch.cat([prompt, *(token.unsqueeze(1) for token in yielded)], dim=1)
        for number, context in enumerate(model.contexts[:count]):
            so_far = written[:, : T + number]
            if not torch.equal(context, so_far[:, so_far.size(1) - context.size(1) :]):
                place = "first" if number == 0 else f"{number + 1}th" if number > 2 else ("second", "third")[number - 1]
                words = f"before the {place} token the prompt and what was chosen end in {so_far[0, -4:].tolist()}"
                return {"suffix": f"{words}, but the model is given {context[0].tolist()}"}
    return {"suffix": ""}


def generate_contexts(my: Opened) -> Results:
    """How long each context is, and what a model writes that needs all of it."""
    results: Results = {}
    for B, T, block_size, count in CASES:
        model = Summing()
        yielded = _generated(my, model, tokens(B, T, vocab_size=V), count, block_size)
        case = f"of {T} tokens at block_size {block_size}"
        results[f"how many tokens the model is given at each step, after a prompt {case}"] = [c.size(1) for c in model.contexts]
        results[f"what follows a prompt {case}"] = torch.stack(yielded, dim=1)
    return results


def generate_settings(my: Opened) -> Results:
    """The settings reach the choice: a flat model, 300 rows."""
    model, prompt = (
        Table(torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).repeat(V, 1)),
        torch.zeros(300, 1, dtype=torch.int64),
    )
    results = {}
    for settings, right in (({"temperature": 1.0}, V), ({"temperature": 1.0, "top_k": 2}, 2), ({"temperature": 0.0}, 1)):
        met = len(torch.stack(_generated(my, model, prompt, 2, 4, seeded(), **settings)).unique())
        words = ", ".join(f"{name} = {value:g}" for name, value in settings.items())
        results[words] = "" if met == right else f"with {words} {met} different tokens come, where {right} should"
    return dict(results)


def generate_generator(my: Opened) -> Results:
    """The same generator, another, and none."""
    model, prompt = Table(torch.zeros(V, V)), torch.zeros(9, 1, dtype=torch.int64)

    def draw(generator: torch.Generator | None) -> Tensor:
        return torch.stack(_generated(my, model, prompt, 6, 4, generator, temperature=1.0))

    return {"generator": generator_problem(draw, whose=GENERATE)}


def generate_graph(my: Opened) -> Results:
    """Whether torch notes operations for a backward pass that never comes."""
    model = Table()
    _generated(my, model, torch.tensor([[1, 2]]), 2, 4)
    return {
        "graph": "gradients are prepared for, which takes memory for nothing; keep @torch.no_grad()"
        if any(model.graphs)
        else ""
    }


def generate_device(my: Opened) -> Results:
    """Whether it would run with model and prompt on a GPU."""
    model = Table(cycle())

    def run(prompt: Tensor) -> Tensor:
        return torch.stack(_generated(my, model, prompt, 6, 4), dim=1)

    return stays_there(run, torch.tensor([[1, 2], [3, 4]]), whose=GENERATE, module=model, given="prompt")


CHECKS = (
    Check("2.2-choose", "sure", "one token for each row, (B, V) -> (B,), int64", choose_sure, equal),
    Check("2.2-choose", "greedy", "temperature 0 takes the largest logit and draws nothing", choose_greedy, all_true, law=True),
    Check("2.2-choose", "shares", "each token comes as often as its probability says", choose_shares, all_true, law=True),
    Check("2.2-choose", "temperature", "logits are divided by the temperature", choose_temperature, all_true, law=True),
    Check("2.2-choose", "top_k", "with top_k only the k likeliest are drawn", choose_top_k, all_true, law=True),
    Check("2.2-choose", "top_p", "with top_p only the fewest that hold p together are drawn", choose_top_p, all_true, law=True),
    Check("2.2-choose", "rows", "each row is chosen by itself", choose_rows, all_true, law=True),
    Check(
        "2.2-choose", "generator", "the generator decides what is drawn, and nothing else", choose_generator, all_true, law=True
    ),
    Check("2.2-choose", "device", "the tokens lie where the logits lie", choose_device, all_true, law=True),
    Check(
        "2.2-generate",
        "example",
        "each row is continued by what its last token calls for",
        generate_example,
        all_true,
        law=True,
    ),
    Check("2.2-generate", "count", "`count` tokens come", generate_count, all_true, law=True),
    Check("2.2-generate", "as they come", "a token is yielded before the next is asked for", generate_lazy, all_true, law=True),
    Check(
        "2.2-generate", "block_size", "the model is never given more than block_size tokens", generate_fits, all_true, law=True
    ),
    Check(
        "2.2-generate",
        "appended",
        "what the model reads is the end of what is written so far",
        generate_suffix,
        all_true,
        law=True,
    ),
    Check("2.2-generate", "settings", "sampling says how tokens are chosen", generate_settings, all_true, law=True),
    Check(
        "2.2-generate",
        "generator",
        "the generator decides what is drawn, and nothing else",
        generate_generator,
        all_true,
        law=True,
    ),
    Check("2.2-generate", "graph", "nothing is kept for a backward pass", generate_graph, all_true, law=True),
    Check("2.2-generate", "contexts", "on overflow the context keeps its last half, and grows again", generate_contexts, equal),
    Check("2.2-generate", "device", "the tokens lie where the prompt lies", generate_device, all_true, law=True),
)
