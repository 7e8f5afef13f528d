"""What it costs to match one request against many rules, beside mitmproxy's own filters on the same conditions.

`python -m tests.benchmarks.matching`. One process, no network: a rule set is asked about requests that match none of its
rules, and about one that matches the last, which proves that the rules are there.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.ruleset import RuleSet, load_rules

from .cli import _cache
from .errors import Failed, Unavailable
from .peers.base import Bench, install, installed_version
from .report import number, table

SIZES = (10, 100, 1_000, 10_000)
_PER_FILE = 2_000
"""Rules of one file, which may have 1 MiB."""


@dataclass(frozen=True)
class Mix:
    """Rules of one kind. `ours` and `theirs` are the filter of one rule by its number, ours and mitmproxy's."""

    key: str
    title: str
    ours: Callable[[int], str]
    theirs: Callable[[int], str]
    hit: Callable[[int], tuple[str, str]]
    """URL and value of `x-case` of a request that the rule matches."""


def _both(text: Callable[[int], str]) -> tuple[Callable[[int], str], Callable[[int], str]]:
    return text, text


MIXES = (
    Mix("host", 'host == "…"', lambda n: f'host == "h{n}.bench.test"', lambda n: rf"~d ^h{n}\.bench\.test$",
        lambda n: (f"http://h{n}.bench.test/", "")),
    Mix("host+path", 'host == "…" and path startswith "…"',
        lambda n: f'host == "h{n}.bench.test" and path startswith "/p{n}/"',
        lambda n: rf"~d ^h{n}\.bench\.test$ & ~u ^http://[^/]*/p{n}/",
        lambda n: (f"http://h{n}.bench.test/p{n}/", "")),
    Mix("one host", 'one host for all, and path ~ "^/api/…"',
        lambda n: f'host == "api.shop.test" and path ~ "^/v[0-9]/customers/tenant-{n}/[0-9]+$"',
        lambda n: rf"~d ^api\.shop\.test$ & ~u /v[0-9]/customers/tenant-{n}/[0-9]+$",
        lambda n: (f"http://api.shop.test/v1/customers/tenant-{n}/7", "")),
    Mix("path regex", 'path ~ "…", no host', lambda n: f'path ~ "/tenant-{n}/(orders|invoices)/[0-9]+"',
        lambda n: f'~u "/tenant-{n}/(orders|invoices)/[0-9]+"',
        lambda n: (f"http://api.shop.test/v1/tenant-{n}/orders/7", "")),
    Mix("query regex", 'query["token"] ~ "…"', lambda n: f'query["token"] ~ "^tok{n}-[a-f0-9]+$"',
        lambda n: rf'~u "[?&]token=tok{n}-[a-f0-9]+"', lambda n: (f"http://api.shop.test/v1?token=tok{n}-a7", "")),
    Mix("~u", "~u …, the same text in both", *_both(lambda n: f'~u "/item-{n}[.](json|xml)"'),
        lambda n: (f"http://api.shop.test/V1/Item-{n}.JSON", "")),
    Mix("header", 'request.header["x-case"] == "…"', lambda n: f'request.header["x-case"] == "case-{n}"',
        lambda n: rf"~hq x-case:.case-{n}\r", lambda n: ("http://api.shop.test/v1", f"case-{n}")),
    Mix("mixed", "all of these in turn", lambda n: MIXES[n % 7].ours(n), lambda n: MIXES[n % 7].theirs(n),
        lambda n: MIXES[n % 7].hit(n)),
)  # fmt: skip


def requests(size: int) -> list[tuple[str, str]]:
    """Requests that no rule of any mix matches, as alike to those that do as can be; URL and value of `x-case`."""
    found = []
    for n in range(50):
        other = size + 17 * n
        found += [
            (f"http://h{other}.bench.test/p{n}/item?page={n}", ""),
            (f"http://h{n}x.bench.test/p{other}/orders/{n}?sort=asc&filter=open", ""),
            (f"http://api.shop.test/v1/customers/tenant-{other}/{n}?sort=asc&page=12", "case-x"),
            (f"http://cdn{n}.shop.test/assets/js/app.{other}.js?token=tokx{n}-{other}", f"case-{other}"),
        ]
    return found


def flow_of(url: str, case: str) -> HTTPFlow:
    """A flow with the headers of a browser."""
    headers = [("Host", url.split("/")[2]), ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"), ("Accept", "*/*")]
    return HTTPFlow.make("GET", url, headers + ([("x-case", case)] if case else []))


def write_rules(mix: Mix, size: int, folder: Path) -> None:
    """`size` rules as files that are small enough."""
    action = "rewrite: {request: {headers: {x-hit: '1'}}}"
    for start in range(0, size, _PER_FILE):
        lines = ["version: 1", "rules:"]
        for n in range(start, min(start + _PER_FILE, size)):
            lines += [f"  - match: {json.dumps(mix.ours(n))}", f"    {action}"]
        (folder / f"rules-{start:06}.yaml").write_text("\n".join(lines) + "\n")


def measure(mix: Mix, size: int) -> tuple[float, float, int]:
    """Microseconds for one request, seconds to load, and the largest number of candidates."""
    with tempfile.TemporaryDirectory(prefix="rulesproxy-bench-") as name:
        write_rules(mix, size, Path(name))
        start = time.perf_counter()
        rules = load_rules(name)
        loaded = time.perf_counter() - start
    last = flow_of(*mix.hit(size - 1))
    handler(rules)(last)
    if last.hits != [rules.rules[-1].name]:
        raise Failed(f"{mix.key}: the last of {size:,} rules has not matched, but {last.hits}")
    flows = [flow_of(*request) for request in requests(size)]
    match, best, most = handler(rules), float("inf"), 0
    for _ in range(7):
        start = time.perf_counter()
        for flow in flows:
            match(flow)
        best = min(best, time.perf_counter() - start)
    for flow in flows:
        if flow.hits:
            raise Failed(f"{mix.key}: {flow.request.url} has matched {flow.hits}")
        most = max(most, len(flow.rules.numbers))  # type: ignore[attr-defined]
    return best / len(flows) * 1e6, loaded, most


def handler(rules: RuleSet) -> Callable[[HTTPFlow], None]:
    """What the proxy calls for every request head."""
    found: Callable[[HTTPFlow], None] = rules.requestheaders  # type: ignore[attr-defined]
    return found


THEIRS = r"""
import json, sys, time
from mitmproxy import flowfilter
from mitmproxy.test import tflow
job = json.load(sys.stdin)
def flow_of(url, case):
    flow = tflow.tflow()
    flow.request.url = url
    flow.request.headers.clear()
    for name, value in [("Host", url.split("/")[2]), ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"), ("Accept", "*/*")]:
        flow.request.headers[name] = value
    if case:
        flow.request.headers["x-case"] = case
    return flow
out = {}
for key, mix in job.items():
    start = time.perf_counter()
    filters = [flowfilter.parse(text) for text in mix["filters"]]
    parsed = time.perf_counter() - start
    assert filters[-1](flow_of(*mix["hit"])), mix["filters"][-1]
    flows = [flow_of(*request) for request in mix["requests"]]
    best = 1e9
    for _ in range(3):
        start = time.perf_counter()
        for flow in flows:
            for test in filters:
                test(flow)
        best = min(best, time.perf_counter() - start)
    out[key] = [best / len(flows) * 1e6, parsed]
print(json.dumps(out))
"""


def measure_theirs(python: Path, mixes: Sequence[Mix], size: int) -> dict[str, list[float]]:
    """By mix: microseconds for one request against mitmproxy's filters, and seconds to parse them."""
    few = 4 if size > 100 else 20
    job = {
        mix.key: {
            "filters": [mix.theirs(n) for n in range(size)],
            "hit": mix.hit(size - 1),
            "requests": requests(size)[:few],
        }
        for mix in mixes
    }
    done = subprocess.run(
        [str(python), "-c", THEIRS], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"mitmproxy's filters: {(done.stderr.strip() or 'no answer').splitlines()[-1]}")
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def main(argv: list[str] | None = None) -> int:
    """Prints the tables; 0, or 1 if a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.matching", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of rules, comma-separated")
    parser.add_argument("--mixes", default="all", help=f"comma-separated: {', '.join(mix.key for mix in MIXES)}")
    parser.add_argument("--theirs-up-to", type=int, default=1_000, help="most rules for mitmproxy; 0 leaves it out")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that mitmproxy is installed for")
    options = parser.parse_args(argv)
    sizes = [int(size) for size in options.sizes.split(",")]
    keys = [mix.key for mix in MIXES] if options.mixes == "all" else options.mixes.split(",")
    mixes = [mix for mix in MIXES if mix.key in keys]
    theirs: dict[int, dict[str, list[float]]] = {}
    try:
        if options.theirs_up_to:
            theirs = _peer(options, mixes, sizes)
        rows, loads = [], []
        for mix in mixes:
            ours = [measure(mix, size) for size in sizes]
            found = {size: values[mix.key] for size, values in theirs.items()}
            rows.append([mix.key, *[number(each[0]) for each in ours], str(max(each[2] for each in ours)),
                         *[number(found[size][0]) for size in found]])  # fmt: skip
            loads.append([mix.key, *[number(each[1]) for each in ours]])
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    peers = [f"mitmproxy {size:,}" for size in theirs]
    print("µs to match one request, none matching; the largest number of candidates; mitmproxy's filters")
    print(table(["rules", *[f"{size:,}" for size in sizes], "cand.", *peers], rows), end="\n\n")
    print("s to load the rules")
    print(table(["rules", *[f"{size:,}" for size in sizes]], loads))
    return 0


def _peer(options: argparse.Namespace, mixes: Sequence[Mix], sizes: Sequence[int]) -> dict[int, dict[str, list[float]]]:
    try:
        binaries = install(Bench(_cache(), Path(), options.peer_python, None), "mitmproxy")  # type: ignore[arg-type]
    except Unavailable as error:
        print(f"mitmproxy: skipped, {error}", file=sys.stderr)
        return {}
    print(f"mitmproxy {installed_version(binaries, 'mitmproxy')}", end="\n\n")
    return {size: measure_theirs(binaries / "python", mixes, size) for size in sizes if size <= options.theirs_up_to}


if __name__ == "__main__":
    sys.exit(main())
