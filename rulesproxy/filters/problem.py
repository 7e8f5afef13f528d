"""`Problem` and `FilterError`: what is wrong with a filter, by offsets into its text.

Nothing here knows files: whoever read the filter maps the offsets to lines and columns and makes diagnostics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rulesproxy.diagnostics import Severity


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a filter.

    Attributes:
        code: `RPnnn`.
        severity: errors stop the filter from being used.
        title: one lower-case line that stands alone.
        start: offset of the first wrong character in the filter's text.
        end: offset behind the last one; equal to `start` where something is missing.
        help: what to write instead.
        label: words under the caret.
    """

    code: str
    severity: Severity
    title: str
    start: int
    end: int
    help: str = ""
    label: str = ""


class FilterError(Exception):
    """A filter that cannot be used. `problems` holds at least one error, in the order of their places."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.start, problem.end)))
        super().__init__("; ".join(f"{problem.code} at {problem.start}: {problem.title}" for problem in self.problems))


def error(code: str, title: str, start: int, end: int, help: str = "", label: str = "") -> Problem:
    """A problem of severity error."""
    return Problem(code, "error", title, start, end, help, label)


def warning(code: str, title: str, start: int, end: int, help: str = "", label: str = "") -> Problem:
    """A problem of severity warning."""
    return Problem(code, "warning", title, start, end, help, label)


def info(code: str, title: str, start: int, end: int, help: str = "", label: str = "") -> Problem:
    """A problem of severity info: nothing is wrong, but something could be better."""
    return Problem(code, "info", title, start, end, help, label)
