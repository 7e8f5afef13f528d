"""The error side: rules that name the error act where there is no response, and may make one."""

from __future__ import annotations

import pytest

from rulesproxy.flow.error import FlowError, Kind
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import Fault
from rulesproxy.rules.load import load_text
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.ruleset import RuleSet, load_rules
from tests.support.deciding import complete


def load(rules: str) -> RuleSet:
    outside = Outside(lambda: 0.0, lambda: 0.0, lambda: "u", "0")
    return load_rules(text="version: 1\nrules:\n" + rules, outside=outside)


def fail(
    rules: RuleSet | str,
    kind: Kind = "refused",
    url: str = "http://a.test/",
    status: int | None = None,
    body: bytes = b"",
    keep: bool = True,
    method: str = "GET",
) -> HTTPFlow:
    """A flow that fails: before there is a response, or with `status` after its head."""
    if isinstance(rules, str):
        rules = load(rules)
    flow = HTTPFlow.make(method, url)

    def fire(event: str) -> None:
        handler = getattr(rules, event, None)
        if handler is not None:
            complete(handler(flow))

    fire("requestheaders")
    wanted = rules.wants_body(flow, "request")
    flow.request.body_source = body if not body or (wanted and keep) else None
    fire("request")
    if status is not None:
        flow.response = HTTPResponse.make(status)
        flow.response.headers = Headers()
        fire("responseheaders")
    flow.error = FlowError("nobody there", kind)
    flow.response = None
    fire("error")
    return flow


STALE = """
  - id: stale
    match: response.status >= 500 or has(error.kind)
    respond: {status: 203, headers: {warning: "110 - stale"}, body: old}
"""


def tag(match: str, id: str = "it", more: str = "") -> str:
    return f"  - id: {id}\n    match: '{match}'\n{more}    tag: {id}\n"


def test_a_rule_that_names_the_error_answers() -> None:
    flow = fail(STALE)
    assert flow.hits == ["stale"]
    assert flow.response is not None
    assert (flow.response.status_code, flow.response.headers["warning"], flow.response.text) == (
        203,
        "110 - stale",
        "old",
    )


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ("has(error.kind)", True),
        ("error.kind == refused", True),
        ("error.kind == timeout", False),
        ("error.kind in {refused timeout}", True),
        ('error.message contains "nobody"', True),
        ("~e", True),
        ("not has(error.kind)", False),
        ("~e & ~m GET", True),
        ('has(error.kind) and host == "b.test"', False),
        # Without a response nothing about it is true.
        ("response.status == 200 and has(error.kind)", False),
        ("response.status == 200 or error.kind == refused", True),
        # These do not name the error.
        ("response.status == 200", False),
        ("not response.status == 200", False),
        ("~s", False),
    ],
)
def test_which_rules_act_on_a_failure(match: str, hit: bool) -> None:
    flow = fail(tag(match))
    assert (flow.hits, flow.tags) == ((["it"], ["it"]) if hit else ([], []))


def test_a_failure_is_no_other_request() -> None:
    """A rule that has acted on the request does not act again."""
    flow = fail(tag("~m GET", "request") + tag("~m GET | ~e", "both"))
    assert flow.hits == ["request", "both"]
    assert flow.tags == ["request", "both"]
    assert "error" not in vars(load(tag("~m GET")))


def test_a_rule_that_has_acted_on_the_response_does_not_act_again() -> None:
    counts = "  - id: it\n    match: response.status >= 200 or has(error.kind)\n    tag: 'n${counter}'\n"
    assert fail(counts, status=200).tags == ["n1"]
    assert fail(counts).tags == ["n1"]


def test_rules_below_an_answer_see_a_response() -> None:
    edit = "  - id: edit\n    match: {}\n    rewrite: {{response: {{headers: {{x-edit: '1'}}}}}}\n"
    above, below = edit.format("~all").replace("edit", "above"), edit.format("response.status == 203")
    flow = fail(
        above + STALE + below + tag("error.kind == refused", "log") + edit.format("~m POST").replace("edit", "no")
    )
    assert flow.hits == ["stale", "edit", "log"]
    assert flow.response is not None
    assert (flow.response.headers["x-edit"], flow.response.text) == ("1", "old")
    # A rule that edits both sides, and whose request side has matched, has its say too.
    both = "  - id: both\n    match: {}\n    rewrite: {{request: {{headers: {{a: b}}}}, response: {{headers: {{a: b}}}}}}\n"
    assert fail(STALE + both.format("path == '/'")).response.headers["a"] == "b"  # type: ignore[union-attr]
    assert "a" not in fail(STALE + both.format("path == '/x'")).response.headers  # type: ignore[union-attr]


def test_a_later_answer_replaces_an_earlier_one_and_stop_stops() -> None:
    second = STALE.replace("stale", "second").replace("203", "204").replace(", body: old", "")
    flow = fail(STALE + second)
    assert flow.hits == ["stale", "second"]
    assert flow.response is not None
    assert flow.response.status_code == 204
    assert fail(STALE.replace("match", "stop: true\n    match") + second).hits == ["stale"]
    assert fail("  - id: allow\n    match: ~e\n    stop: true\n" + STALE).hits == ["allow"]


def test_a_block_ends_the_connection() -> None:
    flow = fail("  - id: it\n    match: has(error.kind)\n    block: reset\n" + STALE)
    assert (flow.hits, flow.plan.end, flow.response) == (["it"], "reset", None)


def test_what_was_ended_on_purpose_gets_no_answer() -> None:
    flow = fail("  - id: it\n    match: ~all\n    block: reset\n" + STALE)
    assert (flow.hits, flow.response) == (["it"], None)


def test_gates_count_a_failure_as_any_other_flow() -> None:
    rules = load(STALE.replace("respond", "nth: 2\n    respond"))
    assert [bool(fail(rules).response) for _ in range(3)] == [False, True, False]
    either = load(tag("response.status == 200 or has(error.kind)", more="    nth: 2\n"))
    assert [fail(either, status=status).hits for status in (200, None, 200)] == [[], ["it"], []]


def test_a_failure_sees_what_the_rule_saw_of_the_request() -> None:
    rules = """
  - id: old
    match: path == "/" and has(error.kind)
    tag: old
  - id: move
    match: path == "/"
    rewrite: {request: {path: /new}}
  - id: new
    match: path == "/new" and has(error.kind)
    tag: new
"""
    assert fail(rules).hits == ["move", "old", "new"]
    many = "".join(f"  - match: host == 'h{n}.test' and has(error.kind)\n    tag: x\n" for n in range(100))
    assert fail(many + rules).hits == ["move", "old", "new"]
    assert fail(many + "  - match: host == 'b.test'\n    tag: x\n").hits == []


@pytest.mark.parametrize("keep", [True, False])
def test_a_failure_and_the_body_of_the_request(keep: bool) -> None:
    rules = tag('request.text contains "x" and has(error.kind)')
    assert fail(rules, body=b"x", keep=keep, method="POST").hits == (["it"] if keep else [])
    assert fail(rules, body=b"y", method="POST").hits == []


def test_a_failure_before_the_request_was_complete() -> None:
    rules = load(STALE + tag('request.text contains "x"', "reads"))
    flow = HTTPFlow.make("POST", "http://a.test/")
    complete(rules.requestheaders(flow))  # type: ignore[attr-defined]
    flow.error = FlowError("gone", "client")
    complete(rules.error(flow))  # type: ignore[attr-defined]
    assert flow.hits == ["stale"]


def test_a_failure_of_a_flow_that_began_with_other_rules() -> None:
    flow = HTTPFlow.make("GET", "http://a.test/")
    complete(load(tag("~all")).requestheaders(flow))  # type: ignore[attr-defined]
    flow.error = FlowError("gone", "refused")
    complete(load(STALE).error(flow))  # type: ignore[attr-defined]
    assert flow.hits == ["it", "stale"]


def test_on_error_applies_to_a_failure_too(caplog: pytest.LogCaptureFixture) -> None:
    bad = "  - id: bad\n    match: has(error.kind)\n    on-error: {}\n    respond: {{headers: {{a: '${{error.message}}'}}}}\n"
    rules = load(bad.format("closed"))
    flow = HTTPFlow.make("GET", "http://a.test/")
    complete(rules.requestheaders(flow))  # type: ignore[attr-defined]
    flow.error = FlowError("line\nbreak", "refused")
    complete(rules.error(flow))  # type: ignore[attr-defined]
    assert flow.response is not None
    assert flow.response.status_code == 502
    assert "rule bad" in caplog.text


@pytest.mark.parametrize(
    "action", ["rewrite: {response: {status: 203}}", "rewrite: {request: {path: /x}}", "redirect: /x"]
)
def test_actions_that_need_a_response_are_refused(action: str) -> None:
    (found,) = load_text(f"version: 1\nrules:\n  - match: has(error.kind)\n    {action}\n").diagnostics
    assert (found.code, found.severity) == ("RP401", "error")
    assert "flows that fail" in found.title


def test_waits_and_faults_reach_an_answer_to_a_failure() -> None:
    rules = """
  - match: response.status >= 500 or has(error.kind)
    respond: { status: 503 }
    delay: 2s
  - match: response.status == 503
    fault: { truncate: 4 }
  - match: has(error.kind)
    throttle: 50KB/s
    delay: 1s
"""
    plan = fail(rules).plan
    assert (plan.delay, plan.fault, len(plan.throttles)) == (3.0, Fault(truncate=4), 1)
    assert fail("  - match: has(error.kind)\n    fault: reset\n").plan.end == "reset"


def test_an_answer_to_a_failure_may_be_made_of_the_body_of_the_request(caplog: pytest.LogCaptureFixture) -> None:
    rules = "  - id: it\n    match: has(error.kind)\n    respond: {body: '<${request.text}>'}\n"
    kept = fail(rules, body=b"x", method="POST")
    assert kept.response is not None
    assert kept.response.text == "<x>"
    assert fail(rules, body=b"x", method="POST", keep=False).response is None
    assert "rule it did not apply" in caplog.text


def test_the_plan_names_them() -> None:
    assert "  when a flow fails: stale" in load(STALE).plan().split("\n")
    assert "fails" not in load(tag("~all")).plan()
