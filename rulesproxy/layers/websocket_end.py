"""How a WebSocket conversation ends: what each side is told, and what the flow says of it (RFC 6455 section 7)."""

from __future__ import annotations

from typing import Final

from rulesproxy.flow.error import FlowError, Kind
from rulesproxy.flow.plan import End as HowItEnds
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.layers.conversation import BY_RULE
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.proto.websocket import Close, encode_close

RESET: Final = Close(1006, "")
"""In place of a Close frame: the connection is broken off."""
SHUTDOWN: Final = "the proxy shuts down"

_SIDES = ("the server", "the client")


class Broken(Exception):
    """One side broke the protocol; `code` tells it so."""

    def __init__(self, from_client: bool, why: str, code: int) -> None:
        super().__init__(why)
        self.from_client = from_client
        self.code = code


class Lost(Exception):
    """One side is gone, or takes nothing any more; `reset` where its connection did not end in order."""

    def __init__(self, from_client: bool, why: str, reset: bool = False) -> None:
        super().__init__(why)
        self.from_client = from_client
        self.reset = reset


class Idle(Exception):
    """No frame came from either side for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no frame came for {seconds:g} s")


class Asked(Exception):
    """A handler has asked for the end."""


class Spoiled(Exception):
    """A connection ends on purpose: that of the client, or with `to_server` that of the server."""

    def __init__(self, how: HowItEnds, to_server: bool = False) -> None:
        super().__init__(BY_RULE)
        self.how: HowItEnds = how
        self.to_server = to_server


class End:
    """An end.

    Attributes:
        code: the close code of the flow.
        reason: its text.
        by_client: whose doing it was; None for the proxy's.
        to_client: the Close frame that the client still gets; `RESET` breaks the connection off; None: it has had one,
            or gets none.
        to_server: the same for the server.
        kind: of the flow's error; None without one.
        why: its message.
        spoiled: whether a side is left in the middle of a frame on purpose.
        silent: whether the client is told nothing until it gives up.
    """

    __slots__ = ("by_client", "code", "kind", "reason", "silent", "spoiled", "to_client", "to_server", "why")

    def __init__(self, code: int, reason: str, by_client: bool | None = None) -> None:
        self.code = code
        self.reason = reason
        self.by_client = by_client
        # The proxy's own wish is told to both.
        self.to_client: Close | None = Close(code, reason) if by_client is None else None
        self.to_server: Close | None = self.to_client
        self.kind: Kind | None = None
        self.why = ""
        self.spoiled = False
        self.silent = False

    def failed(self, kind: Kind, why: str, offender: Close | None, other: Close | None) -> End:
        """The same as an error: `offender` is told one thing, the other side another."""
        self.kind, self.why = kind, why
        self.to_client, self.to_server = (offender, other) if self.by_client else (other, offender)
        return self

    def settle(self, flow: WebSocketFlow, wall: float) -> None:
        """Write it down in the flow."""
        flow.timestamp_end = wall
        flow.injected.clear()
        flow.waiting = 0
        if flow.close_code is None:
            flow.close_code, flow.close_reason, flow.closed_by_client = self.code, self.reason, self.by_client
        if self.kind is not None:
            flow.error = FlowError(self.why, self.kind, wall)


def note_close(flow: WebSocketFlow, close: Close, from_client: bool) -> None:
    """A Close frame passes: the first of the two is the one that counts."""
    if flow.close_code is None:
        flow.close_code, flow.close_reason, flow.closed_by_client = close.code, close.reason, from_client


def how_it_ended(flow: WebSocketFlow, error: BaseException | None) -> End:
    """The end that follows from what stopped the conversation; None: both sides have said Close, or we were asked to.

    Raises:
        BaseException: what is no end of a conversation but a bug.
    """
    if flow.ending is not None and (error is None or isinstance(error, Asked)):
        code, reason = flow.ending
        end = End(code, reason)
        return end.failed("killed", "Connection killed.", RESET, RESET) if flow.killed else end
    if flow.close_code is not None and (error is None or isinstance(error, (Lost, Idle))):
        # The answer to a Close frame is a courtesy.
        return End(flow.close_code, flow.close_reason, bool(flow.closed_by_client))
    if isinstance(error, Spoiled):
        return _on_purpose(error)
    if isinstance(error, Broken):
        side = _SIDES[error.from_client]
        end = End(error.code, str(error), error.from_client)
        why = f"{side} broke the WebSocket protocol: {error}"
        if flow.close_code is not None:
            return end.failed("protocol", why, None, None)
        other = _gone(error.from_client, "broke the protocol")
        return end.failed("protocol", why, Close(error.code, str(error)), other)
    if isinstance(error, Lost):
        why = f"{_SIDES[error.from_client]} is gone: {error}"
        to_both = RESET if error.reset else None
        return End(1006, "", error.from_client).failed("disconnected", why, to_both, to_both)
    if isinstance(error, Idle):
        end = End(1001, str(error))
        return end.failed("timeout", str(error), end.to_client, end.to_server)
    assert error is not None
    raise error


def _on_purpose(spoiled: Spoiled) -> End:
    """One side gets what was asked for; the other one is told that it is gone."""
    end = End(1006, "")
    end.kind, end.why, end.spoiled, end.silent = "killed", BY_RULE, True, spoiled.how == "timeout"
    end.to_client = RESET if spoiled.how == "reset" else None
    end.to_server = _gone(True, "has left")
    if spoiled.to_server:
        end.to_client, end.to_server = _gone(False, "is gone"), end.to_client
    return end


def farewell(stream: Stream, close: Close | None, key: bytes | None, ends: bool = True) -> None:
    """End our direction towards one side, with a Close frame where it gets one; without `ends` the frame alone."""
    if close == RESET:
        stream.abort()
        return
    if close is not None:
        stream.write(encode_close(close, key))
    if ends:
        stream.write_eof()


async def drain_off(stream: Stream, until: float) -> None:
    """Read and forget what still comes: a reset for unread bytes would destroy what was sent last."""
    stream.deadline = until
    try:
        while await stream.read():
            pass
    except (StreamClosed, StreamTimeout):
        pass
    stream.deadline = FOREVER


def _gone(client: bool, how: str) -> Close:
    """What one side is told when the other one is gone: a client leaves, a server fails."""
    return Close(1001 if client else 1011, f"{_SIDES[client]} {how}")
