"""HTTP/2 towards servers without a network: what goes over the wire, time that passes, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from rulesproxy.flow.connection import Address
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.layers.stream import MemoryStream
from rulesproxy.rules.ruleset import load_rules
from tests.layers.rig import FrozenClock, Rig, Server, settle
from tests.support import h2_frames as frames
from tests.support.cycles import left_by
from tests.support.h2_frames import END, HEADERS, cut

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"
RULES = "version: 1\nrules:\n- match: ~all\n  upstream: {http-version: 2}\n"


class Http2Server(MemoryStream):
    """A server that gets frames; `answer` says what it sends when a stream is whole."""

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        super().__init__(peername=("192.0.2.1", 80))
        self.answer = answer
        self.seen = 0
        self.full: asyncio.Event | None = None
        self.feed(frames.SERVER)

    @property
    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """What it has got behind the preface."""
        assert self.sent.startswith(PREFACE)
        return cut(bytes(self.sent[len(PREFACE) :]))

    def write(self, data: bytes) -> None:
        super().write(data)
        got = self.frames
        for kind, flags, stream, _ in got[self.seen :]:
            if kind in (HEADERS, frames.DATA) and flags & END and (answer := self.answer(stream)):
                self.feed(answer)
        self.seen = len(got)

    async def drain(self) -> None:
        if self.full is not None:
            await self.full.wait()
        await super().drain()


class Http2Rig(Rig):
    """A rig whose servers speak HTTP/2."""

    def __init__(self, answer: Callable[[int], bytes], *addons: object, **options: object) -> None:
        super().__init__(addons=[load_rules(text=RULES), *addons], **options)  # type: ignore[arg-type]
        self.answer = answer
        self.streams: list[Http2Server] = []

    async def dial(self, address: Address) -> Server:
        self.dialled.append(address)
        self.streams.append(Http2Server(self.answer))
        return cast(Server, self.streams[-1])


def hello(stream: int) -> bytes:
    return frames.head(stream, 200, ("content-length", "5")) + frames.data(stream, b"hello", True)


def nothing(stream: int) -> bytes:
    return b""


async def test_requests_share_a_connection() -> None:
    rig = Http2Rig(hello)
    got = await rig.run(GET + POST + GET)
    assert got.count(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello") == 3
    [server] = rig.streams
    assert [(kind, flags, stream) for kind, flags, stream, _ in server.frames] == [
        (frames.SETTINGS, 0, 0), (frames.WINDOW_UPDATE, 0, 0), (frames.SETTINGS, 1, 0), (HEADERS, 5, 1),
        (HEADERS, 4, 3), (frames.DATA, 0, 3), (frames.DATA, 1, 3), (HEADERS, 5, 5),
    ]  # fmt: skip
    assert (rig.services.upstreams.active, rig.services.upstreams.idle) == (0, 1)
    await rig.services.upstreams.close()
    assert server.frames[-1][0] == frames.GOAWAY
    assert server.closed
    assert rig.services.upstreams.idle == 0


async def test_time_passes() -> None:
    """Deadlines are counted from when the wait began, and are seen by the sweep."""
    rig = Http2Rig(nothing, clock=FrozenClock())
    task = await rig.start(GET)
    await settle()
    upstreams = rig.services.upstreams
    assert (upstreams.active, upstreams.idle) == (1, 0)
    await upstreams.sweep(1119.0)
    await settle()
    assert not rig.client.sent
    await upstreams.sweep(1121.0)
    await settle()
    assert rig.client.sent.startswith(b"HTTP/1.1 504")
    assert frames.word(frames.RST_STREAM, 1, 8) in rig.streams[0].sent
    rig.client.feed_eof()
    await asyncio.wait_for(task, 5)
    # Nothing at all has come meanwhile: nobody else is sent there.
    assert (upstreams.active, upstreams.idle, rig.streams[0].closed) == (0, 0, True)


async def test_an_idle_connection_ends() -> None:
    rig = Http2Rig(hello)
    await rig.run(GET)
    upstreams = rig.services.upstreams
    await upstreams.sweep(1029.0)
    assert upstreams.idle == 1
    await upstreams.sweep(1031.0)
    await settle()
    assert (upstreams.idle, rig.streams[0].closed) == (0, True)


async def test_a_server_that_goes_away_while_nobody_asks() -> None:
    rig = Http2Rig(hello)
    await rig.start(GET)
    await settle()
    rig.streams[0].feed(frames.goaway(1, 0))
    await settle()
    assert rig.streams[0].closed
    rig.client.feed(GET)
    await settle()
    assert rig.client.sent.count(b"hello") == 2
    assert len(rig.streams) == 2
    rig.client.feed_eof()
    await settle()
    await rig.services.upstreams.close()


async def upload(rig: Http2Rig) -> None:
    """Begin to send 300,000 bytes to a server that allows them and takes nothing any more."""
    await rig.start(b"POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\n")
    await settle()
    server = rig.streams[0]
    server.full = asyncio.Event()
    server.feed(frames.word(frames.WINDOW_UPDATE, 0, 1_000_000) + frames.word(frames.WINDOW_UPDATE, 1, 1_000_000))
    for _ in range(30):
        rig.client.feed(bytes(10_000))
    await settle()


async def test_answers_for_a_server_that_does_not_read_are_bounded() -> None:
    failed: list[HTTPFlow] = []

    class Seen:
        observes = True

        def error(self, flow: HTTPFlow) -> None:
            failed.append(flow)

    rig = Http2Rig(nothing, Seen())
    await upload(rig)
    server = rig.streams[0]
    written = len(server.sent)
    for _ in range(10):
        server.feed(frames.frame(frames.PING, 0, 0, bytes(8)) * 100)
        await settle()
        await rig.services.upstreams.sweep(1000.0)
    assert len(server.sent) == written, "it takes nothing, so nothing more is written"
    assert not failed
    server.feed(frames.frame(frames.PING, 0, 0, bytes(8)))
    await settle()
    [flow] = failed
    assert "reads no answer" in str(flow.error)
    rig.client.feed_eof()
    await settle()
    await rig.services.upstreams.close()


async def test_an_upload_waits_for_a_server_that_does_not_read() -> None:
    rig = Http2Rig(hello)
    await upload(rig)
    server = rig.streams[0]
    assert server.full is not None
    waiting = len(server.sent)
    assert waiting < 150_000
    assert rig.client.pending, "the client is held back"
    server.full.set()
    await settle()
    assert rig.client.sent.endswith(b"hello")
    assert sum(len(payload) for kind, _, _, payload in server.frames if kind == frames.DATA) == 300_000
    rig.client.feed_eof()
    await settle()
    await rig.services.upstreams.close()


async def test_crumbs_are_joined_while_they_wait() -> None:
    """A body of single bytes costs what it holds, not a hundred times as much."""
    rig = Http2Rig(nothing)
    await rig.start(GET)
    await settle()
    server = rig.streams[0]
    server.feed(
        frames.head(1) + b"".join(frames.data(1, bytes([n % 251])) for n in range(9000)) + frames.data(1, b"!", True)
    )
    await settle()
    assert len(cut_chunks(bytes(rig.client.sent))) < 10
    assert b"".join(cut_chunks(bytes(rig.client.sent))) == bytes(n % 251 for n in range(9000)) + b"!"
    rig.client.feed_eof()
    await settle()
    await rig.services.upstreams.close()


def cut_chunks(sent: bytes) -> list[bytes]:
    rest, chunks = sent.partition(b"\r\n\r\n")[2], []
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return chunks
        chunks.append(rest[:size])
        rest = rest[size + 2 :]


@pytest.mark.parametrize(
    "answer",
    [
        hello,
        lambda stream: frames.word(frames.RST_STREAM, stream, 2),
        lambda stream: frames.head(stream, 200, ("Bad", "1")),
    ],
    ids=["good", "reset", "malformed"],
)
async def test_an_exchange_leaves_no_cycle(answer: Callable[[int], bytes]) -> None:
    async def once() -> Rig:
        rig = Http2Rig(answer)
        await rig.run(GET)
        await rig.services.upstreams.close()
        return rig

    first, rig, left = await left_by(once)
    assert first is not rig
    assert left == []
