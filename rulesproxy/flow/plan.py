"""`Plan`: the effects that a flow asks for. Handlers write it, the layers carry it out; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from rulesproxy.flow.route import Route

End: TypeAlias = Literal["close", "reset", "timeout"]
Side: TypeAlias = Literal["request", "response"]

_BURST = 0.1
# A pause that nobody notices, and few enough wake-ups.
_QUANTUM = 0.05
_LARGEST = 64 * 1024


class Plan:
    """What the layers shall do with a flow beyond its messages.

    A WebSocket goes on with the plan of its handshake. Handlers of messages may add to it.

    Attributes:
        end: end the client's connection instead of answering: `close` it, `reset` it (TCP RST), or stay silent until
            the client gives up (`timeout`). In a conversation it ends that way in place of the message at hand: a
            WebSocket without a Close frame. The server is told that the client has left.
        refuses_big: the sides whose body is refused, with 413 or 502, if it is over the limit; else it passes unread.
        delay: seconds to wait behind the event in which it is set. Several handlers add up; it is 0 again afterwards.
        throttles: how fast bytes may move from here on; with several of them every one holds.
        fault: how the answer is spoiled on its way to the client, or what the client gets of a conversation. One that
            is set after the conversation has begun comes too late: spoil a message instead.
        repeats: what is sent again and again while a conversation or an event stream lasts.
        records: the files that this exchange is written to when it is over.
        keep_bodies: keep both bodies until the flow is over, as far as `limits.body` allows; set in the headers events.
        upstream: how the server is reached, where it is not as the mode and the options have it.
    """

    __slots__ = (
        "delay", "end", "fault", "keep_bodies", "records", "refuses_big", "repeats", "throttles", "upstream",
    )  # fmt: skip

    def __init__(self) -> None:
        self.end: End | None = None
        self.refuses_big: frozenset[Side] = frozenset()
        self.delay = 0.0
        self.throttles: list[Throttle] = []
        self.fault: Fault | None = None
        self.repeats: list[Repeat] = []
        self.records: list[Record] = []
        self.keep_bodies = False
        self.upstream: Route | None = None


class Rate:
    """So many bytes a second, for all that hold this object together: what is shared is shared by sharing it.

    It is a token bucket: what is not used is saved up for a tenth of a second, so that bursts stay small.

    Attributes:
        bytes_per_second: the rate.
        quantum: how many bytes are best moved at a time.
    """

    __slots__ = ("__weakref__", "_free", "bytes_per_second", "quantum")

    def __init__(self, bytes_per_second: float) -> None:
        """
        Raises:
            ValueError: the rate is not positive.
        """
        if not bytes_per_second > 0:
            raise ValueError(f"a rate is more than 0 bytes a second, got {bytes_per_second}")
        self.bytes_per_second = bytes_per_second
        self.quantum = max(1, min(int(bytes_per_second * _QUANTUM), _LARGEST))
        self._free = float("-inf")

    def __repr__(self) -> str:
        return f"Rate({self.bytes_per_second:g})"

    def __str__(self) -> str:
        return f"{self.bytes_per_second:g} B/s"

    def reserve(self, size: int, now: float) -> float:
        """Take `size` bytes at the time `now`, in seconds; gives the seconds to wait before they may move."""
        start = max(self._free, now - _BURST)
        self._free = start + size / self.bytes_per_second
        return max(0.0, start - now)


@dataclass(frozen=True, slots=True)
class Throttle:
    """A slow line.

    Attributes:
        down: the rate towards the client; None for no bound.
        up: the rate from the client.
        latency: seconds that pass before something arrives at the client after a silence.
    """

    down: Rate | None = None
    up: Rate | None = None
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class Dribble:
    """The body in `chunks` equal parts, the last of which leaves `over` seconds after the first."""

    chunks: int
    over: float


@dataclass(frozen=True, slots=True)
class Fault:
    """How an answer goes wrong, a conversation, or one message of it.

    Responses that have no body, such as those to HEAD, keep only `slow_close`. In a conversation the body is what
    comes behind its beginning: frames, or bytes of TCP. A message is spoiled on its way to whoever gets it.

    Attributes:
        truncate: close the connection after so many bytes of the body, as a server does that dies.
        malformed_chunk: send the first piece as a good chunk, then what is no chunk, and close the connection. Behind a
            message of a WebSocket comes a frame that is none; TCP has no such thing.
        slow_close: end the connection with this answer, but only so many seconds later. Of a message it means nothing.
        dribble: send the body slowly, in parts; in a conversation every message.
    """

    truncate: int | None = None
    malformed_chunk: bool = False
    slow_close: float | None = None
    dribble: Dribble | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """What is sent again and again. It fires no event, and is left out where its receiver has not taken the last one.

    Attributes:
        every: the seconds between two; `limits.repeat` at least.
        content: gives what is sent, anew each time: a message, bytes of TCP, or a part of the body of an event stream.
            Empty bytes are left out. What it raises ends it.
        to_client: who gets it; an event stream has one direction.
        name: what messages call it.
    """

    every: float
    content: Callable[[], str | bytes]
    to_client: bool = True
    name: str = "an addon"


@dataclass(frozen=True, slots=True)
class Pause:
    """Among the pieces of a body that streams: what follows waits so many seconds, at most `limits.delay`."""

    seconds: float


Break: TypeAlias = Literal["reset", "close", "malformed", "timeout"]
"""How a body breaks off: with a reset, with an end that comes too early, behind a chunk that is none, or with silence
until the client gives up."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Among the pieces of a body that streams: it ends here, in order. What the server still sends goes nowhere.

    Attributes:
        broken: how the client is left instead; None in order.
    """

    broken: Break | None = None


END = Ending()


@dataclass(frozen=True, slots=True)
class Record:
    """A HAR file that a flow is written to.

    Attributes:
        path: the file.
        append: add to a file that is there already; else the first record of this process begins it anew.
        bodies: whether bodies are written too, where they were kept: see `Plan.keep_bodies`.
        body_limit: how many bytes of a body are written; longer ones are cut, and say so.
        keep_secrets: write credentials and cookies as they are, instead of `***`.
    """

    path: Path
    append: bool = True
    bodies: bool = True
    body_limit: int = 1024 * 1024
    keep_secrets: bool = False


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body that is read from disk while it is sent.

    Attributes:
        path: a regular file.
        start: the first byte.
        length: how many bytes; fixed when the head was made, so that the framing is known.
    """

    path: Path
    start: int
    length: int

    def read(self) -> bytes:
        """The whole body.

        Raises:
            OSError: the file cannot be read, or has become shorter.
        """
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.length)
        if len(data) != self.length:
            raise OSError(f"{self.path} became shorter while it was read")
        return data
