"""Why a filter is true or false: the terms that decide, where they stand, and the values they have met."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from rulesproxy.filters.check import check
from rulesproxy.filters.explain import explain
from rulesproxy.filters.parse import FilterError, parse
from rulesproxy.filters.reference import matches
from rulesproxy.flow.http import HTTPFlow
from tests.filters.test_property import FILTERS, NAMES, flows

FLOW = HTTPFlow.make(
    "POST", "https://api.test:8443/v1/users?a=1&a=2&b=", [("X-A", "1"), ("Content-Type", "application/json")],
    b'{"user": {"id": 7, "tags": ["x"]}}', 503, [("Content-Type", "text/html")], b"<p>sorry</p>\n",
)  # fmt: skip

CASES = [
    # filter, the part that is marked, what is said
    ("method == GET", "method == GET", "`method` is `POST`"),
    ('method == POST and host == "b.test" and port == 1', 'host == "b.test"', "`host` is `api.test`"),
    ("method != POST", "method != POST", "`method` is `POST`"),
    ("not (method == POST and port == 8443)", "method == POST", "`method` is `POST`"),
    ('request.header["X-B"] == "1"', 'request.header["X-B"] == "1"', '`request.header["x-b"]` has no value'),
    ('query["a"] == "3"', 'query["a"] == "3"', '`query["a"]` is `1`, `2`'),
    ('query["a"][1] == "3"', 'query["a"][1] == "3"', '`query["a"][1]` is `2`'),
    ('all(query["a"] == "1")', 'all(query["a"] == "1")', '`query["a"]` is `1`, `2`'),
    ('request.json["user"]["id"] == "7"', 'request.json["user"]["id"] == "7"', '`request.json["user"]["id"]` is `7`'),
    ('request.json["user"]["name"] == "x"', 'request.json["user"]["name"] == "x"', '`request.json["user"]["name"]` has no value'),
    ('lower(method) == "get"', 'lower(method) == "get"', "`lower(method)` is `post`"),
    ("response.status < 500", "response.status < 500", "`response.status` is `503`"),
    ("tls", "tls", "`tls` is `false`"),
    ("has(error.kind)", "has(error.kind)", "`error.kind` has no value"),
    ("~q", "~q", "`~s` is `true`"),
    ("~u nothing", "~u nothing", "`~u` is `https://api.test:8443/v1/users?a=1&a=2&b=`"),
    ("~t css", "~t css", "`~tq` is `application/json`"),
    ("~bs never", "~bs never", r"`~bs` is `<p>sorry</p>\n`"),
    ("$f", "$f", "`host` is `api.test`"),
    ('orig.path == "/"', 'orig.path == "/"', "`orig.path` is `/v1/users`"),
    ('path startswith "/v2" or host == "b.test"', 'path startswith "/v2"', "`path` is `/v1/users`"),
    # Of several ways the nearest is said first: this host is spelled almost like the wanted one.
    ('path == "/" and port == 1 or host == "apis.test"', 'host == "apis.test"', "`host` is `api.test`"),
    ("~tcp", "~tcp", "`~tcp` is `false`"),
    ("~udp", "~udp", "this is never true"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "marked", "said"), CASES)
def test_the_first_failing_term(text: str, marked: str, said: str) -> None:
    found = explain(check(parse(text), {"f": parse('host == "f.test"')}), FLOW)
    assert not found.holds
    first = found.reasons[0]
    assert (text[first.start : first.end], str(first)) == (marked, said)


def test_a_body_that_was_not_kept() -> None:
    flow = FLOW.copy()
    flow.request.body_source = None
    found = explain(check(parse('request.text contains "x"')), flow)
    assert str(found.reasons[0]) == "the body that `request.body` reads was not kept"


def test_the_share_says_how_near_a_miss_was() -> None:
    def share(text: str) -> float:
        return explain(check(parse(text)), FLOW).share

    assert share("method == GET") == 0
    assert share("method == GET and port == 8443") == 0.5
    assert share('method == POST and host == "b.test" and port == 8443') == pytest.approx(2 / 3)
    assert share('host == "apu.test"') == 0.4
    assert share('host == "b.test" or (method == POST and port == 1)') == 0.5
    assert share("method == POST") == 1


def test_long_values_and_control_characters_fit_a_line() -> None:
    flow = HTTPFlow.make("GET", "http://a.test/" + "x" * 100, [("x", "a\x1b[31m\u202e")])
    assert str(explain(check(parse('path == "/"')), flow).reasons[0]) == f"`path` is `/{'x' * 58}…`"
    said = str(explain(check(parse('request.header["x"] == "b"')), flow).reasons[0])
    assert said == '`request.header["x"]` is `a\\x1b[31m\\u202e`'


@settings(max_examples=200)
@given(FILTERS, flows())
def test_an_explanation_agrees_with_the_filter(text: str, flow: HTTPFlow) -> None:
    try:
        checked = check(parse(text), NAMES)
    except FilterError:
        return
    found = explain(checked, flow)
    assert found.holds is matches(checked, flow)
    assert found.reasons
    assert 0 <= found.share <= 1
    for reason in found.reasons:
        assert 0 <= reason.start < reason.end <= len(text)
        assert str(reason).isprintable()
