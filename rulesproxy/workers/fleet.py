"""`Fleet`: the worker processes together. It keeps them alive, and all of them on the same rules.

New rules come into force in two phases: every worker compiles them aside, and when all could do so they are told to
swap. Whoever cannot, in either phase, keeps all of them on the rules before. A worker that dies in between is no
objection: the one that takes its place begins with what the others have.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.options import Described
from rulesproxy.engine.script import ScriptError
from rulesproxy.flow.connection import Address
from rulesproxy.limits import WORKER_LIVES, WORKER_PAUSE, WORKER_PAUSE_MOST, WORKER_STOP
from rulesproxy.net.server import BindError, open_socket
from rulesproxy.workers.channel import Message
from rulesproxy.workers.counts import Counts, read_figures
from rulesproxy.workers.process import Gone, NotStarted, Process

if TYPE_CHECKING:
    from rulesproxy.app import Figures
    from rulesproxy.engine.chain import Chain
    from rulesproxy.rules.files.project import Project

_log = logging.getLogger("rulesproxy")


@dataclass(frozen=True, slots=True)
class State:
    """What every worker has, and one that takes another's place begins with.

    Attributes:
        digest: that of the rules; empty without rules.
        rules: their files, packed.
        disabled: the names of rules that are switched off.
        revision: the revision of the rules.
        options: the options of the project file.
        addons: the addons of the project file.
        set: the options that were set at run time.
        closed: addresses that clients may not be connected to.
    """

    digest: str
    rules: bytes
    disabled: frozenset[str]
    revision: int
    options: Mapping[str, object]
    addons: tuple[str, ...]
    set: Mapping[str, object] = field(default_factory=dict)
    closed: tuple[Address, ...] = ()


class Fleet:
    """So many workers on the same addresses. For `Live` it is what serves.

    Args:
        size: how many.
        command: the program of a worker.
        asks: what each is to be, besides `State`.
        state: what they begin with.
        version: gives digest, packed files and switched-off rules of a rule set.

    Attributes:
        stop_requested: set when an addon in one of them asks for the end of the proxy.
        addresses: where they listen.
        on_flow: told of every exchange that is over, and how many were missed before, while `follow` says so.
    """

    def __init__(
        self, size: int, command: Sequence[str], asks: Message, state: State,
        version: Callable[[Any], tuple[str, bytes, AbstractSet[str]]],
    ) -> None:  # fmt: skip
        self.stop_requested = asyncio.Event()
        self.addresses: list[Address] = []
        self.on_flow: Callable[[dict[str, object], int], None] | None = None
        self._counts = Counts()
        self._following = False
        self._command = command
        self._asks = asks
        self._state = state
        self._version = version
        self._sockets: list[list[socket.socket]] = [[] for _ in range(size)]
        self._workers: dict[int, Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        # Whoever begins must not miss what the others are just told.
        self._turn = asyncio.Lock()

    # Life

    def begin_with(self, digest: str, rules: bytes, disabled: AbstractSet[str]) -> None:
        """The rules that the workers begin with, as `version` gives them."""
        self._state = replace(self._state, digest=digest, rules=rules, disabled=frozenset(disabled))

    async def start(self, wanted: Sequence[Address]) -> None:
        """Listen on these addresses and start the workers. The first one goes alone: what it cannot do none can.

        Raises:
            BindError: an address cannot be listened on.
            NotStarted: a worker does not come up.
        """
        self.addresses = [_address(open_socket(*address)) if address[1] else address for address in wanted]
        try:
            for mine in self._sockets:
                mine.extend(self._open())
            await self._begin(0)
            others = [asyncio.create_task(self._begin(at)) for at in range(1, len(self._sockets))]
            try:
                await asyncio.gather(*others)
            except BaseException:
                for task in others:
                    task.cancel()
                await asyncio.wait(others)
                raise
        except BaseException:
            await self.stop(0)
            raise
        self._keepers = [asyncio.create_task(self._keep(at)) for at in self._workers]

    async def stop(self, grace: float) -> None:
        """Accept nobody any more, and end the workers; those that are not ready `grace` seconds later are killed."""
        for keeper in self._keepers:
            keeper.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers)
        for at in range(len(self._sockets)):
            self._close(at)
        workers = list(self._workers.values())
        for worker in workers:
            worker.tell({"do": "stop"})
        ends = [asyncio.create_task(worker.end()) for worker in workers]
        if ends:
            _, late = await asyncio.wait(ends, timeout=grace + WORKER_STOP)
            for worker, end in zip(workers, ends, strict=True):
                if end in late:
                    _log.error("worker %d (process %d) does not end: it is killed", worker.number, worker.pid)
                    worker.kill()
            await asyncio.wait(ends)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that live."""
        return [self._workers[at].pid for at in sorted(self._workers)]

    async def _begin(self, at: int) -> None:
        """Start the worker in a place, with what all have."""
        state = self._state
        asks = {
            **self._asks, "number": at + 1, "digest": state.digest, "disabled": sorted(state.disabled),
            "revision": state.revision, "options": state.options, "addons": state.addons,
            "set": state.set, "closed": state.closed,
        }  # fmt: skip
        worker = await Process.start(at + 1, self._command, self._sockets[at], asks, state.rules, self._hear)
        if self._following:
            worker.tell({"do": "follow", "on": True})
        self._workers[at] = worker

    async def _keep(self, at: int) -> None:
        """Replace the worker in a place whenever it ends."""
        loop = asyncio.get_running_loop()
        attempts = 0
        while True:
            worker = self._workers[at]
            code = await worker.end()
            del self._workers[at]
            self._counts.keep(worker.number)
            ended = f"was killed by signal {-code}" if code < 0 else f"has ended with exit code {code}"
            _log.error("worker %d (process %d) %s: another one takes its place", worker.number, worker.pid, ended)
            attempts = 0 if loop.time() - worker.began >= WORKER_LIVES else attempts + 1
            while at not in self._workers:
                if attempts > 1:
                    await asyncio.sleep(min(WORKER_PAUSE * 2 ** (attempts - 2), WORKER_PAUSE_MOST))
                attempts += 1
                await self._begin_again(at)
            _log.info("worker %d is process %d now", at + 1, self._workers[at].pid)

    async def _begin_again(self, at: int) -> None:
        try:
            async with self._turn:
                # Clients that the dead one has not accepted wait in its sockets, which are ours too.
                if not self._sockets[at]:
                    self._sockets[at].extend(self._open())
                await self._begin(at)
        except (NotStarted, BindError, OSError) as error:
            # The system may have no process or descriptor left for another one; later it may.
            _log.error("worker %d cannot start: %s; the others go on", at + 1, error)
        if at not in self._workers:
            # So that the system gives new clients to the others.
            self._close(at)

    def _open(self) -> list[socket.socket]:
        """A listening socket for each address."""
        found: list[socket.socket] = []
        try:
            for number, (host, port) in enumerate(self.addresses):
                found.append(open_socket(host, port, shared=True))
                self.addresses[number] = found[-1].getsockname()[:2]
        except BaseException:
            for each in found:
                each.close()
            raise
        return found

    def _close(self, at: int) -> None:
        for each in self._sockets[at]:
            each.close()
        self._sockets[at].clear()

    def _hear(self, message: Message) -> None:
        if message.get("is") == "stop requested":
            self.stop_requested.set()
        elif message.get("is") == "flow" and self.on_flow is not None:
            self.on_flow(message["entry"], message["missed"])

    # What all are told

    @property
    def chains(self) -> Sequence[Chain]:
        """None: flows are in the workers."""
        return ()

    async def replace(self, old: object, new: object, updated: AbstractSet[str] = frozenset()) -> None:
        """Put a rule set in force in every worker, or in none.

        Raises:
            OptionsError: a worker refuses; all have the rules before.
        """
        digest, rules, disabled = self._version(new)
        wanted = replace(
            self._state, digest=digest, rules=rules, disabled=frozenset(disabled), revision=self._state.revision + 1
        )
        asks = {"digest": digest, "disabled": sorted(disabled), "revision": wanted.revision}
        # Where rules were only switched on or off, the workers have them all.
        switched = digest == self._state.digest and wanted.disabled != self._state.disabled
        data = b"" if switched else rules
        async with self._turn:
            refused = await self._ask_all({"do": "prepare", **asks}, data)
            if not refused:
                refused = await self._ask_all({"do": "commit"})
                if refused:
                    await self._ask_all({"do": "back"})
            await self._ask_all({"do": "drop"})
            if refused:
                number, answer = refused[0]
                raise OptionsError(f"worker {number}: {answer['why']}")
            self._state = wanted

    async def take_project(self, project: Project) -> None:
        """Have every worker take over the addons and options of the project file, or none.

        Raises:
            ScriptError: an addon cannot be loaded or used.
            OptionsError: an option is bad, or an addon refuses.
        """
        async with self._turn:
            refused = await self._ask_all({"do": "project", "options": project.options, "addons": project.addons})
            if refused:
                state = self._state
                await self._ask_all({"do": "project", "options": state.options, "addons": state.addons})
                _, answer = refused[0]
                if "about" not in answer:
                    raise ScriptError(answer["why"])
                raise OptionsError(answer["why"], [(name, source) for name, source in answer["about"]])
            self._state = replace(self._state, options=project.options, addons=project.addons)

    async def set_options(self, values: Mapping[str, object]) -> None:
        """Set options at run time in every worker, or in none.

        Raises:
            OptionsError: an option is bad, or an addon refuses.
        """
        async with self._turn:
            wanted = {**self._state.set, **values}
            refused = await self._ask_all({"do": "set", "values": wanted})
            if refused:
                await self._ask_all({"do": "set", "values": self._state.set})
                raise OptionsError(refused[0][1]["why"])
            self._state = replace(self._state, set=wanted)

    async def describe_options(self) -> list[Described]:
        """What one of them says of its options: all have the same."""
        for at in sorted(self._workers):
            try:
                answer = await self._workers[at].ask({"do": "describe"})
            except Gone:
                continue
            return [Described(**row) for row in answer["options"]]
        return []

    async def close_address(self, address: Address) -> None:
        """Have every worker connect to this address for nobody."""
        async with self._turn:
            self._state = replace(self._state, closed=(*self._state.closed, address))
            await self._ask_all({"do": "close", "address": address})

    async def figures(self) -> Figures:
        """What all of them have counted, those that have died included as far as is known."""
        workers = [self._workers[at] for at in sorted(self._workers)]
        answers = await asyncio.gather(*[worker.ask({"do": "figures"}) for worker in workers], return_exceptions=True)
        told = []
        for worker, answer in zip(workers, answers, strict=True):
            if not isinstance(answer, BaseException):
                told.append(read_figures(answer["figures"]))
                self._counts.told(worker.number, told[-1])
        return self._counts.total(told)

    def follow(self, on: bool) -> None:
        """Begin to tell, or stop telling, `on_flow` what passes."""
        self._following = on
        for worker in self._workers.values():
            worker.tell({"do": "follow", "on": on})

    async def reload_addons(self) -> bool:
        """Have every worker load its addons again; whether all could."""
        async with self._turn:
            return not await self._ask_all({"do": "reload"})

    async def _ask_all(self, message: Message, data: bytes = b"") -> list[tuple[int, Message]]:
        """Ask every worker; the numbers and answers of those that refuse. One that dies has no objection."""
        workers = [self._workers[at] for at in sorted(self._workers)]
        answers = await asyncio.gather(*[worker.ask(message, data) for worker in workers], return_exceptions=True)
        refused = []
        for worker, answer in zip(workers, answers, strict=True):
            if isinstance(answer, BaseException):
                if not isinstance(answer, Gone):
                    raise answer
            elif not answer["ok"]:
                refused.append((worker.number, answer))
        return refused


def _address(sock: socket.socket) -> Address:
    """Where a socket listens. It is closed: it was to see that no other program does."""
    with sock:
        host, port = sock.getsockname()[:2]
        return str(host), int(port)
