"""`Memory`: what one rule remembers from flow to flow. All the rest of a rule is immutable."""

from __future__ import annotations


class Memory:
    """The counters of one rule.

    Attributes:
        counts: the counters by name. A reload hands the same mapping to the rule that takes this one's place, so that
            flows that began with either of them count together.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, name: str) -> int:
        """The last number that was given; 0 before the first."""
        return self.counts.get(name, 0)

    def next(self, name: str) -> int:
        """Count one more, and give the number: 1 for the first."""
        count = self.counts[name] = self.counts.get(name, 0) + 1
        return count

    def follow(self, other: Memory) -> None:
        """Go on where another rule's memory is."""
        self.counts = other.counts
