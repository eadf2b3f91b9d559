"""What probes are given: numbers of unit scale in float64, weights that do not depend on the order in which they were made."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .check import Mistake, Opened, Results, difference

# B, T, H, D: no two alike in a row, so that no swapped pair goes unseen; once a single token
SIZES = ((2, 5, 3, 4), (3, 1, 2, 5), (1, 7, 4, 3))


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of our own: no draw of the learner's moves it."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Unit-scale numbers of that shape."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def tokens(*shape: int, vocab_size: int, seed: int = 0) -> Tensor:
    """Token ids of that shape, int64."""
    return torch.randint(vocab_size, shape, generator=seeded(seed))


def new_from(x: Tensor, position: int) -> Tensor:
    """(B, T, ...): the same up to that position, other numbers from there on."""
    return torch.cat([x[:, :position], normal(*x[:, position:].shape, seed=1)], dim=1)


def config(my: Opened, **settings: Any) -> Any:  # noqa: ANN401  the GPTConfig of the package under test
    """A GPTConfig; what is not given is small, odd and without dropout."""
    small = {"vocab_size": 11, "block_size": 7, "n_layer": 2, "n_head": 3, "n_embd": 12, "dropout": 0.0}
    return my("model.config").GPTConfig(**{**small, **settings})


@torch.no_grad()
def fill(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with weights that follow from each parameter's name and shape alone, of lively sizes."""
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
    """Every parameter as "name (shape)", in the order of names: the order of creation says nothing."""
    return sorted(f"{name} {tuple(parameter.shape)}" for name, parameter in module.named_parameters())


def tensor(value: Any, whose: str) -> Tensor:  # noqa: ANN401  what a learner returned
    """The value if it is a tensor. Mistake otherwise."""
    if not isinstance(value, Tensor):
        hint = " (is a `return` missing?)" if value is None else ""
        raise Mistake(
            f"{whose} returned {'nothing' if value is None else f'a {type(value).__name__}'}{hint}; it must return a tensor"
        )
    return value


def call(function: Callable[..., Any], *arguments: Any, whose: str) -> Tensor:  # noqa: ANN401  whatever it takes
    """The tensor that a function returns. Mistake if it returns something else or writes into what it was given."""
    kept = [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]
    value = tensor(function(*arguments), whose)
    for place, (argument, before) in enumerate(zip(arguments, kept, strict=True)):
        if isinstance(argument, Tensor) and not torch.equal(argument.detach().nan_to_num(), before.detach().nan_to_num()):
            raise Mistake(f"{whose} changed its argument {place + 1} in place, which others still need; make a new tensor")
    return value


def with_gradients(function: Callable[..., Any], *inputs: Tensor, whose: str, module: nn.Module | None = None) -> Results:
    """The output, and the gradients of a fixed weighted sum of it: of each float input and of the module's parameters."""
    leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    y = call(function, *leaves, whose=whose)
    results: Results = {"output": y.detach().clone()}
    if not y.is_floating_point():
        return results
    if not y.requires_grad:
        if any(leaf.requires_grad for leaf in leaves) or (module is not None and any(True for _ in module.parameters())):
            raise Mistake(f"{whose} returned a tensor without a gradient: was it detached, or made anew from numbers?")
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
    """The same results, each name preceded by words: what they were made from."""
    return {f"{prefix}, {name}": value for name, value in results.items()}


def only(value: float) -> nn.Module:
    """A layer that answers every number with this one."""
    return nn.Threshold(math.inf, value)


def dropped(module: nn.Module, x: Tensor, p: float, whose: str) -> str:
    """What is wrong with the dropout of a module that would otherwise answer 1 everywhere; empty if nothing is.

    The words hold no number that another draw would change.
    """
    y = call(module.train(), x, whose=whose)
    share = (y == 0).double().mean().item()
    if abs(share - p) > 5 * math.sqrt(p * (1 - p) / y.numel()):
        return f"in training about {share:.1f} of its output is dropped, where config.dropout is {p}"
    kept = y[y != 0]
    if problem := difference(kept, torch.full_like(kept, 1 / (1 - p))):
        return f"of outputs that would be 1, those that dropout with p = {p} leaves must become 1/(1 - p), but {problem}"
    return "it drops in eval() too" if (call(module.eval(), x, whose=whose) != 1).any() else ""


def generator_problem(draw: Callable[[torch.Generator | None], Tensor], whose: str) -> str:
    """What is wrong with the use of a generator; empty if nothing is. `draw` must be rich enough never to repeat by chance."""
    one = draw(seeded(1))
    torch.manual_seed(1234)  # the global random state, which must not matter
    if not torch.equal(one, draw(seeded(1))):
        return f"{whose} gives different draws for the same generator; hand `generator` on to what draws"
    if torch.equal(one, draw(seeded(2))):
        return f"{whose} gives the same draws for two differently seeded generators; it must draw with the one it is given"
    generator = seeded(1)
    if torch.equal(draw(generator), draw(generator)):
        return f"{whose} gives the same draws when it is called again; the generator must move on, never be seeded anew"
    if torch.equal(draw(None), draw(None)):
        return f"{whose} gives the same draws each time when there is no generator; the global random state serves then"
    return ""


def all_but_one(B: int, T: int) -> Tensor:
    """(B, T), false for token 2 of row 1 alone."""
    others = torch.ones(B, T, dtype=torch.bool)
    others[1, 2] = False
    return others
