"""Processes of a proxy: started on one core, watched through /proc, ended as a group. Linux only."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


class Program:
    """A running program and everything that it started.

    `core` is the processor that it is pinned to; its output goes to the file `log`.
    """

    def __init__(self, argv: Sequence[str], core: int, log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.log = log
        self.started = time.perf_counter()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_environment(), **env},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree, children that have ended included."""
        return sum(read_cpu(pid) for pid in tree(self._process.pid))

    def memory(self) -> int:
        """Resident bytes of the tree; pages that several processes share count once for each."""
        return sum(_status(pid, "VmRSS") for pid in tree(self._process.pid))

    def peak_memory(self) -> int:
        """The sum of the largest resident size that each process of the tree ever had, in bytes."""
        return sum(_status(pid, "VmHWM") for pid in tree(self._process.pid))

    def stop(self) -> None:
        """Ends the process group: politely first, after two seconds not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()

    def last_words(self) -> str:
        """The end of what the program printed, on one line."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-3:])[-400:]


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def read_cpu(pid: int) -> float:
    """Seconds of user and system time of a process and of its children that have ended; 0 if it is gone."""
    fields = _stat(pid)
    return sum(int(value) for value in fields[11:15]) / _TICK if fields else 0.0


def _environment() -> dict[str, str]:
    """This process's environment without what would set up a proxy behind our back."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RULESPROXY_") and not name.lower().endswith("_proxy")
    }


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: the name before them may hold spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _status(pid: int, name: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0
