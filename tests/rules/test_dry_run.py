"""`rules.run`: hits, the flow behind the rules, and rule by rule why; nothing that lives is changed by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy import DryRun, HTTPFlow, load_rules
from rulesproxy.flow.error import FlowError
from rulesproxy.limits import DEFAULT
from rulesproxy.rules.dry.trace import Result, differences
from rulesproxy.rules.ruleset import RuleSet

make = HTTPFlow.make
BIG = b"x" * (DEFAULT.body + 1)


def rules(text: str) -> RuleSet:
    return load_rules(text=f"version: 1\nrules:\n{text}")


def why(result: Result) -> list[str]:
    return ["" if trace.hit else trace.why for trace in result.trace]


def rule(id: str, match: str, *actions: str) -> str:
    return "".join(
        f"{line}\n" for line in (f"  - id: {id}", f"    match: {match}", *[f"    {each}" for each in actions])
    )


def test_the_flow_and_the_live_counters_are_left_alone() -> None:
    live = rules(rule("seq", "~all", "respond: {sequence: [201, 202]}", "times: 1"))
    flow = make("GET", "http://a.test/")
    assert [live.run(flow).status for _ in range(3)] == [201, 201, 201]
    assert (flow.response, flow.hits, flow.rules) == (None, [], None)
    other = make("GET", "http://a.test/")
    live.requestheaders(other)  # type: ignore[attr-defined]
    assert other.response is not None
    assert other.response.status_code == 201


def test_flows_of_one_dry_run_count_together() -> None:
    text = rule("seq", "~all", "respond: {sequence: [201, 202]}", "times: 3") + rule(
        "step", "path == '/x'", "block: 409"
    )
    dry = DryRun([addon.rule for addon in rules(text).rules])
    flow = make("GET", "http://a.test/x")
    assert [dry.run(flow).status for _ in range(4)] == [201, 202, 202, 409]
    assert dry.run(flow).of("seq").why == "its filter is true, but `times` did not let this request through"
    dry.reset()
    assert dry.run(flow).status == 201


def test_both_branches_of_a_sample() -> None:
    text = rule("some", "~all", "sample: 1% by client.ip seed 1", "block:") + rule("all", "~all", "tag: x")
    dry = DryRun([addon.rule for addon in rules(text).rules])
    flow = make("GET", "http://a.test/")
    assert dry.run(flow).hits == ("some",)
    result = dry.run(flow, sampled=False)
    assert result.hits == ("all",)
    assert result.of("some").why == "its filter is true, but `sample` did not let this request through"


def test_state_is_seen_by_later_flows_and_by_explanations() -> None:
    text = rule("pay", "path == '/pay' and state['client.step'] != 'paid'", "set-state: {client.step: paid}")
    text += rule("after", "state['client.step'] == 'paid' and path == '/'", "block: 402")
    dry = DryRun([addon.rule for addon in rules(text).rules])
    assert dry.run(make("GET", "http://a.test/")).hits == ()
    first = dry.run(make("GET", "http://a.test/pay"))
    assert [str(change) for change in first.of("pay").changes] == ['state["client.step"]: paid']
    assert dry.run(make("GET", "http://a.test/")).hits == ("after",)
    assert dry.run(make("GET", "http://a.test/pay")).of("pay").why == '`state["client.step"]` is `paid`'
    dry.reset()
    assert dry.run(make("GET", "http://a.test/")).hits == ()


def test_live_state_is_left_alone() -> None:
    live = rules(
        rule("pay", "path == '/pay'", "set-state: {client.step: paid}")
        + rule("step", "state['client.step'] == 'paid'", "tag: paid")
    )
    flow = make("GET", "http://a.test/")
    live.requestheaders(flow)  # type: ignore[attr-defined]
    flow.request.path = "/pay"
    assert live.run(flow).hits == ("pay", "step")
    other = make("GET", "http://a.test/")
    live.requestheaders(other)  # type: ignore[attr-defined]
    assert other.hits == []


def test_without_a_response_the_run_ends_at_the_server() -> None:
    result = rules(
        rule("q", "~all", "rewrite: {request: {path: /b}}") + rule("s", "response.status == 200", "block:")
    ).run(make("GET", "http://a.test/a"))
    assert (result.status, result.flow.response) == (None, None)
    assert result.upstream is not None
    assert result.upstream.url == "http://a.test/b"
    assert why(result) == ["", "it needs a response, and there is none"]


def test_what_each_rule_changed_and_captured() -> None:
    text = rule("v1", "path ~ '^/v1/(?P<rest>.*)'", "rewrite:", "  request: {path: '/v2/${rest}', headers: {x-a: '1', remove: [cookie]}}",
                "  response: {status: 404, headers: {x-b: [a, b]}}", "tag: moved")  # fmt: skip
    result = rules(text).run(make("GET", "http://a.test/v1/x", [("Cookie", "a")], status=200, response_body=b"hi"))
    trace = result.of("v1")
    assert trace.captures == {"rest": "x"}
    assert [str(change) for change in trace.changes] == [
        "path: /v1/x → /v2/x", 'request.header["cookie"] removed: a', 'request.header["x-a"]: 1', "flow.tags: moved",
        "response.status: 200 OK → 404 Not Found", 'response.header["x-b"]: a | b',
    ]  # fmt: skip


def test_later_rules_are_explained_by_what_they_saw() -> None:
    text = rule("a", "path == '/a'", "rewrite: {request: {path: /b}}") + rule(
        "b", "path == '/a' and method == POST", "block:"
    )
    text += rule("c", "response.header['x'] == '1'", "rewrite: {response: {headers: {x: '2'}}}")
    text += rule("d", "response.header['x'] == '1'", "block: 502")
    result = rules(text).run(make("GET", "http://a.test/a", status=200, response_headers=[("X", "1")]))
    assert why(result) == ["", "`path` is `/b`", "", '`response.header["x"]` is `2`']
    assert result.of("b").share == 0.2


MISSES = [
    (rule("stop", "~all", "stop: true") + rule("it", "~all", "block:"), "`stop` has stopped all rules below"),
    (rule("mock", "~all", "respond: 204") + rule("it", "~all", "redirect: /x"), "`mock` has answered before"),
    (rule("close", "~all", "block: close") + rule("it", "response.status == 200", "block: 502"),
     "the connection ended before there was a response"),
    (rule("late", "response.status == 200", "block: reset") + rule("it", "response.status == 200", "block: 502"),
     "`late` has ended the connection"),
    (rule("close", "~all", "block: close") + rule("it", "~all", "tag: x"), "`close` has ended the connection"),
    (rule("it", "path == '/y'", "block:"), "`path` is `/`"),
    (rule("it", "response.status in {500..599}", "block: 502"), "`response.status` is `200`"),
    (rule("it", "method == POST and request.text contains 'x'", "block:"), "`method` is `GET`"),
    (rule("it", "request.text contains 'x'", "block:"), "`request.text` is ``"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), MISSES)
def test_why_a_rule_did_nothing(text: str, reason: str) -> None:
    result = rules(text).run(make("GET", "http://a.test/", status=200))
    assert "it" not in result.hits
    assert result.of("it").why == reason


def test_what_a_tunnel_hides() -> None:
    text = rule("tag", "~all", "tag: x") + rule("pin", "host == 'a.test'", "passthrough:")
    text += rule("no", "host == 'b.test'", "block:")
    passed = rules(text).run(make("GET", "https://a.test/", status=200))
    assert (passed.tunnel, passed.hits, passed.status) == ("passed", ("pin",), 200)
    assert passed.of("tag").why == "TLS is passed through undecrypted by `pin`: there is no request to see"
    refused = rules(text).run(make("GET", "https://b.test/", status=200))
    assert (refused.tunnel, refused.hits, refused.status, refused.upstream) == ("refused", ("no",), 403, None)
    reverse = make("GET", "https://b.test/", status=200)
    reverse.client_conn.mode = "reverse"
    assert rules(text).run(reverse).hits == ("tag", "no")


def test_bodies_over_the_limit_pass_by() -> None:
    text = rule("q", "request.text contains 'x'", "tag: q") + rule("s", "response.text contains 'x'", "tag: s")
    result = rules(text).run(make("POST", "http://a.test/", (), BIG, 200, (), BIG))
    assert why(result) == [
        "the request body was streamed, or is over the limit",
        "the response body was streamed, or is over the limit",
    ]
    assert result.upstream is not None
    assert (result.upstream.raw_content, result.body) == (BIG, BIG)


def test_bodies_over_the_limit_are_refused_where_a_rule_wants_it() -> None:
    for text, flow, status in (
        (
            rule("q", "request.text contains 'x'", "tag: q", "on-overflow: block"),
            make("POST", "http://a.test/", (), BIG, 200),
            413,
        ),
        (
            rule("s", "response.text contains 'x'", "tag: s", "on-overflow: block"),
            make("GET", "http://a.test/", (), b"", 200, (), BIG),
            502,
        ),
    ):
        assert rules(text).run(flow).status == status


def test_a_server_that_fails() -> None:
    for kind, status in (("refused", 502), ("tls", 502), ("timeout", 504)):
        flow = make("GET", "http://a.test/")
        flow.error = FlowError("down", kind)  # type: ignore[arg-type]
        result = rules(rule("mock", "path == '/x'", "respond: 200")).run(flow)
        assert (result.status, result.flow.response) == (status, None)
        assert result.upstream is not None
    answered = make("GET", "http://a.test/x")
    answered.error = FlowError("down", "refused")
    assert rules(rule("mock", "path == '/x'", "respond: 200")).run(answered).status == 200


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "me.json").write_text("{}")
    result = rules(rule("file", "~all", f"map-local: {tmp_path}/me.json")).run(make("GET", "http://a.test/"))
    (tmp_path / "me.json").write_text("changed")
    assert (result.status, result.body) == (200, b"{}")


def test_a_failing_action_is_named(tmp_path: Path) -> None:
    (tmp_path / "me.json").write_text("{}")
    for policy, status in (("open", 200), ("closed", 502)):
        loaded = rules(
            rule("it", "~all", f"respond: {{file: {tmp_path}/me.json}}", f"on-error: {policy}")
            + rule("low", "~all", "tag: x")
        )
        (tmp_path / "me.json").unlink()
        result = loaded.run(make("GET", "http://a.test/", status=200))
        (tmp_path / "me.json").write_text("{}")
        assert result.status == status
        assert "FileNotFoundError" in result.of("it").failures[0]
        assert result.of("low").hit is (policy == "open")
        assert result.of("low").why == ("" if policy == "open" else "`it` has failed, so that the client gets 502")


def test_functions_that_are_async(tmp_path: Path) -> None:
    (tmp_path / "h.py").write_text(
        "import asyncio\n\nasync def quick(flow):\n    flow.request.headers['x-a'] = '1'\n\nasync def slow(flow):\n    await asyncio.sleep(1)\n"
    )
    text = (
        rule("quick", "~all", f"run: {tmp_path}/h.py:quick")
        + rule("slow", "~all", f"run: {tmp_path}/h.py:slow")
        + rule("last", "~all", "tag: x")
    )
    result = rules(text).run(make("GET", "http://a.test/", status=200))
    assert result.hits == ("quick", "slow", "last")
    assert [str(change) for change in result.of("quick").changes] == ['request.header["x-a"]: 1']
    assert result.of("slow").failures == ("WaitsError: it waits for something, which a dry run cannot",)


def test_effects_are_told_in_words() -> None:
    text = rule("slow", "~all", "throttle: 50KB/s", "fault: {truncate: 1000}")
    changes = [str(change) for change in rules(text).run(make("GET", "http://a.test/", status=200)).of("slow").changes]
    assert changes == ["plan.fault: truncate=1000", "plan.throttles: down=50000 bytes/s"]


def test_a_route_is_told_without_its_password() -> None:
    rule_of = [("one", "upstream: 'http://me:s3cret@p.test:3128'"), ("two", "upstream: {address: 'b.t:81'}")]
    text = "".join([rule(name, "~all", action) for name, action in rule_of])
    result = rules(text).run(make("GET", "http://a.test/", status=200))
    assert [str(change) for change in result.of("one").changes] == ["plan.upstream: via=http://p.test:3128"]
    (change,) = result.of("two").changes
    assert change.after is not None
    assert "address=b.t:81" in change.after
    assert "s3cret" not in str(change)


def test_delays_are_told_and_not_waited_for() -> None:
    result = rules(rule("slow", "~all", "delay: 1h")).run(make("GET", "http://a.test/", status=200))
    assert result.status == 200
    assert any("delay" in str(change) for change in result.of("slow").changes)


def test_the_nearest_miss() -> None:
    text = rule("a", "host == 'a.test' and method == POST and path == '/'", "block:") + rule(
        "b", "host == 'b.test'", "block:"
    )
    near = rules(text).run(make("GET", "http://a.test/", status=200)).nearest
    assert near is not None
    assert (near.name, str(near.span)) == ("a", "<text>:4:33")
    assert (
        rules(rule("b", "host == 'b.example'", "block:")).run(make("GET", "http://a.test/", status=200)).nearest is None
    )


def test_what_other_rules_would_change() -> None:
    flow = make("GET", "http://a.test/a", status=200)
    plain = rules(rule("x", "path == '/none'", "block:")).run(flow)
    moved = rules(rule("x", "path == '/a'", "rewrite: {request: {path: /b}}")).run(flow)
    blocked = rules(rule("x", "path == '/a'", "block: reset")).run(flow)
    assert differences(plain, plain) == ()
    assert [str(change) for change in differences(plain, moved)] == ["upstream path: /a → /b"]
    assert [str(change) for change in differences(moved, blocked)] == [
        "upstream removed: GET http://a.test/b", "response removed: 200 OK", "plan.end: reset",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "flow",
    [
        make("no method", "no url", [("b\nad", "\0")]),
        make("GET", "https://[::1]:99999/", [("Host", "::")]),
        make("CONNECT", "https://a.test/", status=99),
        make("HEAD", "ws://a.test/", [("Connection", "upgrade"), ("Upgrade", "websocket")], b"x", 204, (), b"y"),
    ],
)
def test_any_flow_can_be_run(flow: HTTPFlow) -> None:
    text = rule("a", "~all", "cors: unlock", "no-cache:") + rule("b", "response.text contains 'y'", "block: 502")
    result = rules(text).run(flow)
    assert len(result.trace) == 2
    assert len(result.body) < 100
