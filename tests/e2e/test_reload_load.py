"""Rules that are saved all the time while 64 clients ask at full speed: nothing fails, no flow sees two versions."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from pathlib import Path

import pytest

from rulesproxy import Proxy
from rulesproxy.proto.websocket import Close, encode_frame
from tests.support.client import RawClient
from tests.support.command import Command, run_command
from tests.support.origin import LIMIT
from tests.support.running import running
from tests.support.websocket import accept, open_websocket

pytestmark = pytest.mark.e2e

SECONDS = 10.0
SAVES = 100
CLIENTS = 64
DOWNLOADS = 4

GOOD = """version: 1
rules:
  - match: path == "/flow"
    rewrite:
      request: {headers: {x-revision: "N"}}
  - match: host under "never.test"
    block:
  - match: path == "/talk" and not ws.from_client
    rewrite:
      message: {text: "N ${ws.text}"}
  - match: has(request.header["x-revision"]) and response.status == 200
    rewrite:
      response: {headers: {x-revision: "N"}}
"""
BROKEN = (
    GOOD.replace("host under", "hots under"), GOOD[: len(GOOD) // 2], GOOD.replace("version: 1", ""), "",
    GOOD.replace("block:", "block: {status: 4711}"),
)  # fmt: skip


class Echo:
    """A server that is fast enough: it sends back the revision that it sees; `/slow` takes as long as the test."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen = [line[12:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"x-revision:")]
                if head.startswith(b"GET /talk"):
                    await self._talk(head, reader, writer)
                elif head.startswith(b"GET /slow"):
                    await self._slow(writer)
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nX-Saw: %b\r\nContent-Length: 2\r\n\r\nok" % b"|".join(seen))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.tasks.discard(task)

    async def _talk(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A WebSocket: every short text comes back."""
        key = next(line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        writer.write(accept(key=key.decode()))
        while True:
            first, size = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            payload = await reader.readexactly(size & 0x7F)
            plain = bytes([byte ^ mask[at % 4] for at, byte in enumerate(payload)])
            writer.write(encode_frame(first, plain, None))

    async def _slow(self, writer: asyncio.StreamWriter) -> None:
        pieces = int(SECONDS * 10)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (pieces * 1000))
        for _ in range(pieces):
            writer.write(bytes(1000))
            await writer.drain()
            await asyncio.sleep(0.1)


async def _ask(port: int, origin: int, over: asyncio.Event, seen: Counter[str]) -> None:
    """Ask for `/flow` until it is over. Every answer proves which one revision made both of its halves."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = b"GET http://127.0.0.1:%d/flow HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (origin, origin)
    while not over.is_set():
        writer.write(request)
        async with asyncio.timeout(LIMIT):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200 "), head
            assert await reader.readexactly(2) == b"ok"
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        assert fields[b"x-saw"] == fields[b"x-revision"], "both halves are of one revision"
        seen[fields[b"x-saw"].decode()] += 1
    writer.close()


async def _download(port: int, origin: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET http://127.0.0.1:%d/slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % origin)
    async with asyncio.timeout(3 * SECONDS):
        data = await reader.read(-1)
        while more := await reader.read(-1):
            data += more
    writer.close()
    return len(data.partition(b"\r\n\r\n")[2])


async def _talk(port: int, origin: int, over: asyncio.Event, most: int = 1_000_000) -> tuple[str, int]:
    """One conversation; the one revision of all its messages, and how many went to the server and back."""
    revision, turns = "", 0
    async with await RawClient.connect(port) as client:
        peer = await open_websocket(client, f"http://127.0.0.1:{origin}/talk")
        while not over.is_set() and turns < most:
            peer.send(f"turn {turns}")
            said = str(await peer.receive())
            revision = revision or said.split()[0]
            assert said == f"{revision} turn {turns}", "an open conversation keeps its rules"
            turns += 1
            await asyncio.sleep(0.01)
        assert await peer.close(1000) == Close(1000, "")
    return revision, turns


async def _talks(port: int, origin: int, over: asyncio.Event) -> list[str]:
    """Short conversations, one after the other; their revisions."""
    revisions = []
    while not over.is_set():
        revision, turns = await _talk(port, origin, over, 10)
        revisions += [revision] if turns else []
    return revisions


async def _save(rules: Path, port: int) -> list[str]:
    """Save good and broken versions in turns; the good ones."""
    chance = random.Random(1)
    good = []
    for number in range(SAVES):
        if number % 3 == 2 and number < SAVES - 1:
            rules.write_text(chance.choice(BROKEN))
        else:
            good.append(f"r{number}")
            rules.write_text(GOOD.replace('"N', f'"r{number}'))
        await asyncio.sleep(SECONDS / SAVES)
    return good


@pytest.mark.timeout(120)
async def test_a_hundred_saves_under_load(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(GOOD.replace('"N', '"first'))
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    origin = server.sockets[0].getsockname()[1]
    seen: Counter[str] = Counter()
    over = asyncio.Event()
    async with server, run_command(rules, "-q") as proxy:
        async with asyncio.TaskGroup() as group:
            downloads = [group.create_task(_download(proxy.port, origin)) for _ in range(DOWNLOADS)]
            talk = group.create_task(_talk(proxy.port, origin, over))
            talks = group.create_task(_talks(proxy.port, origin, over))
            for _ in range(CLIENTS):
                group.create_task(_ask(proxy.port, origin, over, seen))
            good = await _save(rules, proxy.port)
            await _until_last(proxy, seen, good[-1])
            over.set()
        assert [task.result() for task in downloads] == [int(SECONDS * 10) * 1000] * DOWNLOADS
        revision, turns = talk.result()
        assert revision == "first"
        assert turns > 100, "it went on all the time"
        # New conversations have the new rules: they go through the versions in order, to the last.
        order = ["first", *good]
        assert [order.index(one) for one in talks.result()] == sorted(order.index(one) for one in talks.result())
        assert len(set(talks.result())) > 3
        assert (await _talk(proxy.port, origin, asyncio.Event(), 1))[0] == good[-1]
        assert set(seen) <= {"first", *good}
        assert len(seen) > 3, f"so many versions were in force: {seen}"
        for task in echo.tasks:
            task.cancel()


async def _until_last(proxy: Command, seen: Counter[str], last: str) -> None:
    async with asyncio.timeout(LIMIT):
        while not seen[last]:  # noqa: ASYNC110  (there is nothing to wait on: another process decides)
            await asyncio.sleep(0.05)


async def test_a_thousand_reloads_leave_nothing(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    texts = [GOOD.replace('"N', f'"r{number}') for number in range(2)]
    rules.write_text(texts[0])
    async with running(rules=rules) as proxy:
        await _reload(proxy, rules, texts, 100)
        before = _objects()
        await _reload(proxy, rules, texts, 1000)
        # What is cached by text is there since the first hundred.
        assert _objects() - before < 200
        assert proxy.revision == 1101


async def _reload(proxy: Proxy, rules: Path, texts: list[str], times: int) -> None:
    for number in range(times):
        rules.write_text(texts[(number + 1) % 2])
        assert await proxy.reload([rules])


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())
