"""What `check` says of rules that are right one by one: each report is proved and shown, and silence costs nothing."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.filters import typed
from rulesproxy.filters.check import check
from rulesproxy.filters.parse import parse
from rulesproxy.filters.reference import matches, passes
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.lints import diagnose, lint
from rulesproxy.rules.lints.candidates import Candidates
from rulesproxy.rules.lints.sample import sample
from rulesproxy.rules.lints.terms import Term, all_terms
from rulesproxy.rules.lints.values import excludes, implies
from rulesproxy.rules.load import load_text
from rulesproxy.rules.ruleset import RuleSet
from tests.conformance.flows import FLOWS
from tests.conformance.test_filters import TRUE
from tests.rules.test_oracle import BODIES, HOSTS, PATHS, RESPONSE_TERMS, TERMS
from tests.support.deciding import NAMES

HEAD = "version: 1\nrules:\n"


def found(rules: str) -> list[str]:
    """The codes of what is said of rules."""
    return [diagnostic.code for diagnostic in diagnose(load_text(HEAD + rules))]


def rules_of(*rules: str) -> str:
    return "".join(f"  - id: r{at}\n    " + rule.replace("\n", "\n    ") + "\n" for at, rule in enumerate(rules))


QUIET = [
    # A rule in between changes what the rule below sees.
    ("match: path == '/old'\nblock:", "match: path == '/new'\nrewrite: {request: {path: /old}}", "match: path == '/old'\nredirect: /x"),
    ("match: flow.tags == a\nblock:", "match: ~all\ntag: a", "match: flow.tags == a\nredirect: /x"),
    # Response rules run for answers too.
    ("match: host == 'a.test'\nblock:", "match: host == 'a.test'\nrewrite: {response: {status: 200}}"),
    ("match: host == 'a.test'\nblock:", "match: host == 'a.test' and response.status == 403\ntag: x"),
    # What falls through does not answer everything.
    ("match: host == 'a.test'\nmap-local: {dir: ., fallthrough: true}", "match: host == 'a.test'\nredirect: /x"),
    # A body that was not kept makes the first one not apply.
    ("match: host == 'a.test' and request.text contains 'x'\nblock:", "match: host == 'a.test'\nredirect: /x"),
    ("match: host == 'a.test'\npassthrough:", "match: host == 'a.test' and scheme == http\ntag: x"),
    ("match: host == 'a.test'\npassthrough:", "match: host == 'a.test'\nblock:"),
    ("match: host == 'a.test'\npassthrough:", "match: host == 'b.test' and path == '/x'\ntag: x"),
    ("match: host == 'a.test'\nblock:", "match: host == 'a.test'\npassthrough:"),
    # The narrower rule refines the broader one.
    ("match: ~all\nrewrite: {request: {headers: {x-a: '1'}}}", "match: host == 'a.test'\nrewrite: {request: {headers: {x-a: '2'}}}"),
    ("match: host == 'a.test'\nrewrite: {request: {headers: {x-a: '1'}}}", "match: ~all\nrewrite: {request: {headers: {x-a: '1'}}}"),
    ("match: host == 'a.test'\nrewrite: {request: {headers: {x-a: '1'}}}\nstop: true", "match: ~all\nrewrite: {request: {headers: {x-a: '2'}}}"),
    ("match: path == '/a'\nrewrite: {request: {path: /b}}", "match: path == '/b'\nrewrite: {request: {path: /c}}"),
    # Twice is something else than once.
    ("match: path startswith '/a'\nrewrite: {request: {path: '/a${path}'}}", "match: path startswith '/a'\nrewrite: {request: {path: '/a${path}'}}"),
    # Several values of one name.
    ("match: query['a'] == '1' and query['a'] == '2'\nblock:",),
    ("match: request.header['a'] != '1' and request.header['a'] != '2'\nblock:",),
    ("match: has(request.header['a']) or request.header['a'] != '1'\nblock: 404\nenabled: false",),
    # A capture is needed whatever else is true.
    ('match: path == "/v1/a" and path ~ "^/v1/(?P<rest>.*)"\nredirect: /${rest}',),
    ("match: host == 'a.test' or host == 'b.test'\nblock:",),
    ("match: response.status >= 400 and response.status < 500\ntag: x",),
    ("match: client.ip in {10.0.0.0/8} or client.ip in {192.168.0.0/16}\nblock:",),
]  # fmt: skip


@pytest.mark.parametrize("rules", QUIET, ids=range(len(QUIET)))
def test_nothing_is_said_without_proof(rules: tuple[str, ...]) -> None:
    assert [code for code in found(rules_of(*rules)) if code.startswith("RP7")] == []


SAID = [
    # A rule that the request pass does not get to stops nothing.
    (("match: path == '/x'\nblock:", "match: host under 'a.test'\nstop: true", "match: host == 'a.test' and response.status == 500\ntag: x"), []),
    (("match: host under 'a.test'\nstop: true", "match: host == 'a.test' and response.status == 500\ntag: x"), ["RP701"]),
    (("match: host == 'a.test'\nblock: reset", "match: ~d ^a\\.test$ and host == 'a.test'\ntag: x"), ["RP701", "RP705", "RP711"]),
    (("match: client.ip in {10.0.0.0/8}\nblock:", "match: client.ip == 10.1.2.3\nredirect: /x"), ["RP701"]),
    (("match: port in {8000..8999}\nblock:", "match: port > 8079 and port <= 8090\nredirect: /x"), ["RP701"]),
    (("match: request.header['x-a'] ~ '^ab'\nblock:", "match: request.header['X-A'] == 'abc'\nredirect: /x"), ["RP701", "RP509"]),
    (("match: host in $l\nblock:", "match: host == 'a.test'\nredirect: /x"), ["RP701"]),
    (("match: path glob '/img/*.png'\nblock:", "match: path == '/img/x.png'\nredirect: /x"), ["RP701"]),
    (("match: path ~ '^/v[0-9]/'\nblock:", "match: path ~ '^/v[0-9]/' and tls\nredirect: /x"), ["RP701"]),
    (("match: path == '/a'\nblock:", "match: host == 'b.test'\nrewrite: {request: {headers: {x-a: '1'}}}", "match: path == '/a'\nredirect: /x"), ["RP701"]),
    (("match: host under 'a.test'\nblock:", "match: host == 'x.a.test'\nblock: 404"), ["RP701"]),
    (("match: method == GET and not method == GET\nblock:",), ["RP703"]),
    (("match: host == 'a.test' and not host under 'test'\nblock:",), ["RP703"]),
    (("match: path startswith '/a' and path startswith '/b'\nblock:",), ["RP703"]),
    (("match: host in {'a.test' 'b.test'} and host ~ '^[cd]'\nblock:",), ["RP703"]),
    (("match: port >= 10 and port < 5\nblock:",), ["RP703"]),
    (("match: response.status in {400..499} and response.status not in {400..599}\ntag: x",), ["RP703"]),
    (("match: request.header['a'] == '1' and not has(request.header['a'])\nblock:",), ["RP703"]),
    (("match: not (host == 'a.test' and host == 'b.test')\nblock:",), ["RP704"]),
    (("match: method in {GET POST} and method == GET\nblock:",), ["RP705"]),
    (("match: path contains 'a' and path endswith '/bar'\nblock:",), ["RP705"]),
    (("match: host == 'a.test'\nrewrite: {response: {status: 201}}", "match: host under 'test'\nrewrite: {response: {status: 202}}"), ["RP706"]),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "codes"), SAID, ids=range(len(SAID)))
def test_what_is_said(rules: tuple[str, ...], codes: list[str]) -> None:
    lists = "lists:\n  l: [a.test, b.test]\n" if any("$l" in rule for rule in rules) else ""
    text = f"version: 1\n{lists}rules:\n{rules_of(*rules)}"
    assert sorted(diagnostic.code for diagnostic in diagnose(load_text(text))) == sorted(codes)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("  - match: path == 'v1' # rulesproxy: ignore[RP315] old clients\n    block:\n", []),
        ("  # rulesproxy: ignore[RP315, RP316] old clients\n\n  # and more\n  - match: path == 'v1'\n    block:\n", ["RP990"]),
        ("  # rulesproxy: ignore[RP315]\n  - match: >-\n      tls\n      and path == 'v1'\n    block:\n", []),
        ("  # rulesproxy: ignore[RP316]\n  - match: path == 'v1'\n    block:\n", ["RP990", "RP315"]),
        ("  - match: path == 'v1 # rulesproxy: ignore[RP315]'\n    block:\n", ["RP012"]),
        ("  - match: >-\n      path == 'v1 # rulesproxy: ignore[RP315]'\n    block:\n", ["RP315"]),
        ("  - match: path == 'v1'\n    blok: # rulesproxy: ignore[RP101]\n", ["RP315", "RP101"]),
    ],
)  # fmt: skip
def test_comments_silence_warnings(line: str, left: list[str]) -> None:
    assert found(line) == left


def test_an_error_cannot_be_ignored() -> None:
    text = HEAD + "  - match: path == 'v1'\n    blok: # rulesproxy: ignore[RP101] no\n"
    assert [diagnostic.code for diagnostic in diagnose(load_text(text))] == ["RP315", "RP101"]


# Proofs


KINDS: list[tuple[str, list[str], list[Any]]] = [
    ("host", ["== 'a.test'", "== 'x.a.test'", "in {'a.test' 'b.test'}", "under 'a.test'", "under 'test'", "under 'b.test'", "startswith 'x'", "endswith '.test'", "endswith 'a.test'", "contains 'a'", "contains 'x.a'", "glob '*.a.test'", "glob 'a.test'", "~ '^a\\.test$'", "~ '(^|\\.)a\\.test$'", "~ '^x'", "~ 'test$'", "~ 'a|b'"],
     ["a.test", "x.a.test", "b.test", "xa.test", "test", "y.b.test", "a.testx", "", "x", "xx.a.test"]),
    ("path", ["== '/a'", "== '/a/'", "in {'/a' '/b/c'}", "under '/a'", "under '/a/b'", "under '/'", "startswith '/a'", "startswith '/'", "endswith 'b'", "contains '/a/'", "glob '/a*b'", "glob '/*'", "like '/a/{id}'", "~ '^/a'", "~ '^/a/b$'", "~* '^/A'", "~ 'b$'", "~ '^/a.*b$'", "~ '/a/'"],
     ["/", "/a", "/a/", "/a/b", "/ab", "/b/c", "/A", "/A/B", "/a/b/c", "/a\nb", "", "/a/x/b"]),
    ("method", ["== GET", "!= GET", "in {GET POST}", "startswith 'G'", "~ 'E'", "contains 'O'"], ["GET", "POST", "PUT", "G", "get"]),
    ("port", ["== 80", "in {80 443}", "in {1..100}", "in {50..500}", "in {1..100 443}", "< 80", "<= 80", "> 80", ">= 80", "> 79"], [0, 1, 79, 80, 81, 100, 443, 500, 65535]),
    ("response.ttfb", ["< 100ms", "<= 100ms", "> 100ms", ">= 100ms", "== 100ms", "< 50ms"], [0.0, 0.05, 0.0999, 0.1, 0.1001, 3.0]),
    ("client.ip", ["== 10.0.0.1", "in {10.0.0.0/8}", "in {10.0.0.0/16}", "in {10.0.0.1 10.1.0.1}", "in {10.0.0.0..10.0.0.9}", "in {192.168.0.0/16 10.0.0.1}", "in {'::1'}"], ["10.0.0.1", "10.1.0.1", "192.168.1.1", "::1", "10.0.0.5"]),
]  # fmt: skip


def compiled_tests(field: str, conditions: list[str]) -> list[typed.Test]:
    found = []
    for condition in conditions:
        text = f"version: 1\nrules:\n  - match: |-\n      {field} {condition}\n    tag: x\n"
        loaded = load_text(text)
        assert loaded.ok, loaded.diagnostics
        node = loaded.rules[0].filter.node
        found.append(getattr(node, "item", node))
    return found


@pytest.mark.parametrize(("field", "conditions", "values"), KINDS, ids=[kind[0] for kind in KINDS])
def test_what_is_proved_holds_for_every_value(field: str, conditions: list[str], values: list[Any]) -> None:
    from rulesproxy.filters.normal import normal_address

    tests = compiled_tests(field, conditions)
    known = [normal_address(value) for value in values] if field == "client.ip" else values
    proved = Counter[str]()
    for one in tests:
        for other in tests:
            if implies(one, other):
                proved["implies"] += one is not other
                assert all(passes(other, value) for value in known if passes(one, value)), (one, other)
            if excludes(one, other):
                proved["excludes"] += 1
                assert not any(passes(one, value) and passes(other, value) for value in known), (one, other)
    assert proved["implies"] >= 3
    assert proved["excludes"] >= 2


@settings(max_examples=300)
@given(st.text("ab./x", max_size=6), st.sampled_from(["host", "path"]), st.data())
def test_proofs_hold_for_any_text(value: str, field: str, data: st.DataObject) -> None:
    conditions = next(kind[1] for kind in KINDS if kind[0] == field)
    one, other = (ALL_TESTS[field][data.draw(st.integers(0, len(conditions) - 1))] for _ in range(2))
    if passes(one, value):
        assert passes(other, value) or not implies(one, other)
        assert not passes(other, value) or not excludes(one, other)


ALL_TESTS = {field: compiled_tests(field, conditions) for field, conditions, _ in KINDS}

MORE_TERMS = [
    'host == "b.test"', 'host in {"a.test" "x.a.test"}', 'host under "test"', "method == GET", "method in {GET POST}",
    'path == "/v1/a"', 'path under "/v1/a"', 'path startswith "/v1"', "tls", "scheme == http", "port == 80",
    "port in {1..100}", 'path ~ "^/v1/"', '~d "^a[.]test$"', "~all",
]  # fmt: skip
ENDING = ["block: 403", "redirect: /v1", "respond: {status: 404}", "stop: true"]
OTHERS = [
    "tag: x", "rewrite: {request: {path: /v1/a}}", "rewrite: {request: {headers: {x-a: '1'}}}",
    "rewrite: {request: {headers: {x-a: '2'}}}", "rewrite: {response: {headers: {x-r: '1'}}}",
    "rewrite: {response: {headers: {x-r: '2'}}}", "map-remote: {to: 'http://a.test', rewrite-back: false}",
    "rewrite: {response: {status: 404}}", "block: 502",
]  # fmt: skip


def some_rules(chance: random.Random) -> str:
    """A rule set in which rules hide each other now and then."""
    out = []
    for number in range(chance.randint(2, 7)):
        terms = chance.sample(TERMS + 3 * MORE_TERMS + RESPONSE_TERMS, chance.choice([1, 1, 2, 2, 3]))
        joined = chance.choice([" and ", " and ", " or "]).join(
            f"not ({term})" if chance.random() < 0.1 else f"({term})" for term in terms
        )
        action = chance.choice(ENDING if chance.random() < 0.5 else OTHERS)
        out.append(f"  - id: r{number}\n    match: '{joined}'\n    {action}\n")
    return HEAD + "".join(out)


def some_flow(chance: random.Random) -> dict[str, Any]:
    url = f"{chance.choice(['http', 'https'])}://{chance.choice(HOSTS)}{chance.choice(PATHS)}{chance.choice(['', '?q=1'])}"
    headers = chance.sample([("x-a", "1"), ("x-b", "1"), ("Host", "b.test"), ("x-a", "2")], chance.randint(0, 2))
    return {
        "method": chance.choice(["GET", "POST", "PUT"]), "url": url, "headers": headers,
        "status": chance.choice([200, 404, 500]), "body": chance.choice(BODIES), "response_body": chance.choice(BODIES),
    }  # fmt: skip


def names_in(diagnostic: Diagnostic, text: str) -> list[str]:
    """The rules that a report says never run."""
    if diagnostic.code == "RP701":
        return re.findall("rule `(r[0-9])`", diagnostic.title)
    lines = [label.span.line for label in diagnostic.labels]
    return [text.split("\n")[line - 1].rpartition(" ")[2] for line in lines]


@pytest.mark.parametrize("seed", range(4))
def test_no_request_refutes_a_report(exchange: Callable[..., Any], seed: int) -> None:
    """Random rules and random requests: what is said never to happen does not happen."""
    chance = random.Random(seed)
    said = Counter[str]()
    for _ in range(100):
        text = some_rules(chance)
        loaded = load_text(text)
        if not loaded.ok:
            continue
        reports = lint(loaded.rules)
        said.update(report.code for report in reports)
        hidden = {name for report in reports if report.code in ("RP701", "RP710") for name in names_in(report, text)}
        undone = [re.findall("`(r[0-9])`", report.title) for report in reports if report.code == "RP706"]
        by_line = {rule.span.line + 1: rule for rule in loaded.rules}
        never = [by_line[report.span.line] for report in reports if report.code == "RP703" and report.span]
        always = [by_line[report.span.line] for report in reports if report.code == "RP704" and report.span]
        rules = RuleSet.of(loaded)
        for _ in range(30):
            sent = some_flow(chance)
            hits = exchange(rules, **sent).flow.hits
            assert not hidden & set(hits), (text, sent)
            assert all(second in hits for first, second in undone if first in hits), (text, sent)
            for status in (None, 200, 500):
                flow = HTTPFlow.make(sent["method"], sent["url"], sent["headers"], sent["body"], status)
                assert not any(matches(rule.filter, flow) for rule in never), (text, sent)
                assert all(matches(rule.filter, flow) for rule in always), (text, sent)
    assert said["RP701"] > 5
    assert said["RP703"] > 1
    assert said["RP705"] > 5


@pytest.mark.parametrize("seed", range(3))
def test_a_term_implies_what_it_is_said_to(seed: int) -> None:
    chance = random.Random(seed)
    nodes = [load_text(f"{HEAD}  - match: '{term}'\n    tag: x\n").rules[0].filter.node for term in TERMS + MORE_TERMS]
    terms = [term for node in nodes for term in all_terms(node) or ()]
    flows = []
    for _ in range(150):
        sent = some_flow(chance)
        flow = HTTPFlow.make(sent["method"], sent["url"], sent["headers"], sent["body"])
        flow.client_conn.tls = flow.request.scheme == "https"
        flows.append(flow)

    def holds(literals: Any, flow: HTTPFlow) -> bool:
        return all(matches(literal.node, flow) == literal.positive for literal in literals)

    proved = 0
    for one in terms:
        for other in terms:
            if one is not other and one.implies_all(other):
                proved += 1
                assert all(holds(other.literals, flow) for flow in flows if holds(one.literals, flow))
    assert proved > 20


def test_no_flow_of_the_conformance_suite_refutes_a_proof() -> None:
    """Every filter of the suite against every other one: what one is said to imply holds for all the suite's flows."""
    flows = [flow for make in FLOWS.values() if isinstance(flow := make(), HTTPFlow)]
    texts = sorted({row.values[2] for row in TRUE})
    terms = [term for text in texts for term in all_terms(check(parse(text), NAMES).node) or ()]
    seen = [
        [all(matches(each.node, flow) == each.positive for each in term.literals) for flow in flows] for term in terms
    ]
    assert len(terms) > 400
    proved = 0
    for one, mine in zip(terms, seen, strict=True):
        if one.impossible:
            assert not any(mine), one.literals
            continue
        for other, theirs in zip(terms, seen, strict=True):
            if one is not other and other.literals and one.implies_all(other):
                proved += 1
                assert all(b for a, b in zip(mine, theirs, strict=True) if a), (one.literals, other.literals)
    assert proved > 200


@pytest.mark.parametrize("target", ["https://c.[test/", "//[::1/${host}"])
def test_a_redirect_to_what_is_no_url_leads_in_no_circle(target: str) -> None:
    text = f"version: 1\nrules:\n  - match: host == 'a.test'\n    redirect: '{target}'\n"
    assert "RP7" not in str(diagnose(load_text(text)))


def test_rules_about_one_long_list_do_not_meet_at_each_of_its_items() -> None:
    hosts = ", ".join([f"h{number}.test" for number in range(1000)])
    text = f"version: 1\nlists: {{l: [{hosts}]}}\nrules:\n"
    text += "".join([f"""  - match: host in $l and query["q{number}"] == "1"\n    tag: x\n""" for number in range(3)])
    found = [term for rule in load_text(text).rules for term in all_terms(rule.filter.node) or ()]
    assert len(found) == 3
    index: Candidates[int] = Candidates()
    for number, term in enumerate(found):
        index.add(term, number)
    for number, term in enumerate(found):
        assert [other for _, other in index.implied_by(term)] == [number]


def test_the_index_leaves_nothing_out() -> None:
    chance = random.Random(1)
    terms = []
    for _ in range(250):
        joined = " and ".join(f"({term})" for term in chance.sample(TERMS + MORE_TERMS, chance.randint(1, 3)))
        node = load_text(f"{HEAD}  - match: '{joined}'\n    tag: x\n").rules[0].filter.node
        terms += [term for term in all_terms(node) or () if not term.impossible]
    index: Candidates[int] = Candidates()
    for number, term in enumerate(terms):
        index.add(term, number)
    pairs = 0
    for term in terms:
        expected = {number for number, other in enumerate(terms) if term.implies_all(other)}
        pairs += len(expected)
        assert expected <= {number for _, number in index.implied_by(term)}
    assert pairs > 2 * len(terms)


@pytest.mark.parametrize(
    "pattern",
    ["^/v[0-9]+/users$", "a|b", r"\d{3}-\w+", "(?:ab)+c?", "[^/]+", r"^\s*x", "x{2,5}", "[a-f0-9]{8}", "(?i)AbC", ""],
)
def test_a_sample_fits(pattern: str) -> None:
    text = sample(re.compile(pattern, re.ASCII))
    assert text is not None
    assert re.search(pattern, text, re.ASCII)


def test_a_sample_that_cannot_be_guessed_is_none() -> None:
    assert sample(re.compile(r"a\b.\Ba")) is None


@pytest.mark.parametrize(
    "filter",
    [
        'host == "h{n}.test"', 'host == "a.test" and path under "/r{n}"', 'path ~ "/items/{n}[0-9]"',
        'request.header["x-a"] == "{n}" and method == GET', 'host under "d{n}.test" and method in {{GET POST}}',
    ],
)  # fmt: skip
def test_many_rules_are_not_compared_with_each_other(filter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work grows with the rules, and not with their pairs."""
    number, compared = 400, 0
    rules = rules_of(*[f"match: '{filter.format(n=n)}'\nblock:" for n in range(number)])
    loaded = load_text(HEAD + rules)
    assert loaded.ok
    implies_all = Term.implies_all

    def counted(self: Term, other: Term) -> bool:
        nonlocal compared
        compared += 1
        return implies_all(self, other)

    monkeypatch.setattr(Term, "implies_all", counted)
    assert lint(loaded.rules) == []
    assert compared <= 2 * number
