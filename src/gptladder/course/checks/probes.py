"""Helpers of probes: inputs of unit scale in float64, weights that follow from names alone, calls that tell common mistakes."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .check import Judgement, Mistake, Opened, Results, a_kind, agree, beside, facts

# B, T, H, D: no two alike in a row, so that no swapped pair goes unseen; once a single token
SIZES = ((2, 5, 3, 4), (3, 1, 2, 5), (1, 7, 4, 3))


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator of our own, which no draw of the learner's code moves."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return numbers of unit scale in this shape."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def tokens(*shape: int, vocab_size: int, seed: int = 0) -> Tensor:
    """Return token ids in this shape, int64."""
    return torch.randint(vocab_size, shape, generator=seeded(seed))


def new_from(x: Tensor, position: int) -> Tensor:
    """Return x (B, T, ...) with other numbers from this position on."""
    return torch.cat([x[:, :position], normal(*x[:, position:].shape, seed=1)], dim=1)


def config(my: Opened, **settings: Any) -> Any:  # noqa: ANN401  the GPTConfig of the package under test
    """Return a GPTConfig in which every setting that is not given is small and odd, and dropout is 0."""
    small = {"vocab_size": 11, "block_size": 7, "n_layer": 2, "n_head": 3, "n_embd": 12, "dropout": 0.0}
    return my("model.config").GPTConfig(**{**small, **settings})


@torch.no_grad()
def fill(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return the module in float64, with weights of unit scale that follow from each parameter's name and shape alone."""
    module.double()
    for name, parameter in module.named_parameters():
        digest = hashlib.blake2b(f"{name} {tuple(parameter.shape)} {seed}".encode(), digest_size=4).digest()
        noise = normal(*parameter.shape, seed=int.from_bytes(digest, "big"))
        if parameter.dim() >= 2:
            noise = noise * 1.5 / parameter.size(-1) ** 0.5  # a linear layer's output is of unit scale
        elif name.endswith("weight"):
            noise = 1 + noise / 3  # a norm's gain
        parameter.copy_(noise)
    return module


def names_of(module: nn.Module) -> list[str]:
    """Return every parameter as "name (shape)", sorted: the order in which they were created does not matter."""
    return sorted(f"{name} {tuple(parameter.shape)}" for name, parameter in module.named_parameters())


def tensor(value: Any, whose: str) -> Tensor:  # noqa: ANN401  what a learner returned
    """Return the value if it is a tensor; raise Mistake if it is not."""
    if not isinstance(value, Tensor):
        raise Mistake(f"{whose} returned {in_words(value)}; it must return a tensor")
    return value


def in_words(value: object) -> str:
    """Return what a function returned, in words: "nothing (is a `return` missing?)" or "a list"."""
    return "nothing (is a `return` missing?)" if value is None else a_kind(value)


def number(value: Any, whose: str) -> float:  # noqa: ANN401  what a learner returned
    """Return the value if it is a number of Python's; raise Mistake if it is not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = "; a tensor's number is its .item()" if isinstance(value, Tensor) else ""
        raise Mistake(f"{whose} returned {in_words(value)}; it must return a number, a float{hint}")
    return float(value)


def two_tensors(value: Any, whose: str, which: str) -> tuple[Tensor, Tensor]:  # noqa: ANN401  what a learner returned
    """Return the value if it is a pair of tensors; raise Mistake if it is not. `which` names them: "x and y"."""
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(isinstance(part, Tensor) for part in value):
        raise Mistake(f"{whose} returned {in_words(value)}; it must return two tensors, {which}")
    return value[0], value[1]


ORDINALS = ("first", "second", "third", "fourth", "fifth")


def argument_in_words(function: Callable[..., Any], place: int) -> str:
    """Return what to call an argument: "`targets`, its second argument", or "its second argument" if its name is unknown."""
    target: Any = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = [*inspect.signature(target).parameters.values()]
    except (TypeError, ValueError):  # some of torch's own functions have no signature
        parameters = []
    named = place < len(parameters) and parameters[place].kind is not inspect.Parameter.VAR_POSITIONAL
    return f"{f'`{parameters[place].name}`, ' if named else ''}its {ORDINALS[place]} argument"


def run(function: Callable[..., Any], *arguments: Any, whose: str) -> Any:  # noqa: ANN401  whatever it takes and returns
    """Return what a function returns; raise Mistake if it writes into its arguments."""
    kept = [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]
    value = function(*arguments)
    for place, (argument, before) in enumerate(zip(arguments, kept, strict=True)):
        if isinstance(argument, Tensor) and not torch.equal(argument.detach().nan_to_num(), before.detach().nan_to_num()):
            raise Mistake(
                f"{whose} writes into {argument_in_words(function, place)}, which others still need; make a new tensor"
            )
    return value


def call(function: Callable[..., Any], *arguments: Any, whose: str) -> Tensor:  # noqa: ANN401  whatever it takes
    """Return the tensor that a function returns; raise Mistake if it is none, or if the function writes into its arguments."""
    return tensor(run(function, *arguments, whose=whose), whose)


NO_GRADIENT = (
    "a tensor without a gradient, so nothing can learn from it: compute it without detach(), item(), numpy() or tolist()"
)


def with_gradients(function: Callable[..., Any], *inputs: Tensor, whose: str, module: nn.Module | None = None) -> Results:
    """Return a function's output and the gradients of a weighted sum of it for each float input and parameter."""
    leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    y = call(function, *leaves, whose=whose)
    results: Results = {"output": y.detach().clone()}
    if not y.is_floating_point():
        return results
    if not y.requires_grad:
        if any(leaf.requires_grad for leaf in leaves) or (module is not None and any(True for _ in module.parameters())):
            raise Mistake(f"{whose} returned {NO_GRADIENT}")
        return results
    if module is not None:
        module.zero_grad()
    (y * normal(*y.shape, seed=99, dtype=y.dtype)).sum().backward()
    for place, leaf in enumerate(leaves):
        if leaf.requires_grad:
            results[f"gradient of input {place + 1}" if len(inputs) > 1 else "gradient of the input"] = _gradient(leaf)
    if module is not None:
        for name, parameter in sorted(module.named_parameters()):
            results[f"gradient of {name}"] = _gradient(parameter)
    return results


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.clone()


def prefixed(prefix: str, results: Results) -> Results:
    """Return the same results under longer names, which begin with the case that they belong to."""
    return {f"{prefix}, {name}": value for name, value in results.items()}


def only(value: float) -> nn.Module:
    """Return a layer whose output is this number everywhere."""
    return nn.Threshold(math.inf, value)


REPEATS, DIFFERS, MOVES_ON, VARIES = (
    "the same seed gives the same draws",
    "another seed gives other draws",
    "the next call gives other draws",
    "the next call without a generator gives other draws",
)


def generator_facts(draw: Callable[[torch.Generator | None], Tensor]) -> Results:
    """Return four facts about the use of a generator. Judged by `uses_generator`.

    `draw` must be rich enough never to repeat by chance.
    """
    one = draw(seeded(1))
    torch.manual_seed(1234)  # the global random state, which must not matter
    repeats, differs = torch.equal(one, draw(seeded(1))), not torch.equal(one, draw(seeded(2)))
    generator = seeded(1)
    moves_on = not torch.equal(draw(generator), draw(generator))
    return {REPEATS: repeats, DIFFERS: differs, MOVES_ON: moves_on, VARIES: not torch.equal(draw(None), draw(None))}


def uses_generator(whose: str) -> Judgement:
    """Judge `generator_facts`: the draws come from the generator that is given, and from torch's own where there is none."""
    return facts(
        {
            REPEATS: f"{whose} gives different draws for the same generator; pass `generator` on to the function that draws",
            DIFFERS: f"{whose} gives the same draws for generators with different seeds; it must draw with the one it is given",
            MOVES_ON: f"{whose} gives the same draws when it is called again; do not seed the generator: it must move on",
            VARIES: f"without a generator {whose} gives the same draws at each call; torch's own random state must decide then",
        }
    )


def another_token(x: Tensor, position: int) -> Tensor:
    """Return x (B, T, C), or token ids (B, T), with another token at this position of every text."""
    changed = x.clone()
    if x.is_floating_point():
        changed[:, position] = 3 * normal(*x[:, position].shape, seed=1)
    else:
        changed[:, position] = (x[:, position] + 1) % (x.max() + 1)
    return changed


def one_token_changed(function: Callable[..., Any], x: Tensor, whose: str) -> Results:
    """Return the outputs for x, and for x with another token 4 in every text. Judged by `past_stays`."""
    return {"before": call(function, x, whose=whose), "after": call(function, another_token(x, 4), whose=whose), "changed": 4}


def other_tokens(function: Callable[..., Any], x: Tensor, whose: str) -> Results:
    """Return the outputs for all tokens but one when that one is changed, and when it is not. Judged by `each_by_itself`."""
    changed, others = x.clone(), torch.ones(x.shape[:2], dtype=torch.bool)
    changed[-1, 2], others[-1, 2] = another_token(x, 2)[-1, 2], False
    return beside(call(function, changed, whose=whose)[others], call(function, x, whose=whose)[others])


each_by_itself = agree("when one token is changed, the outputs for the other tokens must stay as they were")


def projected(attention: nn.Module, x: Tensor, whose: str) -> Results:
    """Return the output of attention whose `project` returns nothing but 7. Judged by `ends_in_projection`."""
    y = call(attention, x, whose=whose)
    return beside(y, torch.full_like(y, 7.0))


ends_in_projection = agree("the heads' outputs must pass through self.project: when it returns 7 everywhere, so must the layer")
