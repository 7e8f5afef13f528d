"""How long the loop of a proxy is kept waiting while it loads 1,000 rules again, under load.

`python -m tests.benchmarks.reload`. An addon inside the proxy wants to be called every millisecond and notes how late it is:
that is what every flow would have to wait. Half of the saves change one rule, half of them every rule. A client asks all the
time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .matching import MIXES, write_rules
from .report import table

PROBE = """
import asyncio, json, os, time
from pathlib import Path

FILE = Path(os.environ["PROBE_FILE"])
late = []


async def probe():
    while True:
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - due)


def running():
    global task
    task = asyncio.get_running_loop().create_task(probe())


def configure(updated):
    if updated == {"rules"}:
        draft = FILE.with_suffix(".draft")
        draft.write_text(json.dumps(late))
        draft.replace(FILE)
        late.clear()


def done():
    task.cancel()
"""


def main(argv: list[str] | None = None) -> int:
    """Prints the delays in milliseconds; 0, or 1 where a reload did not come."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reload", description=__doc__.split("\n")[0])
    parser.add_argument("--rules", type=int, default=1_000)
    parser.add_argument("--saves", type=int, default=20)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="rulesproxy-bench-") as name:
        return _measure(Path(name), options.rules, options.saves)


def _measure(folder: Path, rules: int, saves: int) -> int:
    many = folder / "rules"
    many.mkdir()
    write_rules(MIXES[-1], rules, many)
    last = folder / "last.yaml"
    probe, found, ready = folder / "probe.py", folder / "late.json", folder / "ready.json"
    probe.write_text(PROBE)
    texts = {path: path.read_text() for path in many.iterdir()}
    last.write_text(_rule(0))
    command = [sys.executable, "-m", "rulesproxy", "run", many, last, "--addon", probe, "--listen", "127.0.0.1:0", "-q"]
    environment = {**os.environ, "PROBE_FILE": str(found), "RULESPROXY_HOME": str(folder / "home")}
    rows = []
    with subprocess.Popen([*map(str, command), "--ready-file", str(ready)], env=environment) as proxy:
        try:
            _wait_for(ready)
            port = json.loads(ready.read_text())["listeners"][0]["port"]
            client = _client(port)
            for what in ("one rule", "every rule"):
                late: list[float] = []
                for number in range(saves):
                    found.unlink(missing_ok=True)
                    if what == "every rule":
                        for path, text in texts.items():
                            path.write_text(text.replace("/", f"/n{number}/"))
                    last.write_text(_rule(f"{what} {number}"))
                    _wait_for(found)
                    late += json.loads(found.read_text())
                rows.append([what, *_figures(late)])
            client.kill()
        finally:
            proxy.terminate()
    print(table(["changed", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "looks"], rows))
    return 0


def _client(port: int) -> subprocess.Popen[bytes]:
    """Asks the proxy without end for what a rule answers."""
    code = (
        "import socket\n"
        f"s = socket.create_connection(('127.0.0.1', {port}))\n"
        "while True:\n"
        "    s.sendall(b'GET http://last.test/ HTTP/1.1\\r\\nHost: last.test\\r\\n\\r\\n'); s.recv(65536)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code])


def _rule(word: object) -> str:
    return f"version: 1\nrules:\n  - id: last\n    match: host == 'last.test'\n    respond: {{body: 'r{word}'}}\n"


def _wait_for(file: Path) -> None:
    until = time.monotonic() + 60
    while not file.exists():
        if time.monotonic() > until:
            raise SystemExit(f"{file.name} did not come within a minute")
        time.sleep(0.005)


def _figures(late: list[float]) -> list[str]:
    late.sort()
    at = [late[min(int(len(late) * share), len(late) - 1)] for share in (0.5, 0.99, 0.999)]
    return [*[f"{each * 1000:.2f}" for each in (*at, late[-1])], str(len(late))]


if __name__ == "__main__":
    sys.exit(main())
