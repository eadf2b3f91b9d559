"""The course checks itself: every promise that it makes to a learner is tried out.

Each `verify_` function yields its problems, one sentence each. For a course without a flaw it yields nothing.
"""

from __future__ import annotations

import ast
import io
import tempfile
import tokenize
from collections.abc import Iterable, Iterator
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
LEAK = 8  # the starter may not share this many tokens in a row with a body that was cut
# Code that stands in many places of the reference and is no answer by itself. Each counts as one token.
IDIOMS = (
    "[Block(config) for _ in range(config.n_layer)]",
    "nn.Linear(config.n_embd, config.vocab_size, bias=False)",
    "self.dropout = dropout(config.dropout)",
    "super().__init__()",
    "for _ in range",
    "config.n_embd",
    "dim=-1, keepdim=True",
    "dtype=torch.bool",
    'float("-inf")',
)
Table = dict[str, dict[str, list[str]]]  # exercise -> check -> the mutants that name it as theirs


def verify() -> Iterator[tuple[str, bool]]:
    """Verify everything. Yield lines, each with whether it is a problem; the last ones are the table of mutants by check."""
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
    """Yield the table of mutants by check, line by line."""
    yield "\nmutants by check"
    for exercise, rows in table.items():
        for check, mutants in rows.items():
            if mutants:
                yield f"  {exercise:<16} {check:<16} {', '.join(mutant.partition('/')[2] for mutant in mutants)}"


def verify_checks_stand_alone() -> Iterator[str]:
    """Verify that a hole fails the checks of its own exercise only: all others are judged on the same code as without it."""
    texts = reference_texts()
    for hole in course().exercises:
        with_hole = cut(texts[hole.file], [hole])
        for exercise in course().exercises:
            names = [e.name for e in course().exercises if e.file == hole.file and e.id != exercise.id]
            if exercise.id == hole.id:
                continue
            others = dict.fromkeys(names, texts[hole.file])
            if ast.dump(graft(with_hole, "", others)) != ast.dump(graft(texts[hole.file], "", others)):
                yield f"{hole.id}: while it is not written, {exercise.id} is judged on other code than after it is written"


def verify_zips() -> Iterator[str]:
    """Verify that both archives are the same bytes when they are built twice."""
    for completed in (False, True):
        first, second = (zipped("project", project_files(completed)) for _ in range(2))
        if first != second:
            yield f"the {'completed' if completed else 'starter'} project's archive differs when it is built again"


def verify_exercise(examiner: Examiner, exercise: Exercise, folder: Path, table: Table) -> Iterator[str]:
    """Verify an exercise: the starter fails with its own message, the reference and each variant pass, mutants are caught.

    A mutant must fail the check that it names in `caught_by`, which is added to `table`.
    """
    mutants = [mutant for mutant in versions.mutants() if mutant.exercise == exercise.id]
    variants = [variant for variant in versions.variants() if variant.exercise == exercise.id]
    wrong = [mutant for mutant in mutants if not mutant.right]
    checks = {check.name: check for check in BY_EXERCISE.get(exercise.id, ())}
    if not checks:
        yield f"{exercise.id}: there are no checks for it"
        return
    if len(wrong) < FEWEST_MUTANTS:
        yield f"{exercise.id}: there are {len(wrong)} mutants; at least {FEWEST_MUTANTS} are needed"
    if len(variants) < FEWEST_VARIANTS:
        yield f"{exercise.id}: there is no variant, a right solution that is written differently"
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
            yield f"{variant.id}: this variant is right, but it fails: {verdict.problem or verdict.note} ({verdict.where})"


def _verify_mutant(mutant: versions.Version, verdict: Verdict, rows: dict[str, list[str]]) -> Iterator[str]:
    failed = {finding.check for finding in verdict.findings if finding.problem}
    if mutant.right:
        if not verdict.passed or verdict.note != mutant.says:
            yield f"{mutant.id}: it is an equal model, but the verdict is: {verdict.problem or verdict.note}"
        return
    if mutant.caught_by not in rows:
        yield f"{mutant.id}: caught_by is {mutant.caught_by!r}, which is no check; it must be one of {', '.join(rows)}"
        return
    rows[mutant.caught_by].append(mutant.id)
    if mutant.caught_by not in failed:
        yield f"{mutant.id}: {mutant.caught_by!r} does not catch it; these checks do: {', '.join(sorted(failed)) or 'none'}"
    laws = {check.name for check in BY_EXERCISE[mutant.exercise] if check.law}
    if mutant.caught_by not in laws and failed & laws:
        yield f"{mutant.id}: {mutant.caught_by!r} should catch it, but a law does too: {', '.join(sorted(failed & laws))}"
    if verdict.mutant is None or verdict.mutant.id != mutant.id:
        yield f"{mutant.id}: its own output is taken for that of {verdict.mutant.id if verdict.mutant else 'no mutant'}"
    for check in BY_EXERCISE[mutant.exercise]:
        results, right = mutant_results(mutant)[check.name], wanted(check)
        if not check.law and isinstance(results, dict):
            for name in (name for name in results if name.endswith("output")):
                if not _plausible(results[name], right[name]):
                    yield f"{mutant.id}: its {name} in {check.name} needs the right shape and dtype, and finite values"


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
    """Return the Python tokens of a text. Comments and line ends are left out."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token.string for token in found if token.type not in skipped]


def tokens_to_compare(text: str, idioms: Iterable[str]) -> list[str]:
    """Return the tokens of a text, those of an idiom joined to one. Of several idioms that fit, the first counts."""
    tokens, parted = tokens_of(text), [tokens_of(idiom) for idiom in idioms]
    joined, start = [], 0
    while start < len(tokens):
        fitting = (len(idiom) for idiom in parted if tokens[start : start + len(idiom)] == idiom)
        end = start + next(fitting, 1)
        joined.append(" ".join(tokens[start:end]))
        start = end
    return joined


def verify_no_leak(files: dict[str, str], idioms: Iterable[str] = IDIOMS) -> Iterator[str]:
    """Verify that no file of the starter holds `LEAK` tokens in a row of a body that was cut."""
    held: dict[tuple[str, ...], str] = {}
    for name, text in files.items():
        found = tokens_to_compare(text, idioms)
        for i in range(len(found) - LEAK + 1):
            held.setdefault(tuple(found[i : i + LEAK]), name)
    texts = reference_texts()
    for exercise in course().exercises:
        body = tokens_to_compare(text_of_body(texts[exercise.file], exercise.name), idioms)
        for i in range(len(body) - LEAK + 1):
            if where := held.get(tuple(body[i : i + LEAK])):
                yield f"{exercise.id}: {where} gives away `{' '.join(body[i : i + LEAK])}`"
                break
