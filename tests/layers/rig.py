"""A proxy without a network: one client on a `MemoryStream`, and servers that answer from a script."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Sequence
from typing import cast

from rulesproxy.engine.manager import Engine
from rulesproxy.engine.options import Options
from rulesproxy.flow.connection import Address
from rulesproxy.layers.layer import Services
from rulesproxy.layers.modes import Mode
from rulesproxy.layers.reach import DialError
from rulesproxy.layers.root import serve
from rulesproxy.layers.stream import MemoryStream
from rulesproxy.options import declare_options
from rulesproxy.tls.context import ClientContexts, ServerContexts

REGULAR = Mode("regular")
started: list[Engine] = []
"""The engines of the running test; those that it has not shut down are shut down behind it."""


class FrozenClock:
    """A clock that stands still."""

    def now(self) -> float:
        return 1000.0

    def wall(self) -> float:
        return 1_700_000_000.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody was to wait")


class FakeClock(FrozenClock):
    """A clock on which time passes only while everybody sleeps, and then at once to the next who wakes.

    Attributes:
        time: what `now` says.
    """

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._quiet = 0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.time + seconds, self._count, woken))
        if len(self._sleepers) == 1:
            self._look()
        await woken

    def _look(self) -> None:
        """Let time pass once nobody has woken up for some turns of the loop: then all that could run has run."""
        self._quiet += 1
        if self._quiet > 30:
            self._quiet = 0
            due, _, woken = heapq.heappop(self._sleepers)
            self.time = max(self.time, due)
            if not woken.done():
                woken.set_result(None)
        if self._sleepers:
            asyncio.get_running_loop().call_soon(self._look)


class Server(MemoryStream):
    """A server connection that answers each request head with the next response; `b""` closes, None stays silent."""

    def __init__(self, responses: Iterable[bytes | None]) -> None:
        super().__init__(peername=("192.0.2.1", 80))
        self._responses = list(responses)
        self._seen = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        heads = bytes(self.sent).count(b"HTTP/1.1\r\n")
        while self._seen < heads:
            self._seen += 1
            answer = self._responses.pop(0) if self._responses else None
            if answer == b"":
                self.feed_eof()
            elif answer is not None:
                closes = answer.endswith(b"<FIN>")
                self.feed(answer.removesuffix(b"<FIN>"))
                if closes:
                    self.feed_eof()


class Rig:
    """Runs a client's bytes through the layers.

    Attributes:
        servers: what each dial gets, in order; a `DialError` refuses.
        dialled: the addresses that were asked for.
        client: the client's stream.
    """

    def __init__(
        self,
        *servers: Sequence[bytes | None] | DialError,
        addons: Sequence[object] = (),
        mode: Mode = REGULAR,
        clock: FrozenClock | None = None,
        **options: object,
    ) -> None:
        self.clock = clock or FrozenClock()
        self.scripts = list(servers)
        self.servers: list[Server] = []
        self.dialled: list[Address] = []
        self.mode = mode
        self.addons = addons
        self.client = MemoryStream()
        self.options = Options()
        declare_options(self.options)
        self.engine = Engine(self.options)
        self.options.set_values(options, "command line")

    async def dial(self, address: Address) -> Server:
        self.dialled.append(address)
        script = self.scripts.pop(0)
        if isinstance(script, DialError):
            raise script
        server = Server(script)
        self.servers.append(server)
        return server

    async def start(self, *data: bytes) -> asyncio.Task[None]:
        """Connect the client, which sends `data` and stays."""
        await self.engine.startup(self.addons)
        started.append(self.engine)
        self.services = Services(
            self.options,
            self.clock,
            lambda: self.engine.chain,
            self,
            cast(ServerContexts, None),
            cast(ClientContexts, None),
        )
        for part in data:
            self.client.feed(part)
        return asyncio.ensure_future(serve(self.services, self.client, self.mode))

    async def run(self, *data: bytes, fin: bool = True) -> bytes:
        """Connect the client, which sends `data` and then, with `fin`, ends; what it got."""
        task = await self.start(*data)
        if fin:
            await settle()
            self.client.feed_eof()
        await asyncio.wait_for(task, 5)
        await self.engine.shutdown()
        return bytes(self.client.sent)

    def sent(self, index: int = 0) -> bytes:
        """What the server of that dial got."""
        return bytes(self.servers[index].sent)


async def settle() -> None:
    """Let everything run that can run."""
    for _ in range(50):
        await asyncio.sleep(0)
