"""What can be done with a message, every parameter on every kind of conversation: the same rule, three wires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest

from rulesproxy.proto.websocket import Close
from tests.support.events import Streaming, received, stream
from tests.support.feed import conversation
from tests.support.line import line
from tests.support.origin import LIMIT


class Wire(Protocol):
    """A conversation in which the server speaks, and what its client gets."""

    async def say(self, text: str) -> None: ...

    async def told(self, *texts: str) -> None:
        """The client gets exactly these, in this order."""

    async def ends(self) -> None:
        """It ends for the client, in order."""


class _WebSocket:
    def __init__(self, client: object, server: object) -> None:
        self.client, self.server = client, server

    async def say(self, text: str) -> None:
        self.server.send(text)  # type: ignore[attr-defined]

    async def told(self, *texts: str) -> None:
        for text in texts:
            assert await self.client.receive() == text  # type: ignore[attr-defined]

    async def ends(self) -> None:
        assert await self.client.receive() == Close(1000, "")  # type: ignore[attr-defined]


class _Line:
    def __init__(self, client: object, server: object) -> None:
        self.client, self.server = client, server

    async def say(self, text: str) -> None:
        self.server.send(text.encode())  # type: ignore[attr-defined]

    async def told(self, *texts: str) -> None:
        expected = "".join(texts).encode()
        assert await self.client.read_exactly(len(expected)) == expected  # type: ignore[attr-defined]

    async def ends(self) -> None:
        assert await self.client.read_to_end() == b""  # type: ignore[attr-defined]
        assert not self.client.broken  # type: ignore[attr-defined]


class _Stream:
    def __init__(self, client: object, script: Streaming) -> None:
        self.client, self.script = client, script
        self.seen = b""

    async def say(self, text: str) -> None:
        self.script.send(f"data: {text}\n\n".encode())

    async def told(self, *texts: str) -> None:
        self.seen += "".join([f"data: {text}\n\n" for text in texts]).encode()
        assert await received(self.client, self.seen[-20:]) == self.seen  # type: ignore[arg-type]

    async def ends(self) -> None:
        async with asyncio.timeout(LIMIT):
            while not self.client.received.endswith(b"\r\n0\r\n\r\n"):  # type: ignore[attr-defined]
                await self.client.read()  # type: ignore[attr-defined]


@asynccontextmanager
async def websocket(rules: str) -> AsyncIterator[Wire]:
    async with conversation(rules.replace("SAYS", "ws.text").replace("BEGINS", "~websocket")) as (client, server):
        yield _WebSocket(client, server)


@asynccontextmanager
async def tcp(rules: str) -> AsyncIterator[Wire]:
    async with line(rules.replace("SAYS", "tcp.data").replace("BEGINS", "~tcp")) as (client, server):
        yield _Line(client, server)


@asynccontextmanager
async def events(rules: str) -> AsyncIterator[Wire]:
    script = Streaming()
    rules = rules.replace("SAYS", "event.data").replace("BEGINS", "response.status == 200")
    async with stream(rules, script) as client:
        yield _Stream(client, script)


WIRES = pytest.mark.parametrize("wire", [websocket, tcp, events])
Open = Callable[[str], AbstractAsyncContextManager[Wire]]


@WIRES
@pytest.mark.parametrize("when", ["before", "after", "open"])
@pytest.mark.parametrize(("what", "text"), [("text: two", "two"), ("json: {a: [1, x]}", '{"a": [1, "x"]}')])
async def test_inject(what: str, text: str, when: str, wire: Open) -> None:
    match = "BEGINS" if when == "open" else "SAYS contains 'hit'"
    rules = f"  - match: {match}\n    inject-message:\n      to: client\n      {what}\n      when: {when}\n"
    async with wire(rules) as talk:
        if when == "open":
            await talk.told(text)
        await talk.say("a hit")
        await talk.told(*{"before": (text, "a hit"), "after": ("a hit", text), "open": ("a hit",)}[when])
        await talk.say("no")
        await talk.told("no")


@WIRES
async def test_drop(wire: Open) -> None:
    async with wire("  - match: SAYS contains 'hit'\n    drop-message:\n") as talk:
        await talk.say("a hit")
        await asyncio.sleep(0)
        if wire is tcp:
            # Two writes may be one segment, and rules see segments.
            await asyncio.sleep(0.2)
        await talk.say("other")
        await talk.told("other")


@WIRES
async def test_close(wire: Open) -> None:
    async with wire("  - match: SAYS contains 'hit'\n    close:\n") as talk:
        await talk.say("a hit")
        await talk.told("a hit")
        await talk.ends()


@WIRES
async def test_delay_and_rewrite(wire: Open) -> None:
    rules = "  - match: SAYS contains 'hit'\n    delay: 200ms\n    rewrite:\n      message:\n        text: late\n"
    async with wire(rules) as talk:
        begin = asyncio.get_running_loop().time()
        await talk.say("a hit")
        await talk.told("late")
        assert asyncio.get_running_loop().time() - begin >= 0.2


BYTES = "  - match: {}\n    inject-message:\n      to: {}\n      bytes: 00 ff\n      when: {}\n"


@pytest.mark.parametrize("when", ["before", "after", "open"])
@pytest.mark.parametrize("to", ["client", "server"])
async def test_bytes_to_both_sides(to: str, when: str) -> None:
    async with conversation(BYTES.format("~websocket" if when == "open" else "ws.text == 'hit'", to, when)) as ends:
        client, server = ends
        client.send("hit")
        got = await (client if to == "client" else server).receive()
        if to == "server" and when == "after":
            assert got == "hit"
            got = await server.receive()
        assert got == b"\x00\xff"
    async with line(BYTES.format("~tcp" if when == "open" else "tcp.data == 'hit'", to, when)) as (one, other):
        one.send(b"hit")
        if to == "client":
            assert await one.read_exactly(2) == b"\x00\xff"
            assert await other.read_exactly(3) == b"hit"
        else:
            assert await other.read_exactly(5) == (b"hit\x00\xff" if when == "after" else b"\x00\xffhit")


async def test_a_code_and_a_reason() -> None:
    rules = "  - match: ws.text ~ 'bye (?P<why>.*)'\n    close:\n      code: 4001\n      reason: since ${why}\n"
    async with conversation(rules) as (client, server):
        client.send("bye late")
        assert await server.receive() == "bye late"
        assert await server.receive() == Close(4001, "since late")
        assert await client.receive() == Close(4001, "since late")
