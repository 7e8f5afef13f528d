"""`WebSocketFlow`: a WebSocket conversation (RFC 6455)."""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow, next_flow_id
from rulesproxy.limits import DEFAULT

MessageType: TypeAlias = Literal["TEXT", "BINARY"]


class WebSocketMessage:
    """A whole message. A text message's `content` is `str`, a binary one's `bytes`; `kill()` drops it."""

    __slots__ = ("content", "dropped", "from_client", "timestamp", "type")

    def __init__(self, from_client: bool, content: str | bytes, timestamp: float = 0.0) -> None:
        self.from_client = from_client
        self.content = content
        self.type: MessageType = "TEXT" if isinstance(content, str) else "BINARY"
        self.timestamp = timestamp
        self.dropped = False

    def kill(self) -> None:
        """Do not send this message on."""
        self.dropped = True


class WebSocketFlow:
    """A WebSocket connection through the proxy. `messages` keeps the last ones, never all."""

    __slots__ = (
        "close_code", "close_reason", "closed_by_client", "error", "handshake_flow", "id", "injected", "messages",
        "metadata", "tags", "timestamp_start",
    )  # fmt: skip

    def __init__(self, handshake_flow: HTTPFlow, timestamp_start: float = 0.0) -> None:
        self.id = next_flow_id()
        self.handshake_flow = handshake_flow
        self.messages: deque[WebSocketMessage] = deque(maxlen=DEFAULT.messages_kept)
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed_by_client: bool | None = None
        self.error: FlowError | None = None
        self.injected: list[tuple[bool, str | bytes]] = []
        self.metadata: dict[str, object] = {}
        self.tags: list[str] = []
        self.timestamp_start = timestamp_start

    def inject(self, to_client: bool, content: str | bytes) -> None:
        """Send a message to one side, after the one that is being handled."""
        self.injected.append((to_client, content))
