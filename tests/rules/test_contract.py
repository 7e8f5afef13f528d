"""The sentences of the rule reference about order, each with the smallest rules that show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Exchange = Callable[..., Any]


def header(id: str, match: str, side: str = "response") -> str:
    """A rule that leaves its name in the header x-hit."""
    return f"  - id: {id}\n    match: '{match}'\n    rewrite: {{{side}: {{headers: {{add: {{x-hit: {id}}}}}}}}}\n"


def many(count: int = 50) -> str:
    """Rules that match nothing, so that the index is used."""
    return "".join(f"  - match: host == 'h{n}.test' and path == '/p{n}'\n    block:\n" for n in range(count))


SETS = pytest.mark.parametrize("before", ["", many()], ids=["linear", "indexed"])


@SETS
def test_a_later_rule_sees_what_an_earlier_one_changed(exchange: Exchange, before: str) -> None:
    rules = (
        before
        + """
  - id: first
    match: path == "/a"
    rewrite: {request: {path: /b, headers: {x-a: "1"}}}
  - id: second
    match: path == "/b" and request.header["x-a"] == "1"
    rewrite: {request: {host: b.test}}
  - id: third
    match: host == "b.test" and path == "/b"
    rewrite: {request: {query: {q: "1"}}}
  - id: never
    match: path == "/a"
    block:
"""
    )
    outcome = exchange(rules, url="http://a.test/a")
    assert outcome.hits == ["first", "second", "third"]
    assert outcome.upstream.url == "http://b.test/b?q=1"


@SETS
def test_a_body_edit_above_an_edit_of_what_the_index_knows(exchange: Exchange, before: str) -> None:
    """The pass pauses at the first rule; what the second one moves is found anew behind it."""
    rules = (
        before
        + """
  - id: body
    match: request.text contains "x"
    rewrite: {request: {body: y}}
  - id: move
    match: request.text == "y"
    rewrite: {request: {host: b.test, path: /moved}}
  - id: there
    match: host == "b.test" and path == "/moved"
    rewrite: {request: {headers: {x-there: "1"}}}
  - id: here
    match: host == "a.test"
    block:
"""
    )
    outcome = exchange(rules, method="POST", body=b"x")
    assert outcome.hits == ["body", "move", "there"]
    assert (outcome.upstream.host, outcome.upstream.headers["x-there"]) == ("b.test", "1")
    assert exchange(rules, method="POST", body=b"z").hits == ["here"]


@SETS
def test_both_sides_of_a_rule_decide_alike(exchange: Exchange, before: str) -> None:
    """The response side means the request as the rule saw it, whatever rules below have made of it."""
    both = "    rewrite: {request: {headers: {x-q: '1'}}, response: {headers: {x-r: '1'}}}\n"
    rules = (
        before
        + f"  - id: both\n    match: path == '/a'\n{both}"
        + """
  - id: move
    match: path == "/a"
    rewrite: {request: {path: /b}}
"""
        + f"  - id: below\n    match: path == '/a'\n{both.replace('x-', 'y-')}"
    )
    outcome = exchange(rules, url="http://a.test/a")
    assert outcome.hits == ["both", "move"]
    assert (outcome.upstream.path, outcome.header("x-r"), outcome.header("y-r")) == ("/b", "1", None)


@SETS
def test_the_response_side_of_a_rule_below_the_answer_sees_the_request_at_its_end(
    exchange: Exchange, before: str
) -> None:
    rules = (
        before
        + header("above", 'path == "/a"')
        + """
  - id: move
    match: path == "/a"
    rewrite: {request: {path: /b}}
  - id: answer
    match: path == "/b"
    block:
"""
        + header("old", 'path == "/a"')
        + header("new", 'path == "/b"')
    )
    assert exchange(rules, url="http://a.test/a").hits == ["move", "answer", "above", "new"]


@SETS
def test_orig_is_the_request_as_received(exchange: Exchange, before: str) -> None:
    rules = (
        before
        + """
  - id: move
    match: path == "/a"
    rewrite: {request: {url: "https://b.test/b?q=2", method: POST, headers: {x-a: "2"}}}
  - id: orig
    match: >-
      orig.path == "/a" and orig.host == "a.test" and orig.query["q"] == "1" and orig.method == GET
      and path == "/b" and host == "b.test" and query["q"] == "2" and method == POST
    rewrite: {request: {headers: {x-orig: "${orig.path} ${path}"}}}
  - id: response
    match: orig.path == "/a" and path == "/b"
    rewrite: {response: {headers: {x-orig: "${orig.host} ${host}"}}}
"""
    )
    outcome = exchange(rules, url="http://a.test/a?q=1")
    assert outcome.hits == ["move", "orig", "response"]
    assert (outcome.upstream.headers["x-orig"], outcome.header("x-orig")) == ("/a /b", "a.test b.test")


ANSWERS = ["block: 451", "redirect: /x", "respond: {status: 203}", "map-local: {dir: DIR}"]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_ends_the_request_pass_and_the_response_pass_runs_over_it(
    exchange: Exchange, answer: str, tmp_path: Any
) -> None:
    rules = header("a", "~all", "request") + "  - id: answer\n    match: ~all\n    " + answer + "\n"
    rules = rules.replace("DIR", str(tmp_path)) + header("b", "~all", "request") + header("c", "~all")
    outcome = exchange(rules)
    assert (outcome.hits, outcome.upstream, outcome.header("x-hit")) == (["a", "answer", "c"], None, "c")


@pytest.mark.parametrize("order", ["block: 403\n    rewrite: {EDIT}", "rewrite: {EDIT}\n    block: 403"])
def test_inside_a_rule_the_answer_comes_last(exchange: Exchange, order: str) -> None:
    edit = "request: {headers: {x-a: '1'}}"
    rules = (
        "  - id: it\n    match: ~all\n    " + order.replace("EDIT", edit) + "\n    tag: '${request.header[\"x-a\"]}'\n"
    )
    outcome = exchange(rules)
    assert (outcome.status, outcome.flow.request.headers.get("x-a"), outcome.flow.tags) == (403, "1", ["1"])


@pytest.mark.parametrize(
    ("action", "status"),
    [("block: 502", 502), ("respond: {status: 203, body: mine}", 203), ("block: {status: 451, body: no}", 451)],
)
def test_an_answer_in_the_response_pass_replaces_the_response_and_the_pass_goes_on(
    exchange: Exchange, action: str, status: int
) -> None:
    rules = header("above", "~all") + f"  - id: it\n    match: response.status == 500\n    {action}\n"
    rules += header("below", f"response.status == {status}") + header("old", "response.status == 500")
    outcome = exchange(rules, status=500, response_headers=[("x-server", "1")], response_body=b"trace")
    assert outcome.hits == ["above", "it", "below"]
    assert (outcome.status, outcome.header("x-hit"), outcome.header("x-server")) == (status, "below", None)


@pytest.mark.parametrize("end", ["close", "reset", "timeout"])
@pytest.mark.parametrize("late", [True, False])
def test_an_end_ends_the_flow(exchange: Exchange, end: str, late: bool) -> None:
    match = "response.status == 200" if late else "~all"
    rules = header("a", "~all") + f"  - id: it\n    match: {match}\n    block: {end}\n" + header("b", "~all")
    outcome = exchange(rules)
    assert outcome.flow.plan.end == end
    assert outcome.hits == (["a", "it"] if late else ["it"])
    assert (outcome.upstream is not None) is late


def test_stop_skips_the_rules_below_on_both_sides(exchange: Exchange) -> None:
    rest = header("q", "~all", "request") + header("r", "~all")
    assert exchange("  - id: allow\n    match: ~all\n    stop: true\n" + rest).hits == ["allow"]
    edit = "  - id: it\n    match: ~all\n    stop: true\n    rewrite: {response: {headers: {x-r: '1'}}}\n"
    outcome = exchange(header("above", "~all") + edit + rest)
    assert (outcome.hits, outcome.header("x-r"), outcome.header("x-hit")) == (["it", "above"], "1", "above")
    # For other flows it is not there.
    assert exchange("  - id: allow\n    match: path == '/x'\n    stop: true\n" + rest).hits == ["q", "r"]


@SETS
def test_a_stop_of_the_request_hides_a_response_rule_that_only_the_edited_request_would_match(
    exchange: Exchange, before: str
) -> None:
    rules = (
        before
        + """
  - id: move
    match: path == "/a"
    rewrite: {request: {path: /b}}
  - id: stop
    match: path == "/b"
    stop: true
"""
        + header("below", 'path == "/b"')
    )
    assert exchange(rules, url="http://a.test/a").hits == ["move", "stop"]
    assert exchange(rules, url="http://a.test/c").hits == []
