"""The arithmetic and the words of the harness: what it prints from known samples, and what it refuses."""

import json
import os
from pathlib import Path

import pytest

from tests.benchmarks import load, peers, probe, processes, report, scenarios
from tests.benchmarks.errors import Failed
from tests.benchmarks.measure import Sample
from tests.benchmarks.peers.mitmproxy import Mitmproxy
from tests.benchmarks.peers.rulesproxy import RulesProxy
from tests.benchmarks.scenarios import Setup

LINE = {
    "total": 1200,
    "requests": 1000,
    "seconds": 2.0,
    "rps": 500.0,
    "mb_per_s": 0.5,
    "p50_ms": 1.0,
    "p99_ms": 9.0,
    "max_ms": 12.0,
    "starved": 0,
    "errors": 0,
    "bad": 0,
    "bad_status": 0,
    "first_error": "",
    "client_cpu_s": 0.1,
}


def results(**values: list[float]) -> report.Results:
    """Scenario (b) with these values per repetition; every proxy used half of its core."""
    filled = report.Results()
    for proxy, numbers in values.items():
        for value in numbers:
            filled.add("b", proxy, Sample(value, per_cpu_s=2 * value, cpu_share=0.5, idle_memory=50 << 20))
    return filled


def render(filled: report.Results) -> str:
    names = sorted({proxy for _, proxy in [*filled.samples, *filled.failures, *filled.skipped]})
    return report.render(filled, scenarios.select("b"), names)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.1834, "0.183"),
        (1.0, "1.00"),
        (8.421, "8.42"),
        (84.21, "84.2"),
        (842.1, "842"),
        (8421.4, "8,421"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert report.number(value) == text


def test_ratio_is_the_median_within_the_repetitions() -> None:
    filled = results(rulesproxy=[100, 50, 90], mitmproxy=[10, 5, 6])
    ours, theirs = filled.good("b", "rulesproxy"), filled.good("b", "mitmproxy")
    # The machine was half as fast in the second repetition, which the ratio does not see.
    assert report.ratio(ours, theirs, lambda sample: sample.value) == 10
    assert report.median(ours, lambda sample: sample.value) == 90
    assert report.ratio(ours, [], lambda sample: sample.value) is None


def test_table_shows_median_range_and_ratio() -> None:
    text = render(results(rulesproxy=[9000, 10000, 11000], mitmproxy=[1000, 1000, 1000]))
    row = next(line for line in text.splitlines() if line.startswith("rulesproxy"))
    assert " ".join(row.split()[1:]) == "10,000 [9,000–11,000] 10.0 – 20,000 10.0 – 50% – – – 50 –"


def test_failed_scenario_has_no_number_anywhere() -> None:
    filled = results(rulesproxy=[9000, 10000], mitmproxy=[1000, 1000])
    filled.fail("b", "rulesproxy", "3 wrong answers, last status 502")
    filled.skipped["b", "squid"] = "no TLS"
    text = render(filled)
    assert "rulesproxy: FAILED, so no number is given: 3 wrong answers, last status 502" in text
    assert "squid: skipped, no TLS" in text
    assert "9,000" not in text
    assert "10,000" not in text
    row = report.summary(filled, scenarios.select("b"), ["rulesproxy"])[0]
    assert "value" not in row
    assert row["failures"] == ["3 wrong answers, last status 502"]


def test_noise_and_a_full_load_core_are_said() -> None:
    filled = results(mitmproxy=[1000, 2000])
    assert "noisy" in render(filled)
    calm = report.Results()
    calm.add("b", "mitmproxy", Sample(1000, load_share=0.99))
    assert "noisy" not in render(calm)
    assert "no time left" in render(calm)


def test_table_lines_up() -> None:
    lines = report.table(["name", "n"], [["a", "1"], ["longer", "1,000"]]).splitlines()
    assert lines == ["name        n", "------  -----", "a           1", "longer  1,000"]


def test_parse_reads_the_line_of_the_client() -> None:
    assert load.parse(json.dumps(LINE)).p99_ms == 9.0


@pytest.mark.parametrize("line", ["", "start", "{}", "[]", json.dumps({**LINE, "surprise": 1})])
def test_parse_refuses_another_line(line: str) -> None:
    with pytest.raises(Failed, match="the load client wrote"):
        load.parse(line)


def test_arguments_follow_the_scenario() -> None:
    def options(key: str, direct: bool = False) -> list[str]:
        [scenario] = scenarios.select(key)
        return load.arguments(scenario, 8080, "localhost:80", direct=direct, warm_up=1, duration=2)

    assert options("a")[3] == "absolute"
    assert options("c")[3] == "origin"
    assert options("d")[3] == "connect"
    assert "-s" in options("d")
    assert "-1" in options("f")
    assert options("b")[-2:] == ["-E", "x-resp"]
    assert options("b", direct=True)[-2:] == ["-H", "x-req: 1"]
    assert options("g")[-2:] == ["-W", "64"]


@pytest.mark.parametrize("select", [scenarios.select, peers.select])
@pytest.mark.parametrize("names", ["", "nonsense", "a,nonsense", "mitmproxy@/tmp"])
def test_unknown_names_are_refused(select: object, names: str) -> None:
    assert callable(select)
    with pytest.raises(ValueError, match="there are: "):
        select(names)


def test_selections() -> None:
    assert [scenario.key for scenario in scenarios.select("i,a")] == ["i", "a"]
    assert scenarios.select("all") == list(scenarios.ALL)
    assert [proxy.name for proxy in peers.select("mitmproxy,rulesproxy@/srv/other")] == [
        "mitmproxy",
        "rulesproxy@other",
    ]


@pytest.mark.parametrize("proxy", [RulesProxy(), Mitmproxy()])
def test_a_large_rule_set_ends_with_the_rule_of_the_probe(proxy: peers.Proxy, tmp_path: Path) -> None:
    proxy.home = tmp_path

    class Origin:
        ca, port = Path("ca.pem"), 80

    bench = peers.Bench(tmp_path, tmp_path, "python", Origin())  # type: ignore[arg-type]
    proxy.command(bench, Setup(idle_rules=10), tmp_path, 8080)
    [written] = [path for path in tmp_path.iterdir() if path.suffix == ".yaml"]
    text = written.read_text()
    assert text.count("bench") == 10
    assert text.index(scenarios.PATH_RULE_PROBE) > text.rindex("/p9/")


def test_cpu_and_memory_of_this_process_are_seen() -> None:
    own = os.getpid()
    assert own in processes.tree(own)
    assert processes.read_cpu(own) > 0
    assert processes.read_cpu(2**22 + 1) == 0


def test_probe_wants_the_authority() -> None:
    with pytest.raises(Failed, match="no authority"):
        probe.check(Setup(intercept=True), 1, "localhost:1", None)
