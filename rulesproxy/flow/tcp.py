"""`TCPFlow`: a raw byte conversation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.error import KILLED, FlowError
from rulesproxy.flow.http import HTTPFlow, next_flow_id
from rulesproxy.flow.plan import Fault, Plan
from rulesproxy.limits import DEFAULT, Limits


class TCPMessage:
    """Bytes that arrived together from one side.

    Attributes:
        from_client: who sent it.
        content: the bytes. They may be changed; empty ones drop it.
        timestamp: when they arrived, in seconds since the epoch.
        delay: seconds that they wait before they go on, at most `limits.delay`; what comes behind them waits too.
        held: bytes that are kept back until more comes from this side: they are the beginning of its next message. If
            nothing comes for `limits.tcp_hold`, or no more can come, they are a message of their own. Each time that
            nothing came halves the next wait.
        whole: whether it is such a message, of which nothing can be held.
        fault: how it goes wrong on its way to its receiver, where it is meant to.
    """

    __slots__ = ("content", "delay", "fault", "from_client", "held", "timestamp", "whole")

    def __init__(self, from_client: bool, content: bytes, timestamp: float = 0.0) -> None:
        self.from_client = from_client
        self.content = content
        self.timestamp = timestamp
        self.delay = 0.0
        self.held = b""
        self.whole = False
        self.fault: Fault | None = None

    def kill(self) -> None:
        """Do not send it on."""
        self.content = b""


class TCPFlow:
    """A raw TCP connection through the proxy.

    Attributes:
        messages: the last messages, never all.
        closing: whether `close()` was called.
        error: what went wrong, where something did.
        injected: what waits to be sent: for each piece whether it is for the client, and the bytes.
        metadata: free for addons.
        tags: words that rules and addons leave here.
        hits: the names of the rules that have matched.
        handshake_flow: the exchange that it began with (an upgrade); None where it was TCP from its beginning.
        unseen: whether its bytes pass unread, such as those of TLS that is not decrypted: they fire no event.
        rules: what the rule set keeps here.
        planned: the plan, if anybody has touched it: a look that makes none.
        on_change: called when something is asked for outside a handler; set by the layer.
    """

    __slots__ = (
        "_limit", "client_conn", "closing", "error", "handshake_flow", "hits", "id", "injected", "messages",
        "metadata", "on_change", "planned", "rules", "server_conn", "tags", "timestamp_start", "unseen",
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
        self.hits: list[str] = []
        self.rules: object = None
        self.closing = False
        self.handshake_flow: HTTPFlow | None = None
        self.unseen = False
        self.planned: Plan | None = None
        self.timestamp_start = timestamp_start
        self._limit = limits.injected
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
    def plan(self) -> Plan:
        """What the layers shall do with it beyond its messages."""
        if self.planned is None:
            self.planned = Plan()
        return self.planned

    @property
    def killed(self) -> bool:
        """Whether `kill()` was called."""
        return self.error is not None and self.error.kind == "killed"

    def close(self) -> None:
        """End the conversation in order, behind the message that is being handled and what was injected before."""
        self.closing = True
        if self.on_change is not None:
            self.on_change()

    def kill(self) -> None:
        """End the conversation: both sides are reset."""
        self.error = FlowError(KILLED, "killed")
        if self.on_change is not None:
            self.on_change()
