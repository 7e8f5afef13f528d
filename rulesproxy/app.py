"""`Proxy`: the composition root, the only place that knows everyone. The command line and embedders use it alike."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.addons.har import Har
from rulesproxy.addons.hits import Hits
from rulesproxy.engine.manager import Engine
from rulesproxy.engine.options import Options
from rulesproxy.flow.connection import Address
from rulesproxy.flow.url import format_authority
from rulesproxy.layers.layer import Services
from rulesproxy.layers.modes import Mode, parse_mode, plan_listeners
from rulesproxy.layers.root import serve
from rulesproxy.limits import Limits
from rulesproxy.live import Live
from rulesproxy.net.dial import OWN_TRAFFIC, Dialer
from rulesproxy.net.memory import Returner
from rulesproxy.net.original import original_destination
from rulesproxy.net.server import Server
from rulesproxy.net.stream import SocketStream
from rulesproxy.options import check_options, declare_options
from rulesproxy.tls.authority import Authority, state_dir
from rulesproxy.tls.context import ClientContexts, ServerContexts

if TYPE_CHECKING:
    from rulesproxy.engine.commands import Commands
    from rulesproxy.engine.options import Described
    from rulesproxy.rules.files.project import Project
    from rulesproxy.rules.outside import Outside
    from rulesproxy.rules.ruleset import RuleSet

_log = logging.getLogger("rulesproxy")

_FREE = "127.0.0.1:0"
_SWEEP = 1.0
# A tunnel in which no byte has moved for this long carries nobody's answer just now.
_TUNNEL_IDLE = 0.5


@dataclass(frozen=True, slots=True)
class Listening:
    """One address that the proxy listens on."""

    mode: str
    host: str
    port: int
    scheme: str = "http"

    def __str__(self) -> str:
        return f"{self.scheme}://{format_authority(self.host, self.port, '')}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a proxy counts.

    Attributes:
        hits: flows that a rule acted on, by its name.
        in_flight: flows that are not over, by the revision of their rules.
        connections: open sockets to clients and servers.
        active: connections to servers that serve somebody.
        idle: those that wait in the pool.
        requests: exchanges that are over, where they are counted.
        errors: those that ended with an error, likewise.
    """

    hits: Mapping[str, int]
    in_flight: Mapping[int, int]
    connections: int
    active: int
    idle: int
    requests: int = 0
    errors: int = 0


class SystemClock:
    """The machine's clocks: `now` never jumps, `wall` counts from the epoch, both in seconds."""

    # Not methods around them: every request asks a dozen times.
    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for so many seconds."""
        await asyncio.sleep(seconds)


def settle() -> None:
    """What is in memory now stays: the collector is for what comes. To be called once, behind the start."""
    # Flows are acyclic: the collector is for what addons make, and need not look often.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()


class Proxy:
    """A proxy. `async with Proxy(...)` runs it; `start()` and `stop()` do the same by hand.

    Args:
        rules: a rule set, or the rule files to load; None for no rules.
        listen: one address or several (`host:port`; port 0 takes a free one), for modes without one of their own.
        mode: one mode for all addresses, or one for each; `MODE@host:port` has its own address.
        addons: objects with handlers and files (`Path`) of Python addons, in order, behind those of the project file.
            The word `rules` among them is the place of the rules, which else come first.
        profiles: the profiles of the rule files that are switched on; a later one wins.
        watch: load rule files and files of addons again when they change.
        project: the project file, whose options `configured` has been given; its options and addons are read again
            when it changes.
        home: where the CA is kept; the platform's data directory by default.
        options: the values of options, see `declare_options`.
        configured: options that have been set up already; then `options` is not used.
        outside: where rules that are named by file get time and chance from; the machine by default.
        sockets: sockets that listen already, one for each address, in the place of new ones.
    """

    def __init__(
        self,
        rules: RuleSet | str | Path | Sequence[str | Path] | None = None,
        *,
        listen: str | Sequence[str] | None = None,
        mode: str | Sequence[str] = "regular",
        addons: Iterable[object] = (),
        profiles: Sequence[str] = (),
        watch: bool = False,
        project: Project | None = None,
        home: Path | None = None,
        configured: Options | None = None,
        outside: Outside | None = None,
        sockets: Sequence[socket.socket] = (),
        **options: object,
    ) -> None:
        self.hits = Hits()
        self.workers = 1
        self.listeners: list[Listening] = []
        modes = [mode] if isinstance(mode, str) else list(mode)
        if listen is None:
            listen = [_FREE] * sum(1 for name in modes if parse_mode(name).listen is None)
        self.wanted = plan_listeners(modes, [listen] if isinstance(listen, str) else list(listen))
        self._sockets = list(sockets)
        self._watch = watch
        self._home = home or state_dir()
        self.options = configured or Options()
        if configured is None:
            declare_options(self.options)
            self.options.set_values(options, "command line", later=True)
        self.engine = Engine(self.options)
        self.clock = SystemClock()
        self.live = Live(self.engine, self.clock, rules, addons, profiles, project, outside)
        self.live.on_swap = self._swapped
        self._streams: set[SocketStream] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._check_tunnels = False

    # Life

    async def __aenter__(self) -> Proxy:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def check(self) -> None:
        """See whether addresses and options are such that one may listen. `start` does so too.

        Raises:
            OptionsError: an option is bad, or a public address is not allowed.
        """
        check_options(self.options, self.wanted, set(self.options.keys()))

    async def start(self) -> None:
        """Load the rules and addons, bind the addresses, start the addons, accept clients.

        Raises:
            RulesError: the rule files are not valid.
            ScriptError: the file of an addon cannot be loaded.
            AddonError: an addon cannot be used.
            BindError: an address cannot be listened on.
            AuthorityError: the CA cannot be used.
            OptionsError: an option is bad, or a public address is not allowed.
        """
        self.check()
        chain = self.live.load()
        if self.live.rules is not None:
            _say_unverified(self.live.rules)
        self.authority = Authority.load_or_create(self._home)
        if self.authority.created:
            _log.info("a certificate authority was made: clients of HTTPS must trust %s", self.authority.cert_path)
        self.dialer = Dialer(self._streams, self._limits)
        self.services = Services(
            self.options, self.clock, lambda: self.engine.chain, self.dialer,
            ServerContexts(self.authority, self._limits()), ClientContexts(),
        )  # fmt: skip
        self.server = Server(self._streams, self._limits)
        try:
            for at, (mode, (host, port)) in enumerate(self.wanted):
                if self._sockets:
                    listener = self.server.adopt(self._sockets[at], self._serve(mode))
                else:
                    listener = self.server.listen(host, port, self._serve(mode))
                self.listeners.append(Listening(mode.name, *listener.address, mode.scheme))
                self.dialer.own.add(listener.address)
                self.dialer.redirected |= mode.name == "transparent"
            # What an option may not be at start it may not become later, whoever changes it.
            self.options.guard = partial(check_options, self.options, self.wanted)
            await self.engine.startup([*chain, self.hits, Har()])
        except BaseException:
            self.options.guard = None
            self.server.close_listeners()
            raise
        self.live.revision = self.live.first_revision
        self.server.resume()
        self._tasks.append(asyncio.create_task(self._sweep()))
        if self._watch:
            self.live.watch()
            self._tasks.append(asyncio.create_task(self.live.follow()))
        await self.engine.running()

    async def stop(self) -> None:
        """Accept nobody any more, let flows finish for `shutdown_grace` seconds, tell the addons, close everything."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()
        self.server.close_listeners()
        await self.services.rest()
        grace: float = self.options.shutdown_grace
        await self.server.close(grace)
        await self.services.upstreams.close()
        await self.engine.shutdown()
        self.options.guard = None
        for stream in list(self._streams):
            stream.abort()

    # What it is

    @property
    def port(self) -> int:
        """The port of the first address."""
        return self.listeners[0].port

    @property
    def url(self) -> str:
        """The proxy's URL, as clients are given it."""
        return str(self.listeners[0])

    @property
    def connections(self) -> int:
        """How many sockets to clients and servers are open."""
        return len(self._streams)

    @property
    def ca_path(self) -> Path:
        """The certificate that clients must trust."""
        return self.authority.cert_path

    @property
    def rules(self) -> RuleSet | None:
        """The rule set in force."""
        return self.live.rules

    @property
    def revision(self) -> int:
        """How many rule sets have been in force."""
        return self.live.revision

    @property
    def commands(self) -> Commands:
        """The commands of all addons."""
        return self.engine.commands

    async def figures(self) -> Figures:
        """What is counted here."""
        upstreams = self.services.upstreams
        return Figures(
            self.hits.as_dict(), self.live.in_flight(), self.connections, upstreams.active, upstreams.idle
        )  # fmt: skip

    async def describe_options(self) -> list[Described]:
        """Everything about every option, by name."""
        return self.options.describe()

    async def set_options(self, values: Mapping[str, object]) -> None:
        """Set options at run time, all or none.

        Raises:
            OptionsError: see `Options.set_values`.
        """
        self.options.set_values(values, "run time")

    async def refuse_address(self, address: Address) -> None:
        """Connect to this address for nobody: what listens there is for this machine alone."""
        self.dialer.own.add(address)

    @property
    def stop_requested(self) -> asyncio.Event:
        """Set when an addon asks for the end of the proxy."""
        return self.engine.stop_requested

    def request_reload(self) -> None:
        """Load rule files and addons again soon, see `Live.request_reload`."""
        self.live.request_reload()

    async def reload(self, changed: Iterable[Path] | None = None) -> bool:
        """Load rule files and addons again, see `Live.reload`."""
        return await self.live.reload(changed)

    async def use(self, rules: RuleSet) -> None:
        """Put another rule set in force, see `Live.use`."""
        await self.live.use(rules)

    # Connections

    async def _swapped(self) -> None:
        """Other rules have come into force."""
        if self.live.rules is not None:
            _say_unverified(self.live.rules)
        await self._end_tunnels()

    async def _end_tunnels(self) -> None:
        """End the idle tunnels of hosts that the rules want decrypted now; those that are busy, once they are idle."""
        wants, now = self.engine.chain.wants_host, self.clock.now()
        wanted = {layer: names for layer, names in self.services.tunnels.items() if any(map(wants, names))}
        ended = []
        for layer, names in wanted.items():
            if await layer.end_if_idle(now, _TUNNEL_IDLE):
                self.services.tunnels.pop(layer, None)
                ended.append(names[0])
        self._check_tunnels = len(ended) < len(wanted)
        if ended:
            hosts = ", ".join(sorted(set(ended)))
            _log.info("idle tunnels were closed, since the rules are about their hosts now: %s", hosts)

    def _serve(self, mode: Mode) -> Callable[[SocketStream], Awaitable[None]]:
        def run(stream: SocketStream) -> Awaitable[None]:
            return serve(self.services, stream, mode)

        async def run_transparent(stream: SocketStream) -> None:
            if self.dialer.sent(stream):
                _log.warning("a connection of our own was redirected to us: %s", OWN_TRAFFIC)
                stream.abort()
                return
            await serve(self.services, stream, mode._replace(target=original_destination(stream)))

        return run_transparent if mode.name == "transparent" else run

    def _limits(self) -> Limits:
        limits: Limits = self.options.limits
        return limits

    async def _sweep(self) -> None:
        """Once a second: what waits too long is told so. One timer for all, instead of one for each wait."""
        memory = Returner()
        while True:
            await asyncio.sleep(_SWEEP)
            now = self.clock.now()
            for stream in list(self._streams):
                stream.sweep(now)
            await self.services.upstreams.sweep(now)
            await memory.look(len(self._streams))
            if self._check_tunnels:
                await self._end_tunnels()


def counted(rules: int) -> str:
    """A number of rules, in words."""
    return "1 rule" if rules == 1 else f"{rules} rules"


def _say_unverified(rules: RuleSet) -> None:
    names = rules.unverified
    if names:
        _log.warning("the certificates of servers are not verified where these rules apply: %s", ", ".join(names))
