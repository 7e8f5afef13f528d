"""`Process`: one worker as the supervisor sees it, from the start of its process to its end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from rulesproxy.limits import WORKER_ANSWER, WORKER_START
from rulesproxy.workers.channel import Channel, Message

_log = logging.getLogger("rulesproxy")


class Gone(Exception):
    """The worker does not live any more."""


class NotStarted(Exception):
    """A worker has ended before it could serve, and has said why; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"it was killed by signal {-code}" if code < 0 else f"exit code {code}")
        self.code = code


class Process:
    """A worker process.

    Attributes:
        number: its number, from 1; the one that takes its place has it too.
        pid: its process id.
        began: when it was started, on the clock of the loop.
    """

    def __init__(
        self, number: int, process: asyncio.subprocess.Process, channel: Channel, tell: Callable[[Message], None]
    ) -> None:
        self.number = number
        self.pid = process.pid
        self.began = asyncio.get_running_loop().time()
        self._process = process
        self._channel = channel
        self._tell = tell
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._last = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, number: int, command: Sequence[str], sockets: Sequence[socket.socket], asks: Message, data: bytes,
        tell: Callable[[Message], None],
    ) -> Process:  # fmt: skip
        """Start a worker, and wait until it serves.

        Args:
            number: see `number`.
            command: the program; the descriptors of its channel and of its listening sockets are added.
            sockets: the listening sockets that it is to serve.
            asks: what it is to be, with `data`.
            tell: gets what it tells unasked.

        Raises:
            NotStarted: it does not live so long.
            OSError: no process can be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            given = [theirs.fileno(), *[each.fileno() for each in sockets]]
            # A session of its own: a terminal's Ctrl-C is for the supervisor, which then tells the workers.
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, *map(str, given), stdin=asyncio.subprocess.DEVNULL, pass_fds=given, start_new_session=True
                )
            except BaseException:
                ours.close()
                raise
        worker = cls(number, process, await Channel.on(ours), tell)
        try:
            await worker.ask({"do": "start", **asks}, data, WORKER_START)
        except Gone:
            raise NotStarted(await worker.end()) from None
        except BaseException:
            worker.kill()
            raise
        return worker

    async def ask(self, message: Message, data: bytes = b"", patience: float = WORKER_ANSWER) -> Message:
        """What the worker answers.

        Raises:
            Gone: it dies, is dead, or had to be killed since it did not answer.
        """
        self._last += 1
        if self._reading.done():
            raise Gone
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = answer
        self._channel.send({**message, "id": self._last}, data)
        try:
            async with asyncio.timeout(patience):
                return await answer
        except TimeoutError:
            _log.error("worker %d (process %d) does not answer: it is killed", self.number, self.pid)
            self.kill()
            raise Gone from None

    def tell(self, message: Message) -> None:
        """Tell the worker something that it does not answer."""
        self._channel.send(message)

    async def end(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        # Whoever waits may be cancelled, and the reading goes on.
        await asyncio.wait([self._reading])
        return await self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        try:
            self._process.kill()
        except ProcessLookupError:
            pass

    async def _read(self) -> None:
        while (received := await self._channel.receive()) is not None:
            message, _ = received
            answer = self._waiting.pop(message.get("id", 0), None)
            if answer is None:
                self._tell(message)
            elif not answer.done():
                answer.set_result(message)
        self._channel.close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Gone())
        self._waiting.clear()
