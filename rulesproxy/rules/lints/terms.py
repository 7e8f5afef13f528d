"""Filters as terms: alternatives, each a set of conditions that hold together, with what can be proved about them.

A filter that would have too many alternatives is not analysed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rulesproxy.filters.analysis import moved
from rulesproxy.filters.typed import And, Const, Node, Not, Or, Test
from rulesproxy.rules.lints.values import Interval, excludes, finite, implies, interval, tries

MAX_TERMS = 64
"""Alternatives of one filter. Written by hand there are a few; the rest come from brackets multiplied out."""

Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A condition, or its opposite.

    Attributes:
        key: what it reads; the same for conditions that see the same values.
        node: the condition.
        positive: whether the condition itself holds.
        identity: equal for conditions that mean the same, wherever they stand.
    """

    key: Key
    node: Node = field(compare=False)
    positive: bool
    identity: Any

    @property
    def test(self) -> Test | None:
        """The condition where it is a test of values; None for a quantifier."""
        return self.node if isinstance(self.node, Test) else None

    @property
    def single(self) -> bool:
        """Whether there is at most one value."""
        return isinstance(self.node, Test) and not self.node.read.multi


class Term:
    """Conditions that hold together.

    Attributes:
        literals: the conditions.
        by_key: the same by what they read.
    """

    __slots__ = ("by_key", "literals")

    def __init__(self, literals: Iterable[Literal]) -> None:
        self.literals = tuple(dict.fromkeys(literals))
        self.by_key: dict[Key, list[Literal]] = {}
        for literal in self.literals:
            self.by_key.setdefault(literal.key, []).append(literal)

    @property
    def impossible(self) -> bool:
        """Whether no flow meets all of it, as far as that can be proved."""
        return self.contradiction is not None

    @property
    def contradiction(self) -> tuple[Literal, Literal] | None:
        """Two of the conditions that show that it is impossible."""
        for group in self.by_key.values():
            if len(group) > 1:
                found = _contradiction(group)
                if found is not None:
                    return found
        return None

    def values(self, key: Key) -> frozenset[Any] | None:
        """The values that what is read can have, where they can be listed."""
        return _values(self.by_key.get(key, ()))

    def implies(self, literal: Literal) -> bool:
        """Whether a condition holds wherever this term does."""
        own = self.by_key.get(literal.key, ())
        if any(each == literal for each in own):
            return True
        test = literal.test
        if test is None:
            return False
        if _implied(own, literal, test):
            return True
        if test.read.field.name == "~d" and not (test.read.functions or test.read.index is not None):
            # The names that `~d` looks at are the host, and the Host header's where that is another one.
            hosts = self.by_key.get(_HOST, ())
            return literal.positive and any(each.positive and each.test and implies(each.test, test) for each in hosts)
        return False

    def implies_all(self, other: Term) -> bool:
        """Whether the other term holds wherever this one does."""
        return all(self.implies(literal) for literal in other.literals)


def all_terms(node: Node, positive: bool = True) -> tuple[Term, ...] | None:
    """The alternatives of a filter or of its opposite, impossible ones too; None where there are too many."""
    try:
        return tuple([Term(literals) for literals in _alternatives(node, positive)])
    except _TooManyError:
        return None


def literals_of(node: Node) -> Iterator[Literal]:
    """The conditions of a conjunction; what is none of its own is left out."""
    if isinstance(node, And):
        for item in node.items:
            yield from literals_of(item)
    elif isinstance(node, Test):
        yield _literal(node, True)
    elif isinstance(node, Not) and isinstance(node.item, Test):
        yield _literal(node.item, False)


class _TooManyError(Exception):
    pass


def _alternatives(node: Node, positive: bool) -> list[tuple[Literal, ...]]:
    if isinstance(node, Const):
        return [()] if node.value == positive else []
    if isinstance(node, Not):
        return _alternatives(node.item, not positive)
    if not isinstance(node, (And, Or)):
        return [(_literal(node, positive),)]
    parts = [_alternatives(item, positive) for item in node.items]
    if isinstance(node, And) != positive:
        joined = [term for part in parts for term in part]
        if len(joined) > MAX_TERMS:
            raise _TooManyError
        return joined
    product: list[tuple[Literal, ...]] = [()]
    for part in parts:
        if len(product) * len(part) > MAX_TERMS:
            raise _TooManyError
        product = [(*one, *other) for one in product for other in part]
    return product


def _literal(node: Node, positive: bool) -> Literal:
    if isinstance(node, Test):
        key = _key(node)
        return Literal(key, node, positive, (key, node.op, node.operand))
    return Literal(("", id(type(node))), node, positive, moved(node, 0, 0))


def _key(test: Test) -> Key:
    read = test.read
    functions = tuple([function.name or id(function) for function in read.functions])
    return read.field.name, read.original, read.key, read.index, functions


_HOST: Key = ("host", False, None, None, ())


def _contradiction(group: list[Literal]) -> tuple[Literal, Literal] | None:
    positive = [literal for literal in group if literal.positive]
    negative = [literal for literal in group if not literal.positive]
    for one in positive:
        for other in negative:
            if one.identity == other.identity or (one.test and other.test and implies(one.test, other.test)):
                return one, other
    if not group[0].single:
        return None
    for at, one in enumerate(positive):
        for other in positive[at + 1 :]:
            if one.test and other.test and excludes(one.test, other.test):
                return one, other
    values = _values(group)
    if positive and values is not None and not values:
        return group[0], group[-1]
    numbers = _numbers(positive)
    if numbers is not None:
        if numbers.empty:
            return positive[0], positive[-1]
        for other in negative:
            outside = interval(other.test) if other.test else None
            if outside is not None and numbers.within(outside):
                return positive[0], other
    return None


def _implied(own: Iterable[Literal], literal: Literal, test: Test) -> bool:
    """Whether conditions on the same read prove another one."""
    positive = [each for each in own if each.positive and each.test is not None]
    negative = [each for each in own if not each.positive and each.test is not None]
    if literal.positive:
        if any(each.test is not None and implies(each.test, test) for each in positive):
            return True
        if not literal.single or not positive:
            return False
        values = _values(own)
        if values:
            return all(tries(test, value) for value in values)
        numbers, wanted = _numbers(positive), interval(test)
        return numbers is not None and wanted is not None and not numbers.empty and numbers.within(wanted)
    if any(each.test is not None and implies(test, each.test) for each in negative):
        return True
    if not literal.single or not positive:
        return False
    if any(each.test is not None and excludes(each.test, test) for each in positive):
        return True
    values = _values(own)
    if values is not None:
        return not any(tries(test, value) for value in values)
    numbers, unwanted = _numbers(positive), interval(test)
    return numbers is not None and unwanted is not None and numbers.both(unwanted).empty


def _values(group: Iterable[Literal]) -> frozenset[Any] | None:
    """The values of a single read that pass all of the conditions, where they can be listed."""
    group = list(group)
    if not group or not group[0].single:
        return None
    lists = [found for each in group if each.positive and each.test and (found := finite(each.test)) is not None]
    if not lists:
        return None
    return frozenset([
        value for value in min(lists, key=len)
        if all(tries(each.test, value) == each.positive for each in group if each.test is not None)
    ])  # fmt: skip


def _numbers(positive: Iterable[Literal]) -> Interval | None:
    """The stretch of numbers that pass all of the conditions."""
    stretches = [found for each in positive if each.test and (found := interval(each.test)) is not None]
    if not stretches:
        return None
    whole = stretches[0]
    for stretch in stretches[1:]:
        whole = whole.both(stretch)
    return whole
