"""Rules that are right: no message about filters and actions that fit together."""

from __future__ import annotations

import pytest

from rulesproxy.rules.load import load_text

RULES = [
    # RP405: the rule may act on both sides, or the filter says which one it means.
    "match: ~h x-old\nblock: 403",
    "match: ~h x-old\nrewrite: {response: {status: 500}}",
    "match: ~hq x-old\nredirect: /x",
    "match: not ~hs x-old\nrewrite: {response: {status: 500}}",
    "match: ~h x-old\nstop: true",
    # RP402: one of the two is enough.
    "match: ~q or response.status == 200\nblock: 403",
    "match: ~s and response.status == 200\nblock: 403",
    # RP401
    "match: response.status == 500\nrewrite: {response: {status: 502}}",
    # RP205: the brackets or the order leave no doubt.
    "match: (~d a | ~d b) ~m GET\nblock:",
    "match: ~d a ~m GET\nblock:",
    "match: ~d a | ~d b & ~m GET\nblock:",
    # RP012: a real comment.
    'match: host == "a.test" # only this one\nblock:',
]


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_said(rule: str) -> None:
    text = "version: 1\nrules:\n  - " + rule.replace("\n", "\n    ") + "\n"
    assert [str(diagnostic) for diagnostic in load_text(text).diagnostics] == []


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in load_text(f"version: 1\n{text}").diagnostics]


def test_a_warning_hides_no_error() -> None:
    assert codes('rules:\n  - match: path == "v1"\n') == ["RP106", "RP315"]


@pytest.mark.parametrize("filter", ["~h x & ~s", "~t json & ~c 404"])
def test_an_error_makes_a_hint_needless(filter: str) -> None:
    assert codes(f"rules:\n  - match: {filter}\n    redirect: /x\n") == ["RP401"]


@pytest.mark.parametrize("filter", ["~h x", "~b x & ~m POST", "not ~t x", "(~h x | ~d a) & ~m GET"])
def test_filters_for_both_sides_in_a_rule_for_one(filter: str) -> None:
    assert codes(f"rules:\n  - match: {filter}\n    redirect: /x\n") == ["RP405"]


def test_a_named_filter_speaks_once() -> None:
    rules = "rules:\n  - match: $f\n    block:\n  - match: $f and tls\n    block:\n"
    assert codes(f'filters:\n  f: path == "v1"\n{rules}') == ["RP315"]
    assert codes(f'filters:\n  f: pth == "/v1"\n{rules}') == ["RP301"]
    assert codes(f"filters:\n  f: tls and\n{rules}") == ["RP209"]
    assert codes(f"filters:\n  f: $g\n  g: $h\n  h: pth\n{rules}") == ["RP215"]
