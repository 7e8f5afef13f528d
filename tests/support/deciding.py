"""What a filter says about a flow, asked in every way that there is; all of them must agree."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import cache
from typing import Any

import pytest

from rulesproxy.filters.check import Checked, Phase
from rulesproxy.filters.check import check as check_filter
from rulesproxy.filters.compile import compile_filter
from rulesproxy.filters.keys import Key, host_decision, index_key
from rulesproxy.filters.parse import parse
from rulesproxy.filters.reference import matches
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.ruleset import RuleSet, load_rules

LISTS = {
    "trackers": ("doubleclick.net", "google-analytics.com", "*.ads.test"),
    "office": ("10.0.0.0/8", "192.0.2.7", "2001:db8::1..2001:db8::9"),
    "codes": ("404", "500..599"),
    "operations": ("GetUser", "GetCart"),
    "ids": ("42", "x"),
    "sizes": ("1KB", "56B"),
}
VARS = {"api": "api.example.com", "version": "^/v[0-9]/", "status": "404", "id": "42", "wait": "250ms"}
FILTERS = {
    "is-api": 'host == "api.example.com"',
    "is-v1": '$is-api and path under "/v1"',
    "has-user": 'has(request.json["user"])',
}
NAMES = {**LISTS, **VARS, **{name: parse(text) for name, text in FILTERS.items()}}

_BEFORE = Phase.Q | Phase.B
_AFTER = Phase.R | Phase.S


def decide(text: str, flow: HTTPFlow, expected: bool) -> Checked:
    """Check that a filter is `expected` for a flow: compiled, interpreted, and as the only rule of a rule set."""
    checked = check_filter(parse(text), NAMES)
    view = FlowView(flow)
    function = compile_filter(checked)
    assert function(view) is expected
    assert function(view) is expected, "the second reading of a view differs"
    assert matches(checked, flow) is expected, "the reference interpreter differs"
    head_only = compile_filter(checked, head_only=True)(view)
    assert head_only is (head_only if checked.needs_body else expected)
    assert head_only or not expected, "bodies cannot be judged beforehand"
    if expected:
        key = index_key(checked)
        assert admits(key, view), key
        if view.hosts == (view.orig.host,):
            assert host_decision(checked)(view.host)
    decide_by_rule(text, checked, flow, expected)
    return checked


def decide_by_rule(text: str, checked: Checked, flow: HTTPFlow, expected: bool) -> None:
    """Check that a rule with this filter hits where it should, event by event as the layers do it."""
    if flow.error is not None or flow.request.method == "CONNECT":
        return
    if flow.response is not None and checked.phases & _AFTER:
        assert hits(rule_of(text, "response"), flow) is expected, "a rule of the response differs"
    elif checked.phases & _BEFORE and not checked.uses_response:
        early = flow.copy()
        early.response = None
        assert hits(rule_of(text, "request"), early) is matches(checked, early), "a rule of the request differs"


@cache
def rule_of(text: str, side: str) -> RuleSet:
    quoted = "'" + text.replace("'", "''").replace("\n", "\n\n") + "'"
    lines = ["version: 1", "lists:"]
    lines += [f"  {name}: [{', '.join(repr(item) for item in items)}]" for name, items in LISTS.items()]
    lines += ["vars:", *[f"  {name}: '{value}'" for name, value in VARS.items()]]
    lines += ["filters:", *[f"  {name}: '{value}'" for name, value in FILTERS.items()]]
    lines += ["rules:", "  - id: it", f"    match: {quoted}", f"    rewrite: {{{side}: {{headers: {{x-hit: '1'}}}}}}"]
    return load_rules(text="\n".join(lines))


def hits(rules: RuleSet, flow: HTTPFlow) -> bool:
    """Whether the only rule hits, as the events of an exchange come. A body is there only once it was asked for."""
    live = flow.copy()
    request, response, live.response = live.request, live.response, None

    def fire(event: str) -> None:
        handler = getattr(rules, event, None)
        if handler is not None:
            handler(live)

    body, request.body_source = request.body_source, b""
    fire("requestheaders")
    request.body_source = body if not body or rules.wants_body(live, "request") else None
    fire("request")
    if response is not None:
        body, response.body_source = response.body_source, b""
        live.response = response
        fire("responseheaders")
        response.body_source = body if not body or rules.wants_body(live, "response") else None
        fire("response")
    return live.hits == ["it"]


def admits(key: Key, view: FlowView) -> bool:
    """Whether an index that looks up `key` would find the filter for this flow."""
    by_host = key.hosts is None or any(
        host in key.hosts or any(host == top or host.endswith(f".{top}") for top in key.suffixes or ())
        for host in view.hosts
    )
    by_path = key.paths is None or view.path in key.paths or any(view.path.startswith(p) for p in key.prefixes or ())
    return by_host and by_path


def complete(rest: Coroutine[Any, Any, None] | None) -> None:
    """Run a pass to its end that waits for nothing; handlers of rules give one where it may have to wait."""
    if rest is not None:
        with pytest.raises(StopIteration):
            rest.send(None)
