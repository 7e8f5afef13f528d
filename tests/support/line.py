"""Both ends of a raw TCP connection through a proxy with rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rulesproxy import load_rules
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection
from tests.support.running import client_of, running


class Talking:
    """An origin that sends what it is told to, and whose connection is at hand."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[OriginConnection] = asyncio.Queue()
        self.over = asyncio.Event()

    async def __call__(self, connection: OriginConnection) -> None:
        connection.raw()
        await self.connections.put(connection)
        await self.over.wait()


@asynccontextmanager
async def line(rules: str, **options: object) -> AsyncIterator[tuple[RawClient, OriginConnection]]:
    """A TCP connection through a proxy with these rules, both ends."""
    script = Talking()
    loaded = load_rules(text="version: 1\nrules:\n" + rules)
    async with Origin(script, raw=True) as origin:
        async with running(rules=loaded, mode=f"tcp:{origin.authority}", **options) as proxy:
            async with client_of(proxy) as client:
                try:
                    yield client, await script.connections.get()
                finally:
                    script.over.set()
