"""`ServerSide`: one exchange's half towards the server. Connects, sends the request, reads the response.

Whatever goes wrong there becomes `FlowFailed`, so that nothing else of an exchange can be the server's fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.flow.headers import Field, Headers, to_str
from rulesproxy.flow.http import HTTPRequest, HTTPResponse
from rulesproxy.flow.url import format_authority, split_authority
from rulesproxy.layers.framing import Framing, frame_request, without_framing
from rulesproxy.layers.outcome import FlowFailed, where
from rulesproxy.layers.stream import FOREVER, StreamClosed, StreamTimeout
from rulesproxy.layers.upstream import DialError, Key, Upstream
from rulesproxy.layers.via import authorization, refused
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

    Its methods are given the exchange: the two must not hold each other, or every exchange would be left to the garbage
    collector.

    Attributes:
        upstream: the connection, from the moment it is needed.
        head: the final response head, once it is there.
        sent: whether the whole request is on its way.
        asked: the protocols that the server has been asked to switch to, in lower case.
    """

    __slots__ = ("_address", "_received", "asked", "head", "sent", "upstream")

    def __init__(self, request: HTTPRequest, address: Address) -> None:
        self._address = address
        self._received = (request.scheme, request.host, request.port)
        self.upstream: Upstream | None = None
        self.head: ResponseHead | None = None
        self.sent = False
        self.asked: tuple[bytes, ...] = ()

    async def connect(self, exchange: Exchange, fresh: bool = False) -> Upstream:
        """The connection for the request as it stands now: pooled unless `fresh`, or dialled.

        Raises:
            FlowFailed: the server cannot be reached.
        """
        services = exchange.services
        key = self._key(exchange)
        private = exchange.layer.private
        upstream = private.pop(key, None) if private else None
        if upstream is not None and (fresh or not services.upstreams.usable(upstream)):
            await services.upstreams.discard(upstream)
            upstream = None
        if upstream is None and not fresh:
            upstream = services.upstreams.take(key)
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

    def _key(self, exchange: Exchange) -> Key:
        flow, options, layer = exchange.flow, exchange.services.options, exchange.layer
        request, context, plan = flow.request, layer.context, flow.planned
        address = self._address
        scheme, host = request.scheme, request.host
        sni = host if scheme == "https" else None
        if (scheme, host, request.port) != self._received:
            # Somebody has sent the request elsewhere: the tunnel's address is not its address any more.
            address = (host, request.port)
            if scheme not in ("http", "https") or not 0 < request.port < 65536 or not host:
                where_to = f"{scheme}://{where(address)}"
                raise FlowFailed("handler", f"a rule or an addon sent the request to {where_to}, which is no server")
        elif sni is not None and not layer.reverse and layer.client_conn.sni is not None:
            sni = layer.client_conn.sni
        key = Key(address, scheme == "https", sni, options.verify_upstream, options.upstream_ca, None, context.mode.via)
        route = context.route
        if plan is not None and plan.upstream is not None:
            route = plan.upstream.over(route)
        if route is not None:
            key = key.along(route)
        if key.via is not None and not key.tls and key.via.scheme != "socks5":
            key = key._replace(forward=not exchange.head.upgrade and _names(request, key.address))
        return key

    def encode_head(self, exchange: Exchange, framing: Framing, asked: bool = False) -> bytes:
        """The request head for the wire; `asked` where we have answered the client's Expect ourselves."""
        request, head = exchange.flow.request, exchange.head
        fields = framing.fields
        if request.method == "CONNECT":
            # What it asks for is a tunnel, and what follows the answer is no response (RFC 9110 section 9.3.6).
            raise FlowFailed("handler", "a rule or an addon made a request that cannot be sent: its method is CONNECT")
        options = [b"TE" for field in fields if field[0] == b"te"][:1]
        if head.upgrade:
            wanted = _upgrades(request.headers.raw)
            self.asked = tuple([name.lower() for name in wanted])
            if wanted:
                options.append(b"Upgrade")
                fields = [*fields, (b"upgrade", b"Upgrade", b", ".join(wanted))]
        if options:
            fields = [*fields, (b"connection", b"Connection", b", ".join(options))]
        if head.expect and asked:
            fields = [field for field in fields if field[0] != b"expect"]
        try:
            if request.headers.raw is not head.fields:
                _check_host(fields, head.host)
            target = request.path
            via = None if self.upstream is None else self.upstream.forward
            if via is not None:
                target = _absolute(request)
                auth = authorization(via)
                fields = fields if auth is None else [*fields, auth]
            return encode_request_head(request.method, target, fields)
        except ValueError as exc:
            raise FlowFailed("handler", f"a rule or an addon made a request that cannot be sent: {exc}") from None

    async def fetch(self, exchange: Exchange) -> None:
        """Send a request that is in hand, and read the response head. Once more where a pooled connection was stale.

        Raises:
            FlowFailed: no usable response head came.
        """
        request = exchange.flow.request
        for attempt in (1, 2):
            upstream = await self.connect(exchange, fresh=attempt == 2)
            self.sent = True
            framing = frame_request(request, exchange.head, streamed=False)
            data = self.encode_head(exchange, framing, asked=True)
            if framing.length:
                body = request.raw_content or b""
                if framing.length == CHUNKED:
                    trailers = None if request.trailers is None else request.trailers.raw
                    body = encode_chunk(body) + encode_last_chunk(trailers)
                data += body
            upstream.stream.write(data)
            try:
                return await self._read_head(exchange)
            except _Stale as stale:
                exchange.client.on_end(None)
                await exchange.services.upstreams.discard(upstream, abort=True)
                self.upstream = None
                if attempt == 2 or not upstream.uses or request.method not in _IDEMPOTENT:
                    raise _gone(exchange, str(stale)) from None
        return None

    async def read_head(self, exchange: Exchange) -> None:
        """Read the response head of a request that streams.

        Raises:
            FlowFailed: no usable response head came.
        """
        try:
            await self._read_head(exchange)
        except _Stale as stale:
            raise _gone(exchange, str(stale)) from None

    async def _read_head(self, exchange: Exchange) -> None:
        """Read response heads up to the final one, or 101. Interim ones go to the client as they come."""
        upstream = self.upstream
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
                        raise _Stale("")
                if isinstance(message, ResponseHead):
                    if message.status >= 200 or message.status == 101:
                        break
                    await _interim(exchange, message)
        except StreamClosed as exc:
            if reader.started:
                raise _broke_off(exchange) from None
            raise _Stale(str(exc)) from None
        except StreamTimeout:
            why = f"{_name(exchange)} did not answer within {exchange.limits.response_head:g} s"
            raise FlowFailed("timeout", why, 504) from None
        except ProtocolError as exc:
            raise _bad(exchange, exc) from None
        if message.status == 407 and upstream.forward is not None:
            # It asks us, not the client, who could do nothing about it.
            raise FlowFailed("refused", refused(upstream.forward, 407, message.reason))
        self.head = message
        response = HTTPResponse(message.status, message.reason, message.version, Headers.of(message.fields))
        response.timestamp_start = exchange.services.clock.wall()
        exchange.flow.response = response

    async def next_message(self, exchange: Exchange) -> bytes | End:
        """The next piece of the response body, or its end.

        Raises:
            FlowFailed: the server broke off, sent garbage, or nothing for too long.
        """
        upstream = self.upstream
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
            raise _broke_off(exchange) from None
        except StreamTimeout:
            why = f"{_name(exchange)} sent nothing of its answer for {exchange.limits.body_stall:g} s"
            raise FlowFailed("timeout", why, 504) from None
        except ProtocolError as exc:
            raise _bad(exchange, exc) from None
        return message  # type: ignore[return-value]

    async def release(self, exchange: Exchange) -> None:
        """The exchange is over: the connection goes back to the pool where it can carry another request."""
        upstream, head = self.upstream, self.head
        if upstream is None:
            return
        if head is not None and head.keep_alive and self.sent and upstream.reader.idle:
            self.upstream = None
            if upstream.private or _belongs_to_client(exchange, head):
                # Also for good: what has been proved on a connection stays with it.
                upstream.private = True
                upstream.uses += 1
                upstream.stream.deadline = FOREVER
                await exchange.layer.keep_private(upstream)
            else:
                exchange.services.upstreams.give_back(upstream)
        else:
            await self.drop(exchange)

    async def drop(self, exchange: Exchange) -> None:
        """Close the connection: the server need not go on."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            exchange.client.on_end(None)
            await exchange.services.upstreams.discard(upstream, abort=not upstream.stream.ended)


async def _interim(exchange: Exchange, head: ResponseHead) -> None:
    """Pass a 1xx on (RFC 9110 section 15.2), except a 100 that the client did not ask for."""
    asked, client = exchange.head, exchange.client
    if asked.version != "HTTP/1.0" and (head.status != 100 or asked.expect):
        fields = without_framing(end_to_end(head.fields))
        client.write(encode_response_head(head.status, head.reason, fields))
        client.deadline = exchange.now() + exchange.limits.body_stall
        try:
            # A server that sends them without end fills a client's connection, not our memory.
            await client.drain()
        except StreamTimeout:
            raise FlowFailed("client", "the client stopped reading", 408) from None
        except StreamClosed:
            raise FlowFailed("client", "the client is gone") from None


def _gone(exchange: Exchange, why: str) -> FlowFailed:
    """The server closed the connection, or we did because the client has left."""
    words = f"{_name(exchange)} closed the connection without an answer{why and f' ({why})'}"
    return exchange.client_failure() or FlowFailed("disconnected", words)


def _broke_off(exchange: Exchange) -> FlowFailed:
    return exchange.client_failure() or FlowFailed("disconnected", f"{_name(exchange)} broke off its answer")


def _bad(exchange: Exchange, exc: ProtocolError) -> FlowFailed:
    return FlowFailed("protocol", f"{_name(exchange)} sent a bad response: {exc}")


def _name(exchange: Exchange) -> str:
    """The server as messages name it."""
    return where(exchange.flow.server_conn.address)


def _names(request: HTTPRequest, address: Address) -> bool:
    """Whether Host and URL both name this server, so that a proxy that goes by the URL alone changes nothing."""
    host = request.headers.first(b"host")
    try:
        return address == (request.host, request.port) == split_authority(to_str(host or b""), 80)
    except ValueError:
        return False


def _absolute(request: HTTPRequest) -> str:
    """The absolute-form of a request's target (RFC 9112 section 3.2.2)."""
    path = "" if request.path == "*" else request.path
    return f"{request.scheme}://{format_authority(request.host, request.port, request.scheme)}{path}"


def _belongs_to_client(exchange: Exchange, head: ResponseHead) -> bool:
    """Whether a connection has, or is about to have, the rights of one user: NTLM and Negotiate prove them once for it.

    (RFC 4559 section 6: a proxy must not share such a connection.)
    """
    if head.status == 401:
        return _proves_once(head.fields, b"www-authenticate")
    layer, fields = exchange.layer, exchange.head.fields
    # A client sends the same fields again and again, and its reader then gives the same list.
    if fields is layer.harmless:
        return False
    if _proves_once(fields, b"authorization"):
        return True
    layer.harmless = fields
    return False


def _proves_once(fields: list[Field], name: bytes) -> bool:
    return any(field[0] == name and field[2][:9].lower().startswith((b"ntlm", b"negotiate")) for field in fields)


def _upgrades(fields: list[Field]) -> list[bytes]:
    """What Upgrade asks for, but for HTTP/2 without TLS: it carries requests that nobody here can read."""
    values = b",".join([field[2] for field in fields if field[0] == b"upgrade"])
    names = [name.strip(b" \t") for name in values.split(b",")]
    return [name for name in names if name and name.lower() != b"h2c"]


def _check_host(fields: list[Field], received: str) -> None:
    """One Host, and one that a server reads as we do (RFC 9112 section 3.2); `received` has been found good already.

    Raises:
        ValueError: it is missing, there are several, or it is no host.
    """
    hosts = [field[2] for field in fields if field[0] == b"host"]
    if len(hosts) != 1:
        raise ValueError(f"it has {len(hosts)} Host fields instead of one")
    host = to_str(hosts[0])
    if host != received:
        split_authority(host, 0)
