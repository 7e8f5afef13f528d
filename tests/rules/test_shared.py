"""What several processes cannot share is found, with its place; all else is left alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rulesproxy import HTTPFlow
from rulesproxy.engine.dispatch import run_guarded
from rulesproxy.rules.action import Action, Handler, Side
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.load import load_files, load_text
from rulesproxy.rules.memory import Memory
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
CONNECTIONS = ["~tcp", "port == 6379", "~tcp and client.ip == 127.0.0.1"]
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


@pytest.mark.parametrize("filter", CONNECTIONS)
def test_connections_are_counted_over_all_processes(filter: str) -> None:
    assert check(f"match: {filter}\ntimes: 1\nblock:") == [("RP850", "times")]


def test_several_in_one_rule() -> None:
    rule = "match: state['client.a'] == 'x'\ntimes: 1\nrespond: {body: '${counter}'}"
    assert [code for code, _ in check(rule)] == ["RP850", "RP851", "RP850"]


def test_a_delay_of_both_sides_is_said_once() -> None:
    rule = "match: ~all\ndelay: {request: 1s..2s, response: 1s..2s, seed: a}"
    assert check(rule) == [("RP854", "delay")]


@pytest.mark.parametrize("gate", ["nth: 2", "every: 2", "times: 1"])
def test_what_is_counted_in_one_conversation(gate: str) -> None:
    assert check(f"match: ws.text contains 'x'\n{gate}\ndrop-message:") == []


MEMORIES = re.compile(r"\bmemory\.(next|count|share|chance)\(|\bstate_of\(|\bStore\b|\bWeak\w*Dictionary\b")
"""How an action reaches what outlives a flow."""


def remembering(action: type[Action]) -> bool:
    """Whether what an action does depends on other flows, as far as its source tells."""
    return MEMORIES.search(inspect.getsource(action)) is not None


def says_so(action: type[Action]) -> bool:
    return any("shares" in vars(base) for base in action.__mro__ if base is not Action)


def all_actions(base: type[Action] = Action) -> Iterator[type[Action]]:
    """Every class of an action, and the parts that they consist of."""
    for action in base.__subclasses__():
        if action.__module__.startswith("rulesproxy.rules.actions."):
            yield action
        yield from all_actions(action)


class Forgetful(Action):
    """An action that counts its flows, and does not say so."""

    def bind_for(self, side: Side, memory: Memory) -> Handler:
        return lambda flow, captures: flow.tags.append(str(memory.next("flows")))


def test_no_action_forgets_to_say_what_it_shares() -> None:
    actions = set(all_actions())
    remember = {action.key for action in actions if remembering(action)}
    assert {"respond", "throttle", "delay", "set-state"} <= remember
    assert [action.__name__ for action in actions if remembering(action) and not says_so(action)] == []
    assert remembering(Forgetful)
    assert not says_so(Forgetful)


def test_an_action_that_says_nothing_does_nothing_for_other_flows() -> None:
    """The same, seen from outside: handlers of all examples leave no trace in the memory of their rule."""
    for action in all_actions():
        for example in action.examples:
            text = "version: 1\nrules:\n  - " + example.rule.replace("\n", "\n    ") + "\n"
            loaded = load_text(text)
            if not loaded.ok:
                continue  # It names a file that is not here.
            (rule,) = loaded.rules
            if check_shared([rule], 2):
                continue
            compiled = Compiled(rule, 0)
            for name in ("requestheaders", "responseheaders"):
                flow = HTTPFlow.make("GET", "http://a.test/", status=200)
                run_guarded(compiled.bound(name), flow, dict.fromkeys(rule.filter.captures, "x"))
            # Each chance without a seed has a number, which nobody has to share.
            assert set(compiled.memory.counts) <= {"delay", "latency"}, example.rule
            assert not compiled.memory.shared, example.rule


def test_packs_are_for_any_number_of_workers() -> None:
    packs = sorted((ROOT / "rules").glob("*.yaml"))
    assert packs
    assert [str(each) for pack in packs for each in check_shared(load_files([Path(pack)]).rules, 8)] == []
