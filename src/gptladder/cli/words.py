"""What the course says: verdicts, traces and progress as lines of text. Nothing here decides anything."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Iterator, Sequence

from torch import Tensor

from ..course.examination.divergence import ComparedTensor
from ..course.examination.tracing import RETURNED
from ..course.examination.verdict import Verdict
from ..course.outline import course
from ..course.questions.quiz import Item, Marked
from ..course.workspace.record import Progress, Project

PRINTED_LINES = 8  # of the learner's own prints, shown with a verdict
MARKS = {"done": "x", "stale": "~", "wrong": "!", "open": " "}


def wrapped(text: str, indent: str = "  ") -> str:
    """A paragraph, indented."""
    return textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """Every check in a line, the first problem at length, then what is known about it."""
    exercise = course().exercise(verdict.exercise)
    where = f", {verdict.where}" if verdict.where else ""
    yield f"{exercise.id}: {exercise.name}{where}"
    if not verdict.begun:
        yield f"  not written yet; about {exercise.minutes} minutes. Allowed: {exercise.allowed}"
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
        yield "  Your code printed:"
        yield from (f"    {line[:110]}" for line in lines[:PRINTED_LINES])
        if len(lines) > PRINTED_LINES:
            yield f"    ... and {len(lines) - PRINTED_LINES} lines more"


def question_lines(item: Item, number: int, total: int) -> Iterator[str]:
    """A question with what is shown and its choices."""
    yield f"\n{number} of {total}, for {item.question.objective}"
    yield wrapped(item.question.ask)
    if item.shown:
        yield "\n" + textwrap.indent(item.shown.rstrip(), "    ") + "\n"
    for i, choice in enumerate(item.choices, start=1):
        yield textwrap.fill(choice, 100, initial_indent=f"  {i}) ", subsequent_indent="     ", break_on_hyphens=False)


def marked_lines(marked: Marked) -> Iterator[str]:
    """Whether it was right, why not, and the reasoning."""
    for blank in marked.blanks:
        if blank.problem:
            yield wrapped(f"{blank.name}: {blank.problem} It is {blank.answer}: {blank.why}")
        elif not blank.right:
            yield wrapped(f"{blank.name}: not {blank.given} but {blank.answer}: {blank.why}")
    yield "  Right." if marked.right else "  Not right." if not marked.feedback else wrapped(f"Not right. {marked.feedback}")
    yield wrapped(marked.because)


def numbers(tensor: Tensor) -> str:
    """A tensor in a line: its mean, and the first few numbers of it."""
    if tensor.numel() == 0:
        return "empty"
    corner = tensor.flatten()[:3].tolist()
    shown = ", ".join(f"{value:.4g}" if tensor.is_floating_point() else str(value) for value in corner)
    return f"mean {tensor.double().mean().item():>9.4g}   begins {shown}{' ...' if tensor.numel() > len(corner) else ''}"


def trace_lines(rows: Sequence[ComparedTensor]) -> Iterator[str]:
    """A tensor a line: the learner's, then what the reference has where the two differ."""
    name_width = max((len(row.name) for row in rows), default=0)
    shape_width = max((len(str(tuple(row.tensor.shape))) for row in rows), default=0)
    for row in rows:
        said = {
            "same": "same" if row.counterpart == row.name else f"same as {row.counterpart}",
            "transposed": f"{row.counterpart}, its dimensions in another order",
            "differs": "DIFFERS",
            "unknown": "your own",
        }[row.how]
        yield f"  {row.name:<{name_width}}  {tuple(row.tensor.shape)!s:<{shape_width}}  {numbers(row.tensor):<60}  {said}"
        if row.how == "differs" and row.wanted is not None:
            yield f"  {'':<{name_width}}  {tuple(row.wanted.shape)!s:<{shape_width}}  {numbers(row.wanted):<60}  is right"
        if row.first:
            line = "what is returned" if row.name == RETURNED else f"the line that makes {row.name}"
            yield f"  {'':<{name_width}}  ^ here they part first: look at {line}"
    if rows and not any(row.first for row in rows):
        yield "  In this call all comes out as the reference's; what fails, if something does, gptladder check says."


def progress_lines(found: Sequence[Progress], project: Project) -> Iterator[str]:
    """Each objective with its evidence: x done, ~ stale, ! wrong, blank open."""
    done = sum(entry.met for entry in found)
    yield f"{done} of {len(found)} objectives   [x] done  [~] the code has changed since  [!] wrong  [ ] open"
    for lesson in course().lessons:
        yield f"\n{lesson.id} {lesson.title}"
        for entry in found:
            if entry.objective[:-1] == lesson.id:
                day = f", {entry.date}" if entry.date else ""
                yield f"  [{'x' if entry.met else ' '}] {entry.objective}  {entry.text}{day}"
                yield "        " + "  ".join(f"[{MARKS[state]}] {id}" for id, state, _ in entry.evidence)


def progress_json(found: Sequence[Progress]) -> str:
    """The same for programs: objective -> met, and its dated evidence."""
    content = {
        entry.objective: {
            "text": entry.text,
            "met": entry.met,
            "evidence": [{"id": id, "state": state, "date": date} for id, state, date in entry.evidence],
        }
        for entry in found
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def progress_html(found: Sequence[Progress]) -> str:
    """The same as a page that stands alone."""
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
                evidence = ", ".join(
                    f"<span class='{state}'>{id}: {state}{f' ({date[:10]})' if date else ''}</span>"
                    for id, state, date in entry.evidence
                )
                tick = "&#9745;" if entry.met else "&#9744;"
                parts.append(f"<li>{tick} {html.escape(entry.text)}<small>{entry.objective} &middot; {evidence}</small></li>")
        parts.append("</ul>")
    return "".join(parts) + "</html>\n"
