"""What one test of a value says about another test of the same value: it implies it, or excludes it.

Every answer is proved. What cannot be proved is False: regexes are known by equality, by the plain text that they
begin or end with, and by trying them on values that can be listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from rulesproxy.filters.fields import NUMBERS, Kind
from rulesproxy.filters.reference import passes
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import Members, Test

Texts: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """Numbers from `low` to `high`; an end that is open does not belong to it."""

    low: float = float("-inf")
    high: float = float("inf")
    low_open: bool = False
    high_open: bool = False

    @property
    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def within(self, other: Interval) -> bool:
        """Whether every number of it is in the other one."""
        low = self.low > other.low or (self.low == other.low and (self.low_open or not other.low_open))
        high = self.high < other.high or (self.high == other.high and (self.high_open or not other.high_open))
        return low and high

    def both(self, other: Interval) -> Interval:
        """The numbers that are in both."""
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        return Interval(low, high, low_open, not closed)


def finite(test: Test) -> frozenset[Any] | None:
    """The values that pass a test, where they can be listed."""
    operand = test.operand
    if test.read.kind is Kind.JSON:
        # A number, a text and true may be equal to each other in ways that are not worth a proof.
        return None
    if test.op == "==":
        return frozenset({operand})
    if isinstance(operand, Members):
        return None if operand.ranges or operand.networks else frozenset(operand.values)
    if isinstance(operand, Regex):
        return frozenset({operand.shape[1]}) if operand.shape is not None and operand.shape[0] == "==" else None
    if test.op == "glob" and isinstance(operand, tuple) and len(operand) == 1:
        return frozenset(operand)
    return None


def interval(test: Test) -> Interval | None:
    """The numbers that pass a test, where they are one stretch."""
    operand: Any = test.operand
    kind = test.read.kind
    if kind not in NUMBERS:
        return None
    if isinstance(operand, Members):
        if operand.values or len(operand.ranges) != 1:
            return None
        low, high = operand.ranges[0]
        return Interval(float(low), float(high))  # type: ignore[arg-type]
    whole = kind is not Kind.DURATION
    if test.op == "<":
        return (
            Interval(high=operand - 1) if whole and operand == int(operand) else Interval(high=operand, high_open=True)
        )
    if test.op == ">":
        return Interval(low=operand + 1) if whole and operand == int(operand) else Interval(low=operand, low_open=True)
    return {"<=": Interval(high=operand), ">=": Interval(low=operand), "==": Interval(operand, operand)}.get(test.op)


def tries(test: Test, value: Any) -> bool:
    """Whether a value passes, False for one that cannot be tried."""
    try:
        return passes(test, value)
    except TypeError:
        return False


def implies(one: Test, other: Test) -> bool:
    """Whether every value that passes `one` passes `other`. Both read the same."""
    if other.op == "has" or (one.op == other.op and one.operand == other.operand):
        return True
    values = finite(one)
    if values is not None:
        return bool(values) and all(tries(other, value) for value in values)
    if one.read.kind is Kind.JSON:
        return False
    inside, outside = interval(one), interval(other)
    if inside is not None:
        return outside is not None and inside.within(outside)
    if isinstance(one.operand, Members) and isinstance(other.operand, Members):
        return _members_within(one.operand, other)
    return _text_implies(one, other)


def excludes(one: Test, other: Test) -> bool:
    """Whether no value passes both. Both read the same."""
    if one.read.kind is Kind.JSON:
        return False
    for first, second in ((one, other), (other, one)):
        values = finite(first)
        if values is not None:
            return not any(tries(second, value) for value in values)
    first_numbers, second_numbers = interval(one), interval(other)
    if first_numbers is not None and second_numbers is not None:
        return first_numbers.both(second_numbers).empty
    if isinstance(one.operand, Members) or isinstance(other.operand, Members):
        return _members_apart(one.operand, other.operand)
    tops, others = _tops(one), _tops(other)
    if tops and others:
        mark = "." if one.read.kind is Kind.HOST else "/"
        return not any(_below(a, b, mark) or _below(b, a, mark) for a in tops for b in others)
    return _apart(starts_of(one), starts_of(other), True) or _apart(ends_of(one), ends_of(other), False)


def _members_within(members: Members, other: Test) -> bool:
    wide = other.operand
    assert isinstance(wide, Members)
    return (
        all(tries(other, value) for value in members.values)
        and all(any(low <= a and b <= high for low, high in _numeric(wide.ranges)) for a, b in _numeric(members.ranges))
        and len(_numeric(members.ranges)) == len(members.ranges)
        and all(any(_subnet(net, top) for top in wide.networks) for net in members.networks)
    )


def _members_apart(one: object, other: object) -> bool:
    if not isinstance(one, Members) or not isinstance(other, Members):
        return False
    if one.ranges or other.ranges:
        return False
    networks = all(not a.overlaps(b) for a in one.networks for b in other.networks if a.version == b.version)
    values = not any(
        value in network for a, b in ((one, other), (other, one)) for value in a.values for network in b.networks
    )
    return networks and values and not one.values & other.values


def _numeric(ranges: tuple[tuple[Any, Any], ...]) -> list[tuple[float, float]]:
    return [(low, high) for low, high in ranges if isinstance(low, (int, float)) and isinstance(high, (int, float))]


def _subnet(net: Any, top: Any) -> bool:
    return net.version == top.version and bool(net.subnet_of(top))


def _text_implies(one: Test, other: Test) -> bool:
    """What is proved from the texts that `one` starts with, ends with or contains."""
    op, wanted = _shape(other)
    if not wanted:
        return False
    if op == "startswith":
        heads = starts_of(one)
        return bool(heads) and all(head.startswith(wanted) for head in heads)
    if op == "endswith":
        tails = ends_of(one)
        return bool(tails) and all(tail.endswith(wanted) for tail in tails)
    if op == "contains":
        return any(bool(texts) and all(any(w in text for w in wanted) for text in texts) for texts in _contained(one))
    if op == "under":
        tops = _tops(one)
        mark = "." if one.read.kind is Kind.HOST else "/"
        return bool(tops) and all(any(_below(top, w, mark) for w in wanted) for top in tops)
    return False


def _shape(test: Test) -> tuple[str, Texts]:
    """A test of texts as a plain operator with its texts; no texts for what is none."""
    operand = test.operand
    if isinstance(operand, Regex):
        if operand.shape is None or (operand.shape[0] == "under" and test.read.kind is not Kind.HOST):
            return "", ()
        return operand.shape[0], (operand.shape[1],)
    if isinstance(operand, tuple) and test.op != "glob":
        return test.op, operand
    return "", ()


def starts_of(test: Test) -> Texts:
    """Texts one of which every value that passes starts with; none where nothing is known."""
    op, texts = _shape(test)
    operand = test.operand
    if op == "startswith" or (op == "under" and test.read.kind is not Kind.HOST):
        return texts
    if test.op == "glob" and isinstance(operand, tuple) and operand[0]:
        return operand[:1]
    return (operand.prefix,) if isinstance(operand, Regex) and operand.prefix else ()


def ends_of(test: Test) -> Texts:
    """Texts one of which every value that passes ends with; none where nothing is known."""
    op, texts = _shape(test)
    operand = test.operand
    if op == "endswith" or (op == "under" and test.read.kind is Kind.HOST):
        return texts
    if test.op == "glob" and isinstance(operand, tuple) and operand[-1]:
        return operand[-1:]
    return (operand.suffix,) if isinstance(operand, Regex) and operand.suffix else ()


def _contained(test: Test) -> list[Texts]:
    """Groups of texts: every value that passes contains one of each group."""
    op, texts = _shape(test)
    groups = [starts_of(test), ends_of(test), texts if op == "contains" else ()]
    if test.op == "glob" and isinstance(test.operand, tuple):
        groups += [(piece,) for piece in test.operand]
    return groups


def _tops(test: Test) -> Texts:
    op, texts = _shape(test)
    return texts if op == "under" else ()


def _below(name: str, top: str, mark: str) -> bool:
    ours, theirs = name.split(mark), top.split(mark)
    return ours[-len(theirs) :] == theirs if mark == "." else ours[: len(theirs)] == theirs


def _apart(ones: Texts, others: Texts, heads: bool) -> bool:
    """Whether no text can start, or end, with one of both."""
    if not ones or not others:
        return False
    if heads:
        return not any(a.startswith(b) or b.startswith(a) for a in ones for b in others)
    return not any(a.endswith(b) or b.endswith(a) for a in ones for b in others)
