"""`Hits`: counts how often each rule matched, by the names that rules leave in `flow.hits`."""

from __future__ import annotations

from collections import Counter

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow

_COUNTED = "hits-counted"
"""The key in the metadata of a handshake under which is how many of its hits are counted."""


class Hits:
    """Counts rules. `hits[name]` is the number of flows in which the rule of that name matched."""

    observes = True

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def response(self, flow: HTTPFlow) -> None:
        """The flow is over, with an answer."""
        if flow.hits:
            self._counts.update(flow.hits)
            if flow.websocket is not None:
                flow.metadata[_COUNTED] = len(flow.hits)

    def error(self, flow: HTTPFlow) -> None:
        """The flow is over, without one."""
        self.response(flow)

    def http_connect(self, flow: HTTPFlow) -> None:
        """A tunnel may be refused by a rule, and nothing else will tell."""
        self.response(flow)

    def websocket_end(self, flow: WebSocketFlow) -> None:
        """The conversation is over; its handshake has been counted."""
        counted = flow.handshake_flow.metadata.get(_COUNTED, 0)
        self._counts.update(flow.handshake_flow.hits[counted if isinstance(counted, int) else 0 :])

    def tcp_end(self, flow: TCPFlow) -> None:
        """The connection is over."""
        self._counts.update(flow.hits)

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def as_dict(self) -> dict[str, int]:
        """All counts, by rule."""
        return dict(self._counts)
