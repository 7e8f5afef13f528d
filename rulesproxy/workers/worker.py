"""The inside of a worker: a proxy that does what the supervisor tells it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rulesproxy.app import settle
from rulesproxy.aside import aside
from rulesproxy.engine.bind import AddonError
from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.script import ScriptError
from rulesproxy.limits import WORKER_BACKLOG
from rulesproxy.rules.files.project import Project
from rulesproxy.rules.load import RulesError
from rulesproxy.workers.bundle import unpack_rules
from rulesproxy.workers.channel import Channel, Message

if TYPE_CHECKING:
    from rulesproxy.app import Proxy
    from rulesproxy.rules.ruleset import RuleSet

_KILLED = 143


@dataclass(frozen=True, slots=True)
class _Version:
    """Rules as they are in force, or may be."""

    rules: RuleSet
    disabled: frozenset[str]
    revision: int


class Feed(Protocol):
    """The addon that tells what passes."""

    subscribers: set[Any]
    requests: int
    errors: int


class _Told:
    """Tells the supervisor what passes, as a subscriber of the feed. What it does not take in time is missed."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._missed = 0

    def put(self, entry: Message) -> None:
        """One exchange is over."""
        if self._channel.waiting > WORKER_BACKLOG:
            self._missed += 1
            return
        self._channel.send({"is": "flow", "entry": entry, "missed": self._missed})
        self._missed = 0


class Worker:
    """One worker.

    Args:
        proxy: what serves. It is started and stopped here.
        channel: the way to the supervisor.
        rules: the whole rule set that the proxy begins with, rules that are switched off included; None without rules.
        files: the rule files as they were named.
        profiles: the profiles that are switched on.
        feed: the addon in the proxy that counts requests and tells what passes; None without one.
    """

    def __init__(
        self,
        proxy: Proxy,
        channel: Channel,
        rules: RuleSet | None,
        files: Sequence[Path],
        profiles: Sequence[str],
        feed: Feed | None = None,
    ) -> None:
        self._proxy = proxy
        self._channel = channel
        self._rules = rules
        self._files = files
        self._profiles = profiles
        self._feed = feed
        self._told = _Told(channel)
        self._next: _Version | None = None
        self._before: _Version | None = None
        self._stopping = asyncio.Event()
        self._does: dict[str, Callable[[Message, bytes], Awaitable[Message | None]]] = {
            "prepare": self._prepare, "commit": self._commit, "back": self._back, "drop": self._drop,
            "project": self._project, "reload": self._reload, "set": self._set, "describe": self._describe,
            "close": self._close, "figures": self._figures,
        }  # fmt: skip

    async def run(self, asked: Message) -> int:
        """Serve until told to stop, or until the supervisor is gone; the exit code. `asked` is the message to answer.

        Raises:
            What `Proxy.start` raises.
        """
        await self._proxy.start()
        for address in asked["closed"]:
            await self._proxy.refuse_address((address[0], address[1]))
        settle()
        loop = asyncio.get_running_loop()
        # The terminal tells everybody, and the supervisor tells us. Who means this process alone says TERM.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        self._channel.send({"id": asked["id"], "ok": True})
        tasks = [loop.create_task(self._obey()), loop.create_task(self._pass_on())]
        stopping = loop.create_task(self._stopping.wait())
        await asyncio.wait([stopping, tasks[0]], return_when=asyncio.FIRST_COMPLETED)
        await self._proxy.stop()
        if tasks[0].done():
            # A bug of ours is told as such.
            tasks[0].result()
        for task in tasks:
            task.cancel()
        return 0

    async def _obey(self) -> None:
        while True:
            received = await self._channel.receive()
            if received is None:
                break
            message, data = received
            if message["do"] == "stop":
                self._stopping.set()
                continue
            if message["do"] == "follow":
                self._follow(message["on"])
                continue
            answer = await self._does[message["do"]](message, data)
            self._channel.send({"id": message["id"], "ok": True, **(answer or {})})
        if self._stopping.is_set():
            # The supervisor was in a hurry.
            os._exit(_KILLED)
        self._stopping.set()

    async def _pass_on(self) -> None:
        """An addon may end the proxy: all of it."""
        await self._proxy.stop_requested.wait()
        self._channel.send({"is": "stop requested"})

    # Rules

    async def _prepare(self, message: Message, data: bytes) -> Message | None:
        digest = message["digest"]
        rules = self._rules
        if data:
            try:
                rules = await aside(lambda: unpack_rules(data, self._files, self._profiles))
            except RulesError as error:
                return {"ok": False, "why": str(error.diagnostics[0])}
            if rules.digest != digest:
                return {"ok": False, "why": "files that the rules call have changed meanwhile"}
        assert rules is not None
        self._next = _Version(rules, frozenset(message["disabled"]), message["revision"])
        return None

    async def _commit(self, message: Message, data: bytes) -> Message | None:
        assert self._next is not None
        live = self._proxy.live
        before = None if self._rules is None else _Version(self._rules, frozenset(live.disabled), live.revision)
        try:
            await self._take(self._next)
        except (AddonError, OptionsError) as error:
            return {"ok": False, "why": str(error)}
        self._before = before
        return None

    async def _back(self, message: Message, data: bytes) -> Message | None:
        """Another worker could not commit."""
        if self._before is not None:
            try:
                await self._take(self._before)
            except (AddonError, OptionsError) as error:
                return {"ok": False, "why": str(error)}
        return await self._drop(message, data)

    async def _drop(self, message: Message, data: bytes) -> Message | None:
        self._next = self._before = None
        return None

    async def _take(self, version: _Version) -> None:
        await self._proxy.live.take(version.rules, version.disabled, version.revision)
        self._rules = version.rules

    # All else

    async def _project(self, message: Message, data: bytes) -> Message | None:
        try:
            await self._proxy.live.take_project(Project(message["options"], tuple(message["addons"])))
        except (AddonError, ScriptError) as error:
            return {"ok": False, "why": str(error)}
        except OptionsError as error:
            return {"ok": False, "why": str(error), "about": [list(each) for each in error.about]}
        return None

    async def _set(self, message: Message, data: bytes) -> Message | None:
        try:
            self._proxy.options.replace_values(message["values"], "run time")
        except OptionsError as error:
            return {"ok": False, "why": str(error)}
        return None

    async def _describe(self, message: Message, data: bytes) -> Message | None:
        return {"options": [asdict(row) for row in await self._proxy.describe_options()]}

    async def _close(self, message: Message, data: bytes) -> Message | None:
        host, port = message["address"]
        await self._proxy.refuse_address((host, port))
        return None

    async def _figures(self, message: Message, data: bytes) -> Message | None:
        figures = await self._proxy.figures()
        if self._feed is not None:
            figures = replace(figures, requests=self._feed.requests, errors=self._feed.errors)
        return {"figures": asdict(figures)}

    def _follow(self, on: bool) -> None:
        if self._feed is not None:
            (self._feed.subscribers.add if on else self._feed.subscribers.discard)(self._told)

    async def _reload(self, message: Message, data: bytes) -> Message | None:
        return {"ok": await self._proxy.reload()}
