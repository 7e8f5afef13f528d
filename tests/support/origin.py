"""`Origin`: a server on a real socket that does, byte by byte, what a test tells it.

Every byte that it receives is recorded. A fixture in `tests/conftest.py` reads the records of every origin after each
test and fails it where they are not strictly valid HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar, TypeAlias

from tests.support import pki
from tests.support.wire import Incomplete, Request, WireError, read_requests

LIMIT = 10.0
"""Seconds that a test waits for anything before it fails."""


class OriginConnection:
    """One client of an origin, as its script sees it.

    Attributes:
        received: every byte of it, of all requests.
        handled: how many of these bytes `read_request` has taken.
        raw_from: from this byte on it is no HTTP any more, None while it is.
        ended: whether the peer has ended its direction in order.
        broken: whether the peer has reset the connection.
        peername: the peer's address.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moved: asyncio.Event, to_proxy: bool
    ) -> None:
        self._moved = moved
        self._to_proxy = to_proxy
        self._reader = reader
        self._writer = writer
        self.received = bytearray()
        self.handled = 0
        self.raw_from: int | None = None
        self.ended = False
        self.broken = False
        self.peername = writer.get_extra_info("peername")

    @property
    def closed(self) -> bool:
        """Whether the connection is gone, as far as is known without reading."""
        return self._writer.transport.is_closing()

    @property
    def tls(self) -> object:
        """The `ssl.SSLObject`, None without TLS."""
        return self._writer.get_extra_info("ssl_object")

    async def read(self) -> bytes:
        """What has arrived; empty at the end."""
        try:
            data = await self._reader.read(65536)
        except (ConnectionError, OSError):
            self.broken = True
            data = b""
        self.received += data
        self.ended = self.ended or not data
        self._moved.set()
        return data

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`, counted from what was handled so far."""
        while (at := self.received.find(mark, self.handled)) < 0:
            if not await self.read():
                raise EOFError(f"the client closed before {mark!r}; it sent {bytes(self.received)!r}")
        start, self.handled = self.handled, at + len(mark)
        return bytes(self.received[start : self.handled])

    async def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self.received) - self.handled < size:
            if not await self.read():
                raise EOFError(f"the client closed; it sent {bytes(self.received)!r}")
        start, self.handled = self.handled, self.handled + size
        return bytes(self.received[start : self.handled])

    async def read_request(self) -> Request | None:
        """The next request with its body; None at the end."""
        while True:
            rest = bytes(self.received[self.handled :])
            found = read_requests(rest, self._to_proxy, most=1)
            if found and found[0].complete:
                self.handled += len(found[0].raw)
                return found[0]
            if not await self.read():
                return None

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the peer has taken most of it."""
        await self._writer.drain()

    def end(self) -> None:
        """End our direction, go on reading."""
        self._writer.write_eof()

    def raw(self) -> None:
        """From here on it is another protocol: the checker stops where `read_request` has."""
        self.raw_from = self.handled

    async def wait_end(self) -> None:
        """Record what comes until the peer closes."""
        while await self.read():
            pass

    async def close(self) -> None:
        """Close in order, as soon as what was sent is out."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (ConnectionError, OSError):
            pass

    def reset(self) -> None:
        """Close with a TCP reset."""
        reset(self._writer)

    async def echo(self) -> None:
        """Send back what comes, until it ends."""
        self.raw()
        self.send(bytes(self.received[self.handled :]))
        while data := await self.read():
            self.send(data)


Script: TypeAlias = Callable[[OriginConnection], Awaitable[None]]
Answer: TypeAlias = Callable[[Request], "bytes | Awaitable[bytes]"]


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a TCP reset."""
    if writer.transport.is_closing():
        return
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def answer(
    status: int = 200,
    body: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    *,
    reason: str = "OK",
    chunks: Iterable[bytes] | None = None,
    trailers: Iterable[tuple[str, str]] = (),
) -> bytes:
    """A response in bytes: with a length, or in chunks."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
        body += "".join(f"{name}: {value}\r\n" for name, value in trailers).encode() + b"\r\n"
    elif status >= 200 and status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Origin:
    """A server. `async with Origin(script) as origin` runs `script` for every connection; it may do anything.

    When a script returns, the connection stays open and is read until the client closes it; a script that wants it
    closed closes it.

    Args:
        script: what happens on each connection; by default every request is answered with 200 and its own start line.
        tls: the kind of certificate, None for plain TCP.
        host: the address to listen on; `::1` for IPv6.
        raw: what comes is no HTTP, nothing is checked.
        alpn: the protocols offered.
        proxy: it plays a proxy, so targets may be absolute.
    """

    opened: ClassVar[list[Origin]] = []

    def __init__(
        self,
        script: Script | None = None,
        *,
        tls: pki.Kind | None = None,
        host: str = "127.0.0.1",
        raw: bool = False,
        alpn: tuple[str, ...] = (),
        proxy: bool = False,
    ) -> None:
        self._script = script or _serve(lambda request: answer(200, request.start))
        self._context = pki.server_context(tls, alpn) if tls else None
        self.host = host
        self.raw = raw
        self.proxy = proxy
        self.port = 0
        self.connections: list[OriginConnection] = []
        self.errors: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()

    @classmethod
    def http(cls, handler: Answer | bytes, **arguments: object) -> Origin:
        """An origin that answers every request with what `handler` returns for it; connections are kept alive."""
        return cls(_serve(handler), **arguments)  # type: ignore[arg-type]

    async def __aenter__(self) -> Origin:
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        Origin.opened.append(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Accept nobody any more and close every connection."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self.connections:
            connection._writer.transport.abort()
        await self._server.wait_closed()

    @property
    def authority(self) -> str:
        """`host:port`, as it stands in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without a path."""
        return f"{'https' if self._context else 'http'}://{self.authority}"

    @property
    def requests(self) -> list[Request]:
        """Every request of every connection."""
        return [request for connection in self.connections for request in self.requests_of(connection)]

    @property
    def received(self) -> bytes:
        """Every byte of every connection."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    def requests_of(self, connection: OriginConnection) -> list[Request]:
        """The requests of one connection."""
        return read_requests(bytes(connection.received[: connection.raw_from]), to_proxy=self.proxy)

    async def wait_connections(self, count: int) -> None:
        """Wait until that many clients have connected."""
        async with asyncio.timeout(LIMIT):
            while len(self.connections) < count:
                self._moved.clear()
                await self._moved.wait()

    async def wait_received(self, data: bytes) -> None:
        """Wait until these bytes have come, on whichever connection."""
        async with asyncio.timeout(LIMIT):
            while not any(data in connection.received for connection in self.connections):
                self._moved.clear()
                await self._moved.wait()

    async def wait_ended(self) -> None:
        """Wait until every client so far has left."""
        async with asyncio.timeout(LIMIT):
            while not all(connection.ended for connection in self.connections):
                self._moved.clear()
                await self._moved.wait()

    def check(self) -> None:
        """Fail where a script failed, or where what was received is not strictly valid.

        Raises:
            AssertionError: with what was received.
        """
        for error in self.errors:
            raise AssertionError(f"the script of an origin failed: {error!r}") from error
        if self.raw:
            return
        for connection in self.connections:
            try:
                self.requests_of(connection)
            except (WireError, Incomplete) as exc:
                raise AssertionError(f"an origin received bad HTTP: {exc}\n{bytes(connection.received)!r}") from exc

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = OriginConnection(reader, writer, self._moved, self.proxy)
        self.connections.append(connection)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._moved.set()
        try:
            await self._script(connection)
            if not writer.transport.is_closing():
                await connection.wait_end()
        except (ConnectionError, EOFError):
            pass  # The client left first; the test sees that from its own side.
        except asyncio.CancelledError:
            pass
        except Exception as exc:
            self.errors.append(exc)
        finally:
            self._tasks.discard(task)
            writer.close()


def _serve(handler: Answer | bytes) -> Script:
    async def script(connection: OriginConnection) -> None:
        while (request := await connection.read_request()) is not None:
            reply = handler if isinstance(handler, bytes) else handler(request)
            connection.send(await reply if inspect.isawaitable(reply) else reply)  # type: ignore[arg-type]
            await connection.drain()

    return script


def script(*steps: bytes | str) -> Script:
    """A script from steps: bytes are sent; `request` reads one; `close`, `reset`, `end`, `stall`, `raw`, `echo`.

    For each connection it begins anew.
    """

    async def run(connection: OriginConnection) -> None:
        for step in steps:
            if isinstance(step, bytes):
                connection.send(step)
                await connection.drain()
            elif step == "request":
                await connection.read_request()
            elif step == "head":
                await connection.read_until(b"\r\n\r\n")
            elif step == "close":
                await connection.close()
            elif step == "stall":
                await connection.wait_end()
            elif step == "echo":
                await connection.echo()
            else:
                getattr(connection, step)()

    return run
