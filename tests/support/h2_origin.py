"""`Peer`: the server's end of HTTP/2 for an `Origin`. The library h2 reads what the proxy sends, and judges it.

What it sends is what a test says: by h2 where that makes it right, or any bytes at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tests.support.origin import Origin, OriginConnection, Script

Pairs: TypeAlias = Iterable[tuple[str, str]]


class H2Request:
    """A request on its stream.

    Attributes:
        stream: its number.
        fields: its fields in order, pseudo fields too.
        body: what has come of it.
        trailers: the fields behind it.
        complete: whether all of it is there.
        reset: the error code with which the proxy has ended it, None while it has not.
    """

    def __init__(self, peer: Peer, stream: int, fields: list[tuple[str, str]]) -> None:
        self.peer = peer
        self.stream = stream
        self.fields = fields
        self.body = bytearray()
        self.trailers: list[tuple[str, str]] = []
        self.complete = False
        self.reset: int | None = None

    def get(self, name: str) -> str | None:
        """The first field of that name."""
        return next((value for key, value in self.fields if key == name), None)

    @property
    def path(self) -> str:
        """Its path."""
        return self.get(":path") or ""

    async def read(self) -> bytes:
        """The whole body."""
        await self.peer.until(lambda: self.complete or self.reset is not None)
        return bytes(self.body)


class Peer:
    """The server's end of one connection.

    Attributes:
        h2: the connection of the library.
        requests: all of them, in order.
        credits: whether the proxy may go on with a body at once.
        goaway: the error code with which the proxy has ended the connection.
        wrong: what was wrong with what the proxy sent.
        errors: what went wrong in handlers; each is a failure of the test.
    """

    def __init__(self, connection: OriginConnection, settings: dict[int, int] | None = None) -> None:
        self.connection = connection
        # What it receives is judged as it is; what a test sends may be wrong.
        config = h2.config.H2Configuration(
            client_side=False, header_encoding=None, normalize_inbound_headers=False,
            validate_outbound_headers=False, normalize_outbound_headers=False,
        )  # fmt: skip
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values=settings)
        self.requests: list[H2Request] = []
        self.credits = True
        self.goaway: int | None = None
        self.wrong: Exception | None = None
        self.ended = False
        self.errors: list[Exception] = []
        self._streams: dict[int, H2Request] = {}
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, handler: Handler) -> None:
        """Serve until the proxy leaves. `handler` is called for each request as soon as its head is there."""
        self.h2.initiate_connection()
        self.flush()
        try:
            while data := await self.connection.read():
                try:
                    events = self.h2.receive_data(data)
                except h2.exceptions.ProtocolError as exc:
                    self.wrong = exc
                    raise
                for event in events:
                    self._take(event, handler)
                self.flush()
                self._move()
        finally:
            self.ended = True
            self._move()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.errors:
                raise self.errors[0]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that an arriving frame can bring about, or for the end."""
        while not condition():
            if self.ended:
                raise EOFError("the proxy has left")
            self._moved.clear()
            await self._moved.wait()

    # Sending

    def flush(self) -> None:
        """Send what the library wants sent."""
        self.connection.send(self.h2.data_to_send())

    def raw(self, data: bytes) -> None:
        """Send any bytes."""
        self.connection.send(data)

    def head(self, stream: int, status: int, fields: Pairs = (), end: bool = False) -> None:
        """Send a response head."""
        self.h2.send_headers(stream, _bytes([(":status", str(status)), *fields]), end_stream=end)
        self.flush()

    async def data(self, stream: int, data: bytes, end: bool = False) -> None:
        """Send a body, as fast as the windows allow."""
        view = memoryview(data)
        while len(view):
            await self.until(lambda: self.h2.local_flow_control_window(stream) > 0)
            size = min(len(view), self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            self.h2.send_data(stream, bytes(view[:size]), end_stream=end and size == len(view))
            view = view[size:]
            self.flush()
            await self.connection.drain()
        if end and not data:
            self.h2.end_stream(stream)
            self.flush()

    async def answer(
        self, stream: int, status: int = 200, body: bytes = b"", fields: Pairs = (), trailers: Pairs = ()
    ) -> None:
        """Send a whole response."""
        trailers = list(trailers)
        self.head(stream, status, fields, end=not body and not trailers)
        if body:
            await self.data(stream, body, end=not trailers)
        if trailers:
            self.h2.send_headers(stream, _bytes(trailers), end_stream=True)
            self.flush()

    # Private

    def _move(self) -> None:
        self._moved.set()

    def _take(self, event: h2.events.Event, handler: Handler) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = _texts(event.headers)
            request = self._streams[event.stream_id] = H2Request(self, event.stream_id, fields)
            self.requests.append(request)
            task = asyncio.ensure_future(_called(handler, self, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(event, h2.events.DataReceived):
            self._streams[event.stream_id].body += event.data or b""
            if self.credits:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self._streams[event.stream_id].trailers = _texts(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self._streams[event.stream_id].complete = True
        elif isinstance(event, h2.events.StreamReset):
            self._streams[event.stream_id].reset = int(event.error_code or 0)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = int(event.error_code or 0)


def _texts(pairs: Iterable[tuple[bytes, bytes]] | None) -> list[tuple[str, str]]:
    return [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in pairs or ()]


def _bytes(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


Handler: TypeAlias = Callable[[Peer, H2Request], "Awaitable[None] | None"]


async def _called(handler: Handler, peer: Peer, request: H2Request) -> None:
    try:
        done = handler(peer, request)
        if done is not None:
            await done
    except (EOFError, ConnectionError, h2.exceptions.StreamClosedError):
        pass  # The proxy left first, or ended the stream; the test sees that from its own side.
    except Exception as exc:
        peer.errors.append(exc)
        peer.connection.reset()


class H2Origin(Origin):
    """A server that speaks HTTP/2 alone.

    Args:
        handler: called with the connection and the head of each request; by default the answer is its path.
        tls: the kind of certificate; None for HTTP/2 without TLS.
        settings: those that it begins with, beside the usual ones.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        tls: str | None = "good",
        settings: dict[int, int] | None = None,
        alpn: tuple[str, ...] = ("h2",),
    ) -> None:
        self.peers: list[Peer] = []
        chosen = handler or echo

        async def serve(connection: OriginConnection) -> None:
            peer = Peer(connection, settings)
            self.peers.append(peer)
            await peer.run(chosen)

        super().__init__(serve, tls=tls, raw=True, alpn=alpn)  # type: ignore[arg-type]

    @property
    def streams(self) -> list[H2Request]:
        """Every request of every connection."""
        return [request for peer in self.peers for request in peer.requests]


async def echo(peer: Peer, request: H2Request) -> None:
    """Answer with the method, the path and the size of the body."""
    body = await request.read()
    text = f"{request.get(':method')} {request.path} {len(body)}"
    await peer.answer(request.stream, 200, text.encode(), [("content-type", "text/plain")])


def speaking(script: Script, *, tls: str | None = "good", alpn: tuple[str, ...] = ("h2",)) -> Origin:
    """A server that says it speaks HTTP/2 and does byte by byte what a script says."""
    return Origin(script, tls=tls, raw=True, alpn=alpn)  # type: ignore[arg-type]
