"""The order of rules: from top to bottom, every matching rule applies, until one answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.rules.ruleset import RuleSet

Exchange = Callable[..., Any]
Load = Callable[[str], RuleSet]

TAG = """
  - id: {id}
    match: {match}
    rewrite:
      {side}:
        headers: {{ add: {{ x-hit: {id} }} }}
"""


def tag(id: str, match: str = "~all", side: str = "request") -> str:
    """A rule that leaves its name in the header x-hit."""
    return TAG.format(id=id, match=match, side=side)


BLOCK = "\n  - id: block\n    match: {match}\n    block: 403\n"

HITS = [
    pytest.param(tag("a") + tag("b"), {}, ["a", "b"], id="file order"),
    pytest.param(tag("b") + tag("a"), {}, ["b", "a"], id="not the order of names"),
    pytest.param(
        tag("a") + BLOCK.format(match="~all") + tag("b"), {}, ["a", "block"], id="an answer ends the request pass"
    ),
    pytest.param(
        tag("a") + BLOCK.format(match="~all") + tag("b", side="response"),
        {},
        ["a", "block", "b"],
        id="response rules apply to local answers",
    ),
    pytest.param(
        tag("b", side="response") + BLOCK.format(match="~all"),
        {},
        ["block", "b"],
        id="also those above the answer",
    ),
    pytest.param(
        "  - id: s\n    match: ~all\n    stop: true\n" + tag("a") + tag("b", side="response"),
        {},
        ["s"],
        id="stop skips the rules below on both sides",
    ),
    pytest.param(
        "  - id: s\n    match: path == '/x'\n    stop: true\n" + tag("a"),
        {"url": "http://a.test/y"},
        ["a"],
        id="stop needs its match",
    ),
    pytest.param(
        "  - id: s\n    match: response.status == 200\n    stop: true\n" + tag("a") + tag("b", side="response"),
        {},
        ["a", "s"],
        id="stop of the response side leaves the request side",
    ),
    pytest.param(
        "  - id: s\n    match: ~all\n    stop: true\n    rewrite: {response: {status: 201}}\n"
        + tag("b", side="response"),
        {},
        ["s"],
        id="stop with a response action stops behind it",
    ),
    pytest.param(
        tag("head") + tag("body", 'request.text contains "x"') + tag("below"),
        {"method": "POST", "body": b"x"},
        ["head", "body", "below"],
        id="a body rule keeps its place",
    ),
    pytest.param(
        tag("body", 'request.text contains "x"') + BLOCK.format(match="~all"),
        {"method": "POST", "body": b"x"},
        ["body", "block"],
        id="a body rule above a head rule comes first",
    ),
    pytest.param(
        BLOCK.format(match="~all") + tag("body", 'request.text contains "x"'),
        {"method": "POST", "body": b"x"},
        ["block"],
        id="nothing is read below an answer",
    ),
    pytest.param(
        tag("first", 'response.text contains "x"', "response") + tag("second", side="response"),
        {"response_body": b"x"},
        ["first", "second"],
        id="a response body rule keeps its place",
    ),
    pytest.param(
        "  - id: two\n    match: ~all\n    block: 403\n    rewrite:\n      request:\n        headers: {x-a: b}\n",
        {},
        ["two"],
        id="an answer inside a rule runs last",
    ),
    pytest.param(
        "  - id: off\n    match: ~all\n    enabled: false\n    block:\n" + tag("a"),
        {},
        ["a"],
        id="disabled rules do nothing",
    ),
    pytest.param(
        tag("a") + "  - id: do\n    match: ~all\n    do:\n      - rewrite: {request: {headers: {x-b: '1'}}}\n"
        "      - rewrite: {request: {headers: {remove: x-hit}}}\n",
        {},
        ["a", "do"],
        id="do lists actions",
    ),
]


@pytest.mark.parametrize(("rules", "request_of", "hits"), HITS)
def test_rules_run_from_top_to_bottom(
    exchange: Exchange, rules: str, request_of: dict[str, Any], hits: list[str]
) -> None:
    assert exchange(rules, **request_of).hits == hits


def test_a_later_rule_sees_what_an_earlier_one_changed(exchange: Exchange) -> None:
    rules = """
  - match: path == "/a"
    rewrite: { request: { path: /b } }
  - id: b
    match: path == "/b"
    rewrite: { request: { path: /c, headers: { x-b: "1" } } }
  - id: not
    match: path == "/a"
    block:
  - id: orig
    match: orig.path == "/a" and request.header["x-b"] == "1" and path == "/c"
    rewrite: { request: { headers: { x-orig: "1" } } }
"""
    outcome = exchange(rules, url="http://a.test/a")
    assert outcome.hits[1:] == ["b", "orig"]
    assert outcome.upstream.path == "/c"


def test_both_sides_of_a_rule_decide_alike(exchange: Exchange) -> None:
    """Response actions see the request as it stood at their rule, not as it was sent."""
    rules = """
  - id: before
    match: path == "/a"
    rewrite: { response: { headers: { x-before: "1" } } }
  - id: both
    match: path == "/a"
    rewrite: { request: { path: /b }, response: { headers: { x-both: "1" } } }
  - id: after
    match: path == "/b"
    rewrite: { response: { headers: { x-after: "1" } } }
  - id: never
    match: path == "/a"
    rewrite: { response: { headers: { x-never: "1" } } }
"""
    outcome = exchange(rules, url="http://a.test/a")
    assert outcome.hits == ["both", "before", "after"]
    assert [outcome.header(f"x-{name}") for name in ("before", "both", "after", "never")] == ["1", "1", "1", None]
    assert exchange(rules, url="http://a.test/b").hits == ["after"]


SEEN = [
    ("${method} ${url}", "POST http://a.test/a?q=1"),
    ("${path}, ${path.raw}, ${query['q']}", "/a, /a, 1"),
    ("${host | upper} ${request.header['x-a']}", "A.TEST one"),
    ("${request.text} of ${request.size}", '{"a": 1} of 8'),
    ("${request.json['a']}", "1"),
    ("${orig.path} ${response.status | default('none')}", "/a {status}"),
]
MOMENTS = ['path == "/a"', 'path == "/a" and (response.status == 200 or has(error.kind))', '~u "/a" & !~bs never']


@pytest.mark.parametrize("match", MOMENTS)
@pytest.mark.parametrize(("template", "text"), SEEN)
def test_values_of_response_actions_are_those_that_the_filter_has_read(
    exchange: Exchange, match: str, template: str, text: str
) -> None:
    rules = f"""
  - match: '{match}'
    rewrite: {{ response: {{ headers: {{ x-seen: "{template}" }} }} }}
  - match: has(error.kind) and path == "/a"
    respond: {{ status: 200, headers: {{ x-seen: "{template}" }} }}
  - match: path == "/a"
    rewrite:
      request: {{ method: PUT, url: "http://b.test/b?q=2", headers: {{ x-a: two }}, body: two }}
"""
    sent = {"method": "POST", "url": "http://a.test/a?q=1", "headers": [("x-a", "one")], "body": b'{"a": 1}'}
    outcome = exchange(rules, **sent)
    assert outcome.upstream.url == "http://b.test/b?q=2"
    assert outcome.header("x-seen") == text.replace("{status}", "200")
    assert exchange(rules, **sent, status=None).header("x-seen") == text.replace("{status}", "none")


def test_a_rule_does_not_see_its_own_edit_from_the_other_side(exchange: Exchange) -> None:
    rules = """
  - match: path == "/a"
    rewrite: { request: { path: "${path}/b" }, response: { headers: { x-seen: "${path}" } } }
  - match: response.status == 200
    tag: "${path}"
  - match: response.status == 403
    tag: "${path} at the end"
  - match: path == "/a/b"
    rewrite: { request: { path: /c } }
"""
    outcome = exchange(rules, url="http://a.test/a")
    assert (outcome.upstream.path, outcome.header("x-seen"), outcome.flow.tags) == ("/c", "/a", ["/a/b"])
    below = rules.replace('response.status == 200\n    tag: "${path}"', "~all\n    block: 403")
    assert exchange(below, url="http://a.test/a").flow.tags == ["/a/b at the end"]


def test_what_addons_change_behind_the_rules_is_no_value_of_theirs(exchange: Exchange) -> None:
    def move(flow: HTTPFlow) -> None:
        flow.request.host = "b.test"

    rules = "  - match: ~all\n    rewrite: {response: {headers: {x-seen: '${host}'}}}\n"
    assert exchange(rules, between=move).header("x-seen") == "a.test"


def test_a_filter_of_either_side_decides_for_each_pass(exchange: Exchange) -> None:
    rules = """
  - id: r
    match: ~h x-mark
    rewrite: { request: { headers: { x-in: "1" } }, response: { headers: { x-out: "1" } } }
"""
    mark = [("x-mark", "1")]
    for request, response in ((mark, []), ([], mark), (mark, mark), ([], [])):
        outcome = exchange(rules, headers=request, response_headers=response)
        # In the response pass `~h` reads the headers of both.
        both = bool(request or response)
        assert ("x-in" in outcome.upstream.headers, outcome.header("x-out") == "1") == (bool(request), both)
        assert bool(outcome.hits) == both


def test_what_addons_change_behind_the_rules_does_not_move_them(exchange: Exchange) -> None:
    rules = tag("r", 'host == "a.test"', "response") + tag("other", 'host == "b.test"', "response")

    def move(flow: HTTPFlow) -> None:
        flow.request.host = "b.test"

    outcome = exchange(rules, between=move)
    assert outcome.hits == ["r"]
    assert outcome.upstream.host == "b.test"


def test_rules_below_an_answer_see_the_request_at_the_end(exchange: Exchange) -> None:
    rules = "  - match: path == '/a'\n    rewrite: {request: {path: /b}}\n" + BLOCK.format(match='path == "/b"')
    rules += tag("r", 'path == "/b"', "response") + tag("no", 'path == "/a"', "response")
    assert exchange(rules, url="http://a.test/a").hits[1:] == ["block", "r"]


def test_a_response_that_is_set_skips_the_request_pass(exchange: Exchange) -> None:
    def answer(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(204)

    outcome = exchange(tag("request") + tag("response", side="response"), before=answer)
    assert outcome.hits == ["response"]
    assert outcome.upstream is None


def test_a_response_set_while_the_pass_waits_ends_it(exchange: Exchange) -> None:
    def answer(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(204)

    rules = tag("body", 'request.text contains "x"') + tag("below") + tag("response", side="response")
    assert exchange(rules, body=b"x", method="POST", between=answer).hits == ["response"]


def test_block_in_the_response_pass_replaces_the_answer_and_goes_on(exchange: Exchange) -> None:
    rules = BLOCK.format(match="response.status == 500") + tag("seen", "response.status == 403", "response")
    rules += tag("not", "response.status == 500", "response")
    outcome = exchange(rules, status=500, response_body=b"secret")
    assert (outcome.hits, outcome.status) == (["block", "seen"], 403)
    assert "secret" not in outcome.text


@pytest.mark.parametrize("end", ["close", "reset", "timeout"])
def test_block_can_end_the_connection(exchange: Exchange, end: str) -> None:
    early = exchange(f"  - id: b\n    match: ~all\n    block: {end}\n" + tag("below"))
    assert (early.hits, early.flow.plan.end, early.flow.response) == (["b"], end, None)
    late = exchange(
        f"  - id: b\n    match: response.status == 500\n    block: {end}\n" + tag("l", side="response"), status=500
    )
    assert (late.hits, late.flow.plan.end) == (["b"], end)


BIG = b"x" * 20_000
BUFFERING = [
    pytest.param(tag("a", 'request.text contains "x"'), {}, {"request"}, id="the filter reads the request"),
    pytest.param(tag("a", 'path == "/no" and request.text contains "x"'), {}, set(), id="the head says no"),
    pytest.param(tag("a", 'not request.text contains "x" and path == "/no"'), {}, set(), id="under not"),
    pytest.param(
        "  - match: ~all\n    rewrite: {request: {body: x}}\n", {}, {"request"}, id="the action edits the request"
    ),
    pytest.param(
        "  - match: ~all\n    rewrite: {response: {body: x}}\n", {}, {"response"}, id="the action edits the response"
    ),
    pytest.param("  - match: path == '/no'\n    rewrite: {response: {body: x}}\n", {}, set(), id="not for others"),
    pytest.param(
        tag("a", 'response.text contains "x"', "response"), {}, {"response"}, id="the filter reads the response"
    ),
    pytest.param(
        tag("a", 'response.status == 404 and response.text contains "x"', "response"),
        {},
        set(),
        id="the response head says no",
    ),
    pytest.param(
        tag("a", 'request.text contains "x"', "response"), {}, {"request"}, id="a response rule reads the request body"
    ),
    pytest.param(
        tag("a", 'request.text contains "x" and response.status == 200', "response"),
        {},
        {"request"},
        id="and the status",
    ),
    pytest.param(
        tag("a", 'host == "b.test" and request.text contains "x" and response.status == 200', "response"),
        {},
        set(),
        id="but not of another host",
    ),
    pytest.param(
        tag("a", 'method == PUT and request.text contains "x" and response.status == 200', "response"),
        {},
        set(),
        id="nor of another method",
    ),
    pytest.param(tag("a", '~b "x" & ~m PUT', "response"), {}, set(), id="nor of either side"),
    pytest.param(tag("a", '~b "x"', "response"), {}, {"request", "response"}, id="either side"),
    pytest.param(
        tag("a", 'request.json["a"] == 1 or response.status == 404', "response"), {}, {"request"}, id="under or"
    ),
    pytest.param(tag("a", "graphql.operation == 'A'"), {}, {"request"}, id="GraphQL"),
    pytest.param(tag("a", "request.size > 1KB and request.text contains 'x'"), {}, set(), id="the size says no"),
    pytest.param(tag("a") + tag("b", side="response"), {}, set(), id="heads only"),
]


@pytest.mark.parametrize(("rules", "request_of", "read"), BUFFERING)
def test_bodies_are_read_only_where_a_rule_needs_them(
    exchange: Exchange, rules: str, request_of: dict[str, Any], read: set[str]
) -> None:
    outcome = exchange(rules, method="POST", body=b"x", response_body=b"x", **request_of)
    assert outcome.read == read


@pytest.mark.parametrize(
    ("rules", "sent", "hits"),
    [
        pytest.param(
            tag("body", 'request.text contains "x"') + tag("head", 'request.header["x-hit"] == "body"'),
            {"method": "POST", "body": b"x"},
            ["body", "head"],
            id="a head rule below a body rule sees what that has changed",
        ),
        pytest.param(
            tag("body", 'request.text contains "x"') + BLOCK.format(match='has(request.header["x-hit"])') + tag("low"),
            {"method": "POST", "body": b"x"},
            ["body", "block"],
            id="and answers after it",
        ),
        pytest.param(
            BLOCK.format(match="method == POST") + tag("body", 'request.text contains "x"'),
            {"method": "POST", "body": b"x"},
            ["block"],
            id="a body rule below an answer is not reached",
        ),
        pytest.param(
            tag("one", 'request.json["n"] == 1') + tag("two") + tag("three", 'request.json["n"] in {1..3}'),
            {"method": "POST", "body": b'{"n": 1}'},
            ["one", "two", "three"],
            id="two body rules with a head rule between",
        ),
        pytest.param(
            "  - id: edit\n    match: ~all\n    rewrite: {request: {body: '{\"n\": 2}'}}\n"
            + tag("old", 'request.json["n"] == 1')
            + tag("new", 'request.json["n"] == 2'),
            {"method": "POST", "body": b'{"n": 1}'},
            ["edit", "new"],
            id="a body rule sees the body that an earlier rule wrote",
        ),
        pytest.param(
            tag("down", 'response.json["n"] == 1', "response")
            + tag("head", 'has(response.header["x-hit"])', "response"),
            {"response_body": b'{"n": 1}'},
            ["down", "head"],
            id="file order holds in the response pass",
        ),
        pytest.param(
            tag("head", "response.status == 200", "response")
            + tag("down", 'response.json["n"] == 1 and response.header["x-hit"] == "head"', "response"),
            {"response_body": b'{"n": 1}'},
            ["head", "down"],
            id="a response rule with a body sees what was done above it",
        ),
        pytest.param(
            tag("both", '~b "x"', "response"), {"response_body": b"x"}, ["both"], id="~b finds it in the response"
        ),
        pytest.param(
            tag("both", '~b "x"', "response"),
            {"method": "POST", "body": b"x"},
            ["both"],
            id="~b of a response rule finds it in the request",
        ),
        pytest.param(tag("both", '~b "x"'), {"response_body": b"x"}, [], id="~b of a request rule does not wait"),
        pytest.param(
            tag("a") + tag("mixed", 'request.json["n"] == 1 and response.json["n"] == 2', "response"),
            {"method": "POST", "body": b'{"n": 1}', "response_body": b'{"n": 2}'},
            ["a", "mixed"],
            id="both bodies, behind an edit of the request head",
        ),
        pytest.param(
            "  - id: edit\n    match: ~all\n    rewrite: {request: {body: gone}}\n"
            + tag("late", 'request.text == "gone" and response.status == 200', "response"),
            {"method": "POST", "body": b"was"},
            ["edit", "late"],
            id="a response rule below an edit sees the new body",
        ),
        pytest.param(
            tag("late", 'request.text == "was" and response.status == 200', "response")
            + "  - id: edit\n    match: ~all\n    rewrite: {request: {body: gone}}\n",
            {"method": "POST", "body": b"was"},
            ["edit", "late"],
            id="and one above it the old one",
        ),
        pytest.param(
            tag("late", 'request.text == "was" and response.status == 200', "response")
            + tag("a")
            + "  - id: edit\n    match: ~all\n    rewrite: {request: {body: gone}}\n",
            {"method": "POST", "body": b"was"},
            ["a", "edit", "late"],
            id="also where a head was edited between them",
        ),
        pytest.param(
            BLOCK.format(match="~all") + tag("log", 'request.text contains "x"', "response"),
            {"method": "POST", "body": b"x"},
            ["block", "log"],
            id="a response rule below an answer reads the request body",
        ),
        pytest.param(
            tag("gql", "graphql.operation == 'GetUser'"),
            {"method": "POST", "body": b'{"query": "query GetUser { user }"}'},
            ["gql"],
            id="GraphQL",
        ),
        pytest.param(
            tag("get", "graphql.operation == 'GetUser'"),
            {"url": "http://a.test/?operationName=GetUser"},
            ["get"],
            id="GraphQL without a body",
        ),
        pytest.param(tag("error", "error.kind != timeout", "response"), {}, ["error"], id="a flow that did not fail"),
    ],
)
def test_bodies_and_order(exchange: Exchange, rules: str, sent: dict[str, Any], hits: list[str]) -> None:
    assert exchange(rules, **sent).hits == hits


@pytest.mark.parametrize(
    ("rules", "sent", "told"),
    [
        (tag("a", 'path == "/no" and request.text contains "x"'), {"method": "POST", "body": BIG}, 0),
        (tag("a", 'path == "/" and request.text contains "x"'), {"method": "POST", "body": BIG}, 1),
        (tag("a", 'not request.text contains "x"', "response"), {"method": "POST", "body": BIG}, 1),
        (tag("a", 'response.text contains "x"', "response"), {"response_body": BIG}, 1),
        (tag("a", 'not response.text contains "x"', "response"), {"response_body": BIG}, 1),
        (tag("a", 'response.status == 404 and response.text contains "x"', "response"), {"response_body": BIG}, 0),
        (
            tag("a", 'response.text contains "x"', "response")
            + tag("b", 'path == "/no" and response.text contains "x"', "response"),
            {"response_body": BIG},
            1,
        ),
        (
            tag("a", 'request.text contains "x" and response.status == 404', "response"),
            {"method": "POST", "body": BIG},
            0,
        ),
        (
            tag("a", 'request.text contains "x" and response.status == 200', "response"),
            {"method": "POST", "body": BIG},
            1,
        ),
        (tag("a", '~b "x"', "response"), {"method": "POST", "body": BIG, "response_body": b"x"}, 1),
    ],
)
def test_a_missing_body_is_told_once_and_only_where_it_matters(
    exchange: Exchange, caplog: pytest.LogCaptureFixture, load: Load, rules: str, sent: dict[str, Any], told: int
) -> None:
    loaded = load(rules)
    with caplog.at_level("WARNING", logger="rulesproxy"):
        for _ in range(2):
            assert exchange(loaded, **sent).hits == []
    assert len([record for record in caplog.records if "did not apply" in record.getMessage()]) == told


@pytest.mark.parametrize("match", ["~s", "~s & ~m GET", "!~q", "~bs x", "~b x", "~ts html | ~s", "~e | ~s"])
def test_stop_is_for_the_response_pass_too(exchange: Exchange, match: str) -> None:
    rules = f"  - id: s\n    match: '{match}'\n    stop: true\n" + tag("a") + tag("b", side="response")
    assert exchange(rules, response_body=b"x").hits == ["a", "s"]


@pytest.mark.parametrize("match", ["ws.from_client", "not ws.from_client", "~tcp", "~e", "not has(tcp.data)"])
def test_stop_of_other_flows_stops_nothing(exchange: Exchange, match: str) -> None:
    rules = f"  - id: s\n    match: '{match}'\n    stop: true\n" + tag("a") + tag("b", side="response")
    assert exchange(rules).hits == ["a", "b"]


STREAM = [("Content-Type", "text/event-stream; charset=utf-8")]


@pytest.mark.parametrize(
    "match", ['response.text contains "x"', 'not response.text contains "x"', "~bs x", "~all", "response.status == 200"]
)
def test_an_event_stream_is_never_waited_for(
    exchange: Exchange, caplog: pytest.LogCaptureFixture, load: Load, match: str
) -> None:
    body = match in ("~all", "response.status == 200")
    edit = "\n  - id: a\n    match: " + match + "\n    rewrite: {response: {body: x}}\n" if body else ""
    loaded = load((edit or tag("a", match, "response")) + tag("below", side="response"))
    with caplog.at_level("WARNING", logger="rulesproxy"):
        for _ in range(2):
            outcome = exchange(loaded, response_headers=STREAM, response_body=b"data: x\n\n")
            assert (outcome.hits, outcome.read) == (["below"], set())
    told = [record.getMessage() for record in caplog.records if "did not apply" in record.getMessage()]
    assert len(told) == 1
    assert "event stream" in told[0]


def test_a_response_rule_that_reads_the_request_body_decides(exchange: Exchange) -> None:
    rules = tag("a", 'request.text contains "x" and response.status == 200', "response")
    assert exchange(rules, method="POST", body=b"x").hits == ["a"]
    assert exchange(rules, method="POST", body=b"y").hits == []
    assert exchange(tag("a", 'request.text contains "x"', "response"), method="POST", body=b"x").hits == ["a"]


def test_a_body_over_the_limit_makes_the_rule_not_apply(
    exchange: Exchange, caplog: pytest.LogCaptureFixture, load: Load
) -> None:
    rules = tag("a", 'request.text contains "x"') + tag("n", 'not request.text contains "y"') + tag("below")
    loaded = load(rules)
    with caplog.at_level("WARNING", logger="rulesproxy"):
        for _ in range(3):
            outcome = exchange(loaded, method="POST", body=b"x" * 20_000)
            assert outcome.hits == ["below"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all("over the limit" in line for line in told)


def test_events_that_no_rule_needs_do_not_exist(load: Load) -> None:
    def events(rules: str) -> set[str]:
        loaded = load(rules)
        names = ("http_connect", "requestheaders", "request", "responseheaders", "response")
        return {name for name in names if callable(getattr(loaded, name, None))}

    assert events("  []") == set()
    assert events(tag("a")) == {"requestheaders"}
    assert events(tag("a", 'request.text contains "x"')) == {"requestheaders", "request"}
    assert events(tag("a", side="response")) == {"requestheaders", "responseheaders"}
    assert events("  - match: ~all\n    rewrite: {response: {body: x}}\n") == {
        "requestheaders", "responseheaders", "response"
    }  # fmt: skip
    assert events("  - match: host == 'a.test'\n    block:\n") == {"http_connect", "requestheaders"}


CONNECT = [
    pytest.param("  - {match: host == 'a.test', block: 451}\n", 451, id="status"),
    pytest.param("  - {match: host == 'a.test', block: }\n", 403, id="default"),
    pytest.param("  - {match: host == 'a.test', block: 204}\n", 403, id="never a 2xx"),
    pytest.param("  - {match: host == 'b.test', block: 451}\n", None, id="another host"),
    pytest.param("  - {match: host == 'a.test' and path == '/x', block: 451}\n", None, id="not decided yet"),
    pytest.param(
        "  - {match: host == 'a.test', stop: true}\n  - {match: ~all, block: 451}\n", None, id="an allow rule above"
    ),
    pytest.param(
        "  - {match: host == 'a.test' and path == '/x', redirect: /y}\n  - {match: host == 'a.test', block: 451}\n",
        None,
        id="a rule above may answer first",
    ),
    pytest.param(
        "  - {match: host == 'b.test' and path == '/x', redirect: /y}\n  - {match: host == 'a.test', block: 451}\n",
        451,
        id="but not for another host",
    ),
    pytest.param(
        "  - {match: host == 'a.test', rewrite: {response: {status: 200}}}\n"
        "  - {match: host == 'a.test', block: 451}\n",
        451,
        id="response rules above do not matter",
    ),
    pytest.param("  - {match: host == 'a.test' and port == 8443, block: 451}\n", None, id="the port counts"),
]


@pytest.mark.parametrize(("rules", "status"), CONNECT)
def test_block_refuses_connect(rules: str, status: int | None, load: Load) -> None:
    loaded = load(rules)
    flow = HTTPFlow.make("CONNECT", "https://a.test/")
    flow.request.path = ""
    handler = getattr(loaded, "http_connect", None)
    if handler is not None:
        handler(flow)
    assert (None if flow.response is None else flow.response.status_code) == status
    assert bool(flow.hits) == (status is not None)


HOSTS = [
    pytest.param("  []", [], ["a.test"], id="no rules"),
    pytest.param(
        "  - {match: host == 'a.test' and path == '/x', block: }\n", ["a.test"], ["b.test", "x.a.test"], id="exact"
    ),
    pytest.param(
        "  - {match: host under 'a.test', rewrite: {response: {status: 200}}}\n",
        ["a.test", "x.a.test"],
        ["xa.test"],
        id="under",
    ),
    pytest.param("  - {match: path == '/x', block: }\n", ["a.test", "b.test"], [], id="everywhere"),
    pytest.param(
        "  - {match: host == 'a.test', stop: true}\n  - {match: path == '/x', block: }\n",
        ["b.test"],
        ["a.test"],
        id="let pass",
    ),
    pytest.param(
        "  - {match: host == 'a.test' and path == '/y', stop: true}\n  - {match: path == '/x', block: }\n",
        ["a.test"],
        [],
        id="let pass in part",
    ),
]


@pytest.mark.parametrize(("rules", "wanted", "unwanted"), HOSTS)
def test_only_hosts_that_rules_can_touch_are_decrypted(
    rules: str, wanted: list[str], unwanted: list[str], load: Load
) -> None:
    loaded = load(rules)
    assert [host for host in wanted + unwanted if loaded.wants_host(host)] == wanted


def test_a_failing_rule_is_isolated(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    """A capture with a line break cannot become a header: the rule fails, and its own on-error decides."""
    rules = """
  - id: bad
    match: query["x"] ~ r"(?s)(?P<x>.*)"
    {policy}
    redirect: { to: /y }
    rewrite: { request: { headers: { x-copy: "${x}" } } }
""" + tag("below")
    url = "http://a.test/?x=a%0d%0ab"
    closed = exchange(rules.replace("{policy}", "on-error: closed"), url=url)
    assert (closed.status, closed.hits) == (502, ["bad"])
    opened = exchange(rules.replace("{policy}", "on-error: open"), url=url)
    assert (opened.status, opened.hits) == (200, ["bad", "below"])
    assert "x-copy" not in opened.upstream.headers
    assert any("rule bad" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("side", ["request", "response"])
def test_what_fails_closed_is_an_answer_that_response_rules_see(exchange: Exchange, side: str) -> None:
    """They may put another one in its place. What was to be kept back stays back: it is not in the 502."""
    rules = f"""
  - id: guard
    match: ~all
    on-error: closed
    rewrite: {{ {side}: {{ headers: {{ x-n: "${{query['n'] | int}}" }} }} }}
  - id: mask
    match: response.status >= 500 and response.text contains "guard"
    respond: {{ status: 200, body: "${{response.status}}" }}
"""
    outcome = exchange(rules, url="http://a.test/?n=x", response_body=b"secret")
    assert (outcome.hits, outcome.status, outcome.text) == (["guard", "mask"], 200, "502")
    assert (outcome.upstream is None) is (side == "request")
    without = exchange(rules.partition("  - id: mask")[0], url="http://a.test/?n=x", response_body=b"secret")
    assert without.status == 502
    assert "secret" not in without.text


def test_a_rule_alone_behaves_as_a_set_of_one(exchange: Exchange, load: Load) -> None:
    loaded = load(BLOCK.format(match='host == "a.test"'))
    alone = loaded.rules[0]
    flow = HTTPFlow.make("GET", "http://a.test/")
    alone.requestheaders(flow)  # type: ignore[operator]
    assert (flow.hits, flow.response and flow.response.status_code) == (["block"], 403)
    assert alone.events == {"requestheaders", "http_connect"}
    assert not hasattr(alone, "response")
