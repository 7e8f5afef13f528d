"""`LookBehind`: what rules look for in TCP, and the end of a segment that may be the beginning of it.

TCP has no messages: what is looked for may be cut anywhere. What may be the first part of it, or could still become a
longer match, waits for the rest, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import TypeAlias

from rulesproxy.filters import analysis
from rulesproxy.filters.automaton import Costly
from rulesproxy.filters.functions import AS_UTF8
from rulesproxy.filters.partial import Literal, Matches, Sought, Tails, undecided
from rulesproxy.filters.program import TooLarge
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.shape import Pattern
from rulesproxy.filters.typed import And, Const, Node, Not, Or, Test
from rulesproxy.rules.action import Action

Look: TypeAlias = bytes | tuple[Pattern, bool]
"""Bytes that are looked for; or a regex, and whether it is about text in UTF-8, not about bytes."""

_HALF = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")
"""A character of UTF-8 that lacks its end."""
_TRIED = 1024 * 1024
"""Bytes that are searched for one thing after the other, for one cut, some 10 ms. Where that is not enough, as only
hostile bytes make it, nothing is kept back."""
_WHOLE = {"==": r"\A%s\Z", "startswith": r"\A%s", "endswith": r"%s\Z"}


class LookBehind:
    """What the rules of one conversation look for in one direction.

    A regex that matches the empty text, or is too large for our automaton, sees one segment at a time.

    Args:
        looks: what it is.
        bound: the longest part that is kept back.
    """

    __slots__ = ("_bound", "_count", "_sides")

    def __init__(self, looks: Iterable[Look], bound: int) -> None:
        self._bound = bound
        found: dict[bool, dict[object, Sought]] = {False: {}, True: {}}
        for look in looks if bound else ():
            if isinstance(look, bytes):
                if len(look) > 1:
                    found[False].setdefault(look, Literal(look.decode("latin-1"), bound))
                continue
            pattern, utf8 = look
            try:
                found[utf8].setdefault(pattern, Matches(pattern))
            except (TooLarge, ValueError):
                pass
        self._sides = tuple([_Side(utf8, tuple(all.values())) for utf8, all in found.items() if all])
        self._count = sum(map(len, found.values()))

    def __bool__(self) -> bool:
        return bool(self._sides)

    def cut(self, data: bytes) -> int:
        """How many bytes at the end of `data` may be the beginning of something that is not complete yet."""
        if not data or not self._sides:
            return 0
        try:
            places = {place for side in self._sides for place in side.undecided(data, self._bound)}
            tries = 2 + _TRIED // (len(data) * self._count)
            for place in sorted(places):
                kept, tries = self._unharmed(data, place, tries)
                if kept >= 0:
                    return len(data) - kept
        except Costly:
            pass
        return 0

    def _unharmed(self, data: bytes, place: int, tries: int) -> tuple[int, int]:
        """The last place, not behind another one, at which a cut changes no match, and how many tries are left.

        The place is -1 if too much would be kept.
        """
        at = place
        while at >= max(0, len(data) - self._bound) and tries > 0:
            tries -= 1
            harmed = [side.harmed(data, at) for side in self._sides]
            first = min([found for found in harmed if found >= 0], default=-1)
            if first < 0:
                return at, tries
            at = min(first, at - 1)
        return -1, tries


class _Side:
    """What is looked for in bytes, or in the text that they are in UTF-8."""

    __slots__ = ("_all", "_tails", "_utf8")

    def __init__(self, utf8: bool, all: tuple[Sought, ...]) -> None:
        self._utf8 = utf8
        self._all = all
        self._tails = Tails(all)

    def undecided(self, data: bytes, bound: int) -> set[int]:
        """For each thing that is looked for the first place at which more bytes can change what is found."""
        half = _HALF.search(data, max(0, len(data) - 3)) if self._utf8 else None
        places = set()
        if half is not None:
            data = data[: half.start()]
            if any(sought.wide for sought in self._all):
                places.add(half.start())
        # The last characters are in so many bytes. Most of the time nothing begins there, and the rest is not read.
        end = self._text(data[-4 * bound :])
        found = self._tails(end, bound)
        if not found:
            return places
        text = self._text(data)
        skipped = len(text) - len(end)
        for number, starts in found.items():
            place = undecided(self._all[number], text, [skipped + start for start in starts])
            if place >= 0:
                places.add(self._place(text, place))
        return places

    def harmed(self, data: bytes, place: int) -> int:
        """The place of the first match that a cut would hide or make; -1 if there is none."""
        whole, part = self._text(data), self._text(data[:place])
        if not whole.startswith(part) and (half := _HALF.search(data[:place])) is not None:
            # It would cut a character in two.
            return half.start()
        size = len(part)
        first = -1
        for sought in self._all:
            if not sought.near(whole, size):
                continue
            for one, other in zip_longest(sought.spans(whole), sought.spans(part)):
                if one == other:
                    continue
                start = min(span[0] for span in (one, other) if span is not None)
                if start < size and (first < 0 or start < first):
                    first = start
                break
        return -1 if first < 0 else self._place(whole, first)

    def _text(self, data: bytes) -> str:
        return data.decode("utf-8", "surrogateescape") if self._utf8 else data.decode("latin-1")

    def _place(self, text: str, place: int) -> int:
        if not self._utf8 or text.isascii():
            return place
        return len(text[:place].encode("utf-8", "surrogateescape"))


def looked_for(node: Node, actions: Iterable[Action], from_client: bool) -> Iterator[Look]:
    """What a filter and actions look for in bytes of TCP that this side sends."""
    if not _may_be_true(node, from_client)[0]:
        return
    for test in analysis.tests(node):
        if test.read.field.name in _SENT and _may_be_true(test, from_client)[0]:
            yield from _looks(test)
    for action in actions:
        for look in action.looks_for:
            if isinstance(look, str):
                yield look.encode("utf-8", "surrogateescape")
            else:
                yield Pattern.of(look.pattern, look.flags), True


_SENT = {"tcp.data": None, "~b": None, "~bq": True, "~bs": False}
"""The fields that read bytes of TCP, and of which side."""


def _looks(test: Test) -> Iterator[Look]:
    operand, functions = test.operand, test.read.functions
    if functions not in ((), (AS_UTF8,)):
        return
    if isinstance(operand, Regex):
        yield operand.meaning, bool(functions)
        return
    texts = (operand,) if isinstance(operand, str) else operand if isinstance(operand, tuple) else ()
    for text in texts:
        if test.op == "contains":
            yield text.encode("latin-1", "ignore")
        elif test.op in _WHOLE and text:
            yield Pattern.of(_WHOLE[test.op] % re.escape(text), re.ASCII), False


def _may_be_true(node: Node, from_client: bool) -> tuple[bool, bool]:
    """Whether a filter can be true of bytes from this side, and whether it can be false."""
    if isinstance(node, Const):
        return node.value, not node.value
    if isinstance(node, Not):
        true, false = _may_be_true(node.item, from_client)
        return false, true
    if isinstance(node, (And, Or)):
        parts = [_may_be_true(item, from_client) for item in node.items]
        trues, falses = [part[0] for part in parts], [part[1] for part in parts]
        return (all(trues), any(falses)) if isinstance(node, And) else (any(trues), all(falses))
    if isinstance(node, Test):
        name = node.read.field.name
        if name == "tcp.from_client" and node.op == "true":
            return from_client, not from_client
        if _SENT.get(name, from_client) is (not from_client):
            return False, True
    return True, True
