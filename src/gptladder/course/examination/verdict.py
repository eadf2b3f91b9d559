"""The verdict on one exercise: what each check found, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass

from ..bank.versions import Version


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    wants: str
    problem: str | None  # in words; None if the check passed


@dataclass(frozen=True)
class Verdict:
    """The result of one exercise."""

    exercise: str
    findings: tuple[Finding, ...]
    where: str | None = None  # "mygpt/model/attention.py:41"
    mutant: Version | None = None  # the known mistake that gives exactly these results
    note: str | None = None  # shown even if the exercise passed
    begun: bool = True  # False if the function still is the starter's
    out_of_time: bool = False
    printed: str = ""  # what the learner's code wrote
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """True if there was at least one check and every check passed."""
        return bool(self.findings) and all(finding.problem is None for finding in self.findings)

    @property
    def problem(self) -> str:
        """The first problem in words; empty if every check passed."""
        return next((finding.problem for finding in self.findings if finding.problem), "")
