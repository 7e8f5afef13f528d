"""Addons that were replaced, and the snapshots of the chain that flows still hold: who may end when.

It knows which snapshot has which addon. It does not know why an addon was replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rulesproxy.engine.chain import Chain
from rulesproxy.engine.lifecycle import Node, end
from rulesproxy.limits import Limits


class Departures:
    """The past of one chain.

    Args:
        bind: makes the chain of these addons.

    Attributes:
        chains: the earlier snapshots that flows still hold.
        leaving: the addons that wait for the last of their flows.
    """

    def __init__(self, bind: Callable[[tuple[object, ...]], Chain]) -> None:
        self.chains: list[Chain] = []
        self._bind = bind
        self.leaving: list[_Leaving] = []

    def retire(self, chain: Chain) -> None:
        """Another snapshot has taken the place of this one."""
        if chain.users:
            chain.on_idle = self._idle
            self.chains.append(chain)

    async def let_go(self, node: Node, limits: Limits) -> None:
        """An addon was replaced: its `done` comes when no flow needs it any more, or has waited long enough."""
        if not node.has_done or not self._holders(node):
            # Where nothing waits for its end, it may serve the flows that began with it for as long as they last.
            await end(node, limits.handler)
            return
        leaving = _Leaving(node)
        leaving.task = asyncio.create_task(self._wait_and_end(leaving, limits.replaced_addon, limits.handler))
        self.leaving.append(leaving)

    async def end(self) -> None:
        """Nothing is served any more: nobody waits."""
        for leaving in self.leaving:
            leaving.free.set()
        await asyncio.gather(*[leaving.task for leaving in self.leaving])

    def _holders(self, node: Node) -> list[Chain]:
        """The earlier snapshots that are in use and have an addon of this node."""
        ids = {id(part.addon) for part in node.walk()}
        return [chain for chain in self.chains if not ids.isdisjoint(map(id, chain.addons))]

    def _idle(self, chain: Chain) -> None:
        self.chains.remove(chain)
        for leaving in self.leaving:
            if not self._holders(leaving.node):
                leaving.free.set()

    async def _wait_and_end(self, leaving: _Leaving, patience: float, handler: float) -> None:
        try:
            async with asyncio.timeout(patience):
                await leaving.free.wait()
        except TimeoutError:
            for chain in self._holders(leaving.node):
                chain.follow(self._without(chain, leaving.node))
        await end(leaving.node, handler)
        self.leaving.remove(leaving)

    def _without(self, chain: Chain, node: Node) -> Chain:
        """An earlier snapshot with the version of today in the place of a node; all else in it stays as it was."""
        gone = {id(part.addon) for part in node.walk()}
        kept = [addon for addon in chain.addons if id(addon) not in gone]
        at = next(index for index, addon in enumerate(chain.addons) if id(addon) in gone)
        latest = node.latest
        today = [] if latest is node else [part.addon for part in latest.walk() if not part.ended]
        return self._bind((*kept[:at], *today, *kept[at:]))


class _Leaving:
    """A replaced addon whose flows still run."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.free = asyncio.Event()
        self.task: asyncio.Task[None]
