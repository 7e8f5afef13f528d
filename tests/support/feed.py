"""Both ends of a WebSocket through a proxy with rules, plain or through TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

from rulesproxy import Proxy, load_rules
from rulesproxy.proto.websocket import Deflate
from tests.support.origin import Origin
from tests.support.recorder import Observer
from tests.support.running import client_of, running
from tests.support.websocket import Peer, open_websocket, serving

DEFLATE = "permessage-deflate"

Pair: TypeAlias = tuple[Peer, Peer]
Connect: TypeAlias = Callable[[AsyncExitStack], Awaitable[Pair]]


@asynccontextmanager
async def feed(rules: str, deflate: bool = False, tls: bool = False) -> AsyncIterator[tuple[Proxy, Observer, Connect]]:
    """A proxy with these rules in front of a server that says nothing by itself; what opens conversations, both ends."""
    servers: asyncio.Queue[Peer] = asyncio.Queue()
    over = asyncio.Event()
    terms = Deflate() if deflate else None
    fields = (f"Sec-WebSocket-Extensions: {DEFLATE}",) if deflate else ()

    async def talk(peer: Peer) -> None:
        await servers.put(peer)
        await over.wait()

    loaded = load_rules(text="version: 1\nrules:\n" + rules)
    async with Origin(serving(talk, *fields, deflate=terms), tls="good" if tls else None) as origin:
        observer = Observer()
        async with running(observer, rules=loaded) as proxy:

            async def connect(stack: AsyncExitStack) -> Pair:
                client = await stack.enter_async_context(client_of(proxy))
                url = f"http://localhost:{origin.port}/feed"
                if tls:
                    await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
                    url = "/feed"
                host = f"Host: localhost:{origin.port}"
                peer = await open_websocket(client, url, host, *fields, deflate=terms)
                return peer, await servers.get()

            try:
                yield proxy, observer, connect
            finally:
                over.set()


@asynccontextmanager
async def conversation(rules: str, deflate: bool = False, tls: bool = False) -> AsyncIterator[Pair]:
    """One conversation through these rules: the client's end and the server's."""
    async with feed(rules, deflate, tls) as (_, _, connect), AsyncExitStack() as stack:
        yield await connect(stack)
