"""The command line: reads options, prepares what is to be measured, measures in turns, prints the report."""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from . import load, peers, report, scenarios
from .errors import Failed, Unavailable
from .measure import Conditions, measure, measure_direct
from .origin import Origin
from .peers import Bench, Direct, Proxy
from .scenarios import Scenario


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmarks; 0, 1 if a measurement failed, 2 for wrong usage or a machine that cannot measure, 130."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        chosen = scenarios.select(options.scenarios)
        proxies = peers.select(options.proxies)
        if options.repeat < 1 or options.duration <= 0:
            raise ValueError("--repeat and --duration must be above 0")
        if options.json and not options.json.absolute().parent.is_dir():
            raise ValueError(f"--json: there is no folder {options.json.parent}")
    except ValueError as error:
        parser.error(str(error))
    try:
        proxy_core, load_core = _cores()
        client, echo = load.build(_cache()), load.build(_cache(), "echo.c")
    except Unavailable as error:
        print(f"cannot measure here: {error}", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {load_core})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    conditions = Conditions(client, proxy_core, load_core, options.warm_up, options.duration)
    work = Path(tempfile.mkdtemp(prefix="rulesproxy-bench-"))
    work.chmod(0o755)
    try:
        with closing(Origin(work / "origin", load_core, echo)) as origin:
            bench = Bench(_cache(), work, options.peer_python, origin, options.squid)
            return _run(bench, proxies, chosen, conditions, options)
    except Unavailable as error:
        print(f"cannot measure here: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measures rulesproxy beside other proxies in interleaved turns, each pinned to one core.",
    )
    keys = ", ".join(f"{scenario.key} ({scenario.title})" for scenario in scenarios.ALL)
    parser.add_argument("--scenarios", default="default", help=f"comma-separated, default or all: {keys}")
    parser.add_argument(
        "--proxies",
        default="all",
        help=f"comma-separated or all: {', '.join(peers.KINDS)}; rulesproxy@FOLDER: another checkout",
    )
    parser.add_argument("--repeat", type=int, default=3, help="repetitions; each runs all proxies once per scenario")
    parser.add_argument("--duration", type=float, default=5.0, help="measured seconds")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of load before them")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that the peers are installed for")
    parser.add_argument("--squid", metavar="FILE", help="a squid binary other than the installed one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured")
    return parser


def _run(
    bench: Bench, proxies: list[Proxy], chosen: list[Scenario], conditions: Conditions, options: argparse.Namespace
) -> int:
    versions, results = _prepare(bench, proxies), report.Results()
    able = [proxy for proxy in proxies if proxy.name in versions]
    interrupted = False
    try:
        for repetition in range(options.repeat):
            for scenario in chosen:
                turn = repetition % max(len(able), 1)
                for proxy in able[turn:] + able[:turn]:
                    _one(bench, proxy, scenario, conditions, results, f"{repetition + 1}/{options.repeat}")
    except KeyboardInterrupt:
        interrupted = True
    names = [proxy.name for proxy in able]
    environment = _environment(conditions, options)
    print("\n".join(f"{name:<12} {value}" for name, value in {**environment, **versions}.items()), end="\n\n")
    print(report.render(results, chosen, names))
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "environment": environment,
                    "versions": versions,
                    "summary": report.summary(results, chosen, names),
                    "samples": [
                        {"scenario": key, "proxy": proxy, **asdict(sample)}
                        for (key, proxy), samples in results.samples.items()
                        for sample in samples
                    ],
                },
                indent=2,
            )
            + "\n"
        )
    if interrupted:
        return 130
    if results.failures:
        print(f"\nFAILED: {', '.join(f'({key}) {proxy}' for key, proxy in results.failures)}", file=sys.stderr)
    return 1 if results.failures or not results.samples else 0


def _prepare(bench: Bench, proxies: list[Proxy]) -> dict[str, str]:
    """The versions of the proxies that can be had; the others are named with the reason."""
    versions = {}
    for proxy in proxies:
        proxy.home = bench.work / f"home-{proxy.name}"
        proxy.home.mkdir()
        try:
            versions[proxy.name] = proxy.prepare(bench)
        except Unavailable as error:
            print(f"{proxy.name}: skipped, {error}", file=sys.stderr)
    return versions


def _one(
    bench: Bench, proxy: Proxy, scenario: Scenario, conditions: Conditions, results: report.Results, turn: str
) -> None:
    if (scenario.key, proxy.name) in results.failures:
        return
    direct = isinstance(proxy, Direct)
    reason = proxy.unsupported(scenario)
    if reason:
        results.skipped[scenario.key, proxy.name] = reason
        return
    try:
        sample = measure_direct(bench, scenario, conditions) if direct else measure(bench, proxy, scenario, conditions)
    except Failed as error:
        results.fail(scenario.key, proxy.name, str(error))
        print(f"{turn} ({scenario.key}) {proxy.name}: FAILED: {error}", file=sys.stderr)
        return
    results.add(scenario.key, proxy.name, sample)
    print(f"{turn} ({scenario.key}) {proxy.name}: {report.number(sample.value)} {scenario.unit}", file=sys.stderr)


def _cores() -> tuple[int, int]:
    """One core for the proxy and another one for the load client and the origin."""
    if sys.platform != "linux" or not shutil.which("taskset"):
        raise Unavailable("it needs Linux and the command taskset (apt: util-linux)")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Unavailable("it needs two processor cores, one for the proxy and one for the load")
    return cores[0], cores[1]


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rulesproxy-bench"


def _environment(conditions: Conditions, options: argparse.Namespace) -> dict[str, str]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "load": f"{os.getloadavg()[0]:.2f} in the last minute, this run included",
        "cores": f"proxy on {conditions.proxy_core}, load client and origin on {conditions.load_core}",
        "turns": f"{options.repeat} repetitions of {conditions.duration:g} s after {conditions.warm_up:g} s",
    }
