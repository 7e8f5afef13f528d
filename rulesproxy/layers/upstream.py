"""The pool of server connections, shared by all clients.

It knows which connection may serve which request, and nothing of requests. What HTTP/2 needs, where one connection
serves many exchanges at once, is in `http2_pool`, which is loaded when a rule asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.flow.connection import ServerConn
from rulesproxy.layers.http1_upstream import HTTP1Upstream
from rulesproxy.layers.reach import HTTP1, Key, close_stream, open_stream
from rulesproxy.layers.stream import FOREVER
from rulesproxy.proto.http1 import CODECS

if TYPE_CHECKING:
    from rulesproxy.layers.http2_pool import HTTP2Pool
    from rulesproxy.layers.http2_upstream import HTTP2Upstream
    from rulesproxy.layers.layer import Services
    from rulesproxy.layers.stream import Stream

Upstream: TypeAlias = "HTTP1Upstream | HTTP2Upstream"
"""What an exchange has of a server's connection: both have the same methods, and no exchange sees which one it is."""


class Upstreams:
    """The pool. The bound is on idle connections, never on active ones."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._idle: dict[Key, list[HTTP1Upstream]] = {}
        # Closing fires an event, and a handler may be a coroutine: what is found dead on the way is closed by `sweep`.
        self._retired: list[HTTP1Upstream] = []
        self._active = 0
        self._http2: HTTP2Pool | None = None

    def take(self, key: Key) -> HTTP1Upstream | None:
        """An idle connection for `key`, the one used last, or None."""
        idle = self._idle.get(key)
        while idle:
            upstream = idle.pop()
            if upstream.usable:
                self._active += 1
                return upstream
            self._retire(upstream)
        return None

    async def connect(self, key: Key) -> Upstream:
        """A connection for `key` that is new, or that others have, too, where HTTP/2 is spoken.

        Fires `serverconnect` before it dials and `serverconnected` after TLS.

        Raises:
            DialError: it cannot be reached, refuses TLS, does not speak that version, or an addon refuses it.
        """
        if key.alpn is not HTTP1:
            if self._http2 is None:
                from rulesproxy.layers.http2_pool import HTTP2Pool

                self._http2 = HTTP2Pool(self._services, self)
            return await self._http2.connect(key)
        server_conn = ServerConn(key.address, key.tls, key.via)
        server_conn.sni = key.sni
        return self.adopt(key, await open_stream(self._services, server_conn, key), server_conn)

    def adopt(self, key: Key, stream: Stream, server_conn: ServerConn) -> HTTP1Upstream:
        """A connection that was just made and speaks HTTP/1.1."""
        options = self._services.options
        self._active += 1
        return HTTP1Upstream(key, stream, CODECS[options.http1_codec][1](options.limits), server_conn)

    def give_back(self, upstream: Upstream) -> None:
        """Put a connection that can serve another request into the pool."""
        if not isinstance(upstream, HTTP1Upstream):
            upstream.leave()
            return
        self._active -= 1
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
        if not isinstance(upstream, HTTP1Upstream):
            upstream.leave()
            return
        if upstream.closed:
            return
        self._active -= 1
        await self._close(upstream, abort)

    async def sweep(self, now: float) -> None:
        """Close what has been idle too long, and what the server has closed. Called once a second."""
        if self._http2 is not None:
            self._http2.sweep(now)
        gone: list[HTTP1Upstream] = []
        for key in list(self._idle):
            kept: list[HTTP1Upstream] = []
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
        if self._http2 is not None:
            await self._http2.close()

    @property
    def active(self) -> int:
        """How many connections serve an exchange."""
        return self._active + (0 if self._http2 is None else self._http2.active)

    @property
    def idle(self) -> int:
        """How many connections wait in the pool."""
        return sum(map(len, self._idle.values())) + (0 if self._http2 is None else self._http2.idle)

    def _retire(self, upstream: HTTP1Upstream) -> None:
        upstream.stream.on_end(None)
        self._retired.append(upstream)

    async def _close(self, upstream: HTTP1Upstream, abort: bool = False) -> None:
        if upstream.closed:
            return
        upstream.closed = True
        await close_stream(self._services, upstream.stream, upstream.server_conn, abort)
