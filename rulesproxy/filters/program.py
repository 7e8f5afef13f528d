"""A regex as a nondeterministic automaton (Thompson 1968), to be read from its start or from its end.

It reads the tree of `shape.parse`, and knows nothing of texts.
"""

from __future__ import annotations

import re
from typing import Any

from rulesproxy.filters.charset import Ranges, characters
from rulesproxy.filters.shape import Tree
from rulesproxy.limits import REGEX_SIZE

EDGE, NEWLINE, WORD, OTHER, BEFORE_NEWLINE = range(5)
"""What stands on one side of a place: nothing, a line feed, a letter, another character, the CR of a CR LF."""

_AT = {
    "AT_BEGINNING": "start", "AT_BEGINNING_STRING": "start", "AT_END_STRING": "end", "AT_END": "end of line",
    "AT_BOUNDARY": "boundary", "AT_NON_BOUNDARY": "inside",
}  # fmt: skip
# From Python 3.14 on the only place of an empty text is no boundary.
_INSIDE_NOTHING = re.search(r"\B", "") is not None


class TooLarge(Exception):
    """The program would have more than `REGEX_SIZE` instructions."""


class Program:
    """The instructions are numbered; number 0 means that something was found.

    Attributes:
        start: the first instruction.
        sets: of each instruction that reads a character, which ones.
        after: of each instruction, the ones that follow it; what `re` would try first is first.
        conditions: of each instruction that is a condition on its place, which.
        saves: of each instruction that is an edge of a group, twice its number, and one more at its end.
        anchored: it finds something at the edge that it is read from, or nothing.
        reverse: it is read from its end.
    """

    __slots__ = ("_groups", "after", "anchored", "conditions", "reverse", "saves", "sets", "start")

    def __init__(self, tree: Tree, flags: int, *, reverse: bool = False, groups: bool = False) -> None:
        """Make the program of a tree, with instructions for its groups if `groups`.

        Raises:
            TooLarge: it has too many instructions.
        """
        self.reverse = reverse
        self._groups = groups
        self.saves: dict[int, int] = {}
        self.sets: dict[int, Ranges] = {}
        self.conditions: dict[int, str] = {}
        self.after: list[tuple[int, ...]] = [()]
        self.start = self._sequence(tree, flags, 0)
        edge = tree[-1 if reverse else 0] if len(tree) else ("", "")
        at = self._place(str(edge[1]), flags) if str(edge[0]) == "AT" else ""
        self.anchored = at == ("end" if reverse else "start")

    def _add(self, *after: int) -> int:
        if len(self.after) >= REGEX_SIZE:
            raise TooLarge
        self.after.append(after)
        return len(self.after) - 1

    def _sequence(self, tree: Tree, flags: int, then: int) -> int:
        """The first instruction of a sequence that `then` follows."""
        for op, argument in tree if self.reverse else reversed(tree):
            then = self._item(str(op), argument, flags, then)
        return then

    def _item(self, name: str, argument: Any, flags: int, then: int) -> int:
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            high = None if str(high) == "MAXREPEAT" else high
            return self._repeat(low, high, name == "MIN_REPEAT", body, flags, then)
        if name == "SUBPATTERN":
            group, on, off, body = argument
            if group is None or not self._groups:
                return self._sequence(body, (flags | on) & ~off, then)
            end = self._add(then)
            self.saves[end] = 2 * group + 1
            start = self._add(self._sequence(body, (flags | on) & ~off, end))
            self.saves[start] = 2 * group
            return start
        if name == "BRANCH":
            return self._add(*[self._sequence(arm, flags, then) for arm in argument[1]])
        if name == "AT" or name.startswith("ASSERT"):
            here = self._add(then)
            # The one assertion is the end of a line that ends in CR LF.
            self.conditions[here] = self._place(str(argument), flags) if name == "AT" else "end of CR LF line"
            return here
        here = self._add(then)
        self.sets[here] = characters(name, argument, flags)
        return here

    @staticmethod
    def _place(name: str, flags: int) -> str:
        return "start of line" if name == "AT_BEGINNING" and flags & re.MULTILINE else _AT[name]

    def _repeat(self, low: int, high: int | None, lazy: bool, body: Tree, flags: int, then: int) -> int:
        if high is None:
            at = self._add()
            more = self._sequence(body, flags, at)
            self.after[at] = (then, more) if lazy else (more, then)
        else:
            at = then
            for _ in range(high - low):
                more = self._sequence(body, flags, at)
                at = self._add(*((then, more) if lazy else (more, then)))
        for _ in range(low):
            at = self._sequence(body, flags, at)
        return at


def kind_of(char: str) -> int:
    """The kind of a character, as far as conditions tell them apart."""
    return NEWLINE if char == "\n" else WORD if _is_word(char) else OTHER


_is_word = re.compile(r"\w", re.ASCII).match


def holds(condition: str, before: int, after: int) -> bool:
    """Whether a condition is true of a place between two characters of these kinds."""
    if condition == "start":
        return before == EDGE
    if condition == "start of line":
        return before in (EDGE, NEWLINE)
    if condition == "end":
        return after == EDGE
    if condition == "end of line":
        return after in (EDGE, NEWLINE)
    if condition == "end of CR LF line":
        return after in (EDGE, NEWLINE, BEFORE_NEWLINE)
    if condition == "boundary":
        return (before == WORD) != (after == WORD)
    return (before == WORD) == (after == WORD) and (_INSIDE_NOTHING or before != EDGE or after != EDGE)
