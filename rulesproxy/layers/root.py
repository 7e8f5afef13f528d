"""`RootLayer`: the start of every client connection. Its mode says what the client is expected to speak."""

from __future__ import annotations

import asyncio
import logging

from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.connection import Address, ClientConn
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.detect import peek, peek_briefly, run_tunnel
from rulesproxy.layers.http import HTTPLayer
from rulesproxy.layers.layer import Context, Layer, Services, run_next
from rulesproxy.layers.modes import Mode
from rulesproxy.layers.socks import negotiate
from rulesproxy.layers.stream import Stream, StreamClosed, StreamTimeout
from rulesproxy.layers.tcp import TCPLayer
from rulesproxy.layers.tls import TLSLayer
from rulesproxy.proto.clienthello import looks_like_tls

_log = logging.getLogger("rulesproxy")


class RootLayer(Layer):
    """The first layer of a connection; the `layer` of `clientconnect`."""

    __slots__ = ()

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
        context, mode = self.context, self.context.mode
        if mode.name == "socks5":
            address = await negotiate(context)
            if address is not None:
                await self._tunnel(address)
        elif mode.name == "transparent":
            if mode.target is None:
                _log.warning(
                    "%s has connected to the transparent port itself, and nothing says where it wants to go: redirect "
                    "its traffic, or use --mode regular", format_authority(*context.client_conn.address, ""),
                )  # fmt: skip
                context.stream.abort()
            else:
                await self._tunnel(mode.target)
        elif mode.target is not None and mode.raw:
            context.server_conn = context.server(mode.target, mode.tls)
            await self._raw(mode)
        else:
            if mode.target is not None:
                context.server_conn = context.server(mode.target, mode.tls)
            first = await peek(context)
            if first:
                await run_next(TLSLayer(context) if looks_like_tls(first) else HTTPLayer(context))

    async def _tunnel(self, address: Address) -> None:
        context = self.context
        context.client_conn.connect_host, context.client_conn.connect_port = address
        context.names = (address[0],)
        context.server_conn = context.server(address)
        await run_tunnel(context)

    async def _raw(self, mode: Mode) -> None:
        """Carry bytes. Where the server speaks TLS its client may, too: then both are undone, and events see inside."""
        context = self.context
        first = await peek_briefly(context) if mode.tls else None
        await run_next(TLSLayer(context) if first and looks_like_tls(first) else TCPLayer(context))


async def serve(services: Services, stream: Stream, mode: Mode) -> None:
    """Serve one client that has connected."""
    client_conn = ClientConn(stream.peername or ("", 0), stream.sockname, mode.name)
    await RootLayer(Context(services, stream, client_conn, mode)).run()
