"""`Upload`: a request body on its way to the server while it arrives.

What has arrived is passed on at once. Only where something is missing a second task exists, until it is there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rulesproxy.layers.framing import pieces
from rulesproxy.layers.outcome import FlowEnded, FlowFailed
from rulesproxy.layers.stream import StreamClosed, StreamTimeout
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import NEED_DATA, End

if TYPE_CHECKING:
    from rulesproxy.layers.exchange import Exchange
    from rulesproxy.layers.upstream import Upstream


class Upload:
    """The streaming request body of one exchange.

    Attributes:
        error: why it ended early.
        task: the second task; None where all of it was there at once.
    """

    __slots__ = ("_upstream", "error", "task")

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    async def start(self, exchange: Exchange, prefix: list[bytes]) -> None:
        """Send what has been read already, and go on in another task if that is not all."""
        for part in prefix:
            self._send(exchange, part)
        if self._send_arrived(exchange):
            await exchange.fire_request()
        else:
            self.task = asyncio.get_running_loop().create_task(self._send_rest(exchange))

    @property
    def running(self) -> bool:
        """Whether some of the body is still to come."""
        return self.task is not None and not self.task.done()

    async def wait(self, seconds: float) -> None:
        """Give it a moment to end."""
        if self.task is not None:
            await asyncio.wait({self.task}, timeout=seconds)

    async def stop(self) -> None:
        """End it now."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})

    def _send_arrived(self, exchange: Exchange) -> bool:
        """Pass on what has arrived. Whether that was the end."""
        reader = exchange.reader
        while (message := reader.next_message()) is not NEED_DATA:
            if isinstance(message, End):
                for piece in pieces(exchange.flow.request, b""):
                    self._upstream.send(piece)
                self._upstream.finish(message.trailers)
                exchange.finish_request(message)
                exchange.server.sent = True
                return True
            self._send(exchange, message)  # type: ignore[arg-type]
        return False

    def _send(self, exchange: Exchange, data: bytes) -> None:
        for piece in pieces(exchange.flow.request, data):
            self._upstream.send(piece)

    async def _send_rest(self, exchange: Exchange) -> None:
        server = self._upstream.stream
        client, limits = exchange.client, exchange.limits
        try:
            while True:
                # The same deadline serves the reader of the response: it must not be the shorter one.
                server.deadline = exchange.now() + max(limits.body_stall, limits.response_head)
                await server.drain()
                client.deadline = exchange.now() + limits.body_stall
                # A server cannot answer what the client does not finish: the client's deadline is the first to pass.
                server.deadline = client.deadline + limits.response_head
                data = await client.read()
                if data:
                    exchange.reader.feed(data)
                else:
                    exchange.reader.feed_eof()
                if self._send_arrived(exchange):
                    break
            server.deadline = exchange.now() + max(limits.body_stall, limits.response_head)
            await exchange.fire_request()
        except (StreamClosed, StreamTimeout, ProtocolError, FlowEnded, FlowFailed) as exc:
            # Without its traceback, whose frames would hold this object.
            self.error = exc.with_traceback(None)
            if not server.ended:
                # Whoever waits for the response shall not wait any longer.
                server.abort()
