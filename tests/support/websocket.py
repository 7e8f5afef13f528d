"""Both ends of a WebSocket, frame by frame: a raw client on a proxy, and scripts for an `Origin`."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha1
from typing import TypeAlias

from rulesproxy.proto.websocket import (
    BINARY,
    TEXT,
    Close,
    Control,
    Deflate,
    Message,
    MessageReader,
    MessageWriter,
    encode_close,
    encode_frame,
)
from tests.support.client import RawClient
from tests.support.origin import LIMIT, OriginConnection
from tests.support.running import get
from tests.support.wire import Response

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x01\x02\x03\x04"
HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")


def accept(*fields: str, key: str = KEY) -> bytes:
    """The 101 of a server."""
    digest = b64encode(sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {digest}", *fields, "", ""]).encode()


class Peer:
    """One end of a WebSocket behind its handshake. It says what it is told to, right or wrong."""

    def __init__(self, connection: RawClient | OriginConnection, deflate: Deflate | None = None) -> None:
        self.connection = connection
        self.client = isinstance(connection, RawClient)
        self._reader = MessageReader(not self.client, deflate, 64 * 1024 * 1024)
        self._writer = MessageWriter((lambda: MASK) if self.client else None, None, deflate)
        self._fed = 0
        self.handshake: Response | None = None

    # Sending

    def frame(self, first: int, payload: bytes = b"") -> None:
        """One frame with any first byte."""
        self.connection.send(encode_frame(first, payload, MASK if self.client else None))

    def send(self, content: str | bytes, compressed: bool = False) -> None:
        """A message in one frame."""
        if compressed:
            self.connection.send(self._writer.make(content))
        else:
            self.frame(0x80 | (TEXT if isinstance(content, str) else BINARY),
                       content.encode() if isinstance(content, str) else content)  # fmt: skip

    def say_close(self, code: int = 1000, reason: str = "") -> None:
        """A Close frame; none of its payload for 1005."""
        self.connection.send(encode_close(Close(code, reason), MASK if self.client else None))

    # Receiving

    async def receive(self) -> str | bytes | int | Close | None:
        """The next message, the opcode of a control frame, or what a Close frame says; None at the end."""
        while (message := self._reader.next_message()) is None:
            if isinstance(self.connection, RawClient):
                if not self.connection.received:
                    await self.connection.read()
                data = self.connection.take(len(self.connection.received))
            else:
                async with asyncio.timeout(LIMIT):
                    at = self.connection.handled
                    if len(self.connection.received) == at:
                        await self.connection.read()
                    data = bytes(self.connection.received[at:])
                    self.connection.handled += len(data)
            if not data:
                return None
            self._reader.feed(data)
        if isinstance(message, Control):
            return message.opcode if message.close is None else message.close
        assert isinstance(message, Message)
        return message.content

    async def close(self, code: int = 1000, reason: str = "") -> Close | None:
        """Say Close and wait for the answer and the end."""
        self.say_close(code, reason)
        answer = await self.receive()
        while answer is not None and not isinstance(answer, Close):
            answer = await self.receive()
        assert await self.receive() is None
        return answer


Talk: TypeAlias = Callable[[Peer], Awaitable[None]]


def serving(
    talk: Talk | None = None, *fields: str, deflate: Deflate | None = None
) -> Callable[[OriginConnection], Awaitable[None]]:
    """The script of an origin that opens a WebSocket and then does `talk`; by default it echoes and answers Close."""

    async def script(connection: OriginConnection) -> None:
        request = await connection.read_request()
        assert request is not None
        connection.raw()
        connection.send(accept(*fields, key=request.get("sec-websocket-key") or ""))
        await (talk or echo)(Peer(connection, deflate))

    return script


async def echo(peer: Peer) -> None:
    """Send back what comes, answer pings and Close, then close."""
    while (said := await peer.receive()) is not None:
        if isinstance(said, Close):
            peer.say_close(said.code, said.reason)
            assert isinstance(peer.connection, OriginConnection)
            await peer.connection.close()
            return
        if said == 9:
            peer.frame(0x8A, b"pong")
        elif not isinstance(said, int):
            peer.send(said)


async def open_websocket(client: RawClient, url: str, *fields: str, deflate: Deflate | None = None) -> Peer:
    """The handshake of a client, through a proxy or in a tunnel."""
    response = await client.request(get(url, *HANDSHAKE, *fields))
    assert response.status == 101, response
    assert response.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    peer = Peer(client, deflate)
    peer.handshake = response
    return peer


@asynccontextmanager
async def websocket(port: int, url: str, *fields: str, deflate: Deflate | None = None) -> AsyncIterator[Peer]:
    """A WebSocket to `url` through the proxy on `port`."""
    async with await RawClient.connect(port) as client:
        yield await open_websocket(client, url, *fields, deflate=deflate)
