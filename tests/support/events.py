"""An event stream through a proxy with rules: a server that says what it is told to, and a client that has its head."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rulesproxy import load_rules
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection
from tests.support.running import client_of, get, running

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\n{}Transfer-Encoding: chunked\r\n\r\n"


class Streaming:
    """An origin that streams what it is told to, piece by piece."""

    def __init__(self, kind: str = "text/event-stream", fields: str = "") -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue(16)
        self.head = HEAD.format(kind, fields).encode()
        self.ended = asyncio.Event()

    async def __call__(self, connection: OriginConnection) -> None:
        assert await connection.read_request() is not None
        connection.raw()
        connection.send(self.head)
        while piece := await self.pieces.get():
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        await connection.wait_end()
        self.ended.set()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)


@asynccontextmanager
async def stream(rules: str, script: Streaming, *fields: str) -> AsyncIterator[RawClient]:
    """A client behind a proxy with these rules that has got the head of the stream."""
    loaded = load_rules(text="version: 1\nrules:\n" + rules)
    async with Origin(script) as origin, running(rules=loaded) as proxy, client_of(proxy) as client:
        client.send(get(origin.url, *fields))
        head = await client.read_until(b"\r\n\r\n")
        assert b"content-encoding" not in head.lower()
        try:
            yield client
        finally:
            script.send(b"")


async def received(client: RawClient, text: bytes) -> bytes:
    """What has come when this text is there, without the chunks around it."""
    while text not in (body := body_of(bytes(client.received))):
        await client.read()
    return body


def body_of(chunks: bytes) -> bytes:
    """What is in chunks, as far as they are there, behind a head or not."""
    head, end, rest = chunks.partition(b"\r\n\r\n")
    rest = rest if end and head.startswith(b"HTTP/") else chunks
    body = b""
    while rest:
        size, line, rest = rest.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not line or len(rest) < length:
            break
        body += rest[:length]
        rest = rest[length + 2 :]
    return body
