"""Server connections: dialled as late as possible, made secure, pooled across clients.

It knows which connection may serve which request, and nothing of requests.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import Address, ServerConn
from rulesproxy.flow.error import Kind
from rulesproxy.flow.route import ClientCert, Route, Via
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.tls_stream import TLSStream, reason
from rulesproxy.layers.via import ViaError, tunnel
from rulesproxy.proto.http1 import CODECS
from rulesproxy.tls.context import ContextError

if TYPE_CHECKING:
    from rulesproxy.layers.layer import Context, Services
    from rulesproxy.proto.http1 import ResponseReader


class DialError(Exception):
    """A server cannot be reached. The message says why, without the address; `kind` is the flow error's."""

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind: Kind = kind


ALPN = ("http/1.1",)
"""What servers are offered."""


class Key(NamedTuple):
    """What makes two server connections interchangeable.

    Attributes:
        address: where the server is.
        tls: whether TLS is spoken with it.
        sni: the name that it is asked for, and that its certificate has to be for.
        verify: whether its certificate is verified.
        ca: files with further authorities that may vouch for it.
        client_cert: our own certificate.
        via: the proxy that leads to it.
        forward: whether that proxy is sent the requests themselves, in absolute-form, instead of a CONNECT.
        alpn: the protocols that it is offered.
    """

    address: Address
    tls: bool
    sni: str | None
    verify: bool
    ca: tuple[str, ...]
    client_cert: ClientCert | None = None
    via: Via | None = None
    forward: bool = False
    alpn: tuple[str, ...] = ALPN

    def along(self, route: Route) -> Key:
        """The key of the same server, reached as a route says."""
        via = self.via if route.via is None else None if route.via == "direct" else route.via
        return Key(
            route.address or self.address,
            self.tls,
            route.sni or self.sni if self.tls else None,
            self.verify if route.verify is None else route.verify,
            self.ca if route.ca is None else (*self.ca, *map(str, route.ca)),
            route.client_cert,
            via,
            self.forward,
            self.alpn,
        )


class Upstream:
    """One HTTP/1.1 connection to a server.

    Attributes:
        key: what it can be used for.
        private: whether one client's connection alone may use it.
        forward: the proxy at its other end, where that is sent the requests themselves.
        stream: its bytes.
        reader: the codec of its responses.
        server_conn: what flows see of it.
        uses: how many exchanges it has served.
        idle_until: when the pool gives it up.
    """

    __slots__ = ("closed", "forward", "idle_until", "key", "private", "reader", "server_conn", "stream", "uses")

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


class Upstreams:
    """The pool. The bound is on idle connections, never on active ones."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._idle: dict[Key, list[Upstream]] = {}
        # Closing fires an event, and a handler may be a coroutine: what is found dead on the way is closed by `sweep`.
        self._retired: list[Upstream] = []
        self.active = 0

    def take(self, key: Key) -> Upstream | None:
        """An idle connection for `key`, the one used last, or None."""
        idle = self._idle.get(key)
        while idle:
            upstream = idle.pop()
            if self.usable(upstream):
                self.active += 1
                return upstream
            self._retire(upstream)
        return None

    @staticmethod
    def usable(upstream: Upstream) -> bool:
        """Whether an idle connection can be sent a request."""
        # A server that has closed, or that speaks without being asked, is none.
        stream = upstream.stream
        return not stream.ended and not stream.pending and upstream.reader.idle

    async def connect(self, key: Key) -> Upstream:
        """A new connection for `key`. Fires `serverconnect` before it dials and `serverconnected` after TLS.

        Raises:
            DialError: it cannot be reached, refuses TLS, or an addon refuses it.
        """
        services = self._services
        server_conn = ServerConn(key.address, key.tls, key.via)
        server_conn.sni = key.sni
        stream = await open_stream(services, server_conn, key)
        reader = CODECS[services.options.http1_codec][1](services.options.limits)
        self.active += 1
        return Upstream(key, stream, reader, server_conn)

    def give_back(self, upstream: Upstream) -> None:
        """Put a connection that can serve another request into the pool."""
        self.active -= 1
        key = upstream.key
        if upstream.stream.ended:
            self._retire(upstream)
            return
        limits = self._services.options.limits
        upstream.uses += 1
        upstream.stream.deadline = FOREVER
        upstream.idle_until = self._services.clock.now() + limits.idle_pooled
        idle = self._idle.get(key)
        if idle is None:
            idle = self._idle[key] = []
        idle.append(upstream)
        if len(idle) > limits.idle_per_key:
            self._retire(idle.pop(0))

    async def discard(self, upstream: Upstream, abort: bool = False) -> None:
        """Close a connection that cannot be used again."""
        if upstream.closed:
            return
        self.active -= 1
        await self._close(upstream, abort)

    async def sweep(self, now: float) -> None:
        """Close what has been idle too long, and what the server has closed. Called once a second."""
        gone: list[Upstream] = []
        for key in list(self._idle):
            kept: list[Upstream] = []
            for upstream in self._idle[key]:
                (gone if upstream.stream.ended or upstream.idle_until < now else kept).append(upstream)
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
        gone += self._retired
        self._retired = []
        for upstream in gone:
            await self._close(upstream)

    async def close(self) -> None:
        """Close every idle connection."""
        await self.sweep(FOREVER)

    @property
    def idle(self) -> int:
        """How many connections wait in the pool."""
        return sum(map(len, self._idle.values()))

    def _retire(self, upstream: Upstream) -> None:
        upstream.stream.on_end(None)
        self._retired.append(upstream)

    async def _close(self, upstream: Upstream, abort: bool = False) -> None:
        if upstream.closed:
            return
        upstream.closed = True
        await close_stream(self._services, upstream.stream, upstream.server_conn, abort)


def plain_key(services: Services, address: Address, tls: bool, sni: str | None, via: Via | None) -> Key:
    """The key of a server that is reached as the options have it."""
    options = services.options
    return Key(address, tls, sni, options.verify_upstream, options.upstream_ca, None, via)


async def open_tunnel(context: Context) -> Stream:
    """Dial the server of a connection that carries no HTTP, or none that we see.

    Raises:
        DialError: see `open_stream`.
    """
    services, server_conn = context.services, context.server_conn
    assert server_conn is not None, "a raw tunnel has a server"
    key = plain_key(services, server_conn.address, server_conn.tls, server_conn.sni, server_conn.via)
    route = services.chain().route_tunnel(context.client_conn, server_conn.address)
    if context.route is not None:
        route = context.route.over(route)
    if route is not None:
        key = key.along(route)
        server_conn.address, server_conn.sni, server_conn.via = key.address, key.sni, key.via
    # What is spoken inside is not known, so no protocol is offered.
    return await open_stream(services, server_conn, key._replace(alpn=()))


async def open_stream(services: Services, server_conn: ServerConn, key: Key) -> Stream:
    """Dial a server as `key` says, with TLS where it says so, around the events of a server connection.

    Raises:
        DialError: it cannot be reached, refuses TLS, or an addon refuses it.
    """
    chain = services.chain()
    if chain.serverconnect:
        await dispatch(chain.serverconnect, server_conn)
        if server_conn.error is not None:
            raise DialError(server_conn.error, "refused")
    server_conn.timestamp_start = services.clock.wall()
    via = server_conn.via
    if via is None:
        stream = await services.dialer.dial(server_conn.address)
    else:
        forward = key.forward and via == key.via and server_conn.address == key.address
        stream = await _reach(services, via, None if forward else server_conn.address)
    if server_conn.tls:
        stream = await _secure_server(services, stream, server_conn, key)
    server_conn.peername = stream.peername
    server_conn.sockname = stream.sockname
    if chain.serverconnected:
        try:
            await dispatch(chain.serverconnected, server_conn)
        except BaseException:
            stream.abort()
            raise
    return stream


async def close_stream(services: Services, stream: Stream, server_conn: ServerConn, abort: bool = False) -> None:
    """Close a server connection that `open_stream` made, and say so to the addons."""
    server_conn.timestamp_end = services.clock.wall()
    if abort:
        stream.abort()
    else:
        await stream.close()
    handlers = services.chain().serverdisconnect
    if handlers:
        await dispatch(handlers, server_conn)


async def _reach(services: Services, via: Via, address: Address | None) -> Stream:
    """A stream to a server behind a proxy, or to the proxy itself where no address is given."""
    limits = services.options.limits
    try:
        stream = await services.dialer.dial(via.address)
    except DialError as exc:
        raise DialError(f"the proxy {via} cannot be reached: {exc}", exc.kind) from None
    if via.scheme == "https":
        key = plain_key(services, via.address, True, via.host, None)
        try:
            stream = await _secure(services, stream, key)
        except DialError as exc:
            raise DialError(f"the proxy {via}: {exc}", exc.kind) from None
    if address is None:
        return stream
    stream.deadline = services.clock.now() + limits.proxy_connect
    try:
        await tunnel(stream, via, address, limits)
    except StreamTimeout:
        stream.abort()
        raise DialError(f"the proxy {via} did not answer within {limits.proxy_connect:g} s", "timeout") from None
    except (ViaError, StreamClosed) as exc:
        await stream.close()
        why = str(exc) if isinstance(exc, ViaError) else f"the proxy {via}: {exc}"
        raise DialError(why, "refused") from None
    except BaseException:
        stream.abort()
        raise
    stream.deadline = FOREVER
    return stream


async def _secure_server(services: Services, stream: Stream, server_conn: ServerConn, key: Key) -> Stream:
    secured = await _secure(services, stream, key._replace(sni=server_conn.sni or server_conn.address[0]))
    server_conn.tls_version = secured.tls_version
    server_conn.alpn = secured.alpn
    server_conn.cipher = secured.cipher
    server_conn.certificate = secured.certificate
    return secured


async def _secure(services: Services, stream: Stream, key: Key) -> TLSStream:
    limits = services.options.limits
    try:
        context = services.client_contexts.get(
            verify=key.verify, ca=tuple(map(Path, key.ca)), client_cert=key.client_cert, alpn=key.alpn
        )
        secured = TLSStream(stream, context, server_side=False, server_hostname=key.sni)
        stream.deadline = services.clock.now() + limits.tls_handshake
        await secured.handshake()
        stream.deadline = FOREVER
    except ssl.SSLError as exc:
        await stream.close()
        raise DialError(reason(exc), "tls") from None
    except StreamTimeout:
        stream.abort()
        raise DialError(f"no TLS handshake within {limits.tls_handshake:g} s", "timeout") from None
    except StreamClosed:
        stream.abort()
        raise DialError("it closed the connection during the TLS handshake", "tls") from None
    except (ContextError, ValueError) as exc:
        stream.abort()
        raise DialError(str(exc), "tls") from None
    except BaseException:
        stream.abort()
        raise
    return secured
