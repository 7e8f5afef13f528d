"""`HTTP1Upstream`: one HTTP/1.1 connection to a server, as an exchange uses it.

It knows how a request is written in HTTP/1.1. Which connection it is, and what becomes of it, is the pool's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.flow.connection import ServerConn
from rulesproxy.flow.headers import Field
from rulesproxy.flow.http import HTTPRequest
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.outcome import FlowFailed, Unanswered, check_host
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed
from rulesproxy.layers.via import authorization
from rulesproxy.proto.http1 import CHUNKED, encode_chunk, encode_last_chunk, encode_request_head

if TYPE_CHECKING:
    from rulesproxy.layers.exchange import Exchange
    from rulesproxy.layers.framing import Framing
    from rulesproxy.layers.reach import Key
    from rulesproxy.proto.http1 import ResponseReader


class HTTP1Upstream:
    """One HTTP/1.1 connection to a server. What it shows to an exchange is what a stream of HTTP/2 shows, too.

    Attributes:
        key: what it can be used for.
        private: whether one client's connection alone may use it.
        forward: the proxy at its other end, where that is sent the requests themselves.
        stream: its bytes.
        reader: the codec of its responses.
        server_conn: what flows see of it.
        uses: how many exchanges it had served before.
        idle_until: when the pool gives it up.
        closed: whether it was closed here.
        belongs: set: a client can prove once for all of it who it is.
    """

    __slots__ = (
        "_chunked", "closed", "forward", "idle_until", "key", "private", "reader", "server_conn", "stream", "uses",
    )  # fmt: skip
    belongs = True

    def __init__(self, key: Key, stream: Stream, reader: ResponseReader, server_conn: ServerConn) -> None:
        self.key = key
        # Where a handler of `serverconnect` has sent it elsewhere.
        self.private = server_conn.address != key.address or server_conn.via != key.via
        self.forward = key.via if key.forward and not self.private else None
        self.stream = stream
        self.reader = reader
        self.server_conn = server_conn
        self.uses = 0
        self.idle_until = FOREVER
        self.closed = False
        self._chunked = False

    @property
    def usable(self) -> bool:
        """Whether it can be sent a request: a server that has closed, or that speaks without being asked, cannot."""
        stream = self.stream
        return not stream.ended and not stream.pending and self.reader.idle

    def send_request(self, exchange: Exchange, framing: Framing, whole: bool) -> None:
        """Send a request: all of it where it is in hand, else its head, and `send` and `finish` the rest.

        Raises:
            FlowFailed: it cannot be sent.
        """
        request, head = exchange.flow.request, exchange.head
        fields, length = framing
        options = [b"TE" for field in fields if field[0] == b"te"][:1]
        if head.upgrade:
            wanted = _upgrades(request.headers.raw)
            exchange.server.asked = tuple([name.lower() for name in wanted])
            if wanted:
                options.append(b"Upgrade")
                fields = [*fields, (b"upgrade", b"Upgrade", b", ".join(wanted))]
        if options:
            fields = [*fields, (b"connection", b"Connection", b", ".join(options))]
        if head.expect and whole:
            # It was answered here.
            fields = [field for field in fields if field[0] != b"expect"]
        try:
            if request.headers.raw is not head.fields:
                check_host(fields, head.host)
            target = request.path
            if self.forward is not None:
                target = _absolute(request)
                auth = authorization(self.forward)
                fields = fields if auth is None else [*fields, auth]
            data = encode_request_head(request.method, target, fields)
        except ValueError as exc:
            raise FlowFailed("handler", f"a rule or an addon made a request that cannot be sent: {exc}") from None
        self._chunked = length == CHUNKED
        if whole and length:
            body = request.raw_content or b""
            if length == CHUNKED:
                trailers = None if request.trailers is None else request.trailers.raw
                body = encode_chunk(body) + encode_last_chunk(trailers)
            data += body
        self.stream.write(data)

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.stream.write(encode_chunk(data) if self._chunked else data)

    def finish(self, trailers: list[Field] | None) -> None:
        """Send what is behind the body."""
        if self._chunked:
            self.stream.write(encode_last_chunk(trailers))

    def at_end(self) -> None:
        """The server has ended its direction while more was waited for.

        Raises:
            Unanswered: nothing of an answer has come.
            StreamClosed: an answer was cut short.
        """
        reader = self.reader
        if reader.idle:
            raise Unanswered("")
        if not reader.started and not self.stream.ended_cleanly:
            # Without close_notify somebody may have cut the body short (RFC 9112 section 9.8).
            raise StreamClosed
        reader.feed_eof()

    def again(self) -> HTTP1Upstream:
        """The same connection for another exchange of its client."""
        return self


def _absolute(request: HTTPRequest) -> str:
    """The absolute-form of a request's target (RFC 9112 section 3.2.2)."""
    path = "" if request.path == "*" else request.path
    return f"{request.scheme}://{format_authority(request.host, request.port, request.scheme)}{path}"


def _upgrades(fields: list[Field]) -> list[bytes]:
    """What Upgrade asks for, but for HTTP/2 without TLS: it carries requests that nobody here can read."""
    values = b",".join([field[2] for field in fields if field[0] == b"upgrade"])
    names = [name.strip(b" \t") for name in values.split(b",")]
    return [name for name in names if name and name.lower() != b"h2c"]
