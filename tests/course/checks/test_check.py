"""The judges and the inputs that all checks share: each judge fails on what it must catch and passes what is right."""

from __future__ import annotations

import math
import tomllib

import pytest
import torch
from torch import nn

from gptladder.course.bank.versions import MUTANTS, VARIANTS
from gptladder.course.checks import LESSONS
from gptladder.course.checks.check import (
    Mistake,
    agree,
    beside,
    difference,
    equal,
    facts,
    gives,
    in_turn,
    inside,
    past_stays,
    rows_sum_to_one,
    same,
)
from gptladder.course.checks.probes import (
    SIZES,
    argument_in_words,
    call,
    config,
    fill,
    generator_facts,
    names_of,
    new_from,
    normal,
    number,
    prefixed,
    tensor,
    tokens,
    two_tensors,
    uses_generator,
    with_gradients,
)
from gptladder.course.source.packages import reference

ONES = torch.ones(2, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (ONES + 1e-9, ONES),
        (1.0, 1.0 + 1e-9),
        (2, 2.0),
        (3, 3),
        ("word", "word"),
        ([1, 2], [1, 2]),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        (torch.tensor([1.0, -math.inf]), torch.tensor([1.0, -math.inf])),
        (torch.empty(0, 3), torch.empty(0, 3)),
        (1e9 + 1.0, 1e9),  # relative to the size
        (math.nan, math.nan),
        (math.inf, math.inf),
    ],
)
def test_what_agrees(got, wanted):
    assert difference(got, wanted) is None
    assert equal({"it": got}, {"it": wanted}) is None


@pytest.mark.parametrize(
    ("got", "wanted", "words"),
    [
        (ONES + 1e-4, ONES, "at [0, 0] is 1.0001, where 1 is right; 100% of the numbers differ"),
        (ONES[:1], ONES, "shape (1, 3), where (2, 3) is right"),  # which would broadcast
        (torch.tensor(1.0), torch.ones(1), "shape (), where (1,) is right"),
        (ONES.float(), ONES, "dtype float32, where float64 is right"),
        (torch.tensor([1.0, math.nan]), torch.ones(2), "at [1] is nan, not a finite number"),
        (torch.tensor([1.0, math.inf]), torch.ones(2), "at [1] is inf, not a finite number"),
        (torch.tensor([1.0, 0.0]), torch.tensor([1.0, -math.inf]), "at [1] is 0, where -inf is right"),
        (torch.tensor([math.nan, 0.0]), torch.tensor([-math.inf, 0.0]), "at [0] is nan, where -inf is right"),
        (torch.tensor([1, 3]), torch.tensor([1, 2]), "at [1] is 3, where 2 is right; 50%"),
        (torch.tensor(2.0), torch.tensor(1.0), "it is 2, where 1 is right"),
        (1.1, 1.0, "1.1, where 1 is right"),
        (math.nan, 1.0, "nan, where 1 is right"),
        (1.0, math.nan, "1, where nan is right"),
        (-0.0, 1.0, "0, where 1 is right"),
        (True, 1.0, "a bool where a float is right"),
        (2.0, 2, "a float where an int is right"),
        ([1, 3], [1, 2], "[1, 3], where [1, 2] is right"),
        ("a" * 200, "b", "'aaa"),
        (None, ONES, "a NoneType where a Tensor is right"),
    ],
)
def test_what_differs(got, wanted, words):
    assert words in difference(got, wanted)
    assert equal({"the result": got}, {"the result": wanted}).startswith("the result: ")


def test_a_single_number_among_many_is_found():
    got = torch.zeros(40, 10)
    got[7, 3] = 1
    assert difference(got, torch.zeros(40, 10)) == "the number at [7, 3] is 1, where 0 is right"


def test_what_is_missing_is_told_and_what_is_more_is_not():
    assert equal({}, {"output": ONES}) == "output is missing"
    assert equal({"output": ONES, "more": 1}, {"output": ONES}) is None


def test_same_asks_for_the_same_names_and_takes_nan_for_nan():
    odd = {"it": torch.tensor([math.nan, 1.0])}
    assert same(odd, {"it": torch.tensor([math.nan, 1.0])})
    assert not same(odd, {"it": torch.tensor([1.0, 1.0])})
    assert not same({"it": torch.tensor([1.0, 1.0])}, odd)
    assert not same({"it": 1, "more": 1}, {"it": 1})


def test_the_past_may_not_move():
    before = normal(2, 5, 3)
    later = new_from(before, 3)
    assert past_stays({"before": before, "after": later, "changed": 3}, {}) is None
    earlier = later.clone()
    earlier[1, 2, 0] += 1e-3
    assert "token 3 was changed, and the output at position 2 moved" in past_stays(
        {"before": before, "after": earlier, "changed": 3}, {}
    )


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 5)])
def test_where_there_is_no_such_position_the_shape_is_told(shape):
    assert "shape" in past_stays({"before": normal(*shape), "after": normal(*shape), "changed": 3}, {})


def test_a_past_of_another_shape_is_told():
    assert "shape" in past_stays({"before": normal(2, 5, 3), "after": normal(2, 4, 3), "changed": 3}, {})


def test_a_past_that_is_no_number_has_moved():
    before = normal(2, 5, 3)
    after = before.clone()
    after[0, 0, 0] = math.nan
    assert "position 0 moved" in past_stays({"before": before, "after": after, "changed": 3}, {})


def test_rows_are_distributions():
    weights = torch.softmax(normal(2, 3, 5), dim=-1)
    assert rows_sum_to_one({"weights": weights}, {}) is None
    assert "a row sums to 2, where 1 is right" in rows_sum_to_one({"weights": 2 * weights}, {})
    assert "a row sums to nan" in rows_sum_to_one({"weights": weights.masked_fill(weights > 0.4, math.nan)}, {})
    assert "a weight is -0.5; none may be negative" in rows_sum_to_one({"weights": torch.tensor([[1.5, -0.5]])}, {})
    sideways = rows_sum_to_one({"fine": weights, "sideways": torch.softmax(normal(3, 5), dim=0)}, {})
    assert sideways.startswith("sideways: a row sums to ")


def test_two_results_that_must_agree():
    judge = agree("both are one")
    assert judge(beside(ONES, ONES.clone()), {}) is None
    assert judge(beside(2 * ONES, ONES), {}).startswith("both are one, but the number at [0, 0] is 2, where 1")
    assert judge(beside(2.0, 1.0), {}) == "both are one, but it is 2, where 1 is right"


def test_each_case_must_agree_and_is_told_by_its_name():
    right = beside(1, 1, "one token") | beside([2], [2], "two: or more")
    wrong = right | beside([3], [2], "two: or more")
    assert agree("{case}")(right, {}) is None
    assert agree("with {case} it is {found}, not {right}", numbers=False)(wrong, {}) == "with two: or more it is [3], not [2]"
    assert agree({"one token": "never said", "two: or more": "said"}, numbers=False)(wrong, {}) == "said"
    assert gives("{case} gives 1, 2")(beside(ONES[0], 2 * ONES[0], "it"), {}) == "it gives 1, 2, but gave 1, 1, 1"


def test_facts_are_told_by_their_sentences():
    judge = facts({"moves": "in {case} nothing moves", "kind": "{found} is no kind"})
    wanted = {"a, b, moves": True, "kind": "one", "beside the point": 1}
    assert judge(dict(wanted), wanted) is None
    assert judge(wanted | {"beside the point": 2}, wanted) is None, "what has no sentence is not judged"
    assert judge(wanted | {"a, b, moves": False}, wanted) == "in a, b nothing moves"
    assert judge(wanted | {"kind": "two"}, wanted) == "two is no kind"
    assert judge({"a, b, moves": True}, wanted) == "None is no kind"


def test_a_fact_whose_name_ends_in_anothers_has_its_own_sentence():
    judge = facts({"moves": "the shorter", "alone, moves": "the longer of {case}"})
    assert judge({"x, alone, moves": False}, {"x, alone, moves": True}) == "the longer of x"
    assert judge({"alone, moves": False}, {"alone, moves": True}) == "the longer of "
    assert judge({"moves": False}, {"moves": True}) == "the shorter"
    assert judge({"removes": False}, {"removes": True}) is None


def test_judges_in_turn_stop_at_the_first_problem():
    judge = in_turn(agree("first", numbers=False), inside(0.0, 1.0))
    assert judge({}, {}) is None
    assert judge(beside(1, 2), {}) == "first"
    assert judge(beside(2, 2), {}) == "found is 2, where 0 to 1 is right"


def test_a_few_numbers_are_all_shown():
    judge, right = gives("1, 2 must become 3, 4"), torch.tensor([3.0, 4.0])
    assert judge(beside(right.clone(), right), {}) is None
    assert judge(beside(right + 0.5, right), {}) == "1, 2 must become 3, 4, but gave 3.5, 4.5"
    assert "dtype float64" in judge(beside(right.double(), right), {})
    assert "shape (1,)" in judge(beside(right[:1], right), {})


def test_numbers_lie_inside_a_band():
    judge = inside(2.4, 2.6)
    assert judge({"the loss": 2.5}, {}) is None
    assert judge({"the loss": 2.7}, {}) == "the loss is 2.7, where 2.4 to 2.6 is right"
    assert "the loss is 1" in judge({"the loss": 1.0}, {})
    assert "nan" in judge({"the loss": math.nan}, {})


def test_inputs_are_the_same_each_time_and_of_unit_scale():
    torch.manual_seed(1)
    x = normal(40, 50)
    torch.manual_seed(2)
    assert torch.equal(x, normal(40, 50))
    assert x.dtype == torch.float64
    assert abs(x.std().item() - 1) < 0.1
    assert not torch.equal(x, normal(40, 50, seed=1))
    assert normal(2, dtype=torch.float32).dtype == torch.float32
    ids = tokens(20, 30, vocab_size=7)
    assert ids.dtype == torch.int64
    assert ids.unique().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert torch.equal(ids, tokens(20, 30, vocab_size=7))


def test_sizes_hide_no_swapped_pair():
    assert all(len(set(sizes)) == 4 for sizes in SIZES)
    assert any(T == 1 for _, T, _, _ in SIZES)


def test_new_numbers_begin_at_the_position():
    x = normal(2, 5, 3)
    other = new_from(x, 3)
    assert torch.equal(other[:, :3], x[:, :3])
    assert (other[:, 3:] != x[:, 3:]).all()


def test_a_config_is_small_unless_told():
    assert config(reference).n_embd == 12
    assert config(reference, n_embd=6).n_embd == 6


class Pair(nn.Module):
    """Two layers, made in either order."""

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        for name in ("second", "first") if swapped else ("first", "second"):
            setattr(self, name, nn.Linear(3, 4))
        self.norm = nn.LayerNorm(4)


def test_weights_do_not_depend_on_the_order_in_which_they_were_made():
    one, other = fill(Pair(False)), fill(Pair(True))
    assert [name for name, _ in one.named_parameters()] != [name for name, _ in other.named_parameters()]
    assert names_of(one) == names_of(other)
    assert "first.weight (4, 3)" in names_of(one)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert not torch.equal(one.first.weight, one.second.weight)
    assert not torch.equal(one.first.weight, fill(Pair(False), seed=1).first.weight)
    assert all(parameter.dtype == torch.float64 for parameter in one.parameters())
    assert (one.norm.weight != 1).all()  # a gain or a bias that is forgotten shows
    assert (one.norm.bias != 0).all()


def test_what_is_no_tensor_is_told():
    assert tensor(ONES, "f") is ONES
    with pytest.raises(Mistake, match=r"f returned nothing \(is a `return` missing\?\)"):
        tensor(None, "f")
    with pytest.raises(Mistake, match="f returned a list; it must return a tensor"):
        call(lambda x: [x], ONES, whose="f")


def test_what_is_no_number_is_told():
    assert (number(2, "f"), number(1.5, "f")) == (2.0, 1.5)
    for value, said in ((None, r"nothing \(is a `return` missing"), (True, "a bool"), (ONES, r"a Tensor.* its \.item\(\)")):
        with pytest.raises(Mistake, match=f"f returned {said}"):
            number(value, "f")


def test_what_is_no_pair_of_tensors_is_told():
    assert two_tensors([ONES, ONES], "f", "x and y") == (ONES, ONES)
    for value, said in ((None, r"nothing \(is a `return` missing\?\)"), (ONES, "a Tensor"), ((ONES, 1), "a tuple")):
        with pytest.raises(Mistake, match=f"f returned {said}; it must return two tensors, x and y"):
            two_tensors(value, "f", "x and y")


def test_arguments_are_called_by_their_names():
    assert argument_in_words(lambda x, y: x, 1) == "`y`, its second argument"
    assert argument_in_words(Pair(False).first, 0) == "`input`, its first argument", "of a module, those of its forward"
    assert argument_in_words(lambda *values: values, 0) == "its first argument"
    assert argument_in_words(lambda x: x, 2) == "its third argument"
    assert argument_in_words(torch.add, 1) == "its second argument"  # it has no signature


def test_a_generator_must_decide():
    def drawn(generator):
        return torch.rand(5, generator=generator)

    def said(draw):
        return uses_generator("f")(generator_facts(draw), generator_facts(drawn))

    fixed = torch.rand(5)
    assert said(drawn) is None
    assert "different draws for the same" in said(lambda generator: torch.rand(5))
    assert "generators with different seeds" in said(lambda generator: fixed)
    assert "called again" in said(
        lambda g: torch.rand(5) if g is None else drawn(torch.Generator().manual_seed(g.initial_seed()))
    )
    assert "without a generator" in said(lambda g: fixed if g is None else drawn(g))


def test_the_checks_mutants_and_variants_of_a_lesson_share_a_file_stem():
    stems = {lesson.__name__.rpartition(".")[2]: {check.exercise for check in lesson.CHECKS} for lesson in LESSONS}
    for folder in (MUTANTS, VARIANTS):
        files = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.toml")}
        assert {
            stem: {entry["id"].partition("/")[0] for entry in tomllib.loads(text)["version"]} for stem, text in files.items()
        } == stems


def test_a_change_in_place_is_told():
    def halves(x, y):
        y /= 2
        return x

    with pytest.raises(Mistake, match="halves writes into `y`, its second argument"):
        call(halves, ONES.clone(), ONES.clone(), whose="halves")
    assert torch.equal(call(torch.add, ONES, ONES, whose="add"), ONES + ONES)
    assert call(lambda x: x, torch.tensor([math.nan]), whose="same").isnan().all()  # nan is not its own equal


def test_gradients_come_with_the_output():
    layer, x = fill(nn.Linear(3, 4)), normal(2, 3)
    found = with_gradients(layer, x, whose="layer", module=layer)
    assert list(found) == ["output", "gradient of the input", "gradient of bias", "gradient of weight"]
    assert not x.requires_grad  # the caller's own is left alone
    assert torch.equal(found["output"], layer(x))
    g = normal(2, 4, seed=99)
    torch.testing.assert_close(found["gradient of the input"], g @ layer.weight)
    torch.testing.assert_close(found["gradient of weight"], g.T @ x)
    again = with_gradients(layer, x, whose="layer", module=layer)
    assert same(found, again)  # gradients do not add up over calls


def test_gradients_of_two_inputs_are_numbered_and_what_is_unused_has_zeros():
    found = with_gradients(lambda a, ids, b: a * 2, normal(3), tokens(2, vocab_size=5), normal(4), whose="f")
    assert list(found) == ["output", "gradient of input 1", "gradient of input 3"]
    assert not found["gradient of input 3"].any()


@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: torch.tensor(x.tolist()), lambda x: x.data * 2])
def test_a_result_without_a_gradient_is_told(cut):
    with pytest.raises(Mistake, match="without a gradient"):
        with_gradients(cut, normal(3), whose="f")


def test_where_there_is_nothing_to_differentiate_there_is_no_gradient():
    assert list(with_gradients(lambda ids: ids + 1, tokens(3, vocab_size=5), whose="f")) == ["output"]
    assert list(with_gradients(lambda ids: ids / 2, tokens(3, vocab_size=5), whose="f")) == ["output"]
    assert list(with_gradients(lambda x: x.argmax(-1), normal(2, 3), whose="f")) == ["output"]


def test_a_prefix_keeps_the_order():
    assert list(prefixed("T = 5", {"b": 1, "a": 2})) == ["T = 5, b", "T = 5, a"]


def test_a_row_without_a_number_is_told_as_that():
    nan = torch.full((2, 5, 3), torch.nan)
    said = past_stays({"before": nan, "after": nan, "changed": 3}, {})
    assert said == "the output at position 0 is nan: does it take in no token at all? It must take in at least its own"
