"""`HTTP2Upstream`: one stream of a connection to a server, as an exchange uses it (RFC 9113 section 5).

It looks like an `HTTP1Upstream` whose bytes and whose reader are itself. It keeps what has come and was not taken, and
what is to be sent and does not fit yet; what goes over the wire is the connection's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from rulesproxy.flow.connection import ServerConn
from rulesproxy.flow.headers import Field
from rulesproxy.flow.http import HTTPRequest
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.outcome import FlowFailed, NeedsHTTP1, Refused, check_host
from rulesproxy.layers.stream import FOREVER, StreamClosed, StreamReset, StreamTimeout
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import NEED_DATA, End, NeedData, ResponseHead
from rulesproxy.proto.http2 import ClientCodec, Reset, error_name, trailer_fields
from rulesproxy.proto.http2_frames import CANCEL, ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED, REFUSED_STREAM

if TYPE_CHECKING:
    from hpack import HeaderTuple

    from rulesproxy.layers.exchange import Exchange
    from rulesproxy.layers.framing import Framing
    from rulesproxy.layers.http2_connection import HTTP2Connection
    from rulesproxy.layers.reach import Key


_CRUMBS = 4096
"""Bytes up to which small pieces of a body are joined while they wait."""


class Failure(NamedTuple):
    """Why a stream is over before its end. Kept as words: an exception that is raised twice holds its frames."""

    kind: type[Exception]
    why: str

    def made(self) -> Exception:
        """The exception."""
        return self.kind(self.why)


class HTTP2Upstream:
    """One stream. See `HTTP1Upstream` for what is not said here.

    Attributes:
        number: of the stream; 0 before it is opened.
        begun: whether the final head of the answer has come.
        deadline: when a wait on it is over; the pool sweeps it.
        started: never set: a head comes whole.
        ended: whether nothing more will come.
    """

    __slots__ = (
        "_arrived", "_connection", "_drainer", "_expired", "_failure", "_finishing", "_messages", "_outgoing",
        "_reader", "_size", "_taken", "_trailers", "begun", "deadline", "ended", "number", "private", "uses",
    )  # fmt: skip
    forward = None
    started = False
    belongs = False

    def __init__(self, connection: HTTP2Connection) -> None:
        self._connection = connection
        self.private = connection.private
        self.uses = connection.uses
        self.number = 0
        self.deadline = FOREVER
        self.ended = False
        self._expired: float | None = None
        self._arrived: list[ResponseHead | bytes | End] = []
        self._messages: deque[ResponseHead | bytes | End] = deque()
        self.begun = False
        self._taken = False
        self._failure: Failure | None = None
        self._outgoing: deque[bytes | memoryview] = deque()
        self._size = 0
        self._finishing = False
        self._trailers: list[HeaderTuple] = []
        self._reader: asyncio.Future[None] | None = None
        self._drainer: asyncio.Future[None] | None = None

    # What an exchange uses

    @property
    def key(self) -> Key:
        return self._connection.key

    @property
    def server_conn(self) -> ServerConn:
        return self._connection.server_conn

    @property
    def stream(self) -> HTTP2Upstream:
        return self

    @property
    def reader(self) -> HTTP2Upstream:
        return self

    @property
    def idle(self) -> bool:
        """Whether the response was read to its end."""
        return self._taken

    @property
    def usable(self) -> bool:
        return self._connection.has_room

    def again(self) -> HTTP2Upstream:
        other = self._connection.attach()
        self.leave()
        return other

    def expect(self, method: str) -> None:
        """Nothing: the request has said it."""

    def send_request(self, exchange: Exchange, framing: Framing, whole: bool) -> None:
        if self._failure is not None:
            return
        request, fields = exchange.flow.request, framing.fields
        body, trailers = b"", None
        if whole:
            body = (request.raw_content or b"") if framing.length else b""
            trailers = None if request.trailers is None else request.trailers.raw
            if exchange.head.expect:
                # It was answered here.
                fields = [field for field in fields if field[0] != b"expect"]
        ends = whole and not body and not trailers
        try:
            authority = _authority(request, fields, exchange.head.host)
            self._connection.open(self, request, authority, fields, ends)
        except ValueError as exc:
            raise FlowFailed("handler", f"a rule or an addon made a request that cannot be sent: {exc}") from None
        if body:
            self.send(body)
        if whole and not ends:
            self.finish(trailers)

    def send(self, data: bytes) -> None:
        if self._failure is None:
            self._outgoing.append(data)
            self._size += len(data)
            self._connection.want(self)

    def finish(self, trailers: list[Field] | None) -> None:
        if self._failure is not None:
            return
        try:
            self._trailers = trailer_fields(trailers or ())
        except ValueError as exc:
            raise FlowFailed("handler", f"a rule or an addon made trailers that cannot be sent: {exc}") from None
        self._finishing = True
        self._connection.want(self)

    def next_message(self) -> ResponseHead | bytes | End | NeedData:
        """What comes next. Whatever is taken lets the server send as much again."""
        messages = self._messages
        if not messages:
            return NEED_DATA
        message = messages.popleft()
        if isinstance(message, bytes):
            self._connection.consumed(self.number, len(message), bool(messages or self._arrived))
        elif isinstance(message, End):
            self._taken = True
        return message

    async def read(self) -> list[ResponseHead | bytes | End]:
        """What has arrived, at least one message: `feed` takes it.

        Raises:
            Refused: the server has done nothing with the request.
            NeedsHTTP1: it takes it over HTTP/1.1 only.
            StreamClosed: the stream or the connection is gone.
            StreamTimeout: the deadline passed.
            ProtocolError: the server broke the protocol.
        """
        while not self._arrived:
            if self._failure is not None:
                raise self._failure.made()
            if self._expired == self.deadline:
                raise StreamTimeout
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        arrived, self._arrived = self._arrived, []
        return arrived

    def feed(self, arrived: list[ResponseHead | bytes | End]) -> None:
        """Take what `read` gave."""
        self._messages += arrived

    def at_end(self) -> None:
        """Never called: `read` gives something, or raises."""

    async def drain(self) -> None:
        """Wait until little of the request is left here: the server's windows hold its client back."""
        while True:
            if self._failure is not None:
                raise StreamClosed(self._failure.why)
            if self._size <= self._connection.limits.read_chunk:
                return
            if self._expired == self.deadline:
                raise StreamTimeout
            self._drainer = asyncio.get_running_loop().create_future()
            try:
                await self._drainer
            finally:
                self._drainer = None

    def abort(self) -> None:
        """Tell the server that nobody waits for its answer any more (RFC 9113 section 8.1, CANCEL)."""
        if self._failure is None:
            self._connection.reset(self.number, CANCEL)
            self.fail(Failure(StreamClosed, "the stream was aborted"))

    def leave(self) -> None:
        """The exchange is over: the connection serves others."""
        self.abort()
        self._arrived.clear()
        self._messages.clear()
        self._connection.detach(self)

    # What the connection uses

    def put(self, message: ResponseHead | bytes | End | Reset) -> None:
        """A message of this stream has come."""
        arrived = self._arrived
        if isinstance(message, Reset):
            self.fail(_failure(message, self.begun))
            return
        if isinstance(message, bytes):
            # Many crumbs would take many times the memory of what is in them.
            if arrived and isinstance(arrived[-1], bytes) and len(arrived[-1]) + len(message) <= _CRUMBS:
                arrived[-1] += message
            else:
                arrived.append(message)
        else:
            self.ended = self.ended or isinstance(message, End)
            self.begun = self.begun or (isinstance(message, ResponseHead) and message.status >= 200)
            arrived.append(message)
            if len(arrived) > self._connection.limits.http2_interim and all(
                isinstance(one, ResponseHead) for one in arrived
            ):
                self._connection.reset(self.number, ENHANCE_YOUR_CALM)
                self.fail(Failure(ProtocolError, f"{len(arrived)} interim responses that the client does not take"))
                arrived.clear()
        _wake(self._reader)

    def fail(self, failure: Failure) -> None:
        """Nothing more comes, and nothing more goes."""
        if self._failure is None:
            self._failure = failure
            self.ended = True
            self._outgoing.clear()
            self._size = 0
            self._finishing = False
            _wake(self._reader)
            _wake(self._drainer)

    def send_some(self, codec: ClientCodec, most: int) -> bool:
        """Send at most so many bytes of the body, as far as the windows let them. Whether anything was sent."""
        number = self.number
        if self._outgoing:
            piece = self._piece(min(most, codec.room(number)))
            if not piece:
                return False
            last = self._finishing and not self._outgoing and not self._trailers
            self._finishing = self._finishing and not last
            codec.send_data(number, piece, last)
            if self._size <= self._connection.limits.read_chunk:
                _wake(self._drainer)
            return True
        if not self._finishing:
            return False
        self._finishing = False
        if self._trailers:
            codec.send_trailers(number, self._trailers)
        else:
            codec.send_data(number, b"", True)
        return True

    @property
    def wants(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outgoing) or self._finishing

    def sweep(self, now: float) -> bool:
        """Let whoever waits know that the deadline has passed. Whether it has."""
        if now < self.deadline:
            self._expired = None
            return False
        self._expired = self.deadline
        _wake(self._reader)
        _wake(self._drainer)
        return True

    def _piece(self, most: int) -> bytes:
        """Take at most so many bytes from the front of what waits."""
        if most <= 0:
            return b""
        piece = self._outgoing.popleft()
        if len(piece) > most:
            # A view: a body of 10 MiB is not copied for each frame of it.
            self._outgoing.appendleft(memoryview(piece)[most:])
            piece = piece[:most]
        self._size -= len(piece)
        return bytes(piece)


def _authority(request: HTTPRequest, fields: list[Field], received: str) -> bytes:
    """The `:authority` of a request: its Host; its server, where an HTTP/1.0 client sends none."""
    if not received and not any(field[0] == b"host" for field in fields):
        return format_authority(request.host, request.port, request.scheme).encode("ascii")
    return check_host(fields, received)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _failure(reset: Reset, begun: bool) -> Failure:
    """What a reset means, `begun` where it comes behind the head of an answer."""
    if reset.why:
        return Failure(ProtocolError, reset.why)
    if begun:
        return Failure(StreamReset, error_name(reset.code))
    if reset.code == REFUSED_STREAM:
        return Failure(Refused, "it refused the stream")
    if reset.code == HTTP_1_1_REQUIRED:
        return Failure(NeedsHTTP1, "it wants HTTP/1.1")
    return Failure(StreamReset, error_name(reset.code))
