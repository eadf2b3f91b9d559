"""The wording of verdicts, questions, traces and progress, as lines of text. Nothing here decides anything."""

from __future__ import annotations

import html
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..course.outline import course
from ..course.workspace.evidence import State
from .commands import command

if TYPE_CHECKING:
    from torch import Tensor

    from ..course.examination.divergence import ComparedTensor
    from ..course.examination.verdict import Verdict
    from ..course.questions.quiz import Item, Marked
    from ..course.study import Standing
    from ..course.workspace.record import Evidence, Progress

NO_RETURN = "(is a `return` missing?)"  # how a check says that a function gave nothing back
PRINTED_LINES = 8  # shown of what the learner's code printed
HIDDEN = re.compile(r"\s\.(\s|$)")  # an entry of a table that would give away a gap
MARKS: dict[State, str] = {"done": "x", "stale": "~", "wrong": "!", "open": " "}


def wrapped(text: str, indent: str = "  ") -> str:
    """Return a paragraph, broken into lines and indented."""
    return textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """Yield a line for each check, the first problem in full, and the known mistake if the code makes one."""
    exercise = course().exercise(verdict.exercise)
    where = f", {verdict.where}" if verdict.where else ""
    yield f"{exercise.id}: {exercise.name}{where}"
    if not verdict.begun:
        yield wrapped(f"not written yet; about {exercise.minutes} minutes. Allowed: {exercise.allowed}")
        return
    width = max(len(finding.check) for finding in verdict.findings)
    explained = False
    for finding in verdict.findings:
        yield f"  {'no' if finding.problem else 'ok':<3} {finding.check:<{width}}  {finding.wants}"
        if finding.problem and not explained:
            yield wrapped(f"saw: {finding.problem}", " " * (width + 8))
            explained = True
    if verdict.mutant:
        yield wrapped(f"Known mistake: {verdict.mutant.says}.")
    if verdict.note:
        yield wrapped(f"Note: {verdict.note}.")
    if verdict.printed.strip() and not verdict.passed:
        lines = verdict.printed.strip().splitlines()
        yield f"  Your code printed{' (print only shows a value, return gives it back)' * (NO_RETURN in verdict.problem)}:"
        yield from (f"    {line[:110]}" for line in lines[:PRINTED_LINES])
        if len(lines) > PRINTED_LINES:
            yield f"    ... and {len(lines) - PRINTED_LINES} more lines"


def question_lines(item: Item, number: int, total: int) -> Iterator[str]:
    """Yield a question, what is shown with it, and its choices."""
    yield f"\n{number} of {total}, for {item.question.objective}"
    yield wrapped(item.question.ask)
    if item.shown:
        yield "\n" + textwrap.indent(item.shown.rstrip(), "    ") + "\n"
    if item.blanks and HIDDEN.search(item.shown):
        yield wrapped("Each ? is a gap. A dot stands for a number that is not shown and not asked for.")
    for i, choice in enumerate(item.choices, start=1):
        yield textwrap.fill(choice, 100, initial_indent=f"  {i}) ", subsequent_indent="     ", break_on_hyphens=False)


def marked_lines(marked: Marked) -> Iterator[str]:
    """Yield whether an answer was right, the right value of each gap that was not, and the reasoning."""
    for blank in marked.blanks:
        if not blank.right:
            yield wrapped(f"{blank.name} is {blank.answer}, not {blank.given}: {blank.why}")
    yield "  Right." if marked.right else wrapped(f"Not right. {marked.feedback}")
    yield wrapped(marked.because)


def standing_lines(found: Standing) -> Iterator[str]:
    """Yield where the learner stands and what comes next."""
    yield f"{found.passed} of {found.total} exercises passed; lesson {found.lesson.id}, {found.lesson.title}"
    if exercise := found.following:
        yield f"  next: {exercise.id}, {exercise.name} in mygpt/{exercise.file}, about {exercise.minutes} minutes"
        yield f"  check it whenever you save: {command('check', '--watch')}"
    if found.waiting:
        counts = ", ".join(f"{entry.count} of lesson {entry.lesson.id}" for entry in found.waiting)
        yield f"  questions that wait: {counts}; answer them: {command('quiz', found.waiting[0].lesson.id)}"


def numbers(tensor: Tensor) -> str:
    """Return a tensor as part of a line: its mean and its first few values."""
    if tensor.numel() == 0:
        return "empty"
    corner = tensor.flatten()[:3].tolist()
    shown = ", ".join(f"{value:.4g}" if tensor.is_floating_point() else str(value) for value in corner)
    return f"mean {tensor.double().mean().item():>9.4g}   begins {shown}{' ...' if tensor.numel() > len(corner) else ''}"


def trace_lines(rows: Sequence[ComparedTensor]) -> Iterator[str]:
    """Yield a line for each of the learner's tensors, and below one that differs, the reference's."""
    name_width = max((len(row.name) for row in rows), default=0)
    shape_width = max((len(str(tuple(row.tensor.shape))) for row in rows), default=0)
    from ..course.examination.tracing import RETURNED

    for row in rows:
        said = {
            "same": "same" if row.counterpart == row.name else f"same as {row.counterpart}",
            "transposed": f"{row.counterpart} with its dimensions in another order",
            "differs": "DIFFERS",
            "unknown": "your own",
        }[row.how]
        yield f"  {row.name:<{name_width}}  {tuple(row.tensor.shape)!s:<{shape_width}}  {numbers(row.tensor):<60}  {said}"
        if row.how == "differs" and row.wanted is not None:
            yield f"  {'':<{name_width}}  {tuple(row.wanted.shape)!s:<{shape_width}}  {numbers(row.wanted):<60}  expected"
        if row.first:
            line = "what is returned" if row.name == RETURNED else f"the line that makes {row.name}"
            yield f"  {'':<{name_width}}  ^ the first difference: look at {line}"
    if rows and not any(row.first for row in rows):
        yield f"  In this call nothing differs from the reference. If the check fails, it says why: {command('check')}"


def progress_lines(found: Sequence[Progress]) -> Iterator[str]:
    """Yield each objective with its evidence: x done, ~ stale, ! wrong, blank open."""
    done = sum(entry.met for entry in found)
    yield f"{done} of {len(found)} objectives   [x] done  [~] the code has changed since  [!] wrong  [ ] open"
    for lesson in course().lessons:
        yield f"\n{lesson.id} {lesson.title}"
        for entry in found:
            if entry.objective[:-1] == lesson.id:
                day = f", {entry.date}" if entry.date else ""
                yield f"  [{'x' if entry.met else ' '}] {entry.objective}  {entry.text}{day}"
                yield "        " + "  ".join(f"[{MARKS[piece.state]}] {piece.id}" for piece in entry.evidence)


def progress_json(found: Sequence[Progress]) -> str:
    """Return the same for programs: by objective, whether it is met, and its evidence with dates."""
    content = {
        entry.objective: {
            "text": entry.text,
            "met": entry.met,
            "evidence": [{"id": piece.id, "state": piece.state, "date": piece.date} for piece in entry.evidence],
        }
        for entry in found
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def progress_html(found: Sequence[Progress]) -> str:
    """Return the same as a page that needs no other file."""
    done = sum(entry.met for entry in found)
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>",
        "<title>GPT Ladder: progress</title><style>",
        "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}",
        "body{color:#1c2330;background:#fbfaf7}",
        "h2{font-size:1.05rem;margin:1.6rem 0 .3rem}ul{list-style:none;margin:0;padding:0}",
        "li{margin:.35rem 0;padding-left:1.6rem;text-indent:-1.6rem}",
        "small{display:block;text-indent:0;color:#5a6270}.done{color:#0b6b3a}.stale{color:#8a5a00}.wrong{color:#a3241b}",
        "progress{width:100%;height:.8rem}",
        "@media(prefers-color-scheme:dark){body{color:#e6e3da;background:#15181d}small{color:#9aa3b2}",
        ".done{color:#63c996}.stale{color:#e0b04c}.wrong{color:#f08a80}}</style>",
        f"<h1>GPT Ladder</h1><p>{done} of {len(found)} objectives</p>",
        f"<progress max='{len(found)}' value='{done}' aria-label='objectives done'></progress>",
    ]
    for lesson in course().lessons:
        parts.append(f"<h2>{lesson.id} {html.escape(lesson.title)}</h2><ul>")
        for entry in found:
            if entry.objective[:-1] == lesson.id:
                evidence = ", ".join(_evidence_html(piece) for piece in entry.evidence)
                tick = "&#9745;" if entry.met else "&#9744;"
                parts.append(f"<li>{tick} {html.escape(entry.text)}<small>{entry.objective} &middot; {evidence}</small></li>")
        parts.append("</ul>")
    return "".join(parts) + "</html>\n"


def _evidence_html(piece: Evidence) -> str:
    day = f" ({piece.date[:10]})" if piece.date else ""
    return f"<span class='{piece.state}'>{piece.id}: {piece.state}{day}</span>"
