"""Writing token by token: what the model is shown, and that a cache changes nothing but speed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gptladder.model.cache import CachingModule
from gptladder.model.fusing import fuse, unfuse
from gptladder.sampling.choose import Sampling
from gptladder.sampling.decoding import generate_cached
from gptladder.sampling.generate import fit_context, generate
from laws import NAMES, ODD, V, rung, seeded, tokens_of

GREEDY = Sampling(temperature=0)
DRAWN = Sampling(temperature=1.3, top_k=8, top_p=0.95)
SAMPLERS = pytest.mark.parametrize("sampler", [generate, generate_cached])


class Counting(nn.Module):
    """Answers each token with the one after it, and notes what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, tokens, positions=None):
        self.shown.append(tokens.clone())
        return 10.0 * nn.functional.one_hot((tokens + 1) % V, V)


def attached(model):
    return [part.cache for part in model.modules() if isinstance(part, CachingModule) and part.cache is not None]


def written(sampler, model, prompt, count, block_size, sampling=GREEDY, seed=7):
    """The tokens (B, count), and the last logits of each step."""
    seen = []
    hook = model.register_forward_hook(lambda module, given, logits: seen.append(logits[:, -1].clone()))
    tokens = list(sampler(model, prompt, count, block_size, sampling, seeded(seed)))
    hook.remove()
    return torch.stack(tokens, dim=1), torch.stack(seen)


# the context


@pytest.mark.parametrize(
    ("length", "block_size", "stays"),
    [(1, 8, 1), (8, 8, 8), (9, 8, 4), (20, 8, 4), (8, 7, 3), (7, 7, 7), (2, 1, 1), (3, 2, 1), (4, 3, 1), (1, 1, 1)],
)
def test_an_overflowing_context_keeps_its_last_half(length, block_size, stays):
    context = tokens_of(3, length)
    assert torch.equal(fit_context(context, block_size), context[:, length - stays :])


@pytest.mark.parametrize("block_size", [1, 2, 5, 8])
@pytest.mark.parametrize("length", [1, 4, 11])
def test_the_model_is_shown_what_the_rule_says(block_size, length):
    model, prompt = Counting(), tokens_of(2, length)
    list(generate(model, prompt, 13, block_size, GREEDY))
    context = prompt.tolist()
    for shown in model.shown:
        if len(context[0]) > block_size:
            context = [row[-max(1, block_size // 2) :] for row in context]
        assert shown.tolist() == context
        context = [[*row, (row[-1] + 1) % V] for row in context]


@pytest.mark.parametrize(("length", "sizes"), [(3, [3, 1, 1, 1, 1, 1, 4, 1, 1, 1, 1, 4, 1]), (9, [4, 1, 1, 1, 1, 4, 1])])
def test_with_a_cache_only_new_tokens_are_read(length, sizes):
    model, read = rung("gpt", replace(ODD, block_size=8), fused=True), []
    model.register_forward_pre_hook(lambda module, given: read.append(given[0].size(1)))
    list(generate_cached(model, tokens_of(2, length), len(sizes), 8, GREEDY))
    assert read == sizes


# the tokens


@SAMPLERS
def test_each_row_of_the_prompt_is_continued(sampler):
    prompt = torch.tensor([[3, 1], [0, 9]])
    tokens = torch.stack(list(sampler(Counting(), prompt, 4, 5, GREEDY)), dim=1)
    assert tokens.tolist() == [[2, 3, 4, 5], [10, 0, 1, 2]]


@SAMPLERS
@pytest.mark.parametrize("count", [0, 1, 9])
def test_as_many_as_asked_for(sampler, count):
    tokens = list(sampler(rung("gpt", fused=True), tokens_of(3, 2), count, 7, DRAWN, seeded()))
    assert [token.shape for token in tokens] == [(3,)] * count


@SAMPLERS
def test_a_token_comes_before_the_next_is_thought_of(sampler):
    model = Counting()
    tokens = sampler(model, tokens_of(1, 1), 3, 5, GREEDY)
    assert model.shown == []
    next(tokens)
    assert len(model.shown) == 1


@SAMPLERS
def test_a_seed_repeats_and_another_does_not(sampler):
    model, prompt = rung("layernorm", fused=True), tokens_of(3, 2)
    first, again, other = (written(sampler, model, prompt, 20, 7, Sampling(), seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@SAMPLERS
def test_the_prompt_is_left_as_it_was(sampler):
    prompt = tokens_of(3, 5)
    list(sampler(rung("gpt", fused=True), prompt, 9, 7, GREEDY))
    assert torch.equal(prompt, tokens_of(3, 5))


# cached is uncached


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN])
@pytest.mark.parametrize("length", [1, 3, 7, 8, 20])
def test_cached_is_uncached(name, sampling, length):
    """Fused and written out, same tokens and same logits, through several overflows."""
    prompt = tokens_of(3, length)
    tokens, logits = written(generate, rung(name), prompt, 17, 7, sampling)
    for model in (rung(name, fused=True), rung(name)):
        cached_tokens, cached_logits = written(generate_cached, model, prompt, 17, 7, sampling)
        assert torch.equal(cached_tokens, tokens)
        assert torch.allclose(cached_logits, logits, atol=1e-9)


@pytest.mark.parametrize("block_size", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("batch", [1, 4])
def test_cached_is_uncached_at_every_block_size(block_size, length, batch):
    config, prompt = replace(ODD, block_size=block_size), tokens_of(batch, length)
    tokens, logits = written(generate, rung("gpt", config), prompt, 12, block_size, DRAWN)
    cached_tokens, cached_logits = written(generate_cached, rung("gpt", config, fused=True), prompt, 12, block_size, DRAWN)
    assert torch.equal(cached_tokens, tokens)
    assert torch.allclose(cached_logits, logits, atol=1e-9)


@pytest.mark.parametrize("block_size", [4, 7])
def test_a_shorter_window_than_the_model_holds_will_do(block_size):
    prompt = tokens_of(2, 3)
    tokens, logits = written(generate, rung("gpt"), prompt, 12, block_size, DRAWN)
    cached_tokens, cached_logits = written(generate_cached, rung("gpt", fused=True), prompt, 12, block_size, DRAWN)
    assert torch.equal(cached_tokens, tokens)
    assert torch.allclose(cached_logits, logits, atol=1e-9)


def test_the_past_matters_so_the_comparison_means_something():
    one, other = tokens_of(1, 5), torch.cat([(tokens_of(1, 4) + 1) % V, tokens_of(1, 5)[:, 4:]], dim=1)
    first, second = (written(generate_cached, rung("gpt", fused=True), prompt, 1, 7)[1] for prompt in (one, other))
    assert (first - second).abs().max() > 1e-2


# the model is given back


def test_no_cache_is_attached_between_tokens():
    model = rung("gpt", fused=True)
    for _ in generate_cached(model, tokens_of(2, 3), 12, 7, GREEDY):
        assert attached(model) == []
    assert attached(model) == []


def test_no_cache_stays_when_writing_is_broken_off():
    model, tokens = rung("gpt", fused=True), tokens_of(2, 7)
    expected = model(tokens)
    writing = generate_cached(model, tokens_of(2, 3), 12, 7, GREEDY)
    next(writing)
    next(writing)
    writing.close()
    assert attached(model) == []
    assert torch.equal(model(tokens), expected)


def test_no_cache_stays_when_the_model_fails():
    model = rung("gpt", fused=True)

    def fail(module, given):
        assert len(attached(model)) == ODD.n_layer  # the cache is in use right now
        raise RuntimeError("power cut")

    model.unembed.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="power cut"):
        list(generate_cached(model, tokens_of(2, 3), 12, 7, GREEDY))
    assert attached(model) == []


def test_two_texts_can_be_written_in_turn_by_one_model():
    model = rung("gpt", fused=True)
    prompts = tokens_of(1, 2), tokens_of(3, 5, seed=1)
    alone = [written(generate, rung("gpt"), prompt, 15, 7)[0] for prompt in prompts]
    writers = [generate_cached(model, prompt, 15, 7, GREEDY) for prompt in prompts]
    turns = list(zip(*writers, strict=True))
    for i in range(2):
        assert torch.equal(torch.stack([turn[i] for turn in turns], dim=1), alone[i])


def test_the_model_can_be_used_and_unfused_between_tokens():
    model, prompt = rung("gpt", fused=True), tokens_of(2, 3)
    expected = written(generate, rung("gpt"), prompt, 9, 7)[0]
    tokens = []
    for token in generate_cached(model, prompt, 9, 7, GREEDY):
        tokens.append(token)
        assert torch.allclose(model(tokens_of(2, 7)), rung("gpt")(tokens_of(2, 7)), atol=1e-10)
        model(tokens_of(2, 7)).sum().backward()
    assert torch.equal(torch.stack(tokens, dim=1), expected)
    unfuse(model)


@SAMPLERS
def test_no_gradients_are_kept_while_writing_and_all_are_between(sampler):
    model, modes = rung("gpt", fused=True), []
    model.register_forward_hook(lambda module, given, logits: modes.append(logits.requires_grad))
    for token in sampler(model, tokens_of(2, 3), 4, 7, DRAWN, seeded()):
        assert torch.is_grad_enabled()
        assert not token.requires_grad
    assert modes == [False] * 4


def test_float32_writes_the_same_text_cached_and_uncached():
    model = rung("gpt").float()
    prompt = tokens_of(2, 3)
    plain = written(generate, model, prompt, 20, 7)[0]
    assert torch.equal(written(generate_cached, fuse(model), prompt, 20, 7)[0], plain)
