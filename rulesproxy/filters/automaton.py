"""Searches in linear time: a deterministic automaton that is made while it reads (Aho, Sethi and Ullman 1986, 3.8).

It says whether there is a match, or where the first one starts, and does the same work for every character, whatever
the regex and the text are. What it has worked out is kept for the next text, up to a bound.
"""

from __future__ import annotations

from rulesproxy.filters import program as programs
from rulesproxy.filters.charset import holds
from rulesproxy.filters.program import BEFORE_NEWLINE, EDGE, OTHER, Program, kind_of
from rulesproxy.filters.shape import Tree
from rulesproxy.limits import REGEX_STEPS

_NO_MATCH, _MATCH = 0, 1
_CR = "\ud800"
"""Stands for a CR before a LF where that makes a difference. Header sections do not have it: no bytes decode to it."""


class Costly(Exception):
    """More was worked out for one text than was allowed."""


class Automaton:
    """The searches for one regex. `lines` says that `$` in it looks for CR LF.

    Attributes:
        spent: how many instructions were looked at to work states out, for all texts so far.
    """

    __slots__ = (
        "_closed", "_first", "_left", "_numbers", "_program", "_readers", "_rows", "_states", "lines", "spent",
    )  # fmt: skip

    def __init__(self, tree: Tree, flags: int, *, reverse: bool = False, lines: bool = False) -> None:
        """Make the automaton of a tree of `shape.parse`.

        Raises:
            TooLarge: the regex is too large.
        """
        self.lines = lines
        self._program = Program(tree, flags, reverse=reverse)
        # The instructions that may come next, a bit for each, and the kind of the character before.
        self._states: list[tuple[int, int]] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._rows: list[dict[str, int]] = []
        self._closed: dict[tuple[int, int, int], int] = {}
        self._readers: dict[str, int] = {}
        self._left = REGEX_STEPS
        self.spent = 0
        self._first = (1 << self._program.start, EDGE if self._program.conditions else OTHER)

    def search(self, text: str) -> bool:
        """Whether there is a match. Not of an automaton that is read in reverse."""
        text = self._spelled(text)
        rows = self._rows
        at = self._number(self._first)
        for char in text:
            try:
                at = rows[at][char]
            except KeyError:
                at = self._step(at, char)
            if at <= _MATCH:
                return at == _MATCH
        return bool(self._at_end(at))

    def first(self, text: str) -> int:
        """Where the first match starts; -1 if there is none. Only of an automaton that is read in reverse."""
        starts = self._starts(text)
        return starts.find(1) if starts is not None else -1

    def starts(self, text: str, most: int | None = None) -> bytearray:
        """A 1 at every place where a match starts. Only of an automaton that is read in reverse.

        Raises:
            Costly: more than `most` instructions would have to be looked at.
        """
        return self._starts(text, most) or bytearray(len(text) + 1)

    def _starts(self, text: str, most: int | None = None) -> bytearray | None:
        rows = self._rows
        until = None if most is None else self.spent + most
        at = self._number(self._first)
        found = None
        for place, char in zip(range(len(text), 0, -1), self._spelled(text)[::-1], strict=True):
            try:
                at = rows[at][char]
            except KeyError:
                at = self._step(at, char)
                if until is not None and self.spent > until:
                    raise Costly from None
            if at < 0:
                if found is None:
                    found = bytearray(len(text) + 1)
                found[place] = 1
                at = -at
        if self._at_end(at):
            found = bytearray(len(text) + 1) if found is None else found
            found[0] = 1
        return found

    def _spelled(self, text: str) -> str:
        return text.replace("\r\n", _CR + "\n") if self.lines else text

    # Working out

    def _number(self, state: tuple[int, int]) -> int:
        number = self._numbers.get(state)
        if number is None:
            # The first two are no states: they stand for the two answers.
            while len(self._rows) < 2:
                self._rows.append({})
                self._states.append((0, 0))
            number = self._numbers[state] = len(self._rows)
            self._rows.append({})
            self._states.append(state)
        return number

    def _step(self, at: int, char: str) -> int:
        """The state behind a character: negative where a match starts here, for the reverse; else maybe an answer."""
        program = self._program
        pending, previous = self._states[at]
        kind = self._kind(char)
        before, after = (kind, previous) if program.reverse else (previous, kind)
        closed = self._close(pending, before, after)
        matched = closed & 1
        moved = 0 if program.anchored else 1 << program.start
        self.spent += 1 + closed.bit_count()
        for place in _bits(closed & self._reading(char)):
            moved |= 1 << program.after[place][0]
        row = self._rows[at]
        self._left -= 1
        if not self._left:
            self._forget()
        if not program.reverse and (matched or not moved):
            to = _MATCH if matched else _NO_MATCH
        else:
            to = self._number((moved, kind))
        row[char] = to = -to if program.reverse and matched else to
        return to

    def _forget(self) -> None:
        for known in (self._states, self._numbers, self._rows, self._closed, self._readers):
            known.clear()
        self._left = REGEX_STEPS

    def _reading(self, char: str) -> int:
        """The instructions that read a character."""
        found = self._readers.get(char)
        if found is None:
            code = ord("\r" if char == _CR and self.lines else char)
            found = 0
            for place, ranges in self._program.sets.items():
                if holds(ranges, code):
                    found |= 1 << place
            self._readers[char] = found
        return found

    def _kind(self, char: str) -> int:
        if not self._program.conditions:
            return OTHER
        return BEFORE_NEWLINE if char == _CR and self.lines else kind_of(char)

    def _at_end(self, at: int) -> int:
        pending, previous = self._states[at]
        before, after = (EDGE, previous) if self._program.reverse else (previous, EDGE)
        return self._close(pending, before, after) & 1

    def _close(self, pending: int, before: int, after: int) -> int:
        """The instructions that read a character, or have found something, that are reached without reading."""
        key = (pending, before, after)
        closed = self._closed.get(key)
        if closed is None:
            closed, seen, todo = 0, pending, list(_bits(pending))
            program = self._program
            while todo:
                place = todo.pop()
                if place in program.sets or not place:
                    closed |= 1 << place
                    continue
                condition = program.conditions.get(place)
                if condition is not None and not programs.holds(condition, before, after):
                    continue
                for next in program.after[place]:
                    if not seen >> next & 1:
                        seen |= 1 << next
                        todo.append(next)
            self._closed[key] = closed
        return closed


def _bits(number: int) -> list[int]:
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found
