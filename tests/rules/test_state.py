"""Named state: who sees what, what is forgotten when, and that both sides of a rule read it alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rulesproxy.flow.connection import ClientConn
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.rules.ruleset import RuleSet, load_rules
from rulesproxy.rules.state import FlowState, StateError, Store, is_name, state_of

Exchange = Callable[..., Any]


def load(rules: str) -> RuleSet:
    return load_rules(text="version: 1\nrules:\n" + rules)


def client(address: str) -> Callable[[HTTPFlow], None]:
    """Puts a flow under another client."""

    def move(flow: HTTPFlow) -> None:
        flow.client_conn = ClientConn((address, 1))

    return move


FLOW = """
  - id: login
    match: path == "/login" and response.status == 200
    set-state:
      client.user: ${request.header["x-user"] | lower}
      global.last: ${client.ip}
  - id: logout
    match: path == "/logout"
    set-state:
      client.user:
  - id: member
    match: path == "/me" and has(state["client.user"])
    respond:
      body: ${state["client.user"]} after ${state["global.last"]}
"""


def test_a_client_is_remembered_from_flow_to_flow(exchange: Exchange) -> None:
    rules = load(FLOW)
    ann, bob = client("192.0.2.1"), client("192.0.2.2")

    def me(who: Callable[[HTTPFlow], None]) -> str | None:
        outcome = exchange(rules, url="http://a.test/me", before=who)
        return outcome.text if "member" in outcome.hits else None

    def login(who: Callable[[HTTPFlow], None], name: str, status: int = 200) -> None:
        exchange(rules, url="http://a.test/login", headers=[("x-user", name)], before=who, status=status)

    assert me(ann) is None
    login(ann, "Ann", 401)
    assert me(ann) is None
    login(ann, "Ann")
    assert (me(ann), me(bob)) == ("ann after 192.0.2.1", None)
    login(bob, "BOB")
    assert (me(ann), me(bob)) == ("ann after 192.0.2.2", "bob after 192.0.2.2")
    exchange(rules, url="http://a.test/logout", before=ann)
    assert (me(ann), me(bob)) == (None, "bob after 192.0.2.2")


@pytest.mark.parametrize("nothing", ["", "~", "null", '""'])
def test_nothing_forgets(exchange: Exchange, nothing: str) -> None:
    rules = load(
        f"""
  - match: path == "/set"
    set-state: {{client.step: paid}}
  - match: path == "/forget"
    set-state: {{client.step: {nothing}}}
  - id: paid
    match: has(state["client.step"])
    tag: paid
"""
    )
    hits = [exchange(rules, url=f"http://a.test{path}").hits for path in ("/set", "/a", "/forget", "/b")]
    assert ["paid" in names for names in hits] == [True, True, False, False]


def test_a_reload_forgets_nothing(exchange: Exchange) -> None:
    old = load(FLOW)
    exchange(old, url="http://a.test/login", headers=[("x-user", "ann")])
    new = load(FLOW.replace("after", "behind"))
    new.follow(old)
    assert exchange(new, url="http://a.test/me").text == "ann behind 127.0.0.1"
    # Flows that began before the reload go on setting what those behind it read.
    exchange(old, url="http://a.test/login", headers=[("x-user", "eve")])
    assert exchange(new, url="http://a.test/me").text == "eve behind 127.0.0.1"


def test_a_flow_is_remembered_for_itself(exchange: Exchange) -> None:
    rules = """
  - id: mark
    match: path == "/a"
    set-state: {flow.kind: a, flow.more: b}
  - id: request
    match: state["flow.kind"] == "a"
    rewrite: {request: {headers: {x-kind: '${state["flow.kind"]}'}}}
  - id: bad
    match: response.status == 500
    set-state: {flow.bad: yes}
  - id: below
    match: state["flow.bad"] == "yes"
    rewrite: {response: {headers: {x-bad: '1'}}}
"""
    loaded = load(rules)
    first = exchange(loaded, url="http://a.test/a", status=500)
    assert first.hits == ["mark", "request", "bad", "below"]
    assert (first.upstream.headers["x-kind"], first.header("x-bad")) == ("a", "1")
    assert exchange(loaded, url="http://a.test/b").hits == []


BOTH = """
  - id: it
    match: state["client.on"] == "1"
    rewrite: {request: {headers: {x-q: '1'}}, response: {headers: {x-r: '1'}}}
  - id: switch
    match: path == "/SWITCH"
    set-state: {client.on: "VALUE"}
"""


@pytest.mark.parametrize(("before", "after"), [("1", ""), ("", "1"), ("1", "1"), ("", "")])
def test_both_sides_decide_alike_whatever_changes_between_them(exchange: Exchange, before: str, after: str) -> None:
    """The rule below changes the state in the request pass, after the rule has decided."""
    rules = load(BOTH.replace("SWITCH", "").replace("VALUE", after))
    first = load("  - match: ~all\n    set-state: {client.on: '" + before + "'}\n")
    exchange(first)
    rules.follow(first)
    outcome = exchange(rules)
    on = before == "1"
    assert outcome.hits == (["it", "switch"] if on else ["switch"])
    assert (outcome.upstream.headers.get("x-q"), outcome.header("x-r")) == (("1", "1") if on else (None, None))


def test_a_state_that_another_flow_changes_meanwhile(exchange: Exchange) -> None:
    rules = load(BOTH.replace("SWITCH", "switch").replace("VALUE", "1"))

    def meanwhile(flow: HTTPFlow) -> None:
        exchange(rules, url="http://a.test/switch")

    outcome = exchange(rules, between=meanwhile)
    assert (outcome.hits, outcome.header("x-r")) == ([], None)
    assert exchange(rules).hits == ["it"]


def test_a_body_is_read_for_a_state_that_is_set_above(exchange: Exchange) -> None:
    """What a state will be when the body is there is not known before, so it must not keep the body from being asked."""
    rules = load("""
  - id: first
    match: request.text contains "x"
    set-state: {flow.x: "1"}
  - id: second
    match: state["flow.x"] == "1"
    rewrite: {response: {body: {append: "!"}}}
""")
    outcome = exchange(rules, method="POST", body=b"x", response_body=b"hi", headers=[("if-none-match", "1")])
    assert (outcome.hits, outcome.text) == (["first", "second"], "hi!")
    # The server was asked for a whole body.
    assert "if-none-match" not in outcome.upstream.headers


def test_a_connect_is_decided_by_state() -> None:
    rules = load("""
  - match: host == "a.test" and state["global.closed"] == "1"
    block:
  - match: path == "/close"
    set-state: {global.closed: "1"}
""")

    def connect() -> int | None:
        flow = HTTPFlow.make("CONNECT", "https://a.test/")
        rules.http_connect(flow)  # type: ignore[attr-defined]
        return None if flow.response is None else flow.response.status_code

    assert connect() is None
    rules.requestheaders(HTTPFlow.make("GET", "http://b.test/close"))  # type: ignore[attr-defined]
    assert connect() == 403


def test_values_that_are_too_long_are_an_error_of_the_rule(
    exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    rule = "  - id: it\n    match: ~all\n    {}\n    set-state: {{client.a: '1', client.b: '${{query[\"q\"]}}'}}\n"
    long = "http://a.test/?q=" + "x" * (DEFAULT.state_value + 1)
    rules = load(rule.format("on-error: open"))
    assert exchange(rules, url=long).status == 200
    assert "rule it" in caplog.text
    assert exchange(load(rule.format("on-error: closed")), url=long).status == 502
    assert exchange(rules, url="http://a.test/?q=1").status == 200


def test_only_rules_with_state_give_flows_any() -> None:
    flow = HTTPFlow.make("GET", "http://a.test/")
    load("  - match: ~all\n    tag: x\n").requestheaders(flow)  # type: ignore[attr-defined]
    assert flow.metadata == {}


# The store


def test_old_clients_go_first() -> None:
    store = Store(Limits(state_clients=3))
    for name in "abcadb":
        store.put("client", name, "n", name)
    # `c` is the one for whom nothing was set for the longest time.
    assert {name: dict(store.values("client", name)) for name in "abcd"} == {
        "a": {"n": "a"}, "b": {"n": "b"}, "c": {}, "d": {"n": "d"},
    }  # fmt: skip
    store.put("client", "a", "n", "")
    store.put("client", "e", "n", "e")
    assert [bool(store.values("client", name)) for name in "abcde"] == [False, True, False, True, True]


def test_a_state_is_a_mapping() -> None:
    state = FlowState(Store(), "1")
    state.update({"flow.a": "1", "client.b": "2", "global.c": 3})
    assert dict(state) == {"flow.a": "1", "client.b": "2", "global.c": "3"}
    assert len(state) == 3
    del state["client.b"]
    assert "client.b" not in state
    assert state.get("nobody.b") is None
    with pytest.raises(KeyError):
        del state["client.b"]
    with pytest.raises(StateError, match="no name"):
        state["b"] = "1"


def test_a_flow_may_bring_its_own_state() -> None:
    """As in a dry run: it is read and written in place of that of the rules."""
    flow = HTTPFlow.make("GET", "http://a.test/me")
    flow.metadata["state"] = {"client.user": "zoe"}
    rules = load(FLOW + "  - match: ~all\n    set-state: {global.last: x}\n")
    rules.requestheaders(flow)  # type: ignore[attr-defined]
    assert flow.hits == ["member"]
    other = HTTPFlow.make("GET", "http://a.test/")
    state_of(other)["flow.x"] = "1"
    assert other.metadata["state"] == {"flow.x": "1"}


@pytest.mark.parametrize("name", ["client.step", "flow.a-b_c.d", "global.0"])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["step", "client", "client.", "client..a", "Client.a", "client.a b", "client.${x}"])
def test_bad_names(name: str) -> None:
    assert not is_name(name)
