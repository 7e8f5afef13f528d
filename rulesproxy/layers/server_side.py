"""`ServerSide`: one exchange's half towards the server. Connects, sends the request, reads the response.

Whatever goes wrong there becomes `FlowFailed`, so that nothing else of an exchange can be the server's fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.flow.headers import Field, Headers, to_str
from rulesproxy.flow.http import HTTPRequest, HTTPResponse
from rulesproxy.flow.url import split_authority
from rulesproxy.layers.framing import frame_request, without_framing
from rulesproxy.layers.outcome import FlowFailed, NeedsHTTP1, Refused, Unanswered, where
from rulesproxy.layers.reach import EITHER, HTTP1, DialError, Key
from rulesproxy.layers.stream import FOREVER, StreamClosed, StreamReset, StreamTimeout
from rulesproxy.layers.via import refused
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import NEED_DATA, End, RequestHead, ResponseHead, encode_response_head, end_to_end

if TYPE_CHECKING:
    from rulesproxy.flow.connection import Address
    from rulesproxy.layers.exchange import Exchange
    from rulesproxy.layers.upstream import Upstream

# RFC 9110 section 9.2.2: sending these twice asks for nothing else than sending them once.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

_REFUSALS = 5
"""Connections on which one request may be refused before it fails. A server that ends its connections after some tens
of requests refuses those that were on their way, and may do so again on the next one."""


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

    __slots__ = ("_address", "_only_http1", "_received", "asked", "head", "sent", "upstream")

    def __init__(self, request: HTTPRequest, address: Address) -> None:
        self._address = address
        self._received = (request.scheme, request.host, request.port)
        self._only_http1 = False
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
        if exchange.flow.request.method == "CONNECT":
            # What it asks for is a tunnel, and what follows the answer is no response (RFC 9110 section 9.3.6).
            raise FlowFailed("handler", "a rule or an addon made a request that cannot be sent: its method is CONNECT")
        key = self._key(exchange)
        private = exchange.layer.private
        upstream = private.pop(key, None) if private else None
        if upstream is not None:
            if fresh or not upstream.usable:
                await services.upstreams.discard(upstream)
                upstream = None
            else:
                upstream = upstream.again()
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
            if key.alpn is not HTTP1 and (self._only_http1 or _has_only_http1(exchange.head)):
                key = key._replace(alpn=HTTP1)
        if key.via is not None and not key.tls and key.via.scheme != "socks5":
            plain = key.alpn is HTTP1 and not exchange.head.upgrade
            key = key._replace(forward=plain and _names(request, key.address))
        return key

    async def fetch(self, exchange: Exchange) -> None:
        """Send a request that is in hand, and read the response head. Once more where a pooled connection was stale.

        Raises:
            FlowFailed: no usable response head came.
        """
        request = exchange.flow.request
        refusals, fresh = 0, False
        while True:
            upstream = await self.connect(exchange, fresh)
            self.sent = True
            upstream.send_request(exchange, frame_request(request, exchange.head, streamed=False), whole=True)
            try:
                return await self._read_head(exchange)
            except Refused:
                await self._give_up(exchange, upstream)
                refusals += 1
                if refusals == _REFUSALS:
                    raise _refused(exchange) from None
            except Unanswered as none:
                await self._give_up(exchange, upstream)
                if fresh or not upstream.uses or request.method not in _IDEMPOTENT:
                    raise _gone(exchange, str(none)) from None
            except NeedsHTTP1:
                await self._give_up(exchange, upstream)
                if upstream.key.alpn is not EITHER:
                    raise _needs_http1(exchange) from None
                self._only_http1 = True
            fresh = True

    async def read_head(self, exchange: Exchange) -> None:
        """Read the response head of a request that streams.

        Raises:
            FlowFailed: no usable response head came.
        """
        try:
            await self._read_head(exchange)
        except Refused:
            raise _refused(exchange) from None
        except Unanswered as none:
            raise _gone(exchange, str(none)) from None
        except NeedsHTTP1:
            raise _needs_http1(exchange) from None

    async def _give_up(self, exchange: Exchange, upstream: Upstream) -> None:
        exchange.client.on_end(None)
        await exchange.services.upstreams.discard(upstream, abort=True)
        self.upstream = None

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
                        # Each of the two readers is fed with what its own stream reads.
                        reader.feed(data)  # type: ignore[arg-type]
                    else:
                        upstream.at_end()
                if isinstance(message, ResponseHead):
                    if message.status >= 200 or message.status == 101:
                        break
                    await _interim(exchange, message)
        except StreamClosed as exc:
            if reader.started:
                raise _broke_off(exchange, str(exc)) from None
            if isinstance(exc, StreamReset):
                why = f"{_name(exchange)} ended the stream without an answer ({exc})"
                raise exchange.client_failure() or FlowFailed("disconnected", why) from None
            raise Unanswered(str(exc)) from None
        except StreamTimeout:
            why = f"{_name(exchange)} did not answer within {exchange.limits.response_head:g} s"
            raise FlowFailed("timeout", why, 504) from None
        except ProtocolError as exc:
            raise bad_response(exchange, exc) from None
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
                    reader.feed(data)  # type: ignore[arg-type]
                else:
                    upstream.at_end()
        except StreamClosed as exc:
            raise _broke_off(exchange, str(exc)) from None
        except StreamTimeout:
            why = f"{_name(exchange)} sent nothing of its answer for {exchange.limits.body_stall:g} s"
            raise FlowFailed("timeout", why, 504) from None
        except ProtocolError as exc:
            raise bad_response(exchange, exc) from None
        return message  # type: ignore[return-value]

    async def release(self, exchange: Exchange) -> None:
        """The exchange is over: the connection goes back to the pool where it can carry another request."""
        upstream, head = self.upstream, self.head
        if upstream is None:
            return
        if head is not None and head.keep_alive and self.sent and upstream.reader.idle:
            self.upstream = None
            if upstream.private or (upstream.belongs and _belongs_to_client(exchange, head)):
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


def _broke_off(exchange: Exchange, why: str) -> FlowFailed:
    words = f"{_name(exchange)} broke off its answer{why and f' ({why})'}"
    return exchange.client_failure() or FlowFailed("disconnected", words)


def _refused(exchange: Exchange) -> FlowFailed:
    return FlowFailed("refused", f"{_name(exchange)} refused the request (REFUSED_STREAM)")


def _needs_http1(exchange: Exchange) -> FlowFailed:
    why = f"{_name(exchange)} wants HTTP/1.1 for this request: `http-version: 1.1` or `auto` lets it have that"
    return FlowFailed("protocol", why)


def bad_response(exchange: Exchange, exc: ProtocolError) -> FlowFailed:
    """The server broke the protocol."""
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


def _has_only_http1(head: RequestHead) -> bool:
    """Whether a request asks for something that HTTP/2 does not have: another protocol, or a connection of its own."""
    return bool(head.upgrade) or _proves_once(head.fields, b"authorization")


def _belongs_to_client(exchange: Exchange, head: ResponseHead) -> bool:
    """Whether a connection has, or is about to have, the rights of one user: NTLM and Negotiate prove them once for it.

    (RFC 4559 section 6: a proxy must not share such a connection. HTTP/2 has none that is not shared.)
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
