"""The HTTP/2 connections of the pool: found for a request, dialled once for many that ask at the same time.

It knows which connection has room. How one works is in `http2_connection`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.flow.connection import ServerConn
from rulesproxy.layers.http2_connection import HTTP2Connection
from rulesproxy.layers.reach import EITHER, DialError, Key, close_stream, open_stream

if TYPE_CHECKING:
    from rulesproxy.layers.http1_upstream import HTTP1Upstream
    from rulesproxy.layers.http2_upstream import HTTP2Upstream
    from rulesproxy.layers.layer import Services
    from rulesproxy.layers.upstream import Upstreams

_Made: TypeAlias = "list[HTTP1Upstream | HTTP2Connection]"
"""What a dial has made and nobody has taken yet; empty where it is for everybody."""


_GONE = 3
"""Connections that are made for one request, if they are over before it can use them."""


class _Dial:
    """A dial that several requests wait for."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Task[_Made]) -> None:
        self.task = task
        self.waiting = 0


class HTTP2Pool:
    """All HTTP/2 connections of a proxy."""

    def __init__(self, services: Services, upstreams: Upstreams) -> None:
        self._services = services
        self._upstreams = upstreams
        # Those that take requests, and all that are not closed yet.
        self._open: dict[Key, list[HTTP2Connection]] = {}
        self._all: set[HTTP2Connection] = set()
        self._dials: dict[Key, _Dial] = {}
        # Servers that have chosen HTTP/1.1: requests to them need not wait for one another's dial.
        self._old: dict[Key, None] = {}

    async def connect(self, key: Key) -> HTTP1Upstream | HTTP2Upstream:
        """A stream of a connection that has room, or a connection of HTTP/1.1 where the server has chosen that.

        Raises:
            DialError: see `Upstreams.connect`.
        """
        gone = 0
        while True:
            room = self._services.options.limits.http2_streams
            for connection in self._open.get(key, ()):
                if connection.has_room:
                    return connection.attach()
                if not connection.settled.is_set():
                    await connection.settled.wait()
                    if connection.failure is not None and not connection.spoke:
                        raise DialError(connection.failure.why, "protocol")
                    break
                room = connection.limit
                if not room:
                    raise DialError("it lets no request in (MAX_CONCURRENT_STREAMS is 0)", "refused")
            else:
                made = await (self._dial(key) if key in self._old else self._dial_together(key, room))
                if made:
                    one = made.pop()
                    return one.attach() if isinstance(one, HTTP2Connection) else one
                gone += key not in self._open
                if gone == _GONE:
                    raise DialError("it ends its connections before it has served anything", "disconnected")

    def sweep(self, now: float) -> None:
        """Let those that wait know what has passed, and close what has been idle too long. Called once a second."""
        for connection in list(self._all):
            connection.sweep(now)
        for found in list(self._open.values()):
            idle = [connection for connection in found if not connection.streams]
            for connection in idle[self._services.options.limits.idle_per_key :]:
                connection.retire()

    async def close(self) -> None:
        """Close every connection."""
        for dial in list(self._dials.values()):
            dial.task.cancel()
        for connection in list(self._all):
            await connection.close()

    @property
    def active(self) -> int:
        """How many connections serve an exchange."""
        return sum(1 for connection in self._all if connection.streams)

    @property
    def idle(self) -> int:
        """How many wait for one."""
        return len(self._all) - self.active

    async def _dial_together(self, key: Key, room: int) -> _Made:
        """Wait for one dial with all others that want the same, as many as its connection is likely to serve."""
        dial = self._dials.get(key)
        if dial is None or dial.waiting >= room:
            dial = self._dials[key] = _Dial(asyncio.get_running_loop().create_task(self._dial(key)))
            dial.task.add_done_callback(lambda task: self._dialled(key, task))
        dial.waiting += 1
        try:
            # One client that leaves takes nothing from the others.
            return await asyncio.shield(dial.task)
        except DialError as exc:
            raise DialError(str(exc), exc.kind) from None
        finally:
            dial.waiting -= 1

    def _dialled(self, key: Key, task: asyncio.Task[_Made]) -> None:
        dial = self._dials.get(key)
        if dial is not None and dial.task is task:
            del self._dials[key]
        if not task.cancelled():
            # Where nobody waits any more, nobody else asks what went wrong.
            task.exception()

    async def _dial(self, key: Key) -> _Made:
        """A new connection. It is in the list where one request alone may have it."""
        services = self._services
        server_conn = ServerConn(key.address, key.tls, key.via)
        server_conn.sni = key.sni
        stream = await open_stream(services, server_conn, key)
        if key.tls and server_conn.alpn != "h2":
            if key.alpn is EITHER:
                if len(self._old) >= services.options.limits.contexts:
                    self._old.clear()
                self._old[key] = None
                return [self._upstreams.adopt(key, stream, server_conn)]
            await close_stream(services, stream, server_conn)
            chosen = "no protocol" if server_conn.alpn is None else server_conn.alpn
            raise DialError(f"it does not take HTTP/2: it was offered by ALPN, and {chosen} was chosen", "protocol")
        connection = HTTP2Connection(services, key, stream, server_conn, self._full, self._closed)
        self._old.pop(key, None)
        self._all.add(connection)
        await connection.start()
        if connection.private:
            return [connection]
        self._open.setdefault(key, []).append(connection)
        return []

    def _full(self, connection: HTTP2Connection) -> None:
        """It takes no more requests."""
        others = self._open.get(connection.key)
        if others is not None and connection in others:
            others.remove(connection)
            if not others:
                del self._open[connection.key]

    def _closed(self, connection: HTTP2Connection) -> None:
        self._full(connection)
        self._all.discard(connection)
