"""The one layout of rule files: indentation, blanks and quotes made the same, and nothing else.

It works on the tokens of YAML and on what stands between them. Keys and rules keep their order, comments and single
blank lines their place, filters and block texts their words. What the result says is compared with what the file said
before: where that differs, the file is left as it is.

- Every level is indented by two blanks, and so are lists below their key.
- One blank stands behind a dash, `:` and `,`, and inside of braces; none inside of brackets.
- A text in single quotes gets double quotes where that needs no escapes.
- There is no blank at the end of a line, at most one blank line in a row, and one line end at the end of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rulesproxy.diagnostics import Source
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.compose import read_nodes
from rulesproxy.rules.files.nodes import Node

_STEP = 2
_HEAD = re.compile("(?:\ufeff|[ \\t]*\n)+")
"""Byte order marks and empty lines in front of everything."""
_SINGLE = re.compile(r"'[^'\"\\\n]*'").fullmatch
_OPENING, _CLOSING = (
    ("FlowMappingStartToken", "FlowSequenceStartToken"),
    ("FlowMappingEndToken", "FlowSequenceEndToken"),
)
_EMPTY = ("FlowMappingStartToken", "FlowMappingEndToken")
_SPACED_BEHIND = ("ValueToken", "AliasToken", "AnchorToken")
_SILENT = ("StreamStartToken", "StreamEndToken", "BlockMappingStartToken", "BlockSequenceStartToken", "BlockEndToken")


class FormatError(Exception):
    """A file that cannot be laid out without a change of what it says, or that has parts that rule files do not."""


def format_text(source: Source) -> str:
    """The text of a rule file in the one layout.

    Raises:
        NodeError: it is no acceptable YAML.
        FormatError: it says something that the layout has no place for; the message says what.
    """
    text = source.text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    before = read_nodes(Source(source.path, text))
    head = _HEAD.match(text)
    body = text[head.end() :] if head else text
    if not body.strip():
        return ""
    made = _Layout(body).run()
    after = read_nodes(Source(source.path, made))
    if not _same(before, after) or _comments(text, before) != _comments(made, after):
        raise FormatError("its layout cannot be changed without changing what it says")
    return made


@dataclass(slots=True)
class _Block:
    """A mapping or a list in block style: where its keys or dashes stood, and where they stand now."""

    was: int
    now: int
    sequence: bool
    indentless: bool = False


class _Layout:
    """One pass over the tokens of a file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.out: list[str] = []
        self.blocks: list[_Block] = []
        self.closed: list[_Block] = []
        self.flow = 0
        self.end = 0
        self.last = ""
        self.key = False

    def run(self) -> str:
        """The new text."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        for token in yaml.scan(self.text, Loader=loader):
            self._token(token)
        self._gap(len(self.text), "", last=True)
        return "".join(self.out).strip("\n") + "\n"

    def _token(self, token: Any) -> None:
        kind = type(token).__name__
        start, end = token.start_mark.index, token.end_mark.index
        if kind == "KeyToken":
            if end > start:
                raise FormatError("it has a key behind `?`")
            self._leave_indentless()
            self.key = True
            return
        if kind == "BlockMappingStartToken" or kind == "BlockSequenceStartToken":
            self._enter(token.start_mark.column, kind == "BlockSequenceStartToken")
        elif kind == "BlockEndToken":
            self._leave_indentless()
            self.closed.append(self.blocks.pop())
        if kind in _SILENT:
            return
        if kind == "BlockEntryToken":
            self._dash(token.start_mark.column)
        if kind in _CLOSING:
            self.flow -= 1
        self._gap(start, kind)
        self.out.append(self._shown(kind, start, end))
        if kind in _OPENING:
            self.flow += 1
        self.end, self.last = self._end_of(kind, start, end), kind
        self.key = False
        self.closed = []

    # Blocks

    def _enter(self, column: int, sequence: bool) -> None:
        parent = self.blocks[-1] if self.blocks else None
        self.blocks.append(_Block(column, 0 if parent is None else parent.now + _STEP, sequence))

    def _dash(self, column: int) -> None:
        """A list whose dashes stand below the key, and not further in, has no start of its own."""
        if not self.blocks or not self.blocks[-1].sequence:
            parent = self.blocks[-1] if self.blocks else _Block(0, -_STEP, False)
            self.blocks.append(_Block(column, parent.now + _STEP, True, indentless=True))

    def _leave_indentless(self) -> None:
        if self.blocks and self.blocks[-1].indentless and not self.flow:
            self.closed.append(self.blocks.pop())

    # What stands between tokens

    def _gap(self, start: int, kind: str, last: bool = False) -> None:
        """Everything from the token before up to the next one: blanks, line ends and comments."""
        gap = self.text[self.end : start]
        first, *lines = gap.split("\n")
        at_start = not self.out or self.out[-1].endswith("\n")
        if at_start:
            lines.insert(0, first)
        elif not lines or self._pulled_up(gap, kind):
            comment = gap.strip()
            self.out.append(self._trailing(gap) if comment else " " if self._spaced(kind) and not last else "")
            return
        else:
            self.out.append(f"{self._trailing(first) if first.strip() else ''}\n")
        self._lines(lines if last else lines[:-1], start - self.text.rfind("\n", 0, start) - 1, kind)
        if not last:
            self.out.append(" " * self._indent(kind))

    def _pulled_up(self, gap: str, kind: str) -> bool:
        """Whether what stands below a dash moves up beside it."""
        below = self.last == "BlockEntryToken" and kind not in ("BlockEntryToken", "") and not self.closed
        return below and not gap.strip()

    def _lines(self, lines: list[str], column: int, kind: str) -> None:
        """Comments on lines of their own, and blank lines, of which at most one stands in a row.

        `column` is that of the next token: what stands above it belongs to it.
        """
        for line in lines:
            if line.strip():
                at = len(line) - len(line.lstrip())
                indent = self._indent(kind) if at == column and kind else self._comment_indent(at)
                self.out.append(" " * indent + line.strip() + "\n")
            elif self.out and not "".join(self.out[-2:]).endswith("\n\n"):
                self.out.append("\n")

    def _trailing(self, gap: str) -> str:
        blanks = len(gap) - len(gap.lstrip())
        return " " * max(1, blanks) + gap.strip()

    def _spaced(self, kind: str) -> bool:
        """Whether a blank stands between two tokens on one line."""
        if self.last in _SPACED_BEHIND:
            # Without it the next character would be a part of this token.
            return True
        if "FlowMappingStartToken" in (self.last, kind) or kind == "FlowMappingEndToken":
            # Braces have a blank inside, unless there is nothing in them.
            return (self.last, kind) != _EMPTY and self.last not in _OPENING[1:]
        if kind in ("ValueToken", "FlowEntryToken", *_CLOSING) or self.last in _OPENING:
            return False
        return bool(self.last)

    def _indent(self, kind: str) -> int:
        """Where a token stands that begins a line."""
        if self.flow or kind in _CLOSING:
            return self._flow_indent()
        if not self.blocks:
            return 0
        block = self.blocks[-1]
        return block.now if self.key or kind == "BlockEntryToken" else block.now + _STEP

    def _flow_indent(self) -> int:
        """Inside of brackets, and for those that close: further in than the key, as YAML wants it."""
        base = self.blocks[-1].now if self.blocks else 0
        return base + _STEP * max(1, self.flow)

    def _comment_indent(self, column: int) -> int:
        """Where a comment stands: with what follows, or with the block that it was a part of."""
        if self.flow:
            return self._flow_indent()
        known = sorted([*self.blocks, *self.closed], key=lambda block: (block.was, block.now))
        fitting = [block for block in known if block.was <= column]
        return fitting[-1].now if fitting else (known[0].now if known else 0)

    # Tokens

    def _shown(self, kind: str, start: int, end: int) -> str:
        raw = self.text[start:end]
        if kind != "ScalarToken":
            return raw
        if raw[:1] in ("|", ">") and not self.key and "\n" in raw:
            return self._block_text(raw)
        if "\n" in raw:
            return self._folded(raw)
        # What stands behind `>` at the end of a file without a line end may be blanks.
        return f'"{raw[1:-1]}"' if _SINGLE(raw) else raw.rstrip(" \t")

    def _end_of(self, kind: str, start: int, end: int) -> int:
        """Where the gap behind a token begins: blank lines behind a block text belong to it only with `+`."""
        raw = self.text[start:end]
        if kind != "ScalarToken" or self.key or raw[:1] not in ("|", ">") or "\n" not in raw:
            return end
        header, *lines = raw.split("\n")
        return end if "+" in header.partition("#")[0] else start + len("\n".join([header, *_filled(lines)])) + 1

    def _block_text(self, raw: str) -> str:
        """A text behind `|` or `>`: its lines move together."""
        header, *lines = raw.split("\n")
        head, mark, comment = header.partition("#")
        parent = self.blocks[-1] if self.blocks else _Block(0, -_STEP, False)
        digit = re.search(r"[1-9]", head)
        if digit:
            was, now = max(0, parent.was) + int(digit[0]), parent.now + int(digit[0])
        else:
            # Where all lines are blank, the longest says how far they stand in.
            first = next((line for line in lines if line.strip(" ")), max(lines, key=len))
            was, now = len(first) - len(first.lstrip(" ")), parent.now + _STEP
        moved = [" " * now + line[was:] if line[was:] else "" for line in lines]
        shown = head.rstrip() + (f" {mark}{comment}".rstrip() if mark else "")
        if "+" in head:
            return "\n".join([shown, *moved])
        return "\n".join([shown, *_filled(moved)]) + "\n"

    def _folded(self, raw: str) -> str:
        """A plain or quoted text over several lines: the blanks at the start of its lines mean nothing."""
        first, *lines = raw.split("\n")
        indent = " " * self._indent("")
        quoted = raw[:1] == '"'
        shown = [first if quoted else first.rstrip()]
        for line in lines:
            inner = line.lstrip(" \t") if quoted else line.strip(" \t")
            shown.append(indent + inner if inner else "")
        return "\n".join(shown)


def _filled(lines: list[str]) -> list[str]:
    """Lines without the empty ones at their end."""
    while lines and not lines[-1].strip(" "):
        lines = lines[:-1]
    return lines


def _same(one: Node, other: Node) -> bool:
    """Whether two nodes say the same: the same texts, plain where they were plain."""
    if isinstance(one, nodes.Mapping) and isinstance(other, nodes.Mapping):
        return len(one.entries) == len(other.entries) and all(
            _same(key, other_key) and _same(value, other_value)
            for (key, value), (other_key, other_value) in zip(one.entries, other.entries, strict=True)
        )
    if isinstance(one, nodes.Sequence) and isinstance(other, nodes.Sequence):
        return len(one.items) == len(other.items) and all(map(_same, one.items, other.items))
    if isinstance(one, nodes.Scalar) and isinstance(other, nodes.Scalar):
        return one.text == other.text and one.plain == other.plain
    return False


def _comments(text: str, root: Node) -> list[str]:
    """The comments of a file, in order."""
    pieces = sorted(nodes.texts(root))
    found = []
    for match in re.finditer(r"(?:^|(?<=[ \t]))#.*", text, re.M):
        if not any(start <= match.start() < end for start, end in pieces):
            found.append(match[0].rstrip())
    return found
