"""The load client: builds `pload.c` once, runs it, reads its one line. It does not judge what it reads."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import Failed, Unavailable
from .scenarios import Scenario

_SOURCE = "pload.c"


@dataclass(frozen=True)
class Load:
    """What the load client saw: times in ms, `mb_per_s` in 10^6 bytes, `total`, `errors` and `bad` with the warm-up."""

    total: int
    requests: int
    seconds: float
    rps: float
    mb_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    starved: int
    errors: int
    bad: int
    bad_status: int
    first_error: str
    client_cpu_s: float


def parse(line: str) -> Load:
    """Reads the JSON line of the load client; Failed if it is not one."""
    try:
        return Load(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise Failed(f"the load client wrote {line[:200]!r}: {error}") from error


def build(cache: Path, source: str = _SOURCE) -> Path:
    """Compiles the load client, or another program of this folder, into the cache unless it is there already."""
    file = Path(__file__).with_name(source)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("no C compiler for the load client (apt: gcc, libssl-dev)")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    program = cache / f"{file.stem}-{digest}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(".part")
        command = [compiler, "-std=gnu11", "-O2", "-o", str(unfinished), str(file), "-lssl", "-lcrypto"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"{source} does not compile (apt: libssl-dev): {done.stderr.strip()[:300]}")
        unfinished.rename(program)
    return program


def arguments(
    scenario: Scenario, port: int, authority: str, *, direct: bool, warm_up: float, duration: float
) -> list[str]:
    """The options of the load client for a scenario, through a proxy on `port` or directly to an origin there."""
    if direct or scenario.setup.mode == "reverse":
        mode = "origin"
    else:
        mode = "connect" if scenario.tls else "absolute"
    options = ["-p", f"127.0.0.1:{port}", "-m", mode, "-a", authority, "-n", str(scenario.hosts), "-u", scenario.path]
    options += ["-b", str(scenario.body), "-c", str(scenario.connections), "-w", str(warm_up), "-d", str(duration)]
    options += ["-s"] if scenario.tls else []
    options += ["-1"] if scenario.once else []
    options += [] if scenario.message is None else ["-W", str(scenario.message)]
    if direct and scenario.setup.header_rule:
        options += ["-H", "x-req: 1"]
    elif scenario.expect_field:
        options += ["-E", scenario.expect_field]
    return options


def run(program: Path, core: int, options: list[str], on_mark: Callable[[str], None]) -> Load:
    """Runs the load client on a core; `on_mark` is called with `start` and `stop` around its measured time."""
    command = ["taskset", "-c", str(core), str(program), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = ""
        for line in process.stdout:
            if line.strip() in ("start", "stop"):
                on_mark(line.strip())
        complaint = process.stderr.read()
    if process.returncode:
        raise Failed(f"the load client failed: {complaint.strip()[:200]}")
    return parse(line)
