"""`Supervisor`: the process that stands before the workers. It has the face of a `Proxy`, and serves nobody."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.app import Listening
from rulesproxy.engine.option import OptionsError
from rulesproxy.limits import MIB, WORKER_RULES
from rulesproxy.live import Live
from rulesproxy.rules.files.packed import pack
from rulesproxy.tls.authority import Authority, state_dir
from rulesproxy.workers.bundle import Loader
from rulesproxy.workers.channel import Message
from rulesproxy.workers.fleet import Fleet, State

if TYPE_CHECKING:
    from rulesproxy.app import Figures, Proxy
    from rulesproxy.engine.options import Described
    from rulesproxy.flow.connection import Address
    from rulesproxy.rules.files.project import Project
    from rulesproxy.rules.ruleset import RuleSet

_log = logging.getLogger("rulesproxy")


class _Live(Live):
    """What is loaded for all workers: the rules, and the project file. Addons are in the workers."""

    def __init__(self, model: Proxy, fleet: Fleet, loader: Loader, project: Project) -> None:
        files = list(loader.files) or None
        super().__init__(model.engine, model.clock, files, None, loader.profiles, project, None, loader, fleet)
        self._fleet = fleet

    async def _take_project(self, project: Project) -> None:
        await self._fleet.take_project(project)
        self._project = project


class Supervisor:
    """So many processes that serve as one proxy.

    Args:
        model: the proxy that each worker is to be, with its addresses and options. It is never started.
        size: how many workers.
        command: the program of a worker, see `Process.start`.
        asks: what a worker needs to make its proxy.
        files: the rule files.
        profiles: the profiles that are switched on.
        project: what the project file says.

    Attributes:
        listeners: where the workers listen.
        workers: how many there are.
        live: the rules; what is loaded again is put in force in every worker.
    """

    def __init__(
        self, model: Proxy, size: int, command: Sequence[str], asks: Message, files: Sequence[Path],
        profiles: Sequence[str], project: Project,
    ) -> None:  # fmt: skip
        self.listeners: list[Listening] = []
        self.workers = size
        self.options = model.options
        self._model = model
        self._loader = Loader(tuple(files), tuple(profiles), size)
        state = State("", b"", frozenset(), 1, project.options, project.addons)
        self._fleet = Fleet(size, command, asks, state, self._version)
        self.live: Live = _Live(model, self._fleet, self._loader, project)
        self._tasks: list[asyncio.Task[None]] = []
        self._reload_wanted = asyncio.Event()

    async def start(self) -> None:
        """Check everything, listen, start the workers.

        Raises:
            RulesError: the rule files are not valid, or several processes cannot serve by them.
            OptionsError: an option is bad, or a public address is not allowed.
            BindError: an address cannot be listened on.
            AuthorityError: the CA cannot be used.
            NotStarted: a worker does not come up; it has said why.
        """
        if sys.platform != "linux":
            raise OptionsError("--workers needs Linux: no other system deals clients out to several processes")
        self._model.check()
        self.live.load()
        authority = Authority.load_or_create(state_dir())
        if authority.created:
            _log.info("a certificate authority was made: clients of HTTPS must trust %s", authority.cert_path)
        self._ca_path = authority.cert_path
        if self.live.rules is not None:
            self._fleet.begin_with(*self._version(self.live.rules))
        await self._fleet.start([address for _, address in self._model.wanted])
        for (mode, _), address in zip(self._model.wanted, self._fleet.addresses, strict=True):
            self.listeners.append(Listening(mode.name, *address, mode.scheme))
        self.live.revision = 1
        self.live.watch()
        self._tasks = [asyncio.create_task(each) for each in (self.live.follow(), self._reload_addons())]
        _log.info("%d workers: processes %s", len(self._fleet.pids), ", ".join(map(str, self._fleet.pids)))

    async def stop(self) -> None:
        """End the workers, each of which lets its flows finish."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._fleet.stop(self.options.shutdown_grace)

    @property
    def ca_path(self) -> Path:
        """The certificate that clients must trust."""
        return self._ca_path

    @property
    def commands(self) -> None:
        """None: addons and their commands are in the workers."""
        return

    @property
    def rules(self) -> RuleSet | None:
        """The rule set in force."""
        return self.live.rules

    @property
    def revision(self) -> int:
        """How many rule sets have been in force."""
        return self.live.revision

    @property
    def stop_requested(self) -> asyncio.Event:
        """Set when an addon asks for the end of the proxy."""
        return self._fleet.stop_requested

    def request_reload(self) -> None:
        """Load rule files and addons again soon."""
        self.live.request_reload()
        self._reload_wanted.set()

    async def reload(self) -> bool:
        """Load rule files and addons again; whether there was no error."""
        good = await self.live.reload()
        return await self._fleet.reload_addons() and good

    async def figures(self) -> Figures:
        """What is counted, in all workers together."""
        return await self._fleet.figures()

    async def describe_options(self) -> Sequence[Described]:
        """Everything about every option, by name."""
        return await self._fleet.describe_options()

    async def set_options(self, values: Mapping[str, object]) -> None:
        """Set options at run time, in all workers or in none.

        Raises:
            OptionsError: an option is bad, or an addon refuses.
        """
        await self._fleet.set_options(values)

    async def refuse_address(self, address: Address) -> None:
        """Connect to this address for nobody."""
        await self._fleet.close_address(address)

    def follow(self, tell: Callable[[dict[str, object], int], None]) -> Callable[[bool], None]:
        """Have `tell` told of what passes, whenever the function that is returned says so."""
        self._fleet.on_flow = tell
        return self._fleet.follow

    async def _reload_addons(self) -> None:
        """Have the workers load their addons again whenever that is wanted, however often it was said meanwhile."""
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self._fleet.reload_addons()

    def _version(self, rules: RuleSet) -> tuple[str, bytes, frozenset[str]]:
        packed = pack(self._loader.contents(rules.digest))
        if len(packed) > WORKER_RULES:
            size = f"{len(packed) // MIB} MiB"
            raise OptionsError(f"rule files and lists of {size} are too much for workers: run one process")
        return rules.digest, packed, frozenset(self.live.disabled)
