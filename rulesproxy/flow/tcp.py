"""`TCPFlow`: a raw byte conversation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.error import KILLED, FlowError
from rulesproxy.flow.http import next_flow_id
from rulesproxy.limits import DEFAULT, Limits


class TCPMessage:
    """Bytes that arrived together from one side. Both attributes may be changed; empty `content` drops it."""

    __slots__ = ("content", "from_client", "timestamp")

    def __init__(self, from_client: bool, content: bytes, timestamp: float = 0.0) -> None:
        self.from_client = from_client
        self.content = content
        self.timestamp = timestamp


class TCPFlow:
    """A raw TCP connection through the proxy. `messages` keeps the last ones, never all."""

    __slots__ = (
        "_limit", "client_conn", "error", "id", "injected", "messages", "metadata", "on_change", "server_conn", "tags",
        "timestamp_start",
    )  # fmt: skip

    def __init__(
        self,
        client_conn: ClientConn,
        server_conn: ServerConn,
        timestamp_start: float = 0.0,
        limits: Limits = DEFAULT,
    ) -> None:
        self.id = next_flow_id()
        self.client_conn = client_conn
        self.server_conn = server_conn
        self.messages: deque[TCPMessage] = deque(maxlen=limits.messages_kept)
        self.error: FlowError | None = None
        self.injected: list[tuple[bool, bytes]] = []
        self.metadata: dict[str, object] = {}
        self.tags: list[str] = []
        self.timestamp_start = timestamp_start
        self._limit = limits.injected
        # The layer that carries the flow: it is told of what is asked for outside a handler.
        self.on_change: Callable[[], None] | None = None

    def inject(self, to_client: bool, content: bytes) -> None:
        """Send bytes to one side: after those of the message that is being handled, or at once where none is.

        They fire no event.

        Raises:
            BufferError: more than `limits.injected` bytes wait for a peer that does not read.
        """
        if sum(len(waiting) for _, waiting in self.injected) + len(content) > self._limit:
            raise BufferError(f"more than {self._limit} bytes of injected data (limits_injected) wait for their peer")
        self.injected.append((to_client, content))
        if self.on_change is not None:
            self.on_change()

    @property
    def killed(self) -> bool:
        """Whether `kill()` was called."""
        return self.error is not None and self.error.kind == "killed"

    def kill(self) -> None:
        """End the conversation: both sides are reset."""
        self.error = FlowError(KILLED, "killed")
        if self.on_change is not None:
            self.on_change()
