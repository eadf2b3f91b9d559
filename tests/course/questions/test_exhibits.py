"""Exhibits are real, they show what the questions say about them, and they give no later exercise away."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from itertools import pairwise

import pytest
import torch

from gptladder import corpus
from gptladder.course import outline
from gptladder.course.outline import CourseError
from gptladder.course.questions import exhibits
from gptladder.course.questions.exhibits import (
    EXHIBITS,
    LINES,
    MEASURED,
    NORM_OF_THE_STREAM,
    CurvePoint,
    line_that_calls,
    measured,
    plot,
    quoted,
)
from gptladder.course.source.functions import text_of_body
from gptladder.course.source.reference import PACKAGE, reference_texts
from gptladder.model.block import Block
from gptladder.model.config import GPTConfig
from gptladder.model.controls import PostNormBlock
from gptladder.model.ladder import RECIPES, RUNGS

CONFIG = GPTConfig(vocab_size=7, block_size=8, n_layer=1, n_head=2, n_embd=4, dropout=0)
RUNG = {rung.name: rung for rung in RUNGS}


class LearnersBlock(Block):
    def forward(self, x):
        x = self.attention_norm(x)
        x = x + self.attention(x)
        x = self.feed_forward_norm(x)
        return x + self.feed_forward(x)


@pytest.fixture
def the_course(monkeypatch):
    monkeypatch.setattr(outline, "_check", lambda course: None)  # completeness does not matter here
    return outline.read(outline.COURSE.read_text(encoding="utf-8"))


def body(function):
    return textwrap.dedent("".join(inspect.getsourcelines(function)[0][1:])).strip()


def silent(kind):
    """A block whose two parts give 0."""
    block = kind(CONFIG)
    torch.nn.init.zeros_(block.attention.project.weight)
    torch.nn.init.zeros_(block.attention.project.bias)
    torch.nn.init.zeros_(block.feed_forward.contract.weight)
    torch.nn.init.zeros_(block.feed_forward.contract.bias)
    return block


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.__name__)
def test_an_exhibit_fits_the_page_is_always_the_same_and_leaves_chance_alone(exhibit):
    state = torch.get_rng_state()
    shown = exhibit()
    assert max(map(len, shown.splitlines())) <= 100
    assert not any(line != line.rstrip() for line in shown.splitlines())
    torch.manual_seed(99)
    other = torch.get_rng_state()
    assert exhibit() == shown
    assert torch.equal(torch.get_rng_state(), other)
    torch.set_rng_state(state)


def test_what_was_measured_says_how():
    content = json.loads(MEASURED.read_text(encoding="utf-8"))
    assert content["corpus"]["sha256"] == corpus.SHA256
    assert content.keys() >= {"about", "versions", "machine"}
    for name, sample in content["samples"].items():
        assert sample.keys() >= {"rung", "recipe", "seed", "steps", "parameters", "loss", "sampling_seed", "change"}, name
    for name, curve in content["curves"].items():
        assert curve.keys() == {"rung", "recipe", "seed", "change", "rows"}, name


def test_no_sample_is_a_piece_of_the_corpus(tinyshakespeare):
    for sample in measured().samples.values():
        for line in sample.text.splitlines():
            for i in range(0, max(1, len(line) - 24), 8):
                assert len(line[i : i + 24]) < 24 or line[i : i + 24] not in tinyshakespeare.text


@pytest.mark.parametrize("name", ["bigram", "attention", "multihead"])
def test_a_healthy_curve_ends_in_its_rungs_band(name):
    rows = measured().curves[name]
    assert rows[-1].step == RECIPES[name].steps
    assert abs(rows[-1].validation - RUNG[name].expected_loss) < RUNG[name].band
    assert abs(rows[0].validation - 4.174) < 0.05
    assert rows[0].training is None


def test_the_curves_show_what_the_questions_say_of_them():
    healthy, leaking, small = (measured().curves[name] for name in ("bigram", "unshifted", "small"))
    assert healthy[5].validation - healthy[-1].validation == pytest.approx(0.01, abs=0.005)  # of the last 1,500 steps
    assert healthy[-1].validation - healthy[-1].training < 0.03
    assert leaking[-1].validation < 0.01
    best = min(small, key=lambda row: row.validation)
    after = [row.validation for row in small if row.step >= best.step]
    assert best.step == 600
    assert after == sorted(after)
    assert small[-1].training == min(row.training for row in small[1:])
    assert small[-1].training < healthy[-1].training - 0.2


def test_the_samples_are_what_the_questions_say_of_them():
    texts = {name: sample.text for name, sample in measured().samples.items()}
    losses = [measured().samples[name].loss for name in ("untrained", "bigram", "layernorm", "gpt")]
    assert losses == sorted(losses, reverse=True)
    repeats = {name: sum(a == b for a, b in pairwise(text)) / len(text) for name, text in texts.items()}
    assert repeats["unshifted"] > 0.95
    assert max(repeats[name] for name in ("untrained", "bigram", "layernorm")) < 0.1
    names = {name: len(re.findall(r"^[A-Z ]{4,}:$", text, re.MULTILINE)) for name, text in texts.items()}
    assert names["bigram"] == names["untrained"] == 0
    assert min(names["layernorm"], names["gpt"]) >= 2
    assert abs(texts["untrained"].count("$") - texts["untrained"].count("e")) < 5
    assert not any(re.match(r"^[A-Z ]{4,}:$", line[4:]) for line in exhibits.bigram_sample().splitlines())


def test_the_programs_are_the_real_ones_and_differ_as_the_questions_say():
    shown = exhibits.pre_and_post_norm()
    first, second = (part.partition("\n")[2] for part in shown.split("\n\n"))
    reference = (PACKAGE / "model/block.py").read_text(encoding="utf-8")
    controls = (PACKAGE / "model/controls.py").read_text(encoding="utf-8")
    for program, real in (
        (first, text_of_body(controls, "PostNormBlock.forward")),
        (second, text_of_body(reference, "Block.forward")),
    ):
        assert ast.dump(ast.parse(textwrap.dedent(program))) == ast.dump(ast.parse(real))
        assert "#" not in program  # a comment of ours could give the answer away
    assert "Program A" in shown.split("\n\n")[0]
    x = 3 * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)) + 1
    assert torch.equal(silent(Block)(x), x)
    assert torch.allclose(PostNormBlock(CONFIG)(x).std(dim=-1, correction=0), torch.ones(2, 5), atol=1e-3)


def test_the_learners_block_is_neither():
    assert body(LearnersBlock.forward) == textwrap.dedent(NORM_OF_THE_STREAM)
    x = 3 * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)) + 1
    assert not torch.allclose(silent(LearnersBlock)(x), x)
    block = LearnersBlock(CONFIG)
    torch.nn.init.constant_(block.feed_forward.contract.bias, 3.0)
    assert (block(x).mean(dim=-1) > 2).all()  # the last sum is not normalised


def test_the_stream_stays_in_post_norm_and_grows_in_pre_norm():
    _, _, _, post, pre = exhibits.streams().splitlines()
    assert post.split()[2:] == ["1.00"] * 8
    spreads = [float(cell) for cell in pre.split()[2:]]
    assert spreads == sorted(spreads)
    assert spreads[-1] > spreads[0] + 0.1


def test_no_line_of_code_comes_from_an_exercise_that_is_not_done_before(the_course):
    texts = reference_texts()
    open_bodies = [text_of_body(texts[e.file], e.name) for e in the_course.exercises if e.lesson == "5.2"]
    assert len(open_bodies) >= 3
    shown = exhibits.lines_of_code().splitlines()[1::2]
    assert [line.split()[0] for line in shown] == [str(i) for i in range(1, 9)]
    for line, given in zip(shown, LINES, strict=True):
        assert f"{given.calls}(" in line or f"{given.calls}[" in line
        assert not any(line[3:] in ast.unparse(ast.parse(text)) for text in open_bodies)


@pytest.mark.parametrize(
    ("number", "part"),
    [
        (1, "self.token(tokens)"),
        (2, "compile"),
        (3, "-inf"),
        (4, "known:"),
        (5, "with torch.autocast"),
        (6, "x + self.attention(self.attention_norm(x))"),
        (7, "relu(self.expand(x))"),
        (8, "slices"),
    ],
)
def test_each_line_of_code_is_the_one_that_the_question_speaks_of(number, part):
    assert part in exhibits.lines_of_code().splitlines()[2 * number - 1]


def test_a_line_is_found_by_what_it_calls_in_any_wording(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("def one(x):\n    return x\n")
    (tmp_path / "b.py").write_text(
        "def two(x):  # other(x) is not called\n"
        "    with held(  # broken over lines\n        x\n    ) as y:\n"
        "        total = other(y)[0]  # why\n        return other(y)\n"
    )
    monkeypatch.setattr(exhibits, "PACKAGE", tmp_path)
    assert line_that_calls("b.py", "other") == line_that_calls(".", "other") == "total = other(y)[0]"
    assert line_that_calls(".", "held") == "with held(x) as y:"


def test_a_line_that_is_gone_is_a_mistake_of_ours():
    with pytest.raises(CourseError, match=r"model/gpt.py: nothing calls 'nothing'"):
        line_that_calls("model/gpt.py", "nothing")


def test_exhibits_give_torch_its_threads_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with exhibits.isolated():
            assert torch.get_num_threads() == 1
            assert not torch.is_grad_enabled()
        assert torch.get_num_threads() == 2
        assert torch.is_grad_enabled()
    finally:
        torch.set_num_threads(threads)


def test_optimizations_keep_the_logits_and_essentials_do_not():
    spread, fused, cached, rounded, *essential = (float(line.split()[-1]) for line in exhibits.changes().splitlines()[2:])
    assert 0.7 < spread < 1.3
    assert max(fused, cached) < 1e-13
    assert 1e-3 < rounded < 0.1 * spread
    assert len(essential) == 3
    assert min(essential) > spread


def test_a_plot_puts_letters_where_the_losses_are():
    drawn = plot((CurvePoint(0, None, 4.0), CurvePoint(10, 2.0, 3.0), CurvePoint(20, 1.0, 1.1)), highest=4.0, lines=4)
    assert drawn == [
        "         4.0 |      v",
        "         3.0 |             v",
        "         2.0 |             t",
        "         1.0 |                    *",
        "         0.0 |",
        "  step              0     10     20",
        "  training             2.000  1.000",
        "  validation    4.000  3.000  1.100",
    ]


def test_a_quotation_breaks_long_lines_and_begins_where_it_is_told():
    text = "\n".join(["one", "", "x" * 100, "four"])
    assert quoted(text, 9) == ["  | one", "  | " + "x" * 92, "  | " + "x" * 8, "  | four"]
    assert quoted(text, 1, start=3) == ["  | four"]
