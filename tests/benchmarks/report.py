"""From samples to medians, ratios and tables. It measures nothing and formats everything."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from .measure import Sample
from .scenarios import Scenario

PEERS = ("mitmproxy", "proxy.py")
"""The proxies that the ratios are to."""
_MIB = 1024 * 1024
_NEAR_LIMIT = 0.9
_NOISY = 0.25


@dataclass
class Results:
    """All outcomes of a run, by scenario key and proxy name; samples are in the order of the repetitions.

    A pair with a failure has no number anywhere, whatever its other repetitions gave.
    """

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    failures: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, scenario: str, proxy: str, sample: Sample) -> None:
        self.samples.setdefault((scenario, proxy), []).append(sample)

    def fail(self, scenario: str, proxy: str, reason: str) -> None:
        self.failures.setdefault((scenario, proxy), []).append(reason)

    def good(self, scenario: str, proxy: str) -> list[Sample]:
        return [] if (scenario, proxy) in self.failures else self.samples.get((scenario, proxy), [])


def median(samples: Sequence[Sample], of: Callable[[Sample], float | None]) -> float | None:
    """The median of what is there; None if nothing is."""
    values = [value for value in map(of, samples) if value is not None]
    return statistics.median(values) if values else None


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], of: Callable[[Sample], float | None]) -> float | None:
    """The median of the ratios within each repetition: what slows the machine down for a while slows both."""
    pairs = [(of(our), of(their)) for our, their in zip(ours, theirs, strict=False)]
    ratios = [our / their for our, their in pairs if our is not None and their]
    return statistics.median(ratios) if ratios else None


def number(value: float | None) -> str:
    """Three digits or more: 0.183, 8.42, 84.2, 8,421."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
    return "\n".join(lines)


def render(results: Results, scenarios: Sequence[Scenario], proxies: Sequence[str]) -> str:
    """The whole report as text: one table for each scenario, then the notes."""
    parts = [_scenario(results, scenario, proxies) for scenario in scenarios]
    notes = _rule_cost(results, proxies)
    return "\n\n".join([*parts, *([notes] if notes else [])])


def summary(results: Results, scenarios: Sequence[Scenario], proxies: Sequence[str]) -> list[dict[str, object]]:
    """The same as plain data."""
    rows: list[dict[str, object]] = []
    for scenario in scenarios:
        for proxy in proxies:
            row: dict[str, object] = {"scenario": scenario.key, "unit": scenario.unit, "proxy": proxy}
            samples = results.good(scenario.key, proxy)
            if samples:
                row |= {name: median(samples, _get(name)) for name in asdict(samples[0])}
                row |= {"min": min(s.value for s in samples), "max": max(s.value for s in samples)}
                for peer in PEERS:
                    others = results.good(scenario.key, peer)
                    row[f"ratio to {peer}"] = ratio(samples, others, _get("value"))
                    row[f"ratio to {peer} per CPU second"] = ratio(samples, others, _get("per_cpu_s"))
            row["failures"] = results.failures.get((scenario.key, proxy), [])
            row["skipped"] = results.skipped.get((scenario.key, proxy))
            rows.append(row)
    return rows


def _get(name: str) -> Callable[[Sample], float | None]:
    def read(sample: Sample) -> float | None:
        value: float | None = getattr(sample, name)
        return value

    return read


def _scenario(results: Results, scenario: Scenario, proxies: Sequence[str]) -> str:
    rows, notes = [], []
    for proxy in proxies:
        key = scenario.key, proxy
        if key in results.skipped:
            notes.append(f"  {proxy}: skipped, {results.skipped[key]}")
        elif key in results.failures:
            notes.append(f"  {proxy}: FAILED, so no number is given: {results.failures[key][0]}")
        elif results.good(*key):
            rows.append(_row(results, scenario, proxy))
            notes += _warnings(results, scenario, proxy)
    title = f"({scenario.key}) {scenario.title}"
    carried = f"{_size(scenario.body)} bodies" if scenario.message is None else f"messages of {scenario.message} bytes"
    load = "" if scenario.unit == "s" else f"; {scenario.connections} connections, {carried}"
    body = [table(_header(scenario), rows)] if rows else []
    return "\n".join([f"{title} [{scenario.unit}{load}]", *body, *notes])


def _header(scenario: Scenario) -> list[str]:
    ratios = [f"×{peer}" for peer in PEERS]
    if scenario.unit == "s":
        return ["proxy", "s  median [min–max]", *ratios, "idle MiB"]
    return [
        "proxy",
        f"{scenario.unit}  median [min–max]",
        *ratios,
        f"{scenario.unit.split('/')[0]}/CPU-s",
        *ratios,
        "proxy core",
        "load core",
        "p50 ms",
        "p99 ms",
        "idle MiB",
        "peak MiB",
    ]


def _row(results: Results, scenario: Scenario, proxy: str) -> list[str]:
    samples = results.good(scenario.key, proxy)
    peers = [results.good(scenario.key, peer) for peer in PEERS]
    values = [sample.value for sample in samples]
    spread = f"{number(median(samples, _get('value')))} [{number(min(values))}–{number(max(values))}]"
    row = [proxy, spread, *(number(ratio(samples, peer, _get("value"))) for peer in peers)]
    idle = _mebibytes(median(samples, _get("idle_memory")))
    if scenario.unit == "s":
        return [*row, idle]
    return [
        *row,
        number(median(samples, _get("per_cpu_s"))),
        *(number(ratio(samples, peer, _get("per_cpu_s"))) for peer in peers),
        _percent(median(samples, _get("cpu_share"))),
        _percent(median(samples, _get("load_share"))),
        number(median(samples, _get("p50_ms"))),
        number(median(samples, _get("p99_ms"))),
        idle,
        _mebibytes(median(samples, _get("peak_memory"))),
    ]


def _warnings(results: Results, scenario: Scenario, proxy: str) -> list[str]:
    samples = results.good(scenario.key, proxy)
    middle = median(samples, _get("value")) or 0.0
    values = [sample.value for sample in samples]
    notes = []
    if proxy != "direct" and (median(samples, _get("load_share")) or 0.0) > _NEAR_LIMIT:
        notes.append(f"  {proxy}: load client and origin had no time left; believe the number per CPU second")
    if max(values) - min(values) > _NOISY * middle:
        advice = "repeat more often" if scenario.unit == "s" else "believe the number per CPU second"
        notes.append(f"  {proxy}: noisy, the values are more than {_NOISY:.0%} apart; {advice}")
    return notes


def _rule_cost(results: Results, proxies: Sequence[str]) -> str:
    """What a large rule set leaves of the speed of one rule, within each proxy."""
    lines = []
    for proxy in proxies:
        base = results.good("b", proxy)
        for key in ("i", "i10000"):
            part = ratio(results.good(key, proxy), base, _get("per_cpu_s"))
            if part is not None:
                lines.append(f"  {proxy}: ({key}) is {part:.0%} of (b) per CPU second")
    return "\n".join(["Cost of a large rule set", *lines]) if lines else ""


def _size(count: int) -> str:
    return f"{count // _MIB} MiB" if count >= _MIB else f"{count // 1024} KiB"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _mebibytes(count: float | None) -> str:
    return "–" if count is None else f"{count / _MIB:.0f}"
