"""The characters that one item of a regex matches, as sorted ranges of code points: exactly what `re.ASCII` says.

It reads the tree of `shape.parse`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last code points, in order, without overlap."""

LAST = 0x10FFFF
_SHIFT = ord("a") - ord("A")


def characters(name: str, argument: Any, flags: int) -> Ranges:
    """What an item that is one character matches."""
    fold = bool(flags & re.IGNORECASE)
    if name == "ANY":
        return ((0, LAST),) if flags & re.DOTALL else _opposite(((10, 10),))
    if name == "LITERAL":
        return _joined([(argument, argument)], fold)
    if name == "NOT_LITERAL":
        return _opposite(_joined([(argument, argument)], fold))
    assert name == "IN", name
    return _class(argument, fold)


def mask(ranges: Ranges) -> int:
    """One bit for each character below 256, and one for all others."""
    bits = 0
    for low, high in ranges:
        if high > 255:
            bits |= 1 << 256
        if low < 256:
            bits |= (1 << min(high, 255) + 1) - (1 << low)
    return bits


def holds(ranges: Ranges, code: int) -> bool:
    """Whether a code point is in one of the ranges."""
    return any(low <= code <= high for low, high in ranges)


def _class(items: Iterable[tuple[Any, Any]], fold: bool) -> Ranges:
    found: list[tuple[int, int]] = []
    negated = False
    for op, argument in items:
        name = str(op)
        if name == "NEGATE":
            negated = True
        elif name == "LITERAL":
            found.append((argument, argument))
        elif name == "RANGE":
            found.append(argument)
        else:
            found.extend(_category(str(argument)))
    ranges = _joined(found, fold)
    return _opposite(ranges) if negated else ranges


@cache
def _category(name: str) -> Ranges:
    members = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}
    test = re.compile(members[name.removeprefix("CATEGORY_").removeprefix("NOT_")], re.ASCII).match
    ranges = _joined([(code, code) for code in range(128) if test(chr(code))], False)
    return _opposite(ranges) if "NOT_" in name else ranges


def _joined(ranges: Iterable[tuple[int, int]], fold: bool) -> Ranges:
    """The ranges in order; with `fold` both cases of each ASCII letter."""
    todo = list(ranges)
    if fold:
        for low, high in tuple(todo):
            for first, shift in ((ord("A"), _SHIFT), (ord("a"), -_SHIFT)):
                start, end = max(low, first), min(high, first + 25)
                if start <= end:
                    todo.append((start + shift, end + shift))
    found: list[tuple[int, int]] = []
    for low, high in sorted(todo):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def _opposite(ranges: Ranges) -> Ranges:
    found = []
    at = 0
    for low, high in ranges:
        if low > at:
            found.append((at, low - 1))
        at = high + 1
    return (*found, (at, LAST)) if at <= LAST else tuple(found)
