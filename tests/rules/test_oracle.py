"""The passes against a second implementation of the contract: no index, no compiled filters, no pauses.

The oracle below walks over all rules for each side with the reference interpreter, keeps a copy of the request for
every rule, and knows no events. Rule sets and requests are generated; hits, the request upstream and the answer must
agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rulesproxy.filters.reference import matches
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse
from rulesproxy.rules import passes
from rulesproxy.rules.action import REQUEST, RESPONSE
from rulesproxy.rules.compile import REQUEST_SIDE
from rulesproxy.rules.model import Rule
from rulesproxy.rules.ruleset import RuleSet, load_rules

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
    ],
    "response": [
        "rewrite: {response: {status: 404}}", "rewrite: {response: {headers: {x-r: '1'}}}", "block: 502",
        "rewrite: {response: {headers: {x-b: '1'}}}", "rewrite: {response: {body: zz}}",
        "respond: {status: 418, headers: {x-r: '1'}}",
    ],
    "both": ["rewrite: {request: {path: /v2/a/b}, response: {headers: {x-r: '1'}}}", "stop: true", "no-cache:",
        "map-remote: https://b.test/v1"],
}  # fmt: skip


@st.composite
def rule(draw: st.DrawFn, number: int) -> str:
    late = draw(st.booleans()) and draw(st.booleans())
    terms = draw(st.lists(st.sampled_from(TERMS), min_size=0 if late else 1, max_size=3))
    if late:
        terms.append(draw(st.sampled_from(RESPONSE_TERMS)))
    joined = draw(st.sampled_from([" and ", " or "])).join(
        f"not ({term})" if draw(st.integers(0, 4)) == 0 else f"({term})" for term in terms
    )
    sides = ["response"] if late else ["request", "response", "both"]
    action = draw(st.sampled_from(ACTIONS[draw(st.sampled_from(sides))]))
    stop = "\n    stop: true" if draw(st.integers(0, 9)) == 0 and action != "stop: true" else ""
    return f"  - id: r{number}\n    match: '{joined}'\n    {action}{stop}\n"


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
        "status": draw(st.sampled_from([200, 404, 500])), "body": draw(st.sampled_from(BODIES)),
        "response_body": draw(st.sampled_from(BODIES)),
    }  # fmt: skip


def kept(body: bytes) -> bytes | None:
    return body if len(body) <= 10_000 else None


class Oracle:
    """The contract, read as directly as possible."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules

    def run(self, flow: HTTPFlow, status: int, body: bytes) -> None:
        seen: dict[int, HTTPRequest] = {}
        lacking: set[int] = set()
        last = len(self.rules)
        for number, rule in enumerate(self.rules):
            seen[number] = flow.request.copy()
            if (
                rule.filter.uses_response
                or not rule.filter.phases & REQUEST_SIDE
                or not self.true(rule, flow, flow.request)
            ):
                continue
            actions = [step.action for step in rule.steps if step.action.events & REQUEST]
            if flow.request.body_source is None and any(action.edits_body == "request" for action in actions):
                lacking.add(number)
                continue
            if actions or rule.stop:
                self.hit(flow, rule)
            for action in actions:
                action.bind()(flow, {})
            if rule.stop:
                last = number + 1
                break
            if flow.response is not None:
                break
        end = flow.request.copy()
        if flow.response is None:
            flow.response = HTTPResponse.make(status)
            flow.response.headers.clear()
            flow.response.body_source = kept(body)
        for number, rule in enumerate(self.rules[:last]):
            request = seen.get(number, end)
            actions = [step.action for step in rule.steps if step.action.events & RESPONSE]
            if not rule.filter.uses_response and not rule.filter.either_side:
                # An action that is legal on both sides has run in the request pass.
                actions = [action for action in actions if not action.events & REQUEST]
            if number not in lacking and (actions or rule.stop) and self.true(rule, flow, request):
                if not actions and rule.filter.phases & REQUEST_SIDE and not self.late(rule):
                    continue
                if flow.response.body_source is None and any(action.edits_body == "response" for action in actions):
                    continue
                self.hit(flow, rule)
                for action in actions:
                    action.bind()(flow, {})
                if rule.stop:
                    break

    def late(self, rule: Rule) -> bool:
        return rule.filter.uses_response or rule.filter.either_side

    def true(self, rule: Rule, flow: HTTPFlow, request: HTTPRequest) -> bool:
        current, flow.request = flow.request, request
        try:
            return matches(rule.filter, flow)
        finally:
            flow.request = current

    def hit(self, flow: HTTPFlow, rule: Rule) -> None:
        if rule.name not in flow.hits:
            flow.hits.append(rule.name)


def outcome(flow: HTTPFlow) -> tuple[object, ...]:
    request, response = flow.request, flow.response
    assert response is not None
    return flow.hits, request.method, request.url, request.headers.fields, response.status_code, response.headers.fields


@pytest.mark.usefixtures("every_engine")
@pytest.mark.parametrize("indexed_from", [1, 1000], ids=["indexed", "linear"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(rule_sets(), st.lists(requests(), min_size=3, max_size=3))
def test_the_passes_agree_with_the_oracle(
    indexed_from: int, exchange: Callable[..., Any], text: str, sent: list[dict[str, Any]]
) -> None:
    threshold, passes.INDEXED_FROM = passes.INDEXED_FROM, indexed_from
    try:
        rules: RuleSet = load_rules(text=text)
    finally:
        passes.INDEXED_FROM = threshold
    oracle = Oracle([addon.rule for addon in rules.rules])
    for request in sent:
        flow = HTTPFlow.make(request["method"], request["url"], request["headers"])
        flow.request.body_source = kept(request["body"])
        oracle.run(flow, request["status"], request["response_body"])
        expected = outcome(flow)
        result = exchange(rules, **request)
        assert outcome(result.flow) == expected, text
