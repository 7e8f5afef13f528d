"""The actions that ask for effects: what they write into the plan, and that their chances can be repeated."""

from __future__ import annotations

import math
from statistics import median, stdev
from typing import Any

import pytest

from rulesproxy.flow.connection import ClientConn
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import Dribble, Fault, Plan
from rulesproxy.rules.actions.throttle import PROFILES, Profile
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.ruleset import RuleSet, load_rules


def rules(actions: str, match: str = "~all", seed: str = "s", more: str = "") -> RuleSet:
    outside = Outside(lambda: 0.0, lambda: 0.0, lambda: "", seed)
    body = actions.replace("\n", "\n    ")
    return load_rules(text=f"version: 1\nrules:\n  - id: r\n    match: {match}\n    {body}\n{more}", outside=outside)


def planned(rules: RuleSet, *events: str, client: str = "192.0.2.1", **flow: Any) -> tuple[Plan | None, HTTPFlow]:
    made = HTTPFlow.make("GET", "http://a.test/", **{"status": 200, **flow})
    made.client_conn = ClientConn((client, 1))
    response, made.response = made.response, None
    for event in events or ("requestheaders",):
        if event.startswith("response"):
            made.response = response
        getattr(rules, event, lambda flow: None)(made)
    return made.planned, made


def delays(actions: str, count: int, **options: Any) -> list[float]:
    loaded = rules(actions, **options)
    return [planned(loaded)[0].delay for _ in range(count)]  # type: ignore[union-attr]


def test_a_delay_is_planned() -> None:
    assert delays("delay: 200ms", 3) == [0.2, 0.2, 0.2]
    times = delays("delay: 200ms..2s", 1000)
    assert min(times) >= 0.2
    assert max(times) < 2
    assert sum(times) / 1000 == pytest.approx(1.1, abs=0.06)
    assert len(set(times)) == 1000


def test_chances_depend_on_the_seed_only() -> None:
    for key in ("", "seed: '7', "):
        text = "delay: {" + key + "time: 0..1s}"
        assert delays(text, 20) == delays(text, 20)
        assert (delays(text, 20, seed="another") == delays(text, 20)) is bool(key)


def test_a_lognormal_delay_has_its_median_and_spread() -> None:
    times = delays("delay: {distribution: lognormal, median: 200ms, sigma: 0.5}", 4000)
    assert median(times) == pytest.approx(0.2, rel=0.05)
    assert stdev(map(math.log, times)) == pytest.approx(0.5, rel=0.05)
    assert delays("delay: {distribution: lognormal, median: 200ms, sigma: 0}", 2) == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize(
    ("actions", "match", "request_", "response"),
    [
        ("delay: 1s", "~all", 1, 0),
        ("delay: 1s", "response.status == 200", 0, 1),
        ("delay: {request: 1s, response: 2s}", "~all", 1, 2),
        ("delay: {time: 3s, on: response}", "~all", 0, 3),
        ("delay: {time: 3s, on: request}", "~all", 3, 0),
        ("delay: {distribution: lognormal, median: 4s, sigma: 0, on: response}", "~all", 0, 4),
    ],
)
def test_a_delay_has_its_side(actions: str, match: str, request_: float, response: float) -> None:
    loaded = rules(actions, match=match)
    plan, flow = planned(loaded)
    assert (plan.delay if plan else 0) == pytest.approx(request_)
    if plan:
        plan.delay = 0
    flow.response = HTTPFlow.make("GET", "http://a.test/", status=200).response
    loaded.responseheaders(flow) if hasattr(loaded, "responseheaders") else None  # type: ignore[attr-defined]
    assert (flow.plan.delay) == pytest.approx(response)


def test_delays_of_several_rules_add_up() -> None:
    loaded = rules("delay: 1s", more="  - match: ~all\n    delay: 500ms\n")
    assert planned(loaded)[0].delay == 1.5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("actions", "down", "up", "latency"),
    [
        ("throttle: 50KB/s", 50_000, None, 0),
        ("throttle: {up: 10KB/s, latency: 200ms}", None, 10_000, 0.2),
        ("throttle: {profile: 3g}", 200_000, 96_000, 0.3),
        ("throttle: {profile: 3g, down: 1KB/s, latency: 0}", 1000, 96_000, 0),
        ("throttle: {profile: devtools-slow-4g}", 180_000, 84_375, 0.5625),
    ],
)
def test_a_throttle_is_planned(actions: str, down: float | None, up: float | None, latency: float) -> None:
    plan, _ = planned(rules(actions))
    assert plan is not None
    (slow,) = plan.throttles
    assert (slow.down.bytes_per_second if slow.down else None) == down
    assert (slow.up.bytes_per_second if slow.up else None) == up
    assert slow.latency == latency


def test_a_latency_between_two_times_is_drawn_per_flow() -> None:
    loaded = rules("throttle: {latency: 150ms..250ms}")
    found = [planned(loaded)[0].throttles[0].latency for _ in range(200)]  # type: ignore[union-attr]
    assert min(found) >= 0.15
    assert max(found) < 0.25
    assert len(set(found)) == 200


@pytest.mark.parametrize(("scope", "shared", "same_client"), [("flow", 0, 0), ("client", 0, 1), ("rule", 1, 1)])
def test_who_shares_a_rate(scope: str, shared: int, same_client: int) -> None:
    loaded = rules(f"throttle: {{down: 1KB/s, up: 1KB/s, scope: {scope}}}")
    one, two, three = (planned(loaded, client=client)[0] for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2"))
    for way in ("down", "up"):
        first, second, third = (getattr(plan.throttles[0], way) for plan in (one, two, three))
        assert (first is second) is bool(same_client)
        assert (first is third) is bool(shared)


def test_every_profile_is_one() -> None:
    from typing import get_args

    assert get_args(Profile) == tuple(PROFILES)
    assert all(min(line) > 0 for line in PROFILES.values())


@pytest.mark.parametrize(
    ("actions", "fault"),
    [
        ("fault: {truncate: 1KB}", Fault(truncate=1000)),
        ("fault: {truncate: 0}", Fault(truncate=0)),
        ("fault: malformed-chunk", Fault(malformed_chunk=True)),
        ("fault: slow-close", Fault(slow_close=5)),
        ("fault: {slow-close: 200ms, truncate: 7}", Fault(truncate=7, slow_close=0.2)),
        ("fault: {dribble: {chunks: 5, over: 2s}}", Fault(dribble=Dribble(5, 2))),
    ],
)
def test_a_fault_is_planned(actions: str, fault: Fault) -> None:
    for match, event in (("~all", "requestheaders"), ("response.status == 200", "responseheaders")):
        events = ["requestheaders"] if event == "requestheaders" else ["requestheaders", "responseheaders"]
        plan, flow = planned(rules(actions, match=match), *events)
        assert plan is not None
        assert (plan.fault, plan.end) == (fault, None)
        assert flow.hits == ["r"]


def test_the_faults_of_two_rules_come_together() -> None:
    plan, _ = planned(rules("fault: {truncate: 9}", more="  - match: ~all\n    fault: slow-close\n"))
    assert plan is not None
    assert plan.fault == Fault(truncate=9, slow_close=5)


@pytest.mark.parametrize(("word", "end"), [("reset", "reset"), ("empty", "close")])
def test_a_fault_in_place_of_an_answer_ends_the_pass(word: str, end: str) -> None:
    below = "  - id: below\n    match: ~all\n    tag: seen\n"
    plan, flow = planned(rules(f"fault: {word}", more=below))
    assert plan is not None
    assert plan.end == end
    assert flow.hits == ["r"]
    plan, _ = planned(rules(f"fault: {word}", match="response.status == 200"), "requestheaders", "responseheaders")
    assert plan is not None
    assert plan.end == end


def test_flows_that_match_nothing_get_no_plan() -> None:
    loaded = rules(
        "delay: 1s\n    throttle: 1KB/s\n    fault: slow-close".replace("    ", ""), match="host == 'b.test'"
    )
    assert planned(loaded, "requestheaders", "responseheaders")[0] is None
