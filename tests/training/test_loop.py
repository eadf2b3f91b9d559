"""The loop: one step by hand, evaluation by weight, and runs that repeat and resume to the last bit."""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from gptladder.batches import Batches
from gptladder.model.bigram import Bigram
from gptladder.model.config import GPTConfig, Recipe
from gptladder.model.fusing import fuse, fused_cross_entropy
from gptladder.rungs import ALL, RECIPES, build
from gptladder.tokenizer import CharTokenizer
from gptladder.training.loop import Step, evaluate, seed_for, train, training_step
from gptladder.training.loss import cross_entropy
from gptladder.training.optimizers import make_optimizer
from laws import ODD, B, T, lively, rung, seeded, tokens_of

STEPS, EVERY = 7, 3


class Constant(nn.Module):
    """A stand-in for a model: logits that are the tokens themselves."""

    def forward(self, tokens):
        return tokens.double()


def mean(logits, targets):
    """A stand-in for a loss: how large the inputs are."""
    return logits.mean()


def encoded(text):
    tokenizer = CharTokenizer.of(text)
    return len(tokenizer), torch.tensor(tokenizer.encode(text))


def start(text, name="gpt", seed=3, **settings):
    """A small model with dropout, its optimizer and its batches, all from a seed."""
    vocab_size, tokens = encoded(text)
    torch.manual_seed(seed)
    model = fuse(
        build(name, GPTConfig(vocab_size, **{"block_size": 9, "n_layer": 2, "n_head": 3, "n_embd": 12, "dropout": 0.2}))
    )
    optimizer = make_optimizer(model, Recipe(name, learning_rate=1e-2))
    return model, optimizer, Batches(tokens, batch_size=4, block_size=9)


def run(parts, done=0, steps=STEPS, seed=5, learning_rate=lambda step: 1e-2 / step):
    return train(*parts, steps, EVERY, seed, learning_rate, fused_cross_entropy, done)


def facts(steps):
    """What of some steps must repeat: all but the clock."""
    return [(s.step, None if s.train_loss is None else s.train_loss.item(), s.validation_loss) for s in steps]


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


# one step


def bigram_step_by_hand(table, x, y, rate):
    """Plain gradient descent on a table, number by number."""
    table = [list(row) for row in table]
    slopes = [[0.0] * len(row) for row in table]
    pairs = [(a, b) for xs, ys in zip(x.tolist(), y.tolist(), strict=True) for a, b in zip(xs, ys, strict=True)]
    for a, b in pairs:
        total = sum(math.exp(logit) for logit in table[a])
        for j, logit in enumerate(table[a]):
            slopes[a][j] += (math.exp(logit) / total - (j == b)) / len(pairs)
    return [[w - rate * s for w, s in zip(*rows, strict=True)] for rows in zip(table, slopes, strict=True)]


def test_a_step_is_one_step_of_gradient_descent():
    model, x, y = rung("bigram"), tokens_of(B, T), tokens_of(B, T, seed=1)
    table = model.table.weight.tolist()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.7)
    for step in range(3):  # slopes that are not cleared would show in the second
        training_step(model, optimizer, x, y.roll(step))
        table = bigram_step_by_hand(table, x, y.roll(step), 0.7)
        assert torch.allclose(model.table.weight, torch.tensor(table, dtype=torch.float64), atol=1e-12)


def test_slopes_left_over_from_before_are_cleared():
    models = [rung("layernorm") for _ in range(2)]
    for p in models[1].parameters():
        p.grad = torch.full_like(p, 1e3)
    for model in models:
        training_step(model, torch.optim.SGD(model.parameters(), lr=0.1), tokens_of(B, T), tokens_of(B, T, seed=1))
    assert same_weights(*models)


def test_a_step_returns_the_loss_before_it_without_its_graph():
    model, x, y = rung("layernorm"), tokens_of(B, T), tokens_of(B, T, seed=1)
    before = cross_entropy(model(x), y).item()
    value = training_step(model, torch.optim.SGD(model.parameters(), lr=0.1), x, y)
    assert value.item() == pytest.approx(before, abs=1e-12)
    assert not value.requires_grad
    assert cross_entropy(model(x), y).item() < before


def test_a_step_trains_with_dropout():
    model = rung("gpt", replace(ODD, dropout=0.5))
    training_step(model, torch.optim.SGD(model.parameters(), lr=0.0), tokens_of(B, T), tokens_of(B, T))
    assert all(part.training for part in model.modules())


def test_a_step_uses_the_loss_it_is_given():
    model = rung("bigram")
    x = tokens_of(B, T)
    assert training_step(model, torch.optim.SGD(model.parameters(), lr=0.1), x, x, lambda a, b: a.sum() * 0 + 5).item() == 5


# evaluation


def test_targets_count_alike_and_blocks_do_not():
    blocks = [(torch.full((1, 8), 2), torch.zeros(1, 8)), (torch.full((1, 2), 1), torch.zeros(1, 2))]
    assert evaluate(Constant(), blocks, mean) == pytest.approx(1.8, abs=1e-12)


def test_evaluation_is_the_mean_over_all_targets():
    model, tokens = rung("bigram"), tokens_of(1, 101)[0]
    batches = Batches(torch.cat([tokens] * 9), batch_size=2, block_size=7)
    losses = []
    data = batches.splits["validation"].tolist()
    log_p = model.table.weight.log_softmax(-1)
    for a, b in pairwise(data):
        losses.append(-log_p[a, b].item())
    assert evaluate(model, batches.all_blocks("validation")) == pytest.approx(sum(losses) / len(losses), abs=1e-12)


@pytest.mark.parametrize("length", [15, 40, 79])
@pytest.mark.parametrize("fused", [False, True])
def test_a_validation_split_shorter_than_a_block_is_evaluated_too(length, fused):
    model = rung("layernorm", replace(ODD, block_size=10), fused)
    batches = Batches(tokens_of(1, length)[0], batch_size=2, block_size=10)
    tokens = batches.splits["validation"]
    expected = cross_entropy(model(tokens[None, :-1]), tokens[None, 1:]).item()
    assert evaluate(model, batches.all_blocks("validation")) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_switches_dropout_off_and_puts_the_mode_back(training):
    dropping, plain = rung("gpt", replace(ODD, dropout=0.5)).train(training), rung("gpt")
    blocks = [(tokens_of(B, T), tokens_of(B, T, seed=1))]
    assert evaluate(dropping, blocks) == evaluate(plain, blocks)
    assert dropping.training is training
    assert all(part.training is training for part in dropping.modules())


def test_evaluation_changes_nothing():
    model = rung("gpt", replace(ODD, dropout=0.5)).train()
    before, random = copy.deepcopy(model), torch.get_rng_state()
    evaluate(model, [(tokens_of(B, T), tokens_of(B, T))])
    assert same_weights(model, before)
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()


# seeds


def test_a_seed_is_the_same_on_every_machine():
    digest = hashlib.blake2b(b"(1337, 7, 'batch')", digest_size=8).hexdigest()
    assert seed_for(1337, 7, "batch") == int(digest, 16) // 2


def test_seeds_differ_and_have_63_bits():
    seeds = [seed_for(seed, step, use) for seed in range(5) for step in range(200) for use in ("batch", "dropout")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


# the run


def test_steps_come_from_0_to_the_last_each_once(small_text):
    steps = list(run(start(small_text)))
    assert [step.step for step in steps] == list(range(STEPS + 1))
    assert all(isinstance(step, Step) for step in steps)


def test_validation_comes_before_the_first_step_at_every_third_and_at_the_end(small_text):
    steps = run(start(small_text))
    assert [step.step for step in steps if step.validation_loss is not None] == [0, 3, 6, 7]


def test_step_0_is_the_untrained_model(small_text):
    parts = start(small_text)
    expected = evaluate(parts[0], parts[2].all_blocks("validation"))
    first = next(run(parts))
    assert (first.step, first.train_loss) == (0, None)
    assert first.validation_loss == pytest.approx(expected, abs=1e-5)
    assert same_weights(parts[0], start(small_text)[0])


def test_validation_loss_is_that_of_the_model_at_that_step(small_text):
    model, optimizer, batches = start(small_text)
    for step in run((model, optimizer, batches)):
        if step.validation_loss is not None:
            assert step.validation_loss == evaluate(model, batches.all_blocks("validation"), fused_cross_entropy)


def test_train_loss_is_a_detached_tensor_that_later_steps_do_not_change(small_text):
    kept = [(step.train_loss, step.train_loss.item()) for step in run(start(small_text)) if step.step]
    for loss, value in kept:
        assert isinstance(loss, torch.Tensor)
        assert not loss.requires_grad
        assert loss.item() == value


def test_the_loop_is_training_step_on_the_batches_of_its_seed(small_text):
    ours, (model, optimizer, batches) = start(small_text), start(small_text)
    for step in run(ours):
        if step.step:
            optimizer.param_groups[0]["lr"] = 1e-2 / step.step
            x, y = batches.get_batch("train", seeded(seed_for(5, step.step, "batch")))
            torch.manual_seed(seed_for(5, step.step, "dropout"))
            assert training_step(model, optimizer, x, y, fused_cross_entropy).item() == step.train_loss.item()
    assert same_weights(ours[0], model)


def test_a_seed_repeats_and_another_does_not(small_text):
    first, again, other = start(small_text), start(small_text), start(small_text)
    steps = list(run(first))
    torch.rand(17)  # what else drew random numbers does not matter
    assert facts(run(again)) == facts(steps)
    assert facts(run(other, seed=6)) != facts(steps)
    assert same_weights(first[0], again[0])
    assert not same_weights(first[0], other[0])


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_a_run_that_stopped_goes_on_as_if_it_had_not(small_text, stop):
    whole, broken, resumed = start(small_text), start(small_text), start(small_text, seed=99)
    expected = facts(run(whole))
    steps = run(broken)
    before = [next(steps) for _ in range(stop + 1)]
    steps.close()
    resumed[0].load_state_dict(copy.deepcopy(broken[0].state_dict()))
    resumed[1].load_state_dict(copy.deepcopy(broken[1].state_dict()))
    torch.manual_seed(12345)
    after = list(run(resumed, done=stop))
    assert facts(before) + facts(after) == expected
    assert same_weights(resumed[0], whole[0])


def test_the_learning_rate_is_set_before_each_step(small_text):
    model, optimizer, batches = start(small_text)
    used = []
    optimizer.register_step_pre_hook(lambda o, *_: used.append([group["lr"] for group in o.param_groups]))
    list(run((model, optimizer, batches), learning_rate=lambda step: 0.001 * step))
    assert used == [[0.001 * step] for step in range(1, STEPS + 1)]


def test_without_a_schedule_the_optimizers_own_rate_stays(small_text):
    model, optimizer, batches = start(small_text)
    list(train(model, optimizer, batches, steps=2, evaluate_every=5))
    assert optimizer.param_groups[0]["lr"] == 1e-2


def test_nothing_to_do_yields_nothing(small_text):
    assert list(run(start(small_text), done=STEPS)) == []


# what is learned


def trained(name, text, steps, rate, **sizes):
    vocab_size, tokens = encoded(text)
    config = GPTConfig(vocab_size, **{"block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 16, "dropout": 0.0, **sizes})
    torch.manual_seed(0)
    model = fuse(build(name, config))
    batches = Batches(tokens, batch_size=32, block_size=config.block_size)
    optimizer = make_optimizer(model, Recipe(name, learning_rate=rate))
    *_, last = train(model, optimizer, batches, steps, steps, loss_function=fused_cross_entropy)
    return last.validation_loss


def counted_bigram_loss(text):
    """The validation loss of a table of counts: what a trained bigram can reach."""
    vocab_size, tokens = encoded(text)
    batches = Batches(tokens, 1, 1)
    counts = torch.full((vocab_size, vocab_size), 0.1, dtype=torch.float64)
    data = batches.splits["train"]
    counts.index_put_((data[:-1], data[1:]), torch.ones(len(data) - 1, dtype=torch.float64), accumulate=True)
    table = Bigram(GPTConfig(vocab_size, 1, 1, 1, 1, 0.0)).double()
    table.table.weight.data.copy_(counts.log())
    return evaluate(table, batches.all_blocks("validation"))


def test_a_trained_bigram_is_a_table_of_counts(small_text):
    assert trained("bigram", small_text, 300, 0.1) == pytest.approx(counted_bigram_loss(small_text), abs=0.03)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("bigram", "average")])
def test_whoever_sees_the_past_beats_the_best_table(small_text, name):
    steps = 250 if name in ("plain", "feedforward") else 110  # what carries nothing over learns more slowly
    assert trained(name, small_text, steps, 1e-2) < counted_bigram_loss(small_text) - 0.1


def test_the_average_knows_less_than_the_table(small_text):
    untrained = math.log(encoded(small_text)[0])
    assert counted_bigram_loss(small_text) + 0.1 < trained("average", small_text, 250, 1e-2) < untrained - 0.3


def test_one_batch_can_be_learned_by_heart():
    model = fuse(lively(build("gpt", ODD)))
    optimizer = make_optimizer(model, Recipe("gpt", learning_rate=1e-2))
    x, y = tokens_of(B, T), tokens_of(B, T, seed=1)
    losses = [training_step(model, optimizer, x, y, fused_cross_entropy).item() for _ in range(60)]
    assert losses[0] > 1.5
    assert losses[-1] < 0.01


@pytest.mark.slow
def test_the_published_recipe_takes_its_first_step(small_text):
    recipe = RECIPES["published"]
    vocab_size, tokens = encoded(small_text)
    torch.manual_seed(0)
    model = fuse(build("gpt", recipe.config(vocab_size)))
    batches, optimizer = Batches(tokens, recipe.batch_size, recipe.block_size), make_optimizer(model, recipe)
    x, y = batches.get_batch("train", seeded())
    assert x.shape == (64, 256)
    untrained = evaluate(model, [(x[:3], y[:3])], fused_cross_entropy)
    assert training_step(model, optimizer, x, y, fused_cross_entropy).item() == pytest.approx(math.log(vocab_size), abs=0.05)
    assert evaluate(model, [(x[:3], y[:3])], fused_cross_entropy) < untrained - 0.1


@pytest.mark.slow
def test_the_bigram_on_the_real_text_ends_at_its_published_loss(tinyshakespeare):
    recipe = RECIPES["bigram"]
    vocab_size, tokens = encoded(tinyshakespeare.text)
    torch.manual_seed(1337)
    model = build("bigram", recipe.config(vocab_size))
    batches = Batches(tokens, recipe.batch_size, recipe.block_size)
    *_, last = train(
        model, make_optimizer(model, recipe), batches, recipe.steps, recipe.steps, loss_function=fused_cross_entropy
    )
    assert last.validation_loss == pytest.approx(2.49, abs=0.03)
