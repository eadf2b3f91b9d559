"""From logits to a token: who may be drawn, and how often."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptladder.sampling.choose import Sampling, choose_next, keep_top_k, keep_top_p
from laws import normal, seeded

NEVER = float("-inf")
GREEDY = Sampling(temperature=0)
DRAWS = 60_000


def frequencies(logits, sampling, draws=DRAWS, seed=0):
    """How often each token is drawn from one row of logits."""
    tokens = choose_next(logits.expand(draws, -1), sampling, seeded(seed))
    return tokens.bincount(minlength=logits.size(-1)).double() / draws


def fits(found, expected, draws=DRAWS):
    """Within 4.5 standard deviations everywhere; what cannot come never came."""
    deviation = (expected * (1 - expected) / draws).sqrt()
    return bool(((found - expected).abs() <= 4.5 * deviation).all())


def kept(logits):
    return (logits > NEVER).nonzero()[:, -1].tolist()


# drawing


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_softmax_of_logits_over_temperature(temperature):
    logits = normal(1, 7)
    expected = torch.softmax(logits[0] / temperature, dim=-1)
    assert fits(frequencies(logits, Sampling(temperature)), expected)


def test_the_test_of_frequencies_can_fail():
    logits = normal(1, 7)
    assert not fits(frequencies(logits, Sampling(1.1)), torch.softmax(logits[0], dim=-1))


def test_worked_number():
    found = frequencies(torch.tensor([[0.0, math.log(3)]]), Sampling())
    assert fits(found, torch.tensor([0.25, 0.75], dtype=torch.float64))


def test_greedy_takes_the_largest_and_draws_nothing():
    logits, generator = normal(50, 11), seeded(3)
    before, state = generator.get_state(), torch.get_rng_state()
    assert choose_next(logits, GREEDY, generator).tolist() == [row.index(max(row)) for row in logits.tolist()]
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_low_temperature_is_nearly_greedy():
    logits = 1000 * normal(50, 11)
    assert torch.equal(choose_next(logits, Sampling(1e-3), seeded()), logits.argmax(-1))


def test_a_high_temperature_is_nearly_fair():
    assert fits(frequencies(normal(1, 5), Sampling(1e9)), torch.full((5,), 0.2, dtype=torch.float64))


def test_a_generator_repeats_and_leaves_torchs_own_numbers_alone():
    logits, state = normal(100, 11), torch.get_rng_state()
    assert torch.equal(choose_next(logits, Sampling(), seeded(1)), choose_next(logits, Sampling(), seeded(1)))
    assert not torch.equal(choose_next(logits, Sampling(), seeded(1)), choose_next(logits, Sampling(), seeded(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_are_drawn_each_from_its_own():
    logits = torch.full((11, 11), -1e3).fill_diagonal_(0.0).flip(0)
    assert choose_next(logits, Sampling(), seeded()).tolist() == list(range(10, -1, -1))


def test_the_logits_given_are_left_as_they_were():
    logits = normal(3, 7)
    before = logits.clone()
    choose_next(logits, Sampling(0.5, top_k=3, top_p=0.5), seeded())
    assert torch.equal(logits, before)


# top-k


@given(st.integers(1, 20), st.integers(0, 1000))
def test_top_k_keeps_the_k_largest_as_they_were(k, seed):
    logits = normal(3, 11, seed=seed)
    filtered = keep_top_k(logits, k)
    for row, original in zip(filtered, logits, strict=True):
        best = sorted(range(11), key=lambda i: -original[i].item())[:k]
        assert kept(row.unsqueeze(0)) == sorted(best)
        assert torch.equal(row[best], original[best])


def test_top_1_leaves_the_greedy_choice():
    logits = normal(50, 11)
    assert torch.equal(choose_next(logits, Sampling(top_k=1), seeded()), choose_next(logits, GREEDY))


def test_those_equal_to_the_kth_stay_with_it():
    assert kept(keep_top_k(torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0, 2.0]]), 2)) == [1, 2, 3, 5]
    assert kept(keep_top_k(torch.tensor([[3.0, 2.0, 2.0, 1.0]]), 2)) == [0, 1, 2]
    assert kept(keep_top_k(torch.tensor([[5.0, 5.0, 4.0]]), 1)) == [0, 1]
    assert kept(keep_top_k(torch.zeros(1, 4), 2)) == [0, 1, 2, 3]


def test_top_k_draws_by_the_shares_of_those_that_stay():
    logits = torch.tensor([[0.3, 1.0, -0.5, 0.9, 0.0]], dtype=torch.float64)
    expected = torch.zeros(5, dtype=torch.float64)
    expected[[0, 1, 3]] = torch.softmax(logits[0, [0, 1, 3]], dim=-1)
    assert fits(frequencies(logits, Sampling(top_k=3)), expected)


# top-p


def test_top_p_worked_number():
    logits = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).log()
    assert kept(keep_top_p(logits, 0.7)) == [0, 1]
    assert kept(keep_top_p(logits[:, [2, 0, 1]], 0.7)) == [1, 2]


@pytest.mark.parametrize(("p", "stay"), [(1e-9, 1), (0.39, 1), (0.41, 2), (0.74, 2), (0.76, 3), (0.9, 4), (1.0, 4)])
def test_top_p_keeps_the_fewest_that_reach_p(p, stay):
    places = torch.tensor([2, 0, 3, 1])
    logits = torch.tensor([[0.35, 0.4, 0.15, 0.1]], dtype=torch.float64).log()[:, places]
    likeliest = sorted(range(4), key=lambda i: -logits[0, i].item())[:stay]
    assert kept(keep_top_p(logits, p)) == sorted(likeliest)


@pytest.mark.parametrize(("p", "stay"), [(0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_reaching_p_exactly_is_enough(p, stay):
    assert len(kept(keep_top_p(torch.zeros(1, 4), p))) == stay


@given(st.floats(0.001, 0.999), st.integers(0, 1000))
def test_top_p_holds_p_and_none_of_it_could_be_spared(p, seed):
    logits = normal(1, 11, seed=seed)
    probabilities = torch.softmax(logits[0], dim=-1)
    stay = kept(keep_top_p(logits, p))
    held = probabilities[stay].sum()
    assert held >= p - 1e-12
    assert held - probabilities[stay].min() < p + 1e-12
    gone = [i for i in range(11) if i not in stay]
    assert all(probabilities[i] <= probabilities[stay].min() for i in gone)


@given(st.integers(0, 1000), st.sampled_from([torch.float32, torch.float64]))
def test_p_of_1_keeps_all(seed, dtype):
    logits = 20 * normal(3, 11, seed=seed).to(dtype)  # some so unlikely that sums are rounded to 1 before them
    assert torch.equal(keep_top_p(logits, 1.0), logits)


def test_a_tiny_p_keeps_the_likeliest():
    logits = normal(50, 11)
    assert torch.equal(choose_next(logits, Sampling(top_p=1e-12), seeded()), logits.argmax(-1))


def test_top_p_treats_each_row_by_itself():
    rows = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.3, 0.5]], dtype=torch.float64).log()
    assert [kept(keep_top_p(rows, 0.7)[i : i + 1]) for i in range(2)] == [[0], [1, 2]]


def test_top_p_draws_by_the_shares_of_those_that_stay():
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]], dtype=torch.float64).log()
    expected = torch.tensor([0, 2 / 3, 0, 1 / 3], dtype=torch.float64)
    assert fits(frequencies(logits, Sampling(top_p=0.7)), expected)


def test_temperature_comes_before_top_p():
    """At a low temperature the first holds more, so fewer are needed to reach p."""
    logits = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).log()
    assert frequencies(logits, Sampling(0.25, top_p=0.7)).tolist() == [1.0, 0.0, 0.0]


def test_top_p_counts_what_top_k_left():
    """Of 0.4, 0.3, 0.3 the top two hold 4/7 and 3/7, so the first alone reaches p = 0.5."""
    logits = torch.tensor([[0.4, 0.31, 0.29]], dtype=torch.float64).log()
    assert frequencies(logits, Sampling(top_k=2, top_p=0.5)).tolist() == [1.0, 0.0, 0.0]
    assert frequencies(logits, Sampling(top_p=0.5))[1] > 0


# settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, r"temperature is -0.1; it must be 0 \(greedy\) or at least 0.001"),
        ({"temperature": 1e-40}, r"temperature is 1e-40; it must be 0 \(greedy\) or at least 0.001"),
        ({"temperature": math.nan}, "temperature is nan; it must be"),
        ({"temperature": math.inf}, "temperature is inf; it must be"),
        ({"top_k": 0}, "top_k is 0; it must be 1 or more"),
        ({"top_k": -5}, "top_k is -5; it must be 1 or more"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be more than 0 and at most 1"),
        ({"top_p": -0.2}, "top_p is -0.2; it must be"),
        ({"top_p": 1.01}, "top_p is 1.01; it must be"),
        ({"top_p": math.nan}, "top_p is nan; it must be"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Sampling(**settings)


def test_a_top_k_beyond_the_vocabulary_keeps_all():
    logits = normal(2, 5)
    assert torch.equal(keep_top_k(logits, 99), logits)
