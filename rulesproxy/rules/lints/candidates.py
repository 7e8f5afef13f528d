"""An index of terms: those that another term may imply. It leaves out none that could be proved to be implied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeAlias, TypeVar

from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import Test
from rulesproxy.rules.lints.terms import Term
from rulesproxy.rules.lints.values import ends_of, finite, starts_of

T = TypeVar("T")
_HOSTS = ("host", "~d")
_LISTED = 32
"""Values of one condition by which a term is found. Longer lists would be entered under every pair of their items."""


_Anchor: TypeAlias = tuple[Any, ...] | None
"""A condition that a term cannot be implied without: a value, or a regex about which nothing is known."""


class Candidates(Generic[T]):
    """Terms, each with a thing that it stands for, by host, by the start of the path, and by one further condition."""

    def __init__(self) -> None:
        self._hosts: dict[str | None, dict[str, dict[_Anchor, list[tuple[Term, T]]]]] = {}

    def add(self, term: Term, thing: T) -> None:
        """Add a term. It is found by everything that a term that implies it has to have, unless that is a long list."""
        anchors = _anchors(term)
        hosts: list[str | None] = [*next(iter(_ends(term)), [])]
        starts = next(iter(_starts(term)), [])
        for host in hosts if 0 < len(hosts) <= _LISTED else [None]:
            paths = self._hosts.setdefault(host, {})
            for start in starts if 0 < len(starts) <= _LISTED else [""]:
                known = paths.setdefault(start, {})
                for anchor in anchors:
                    known.setdefault(anchor, []).append((term, thing))

    def implied_by(self, term: Term) -> Iterator[tuple[Term, T]]:
        """The terms that this one may imply; some more than once."""
        hosts: list[str | None] = [None]
        hosts += [tail for ends in _ends(term) for end in ends for tail in _tails(end)]
        starts = {start[:size] for each in _starts(term) for start in each for size in range(len(start) + 1)} | {""}
        wanted = _wanted(term)
        for host in dict.fromkeys(hosts):
            paths = self._hosts.get(host)
            if paths is None:
                continue
            for start in starts & paths.keys():
                known = paths[start]
                for anchor in wanted & known.keys():
                    yield from known[anchor]


def _anchors(term: Term) -> list[_Anchor]:
    """What a term that implies this one has one of."""
    for literal in term.literals:
        test = literal.test
        # What `~d` looks at may be known from the host.
        if test is None or not literal.positive or test.read.field.name == "~d":
            continue
        values = finite(test)
        if values and len(values) <= _LISTED:
            return [(literal.key, value) for value in values]
        if _is_opaque(test):
            return [(literal.identity,), (literal.key, _OPAQUE)]
    return [None]


def _wanted(term: Term) -> set[_Anchor]:
    """The anchors of terms that this one may imply."""
    wanted: set[_Anchor] = {None}
    for literal in term.literals:
        if literal.test is None or not literal.positive:
            continue
        wanted.add((literal.identity,))
        values = finite(literal.test)
        if values:
            # On values that can be listed every regex can be tried.
            wanted.update((literal.key, value) for value in values)
            wanted.add((literal.key, _OPAQUE))
    return wanted


_OPAQUE = object()


def _is_opaque(test: Test) -> bool:
    """Whether a test is implied by itself only, or by values on which it can be tried."""
    operand = test.operand
    return test.op == "glob" or (isinstance(operand, Regex) and operand.shape is None)


def _ends(term: Term) -> list[list[str]]:
    """For each condition on the host what the host ends with, in whole labels."""
    found: list[list[str]] = []
    for test in _positive(term, _HOSTS):
        values = finite(test)
        ends = [str(value) for value in values] if values is not None else list(ends_of(test))
        if test.op in ("under", "~") or values is not None:
            labels = ends if values is not None or _whole(test) else [end.partition(".")[2] for end in ends]
            if labels and all(labels):
                found.append(labels)
    return found


def _whole(test: Test) -> bool:
    """Whether what a host ends with is a whole label."""
    shape = getattr(test.operand, "shape", None)
    return test.op == "under" or (shape is not None and shape[0] == "under")


def _starts(term: Term) -> list[list[str]]:
    """For each condition on the path what the path starts with."""
    found: list[list[str]] = []
    for test in _positive(term, ("path",)):
        values = finite(test)
        starts = [str(value) for value in values] if values is not None else list(starts_of(test))
        if starts:
            found.append(starts)
    return found


def _positive(term: Term, names: tuple[str, ...]) -> Iterator[Test]:
    for literal in term.literals:
        test = literal.test
        if literal.positive and test is not None and test.read.field.name in names:
            read = test.read
            if not (read.original or read.functions or read.element):
                yield test


def _tails(host: str) -> Iterator[str]:
    labels = host.split(".")
    for at in range(len(labels)):
        yield ".".join(labels[at:])
