"""`RootLayer`: the start of every client connection. Its mode says what the client is expected to speak."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import Address, ClientConn, ServerConn
from rulesproxy.layers.detect import peek
from rulesproxy.layers.http import HTTPLayer
from rulesproxy.layers.layer import Context, Layer, Services, run_next
from rulesproxy.layers.stream import Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.tls import TLSLayer
from rulesproxy.proto.clienthello import looks_like_tls


class Mode(NamedTuple):
    """How a listener treats its clients.

    Attributes:
        name: `regular`, or `reverse`.
        target: the server of reverse mode.
        tls: whether that server speaks TLS.
    """

    name: str
    target: Address | None = None
    tls: bool = False


class RootLayer(Layer):
    """The first layer of a connection; the `layer` of `clientconnect`."""

    __slots__ = ("mode",)

    def __init__(self, context: Context, mode: Mode) -> None:
        super().__init__(context)
        self.mode = mode

    async def run(self) -> None:
        """Serve this connection, between `clientconnect` and `clientdisconnect`."""
        context = self.context
        services = context.services
        context.client_conn.timestamp_start = services.clock.wall()
        context.layers.append(self)
        handlers = services.chain().clientconnect
        try:
            if handlers:
                await dispatch(handlers, self)
            if self.killed:
                context.stream.abort()
            else:
                await self._serve()
        except (StreamClosed, StreamTimeout):
            pass
        finally:
            # The layers hold the context: without this a connection would be left to the garbage collector.
            context.layers.clear()
            context.client_conn.timestamp_end = services.clock.wall()
            handlers = services.chain().clientdisconnect
            if handlers:
                # The connection is over; a shutdown that cancels its task does not take this event away.
                await asyncio.shield(asyncio.ensure_future(dispatch(handlers, self)))

    async def _serve(self) -> None:
        context, mode = self.context, self.mode
        first = await peek(context)
        if not first:
            return
        if mode.target is not None:
            context.server_conn = ServerConn(mode.target, mode.tls)
        if looks_like_tls(first):
            await run_next(TLSLayer(context))
        else:
            await run_next(HTTPLayer(context, "http", mode.target, reverse=mode.target is not None))


async def serve(services: Services, stream: Stream, mode: Mode) -> None:
    """Serve one client that has connected."""
    client_conn = ClientConn(stream.peername or ("", 0), stream.sockname, mode.name)
    await RootLayer(Context(services, stream, client_conn), mode).run()
