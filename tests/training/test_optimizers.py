"""AdamW is the published one, Muon is its formula, and together they are one optimizer."""

from __future__ import annotations

import inspect
import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from gptladder.model.config import Recipe
from gptladder.model.fusing import fuse
from gptladder.rungs import RECIPES, build
from gptladder.training.optimizers import QUINTICS, CombinedOptimizer, Muon, adamw, make_optimizer, orthogonalised
from laws import ODD, T, V, lively, normal, tokens_of

MUON = Recipe("gpt", optimizer="muon", learning_rate=0.1, weight_decay=0.5, beta2=0.8)
SHAPES = pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6), (6, 1), (1, 1), (2, 3, 5), (7, 4, 2)])


# AdamW


def test_published_settings_are_adamws_own_defaults():
    optimizer = adamw(nn.Linear(2, 3).parameters(), RECIPES["published"])
    defaults = {name: p.default for name, p in inspect.signature(torch.optim.AdamW).parameters.items()}
    assert optimizer.defaults["lr"] == 3e-4
    assert optimizer.defaults["betas"] == defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["weight_decay"] == defaults["weight_decay"] == 0.01
    assert optimizer.defaults["eps"] == defaults["eps"]


def test_a_recipes_settings_arrive():
    optimizer = adamw(nn.Linear(2, 3).parameters(), Recipe("gpt", learning_rate=0.5, beta2=0.9, weight_decay=0.3))
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"], optimizer.defaults["weight_decay"]) == (0.5, (0.9, 0.9), 0.3)


def test_three_steps_by_hand():
    """Decay the weight, then move by the ratio of two running means, each corrected for its start at zero."""
    recipe = Recipe("gpt", learning_rate=0.1, beta2=0.8, weight_decay=0.5)
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(2.0)
    optimizer, weight, mean, square = adamw(model.parameters(), recipe), 2.0, 0.0, 0.0
    for step, slope in enumerate((3.0, -1.0, 0.5), start=1):
        model.weight.grad = torch.full_like(model.weight, slope)
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * slope, 0.8 * square + 0.2 * slope**2
        weight -= 0.1 * 0.5 * weight
        weight -= 0.1 * (mean / (1 - 0.9**step)) / (math.sqrt(square / (1 - 0.8**step)) + 1e-8)
        assert math.isclose(model.weight.item(), weight, abs_tol=1e-12)


# making a matrix orthogonal


def matrix(*shape, smallest=0.01, seed=0):
    """Singular values evenly spread, on a scale of powers, from 1 down to `smallest`."""
    u, values, v = torch.linalg.svd(normal(*shape, seed=seed), full_matrices=False)
    return u @ torch.diag_embed(torch.logspace(0, math.log10(smallest), values.size(-1), dtype=torch.float64)) @ v


def by_singular_values(matrices):
    """The same iteration on each singular value by itself: the matrix products must come to this."""
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    norm = values.square().sum(-1, keepdim=True).sqrt()
    values = values / (1.02 * norm + 1e-7)
    for a, b, c in QUINTICS:
        values = a * values + b * values**3 + c * values**5
    return u @ torch.diag_embed(values) @ v


@SHAPES
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_iteration_is_that_on_each_singular_value(shape, scale):
    matrices = scale * normal(*shape)
    assert torch.allclose(orthogonalised(matrices), by_singular_values(matrices), atol=1e-10)


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16), (3, 24, 32)])
@pytest.mark.parametrize(
    ("dtype", "slack"), [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 0.03)], ids=["64", "32", "b16"]
)
def test_singular_values_end_in_a_narrow_band_about_1(shape, dtype, slack):
    """0.87 to 1.124, as measured, for all that begin above 0.003 of the whole."""
    found = orthogonalised(matrix(*shape).to(dtype))
    assert found.dtype == dtype
    values = torch.linalg.svdvals(found.double())
    assert values.min() > 0.870 - slack
    assert values.max() < 1.124 + slack


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16), (3, 24, 32)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_singular_vectors_stay(shape, dtype):
    """U V^T is the nearest orthogonal matrix; the answer differs from it along the singular vectors alone."""
    given = matrix(*shape, smallest=0.2)
    u, _, v = torch.linalg.svd(given, full_matrices=False)
    found = orthogonalised(given.to(dtype)).double()
    along = u.mT @ found @ v.mT
    across = along - torch.diag_embed(along.diagonal(dim1=-2, dim2=-1))
    assert across.abs().max() < (1e-10 if dtype == torch.float64 else 0.1)
    assert torch.linalg.matrix_norm(found - u @ v, ord=2).max() < (0.13 if dtype == torch.float64 else 0.2)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_many_at_once_are_each_by_itself_and_either_way_up(shape):
    matrices = normal(2, 3, *shape)
    found = orthogonalised(matrices)
    assert torch.allclose(orthogonalised(matrices.mT), found.mT, atol=1e-12)
    for i in range(2):
        for j in range(3):
            assert torch.allclose(found[i, j], orthogonalised(matrices[i, j]), atol=1e-12)


@SHAPES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeros_stay_zeros(shape, dtype):
    assert not orthogonalised(torch.zeros(shape, dtype=dtype)).any()


# Muon


def muon(*weights, **settings):
    return Muon(weights, **{"lr": 0.1, "momentum": 0.7, "weight_decay": 0.5, "dtype": torch.float64, **settings})


@SHAPES
def test_steps_by_hand(shape):
    """Blend the gradient into the momentum, look one step ahead, make that orthogonal, decay the weight, move it."""
    weight = nn.Parameter(normal(*shape))
    optimizer, expected, momentum = muon(weight), weight.detach().clone(), torch.zeros(shape, dtype=torch.float64)
    for number in range(4):
        gradient = normal(*shape, seed=100 * number)
        momentum = 0.7 * momentum + 0.3 * gradient
        direction = by_singular_values(0.7 * momentum + 0.3 * gradient)
        expected = expected - 0.1 * 0.5 * expected
        expected = expected - 0.1 * 0.2 * math.sqrt(max(shape[-2:])) * direction
        weight.grad = gradient.clone()
        optimizer.step()
        assert torch.allclose(weight, expected, atol=1e-10)
        assert torch.equal(weight.grad, gradient)  # for whoever wants to look at it


def test_equal_shapes_together_are_each_by_itself():
    """Lying and standing, single and side by side: all that share a size are one batch."""
    shapes = [(3, 5), (5, 3), (3, 5), (2, 3, 5), (2, 5, 3), (4, 4)]
    together, alone = ([nn.Parameter(normal(*shape, seed=i)) for i, shape in enumerate(shapes)] for _ in range(2))
    for weights, optimizers in ((together, [muon(*together)]), (alone, [muon(weight) for weight in alone])):
        for number in range(3):
            for i, weight in enumerate(weights):
                weight.grad = normal(*weight.shape, seed=100 * number + i)
            for optimizer in optimizers:
                optimizer.step()
    for ours, theirs in zip(together, alone, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 5, 2), (7, 2, 5), (1, 4, 4)])
def test_several_side_by_side_are_several_matrices(shape):
    whole, parts = nn.Parameter(normal(*shape)), [nn.Parameter(part) for part in normal(*shape)]
    one, several = muon(whole), muon(*parts)
    for number in range(3):
        whole.grad = normal(*shape, seed=number)
        for part, gradient in zip(parts, whole.grad, strict=True):
            part.grad = gradient.clone()
        one.step()
        several.step()
    assert torch.allclose(whole, torch.stack(list(parts)), atol=1e-12)


@pytest.mark.parametrize("shape", [(64, 64), (32, 128), (128, 32), (3, 48, 64)])
def test_an_entry_moves_about_as_far_as_under_adamw(shape):
    """A fifth of the learning rate, in the mean, whatever the shape and however large the gradient."""
    for scale in (1e-4, 1e4):
        weight = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        weight.grad = scale * normal(*shape)
        muon(weight, lr=0.5).step()
        moved = weight.detach().square().mean().sqrt().item() / 0.5
        assert 0.17 < moved < 0.23


@SHAPES
def test_a_zero_gradient_decays_and_nothing_else(shape):
    weight = nn.Parameter(normal(*shape))
    weight.grad = torch.zeros_like(weight)
    muon(weight, dtype=torch.float32).step()
    assert torch.allclose(weight, 0.95 * normal(*shape), atol=1e-12)


def test_without_a_gradient_nothing_moves_and_nothing_is_remembered():
    still, moving = nn.Parameter(normal(3, 5)), nn.Parameter(normal(3, 5))
    optimizer = muon(still, moving)
    moving.grad = normal(3, 5, seed=1)
    optimizer.step()
    assert torch.equal(still, normal(3, 5))
    assert list(optimizer.state) == [moving]


def test_groups_keep_to_their_own_settings():
    weights = [nn.Parameter(normal(3, 5)) for _ in range(2)]
    optimizer = Muon(
        [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.3, "weight_decay": 0.0}], 0.1, dtype=torch.float64
    )
    for weight in weights:
        weight.grad = normal(3, 5, seed=1)
    optimizer.step()
    move = 0.2 * math.sqrt(5) * by_singular_values(normal(3, 5, seed=1))
    assert torch.allclose(weights[0], 0.99 * normal(3, 5) - 0.1 * move, atol=1e-6)
    assert torch.allclose(weights[1], normal(3, 5) - 0.3 * move, atol=1e-6)


def test_bfloat16_inside_leaves_weights_and_momentum_as_precise_as_they_were():
    steps = []
    for dtype in (torch.float64, torch.bfloat16):
        weight = nn.Parameter(torch.zeros(16, 24, dtype=torch.float64))
        optimizer = muon(weight, dtype=dtype, weight_decay=0.0, lr=1.0)
        weight.grad = matrix(16, 24)
        optimizer.step()
        assert weight.dtype == optimizer.state[weight]["momentum"].dtype == torch.float64
        assert torch.allclose(optimizer.state[weight]["momentum"], 0.3 * matrix(16, 24), atol=1e-12)
        steps.append(weight.detach())
    assert 0 < torch.linalg.matrix_norm(steps[1] - steps[0], ord=2) < 0.15 * torch.linalg.matrix_norm(steps[0], ord=2)


# both


def model_of(name="gpt"):
    return lively(fuse(build(name, ODD)))


def train(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        optimizer.zero_grad()
        logits = model(tokens_of(3, T, seed=step))
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens_of(3, T, seed=step + 50).flatten()).backward()
        optimizer.step()
    return model


def equal(model, other, atol=0.0):
    return all(torch.allclose(a, b, atol=atol, rtol=0) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def names_under(model, optimizer):
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    return {name for name, weight in model.named_parameters() if id(weight) in held}


def matrices_in_layers(model):
    return {name for name, weight in model.named_parameters() if name.startswith("layers.") and weight.dim() > 1}


@pytest.mark.parametrize("name", ["bigram", "average", "attention", "feedforward", "layernorm", "gpt", "modern"])
@pytest.mark.parametrize("fused", [False, True])
def test_muon_gets_the_matrices_of_the_layers_and_adamw_all_else(name, fused):
    model = fuse(build(name, ODD)) if fused else build(name, ODD)
    optimizer = make_optimizer(model, replace(MUON, rung=name), torch.bfloat16)
    parts = {type(part): part for part in optimizer.optimizers}
    everything = {name for name, _ in model.named_parameters()}
    matrices = matrices_in_layers(model)
    assert bool(matrices) is (name not in ("bigram", "average"))
    assert parts.keys() == ({Muon, torch.optim.AdamW} if matrices else {torch.optim.AdamW})
    assert not matrices or names_under(model, parts[Muon]) == matrices
    assert names_under(model, parts[torch.optim.AdamW]) == everything - matrices
    assert names_under(model, optimizer) == everything
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(everything)
    assert not matrices or (parts[Muon].dtype, parts[Muon].defaults["weight_decay"]) == (torch.bfloat16, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


def test_what_is_neither_in_a_layer_nor_a_matrix_is_adamws():
    names = matrices_in_layers(model_of("modern"))
    assert {name.split(".", 2)[2] for name in names} == {
        f"{part}.weight" for part in ("attention.qkv", "attention.project", "feed_forward.expand", "feed_forward.contract")
    }


@pytest.mark.parametrize("recipe", ["laptop", "published"])
def test_every_weight_is_trained(recipe):
    model = model_of(RECIPES[recipe].rung)
    held = [p for group in make_optimizer(model, RECIPES[recipe]).param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held})
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}


def test_the_recipe_chooses():
    model = model_of()
    optimizer = make_optimizer(model, replace(MUON, optimizer="adamw"))
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (0.1, (0.9, 0.8))
    assert type(make_optimizer(model, MUON)) is CombinedOptimizer


@pytest.mark.parametrize("name", ["gpt", "modern"])
def test_together_is_each_by_itself(name):
    ours, theirs = model_of(name), model_of(name)
    weights, matrices = dict(theirs.named_parameters()), matrices_in_layers(theirs)
    muons = Muon([weights[name] for name in weights if name in matrices], 0.1, weight_decay=0.5, dtype=torch.float64)
    rest = [weights[name] for name in weights if name not in matrices]
    adam = torch.optim.AdamW(rest, lr=0.1, betas=(0.9, 0.8), weight_decay=0.5)

    class Both:
        def zero_grad(self):
            theirs.zero_grad()

        def step(self):
            adam.step()
            muons.step()

    train(theirs, Both(), 3)
    train(ours, make_optimizer(ours, MUON, torch.float64), 3)
    assert equal(ours, theirs, atol=1e-9)
    assert not equal(ours, model_of(name), atol=1e-2)


def test_states_are_one_dictionary_by_parameter():
    model = model_of("modern")
    optimizer = make_optimizer(model, MUON)
    train(model, optimizer, 1)
    kept = {name: set(optimizer.state[weight]) for name, weight in model.named_parameters()}
    matrices = matrices_in_layers(model)
    assert kept == {name: {"momentum"} if name in matrices else {"step", "exp_avg", "exp_avg_sq"} for name in kept}
    assert all(part.state is optimizer.state for part in optimizer.optimizers)


def test_a_rate_set_on_the_groups_is_the_rate_of_both():
    """As the loop sets it before each step; at zero, nothing moves."""
    model = model_of()
    optimizer = make_optimizer(model, MUON)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    assert equal(train(model, optimizer, 2), model_of())
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    before = [weight.detach().clone() for weight in model.parameters()]
    train(model, optimizer, 1)
    assert all((weight - was).abs().max() > 1e-4 for weight, was in zip(model.parameters(), before, strict=True))


def by_parameter(optimizer, other, model, copy):
    """As a run folder saves and restores it."""
    for weight, same in zip(model.parameters(), copy.parameters(), strict=True):
        other.state[same] = {key: value.clone() for key, value in optimizer.state[weight].items()}


def by_dictionary(optimizer, other, model, copy):
    """As torch does it, the settings of the groups included."""
    other.load_state_dict(deepcopy(optimizer.state_dict()))


@pytest.mark.parametrize("restore", [by_parameter, by_dictionary])
@pytest.mark.parametrize("name", ["gpt", "modern", "bigram"])
def test_saved_and_restored_is_never_stopped(restore, name):
    model, copy = model_of(name), model_of(name)
    optimizer, other = (make_optimizer(m, MUON, torch.float64) for m in (model, copy))
    train(model, optimizer, 2)
    copy.load_state_dict(model.state_dict())
    restore(optimizer, other, model, copy)
    for part in (optimizer, other):  # and both still listen
        for group in part.param_groups:
            group["lr"] = 0.03
    train(model, optimizer, 2, start=2)
    train(copy, other, 2, start=2)
    assert equal(model, copy)


def test_restored_without_its_state_it_would_go_another_way():
    """What the test above would miss if nothing were restored."""
    model, copy = model_of(), model_of()
    train(model, optimizer := make_optimizer(model, MUON, torch.float64), 2)
    copy.load_state_dict(model.state_dict())
    train(model, optimizer, 1, start=2)
    train(copy, make_optimizer(copy, MUON, torch.float64), 1, start=2)
    assert not equal(model, copy, atol=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_learns(optimizer):
    """The next token is the one before plus one: seen from any start, soon known."""
    torch.manual_seed(0)
    model = fuse(build("modern", ODD))
    updates = make_optimizer(model, replace(MUON, optimizer=optimizer, learning_rate=1e-2, weight_decay=0.0))
    text = torch.arange(V + T) % V
    blocks = text.unfold(0, T + 1, 1)
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(blocks[:, :-1]).flatten(0, 1), blocks[:, 1:].flatten())
        updates.zero_grad()
        loss.backward()
        updates.step()
    assert loss.item() < 0.5 < math.log(V)
