"""`Diagnostic`: a user's mistake, with its code, its place and what to do; and the registry of codes.

It knows how a diagnostic is made and shown, and nothing of rules or filters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Source:
    """A text that diagnostics point into: the file's name as the user wrote it, and its contents."""

    path: str
    text: str

    def line(self, number: int) -> str:
        """The line of that number, counted from 1, without its end; empty past the last."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a source: from (line, column) up to, not including, (end_line, end_column), all counted from 1."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.source.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that belongs to a diagnostic, with its own words."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake.

    Attributes:
        code: `RPnnn`; its page is `rulesproxy explain RPnnn`.
        severity: errors stop a rule file from being used.
        title: one lower-case line without a full stop that stands alone.
        span: the smallest place that is wrong; None for a file that could not be read.
        help: what to do; the only place for a fix.
        label: words under the caret.
        labels: other places, such as the first of two duplicates.
        notes: further facts.
    """

    code: str
    severity: Severity
    title: str
    span: Span | None = None
    help: str = ""
    label: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        return f"{place}{self.severity}[{self.code}]: {self.title}"


class DiagnosticError(Exception):
    """Bad input, with every diagnostic that it deserves. `str()` is one line per diagnostic."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))


def suggest(name: str, known: Iterable[str], synonyms: dict[str, str] | None = None) -> str | None:
    """The known name that was probably meant, or None where nothing is near enough.

    Near means a Damerau-Levenshtein distance of a third of the name's length at most, or an entry of `synonyms`.
    """
    if synonyms and name in synonyms:
        return synonyms[name]
    best, limit = None, max(1, len(name) // 3)
    for candidate in known:
        distance = edit_distance(name, candidate, limit)
        if distance <= limit:
            best, limit = candidate, distance - 1
    return best


def edit_distance(a: str, b: str, limit: int) -> int:
    """Insertions, deletions, changes and swaps of neighbours from `a` to `b`; `limit + 1` where it is over `limit`."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)
