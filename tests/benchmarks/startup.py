"""How long commands take that do little, beside `mitmdump --version`: the start of the program is all that is measured.

`python -m tests.benchmarks.startup`. The commands run in turns; the first turn writes the bytecode and does not count.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .cli import _cache
from .errors import Failed, Unavailable
from .matching import MIXES, write_rules
from .peers.base import Bench, install, installed_version
from .report import number, table

RULES = """version: 1
rules:
  - match: host == "a.test" and path startswith "/v1"
    rewrite: {request: {headers: {x-a: "1"}}}
  - match: host under "b.test" and path ~ "^/x/[0-9]+$"
    block: 403
  - match: ~u /old
    redirect: /new
"""
YARDSTICK = "mitmdump --version"


def main(argv: list[str] | None = None) -> int:
    """Prints the table; 0, or 1 if a command failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.startup", description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that mitmproxy is installed for")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="rulesproxy-bench-") as name:
        folder = Path(name)
        (folder / "three.yaml").write_text(RULES)
        many = folder / "many"
        many.mkdir()
        write_rules(MIXES[-1], 1_000, many)
        program = [sys.executable, "-m", "rulesproxy"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "rulesproxy --help": [*program, "--help"],
            "rulesproxy check, 3 rules": [*program, "check", str(folder / "three.yaml")],
            "rulesproxy check, 1,000 rules": [*program, "check", str(many)],
        }
        try:
            binaries = install(Bench(_cache(), Path(), options.peer_python, None), "mitmproxy")  # type: ignore[arg-type]
            commands[YARDSTICK] = [str(binaries / "mitmdump"), "--version"]
            print(f"mitmproxy {installed_version(binaries, 'mitmproxy')}", end="\n\n")
        except Unavailable as error:
            print(f"mitmproxy: skipped, {error}", file=sys.stderr)
        try:
            times = _measure(commands, options.repeat)
        except Failed as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
    print(_table(times))
    return 0


def _measure(commands: dict[str, list[str]], repeat: int) -> dict[str, list[float]]:
    # Without bytecode Python compiles what it imports at every start, which no installed program does.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {title: [] for title in commands}
    for turn in range(repeat + 1):
        for title, argv in commands.items():
            start = time.perf_counter()
            done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - start
            if done.returncode:
                raise Failed(f"{title} ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
            if turn:
                times[title].append(seconds)
    return times


def _table(times: dict[str, list[float]]) -> str:
    rows = []
    theirs = times.get(YARDSTICK)
    for title, values in times.items():
        share = statistics.median(a / b for a, b in zip(values, theirs, strict=True)) if theirs else None
        rows.append([title, number(statistics.median(values)), number(min(values)), number(max(values)), number(share)])
    return table(["command", "s", "min", "max", "of mitmdump"], rows)


if __name__ == "__main__":
    sys.exit(main())
