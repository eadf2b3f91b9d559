"""Lesson 2.2, its third part: writing, one token after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, agree, beside, equal, facts
from .fakes import GRAPH_KEPT, WITHOUT_GRAPH, Summing, Table, V, cycle
from .lesson_2_2_choosing import GENERATOR, new_sampling, one_each, settings_in_words
from .pretend_gpu import lies_there, stays_there
from .probes import ORDINALS, generator_facts, in_words, seeded, tokens, uses_generator

GENERATE = "generate"


def _tokens_of(found: Any) -> Any:  # noqa: ANN401
    """Return what generate returns if it can be looped over; raise Mistake if it cannot."""
    if found is None or not hasattr(found, "__iter__"):
        raise Mistake(f"{GENERATE} returned {in_words(found)}; it must yield each token as it comes")
    return iter(found)


def _generated(
    my: Opened,
    model: nn.Module,
    prompt: Tensor,
    count: int,
    block_size: int,
    generator: torch.Generator | None = None,
    **settings: Any,  # noqa: ANN401  those of Sampling
) -> list[Tensor]:
    """Return all that generate yields, greedily if no setting says otherwise; raise Mistake if it is not (B,) each time."""
    sampling = new_sampling(my, **({"temperature": 0.0} | settings))
    before = prompt.clone()
    yielded = list(_tokens_of(my("sampling.generate").generate(model, prompt, count, block_size, sampling, generator)))
    for token in yielded:
        if not isinstance(token, Tensor):
            raise Mistake(f"{GENERATE} yielded {in_words(token)}; it must yield tensors (B,)")
        one_each(token, len(prompt), f"{GENERATE} yielded")
    if count and not yielded:
        raise Mistake(f"{GENERATE} yielded no token, where {count} are wanted")
    if not torch.equal(prompt, before):
        raise Mistake(f"{GENERATE} writes into `prompt`, its second argument, which others still need; make a new tensor")
    return yielded


def generate_example(my: Opened) -> Results:
    """Return the tokens of the docstring's example: a model that has learned a cycle, greedily; two rows at once."""
    results: Results = {}
    for rows, right in (([[0]], [[1, 2, 3, 4]]), ([[4, 0], [2, 5]], [[1, 2, 3, 4], [6, 0, 1, 2]])):
        found = torch.stack(_generated(my, Table(cycle()), torch.tensor(rows), 4, 8), dim=1).tolist()
        results |= beside(found, right, str(rows))
    return results


def generate_count(my: Opened) -> Results:
    """Return how many tokens come."""
    results: Results = {}
    for count in (0, 1, 9):
        yielded = _generated(my, Table(cycle()), torch.tensor([[1, 2]]), count, 4)
        results |= beside(len(yielded), count, f"count {count}")
    return results


def generate_lazy(my: Opened) -> Results:
    """Return how often the model has been asked when the first token is there."""
    model = Table(cycle())
    found = my("sampling.generate").generate(model, torch.tensor([[1, 2]]), 5, 8, new_sampling(my, temperature=0.0))
    next(_tokens_of(found), None)
    return beside(len(model.contexts), 1)


CASES = ((1, 3, 8, 14), (2, 9, 8, 6), (2, 4, 5, 8), (3, 1, 1, 4), (1, 12, 3, 5))  # B, T, block_size, count
WRITTEN, CONTEXT = "what is written", "what the model is given at step"


def _case(T: int, block_size: int) -> str:
    return f"a prompt of {T} tokens at block_size {block_size}"


def generate_reading(my: Opened) -> Results:
    """The prompt with what follows it, and what the model is given meanwhile."""
    results: Results = {}
    for B, T, block_size, count in CASES:
        model, prompt = Summing(), tokens(B, T, vocab_size=V)
        yielded = _generated(my, model, prompt, count, block_size)
        written = torch.cat([prompt, *(token.unsqueeze(1) for token in yielded)], dim=1)
        results[f"{_case(T, block_size)}, {WRITTEN}"] = written
        for step, context in enumerate(model.contexts[:count], start=1):
            results[f"{_case(T, block_size)}, {CONTEXT} {step}"] = context
    return results


def fits(got: Results, wanted: Results) -> str | None:
    """Judge `generate_reading`: no context is longer than the block size."""
    for _, T, block_size, _ in CASES:
        lengths = [value.size(1) for name, value in got.items() if name.startswith(f"{_case(T, block_size)}, {CONTEXT}")]
        if max(lengths, default=0) > block_size:
            return f"the model is given {max(lengths)} tokens, more than its block_size {block_size}"
    return None


def ends_what_is_written(got: Results, wanted: Results) -> str | None:
    """Judge `generate_reading`: each context is the end of the prompt and what follows it so far."""
    for _, T, block_size, count in CASES:
        written = got[f"{_case(T, block_size)}, {WRITTEN}"]
        for step in range(count):
            context = got.get(f"{_case(T, block_size)}, {CONTEXT} {step + 1}")
            so_far = written[:, : T + step]
            if context is not None and not torch.equal(context, so_far[:, max(0, so_far.size(1) - context.size(1)) :]):
                which = ORDINALS[step] if step < len(ORDINALS) else f"{step + 1}th"
                words = f"before the {which} token, the prompt and what was chosen end in {so_far[0, -4:].tolist()}"
                return f"{words}, but the model is given {context[0].tolist()}"
    return None


def generate_contexts(my: Opened) -> Results:
    """Return how long each context is, and what is written by a model that needs all of it."""
    results: Results = {}
    for B, T, block_size, count in CASES:
        model = Summing()
        yielded = _generated(my, model, tokens(B, T, vocab_size=V), count, block_size)
        case = _case(T, block_size)
        results[f"how many tokens the model is given at each step, after {case}"] = [c.size(1) for c in model.contexts]
        results[f"what follows {case}"] = torch.stack(yielded, dim=1)
    return results


def generate_settings(my: Opened) -> Results:
    """Return how many different tokens come with several settings, from a flat model and for 300 rows."""
    weight = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).repeat(V, 1)
    model, prompt, results = Table(weight), torch.zeros(300, 1, dtype=torch.int64), Results()
    for settings, right in (({"temperature": 1.0}, V), ({"temperature": 1.0, "top_k": 2}, 2), ({"temperature": 0.0}, 1)):
        met = torch.stack(_generated(my, model, prompt, 2, 4, seeded(), **settings)).unique()
        results |= beside(len(met), right, settings_in_words(settings))
    return results


def generate_generator(my: Opened) -> Results:
    """Return what the generator decides."""
    model, prompt = Table(torch.zeros(V, V)), torch.zeros(9, 1, dtype=torch.int64)

    def draw(generator: torch.Generator | None) -> Tensor:
        return torch.stack(_generated(my, model, prompt, 6, 4, generator, temperature=1.0))

    return generator_facts(draw)


def generate_graph(my: Opened) -> Results:
    """Return whether torch notes operations for a backward pass that never comes."""
    model = Table()
    _generated(my, model, torch.tensor([[1, 2]]), 2, 4)
    return {GRAPH_KEPT: any(model.graphs)}


def generate_device(my: Opened) -> Results:
    """Return where the work would be done with model and prompt on a GPU."""
    model = Table(cycle())

    def run(prompt: Tensor) -> Tensor:
        return torch.stack(_generated(my, model, prompt, 6, 4), dim=1)

    return stays_there(run, torch.tensor([[1, 2], [3, 4]]), whose=GENERATE, module=model)


CONTINUED = (
    f"a model that counts from 0 to {V - 1} and begins again must continue {{case}} by {{right}}, but it gives {{found}}"
)
ASKED = "the model must be asked once before the first token is yielded, but it is asked {found} times"
DIFFERENT = "with {case}, {found} different tokens come, where {right} should"
WRITING = "2.2-generate"
CHECKS = (
    Check(
        WRITING,
        "example",
        "each row is continued by what follows its last token",
        generate_example,
        agree(CONTINUED, numbers=False),
        law=True,
    ),
    Check(
        WRITING,
        "count",
        "it yields `count` tokens",
        generate_count,
        agree("for {case} it yields {found} tokens", numbers=False),
        law=True,
    ),
    Check(
        WRITING, "as they come", "a token is yielded before the next is asked for", generate_lazy, agree(ASKED, False), law=True
    ),
    Check(WRITING, "block_size", "the model is never given more than block_size tokens", generate_reading, fits, law=True),
    Check(
        WRITING,
        "appended",
        "what the model reads is the end of what is written so far",
        generate_reading,
        ends_what_is_written,
        law=True,
    ),
    Check(WRITING, "settings", "sampling says how tokens are chosen", generate_settings, agree(DIFFERENT, False), law=True),
    Check(WRITING, "generator", GENERATOR, generate_generator, uses_generator(GENERATE), law=True),
    Check(WRITING, "graph", "nothing is kept for a backward pass", generate_graph, facts(WITHOUT_GRAPH), law=True),
    Check(WRITING, "contexts", "on overflow the context keeps its last half, and grows again", generate_contexts, equal),
    Check(WRITING, "device", "the tokens lie where the prompt lies", generate_device, lies_there(GENERATE, "prompt"), law=True),
)
