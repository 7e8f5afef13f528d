"""Server connections: dialled as late as possible, made secure, pooled across clients.

It knows which connection may serve which request, and nothing of requests.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import Address, ServerConn
from rulesproxy.flow.error import Kind
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.tls_stream import TLSStream, reason
from rulesproxy.proto.http1 import CODECS
from rulesproxy.tls.context import ContextError

if TYPE_CHECKING:
    from rulesproxy.layers.layer import Services
    from rulesproxy.proto.http1 import ResponseReader


class DialError(Exception):
    """A server cannot be reached. The message says why, without the address; `kind` is the flow error's."""

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind: Kind = kind


class Key(NamedTuple):
    """What makes two server connections interchangeable."""

    address: Address
    tls: bool
    sni: str | None
    verify: bool
    ca: tuple[str, ...]


class Upstream:
    """One HTTP/1.1 connection to a server.

    Attributes:
        key: what it can be used for; None where it is private to one client.
        stream: its bytes.
        reader: the codec of its responses.
        server_conn: what flows see of it.
        uses: how many exchanges it has served.
        idle_until: when the pool gives it up.
    """

    __slots__ = ("closed", "idle_until", "key", "reader", "server_conn", "stream", "uses")

    def __init__(self, key: Key | None, stream: Stream, reader: ResponseReader, server_conn: ServerConn) -> None:
        self.key = key
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
            # A server that has closed, or that speaks without being asked, is not one to send a request to.
            stream = upstream.stream
            if not stream.ended and not stream.pending and upstream.reader.idle:
                self.active += 1
                return upstream
            self._retire(upstream)
        return None

    async def connect(self, key: Key) -> Upstream:
        """A new connection for `key`. Fires `serverconnect` before it dials and `serverconnected` after TLS.

        Raises:
            DialError: it cannot be reached, refuses TLS, or an addon refuses it.
        """
        services = self._services
        server_conn = ServerConn(key.address, key.tls)
        server_conn.sni = key.sni
        stream = await open_stream(services, server_conn)
        private = server_conn.address != key.address
        reader = CODECS[services.options.http1_codec][1](services.options.limits)
        self.active += 1
        return Upstream(None if private else key, stream, reader, server_conn)

    def give_back(self, upstream: Upstream) -> None:
        """Put a connection that can serve another request into the pool."""
        self.active -= 1
        key = upstream.key
        if key is None or upstream.stream.ended or not upstream.reader.idle:
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


async def open_stream(services: Services, server_conn: ServerConn) -> Stream:
    """Dial a server, with TLS where `server_conn.tls` says so, around the events of a server connection.

    Raises:
        DialError: it cannot be reached, refuses TLS, or an addon refuses it.
    """
    chain = services.chain()
    if chain.serverconnect:
        await dispatch(chain.serverconnect, server_conn)
        if server_conn.error is not None:
            raise DialError(server_conn.error, "refused")
    server_conn.timestamp_start = services.clock.wall()
    stream = await services.dialer.dial(server_conn.address)
    if server_conn.tls:
        stream = await _secure(services, stream, server_conn)
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


async def _secure(services: Services, stream: Stream, server_conn: ServerConn) -> Stream:
    options = services.options
    name = server_conn.sni or server_conn.address[0]
    try:
        context = services.client_contexts.get(
            verify=options.verify_upstream, ca=services.upstream_ca, alpn=("http/1.1",)
        )
        secured = TLSStream(stream, context, server_side=False, server_hostname=name)
        stream.deadline = services.clock.now() + options.limits.tls_handshake
        await secured.handshake()
        stream.deadline = FOREVER
    except ssl.SSLError as exc:
        await stream.close()
        raise DialError(reason(exc), "tls") from None
    except StreamTimeout:
        stream.abort()
        raise DialError(f"no TLS handshake within {options.limits.tls_handshake:g} s", "timeout") from None
    except StreamClosed:
        stream.abort()
        raise DialError("it closed the connection during the TLS handshake", "tls") from None
    except (ContextError, ValueError) as exc:
        stream.abort()
        raise DialError(str(exc), "tls") from None
    except BaseException:
        stream.abort()
        raise
    server_conn.tls_version = secured.tls_version
    server_conn.alpn = secured.alpn
    server_conn.cipher = secured.cipher
    server_conn.certificate = secured.certificate
    return secured
