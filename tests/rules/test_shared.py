"""What several processes cannot share is found, with its place; all else is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.rules.load import load_files, load_text
from rulesproxy.rules.shared import check_shared
from tests.test_layout import ROOT

SHARED = [
    ("times: 1\nblock:", "RP850", "times"),
    ("nth: 2\nblock:", "RP850", "nth"),
    ("every: 2\nblock:", "RP850", "every"),
    ("respond: {sequence: [500, 200]}", "RP850", "respond"),
    ("respond: {body: 'no ${counter}'}", "RP850", "respond"),
    ("rewrite: {response: {headers: {x: '${counter}'}}}", "RP850", "response"),
    ("set-state: {client.a: x}", "RP851", "set-state"),
    ("set-state: {global.a: x}", "RP851", "set-state"),
    ("redirect: https://b.test/${state['global.a']}", "RP851", "redirect"),
    ("sample: 5% by state['client.a']\nblock:", "RP851", "sample"),
    ("throttle: {down: 1KB/s, scope: client}", "RP852", "throttle"),
    ("throttle: {profile: 3g, scope: rule}", "RP852", "throttle"),
    ("record: a.har", "RP853", "record"),
    ("sample: 5% seed 1\nblock:", "RP854", "sample"),
    ("delay: {time: 1s..2s, seed: a}", "RP854", "delay"),
    ("delay: {distribution: lognormal, median: 1s, sigma: 0.4, seed: a}", "RP854", "delay"),
    ("throttle: {latency: 1s..2s, seed: a}", "RP854", "throttle"),
]
ALONE = [
    "sample: 5%\nblock:",
    "sample: 5% by client.ip seed 1\nblock:",
    "sample: 5% by state['flow.a']\nblock:",
    "respond: {sequence: [500]}",
    "respond: {body: '${uuid} ${now}'}",
    "set-state: {flow.a: x}",
    "redirect: https://b.test/${state['flow.a']}",
    "throttle: {down: 1KB/s, seed: a}",
    "delay: {time: 1s, seed: a}",
    "delay: 1s..2s",
]
FILTERS = [
    ('state["client.a"] == "x"', True),
    ('path == "/" and not (has(state["global.a"]))', True),
    ('any(state["client.a"] == "x")', True),
    ('state["flow.a"] == "x"', False),
    ('state[*] == "x"', False),
]


def check(rule: str, workers: int = 2) -> list[tuple[str, str]]:
    """The codes, and the text at each place."""
    text = "version: 1\nrules:\n  - " + rule.replace("\n", "\n    ") + "\n"
    loaded = load_text(text)
    assert loaded.ok, [str(each) for each in loaded.diagnostics]
    lines = text.split("\n")
    found = check_shared(loaded.rules, workers)
    assert all(each.severity == "error" and f"{workers} workers" in each.title and each.help for each in found)
    places = [each.span for each in found if each.span is not None]
    return [
        (each.code, lines[span.line - 1][span.column - 1 : span.end_column - 1])
        for each, span in zip(found, places, strict=True)
    ]


@pytest.mark.parametrize(("rule", "code", "place"), SHARED)
def test_what_cannot_be_shared(rule: str, code: str, place: str) -> None:
    assert check(f"match: ~all\n{rule}") == [(code, place)]
    assert check(f"match: ~all\n{rule}", workers=1) == []


@pytest.mark.parametrize("rule", ALONE)
def test_what_every_flow_has_for_itself(rule: str) -> None:
    assert check(f"match: ~all\n{rule}") == []


@pytest.mark.parametrize(("filter", "shared"), FILTERS)
def test_filters_that_read_state(filter: str, shared: bool) -> None:
    found = check(f"match: {filter}\nblock:")
    assert [code for code, _ in found] == (["RP851"] if shared else [])
    assert all("state" in place for _, place in found)


def test_several_in_one_rule() -> None:
    rule = "match: state['client.a'] == 'x'\ntimes: 1\nrespond: {body: '${counter}'}"
    assert [code for code, _ in check(rule)] == ["RP850", "RP851", "RP850"]


def test_a_delay_of_both_sides_is_said_once() -> None:
    rule = "match: ~all\ndelay: {request: 1s..2s, response: 1s..2s, seed: a}"
    assert check(rule) == [("RP854", "delay")]


@pytest.mark.parametrize("gate", ["nth: 2", "every: 2", "times: 1"])
def test_what_is_counted_in_one_conversation(gate: str) -> None:
    assert check(f"match: ws.text contains 'x'\n{gate}\ndrop-message:") == []


def test_packs_are_for_any_number_of_workers() -> None:
    packs = sorted((ROOT / "rules").glob("*.yaml"))
    assert packs
    assert [str(each) for pack in packs for each in check_shared(load_files([Path(pack)]).rules, 8)] == []
