"""Drawn questions, answered by a learner who knows the subject, has read what is shown and has a pocket calculator.

Each solver below reads the shown text, computes with plain Python and nothing of the package, and must be marked right on every
seed; each usual mistake must be marked wrong.
"""

from __future__ import annotations

import math
import re
from functools import cache

import pytest
import torch

from gptladder.course.questions.blanks import read_answer
from gptladder.course.questions.draws import DRAWS as ALL
from gptladder.course.questions.draws.module_5 import LEVELS
from gptladder.course.questions.exhibits import measured
from gptladder.model.ladder import RECIPES

SEEDS = range(50)


@cache
def drawn_for(name, seed):
    return ALL[name](seed)


MINUS_INFINITY = float("-inf")


class Shown:
    """What a question shows: numbers by the label that stands before them."""

    def __init__(self, text):
        self.lines = text.splitlines()

    def after(self, label):
        """The numbers after the last line that begins with this label; a gap is None."""
        line = [line for line in self.lines if re.match(rf"\s*{re.escape(label)}(\s|$)", line)][-1]
        cells = line.split(label, 1)[1].split()
        found = []
        for cell in cells:
            if not re.fullmatch(r"\?|\.|-?inf|-?[\d,]*\.?\d+", cell):
                break
            found.append(None if cell in "?." else float(cell.replace(",", "")))
        return found

    def one(self, label):
        (number,) = self.after(label)[:1]
        return int(number) if number == int(number) else number

    def rows(self, name):
        """All rows of a tensor, in order, flattened over all but the last dimension."""
        labels = dict.fromkeys(re.findall(rf"^\s*({re.escape(name)}\[[\d, ]+\])", "\n".join(self.lines), re.MULTILINE))
        return [self.after(label) for label in labels]

    def shape_in(self, pattern):
        found = re.search(pattern, "\n".join(self.lines))
        return tuple(int(size) for size in re.findall(r"\d+", found.group(1)))


def places(blanks, name):
    """The indices of the gaps in a tensor of that name."""
    return [
        tuple(int(i) for i in re.findall(r"\d+", blank.name.removeprefix(name)))
        for blank in blanks
        if re.fullmatch(rf"{re.escape(name)}\[[\d, ]+\]", blank.name)
    ]


def key(name, *place):
    return f"{name}[{', '.join(map(str, place))}]"


def softmax(row):
    exponentials = [math.exp(value) for value in row]
    return [e / sum(exponentials) for e in exponentials]


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def transposed(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def solve_packed_batch(shown, blanks):
    T, B, steps = shown.one("block_size"), shown.one("batch_size"), shown.one("steps")
    right = {
        "shape of x": (B, T),
        "examples in one block": T,
        "examples in one batch": B * T,
        "longest context of an example, in tokens": T,
        "examples in the whole training": steps * B * T,
    }
    wrong = [
        ("shape of x", (T, B)),
        ("examples in one block", T - 1),
        ("examples in one batch", B),
        ("examples in one batch", B * (T + 1)),
        ("examples in the whole training", steps * B),
    ]
    return right, wrong


def solve_split_text(shown, blanks):
    N, T, B, steps = (shown.one(name) for name in ("text", "block_size", "batch_size", "steps"))
    train = N * 9 // 10
    validation = N - train
    right = {
        "training tokens": train,
        "validation tokens": validation,
        "validation targets": validation - 1,
        "whole blocks in the validation split, without overlap": (validation - 1) // T,
        "how many times the training split is read, on average": steps * B * T / train,
    }
    wrong = [
        ("validation targets", validation),
        ("whole blocks in the validation split, without overlap", -(-validation // T) + 1),
        ("how many times the training split is read, on average", steps * B * T / N),
        ("how many times the training split is read, on average", steps * B / train),
    ]
    return right, wrong


def solve_uniform(shown, blanks):
    V = shown.one("vocab_size")
    grown = next(blank.name for blank in blanks if blank.name.startswith("how much higher"))
    times = int(re.search(r"(\d+) times", grown).group(1))
    right = {"probability of each character": 1 / V, "loss": math.log(V), grown: math.log(times)}
    wrong = [("loss", math.log2(V)), ("loss", math.log10(V)), ("loss", -math.log(V)), ("loss", 1 / V), (grown, times)]
    return right, [*wrong, (grown, math.log(times * V)), ("probability of each character", 1 / (V + 3))]


def solve_surprise(shown, blanks):
    p = shown.after("p(target)")
    losses = [-math.log(one) for one in p]
    back = "p(target) that, if it were the same at every position, would give this loss"
    mean = sum(losses) / 3
    right = {"loss at position 0": losses[0], "loss at position 1": losses[1], "loss of the three": mean, back: math.exp(-mean)}
    wrong = [
        ("loss at position 0", -math.log2(p[0])),
        ("loss at position 1", 1 - p[1]),
        ("loss of the three", sum(losses)),
        ("loss of the three", -math.log(sum(p) / 3)),
        (back, sum(p) / 3),
    ]
    return right, wrong


def solve_table_to_loss(shown, blanks):
    weight, x, y, losses = (shown.rows(name) for name in ("table.weight", "x", "y", "losses"))
    V = len(weight)
    ((b1, t1),) = places(blanks, "y")
    y[b1][t1] = x[b1][t1 + 1]
    ((b2, t2, v2),) = places(blanks, "logits")
    ((b3, t3, v3),) = places(blanks, "p")
    ((b4, t4),) = places(blanks, "losses")
    assert (b3, t3) == (b4, t4)
    assert v3 == y[b3][t3]
    row = weight[int(x[b3][t3])]
    p = softmax(row)[v3]
    for b in range(2):  # the losses that are given must be what the table gives
        for t in range(3):
            if losses[b][t] is not None:
                given = -math.log(softmax(weight[int(x[b][t])])[int(y[b][t])])
                assert losses[b][t] == pytest.approx(given, abs=6e-4)
    losses[b4][t4] = -math.log(p)
    total = sum(map(sum, losses))
    right = {
        key("y", b1, t1): y[b1][t1],
        "shape of logits": (2, 3, V),
        key("logits", b2, t2, v2): weight[int(x[b2][t2])][v2],
        key("p", b3, t3, v3): p,
        key("losses", b4, t4): -math.log(p),
        "loss": total / 6,
    }
    wrong = [
        ("shape of logits", (2, 3)),
        ("shape of logits", (3, 2, V)),
        (key("logits", b2, t2, v2), weight[v2][int(x[b2][t2])]),  # the column instead of the row
        (key("losses", b4, t4), -math.log2(p)),
        (key("losses", b4, t4), -row[v3] or 99),
        ("loss", total),
        ("loss", total / 3),
    ]
    return right, wrong


def solve_new_row(shown, blanks):
    x = shown.rows("x")
    ((_, r, c),) = places(blanks, "before")
    row = shown.after(key("weights", r))
    other = next(place for place in places(blanks, "after") if place[1] != r)
    channel = transposed(x)
    right = {
        key("before", 0, r, c): sum(channel[c][: r + 1]) / (r + 1),
        key("after", 0, r, 0): dot(row, channel[0]),
        key("after", 0, r, 1): dot(row, channel[1]),
        key("after", *other): sum(channel[other[2]][: other[1] + 1]) / (other[1] + 1),
        "number of positions whose result changes": 1,
    }
    wrong = [
        (key("before", 0, r, c), sum(channel[c][: r + 1])),
        (key("after", 0, r, 0), right[key("before", 0, r, 0)]),
        ("number of positions whose result changes", 4 - r if r < 3 else 4),
    ]
    return right, wrong


def solve_raised_score(shown, blanks):
    channel = transposed(shown.rows("x"))[0]
    (r, j), (_, i), _ = places(blanks, "weights")
    k, m = (int(n) for n in re.findall(r"ln (\d+)", "\n".join(shown.lines)))
    row = [k if t == j else 1 for t in range(r + 1)]
    weights = [one / sum(row) for one in row]
    (_, _, _), (_, t, c) = places(blanks, "out")
    assert (t, c) == (1, 0)
    right = {
        key("weights", r, j): weights[j],
        key("weights", r, i): weights[i],
        key("out", 0, r, 0): dot(weights, channel[: r + 1]),
        key("weights", 1, 3): 0,
        key("out", 0, 1, 0): (channel[0] + channel[1]) / 2,
    }
    seen = [1, 1, 1, m]
    wrong = [
        (key("weights", r, j), 1 / (r + 1)),
        (key("weights", r, j), math.log(k)),
        (key("weights", r, i), 1 / (r + 1)),
        (key("weights", 1, 3), m / (m + 3)),
        (key("out", 0, 1, 0), channel[1] if channel[0] != channel[1] else 99),
    ]
    if abs(dot(seen, channel) / sum(seen) - right[key("out", 0, 1, 0)]) > 0.2:
        wrong.append((key("out", 0, 1, 0), dot(seen, channel) / sum(seen)))  # the future let in
    return right, wrong


def solve_one_head(shown, blanks):
    x, wq, wk, wv = (shown.rows(name) for name in ("x", "query.weight", "key.weight", "value.weight"))
    q, k, v = ([[dot(row, token) for row in weight] for token in x] for weight in (wq, wk, wv))
    for name, full in (("q", q), ("k", k), ("v", v)):
        for given, computed in zip(shown.rows(name), full, strict=True):
            assert all(one in (None, other) for one, other in zip(given, computed, strict=True))
    dots = [[dot(q[t], k[s]) for s in range(3)] for t in range(3)]
    scores = [[dots[t][s] / math.sqrt(2) if s <= t else MINUS_INFINITY for s in range(3)] for t in range(3)]
    weights = [softmax(row) for row in scores]
    out = [[dot(weights[t], channel) for channel in transposed(v)] for t in range(3)]
    full = {"q": q, "k": k, "scores": scores, "weights": weights, "out": out}
    right = {"shape of q": (1, 3, 2)}
    for name, tensor in full.items():
        right |= {key(name, 0, t, c): tensor[t][c] for _, t, c in places(blanks, name)}
    swapped = [[dots[s][t] / math.sqrt(2) for s in range(3)] for t in range(3)]
    wrong = [
        ("shape of q", (1, 3, 3)),
        (key("q", 0, 2, 0), k[2][0]),
        (key("k", 0, 1, 1), q[1][1]),
        (key("scores", 0, 2, 1), dots[2][1]),  # no scale
        (key("scores", 0, 2, 1), dots[2][1] / math.sqrt(3)),  # scaled by the width
        (key("scores", 0, 2, 1), swapped[2][1]),
        (key("weights", 0, 1, 2), softmax([dots[1][s] / math.sqrt(2) for s in range(3)])[2] + 0.01),  # no mask
        (key("weights", 0, 2, 1), softmax(dots[2])[1]),
        (key("out", 0, 2, 0), dot(softmax(dots[2]), transposed(v)[0])),
        (key("out", 0, 2, 0), sum(v[t][0] for t in range(3)))
        if sum(v[t][0] for t in range(3)) != out[2][0]
        else ("shape of q", (3,)),
    ]
    return right, wrong


def solve_head_shapes(shown, blanks):
    B, T, C = shown.shape_in(r"x +\((.*?)\)")
    (D,) = shown.shape_in(r"head_size=(\d+)")
    right = {
        "shape of query.weight": (D, C),
        "shape of k": (B, T, D),
        "shape of scores": (B, T, T),
        "divisor": math.sqrt(D),
        "shape of out": (B, T, D),
        "parameters of the head": 3 * C * D,
    }
    wrong = [
        ("shape of query.weight", (C, D)),
        ("shape of scores", (B, T, D)),
        ("shape of scores", (T, T)),
        ("divisor", math.sqrt(C)),
        ("divisor", D),
        ("shape of out", (B, T, C)),
        ("parameters of the head", C * D),
    ]
    return right, wrong


def solve_heads_losses(shown, blanks):
    steps = [int(step) for step in shown.after("step")]
    one, four = (dict(zip(steps, shown.after(name), strict=True)) for name in ("one head of 32", "four heads of 8"))
    lead, often = (next(b.name for b in blanks if b.name.startswith(start)) for start in ("by how much", "factor by which"))
    s, n = int(lead.split()[-1]), int(re.search(r"give (\d+) characters", often).group(1))
    end = steps[-1]
    first = "first of these steps at which four heads are below the last loss of one head"
    right = {
        lead: one[s] - four[s],
        first: min(step for step in steps if four[step] < one[end]),
        "perplexity of one head at the end": math.exp(one[end]),
        "perplexity of four heads at the end": math.exp(four[end]),
        often: math.exp(one[end] - four[end]) ** n,
    }
    wrong = [
        (lead, one[s] / four[s]),
        ("perplexity of one head at the end", 2 ** one[end]),
        (often, n * (one[end] - four[end])),
        (often, n * math.exp(one[end] - four[end])),
        (often, (one[end] / four[end]) ** n),
    ]
    return right, wrong


def solve_heads_shapes(shown, blanks):
    B, T, C = shown.shape_in(r"x +\((.*?)\)")
    (H,) = shown.shape_in(r"(\d+) heads that share")
    D = C // H
    assert D * H == C
    right = {
        "head size": D,
        "shape of head(x)": (B, T, D),
        "shape of scores in one head": (B, T, T),
        "shape of found": (B, T, C),
        "parameters of one of the heads": 3 * C * D,
        "parameters of all heads": 3 * C * C,
        f"parameters of a single head of size {C}": 3 * C * C,
    }
    wrong = [
        ("head size", C),
        ("shape of found", (B, T, D)),
        ("parameters of one of the heads", 3 * D * D),
        ("parameters of all heads", H * C),
    ]
    return right, wrong


def solve_block_by_hand(shown, blanks):
    x = shown.rows("x")
    first = next(i for i, line in enumerate(shown.lines) if "value.weight" in line)
    value = [[float(n) for n in re.findall(r"-?\d+", line.split("project")[0])] for line in shown.lines[first : first + 2]]
    (times,) = shown.shape_in(r"contract +(\d+) times")
    values = [[dot(row, token) for row in value] for token in x]
    a = [[sum(channel[: t + 1]) / (t + 1) for channel in transposed(values)] for t in range(3)]
    h = [[one + other for one, other in zip(*rows, strict=True)] for rows in zip(x, a, strict=True)]
    f = [[times * max(0, one) for one in row] for row in h]
    out = [[one + other for one, other in zip(*rows, strict=True)] for rows in zip(h, f, strict=True)]
    right = {"shape of hidden": (1, 3, 8)}
    for name, tensor in (("a", a), ("h", h), ("f", f), ("out", out)):
        right |= {key(name, 0, t, c): tensor[t][c] for _, t, c in places(blanks, name)}
        for given, computed in zip(shown.rows(name), tensor, strict=True):
            assert all(one in (None, pytest.approx(other)) for one, other in zip(given, computed, strict=True))
    of_x = times * max(0, x[2][0])
    wrong = [
        ("shape of hidden", (1, 3, 2)),
        (key("h", 0, 2, 0), a[2][0]),  # the residual forgotten
        (key("f", 0, 2, 0), of_x),  # the feed-forward reads x
        (key("f", 0, 1, 1), times * h[1][1]),  # no ReLU
        (key("out", 0, 2, 0), f[2][0]),
        (key("out", 0, 2, 0), h[2][0] + of_x),
        (key("out", 0, 1, 1), 0),
    ]
    return right, wrong


def solve_scaled_up(shown, blanks):
    V, T, L, H, C, B = (int(n) for n in re.findall(r"\d+", shown.lines[0]))
    heads, middle = (next(b.name for b in blanks if b.name.endswith(end)) for end in ("query.weight", "expand.weight"))
    block = 12 * C**2 + 10 * C
    right = {
        heads: (C // H, C),
        middle: (4 * C, C),
        "query, key and value weights of one block": 3 * C * C,
        "parameters of one feed-forward": 8 * C * C + 5 * C,
        "parameters of one block": block,
        "parameters of the model": L * block + 2 * V * C + T * C + 2 * C,
        "tokens in a step": B * T,
        "factor by which one block grows when n_embd is doubled": (48 * C**2 + 20 * C) / block,
    }
    wrong = [
        (heads, (C, C // H)),
        (middle, (C, 4 * C)),
        ("query, key and value weights of one block", 3 * C * C // H),
        ("parameters of one feed-forward", 8 * C * C),
        ("parameters of the model", L * block),
        ("parameters of the model", L * block + 2 * V * C + 2 * C),
        ("tokens in a step", B),
        ("factor by which one block grows when n_embd is doubled", 2),
    ]
    return right, wrong


def solve_losses_of_texts(shown, blanks):
    """Knows which letters are which by what the texts are like."""
    table = {float(line.split()[0]): line.split()[1:] for line in shown.lines[1:5]}
    losses = sorted(table)  # best first
    texts = {}
    for line in shown.lines[5:]:
        if line.startswith("Text "):
            letter = line.split()[1]
            texts[letter] = ""
        else:
            texts[letter] += line.removeprefix("  | ") + "\n"
    names = {letter: next(name for name in LEVELS if everything_in(text, name)) for letter, text in texts.items()}
    by_name = dict(zip(reversed(LEVELS), losses, strict=True))
    right = {f"validation loss of text {letter}": by_name[name] for letter, name in names.items()}
    small, large = (int(table[by_name[name]][0].replace(",", "")) for name in ("layernorm", "gpt"))
    times = next(b.name for b in blanks if b.name.startswith("parameters of the model"))
    tokens = next(b.name for b in blanks if b.name.startswith("tokens that"))
    perplexity = next(b.name for b in blanks if b.name.startswith("perplexity"))
    loss = float(perplexity.split()[-1])
    _, _, _, T, B, _, steps = (float(cell.replace(",", "")) for cell in table[loss])
    right |= {times: large / small, tokens: T * B * steps, perplexity: math.exp(loss)}
    wrong = [
        (f"validation loss of text {letter}", by_name[other]) for letter in names for other in LEVELS if other != names[letter]
    ]
    return right, [*wrong, (times, small / large), (tokens, B * steps), (perplexity, 2**loss)]


def everything_in(text, name):
    whole = measured().samples[name].text
    return all(line in whole for line in text.splitlines())


def solve_raw_text_to_text(shown, blanks):
    characters = re.findall(r"\d (\w)", next(line for line in shown.lines if line.startswith("alphabet")))
    prompt = next(line for line in shown.lines if line.startswith("prompt")).split()[1]
    weight, text, p = shown.rows("table.weight"), prompt, []
    for _ in range(3):
        row = weight[characters.index(text[-1])]
        p.append(max(softmax(row)))
        text += characters[row.index(max(row))]
    ((_, t, v),) = places(blanks, "logits")
    last = characters.index(prompt[t])
    right = {
        "tokens[0, 1]": characters.index(prompt[1]),
        "shape of logits": (1, 3, 5),
        key("logits", 0, t, v): weight[last][v],
        "id of the first new token": characters.index(text[3]),
        "its probability at temperature 1": p[0],
        "shape of the tokens that the model reads to predict the second new token": (1, 4),
        "prompt and new characters as text": text,
    }
    column = [row[last] for row in weight]
    wrong = [
        ("tokens[0, 1]", characters.index(prompt[1]) + 1),
        ("shape of logits", (1, 5)),
        ("id of the first new token", column.index(max(column))),
        ("its probability at temperature 1", 1),
        ("shape of the tokens that the model reads to predict the second new token", (1, 1)),
        ("prompt and new characters as text", text[::-1]),
    ]
    return right, wrong


def solve_logits_to_choice(shown, blanks):
    temperature, k = shown.one("temperature"), shown.one("top_k")
    logits = [float(cell) for cell in shown.lines[1].split()]
    kept = sorted(logits)[-k:]
    total = sum(math.exp(value / temperature) for value in kept)
    ((_, i),) = places(blanks, "scaled")
    right = {key("scaled", 0, i): logits[i] / temperature, "number of tokens that can be chosen": k}
    for _, j in places(blanks, "p"):
        right[key("p", 0, j)] = math.exp(logits[j] / temperature) / total if logits[j] in kept else 0
    best, cut = logits.index(max(logits)), logits.index(min(logits))
    cold = sum(math.exp(value) for value in kept)
    uncut = sum(math.exp(value / temperature) for value in logits)
    wrong = [
        (key("scaled", 0, i), logits[i] * temperature),  # multiplied
        ("number of tokens that can be chosen", 5),
        (key("p", 0, cut), math.exp(min(logits) / temperature) / uncut + 0.001),
        (key("p", 0, best), 1),
    ]
    if abs(math.exp(max(logits)) / cold / right[key("p", 0, best)] - 1) > 0.02:
        wrong.append((key("p", 0, best), math.exp(max(logits)) / cold))  # temperature forgotten
    return right, wrong


SOLVERS = {name.removeprefix("solve_"): solve for name, solve in list(globals().items()) if name.startswith("solve_")}


def typed(value):
    """As somebody types it: shapes in full, numbers to four digits, whole numbers whole."""
    if isinstance(value, tuple | str):
        return str(value)
    return str(round(value)) if value == round(value) else f"{value:.4g}"


def test_every_draw_has_a_solver():
    assert SOLVERS.keys() == ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_the_answers_are_those_of_plain_arithmetic(name):
    for seed in SEEDS:
        drawn = drawn_for(name, seed)
        right, wrong = SOLVERS[name](Shown(drawn.shown), drawn.blanks)
        right = {
            f"shape of {key}" if isinstance(value, tuple) and not key.startswith("shape of") else key: value
            for key, value in right.items()
        }
        by_name = {blank.name: blank for blank in drawn.blanks}
        assert right.keys() == by_name.keys(), (name, seed)
        for blank in drawn.blanks:
            assert read_answer(typed(right[blank.name]), blank), (name, seed, blank, right[blank.name])
        for which, value in wrong:
            assert not read_answer(typed(value), by_name[which]), (name, seed, by_name[which], value)


@pytest.mark.parametrize("name", ALL)
def test_a_right_answer_as_it_is_shown_passes_and_one_that_is_off_fails(name):
    for seed in SEEDS:
        for blank in drawn_for(name, seed).blanks:
            assert read_answer(blank.answer_text, blank), (seed, blank)
            if isinstance(blank.answer, tuple):
                assert not read_answer(str((*blank.answer, 1)), blank)
            elif isinstance(blank.answer, int):
                assert blank.tolerance == 0
                assert not read_answer(str(blank.answer + 1), blank)
            elif isinstance(blank.answer, float):
                digits = 3 if blank.answer == 0 or abs(blank.answer) >= 0.1 else 4
                assert read_answer(f"{blank.answer:.{digits}f}", blank), (seed, blank)
                assert not read_answer(f"{blank.answer * 1.02 or 0.02:.6f}", blank)
                assert not read_answer(f"{blank.answer * 0.98 or -0.02:.6f}", blank)


@pytest.mark.parametrize("name", ALL)
def test_what_is_shown_fits_the_page_and_hides_the_answers(name):
    for seed in SEEDS:
        drawn = drawn_for(name, seed)
        assert max(map(len, drawn.shown.splitlines())) <= 100, (seed, drawn.shown)
        assert not any(line != line.rstrip() for line in drawn.shown.splitlines())
        assert "-0 " not in drawn.shown
        names = [blank.name for blank in drawn.blanks]
        assert len(names) == len(set(names))
        assert 3 <= len(names) <= 8
        for blank in drawn.blanks:
            assert blank.why.endswith(".")
            assert len(blank.why) < 200


@pytest.mark.parametrize("name", ALL)
def test_the_same_learner_gets_the_same_numbers_and_others_get_others(name):
    state = torch.get_rng_state()
    drawn = [ALL[name](seed) for seed in SEEDS]
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn == [drawn_for(name, seed) for seed in SEEDS]
    answers = {tuple(blank.answer for blank in one.blanks) for one in drawn}
    assert len({one.shown for one in drawn}) >= 40
    assert len(answers) >= 20


def test_a_default_dtype_of_others_changes_nothing():
    before = [draw(3) for draw in ALL.values()]
    torch.set_default_dtype(torch.float64)
    try:
        assert [draw(3) for draw in ALL.values()] == before
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_levels_of_text_are_described_as_they_were_trained():
    for name, level in LEVELS.items():
        sample, recipe = measured().samples[name], RECIPES.get(name)
        if recipe is None or name == "bigram":
            continue
        assert (str(recipe.n_layer), str(recipe.n_embd), recipe.block_size, recipe.batch_size) == (
            *(level.n_layer, level.n_embd),
            *(level.block_size, level.batch_size),
        )
        assert sample.steps == recipe.steps
    assert (LEVELS["bigram"].block_size, LEVELS["bigram"].batch_size) == (8, 32)
