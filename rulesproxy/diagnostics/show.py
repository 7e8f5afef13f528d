"""Diagnostics for people: with the lines they are about, or in one line each."""

from __future__ import annotations

import unicodedata
from typing import TypeAlias

from rulesproxy.diagnostics.model import Diagnostic, Source, Span


def render(diagnostic: Diagnostic) -> str:
    """A diagnostic with the lines it is about, in the form of a compiler's messages, without a line end."""
    spans = [(diagnostic.span, diagnostic.label, "^")] if diagnostic.span is not None else []
    spans += [(label.span, label.text, "-") for label in diagnostic.labels]
    width = max([len(str(span.line)) for span, _, _ in spans], default=1)
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {_shown(diagnostic.title)}"]
    if diagnostic.span is not None:
        lines.append(f"{' ' * width} --> {_shown(str(diagnostic.span))}")
        lines += _excerpt(spans, diagnostic.span.source, width)
    for kind, text in [("help", diagnostic.help), *[("note", note) for note in diagnostic.notes]]:
        if text:
            lines.append(f"{' ' * width}  = {kind}: {_shown(text)}")
    lines.append(f"{' ' * width}  = see: rulesproxy explain {diagnostic.code}")
    return "\n".join(lines)


def render_concise(diagnostic: Diagnostic) -> str:
    """A diagnostic in one line that editors and `grep` understand."""
    help = f" ({diagnostic.help})" if diagnostic.help else ""
    return _shown(f"{diagnostic}{help}")


def excerpt(span: Span, text: str = "") -> list[str]:
    """A line of a file with a mark below it and words beside that, as two lines without an indent."""
    shown, marks = _marked((span, text, "^"))
    number = str(span.line)
    return [f"{number} | {shown}".rstrip(), f"{' ' * len(number)} | {marks}"]


_Mark: TypeAlias = tuple[Span, str, str]
"""A span, the words beside its marks, and the character of the marks."""

_LINE = 140
"""Characters of a line that are shown; of a longer one the part around the mark."""


def _excerpt(spans: list[_Mark], source: Source, width: int) -> list[str]:
    """The marked lines of one file in their order, then those of others under their own arrow."""
    blank = f"{' ' * width}  |"
    lines = [blank]
    own = sorted([mark for mark in spans if mark[0].source.path == source.path], key=lambda mark: mark[0].line)
    last = 0
    for mark in own:
        number = mark[0].line
        if last and number > last + 1:
            lines.append(f"{' ' * width}  :")
        shown, marks = _marked(mark)
        if number != last:
            lines.append(f" {number:>{width}} | {shown}".rstrip())
        lines.append(f"{blank} {marks}")
        last = number
    lines.append(blank)
    for mark in [mark for mark in spans if mark[0].source.path != source.path]:
        shown, marks = _marked(mark)
        lines += [f"{' ' * width} --> {_shown(str(mark[0]))}", blank]
        lines += [f" {mark[0].line:>{width}} | {shown}".rstrip(), f"{blank} {marks}", blank]
    return lines


def _marked(mark: _Mark) -> tuple[str, str]:
    """A line as it is shown, and the marks below it; a character of two columns gets two marks."""
    span, text, character = mark
    line = span.source.line(span.line)
    start, end = span.column - 1, span.end_column - 1 if span.end_line == span.line else len(line)
    left = 0
    if len(line) > _LINE:
        left = max(0, min(start - _LINE // 2, len(line) - _LINE))
        line = ("…" if left else "") + line[left : left + _LINE] + ("…" if left + _LINE < len(line) else "")
        left -= 1 if left else 0
    before, marked = line[: start - left], line[start - left : end - left]
    marks = " " * _columns(before) + character * max(1, _columns(marked))
    return _shown(line), f"{marks} {text}".rstrip()


def _columns(text: str) -> int:
    columns = 0
    for char in _shown(text):
        if not unicodedata.combining(char):
            columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return columns


def _shown(text: str) -> str:
    """Text that a terminal can be given: tabs as four blanks, control and bidi characters as `?`."""
    text = text.replace("\t", "    ")
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else "\ufffd" for char in text])
