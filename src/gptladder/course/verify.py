"""The course checks itself: every promise that it makes to a learner, tried out.

Each function yields what is wrong, a sentence each; a course without a flaw yields nothing.
"""

from __future__ import annotations

import ast
import io
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from .bank import versions
from .checks import BY_EXERCISE
from .examination.examiner import Examiner
from .examination.in_process import wanted
from .examination.known_mistakes import mutant_results
from .examination.verdict import Verdict
from .outline import Exercise, course
from .questions import quiz
from .source.functions import cut, text_of_body
from .source.packages import graft
from .source.reference import reference_texts
from .workspace import rehearsal
from .workspace.layout import MYGPT
from .workspace.make import project_files, zipped

FEWEST_MUTANTS, FEWEST_VARIANTS = 3, 1  # of every exercise
LEAK = 8  # tokens in a row that the starter may not share with a body that was cut
Table = dict[str, dict[str, list[str]]]  # exercise -> check -> the mutants that it claims


def verify() -> Iterator[tuple[str, bool]]:
    """Everything, as lines and whether each is a problem; the table of mutants by check at the end."""
    chosen = course()
    table: Table = {}
    problems = 0

    def said(found: Iterator[str]) -> Iterator[tuple[str, bool]]:
        nonlocal problems
        for problem in found:
            problems += 1
            yield f"PROBLEM {problem}", True

    with tempfile.TemporaryDirectory(prefix="gptladder-verify-") as folder, Examiner() as examiner:
        for exercise in chosen.exercises:
            yield from said(verify_exercise(examiner, exercise, Path(folder), table))
            yield (
                f"{exercise.id}: starter, reference, {sum(map(len, table.get(exercise.id, {}).values()))} mutants, variants",
                False,
            )
        yield from said(quiz.problems())
        yield from said(verify_checks_stand_alone())
        files = {name: content.decode() for name, content in project_files().items() if name.endswith(".py")}
        yield from said(verify_no_leak(files))
        yield "no other exercise is touched by a hole, and the starter gives no body away", False
        for lesson in chosen.lessons:
            for rung in lesson.rungs:
                problem = rehearsal.rehearse(Path(folder) / f"{lesson.id}-{rung}", rung, lesson.id)
                yield from said(iter([f"{rung}: does not train after lesson {lesson.id}: {problem}"] if problem else []))
                yield f"{rung}: trains with the holes up to lesson {lesson.id} filled", False
        yield from said(verify_zips())
        yield "both archives are the same bytes when built again", False
    yield from ((line, False) for line in table_lines(table))
    count, right = len(versions.mutants()), len(versions.variants())
    yield f"{len(chosen.exercises)} exercises, {count} mutants, {right} right variants, {problems} problems", False


def table_lines(table: Table) -> Iterator[str]:
    """The mutants by check."""
    yield "\nmutants by check"
    for exercise, rows in table.items():
        for check, mutants in rows.items():
            if mutants:
                yield f"  {exercise:<16} {check:<16} {', '.join(mutant.partition('/')[2] for mutant in mutants)}"


def verify_checks_stand_alone() -> Iterator[str]:
    """A hole fails no check but its own exercise's: every other exercise is judged on the same code as without it."""
    texts = reference_texts()
    for hole in course().exercises:
        with_hole = cut(texts[hole.file], [hole])
        for exercise in course().exercises:
            names = [e.name for e in course().exercises if e.file == hole.file and e.id != exercise.id]
            if exercise.id == hole.id:
                continue
            others = dict.fromkeys(names, texts[hole.file])
            if ast.dump(graft(with_hole, "", others)) != ast.dump(graft(texts[hole.file], "", others)):
                yield f"{hole.id}: with this hole open, {exercise.id} is judged on other code than without it"


def verify_zips() -> Iterator[str]:
    """Both archives, built twice."""
    for completed in (False, True):
        first, second = (zipped("project", project_files(completed)) for _ in range(2))
        if first != second:
            yield f"the {'completed' if completed else 'starter'} project's archive differs when it is built again"


def verify_exercise(examiner: Examiner, exercise: Exercise, folder: Path, table: Table) -> Iterator[str]:
    """Starter fails with its own words, reference passes, each mutant is caught by its check, each variant passes."""
    mutants = [mutant for mutant in versions.mutants() if mutant.exercise == exercise.id]
    variants = [variant for variant in versions.variants() if variant.exercise == exercise.id]
    wrong = [mutant for mutant in mutants if not mutant.right]
    checks = {check.name: check for check in BY_EXERCISE.get(exercise.id, ())}
    if not checks:
        yield f"{exercise.id}: it has no checks"
        return
    if len(wrong) < FEWEST_MUTANTS:
        yield f"{exercise.id}: {len(wrong)} mutants; at least {FEWEST_MUTANTS} are needed"
    if len(variants) < FEWEST_VARIANTS:
        yield f"{exercise.id}: no variant that is right in another way"
    project = _project(folder, reference_texts())
    file = project / MYGPT / exercise.file
    reference = file.read_text(encoding="utf-8")

    def verdict_of(text: str) -> Verdict:
        file.write_text(text, encoding="utf-8")
        return examiner.examine(project, exercise)

    empty = verdict_of(cut(reference, [exercise]))
    if empty.passed or empty.begun or f"exercise {exercise.id}" not in empty.problem:
        yield f"{exercise.id}: the starter does not fail with its own message, but with {empty.problem!r}"
    if not (whole := verdict_of(reference)).passed or whole.note:
        yield f"{exercise.id}: the reference fails: {whole.problem or whole.note}"
    rows = table.setdefault(exercise.id, {name: [] for name in checks})
    for mutant in mutants:
        yield from _verify_mutant(mutant, verdict_of(versions.texts_with(mutant)[exercise.file]), rows)
    for variant in variants:
        verdict = verdict_of(versions.texts_with(variant)[exercise.file])
        if not verdict.passed or verdict.note:
            yield f"{variant.id}: a right variant fails: {verdict.problem or verdict.note} ({verdict.where})"


def _verify_mutant(mutant: versions.Version, verdict: Verdict, rows: dict[str, list[str]]) -> Iterator[str]:
    failed = {finding.check for finding in verdict.findings if finding.problem}
    if mutant.right:
        if not verdict.passed or verdict.note != mutant.says:
            yield f"{mutant.id}: an equal model is not told as that: {verdict.problem or verdict.note}"
        return
    if mutant.caught_by not in rows:
        yield f"{mutant.id}: claimed by {mutant.caught_by!r}, which is no check; there are {', '.join(rows)}"
        return
    rows[mutant.caught_by].append(mutant.id)
    if mutant.caught_by not in failed:
        yield f"{mutant.id}: not caught by {mutant.caught_by!r}; these fail: {', '.join(sorted(failed)) or 'none'}"
    laws = {check.name for check in BY_EXERCISE[mutant.exercise] if check.law}
    if mutant.caught_by not in laws and failed & laws:
        yield f"{mutant.id}: claimed by {mutant.caught_by!r}, but the law {', '.join(sorted(failed & laws))} catches it"
    if verdict.mutant is None or verdict.mutant.id != mutant.id:
        yield f"{mutant.id}: its own output is not recognised, but taken for {verdict.mutant and verdict.mutant.id}"
    for check in BY_EXERCISE[mutant.exercise]:
        results, right = mutant_results(mutant)[check.name], wanted(check)
        if not check.law and isinstance(results, dict):
            for name in (name for name in results if name.endswith("output")):
                if not _plausible(results[name], right[name]):
                    yield f"{mutant.id}: a mutant has the right shape and dtype and finite values, but not {check.name}, {name}"


def _plausible(got: Tensor, right: Tensor) -> bool:
    return (got.shape, got.dtype) == (right.shape, right.dtype) and bool(got.isfinite().all() or not right.isfinite().all())


def _project(folder: Path, texts: dict[str, str]) -> Path:
    project = Path(tempfile.mkdtemp(dir=folder))
    for member, text in texts.items():
        path = project / MYGPT / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return project


def tokens_of(text: str) -> list[str]:
    """The Python tokens of a text: no comments, no strings that stand alone, no line ends."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    return [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in skipped]


def verify_no_leak(files: dict[str, str]) -> Iterator[str]:
    """No file of the starter holds eight tokens in a row of a body that was cut."""
    held: dict[tuple[str, ...], str] = {}
    for name, text in files.items():
        found = tokens_of(text)
        for i in range(len(found) - LEAK + 1):
            held.setdefault(tuple(found[i : i + LEAK]), name)
    texts = reference_texts()
    for exercise in course().exercises:
        body = tokens_of(text_of_body(texts[exercise.file], exercise.name))
        for i in range(len(body) - LEAK + 1):
            if where := held.get(tuple(body[i : i + LEAK])):
                yield f"{exercise.id}: {where} gives away `{' '.join(body[i : i + LEAK])}`"
                break
