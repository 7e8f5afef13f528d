"""One measurement: a fresh proxy, a probe, the load, and the checks that make the numbers mean something."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import load, probe
from .errors import Failed
from .origin import free_port, wait_for_port
from .peers import Bench, Proxy
from .processes import Program
from .scenarios import Scenario

_SETTLE = 0.5
"""Seconds between the first accepted connection and the look at the idle memory."""
_LEAST_CPU_SHARE = 0.02
"""A proxy that used less of its core than this under load was not in the way."""


@dataclass(frozen=True)
class Conditions:
    """How to measure: cores, seconds, and the compiled load client."""

    client: Path
    proxy_core: int
    load_core: int
    warm_up: float
    duration: float


@dataclass(frozen=True)
class Sample:
    """One result; None where nothing was measured.

    `value` is in the unit of the scenario, memory in bytes. `per_cpu_s` is requests, connections or MB for each second of
    processor time of the proxy; `cpu_share` and `client_share` are parts of one core; `origin_connections` were opened to
    the origin in the measured time.
    """

    value: float
    requests: int = 0
    per_cpu_s: float | None = None
    cpu_share: float | None = None
    client_share: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    start_s: float | None = None
    idle_memory: int | None = None
    peak_memory: int | None = None
    origin_connections: int | None = None


@dataclass(frozen=True)
class _Mark:
    cpu: float
    connections: int
    requests: int


def measure(bench: Bench, proxy: Proxy, scenario: Scenario, conditions: Conditions) -> Sample:
    """Starts the proxy, measures one scenario, ends the proxy; Failed if the result would not be what its name says."""
    folder = Path(tempfile.mkdtemp(prefix=f"{scenario.key}-", dir=bench.work))
    folder.chmod(0o755)
    port = free_port()
    command = proxy.command(bench, scenario.setup, folder, port)
    program = Program(command.argv, conditions.proxy_core, folder / "log", command.env, folder)
    try:
        started = wait_for_port(program, port, proxy.start_timeout)
        if not started:
            raise Failed("it did not start")
        time.sleep(_SETTLE)
        idle = program.memory()
        probe.check(scenario.setup, port, bench.origin.authority(scenario), proxy.ca())
        if scenario.unit == "s":
            return Sample(started, start_s=started, idle_memory=idle, peak_memory=program.peak_memory())
        return _under_load(bench, program, port, scenario, conditions, started, idle)
    except Failed as failure:
        words = program.last_words()
        raise Failed(f"{failure}; it said: {words}" if words else str(failure)) from failure
    finally:
        program.stop()


def measure_direct(bench: Bench, scenario: Scenario, conditions: Conditions) -> Sample:
    """The same load without a proxy."""
    port = bench.origin.tls_port if scenario.tls else bench.origin.port
    options = load.arguments(
        scenario,
        port,
        bench.origin.authority(scenario),
        direct=True,
        warm_up=conditions.warm_up,
        duration=conditions.duration,
    )
    seen = load.run(conditions.client, conditions.load_core, options, lambda _: None)
    _check_answers(seen)
    return _sample(scenario, seen)


def _under_load(
    bench: Bench, program: Program, port: int, scenario: Scenario, conditions: Conditions, started: float, idle: int
) -> Sample:
    marks: dict[str, _Mark] = {}
    memory = 0

    def on_mark(name: str) -> None:
        nonlocal memory
        memory = program.peak_memory()
        marks[name] = _Mark(program.cpu_seconds(), *bench.origin.counts())

    options = load.arguments(
        scenario,
        port,
        bench.origin.authority(scenario),
        direct=False,
        warm_up=conditions.warm_up,
        duration=conditions.duration,
    )
    seen = load.run(conditions.client, conditions.load_core, options, on_mark)
    _check_answers(seen)
    if not program.alive or set(marks) != {"start", "stop"}:
        raise Failed("it ended under load")
    cpu = marks["stop"].cpu - marks["start"].cpu
    # What is on its way at either mark is seen by one side only; the question itself is seen as one.
    reached = marks["stop"].requests - marks["start"].requests - 1
    if reached < seen.requests - 2 * scenario.connections:
        raise Failed(f"the origin saw {reached} of {seen.requests} requests: the proxy was bypassed or answered itself")
    if cpu < _LEAST_CPU_SHARE * seen.seconds:
        raise Failed(f"the proxy used {cpu:.2f} s of its core in {seen.seconds:.1f} s: it was bypassed")
    return _sample(
        scenario,
        seen,
        cpu=cpu,
        start_s=started,
        idle_memory=idle,
        peak_memory=memory,
        origin_connections=marks["stop"].connections - marks["start"].connections - 1,
    )


def _check_answers(seen: load.Load) -> None:
    if seen.bad:
        status = f", last status {seen.bad_status}" if seen.bad_status else ""
        raise Failed(f"{seen.bad} wrong answers{status}: {seen.first_error}")
    if seen.errors:
        raise Failed(f"{seen.errors} errors: {seen.first_error}")
    if not seen.requests:
        raise Failed(f"no response was completed in {seen.seconds:.1f} s")


def _sample(
    scenario: Scenario,
    seen: load.Load,
    *,
    cpu: float | None = None,
    start_s: float | None = None,
    idle_memory: int | None = None,
    peak_memory: int | None = None,
    origin_connections: int | None = None,
) -> Sample:
    value = seen.mb_per_s if scenario.unit == "MB/s" else seen.rps
    return Sample(
        value=value,
        requests=seen.requests,
        per_cpu_s=value * seen.seconds / cpu if cpu else None,
        cpu_share=cpu / seen.seconds if cpu else None,
        client_share=seen.client_cpu_s / seen.seconds,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        start_s=start_s,
        idle_memory=idle_memory,
        peak_memory=peak_memory,
        origin_connections=origin_connections,
    )
