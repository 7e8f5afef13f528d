"""A WebSocket whose messages pass a rule set one by one, without sockets, in the order in which the layer has them."""

from __future__ import annotations

from rulesproxy import HTTPFlow, WebSocketFlow, load_rules
from rulesproxy.flow.websocket import WebSocketMessage
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.ruleset import RuleSet


class Conversation:
    """A conversation through rules.

    Attributes:
        flow: its flow.
        got: what each side has got: whether it is the client, and the message.
    """

    def __init__(self, rules: str | RuleSet, url: str = "http://feed.test/", outside: Outside | None = None) -> None:
        self.rules = load_rules(text=rules, outside=outside) if isinstance(rules, str) else rules
        handshake = HTTPFlow.make("GET", url, status=101)
        answer, handshake.response = handshake.response, None
        self.flow = handshake.websocket = WebSocketFlow(handshake)
        self.got: list[tuple[bool, str | bytes]] = []
        self._fire("requestheaders", handshake)
        handshake.response = answer
        self._fire("responseheaders", handshake)
        self._fire("websocket_start", self.flow)
        self._flush()

    def send(self, from_client: bool, content: str | bytes) -> WebSocketMessage:
        """One message; nothing happens after the end."""
        message = WebSocketMessage(from_client, content)
        if self.flow.ending is not None:
            return message
        self.flow.remember(message)
        if self.rules.wants_messages(self.flow.handshake_flow):
            assert self.rules.websocket_message(self.flow) is None  # type: ignore[attr-defined]
        self.got += [(not from_client, other) for other in message.before]
        if not message.dropped:
            self.got.append((not from_client, message.content))
        self._flush()
        return message

    def _fire(self, event: str, flow: HTTPFlow | WebSocketFlow) -> None:
        handler = getattr(self.rules, event, None)
        if handler is not None:
            assert handler(flow) is None

    def _flush(self) -> None:
        self.got += self.flow.injected
        self.flow.injected.clear()

    @property
    def shown(self) -> list[str]:
        """What each side has got, as lines of an example."""
        end = [] if self.flow.ending is None else [f"close {self.flow.ending[0]}"]
        return [f"{'client' if to_client else 'server'}: {content!s}" for to_client, content in self.got] + end
