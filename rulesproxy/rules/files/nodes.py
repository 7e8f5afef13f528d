"""YAML as nodes that know their place: every key and every value points back into its file, character by character.

It knows what nodes are, and nothing of rules; `compose` makes them. Scalars stay raw text: what they mean is decided
where they are used, so that `no` and `1.10` are text where text is wanted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TypeAlias

from rulesproxy.diagnostics import Source, Span
from rulesproxy.rules.files.offsets import offsets

TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
"""What is true or false in YAML (YAML 1.2.2 section 10.3.2)."""


class File:
    """The text of one rule file, with a table that turns offsets into lines and columns."""

    __slots__ = ("_starts", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._starts: list[int] | None = None

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, counted from 1."""
        if self._starts is None:
            starts, at = [0], self.source.text.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = self.source.text.find("\n", at + 1)
            self._starts = starts
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def span(self, start: int, end: int) -> Span:
        """The place from one offset up to, not including, another; at least one character."""
        line, column = self.place(start)
        end_line, end_column = self.place(end if end > start else start)
        if (end_line, end_column) <= (line, column):
            end_line, end_column = line, column + 1
        return Span(self.source, line, column, end_line, end_column)


class Scalar:
    """A value without parts: its text, and how it was written: plain (``""``), `'`, `"`, `|` or `>`."""

    __slots__ = ("_units", "end", "file", "flow", "start", "style", "text")

    def __init__(self, file: File, text: str, style: str, start: int, end: int, flow: bool) -> None:
        self.file = file
        self.text = text
        self.style = style
        self.start = start
        self.end = end
        self.flow = flow
        self._units: list[int] | None = None

    @property
    def plain(self) -> bool:
        return self.style == ""

    @property
    def empty(self) -> bool:
        """Nothing was written here."""
        return self.style == "" and self.text == ""

    @property
    def null(self) -> bool:
        """This is what YAML calls null: nothing, or a plain word for it (YAML 1.2.2 section 10.3.2)."""
        return self.style == "" and self.text in ("", "~", "null", "Null", "NULL")

    @property
    def bare(self) -> bool:
        """It says no more than that its key is there: nothing, or `true`."""
        return self.null or (self.style == "" and self.text in TRUE)

    @property
    def span(self) -> Span:
        return self.file.span(self.start, self.end)

    def part(self, start: int, end: int) -> Span:
        """The place of `text[start:end]` in the file, through quotes, escapes, folding and indentation."""
        if self.style == "" and self.end - self.start == len(self.text):
            return self.file.span(self.start + start, self.start + end)
        if self._units is None:
            self._units = offsets(self.file.source.text[self.start : self.end], self.style, self.text)
        units = self._units
        first = units[start] if start < len(units) else (units[-1] + 1 if units else 0)
        last = units[end - 1] + 1 if 0 < end <= len(units) and end > start else first + 1
        return self.file.span(self.start + first, self.start + last)


class Constant(Scalar):
    """A value that stands somewhere else, such as in a variable: every part of it is where it is used."""

    __slots__ = ()

    def __init__(self, place: Scalar, text: str) -> None:
        super().__init__(place.file, text, '"', place.start, place.end, place.flow)

    def part(self, start: int, end: int) -> Span:
        return self.span


class Sequence:
    """A list."""

    __slots__ = ("end", "file", "flow", "items", "start")

    def __init__(self, file: File, start: int, flow: bool) -> None:
        self.file = file
        self.items: list[Node] = []
        self.start = start
        self.end = start
        self.flow = flow

    @property
    def span(self) -> Span:
        return self.file.span(self.start, self.end if self.flow else self.start + 1)


class Mapping:
    """Keys with values, in the order of the file; every key is there once."""

    __slots__ = ("_at", "end", "entries", "file", "flow", "start")

    def __init__(self, file: File, start: int, flow: bool) -> None:
        self.file = file
        self.entries: list[tuple[Scalar, Node]] = []
        self._at: dict[str, int] = {}
        self.start = start
        self.end = start
        self.flow = flow

    @property
    def span(self) -> Span:
        """The mapping, or its first key where it stands over several lines."""
        if self.flow or not self.entries:
            return self.file.span(self.start, self.end if self.flow else self.start + 1)
        return self.entries[0][0].span

    def get(self, key: str) -> Node | None:
        """The value of a key, or None."""
        at = self._at.get(key)
        return None if at is None else self.entries[at][1]

    def key(self, key: str) -> Scalar | None:
        """The key itself, for its place."""
        at = self._at.get(key)
        return None if at is None else self.entries[at][0]

    def add(self, key: Scalar, value: Node) -> None:
        """Add an entry."""
        self._at[key.text] = len(self.entries)
        self.entries.append((key, value))


Node: TypeAlias = Scalar | Sequence | Mapping


def texts(root: Node) -> Iterator[tuple[int, int]]:
    """The pieces of a file that are quoted or stand as blocks, by offsets: inside of them `#` begins no comment."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Scalar):
            if node.style:
                start = node.start
                if node.style in "|>":
                    # Behind the mark of a block there may be a comment.
                    start = node.file.source.text.find("\n", start) + 1 or node.end
                yield start, node.end
        elif isinstance(node, Sequence):
            stack.extend(node.items)
        else:
            stack.extend(part for entry in node.entries for part in entry)
