"""`WebSocketFlow`: a WebSocket conversation (RFC 6455)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from rulesproxy.flow.http import next_flow_id
from rulesproxy.limits import DEFAULT

if TYPE_CHECKING:
    from rulesproxy.flow.error import FlowError
    from rulesproxy.flow.http import HTTPFlow
    from rulesproxy.flow.plan import Fault, Plan

MessageType: TypeAlias = Literal["TEXT", "BINARY"]


class WebSocketMessage:
    """A whole message: fragments are joined, compression is undone.

    Attributes:
        from_client: who sent it.
        timestamp: when it was complete, in seconds since the epoch.
        dropped: whether it does not go on.
        before: other messages that go in front of it, also where it is dropped.
        fault: how it goes wrong on its way to its receiver, where it is meant to.
    """

    __slots__ = ("_content", "_delay", "before", "dropped", "fault", "from_client", "timestamp")

    def __init__(self, from_client: bool, content: str | bytes, timestamp: float = 0.0) -> None:
        self.from_client = from_client
        self.timestamp = timestamp
        self.dropped = False
        self._delay = 0.0
        self.before: tuple[str | bytes, ...] = ()
        self.fault: Fault | None = None
        self._content = content

    @property
    def content(self) -> str | bytes:
        """What it says: `str` in a text message, `bytes` in a binary one. Setting the other type changes its type.

        Raises:
            TypeError: something else is set.
            UnicodeEncodeError: a text is set that UTF-8 has no bytes for (a lone surrogate).
        """
        return self._content

    @content.setter
    def content(self, content: str | bytes) -> None:
        _size(content)
        self._content = content

    @property
    def type(self) -> MessageType:
        """`TEXT` or `BINARY`."""
        return "TEXT" if isinstance(self._content, str) else "BINARY"

    @property
    def delay(self) -> float:
        """Seconds that it waits before it goes on, at most `limits.delay`; what comes behind it waits too.

        Raises:
            ValueError: something else than a time is set.
        """
        return self._delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        if not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise ValueError(f"the delay of a message is a number of seconds, not {seconds!r}")
        self._delay = seconds

    def put_before(self, content: str | bytes) -> None:
        """Send another message to the same side, in front of this one. It is no event.

        Raises:
            TypeError: the content is neither text nor bytes.
            UnicodeEncodeError: UTF-8 has no bytes for the text.
            BufferError: it makes more than `limits.injected` bytes.
        """
        if sum(map(_size, self.before)) + _size(content) > DEFAULT.injected:
            raise BufferError(f"more than {DEFAULT.injected} bytes in front of one message")
        self.before += (content,)

    def kill(self) -> None:
        """Do not send this message on."""
        self.dropped = True

    def __repr__(self) -> str:
        return f"<WebSocketMessage from {'client' if self.from_client else 'server'} {self._content!r:.60}>"


class WebSocketFlow:
    """A WebSocket connection through the proxy.

    `inject`, `close` and `kill` may be called in any handler, and outside of handlers too, by a task of an addon for
    example; but only on the thread of the event loop.

    Attributes:
        id: unique in this process.
        handshake_flow: the exchange that began it.
        messages: the last messages, never all: at most `limits.messages_kept`, and `limits.messages_kept_size`. Empty
            where no addon has wanted to see messages.
        message_count: how many messages have come from either side, whether anybody saw them or not.
        close_code: the code of the first Close frame; 1005 where it had none, 1006 where the connection ended without
            one (RFC 6455 section 7.1.5); None before the end.
        close_reason: its text.
        closed_by_client: who ended it: the client, or the server; None where it was the proxy.
        error: what went wrong, where something did.
        metadata: free for addons.
        tags: words that rules and addons leave here.
        timestamp_start: when the client asked for it, in seconds since the epoch; `timestamp_end` when it was over.
        injected: what waits to be sent: for each message whether it is for the client, and its content.
        ending: the code and the reason that `close` was called with; 1006 after `kill`.
        waiting: the bytes of the injected messages that are not on their way yet.
        on_change: called when a message is injected or the end is asked for; set by the layer.
    """

    __slots__ = (
        "_kept", "close_code", "close_reason", "closed_by_client", "ending", "error", "handshake_flow", "id",
        "injected", "message_count", "messages", "metadata", "on_change", "tags", "timestamp_end", "timestamp_start",
        "waiting",
    )  # fmt: skip

    def __init__(self, handshake_flow: HTTPFlow, timestamp_start: float = 0.0) -> None:
        self.id = next_flow_id()
        self.handshake_flow = handshake_flow
        self.messages: deque[WebSocketMessage] = deque(maxlen=DEFAULT.messages_kept)
        self.message_count = 0
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed_by_client: bool | None = None
        self.error: FlowError | None = None
        self.metadata: dict[str, object] = {}
        self.tags: list[str] = []
        self.timestamp_start = timestamp_start
        self.timestamp_end: float | None = None
        self.injected: deque[tuple[bool, str | bytes]] = deque()
        self.ending: tuple[int, str] | None = None
        self.waiting = 0
        self.on_change: Callable[[], None] | None = None
        # The sizes of the messages that are kept, to bound their sum.
        self._kept: deque[int] = deque(maxlen=DEFAULT.messages_kept)

    def inject(self, to_client: bool, content: str | bytes) -> None:
        """Send a message to one side: in a handler of a message to that side behind it, else now.

        It is no event. After the end of the conversation nothing happens.

        Raises:
            TypeError: the content is neither text nor bytes.
            UnicodeEncodeError: UTF-8 has no bytes for the text.
            BufferError: messages are injected faster than they are taken, and `limits.injected` bytes wait.
        """
        size = _size(content)
        if self.close_code is not None:
            return
        if self.waiting and self.waiting + size > DEFAULT.injected:
            raise BufferError(f"{self.waiting} bytes of injected messages wait for a slow peer already")
        self.waiting += size
        self.injected.append((to_client, content))
        if self.on_change is not None:
            self.on_change()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the conversation, behind the message that is being handled: both sides get a Close frame.

        Args:
            code: what may stand in a Close frame: 1000 to 1003, 1007 to 1014, 3000 to 4999.
            reason: a text for people; what is over 123 bytes of UTF-8 is cut off.

        Raises:
            ValueError: another code.
        """
        if not may_close_with(code):
            raise ValueError(f"{code} cannot be the code of a Close frame: 1000-1003, 1007-1014 and 3000-4999 can")
        _size(reason)
        self._ask((code, reason))

    def kill(self) -> None:
        """End the conversation without a Close frame, as a broken connection does; `websocket_error` fires."""
        self._ask((1006, ""))

    @property
    def plan(self) -> Plan:
        """What the layers shall do with it beyond its messages: the plan of its handshake."""
        return self.handshake_flow.plan

    @property
    def killed(self) -> bool:
        """Whether `kill` has ended it."""
        return self.ending is not None and self.ending[0] == 1006

    def remember(self, message: WebSocketMessage) -> None:
        """A message has come: it is the last one of `messages` now, and older ones may be forgotten."""
        self.message_count += 1
        self.messages.append(message)
        self._kept.append(len(message._content))
        if len(message._content) > DEFAULT.messages_kept_size // DEFAULT.messages_kept:
            while len(self.messages) > 1 and sum(self._kept) > DEFAULT.messages_kept_size:
                self.messages.popleft()
                self._kept.popleft()

    def _ask(self, ending: tuple[int, str]) -> None:
        if self.ending is None and self.close_code is None:
            self.ending = ending
            if self.on_change is not None:
                self.on_change()

    def __repr__(self) -> str:
        end = "" if self.close_code is None else f" closed {self.close_code}"
        return f"<WebSocketFlow {self.id} {self.handshake_flow.request.url}{end}>"


def may_close_with(code: int) -> bool:
    """Whether a Close frame may carry `code` (RFC 6455 section 7.4 and the registry of IANA)."""
    return 3000 <= code <= 4999 or 1007 <= code <= 1014 or 1000 <= code <= 1003


def _size(content: object) -> int:
    """The bytes of a message's content.

    Raises:
        TypeError: it is neither text nor bytes.
        UnicodeEncodeError: UTF-8 has no bytes for it.
    """
    if isinstance(content, str):
        return len(content.encode())
    if isinstance(content, bytes):
        return len(content)
    raise TypeError(f"the content of a WebSocket message is str or bytes, not {type(content).__name__}")
