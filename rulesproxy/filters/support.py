"""The tests that compiled filters call where no operator or method of `str` does the work."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from rulesproxy.filters.normal import IPAddress
from rulesproxy.filters.shape import Pieces
from rulesproxy.filters.typed import Function, Members

_LOWER = {ord(letter): ord(letter.lower()) for letter in string.ascii_uppercase}


def some(test: Callable[[Any], bool], values: tuple[Any, ...]) -> bool:
    """Whether one of the values passes."""
    return any(test(value) for value in values)


def every(test: Callable[[Any], bool], values: tuple[Any, ...]) -> bool:
    """Whether there are values and all pass."""
    for value in values:
        if not test(value):
            return False
    return bool(values)


def pick(values: tuple[Any, ...], index: int) -> Any:
    """The value at a position, or None."""
    return values[index] if index < len(values) else None


def listed(value: Any) -> tuple[Any, ...]:
    """One value that may be missing, as a tuple."""
    return () if value is None else (value,)


def chain(functions: tuple[Function, ...]) -> Callable[[Any], Any]:
    """All functions one after the other; a missing value stays missing."""
    calls = [function.call for function in functions]

    def apply(value: Any) -> Any:
        for call in calls:
            if value is None:
                return None
            value = call(value)
        return value

    return apply


def chain_all(functions: tuple[Function, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """All functions on each value; those without a result are left out, of several each counts."""
    for at, function in enumerate(functions):
        if function.many:
            before, after = chain_all(functions[:at]), chain_all(functions[at + 1 :])
            spread = function.call
            return lambda values: after(tuple([result for value in before(values) for result in spread(value)]))
    apply = chain(functions)

    def apply_all(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([result for value in values if (result := apply(value)) is not None])

    return apply_all


def containing(needles: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a text contains one of the needles."""

    def contains(text: str) -> bool:
        return any(needle in text for needle in needles)

    return contains


def globbing(pieces: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a text is the pieces in order with anything between them. Takes the first place that fits, which is
    enough, and so is linear in every piece."""
    first, *middle, last = pieces
    least = len(first) + len(last)

    def glob(text: str) -> bool:
        end = len(text) - len(last)
        if len(text) < least or not text.startswith(first) or not text.endswith(last):
            return False
        at = len(first)
        for piece in middle:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    return glob


def in_order(pieces: Pieces) -> Callable[[str], bool]:
    """Whether a text, or one line of it, is the pieces in order with anything between them."""
    test = globbing(pieces.texts)
    if pieces.ignore_case:
        same_case = test

        def test(text: str) -> bool:
            return same_case(text.lower() if text.isascii() else text.translate(_LOWER))

    if pieces.dotall:
        return test
    at_start, at_end = pieces.at_start, pieces.at_end

    def holds(text: str) -> bool:
        if "\n" not in text:
            return test(text)
        lines = text.split("\n")
        if at_start or at_end:
            return not (at_start and at_end) and test(lines[0 if at_start else -1])
        return any(map(test, lines))

    return holds


def under_hosts(tops: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a host is one of the tops or below one; its labels are looked up, however many tops there are."""
    known = frozenset(tops)

    def under(host: str) -> bool:
        if host in known:
            return True
        at = host.find(".")
        while at >= 0:
            if host[at + 1 :] in known:
                return True
            at = host.find(".", at + 1)
        return False

    return under


def among_addresses(members: Members) -> Callable[[IPAddress], bool]:
    """Whether an address is one of the members, in one of their ranges or in one of their networks."""
    values, networks = members.values, members.networks
    ranges: tuple[tuple[Any, Any], ...] = members.ranges

    def among(address: IPAddress) -> bool:
        if address in values:
            return True
        for network in networks:
            if address in network:
                return True
        return any(low.version == address.version and low <= address <= high for low, high in ranges)

    return among
