"""The passes against a second implementation of the contract: no index, no compiled filters, no pauses.

The oracle below walks over all rules for each side with the reference interpreter, keeps a copy of the request for
every rule, counts by itself, remembers state by itself, and knows no events. Rule sets and rows of requests, some of
which fail, are generated; hits, tags, the request upstream, the answer and the state must agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rulesproxy.filters.phases import Phase
from rulesproxy.filters.reference import matches
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse
from rulesproxy.rules import runner
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action
from rulesproxy.rules.gates import Gates
from rulesproxy.rules.model import Rule
from rulesproxy.rules.moments import REQUEST_SIDE
from rulesproxy.rules.outside import Outside, fraction
from rulesproxy.rules.ruleset import RuleSet, load_rules
from rulesproxy.rules.state import FlowState

HOSTS = ["a.test", "b.test", "x.a.test", "A.test", "c.example"]
PATHS = ["/", "/v1", "/v1/a", "/v1x", "/v2/a/b", "/old", "/%76%31/a", "/V1"]

TERMS = [
    'host == "a.test"', 'host under "a.test"', 'host in {"b.test" "c.example"}', 'path == "/v1"',
    'path under "/v1"',
    'path startswith "/v"', 'path ~ "^/v[12]/"', 'path ~ "^/o"', "method == POST", 'path ~ "/.*[12].*[ab]"', 'url ~* "[a-z]+.*v[0-9]+"',
    '~b "[z1].*[z}]"', "~hq x-.*[0-9].*1",
    'host == "b.test" and path == "/old"',
    'query["q"] == "1"', 'request.header["x-a"] == "1"', "~d a.test", '~u "v1"', "~h x-b", 'orig.path == "/v1"',
    'orig.host == "a.test"', 'request.text contains "zz"', 'request.json["a"] == 1', '~b "zz"', "~t json",
]  # fmt: skip
RESPONSE_TERMS = [
    "response.status == 200", "response.status in {400..599}", 'response.header["x-r"] == "1"',
    'response.text contains "zz"', 'response.json["a"] == 1',
]  # fmt: skip
STATE_TERMS = ['state["flow.a"] == "1"', 'has(state["client.b"])', 'state["global.c"] != "1"', 'flow.tags == "x"']
ERROR_TERMS = ["has(error.kind)", "error.kind == refused", "~e", "error.kind == timeout"]
GATES = [
    "nth: 2", "nth: [1, 3]", "every: 2", "times: 1", "times: 2", "sample: 50%", "sample: 50% seed 7",
    'sample: 50% by query["q"]', 'sample: 50% by request.header["x-a"] seed 3', "every: 2\n    times: 1",
    "sample: 50%\n    nth: 1",
]  # fmt: skip
BODIES = [b"", b"zz", b'{"a": 1}', b"other", b"z" * 20_000]
"""The last one is over the limit."""
ACTIONS = {
    "request": [
        "rewrite: {request: {path: /v1/a}}", "rewrite: {request: {path: /old}}",
        "rewrite: {request: {url: 'http://b.test/v2'}}",
        "rewrite: {request: {headers: {x-a: '1'}}}", "rewrite: {request: {headers: {remove: [x-a]}}}",
        "rewrite: {request: {method: POST}}", "block: 403", "redirect: /v1", "rewrite: {request: {query: {q: '1'}}}",
        "rewrite: {request: {headers: {host: c.example}}}", "rewrite: {request: {body: zz}}",
        "map-remote: {to: 'http://a.test', rewrite-back: false}",
        "rewrite: {request: {host: a.test}}", "respond: {status: 404}", "tag: x",
        "set-state: {flow.a: '1'}", "set-state: {client.b: '1'}", "set-state: {client.b: }",
        "set-state: {global.c: '${query[\"q\"]}'}",
    ],
    "response": [
        "rewrite: {response: {status: 404}}", "rewrite: {response: {headers: {x-r: '1'}}}", "block: 502",
        "rewrite: {response: {headers: {x-b: '1'}}}", "rewrite: {response: {body: zz}}",
        "respond: {status: 418, headers: {x-r: '1'}}", "tag: y",
        "rewrite: {response: {headers: {x-v: '${method} ${url} ${request.header[\"x-a\"]}'}}}",
        "rewrite: {response: {headers: {x-v: '${path} ${query[\"q\"]} ${request.text} ${request.json[\"a\"]}'}}}",
        "set-state: {global.c: '${path} ${response.status}'}", "tag: '${host} ${response.status}'",
        "set-state: {flow.a: '1', client.b: '1'}",
    ],
    "error": ["respond: {status: 419, headers: {x-r: '1'}}", "respond: {body: '${url}', headers: {x-v: '${url}'}}",
        "tag: 'z ${path}'", "respond: {body: x, headers: {x-v: '${request.text} ${path}'}}", "block: 503", "tag: z", "set-state: {global.c: '1'}"],
    "both": ["rewrite: {request: {path: /v2/a/b}, response: {headers: {x-r: '1'}}}",
        "rewrite: {request: {path: '${path}/z'}, response: {headers: {x-v: '${path}'}}}", "stop: true", "no-cache:",
        "map-remote: https://b.test/v1"],
}  # fmt: skip


@st.composite
def rule(draw: st.DrawFn, number: int) -> str:
    kind = draw(st.sampled_from(["early", "early", "early", "late", "error"]))
    early = draw(st.sampled_from([TERMS, TERMS, TERMS, STATE_TERMS]))
    terms = draw(st.lists(st.sampled_from(early), min_size=1 if kind == "early" else 0, max_size=3))
    if kind != "early":
        terms.append(draw(st.sampled_from(RESPONSE_TERMS if kind == "late" else ERROR_TERMS)))
    if kind == "error" and draw(st.booleans()):
        terms = [f"({' and '.join(terms)})", draw(st.sampled_from(RESPONSE_TERMS))]
        joined = " or ".join(terms)
    else:
        joined = draw(st.sampled_from([" and ", " or "])).join(
            f"not ({term})" if draw(st.integers(0, 4)) == 0 else f"({term})" for term in terms
        )
    sides = {"early": ["request", "response", "both"], "late": ["response"], "error": ["error"]}[kind]
    action = draw(st.sampled_from(ACTIONS[draw(st.sampled_from(sides))]))
    stop = "\n    stop: true" if draw(st.integers(0, 9)) == 0 and action != "stop: true" else ""
    gate = f"\n    {draw(st.sampled_from(GATES))}" if draw(st.integers(0, 3)) == 0 else ""
    return f"  - id: r{number}\n    match: '{joined}'\n    {action}{stop}{gate}\n"


@st.composite
def rule_sets(draw: st.DrawFn) -> str:
    number = draw(st.integers(1, 12))
    return "version: 1\nrules:\n" + "".join(draw(rule(at)) for at in range(number))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    headers = draw(st.lists(st.sampled_from([("x-a", "1"), ("x-b", "1"), ("Host", "b.test")]), max_size=2, unique=True))
    query = draw(st.sampled_from(["", "?q=1"]))
    url = f"http://{draw(st.sampled_from(HOSTS))}{draw(st.sampled_from(PATHS))}{query}"
    return {
        "method": draw(st.sampled_from(["GET", "POST"])), "url": url, "headers": headers,
        "status": draw(st.sampled_from([200, 404, 500, None, None])), "body": draw(st.sampled_from(BODIES)),
        "response_body": draw(st.sampled_from(BODIES)),
    }  # fmt: skip


def kept(body: bytes) -> bytes | None:
    return body if len(body) <= 10_000 else None


class State(dict[str, object]):
    """The state of one flow, with what outlives it kept in `shared`."""

    def __init__(self, shared: dict[str, object]) -> None:
        super().__init__(shared)
        self.shared = shared

    def update(self, pairs: Any) -> None:  # type: ignore[override]
        for name, value in pairs:
            for kept in [self] if name.startswith("flow.") else [self, self.shared]:
                kept.pop(name, None)
                if value:
                    dict.__setitem__(kept, name, value)


class Oracle:
    """The contract, read as directly as possible."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules
        self.shared: dict[str, object] = {}
        self.passed: Counter[tuple[int, str]] = Counter()
        self.open: dict[int, bool] = {}

    def run(self, flow: HTTPFlow, status: int | None, body: bytes) -> None:
        flow.metadata["state"] = State(self.shared)
        self.open = {}
        seen: dict[int, HTTPRequest] = {}
        decided: dict[int, bool] = {}
        last = len(self.rules)
        for number, rule in enumerate(self.rules):
            seen[number] = flow.request.copy()
            actions = self.actions(rule, REQUEST)
            if self.late(rule, False) or not (actions or rule.stop):
                continue
            lacks = flow.request.body_source is None and (
                any(action.edits_body == "request" for action in actions)
                or any("request" in step.action.reads_body for step in rule.steps)
            )
            decided[number] = not lacks and self.true(number, flow, flow.request)
            if not decided[number]:
                continue
            self.act(rule, flow, actions)
            if rule.stop:
                last = number + 1
                break
            if flow.response is not None:
                break
        end = flow.request.copy()
        if flow.response is None and status is None:
            flow.error = FlowError("nobody there", "refused")
            self.fail(flow, last, seen, decided, end)
            return
        if flow.response is None:
            assert status is not None
            flow.response = HTTPResponse.make(status)
            flow.response.headers.clear()
            flow.response.body_source = kept(body)
        for number, rule in enumerate(self.rules[:last]):
            if self.respond(number, flow, seen.get(number, end), decided) and rule.stop:
                break

    def respond(self, number: int, flow: HTTPFlow, request: HTTPRequest, decided: dict[int, bool]) -> bool:
        """What a rule does to a response; whether it was its turn."""
        rule = self.rules[number]
        assert flow.response is not None
        actions = self.actions(rule, RESPONSE)
        if not self.late(rule, True):
            # An action that is legal on both sides has run in the request pass, and so has a rule that only stops.
            actions = [action for action in actions if not action.legal & REQUEST]
            if not actions:
                return False
        if not actions and not rule.stop:
            return False
        if flow.response.body_source is None and any(action.edits_body == "response" for action in actions):
            return False
        if flow.request.body_source is None and any("request" in action.reads_body for action in actions):
            return False
        early = number in decided and not rule.filter.either_side
        if not (decided[number] if early else self.true(number, flow, request)):
            return False
        self.act(rule, flow, actions, request)
        return True

    def fail(
        self, flow: HTTPFlow, last: int, seen: dict[int, HTTPRequest], decided: dict[int, bool], end: HTTPRequest
    ) -> None:
        """The walk over the rules for a flow without a response."""
        for number, rule in enumerate(self.rules[:last]):
            request = seen.get(number, end)
            names = "error." in str(rule.text and rule.text.text) or "~e" in str(rule.text and rule.text.text)
            actions = [
                action for action in self.actions(rule, ERROR) if self.late(rule, False) or not action.legal & REQUEST
            ]
            acts = names and (bool(actions) or (rule.stop and self.late(rule, True)))
            if flow.response is not None and self.actions(rule, RESPONSE) and rule.filter.phases & (Phase.R | Phase.S):
                acted = self.respond(number, flow, request, decided)
            elif acts and (flow.response is not None or rule.name not in flow.hits):
                lacks = flow.request.body_source is None and any("request" in each.reads_body for each in actions)
                acted = not lacks and self.true(number, flow, request)
                if acted:
                    self.act(rule, flow, actions, request)
            elif flow.response is not None:
                acted = self.respond(number, flow, request, decided)
            else:
                acted = False
            if acted and rule.stop:
                break

    def actions(self, rule: Rule, events: frozenset[str]) -> list[Action]:
        return [step.action for step in rule.steps if step.action.legal & events]

    def late(self, rule: Rule, either: bool) -> bool:
        """Whether a rule is decided where there is a response; with `either` also one that is decided on both sides."""
        decidable = rule.filter.phases & REQUEST_SIDE and not rule.filter.uses_response
        return not decidable or (either and rule.filter.either_side)

    def true(self, number: int, flow: HTTPFlow, request: HTTPRequest) -> bool:
        current, flow.request = flow.request, request
        try:
            return matches(self.rules[number].filter, flow) and self.gate(number, flow)
        finally:
            flow.request = current

    def gate(self, number: int, flow: HTTPFlow) -> bool:
        """Whether the gates of a rule let a flow through, asked once."""
        if number not in self.open:
            gates = self.rules[number].gates
            self.open[number] = gates is None or self.passes(number, gates, flow)
        return self.open[number]

    def passes(self, number: int, gates: Gates, flow: HTTPFlow) -> bool:
        name = self.rules[number].name
        if gates.sample is not None:
            sample = gates.sample
            if "by" in sample.text:
                header = flow.request.headers.get("x-a") if "header" in sample.text else flow.request.query.get("q")
                if header is None or fraction(sample.seed, name, header) >= 0.5:
                    return False
            else:
                self.passed[number, "sample"] += 1
                if fraction(sample.seed or "0", name, self.passed[number, "sample"]) >= 0.5:
                    return False
        self.passed[number, "flows"] += 1
        count = self.passed[number, "flows"]
        if count % gates.every or (gates.nth and count not in gates.nth):
            return False
        self.passed[number, "times"] += 1
        return not gates.times or self.passed[number, "times"] <= gates.times

    def act(self, rule: Rule, flow: HTTPFlow, actions: list[Action], request: HTTPRequest | None = None) -> None:
        """Act, with the values of an earlier request where one is given."""
        if rule.name not in flow.hits:
            flow.hits.append(rule.name)
        current = flow.request
        for action in actions:
            if request is not None and action.names:
                flow.request = request
            try:
                action.bind()(flow, {})
            finally:
                flow.request = current


def outcome(flow: HTTPFlow) -> tuple[object, ...]:
    request, response = flow.request, flow.response
    answer = None if response is None else (response.status_code, response.headers.fields)
    return flow.hits, flow.tags, request.method, request.url, request.headers.fields, answer


@pytest.mark.usefixtures("every_engine")
@pytest.mark.parametrize("indexed_from", [1, 1000], ids=["indexed", "linear"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(rule_sets(), st.lists(requests(), min_size=5, max_size=5))
def test_the_passes_agree_with_the_oracle(
    indexed_from: int, exchange: Callable[..., Any], text: str, sent: list[dict[str, Any]]
) -> None:
    threshold, runner.INDEXED_FROM = runner.INDEXED_FROM, indexed_from
    try:
        rules: RuleSet = load_rules(text=text, outside=Outside(lambda: 0.0, lambda: 0.0, lambda: "u", "0"))
    finally:
        runner.INDEXED_FROM = threshold
    oracle = Oracle([addon.rule for addon in rules.rules])
    for request in sent:
        flow = HTTPFlow.make(request["method"], request["url"], request["headers"])
        flow.request.body_source = kept(request["body"])
        oracle.run(flow, request["status"], request["response_body"])
        expected = outcome(flow)
        result = exchange(rules, **request)
        assert outcome(result.flow) == expected, text
    remembered = dict(FlowState(rules.store, "127.0.0.1").items())
    assert remembered == oracle.shared, text
