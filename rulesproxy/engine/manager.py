"""`Engine`: the addon chain and its life, from start-up over replacements to shutdown.

It builds snapshots (`Chain`) and publishes them in one turn of the loop. It does not know layers, rules or sockets: the
caller gives it addons in order and tells it when the listeners are bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from rulesproxy.engine import context, watchdog
from rulesproxy.engine.bind import AddonError, addon_name, bind
from rulesproxy.engine.chain import Chain
from rulesproxy.engine.commands import Commands
from rulesproxy.engine.departures import Departures
from rulesproxy.engine.dispatch import AddonHalt, dispatch
from rulesproxy.engine.later import Later
from rulesproxy.engine.lifecycle import Node, end, parts
from rulesproxy.engine.log import EntryHandler, LogEntry, logger
from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.options import Options, Undo

if TYPE_CHECKING:
    from rulesproxy.engine.context import Flow

TICK = 0.1
"""Seconds between two `tick` events."""


class Engine:
    """One proxy's addons, options and commands.

    The order of calls: `startup`, then `running` once the listeners are bound, then any number of `replace`,
    `configure` and `options.update`, then `shutdown`.

    Attributes:
        options: the configuration; a change of it tells every addon.
        commands: the commands of all addons.
        addons: the addons by name.
        stop_requested: set when an addon asked for the end of the proxy (`ctx.shutdown()`).
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.options.add(
            "on_error",
            str,
            "open",
            "What a failing handler does to its flow: the flow goes on (open), or is answered with a 502 (closed).",
            ("open", "closed"),
        )
        self.options.on_change = self._options_changed
        self.commands = Commands()
        self.addons = Addons(self)
        self.stop_requested = asyncio.Event()
        self._nodes: list[Node] = []
        self._chain = Chain()
        self._departures = Departures(self._bind)
        self._state: Literal["new", "starting", "started", "running", "ended"] = "new"
        self._unheard: set[str] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._entry_handler = EntryHandler(self._log, lambda: self._chain.log)

    @property
    def chain(self) -> Chain:
        """The current snapshot of the chain. A flow takes it once and holds it: `chain.hold()`."""
        return self._chain

    @property
    def chains(self) -> list[Chain]:
        """The current snapshot, and the earlier ones that flows still hold."""
        return [self._chain, *self._departures.chains]

    async def startup(self, addons: Sequence[object]) -> None:
        """Load the addons, in order, and configure them once.

        From here on the calling context belongs to this engine (see `context`): start the listeners from it.

        Raises:
            AddonError: an addon cannot be used; `done` was called on every addon that had begun.
            OptionsError: an addon refuses its options, or a value was given for an option that nobody declares.
        """
        if self._state != "new":
            raise RuntimeError("an engine starts once; make another one")
        self._state = "starting"
        self._loop = asyncio.get_running_loop()
        self._logs = Later(self._dispatch_log)
        self._updates = Later(self._dispatch_update)
        context.enter(self)
        try:
            seen: dict[int, object] = {}
            for given in addons:
                node = Node(given)
                self._nodes.append(node)
                node.begin(self.options, self.commands, seen)
            self.options.check_unknown()
            for node in self._walk():
                self._configure_first(node)
            self._tell(self._unheard)
            self._state = "started"
            self._publish(self._bind_nodes(self._nodes))
        except BaseException:
            await self.shutdown()
            raise

    async def running(self) -> None:
        """The listeners are bound."""
        if self._state != "started":
            raise RuntimeError("an engine runs once, after its startup")
        self._state = "running"
        with context.inside(self):
            await dispatch(self._chain.running)
            self._set_ticker()

    async def configure(self, updated: AbstractSet[str]) -> None:
        """Tell every addon that something which is no option changed, such as `{"rules"}`.

        Raises:
            OptionsError: an addon refuses; every addon was told again, with the caller's old state if it is restored
                by then. `replace` does both in one.
        """
        with context.inside(self):
            self._tell(set(updated))

    async def replace(self, old: object, new: object, updated: AbstractSet[str] = frozenset()) -> None:
        """Put `new` in the place of `old`: start, load and configure it aside, then publish it in one turn.

        `old` is what `startup` was given, or what its `start` returned. Its `done` comes when the last flow that began
        with it has ended, at most `limits.replaced_addon` later: flows that last longer go on with `new`. Flows that
        began with an `old` that has no `done` keep it to their end. The other addons are told of `updated`.

        Raises:
            AddonError: `new` cannot be used, or `old` is not in the chain; the chain is as before.
            OptionsError: `new` or another addon refuses; the chain is as before.
        """
        with context.inside(self):
            await self._replace([self._find(old)], [Node(new)], updated)

    async def rearrange(self, old: Sequence[object], new: Sequence[object]) -> None:
        """Put `new` in the place of `old`: what is in both stays as it is, the rest begins or ends as in `replace`.

        Raises:
            AddonError: one of `new` cannot be used, or one of `old` is not in the chain; the chain is as before.
            OptionsError: one of `new` refuses its options; the chain is as before.
        """
        with context.inside(self):
            before = [self._find(addon) for addon in old]
            known = {id(addon): node for node in before for addon in (node.given, node.addon)}
            await self._replace(before, [known.get(id(addon)) or Node(addon) for addon in new], frozenset())

    async def shutdown(self) -> None:
        """Call `done` on every addon, in order. To be called when serving has stopped; a second call does nothing."""
        if self._state in ("new", "ended"):
            return
        self._state = "ended"
        with context.inside(self):
            await self._shutdown()
        context.leave(self)
        self.options.on_change = None

    def update(self, flows: Iterable[Flow]) -> None:
        """Fire `update` for flows that were changed outside their own events. Does not wait; from any thread."""
        if self._state in ("started", "running"):
            self._updates.put(list(flows))

    def request_shutdown(self) -> None:
        """Ask whoever runs this engine to end it. From any thread."""
        self._loop.call_soon_threadsafe(self.stop_requested.set)

    # The chain

    def _walk(self) -> Iterator[Node]:
        return parts(self._nodes)

    def _find(self, addon: object) -> Node:
        for node in self._nodes:
            if addon is node.given or addon is node.addon:
                return node
        raise AddonError(f"addon {addon_name(addon)} is not in the chain, so it cannot be replaced")

    def _bind_nodes(self, nodes: list[Node]) -> Chain:
        return self._bind(tuple([part.addon for part in parts(nodes)]))

    def _bind(self, addons: tuple[object, ...]) -> Chain:
        return bind(addons, self.options.limits.handler, self.options.on_error == "closed")

    def _publish(self, chain: Chain) -> None:
        old, self._chain = self._chain, chain
        self._departures.retire(old)
        self._set_ticker()
        self._set_entry_handler()
        if watchdog.needed(chain):
            watchdog.watch(self, self.options.limits.handler_blocks)
        else:
            watchdog.unwatch(self)

    def _refresh(self) -> None:
        """Collect the handlers again: a configuration may change what an addon handles."""
        try:
            chain = self._bind_nodes(self._nodes)
        except AddonError as error:
            logger.error("%s", error)
            return
        if not chain.alike(self._chain):
            self._publish(chain)

    async def _replace(self, before: list[Node], after: list[Node], updated: AbstractSet[str]) -> None:
        fresh = [node for node in after if node not in before]
        leaving = [node for node in before if node not in after]
        at = min(map(self._nodes.index, before), default=0)
        nodes = [*self._nodes[:at], *after, *[node for node in self._nodes[at:] if node not in before]]
        chain = await self._begin(nodes, fresh, leaving, updated)
        self._nodes = nodes
        if len(leaving) == len(fresh) == 1:
            leaving[0].successor = fresh[0]
        self._publish(chain)
        try:
            if self._state == "running":
                new_ones = {id(part.addon) for part in parts(fresh)}
                await dispatch(tuple([bound for bound in chain.running if id(bound.owner) in new_ones]))
        finally:
            for node in leaving:
                await self._departures.let_go(node, self.options.limits)

    async def _begin(
        self, nodes: list[Node], fresh: list[Node], leaving: list[Node], updated: AbstractSet[str]
    ) -> Chain:
        """Make the chain of `nodes`, of which `fresh` begin now; where that fails, everything is as before."""
        options, commands = self.options.state(), self.commands.state()
        lost = {name for part in parts(leaving) for name in part.options}
        try:
            # The new version may declare its options and commands in another way than the old one.
            self.options.remove(lost)
            self.commands.remove({path for part in parts(leaving) for path in part.commands})
            seen = {id(part.addon): part.addon for part in self._walk()}
            for node in fresh:
                node.begin(self.options, self.commands, seen)
            for part in parts(fresh):
                self._configure_first(part)
            self._bind_nodes(nodes)
            self._tell(set(updated), lambda: self.options.restore(options) - lost, besides=leaving)
            return self._bind_nodes(nodes)
        except BaseException:
            self.commands.restore(commands)
            # What the new addon changed by itself is told back too.
            self._tell_back(self._nodes, self.options.restore(options) - lost)
            for node in fresh:
                await end(node, self.options.limits.handler)
            raise

    async def _shutdown(self) -> None:
        limits = self.options.limits
        watchdog.unwatch(self)
        ticker = self._ticker
        self._set_ticker()
        if ticker is not None:
            await asyncio.wait([ticker], timeout=limits.replaced_addon)
        await self._updates.flush(limits.replaced_addon)
        await self._logs.flush(limits.replaced_addon)
        self._chain = Chain()
        self._set_entry_handler()
        await self._departures.end()
        for node in self._nodes:
            await end(node, limits.handler)
        self._nodes = []

    # Configuration

    def _options_changed(self, changed: set[str], undo: Undo) -> None:
        if self._state == "starting":
            # Everybody still gets one `configure` with all names; who has had it is told afterwards.
            self._unheard |= changed
        elif self._state in ("started", "running"):
            with context.inside(self):
                self._tell(changed, undo)

    def _configure_first(self, node: Node) -> None:
        try:
            node.configure(self.options, set(self.options.keys()))
        except AddonHalt:
            # Its own first configure is over; every other addon gets one too.
            pass

    def _tell(self, updated: set[str], undo: Undo | None = None, besides: Sequence[Node] = ()) -> None:
        if not updated:
            return
        nodes = [node for node in self._nodes if node not in besides]
        try:
            for part in parts(nodes):
                try:
                    part.configure(self.options, updated)
                except AddonError as error:
                    logger.error("%s", error)
        except AddonHalt:
            pass
        except OptionsError:
            self._tell_back(nodes, updated | (undo() if undo else set()))
            raise
        if self._state in ("started", "running") and not besides:
            self._refresh()

    def _tell_back(self, nodes: list[Node], names: set[str]) -> None:
        """A change was undone: everybody hears of the old values. Nobody can refuse these."""
        for part in parts(nodes) if names else ():
            try:
                part.configure(self.options, names)
            except AddonHalt:
                return
            except (AddonError, OptionsError) as error:
                logger.error("the old options are refused too: %s", error)

    # Timer, log, update

    def _set_ticker(self) -> None:
        wanted = self._state == "running" and bool(self._chain.tick)
        if wanted and self._ticker is None:
            self._ticker = self._loop.create_task(self._tick())
        elif not wanted and self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    async def _tick(self) -> None:
        due = self._loop.time()
        while True:
            # A slow handler makes ticks late, never two at a time.
            due = max(due + TICK, self._loop.time())
            await asyncio.sleep(due - self._loop.time())
            await dispatch(self._chain.tick)

    def _set_entry_handler(self) -> None:
        """Listen to our log only while somebody wants it: a handler would silence the last resort of `logging`."""
        logger.removeHandler(self._entry_handler)
        if self._chain.log:
            logger.addHandler(self._entry_handler)

    def _log(self, entry: LogEntry) -> None:
        if not _in_log.get() and context.belongs(self):
            self._logs.put(entry)

    async def _dispatch_log(self, entry: object) -> None:
        _in_log.set(True)
        with context.inside(self):
            await dispatch(self._chain.log, entry)

    async def _dispatch_update(self, flows: object) -> None:
        with context.inside(self):
            await dispatch(self._chain.update, flows)


class Addons:
    """The addons of an engine, in the order of the chain."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, name: str) -> object | None:
        """The addon of that name (its `name`, a script's file name with or without `.py`, or its class), or None."""
        for addon in self:
            known = addon_name(addon)
            if name == known or (isinstance(addon, ModuleType) and name == known.removesuffix(".py")):
                return addon
        return None

    def __iter__(self) -> Iterator[object]:
        return iter([node.addon for node in self._engine._walk()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None


_in_log: ContextVar[bool] = ContextVar("inside the log event", default=False)
