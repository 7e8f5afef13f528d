"""One measurement: a fresh proxy, a probe, the load, and the checks that make the numbers mean something."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from . import load, probe
from .errors import Failed
from .origin import free_port, wait_for_port
from .peers import Bench, Proxy
from .processes import Program
from .scenarios import Scenario

_LEAST_CPU_SHARE = 0.02
"""A proxy that used less of its core than this under load was not in the way."""
_MANY = 20
"""Responses for each connection from which on none may have gone without."""


@dataclass(frozen=True)
class Conditions:
    """How to measure: the compiled load client, the cores, and seconds.

    `settle` passes between the first accepted connection and the look at the idle memory.
    """

    client: Path
    proxy_core: int
    load_core: int
    warm_up: float
    duration: float
    settle: float = 0.5


@dataclass(frozen=True)
class Sample:
    """One result; None where nothing was measured.

    `value` is in the unit of the scenario, memory in bytes. `per_cpu_s` is requests, connections or MB for each second
    of processor time of the proxy; `cpu_share` is the part of its core that the proxy used, `load_share` what the load
    client and the origin used of theirs; `origin_connections` were opened to the origin in the whole run.
    """

    value: float
    requests: int = 0
    per_cpu_s: float | None = None
    cpu_share: float | None = None
    load_share: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    start_s: float | None = None
    idle_memory: int | None = None
    peak_memory: int | None = None
    origin_connections: int | None = None


def measure(bench: Bench, proxy: Proxy, scenario: Scenario, conditions: Conditions) -> Sample:
    """Starts the proxy, measures one scenario, ends the proxy; Failed if the result would not be what its name says."""
    if scenario.unit == "s":
        # The first start of all makes an authority, compiles modules and reads them from the disk.
        with _running(bench, proxy, scenario, conditions):
            pass
    with _running(bench, proxy, scenario, conditions) as running:
        time.sleep(conditions.settle)
        idle = running.program.memory()
        plain = bench.origin.authority(replace(scenario, message=None))
        probe.check(scenario.setup, running.port, plain, proxy.ca())
        if scenario.setup.message_rule:
            probe.check_messages(running.port, bench.origin.authority(scenario))
        if scenario.unit == "s":
            return Sample(running.seconds, start_s=running.seconds, idle_memory=idle)
        sample = _under_load(bench, running, scenario, conditions)
        return replace(sample, start_s=running.seconds, idle_memory=idle)


def measure_direct(bench: Bench, scenario: Scenario, conditions: Conditions) -> Sample:
    """The same load without a proxy."""
    port = int(bench.origin.authority(replace(scenario, hosts=1)).rpartition(":")[2])
    clock = _Clock(bench.origin.cpu_seconds)
    seen = _load(bench, port, scenario, conditions, clock)
    return _sample(scenario, seen, load_share=(clock.elapsed(0) + seen.client_cpu_s) / seen.seconds)


@dataclass(frozen=True)
class _Running:
    """A proxy that accepts connections on `port`, `seconds` after it was started."""

    program: Program
    port: int
    seconds: float


@contextmanager
def _running(bench: Bench, proxy: Proxy, scenario: Scenario, conditions: Conditions) -> Iterator[_Running]:
    folder = Path(tempfile.mkdtemp(prefix=f"{scenario.key}-", dir=bench.work))
    folder.chmod(0o755)
    port = free_port()
    command = proxy.command(bench, scenario.setup, folder, port)
    program = Program(command.argv, conditions.proxy_core, folder / "log", command.env, folder)
    try:
        seconds = wait_for_port(program, port, proxy.start_timeout)
        if not seconds:
            raise Failed("it did not start")
        yield _Running(program, port, seconds)
    except Failed as failure:
        words = program.last_words()
        raise Failed(f"{failure}; it said: {words}" if words else str(failure)) from failure
    finally:
        program.stop()


class _Clock:
    """Processor seconds of some programs at the start and at the stop of the measured time."""

    def __init__(self, *readers: Callable[[], float]) -> None:
        self._readers = readers
        self._marks: dict[str, list[float]] = {}

    def mark(self, name: str) -> None:
        self._marks[name] = [read() for read in self._readers]

    def elapsed(self, which: int) -> float:
        return self._marks["stop"][which] - self._marks["start"][which]


def _under_load(bench: Bench, running: _Running, scenario: Scenario, conditions: Conditions) -> Sample:
    program = running.program
    connections, requests = bench.origin.counts(scenario)
    clock = _Clock(program.cpu_seconds, bench.origin.cpu_seconds)
    seen = _load(bench, running.port, scenario, conditions, clock, through_proxy=True)
    memory = program.peak_memory()
    if not program.alive:
        raise Failed("it ended under load")
    opened, reached = bench.origin.counts(scenario)
    # The second question for the counts is itself a connection and a request.
    opened, reached = opened - connections - 1, reached - requests - 1
    if reached < seen.total:
        raise Failed(f"the origin saw {reached} of {seen.total} requests: the proxy was bypassed or answered itself")
    cpu = clock.elapsed(0)
    if cpu < _LEAST_CPU_SHARE * seen.seconds:
        raise Failed(f"the proxy used {cpu:.2f} s of its core in {seen.seconds:.1f} s: it was bypassed")
    return replace(
        _sample(scenario, seen, load_share=(clock.elapsed(1) + seen.client_cpu_s) / seen.seconds),
        per_cpu_s=_value(scenario, seen) * seen.seconds / cpu,
        cpu_share=cpu / seen.seconds,
        peak_memory=memory,
        origin_connections=opened,
    )


def _load(
    bench: Bench, port: int, scenario: Scenario, conditions: Conditions, clock: _Clock, *, through_proxy: bool = False
) -> load.Load:
    options = load.arguments(
        scenario,
        port,
        bench.origin.authority(scenario),
        direct=not through_proxy,
        warm_up=conditions.warm_up,
        duration=conditions.duration,
    )
    seen = load.run(conditions.client, conditions.load_core, options, clock.mark)
    if seen.bad:
        status = f", last status {seen.bad_status}" if seen.bad_status else ""
        raise Failed(f"{seen.bad} wrong answers{status}: {seen.first_error}")
    if seen.errors:
        raise Failed(f"{seen.errors} errors: {seen.first_error}")
    if not seen.requests:
        raise Failed(f"no response was completed in {seen.seconds:.1f} s")
    if seen.starved and seen.requests > _MANY * scenario.connections:
        raise Failed(f"{seen.starved} of {scenario.connections} connections got no response while others got many")
    return seen


def _sample(scenario: Scenario, seen: load.Load, load_share: float) -> Sample:
    return Sample(
        value=_value(scenario, seen),
        requests=seen.requests,
        load_share=load_share,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
    )


def _value(scenario: Scenario, seen: load.Load) -> float:
    return seen.mb_per_s if scenario.unit == "MB/s" else seen.rps
