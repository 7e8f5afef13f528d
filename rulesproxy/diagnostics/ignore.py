"""Comments that silence a diagnostic: `# rulesproxy: ignore[RP701] reason`, on its line or above it.

It knows comments and lines, and nothing of YAML: it is told which pieces of a file are texts, in which `#` is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rulesproxy.diagnostics.model import Diagnostic, Source, Span
from rulesproxy.diagnostics.suggest import suggest

MARK = "rulesproxy: ignore"
"""What every such comment has in it; a file without it need not be looked at."""

_COMMENT = re.compile(r"(?:^|(?<=\s))#[ \t]*rulesproxy: ignore\b(?:[ \t]*\[([^\]\n]*)\])?", re.M)
_WORD = re.compile(r"[^\s,]+")


@dataclass(frozen=True, slots=True)
class Ignore:
    """One comment.

    Attributes:
        span: where it stands.
        codes: the codes that it names, each with its place.
        first: the first line that it is about.
        last: the last one.
    """

    span: Span
    codes: tuple[tuple[str, Span], ...]
    first: int
    last: int

    def covers(self, diagnostic: Diagnostic) -> bool:
        """Whether it is about the place of a diagnostic."""
        span = diagnostic.span
        return span is not None and span.source.path == self.span.source.path and self.first <= span.line <= self.last


def find_ignores(source: Source, texts: Iterable[tuple[int, int]]) -> tuple[Ignore, ...]:
    """The comments of a file that silence something.

    `texts` are the pieces, from one offset up to another, that are quoted or stand as blocks: `#` is a part of them,
    and a comment in front of a block is about all of it.
    """
    pieces = sorted(texts)
    found = []
    for match in _COMMENT.finditer(source.text):
        if any(start <= match.start() < end for start, end in pieces):
            continue
        line, column = _place(source.text, match.start())
        span = Span(source, line, column, line, column + len(match[0]))
        first = line
        if not source.line(line)[: column - 1].strip():
            first = _next_line(source, line)
        last = first
        for start, end in pieces:
            # The text of a block begins behind the line that announces it.
            if _place(source.text, start - source.text.startswith("\n", start - 1))[0] == first:
                last = max(last, _place(source.text, max(start, end - 1))[0])
        codes = []
        for word in _WORD.finditer(match[1] or ""):
            at = column + match.start(1) - match.start() + word.start()
            codes.append((word[0], Span(source, line, at, line, at + len(word[0]))))
        found.append(Ignore(span, tuple(codes), first, last))
    return tuple(found)


def divide(
    diagnostics: Iterable[Diagnostic], ignores: Sequence[Ignore]
) -> tuple[tuple[Diagnostic, ...], tuple[Diagnostic, ...]]:
    """The diagnostics that are said, and those that are silenced. An error is always said."""
    said: list[Diagnostic] = []
    silenced: list[Diagnostic] = []
    for diagnostic in diagnostics:
        known = diagnostic.severity != "error" and any(
            code == diagnostic.code for ignore in ignores if ignore.covers(diagnostic) for code, _ in ignore.codes
        )
        (silenced if known else said).append(diagnostic)
    return tuple(said), tuple(silenced)


def unused(ignores: Iterable[Ignore], silenced: Sequence[Diagnostic], said: Sequence[Diagnostic]) -> list[Diagnostic]:
    """What is wrong with the comments themselves: they silence nothing (RP990)."""
    found = []
    for ignore in ignores:
        if not ignore.codes:
            help = "write `# rulesproxy: ignore[RP701]` with the code that `check` shows, and a reason behind it"
            found.append(Diagnostic("RP990", "warning", "this comment names no code", ignore.span, help))
        for code, span in ignore.codes:
            if not any(each.code == code and ignore.covers(each) for each in silenced):
                found.append(_useless(code, span, ignore, said))
    return found


def _useless(code: str, span: Span, ignore: Ignore, said: Sequence[Diagnostic]) -> Diagnostic:
    from rulesproxy.diagnostics.codes import CODES

    title, help = f"`ignore[{code}]` silences nothing here", "remove it"
    if code not in CODES:
        meant = suggest(code.upper(), CODES)
        title, help = f"there is no code `{code}`", f"did you mean `{meant}`?" if meant else "remove it"
    elif any(each.code == code and ignore.covers(each) for each in said):
        title, help = f"`ignore[{code}]` is about an error, which cannot be ignored", "mend what the error says"
    return Diagnostic("RP990", "warning", title, span, help)


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _next_line(source: Source, line: int) -> int:
    """The next line that says something, or the one given."""
    lines = source.text.split("\n")
    for number in range(line, len(lines)):
        if lines[number].strip() and not lines[number].lstrip().startswith("#"):
            return number + 1
    return line
