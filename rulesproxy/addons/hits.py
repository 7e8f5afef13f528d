"""`Hits`: counts how often each rule matched, by the names that rules leave in `flow.hits`."""

from __future__ import annotations

from collections import Counter

from rulesproxy.flow.http import HTTPFlow


class Hits:
    """Counts rules. `hits[name]` is the number of flows in which the rule of that name matched."""

    observes = True

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def response(self, flow: HTTPFlow) -> None:
        """The flow is over, with an answer."""
        if flow.hits:
            self._counts.update(flow.hits)

    def error(self, flow: HTTPFlow) -> None:
        """The flow is over, without one."""
        self.response(flow)

    def http_connect(self, flow: HTTPFlow) -> None:
        """A tunnel may be refused by a rule, and nothing else will tell."""
        self.response(flow)

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def as_dict(self) -> dict[str, int]:
        """All counts, by rule."""
        return dict(self._counts)
