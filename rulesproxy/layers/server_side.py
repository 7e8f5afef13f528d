"""`ServerSide`: one exchange's half towards the server. Connects, sends the request, reads the response.

Whatever goes wrong there becomes `FlowFailed`, so that nothing else of an exchange can be the server's fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.flow.headers import Field, Headers, to_str
from rulesproxy.flow.http import HTTPResponse
from rulesproxy.flow.url import split_authority
from rulesproxy.layers.framing import Framing, frame_request, without_framing
from rulesproxy.layers.outcome import FlowFailed, where
from rulesproxy.layers.stream import FOREVER, StreamClosed, StreamTimeout
from rulesproxy.layers.upstream import DialError, Key, Upstream
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import (
    CHUNKED,
    NEED_DATA,
    End,
    ResponseHead,
    encode_chunk,
    encode_last_chunk,
    encode_request_head,
    encode_response_head,
    end_to_end,
)

if TYPE_CHECKING:
    from rulesproxy.flow.connection import Address
    from rulesproxy.layers.exchange import Exchange

# RFC 9110 section 9.2.2: sending these twice asks for nothing else than sending them once.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class _Stale(Exception):
    """A connection turned out to be closed before the server said a word."""


class ServerSide:
    """The server's half of an exchange.

    Attributes:
        upstream: the connection, from the moment it is needed.
        head: the final response head, once it is there.
        sent: whether the whole request is on its way.
    """

    __slots__ = ("_address", "_exchange", "_received", "head", "sent", "upstream")

    def __init__(self, exchange: Exchange, address: Address) -> None:
        request = exchange.flow.request
        self._exchange = exchange
        self._address = address
        self._received = (request.scheme, request.host, request.port)
        self.upstream: Upstream | None = None
        self.head: ResponseHead | None = None
        self.sent = False

    async def connect(self, fresh: bool = False) -> Upstream:
        """The connection for the request as it stands now: pooled unless `fresh`, or dialled.

        Raises:
            FlowFailed: the server cannot be reached.
        """
        exchange = self._exchange
        services = exchange.services
        key = self._key()
        upstream = None if fresh else services.upstreams.take(key)
        if upstream is None:
            try:
                upstream = await services.upstreams.connect(key)
            except DialError as exc:
                status = 504 if exc.kind == "timeout" else 502
                raise FlowFailed(exc.kind, f"cannot connect to {where(key.address)}: {exc}", status) from None
        self.upstream = upstream
        exchange.flow.server_conn = upstream.server_conn
        # A client that leaves must not keep a server busy.
        exchange.client.on_end(upstream.stream.abort)
        return upstream

    def _key(self) -> Key:
        exchange = self._exchange
        request, options, layer = exchange.flow.request, exchange.services.options, exchange.layer
        address = self._address
        scheme, host = request.scheme, request.host
        sni = host if scheme == "https" else None
        if (scheme, host, request.port) != self._received:
            # Somebody has sent the request elsewhere: the tunnel's address is not its address any more.
            address = (host, request.port)
        elif sni is not None and not layer.reverse and layer.client_conn.sni is not None:
            sni = layer.client_conn.sni
        return Key(address, scheme == "https", sni, options.verify_upstream, options.upstream_ca)

    def encode_head(self, framing: Framing, asked: bool = False) -> bytes:
        """The request head for the wire; `asked` where we have answered the client's Expect ourselves."""
        request, head = self._exchange.flow.request, self._exchange.head
        fields = framing.fields
        options = [b"TE" for field in fields if field[0] == b"te"][:1]
        if head.upgrade and head.upgrade != "h2c":
            upgrade = request.headers.first(b"upgrade")
            if upgrade is not None:
                options.append(b"Upgrade")
                fields = [*fields, (b"upgrade", b"Upgrade", upgrade)]
        if options:
            fields = [*fields, (b"connection", b"Connection", b", ".join(options))]
        if head.expect and asked:
            fields = [field for field in fields if field[0] != b"expect"]
        try:
            if request.headers.raw is not head.fields:
                _check_host(fields)
            return encode_request_head(request.method, request.path, fields)
        except ValueError as exc:
            raise FlowFailed("handler", f"a rule or an addon made a request that cannot be sent: {exc}") from None

    async def fetch(self) -> None:
        """Send a request that is in hand, and read the response head. Once more where a pooled connection was stale.

        Raises:
            FlowFailed: no usable response head came.
        """
        exchange = self._exchange
        request = exchange.flow.request
        for attempt in (1, 2):
            upstream = await self.connect(fresh=attempt == 2)
            self.sent = True
            framing = frame_request(request, exchange.head, streamed=False)
            data = self.encode_head(framing, asked=True)
            if framing.length:
                body = request.raw_content or b""
                if framing.length == CHUNKED:
                    trailers = None if request.trailers is None else request.trailers.raw
                    body = encode_chunk(body) + encode_last_chunk(trailers)
                data += body
            upstream.stream.write(data)
            try:
                return await self._read_head()
            except _Stale:
                exchange.client.on_end(None)
                await exchange.services.upstreams.discard(upstream, abort=True)
                self.upstream = None
                if attempt == 2 or not upstream.uses or request.method not in _IDEMPOTENT:
                    raise self._gone() from None
        return None

    async def read_head(self) -> None:
        """Read the response head of a request that streams.

        Raises:
            FlowFailed: no usable response head came.
        """
        try:
            await self._read_head()
        except _Stale:
            raise self._gone() from None

    async def _read_head(self) -> None:
        """Read response heads up to the final one, or 101. Interim ones go to the client as they come."""
        exchange, upstream = self._exchange, self.upstream
        assert upstream is not None
        reader, stream = upstream.reader, upstream.stream
        reader.expect(exchange.flow.request.method)
        # One deadline for all of it: interim responses are no progress.
        stream.deadline = exchange.now() + exchange.limits.response_head
        try:
            while True:
                while (message := reader.next_message()) is NEED_DATA:
                    data = await stream.read()
                    if data:
                        reader.feed(data)
                    elif reader.started:
                        reader.feed_eof()
                    else:
                        raise _Stale
                if isinstance(message, ResponseHead):
                    if message.status >= 200 or message.status == 101:
                        break
                    self._interim(message)
        except StreamClosed:
            if reader.started:
                raise self._broke_off() from None
            raise _Stale from None
        except StreamTimeout:
            why = f"{self.name} did not answer within {exchange.limits.response_head:g} s"
            raise FlowFailed("timeout", why, 504) from None
        except ProtocolError as exc:
            raise self._bad(exc) from None
        self.head = message
        response = HTTPResponse(message.status, message.reason, message.version, Headers.of(message.fields))
        response.timestamp_start = exchange.services.clock.wall()
        exchange.flow.response = response

    def _interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on (RFC 9110 section 15.2), except a 100 that the client did not ask for."""
        asked = self._exchange.head
        if asked.version != "HTTP/1.0" and (head.status != 100 or asked.expect):
            fields = without_framing(end_to_end(head.fields))
            self._exchange.client.write(encode_response_head(head.status, head.reason, fields))

    async def next_message(self) -> bytes | End:
        """The next piece of the response body, or its end.

        Raises:
            FlowFailed: the server broke off, sent garbage, or nothing for too long.
        """
        upstream, exchange = self.upstream, self._exchange
        assert upstream is not None
        reader, stream = upstream.reader, upstream.stream
        try:
            while (message := reader.next_message()) is NEED_DATA:
                stream.deadline = exchange.now() + exchange.limits.body_stall
                data = await stream.read()
                if data:
                    reader.feed(data)
                elif stream.ended_cleanly:
                    reader.feed_eof()
                else:
                    # Without close_notify somebody may have cut the body short (RFC 9112 section 9.8).
                    raise StreamClosed
        except StreamClosed:
            raise self._broke_off() from None
        except StreamTimeout:
            why = f"{self.name} sent nothing of its answer for {exchange.limits.body_stall:g} s"
            raise FlowFailed("timeout", why, 504) from None
        except ProtocolError as exc:
            raise self._bad(exc) from None
        return message  # type: ignore[return-value]

    async def release(self) -> None:
        """The exchange is over: the connection goes back to the pool where it can carry another request."""
        upstream, head = self.upstream, self.head
        if upstream is None:
            return
        if head is not None and head.keep_alive and self.sent and upstream.reader.idle:
            self.upstream = None
            upstream.stream.deadline = FOREVER
            self._exchange.services.upstreams.give_back(upstream)
        else:
            await self.drop()

    async def drop(self) -> None:
        """Close the connection: the server need not go on."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            self._exchange.client.on_end(None)
            await self._exchange.services.upstreams.discard(upstream, abort=not upstream.stream.ended)

    @property
    def name(self) -> str:
        """The server as messages name it."""
        return where(self._exchange.flow.server_conn.address)

    def _gone(self) -> FlowFailed:
        """The server closed the connection, or we did because the client has left."""
        return self._exchange.client_failure() or FlowFailed(
            "disconnected", f"{self.name} closed the connection without an answer"
        )

    def _broke_off(self) -> FlowFailed:
        return self._exchange.client_failure() or FlowFailed("disconnected", f"{self.name} broke off its answer")

    def _bad(self, exc: ProtocolError) -> FlowFailed:
        return FlowFailed("protocol", f"{self.name} sent a bad response: {exc}")


def _check_host(fields: list[Field]) -> None:
    """One Host, and one that a server reads as we do (RFC 9112 section 3.2).

    Raises:
        ValueError: it is missing, there are several, or it is no host.
    """
    hosts = [field[2] for field in fields if field[0] == b"host"]
    if len(hosts) != 1:
        raise ValueError(f"it has {len(hosts)} Host fields instead of one")
    split_authority(to_str(hosts[0]), 0)
