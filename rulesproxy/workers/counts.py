"""The figures of several workers as those of one proxy: what is counted never goes back when a worker dies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rulesproxy.app import Figures


class Counts:
    """Sums of figures."""

    def __init__(self) -> None:
        self._last: dict[int, Figures] = {}
        self._hits: Counter[str] = Counter()
        self._requests = 0
        self._errors = 0

    def told(self, number: int, figures: Figures) -> None:
        """What the worker of this number has counted so far."""
        self._last[number] = figures

    def keep(self, number: int) -> None:
        """That worker is dead: what it was known to have counted stays in the sums."""
        last = self._last.pop(number, None)
        if last is not None:
            self._hits.update(last.hits)
            self._requests += last.requests
            self._errors += last.errors

    def total(self, figures: Iterable[Figures]) -> Figures:
        """The sum of what lives, and of what was counted by the dead."""
        hits, in_flight = Counter(self._hits), Counter[int]()
        connections = active = idle = 0
        requests, errors = self._requests, self._errors
        for each in figures:
            hits.update(each.hits)
            in_flight.update(each.in_flight)
            connections += each.connections
            active += each.active
            idle += each.idle
            requests += each.requests
            errors += each.errors
        return Figures(dict(hits), dict(in_flight), connections, active, idle, requests, errors)


def read_figures(told: Mapping[str, Any]) -> Figures:
    """Figures from what JSON has made of them: its keys are text."""
    in_flight = {int(revision): count for revision, count in told["in_flight"].items()}
    return Figures(**{**told, "in_flight": in_flight})
