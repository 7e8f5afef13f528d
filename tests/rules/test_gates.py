"""`sample`, `nth`, `every`, `times`: on which flows a rule acts, in what order they are asked, and what they count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.load import load_text
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.ruleset import RuleSet, load_rules

Exchange = Callable[..., Any]


def outside(seed: str = "0", sampled: bool | None = None) -> Outside:
    return Outside(lambda: 0.0, lambda: 0.0, lambda: "u", seed, sampled)


def load(rules: str, seed: str = "0", sampled: bool | None = None) -> RuleSet:
    return load_rules(text="version: 1\nrules:\n" + rules, outside=outside(seed, sampled))


def tag(gates: str, match: str = "~all", id: str = "it", side: str = "request") -> str:
    return f"  - id: {id}\n    match: {match}\n    {gates}\n    rewrite: {{{side}: {{headers: {{x-hit: '1'}}}}}}\n"


def pattern(exchange: Exchange, rules: RuleSet, flows: int = 9, **sent: Any) -> str:
    """Which flows of a row are hits: a digit for each that is."""
    return "".join(str(n % 10) if exchange(rules, **sent).hits else "." for n in range(1, flows + 1))


@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize(
    ("gates", "hits"),
    [
        ("nth: 3", "..3......"),
        ("nth: [1, 3]", "1.3......"),
        ("nth: [9, 2, 2]", ".2......9"),
        ("every: 3", "..3..6..9"),
        ("every: 1", "123456789"),
        ("times: 2", "12......."),
        ("every: 2\n    times: 2", ".2.4....."),
        ("nth: [2, 4, 6]\n    times: 2", ".2.4....."),
        ("sample: 100%\n    nth: 2", ".2......."),
        ("sample: 0%\n    times: 2", "........."),
    ],
)
def test_counting(exchange: Exchange, gates: str, hits: str, side: str) -> None:
    assert pattern(exchange, load(tag(gates, side=side))) == hits


def test_only_flows_that_match_are_counted(exchange: Exchange) -> None:
    rules = load(tag("nth: 2", "path == '/a'"))
    urls = ["/a", "/b", "/b", "/a", "/a"]
    assert [bool(exchange(rules, url=f"http://a.test{path}").hits) for path in urls] == [
        False,
        False,
        False,
        True,
        False,
    ]


def test_only_sampled_flows_are_counted(exchange: Exchange) -> None:
    rules = load(tag('sample: 50% by query["u"]\n    times: 2'))
    plain = load(tag('sample: 50% by query["u"]'))
    users = [f"http://a.test/?u={n}" for n in range(40)]
    sampled = [url for url in users if exchange(plain, url=url).hits]
    assert 8 < len(sampled) < 32
    assert [url for url in users if exchange(rules, url=url).hits] == sampled[:2]


def test_a_closed_gate_is_no_match(exchange: Exchange) -> None:
    """The rules below go on, `stop` does not stop, and nothing is answered."""
    rules = load("  - id: block\n    match: ~all\n    nth: 2\n    stop: true\n    block:\n" + tag("times: 9"))
    assert [exchange(rules).hits for _ in range(3)] == [["it"], ["block"], ["it"]]
    allow = load("  - id: allow\n    match: ~all\n    nth: 2\n    stop: true\n" + tag("times: 9"))
    assert [exchange(allow).hits for _ in range(3)] == [["it"], ["allow"], ["it"]]


BOTH = "\n    rewrite: {request: {headers: {x-q: '1'}}, response: {headers: {x-r: '1'}}}\n"


@pytest.mark.parametrize("match", ["~all", "~h x-h", "~b zz", "path == '/' and ~h x-h"])
@pytest.mark.parametrize("gates", ["every: 2", "nth: [2, 4]", "sample: 50%", "sample: 50% by query['u']"])
def test_both_sides_of_a_rule_act_alike(exchange: Exchange, match: str, gates: str) -> None:
    rules = load(f"  - id: it\n    match: {match}\n    {gates}{BOTH}")
    seen = set()
    for number in range(20):
        outcome = exchange(
            rules, url=f"http://a.test/?u={number}", method="POST", body=b"zz", response_body=b"zz",
            headers=[("x-h", "1")], response_headers=[("x-h", "1")],
        )  # fmt: skip
        acted = outcome.upstream.headers.get("x-q") == "1"
        assert (outcome.header("x-r") == "1") is acted
        assert outcome.hits == (["it"] if acted else [])
        seen.add(acted)
    assert seen == {True, False}


def test_a_flow_that_is_tried_in_both_passes_counts_once(exchange: Exchange) -> None:
    rules = load(tag("nth: 2", "~h x-h", side="response"))
    asked: dict[str, Any] = {"headers": [("x-h", "1")], "response_headers": [("x-h", "1")]}
    assert pattern(exchange, rules, 3, **asked) == ".2."
    # Without the header in the request only the response pass sees it.
    rules = load(f"  - id: it\n    match: ~h x-h\n    nth: 2{BOTH}")
    assert pattern(exchange, rules, 3, response_headers=[("x-h", "1")]) == ".2."


def test_a_rule_that_cannot_apply_does_not_count(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    edit = "  - id: it\n    match: ~all\n    nth: 2\n    rewrite: {response: {body: x}}\n"
    rules = load(edit)
    big = b"z" * 20_000
    assert [bool(exchange(rules, response_body=body).hits) for body in (b"a", big, b"b", b"c")] == [
        False, False, True, False
    ]  # fmt: skip
    assert "did not apply" in caplog.text


def test_the_counter_counts_what_the_gates_let_through(exchange: Exchange) -> None:
    rules = load("  - match: ~all\n    every: 2\n    respond: {body: '${counter}'}\n")
    assert [exchange(rules).text for _ in range(6)] == ["", "1", "", "2", "", "3"]
    late = load(
        "  - match: response.status == 200\n    every: 2\n    rewrite: {response: {headers: {n: '${counter}'}}}\n"
    )
    assert [exchange(late).header("n") for _ in range(4)] == [None, "1", None, "2"]


# sample

USERS = [f"user-{number}" for number in range(10_000)]


def chosen(sample: str, id: str = "it", seed: str = "0") -> set[str]:
    """The users that a rule takes."""
    rules = load(tag(f"sample: {sample}", id=id), seed)
    taken = set()
    for user in USERS:
        flow = HTTPFlow.make("GET", "http://a.test/", [("cookie", f"uid={user}")])
        rules.requestheaders(flow)  # type: ignore[attr-defined]
        if flow.hits:
            taken.add(user)
    return taken


BY = 'by request.cookie["uid"]'


def test_a_share_of_the_values_is_fixed_for_ever() -> None:
    first = chosen(f"30% {BY} seed 42")
    assert 2850 <= len(first) <= 3150
    # Neither the run nor chance has a say.
    assert chosen(f"30% {BY} seed 42", seed="1") == first
    # A larger share takes whoever was in the smaller one.
    assert chosen(f"31.5% {BY} seed 42") > first > chosen(f"10% {BY} seed 42")
    other = chosen(f"30% {BY} seed 43")
    assert 2850 <= len(other) <= 3150
    assert 750 <= len(first & other) <= 1050
    another_rule = chosen(f"30% {BY} seed 42", id="other")
    assert 750 <= len(first & another_rule) <= 1050
    assert sorted(first)[:5] == ["user-10", "user-1007", "user-1011", "user-1024", "user-1025"]


@pytest.mark.parametrize("share", ["0%", "100%"])
def test_none_and_all(share: str) -> None:
    assert len(chosen(share)) == len(chosen(f"{share} {BY}")) == (10_000 if share == "100%" else 0)


def test_chance_comes_from_the_seed() -> None:
    assert 2850 <= len(chosen("30%")) <= 3150
    assert chosen("30%") == chosen("30%") != chosen("30%", seed="1")
    # A seed of its own makes a rule independent of the run.
    assert chosen("30% seed 7", seed="1") == chosen("30% seed 7", seed="2") != chosen("30% seed 8", seed="1")


def test_without_the_value_a_flow_is_not_taken(exchange: Exchange) -> None:
    rules = load(tag(f"sample: 100% {BY}"))
    assert exchange(rules).hits == []
    assert exchange(rules, headers=[("cookie", "uid=")]).hits == ["it"]


@pytest.mark.parametrize(
    "by",
    [
        'request.header["x-user"]', "client.ip", "host", "lower(path)", "path.segments[0]", "method", 'orig.query["u"]',
        'state["client.step"]', "flow.tags", "request.header['x seed y']",
    ],
)  # fmt: skip
def test_what_a_sample_may_go_by(by: str) -> None:
    assert load_text(f"version: 1\nrules:\n{tag(f'sample: 30% by {by} seed 42')}").diagnostics == ()


def test_a_sample_goes_by_what_the_rules_above_have_made_of_the_request(exchange: Exchange) -> None:
    rules = load("  - match: ~all\n    rewrite: {request: {cookies: {uid: a}}}\n" + tag(f"sample: 100% {BY}"))
    assert exchange(rules).hits[-1:] == ["it"]
    late = load(
        "  - match: ~all\n    rewrite: {request: {cookies: {uid: a}}}\n"
        + tag(f"sample: 100% {BY}", side="response")
        + "  - match: ~all\n    rewrite: {request: {cookies: {remove: uid}}}\n"
    )
    assert "it" in exchange(late).hits


@pytest.mark.parametrize("sampled", [True, False])
def test_a_dry_run_can_see_both_branches(exchange: Exchange, sampled: bool) -> None:
    rules = load(tag("sample: 50%") + tag(f"sample: 50% {BY}", id="by"), sampled=sampled)
    assert exchange(rules, headers=[("cookie", "uid=7")]).hits == (["it", "by"] if sampled else [])


# Around the passes


def test_a_reload_goes_on_counting(exchange: Exchange) -> None:
    def made(more: str = "", share: str = "nth: 3") -> RuleSet:
        return load(more + tag(share) + "  - match: path == '/x'\n    nth: 2\n    block:\n")

    first = made()
    url = "http://a.test/x"
    assert exchange(first, url=url).hits == []
    second = made("  - match: host == 'no.test'\n    block:\n")
    second.follow(first)
    # The rule without an id stands on another line now, and is still the same.
    assert len(exchange(second, url=url).hits) == 1
    assert exchange(second, url=url).hits == ["it"]
    changed = made(share="nth: 1")
    changed.follow(second)
    assert exchange(changed, url=url).hits == ["it"]


def test_two_rules_that_say_the_same_count_apart(exchange: Exchange) -> None:
    twice = "  - match: path == '/{}'\n    times: 1\n    tag: x\n"
    rules = load(twice.format("a") + twice.format("a"))
    assert len(exchange(rules, url="http://a.test/a").hits) == 2
    again = load(twice.format("a") + twice.format("a"))
    again.follow(rules)
    assert exchange(again, url="http://a.test/a").hits == []


def test_a_gate_waits_for_the_requests_inside_a_tunnel() -> None:
    rules = load("  - match: host == 'a.test'\n    nth: 2\n    block:\n")
    assert not hasattr(rules, "http_connect")
    assert rules.wants_host("a.test")
    shadow = load("  - match: host == 'a.test'\n    nth: 9\n    stop: true\n  - match: host == 'a.test'\n    block:\n")
    flow = HTTPFlow.make("CONNECT", "https://a.test/")
    shadow.http_connect(flow)  # type: ignore[attr-defined]
    # The rule above may let the request pass, so that nobody can tell yet.
    assert flow.response is None


def test_an_allow_rule_with_a_gate_does_not_keep_tls_closed() -> None:
    allow = "  - match: host == 'a.test'\n    {}\n    stop: true\n  - match: path == '/x'\n    block:\n"
    assert not load(allow.format("enabled: true")).wants_host("a.test")
    assert load(allow.format("sample: 50%")).wants_host("a.test")


@pytest.mark.parametrize("indexed", [True, False])
def test_gates_behind_the_index(exchange: Exchange, indexed: bool) -> None:
    more = "".join(f"  - match: host == 'h{n}.test'\n    block:\n" for n in range(100 if indexed else 0))
    rules = load(more + tag("nth: 2", "host == 'a.test'"))
    assert pattern(exchange, rules, 4) == ".2.."
    assert pattern(exchange, rules, 4, url="http://h7.test/") == ("1234" if indexed else "....")


# on-overflow

BIG = b"z" * 20_000


def overflow(rules: str, exchange: Exchange, side: str, **sent: Any) -> bool:
    """Whether the layers are told to refuse a body of this side that is too big."""
    flow = exchange(rules, **sent).flow
    return flow.planned is not None and side in flow.planned.refuses_big


READS = "  - match: {}\n    on-overflow: {}\n    rewrite: {{{}: {{headers: {{x-hit: '1'}}}}}}\n"
OVERFLOW = [
    ("request.text contains 'a'", "block", "request", True),
    ("request.text contains 'a'", "stream", "request", False),
    ("path == '/no' and request.text contains 'a'", "block", "request", False),
    ("response.text contains 'a'", "block", "response", True),
    ("response.text contains 'a'", "stream", "response", False),
    ("response.status == 404 and response.text contains 'a'", "block", "response", False),
    ("path == '/no' and response.text contains 'a'", "block", "response", False),
    ("request.text contains 'a' and response.status == 200", "block", "request", True),
]


@pytest.mark.parametrize(("match", "word", "side", "refused"), OVERFLOW)
@pytest.mark.parametrize("above", ["", "wait", "allow"])
def test_which_bodies_are_refused(
    exchange: Exchange, match: str, word: str, side: str, refused: bool, above: str
) -> None:
    kind = "request" if side == "request" and "response" not in match else "response"
    rules = READS.format(match, word, kind)
    if above:
        # A rule above waits for the body first, and lets big ones pass by.
        wait = READS.format(f"{side}.text contains 'q'", "stream", side)
        allow = "  - {match: path == '/', stop: true}\n" if above == "allow" else ""
        rules = wait + allow + rules
        refused = refused and above == "wait"
    assert overflow(rules, exchange, side, method="POST", body=BIG, response_body=BIG) is refused


def test_what_a_rule_does_not_edit_is_not_refused(exchange: Exchange) -> None:
    html = "  - match: ~all\n    on-overflow: block\n    rewrite: {response: {html: {append-body: x}}}\n"
    assert overflow(html, exchange, "response", response_headers=[("content-type", "text/html")])
    assert not overflow(html, exchange, "response", response_headers=[("content-type", "image/png")])
    stream = [("content-type", "text/event-stream")]
    text = READS.format("response.text contains 'a'", "block", "response")
    assert not overflow(text, exchange, "response", response_headers=stream)


def test_a_rule_that_did_not_match_the_request_refuses_no_response(exchange: Exchange) -> None:
    rules = (
        "  - match: ~all\n    rewrite: {response: {body: {append: x}}}\n"
        "  - match: method == POST\n    on-overflow: block\n"
        "    rewrite: {request: {headers: {a: b}}, response: {body: {append: x}}}\n"
    )
    assert overflow(rules, exchange, "response", method="POST")
    assert not overflow(rules, exchange, "response")


@pytest.mark.parametrize(("cookie", "sampled", "hits"), [("uid=7", True, ["r"]), ("uid=7", False, []), ("", True, [])])
def test_a_dry_run_samples_no_flow_without_the_value(
    exchange: Exchange, cookie: str, sampled: bool, hits: list[str]
) -> None:
    rule = "  - id: r\n    match: ~all\n    sample: 1% by request.cookie['uid']\n    tag: x\n"
    headers = [("cookie", cookie)] if cookie else []
    assert exchange(load(rule, sampled=sampled), headers=headers).hits == hits
