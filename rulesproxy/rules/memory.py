"""`Memory`: what one rule remembers from flow to flow. All the rest of a rule is immutable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from rulesproxy.rules.outside import Outside, fraction, the_machine

T = TypeVar("T")


class Memory:
    """The counters of one rule, the chances that depend on them, and what all its flows share.

    Attributes:
        counts: the counters by name. A reload hands the same mapping to the rule that takes this one's place, so that
            flows that began with either of them count together.
        shared: what is shared, by what it was made of; it is handed on likewise.
    """

    __slots__ = ("_outside", "_rule", "counts", "shared")

    def __init__(self, rule: str = "", outside: Outside | None = None) -> None:
        self._rule = rule
        self._outside = outside
        self.counts: dict[str, int] = {}
        self.shared: dict[object, object] = {}

    def count(self, name: str) -> int:
        """The last number that was given; 0 before the first."""
        return self.counts.get(name, 0)

    def next(self, name: str) -> int:
        """Count one more, and give the number: 1 for the first."""
        count = self.counts[name] = self.counts.get(name, 0) + 1
        return count

    def chance(self, name: str, seed: str = "") -> float:
        """A number from 0.0 up to but without 1.0, another one at every call; with a seed the same in every run."""
        number = self.next(name)
        if seed:
            return fraction(seed, self._rule, name, number)
        return (self._outside or the_machine()).chance(self._rule, name, number)

    def share(self, key: object, make: Callable[[], T]) -> T:
        """What all flows of this rule share under a key, made when the first one asks."""
        if key not in self.shared:
            self.shared[key] = make()
        return cast(T, self.shared[key])

    def follow(self, other: Memory) -> None:
        """Go on where another rule's memory is."""
        self.counts = other.counts
        self.shared = other.shared
