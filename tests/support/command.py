"""The real `rulesproxy run`, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
START = 20.0
STOP = 15.0


@dataclass
class Command:
    """A running proxy process.

    Attributes:
        process: the process.
        ready: what it wrote into its ready file: pid, listeners, ca, revision.
        home: its state directory.
        stderr: what it has said so far; all of it after the end.
        said: set whenever it has said something.
    """

    process: asyncio.subprocess.Process
    ready: dict[str, object]
    home: Path
    stderr: bytearray = field(default_factory=bytearray)
    said: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def listeners(self) -> list[dict[str, object]]:
        """`mode`, `host` and `port` of each listener."""
        listeners = self.ready["listeners"]
        assert isinstance(listeners, list)
        return listeners

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return int(str(self.listeners[0]["port"]))

    @property
    def url(self) -> str:
        """The URL of the first listener."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ca_path(self) -> Path:
        """The certificate that clients must trust."""
        return Path(str(self.ready["ca"]))

    @property
    def log(self) -> str:
        """What it has said so far, as text."""
        return self.stderr.decode(errors="replace")

    async def wait_log(self, text: str, timeout: float = 10.0) -> None:
        """Wait until it has said that."""
        try:
            async with asyncio.timeout(timeout):
                while text not in self.log:
                    self.said.clear()
                    await self.said.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in the log:\n{self.log}") from None


@asynccontextmanager
async def run_command(
    *arguments: str | Path,
    listen: str | None = "127.0.0.1:0",
    home: Path | None = None,
    environment: dict[str, str] | None = None,
    code: int = 0,
    folder: Path | None = None,
) -> AsyncIterator[Command]:
    """Run `python -m rulesproxy run ARGUMENTS`, wait until it is ready, and end it with SIGTERM.

    Args:
        arguments: rule files, by absolute path, and options.
        listen: what follows `--listen`; None leaves it away.
        home: the state directory; a fresh one by default.
        environment: what is added to the environment.
        code: the exit status that is expected.
        folder: the working folder; an empty one by default, so that no rule file is found that nobody named.

    Raises:
        AssertionError: it did not get ready or did not end in time, its exit status is another one, or there is a
            traceback in what it said.
    """
    with TemporaryDirectory(prefix="rulesproxy-test-") as empty:
        state = home or Path(empty) / "state"
        ready_file = Path(empty) / "ready.json"
        listening = [] if listen is None else ["--listen", listen]
        options = [*listening, "--ready-file", ready_file]
        process = await start(*arguments, *options, home=state, environment=environment, cwd=folder or Path(empty))
        command = Command(process, {}, state)
        assert process.stderr is not None
        reading = asyncio.create_task(_collect(process.stderr, command))
        try:
            command.ready = await _wait_ready(command, ready_file)
            yield command
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP):
                    await process.wait()
            except TimeoutError:
                raise AssertionError(f"the proxy did not end {STOP:.0f} s after SIGTERM:\n{command.log}") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await reading
        assert "Traceback" not in command.log, command.log
        assert process.returncode == code, f"exit status {process.returncode}, not {code}:\n{command.log}"


async def start(
    *arguments: str | Path, home: Path, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> asyncio.subprocess.Process:
    """Start `python -m rulesproxy run ARGUMENTS` in `cwd` and do not wait for anything."""
    variables = {**os.environ, "RULESPROXY_HOME": str(home), "PYTHONPATH": str(ROOT), **(environment or {})}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rulesproxy", "run", *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=variables, cwd=cwd,
    )  # fmt: skip


async def _collect(stream: asyncio.StreamReader, command: Command) -> None:
    while data := await stream.read(65536):
        command.stderr += data
        command.said.set()


async def _wait_ready(command: Command, file: Path) -> dict[str, object]:
    try:
        async with asyncio.timeout(START):
            while not file.exists():
                assert command.process.returncode is None, f"the proxy ended before it was ready:\n{command.log}"
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"the proxy is not ready after {START:.0f} s:\n{command.log}") from None
    ready: dict[str, object] = json.loads(file.read_text())
    return ready
