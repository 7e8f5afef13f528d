"""`Diagnostic`: a user's mistake, with its code, its place and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Source:
    """A text that diagnostics point into: the file's name as the user wrote it, and its contents."""

    path: str
    text: str = field(repr=False)

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
