"""An index of terms: those that another term may imply. It leaves out none that could be proved to be implied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from rulesproxy.filters.typed import Test
from rulesproxy.rules.lints.terms import Term
from rulesproxy.rules.lints.values import ends_of, finite, starts_of

T = TypeVar("T")
_HOSTS = ("host", "~d")


class Candidates(Generic[T]):
    """Terms, each with something that it stands for, by host and by the start of the path."""

    def __init__(self) -> None:
        self._hosts: dict[str | None, dict[str, list[tuple[Term, T]]]] = {}

    def add(self, term: Term, thing: T) -> None:
        """Add a term. It is found by everything that a term that implies it has to have."""
        for host in _ends(term):
            paths = self._hosts.setdefault(host, {})
            for start in _starts(term):
                paths.setdefault(start, []).append((term, thing))

    def implied_by(self, term: Term) -> Iterator[tuple[Term, T]]:
        """The terms that this one may imply; some more than once."""
        hosts: list[str | None] = [None]
        for end in _ends(term):
            if end is not None:
                hosts += _tails(end)
        starts = {start[:size] for start in _starts(term) for size in range(len(start) + 1)}
        for host in dict.fromkeys(hosts):
            paths = self._hosts.get(host)
            if paths is None:
                continue
            for start in starts & paths.keys():
                yield from paths[start]


def _ends(term: Term) -> list[str | None]:
    """What the host ends with, in whole labels; None where nothing is known."""
    found: list[str] = []
    for test in _positive(term, _HOSTS):
        values = finite(test)
        ends = [str(value) for value in values] if values is not None else list(ends_of(test))
        if test.op in ("under", "~") or values is not None:
            labels = ends if values is not None or _whole(test) else [end.partition(".")[2] for end in ends]
            if labels and all(labels):
                found = labels
                break
    return list(found) if found else [None]


def _whole(test: Test) -> bool:
    """Whether what a host ends with is a whole label."""
    shape = getattr(test.operand, "shape", None)
    return test.op == "under" or (shape is not None and shape[0] == "under")


def _starts(term: Term) -> list[str]:
    for test in _positive(term, ("path",)):
        values = finite(test)
        starts = [str(value) for value in values] if values is not None else list(starts_of(test))
        if starts:
            return starts
    return [""]


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
