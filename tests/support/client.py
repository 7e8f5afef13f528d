"""`RawClient`: a client that sends exact bytes and reads exact bytes, plain or through TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from tests.support import pki
from tests.support.origin import LIMIT, reset
from tests.support.wire import Incomplete, Response, read_response


class RawClient:
    """A TCP connection. Every wait fails the test after `LIMIT` seconds.

    Attributes:
        received: what has come and has not been taken by `read_response` or `take`.
        ended: whether the peer has ended its direction in order.
        broken: whether the peer has reset the connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received = b""
        self.ended = False
        self.broken = False

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1") -> RawClient:
        """Connect to a port of this machine."""
        async with asyncio.timeout(LIMIT):
            return cls(*await asyncio.open_connection(host, port))

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS side of it."""
        return self._writer.get_extra_info("ssl_object")

    @property
    def port(self) -> int:
        """Our own port."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    # Sending

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the peer has taken most of it."""
        async with asyncio.timeout(LIMIT):
            await self._writer.drain()

    async def trickle(self, data: bytes) -> None:
        """Send byte by byte, each in a segment of its own."""
        for at in range(len(data)):
            self._writer.write(data[at : at + 1])
            await asyncio.sleep(0)

    def half_close(self) -> None:
        """End our direction, go on reading (plain TCP only)."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Close with a TCP reset."""
        reset(self._writer)

    async def close(self) -> None:
        """Close in order."""
        self._writer.close()
        try:
            async with asyncio.timeout(LIMIT):
                await self._writer.wait_closed()
        except (ConnectionError, ssl.SSLError, OSError):
            pass

    # Reading

    async def read(self) -> bytes:
        """What has arrived; empty at the end."""
        try:
            async with asyncio.timeout(LIMIT):
                data = await self._reader.read(65536)
        except (ConnectionError, ssl.SSLError):
            self.broken = True
            data = b""
        self.ended = self.ended or not data
        self.received += data
        return data

    async def read_until(self, mark: bytes) -> bytes:
        """Take everything up to and with `mark`."""
        while mark not in self.received:
            assert await self.read(), f"no {mark!r} before the end, but {self.received!r}"
        return self.take(self.received.index(mark) + len(mark))

    async def read_exactly(self, size: int) -> bytes:
        """Take that many bytes."""
        while len(self.received) < size:
            assert await self.read(), f"{size} bytes are wanted, the end came after {self.received!r}"
        return self.take(size)

    async def read_to_end(self) -> bytes:
        """Take everything up to the end of the connection."""
        while await self.read():
            pass
        return self.take(len(self.received))

    async def read_response(self, method: str = "GET") -> Response:
        """Take one response, strictly parsed; interim ones are responses of their own."""
        while True:
            try:
                response, size = read_response(self.received, method, self.ended and not self.broken)
            except Incomplete:
                assert not self.ended, f"the response is cut short: {self.received!r}"
                await self.read()
            else:
                self.take(size)
                return response

    async def is_open(self) -> bool:
        """Whether the connection is open and silent now: nothing, not even its end, has come after a while."""
        if self.received or self.ended:
            return False
        try:
            async with asyncio.timeout(0.1):
                return bool(await self._reader.read(1)) and False
        except TimeoutError:
            return True

    def take(self, size: int) -> bytes:
        """Take that many bytes of what was received."""
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    # Through a proxy

    async def request(self, data: bytes, method: str = "GET") -> Response:
        """Send a request and read the response."""
        self.send(data)
        return await self.read_response(method)

    async def connect_to(self, authority: str) -> Response:
        """Ask the proxy for a tunnel."""
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
        return await self.request(request.encode(), "CONNECT")

    async def start_tls(self, ca: Path | str | None, host: str = "localhost", alpn: tuple[str, ...] = ()) -> None:
        """Speak TLS from here on, and trust the authority in `ca` alone (None: that of the tests)."""
        assert not self.received, f"bytes before the TLS handshake: {self.received!r}"
        async with asyncio.timeout(LIMIT):
            await self._writer.start_tls(pki.client_context(ca, alpn), server_hostname=host)

    async def tunnel(self, authority: str, ca: Path | str | None, alpn: tuple[str, ...] = ("http/1.1",)) -> None:
        """A tunnel to `authority` with TLS in it, offering what clients of HTTPS offer."""
        response = await self.connect_to(authority)
        assert response.status == 200, response
        await self.start_tls(ca, authority.rpartition(":")[0].strip("[]"), alpn)
