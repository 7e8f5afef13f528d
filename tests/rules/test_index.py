"""The index: it leaves out no rule that matches, few others come along, and the work does not grow with the rules."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rulesproxy.filters.check import check
from rulesproxy.filters.compile import compile_filter
from rulesproxy.filters.keys import index_keys
from rulesproxy.filters.parse import FilterError, parse
from rulesproxy.filters.reference import matches
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules import index
from rulesproxy.rules.index import Index
from rulesproxy.rules.ruleset import load_rules

TEXTS = ["orders", "/v1/Orders", "api.shop.test", "Orders/12", "shop", "é-orders", "a b+c", "item%41", "itemA", "%2Fx/y", "8080/v1",
         "https://api", "case-17", "x-case: case", "test/v1", "tést", "::1", "abc"]  # fmt: skip
REGEXES = ["orders", "^/v1/(orders|items)/", r"orders/\d+$", "(?i)ORDERS", "a?bcde", "(abcd|orders)e?", "x{0,3}orders", "(|orders)", "",
           "case-[0-9]+", "(?:api|shop)[.]", "^https?://api", "o?rders/1", "orders|é", "(?m)^orders$", ".*itemA", "[oO]rders",
           "/.*[0-9]x", "[a-z]+s/[0-9]+$", "o.*[er]s", "(a|[a-z]+)ers.*[0-9]"]  # fmt: skip
FIELDS = ["host", "path", "path.raw", "url", 'query["q"]', "query[*]", 'request.header["X-Case"]', "request.header[*]",
          "request.content_type", "orig.path", "lower(path)", "url_decode(path.raw)", 'query["q"][0]', "response.content_type"]  # fmt: skip


def quoted(text):
    return '"' + text.replace("\\", r"\\") + '"'


def joined(*parts):
    return st.tuples(*[st.just(part) if isinstance(part, str) else part for part in parts]).map(" ".join)


FIELD = st.sampled_from(FIELDS)
LEAF = st.one_of(
    joined(FIELD, st.sampled_from(["==", "!=", "contains", "startswith", "endswith"]), st.sampled_from(TEXTS).map(quoted)),
    joined(FIELD, "glob", st.sampled_from(["*orders*", "/v1/*", "*shop*test", "/v1/orders", "*"]).map(quoted)),
    joined(FIELD, st.sampled_from(["in", "contains"]), st.sampled_from(['{"orders" "/v1/Orders"}', '{"/v1/orders" "ab"}'])),
    joined(FIELD, st.sampled_from(["~", "!~", "~*"]), st.sampled_from(REGEXES).map(lambda text: f"'{text}'")),
    joined("path", "like", st.sampled_from(["/v1/{a}", "/v1/orders/{id}", "/%76%31/itemA"]).map(quoted)),
    joined("path", "under", st.sampled_from(["/v1", "/v1/orders"]).map(quoted)),
    joined("host", "under", st.sampled_from(["shop.test", "test"]).map(quoted)),
    joined(st.sampled_from(["~u", "~d", "~hq", "~h"]), st.sampled_from(REGEXES[:-5]).map(lambda text: f"'{text}'")),
    st.sampled_from(["tls", "method == GET", "~all", "port == 8080", 'any(query["q"] == "orders")']),
)  # fmt: skip
FILTERS = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: " and ".join(f"({item})" for item in items)),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: " or ".join(f"({item})" for item in items)),
    ),
    max_leaves=6,
)
HOSTS = ["api.shop.test", "shop.test", "tést.shop.test", "127.0.0.1", "[::1]", "ORDERS.test"]


@st.composite
def flows(draw):
    headers = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["Host", "X-Case", "x-case", "Content-Type"]),
                st.sampled_from(
                    [*TEXTS, *HOSTS, "api.shop.test:80", "tést.shop.test:8080", "orders\xff", "text/orders"]
                ),
            ),
            max_size=3,
        )
    )
    port = draw(st.sampled_from(["", ":80", ":8080"]))
    flow = HTTPFlow.make(
        "GET", f"{draw(st.sampled_from(['http', 'https']))}://{draw(st.sampled_from(HOSTS))}{port}/", headers
    )
    path = draw(
        st.sampled_from(
            ["/", "/v1/orders", "/v1/Orders/12", "/%76%31/itemA", "/v1/%6frders/1", "*", "", "/é-orders", "//x/y"]
        )
    )
    query = draw(
        st.lists(
            st.sampled_from(["q=orders", "q=%6Frders", "q=a+b%2Bc", "o=itemA", "%71=case-17", "q=%4", "q=\udcfforders"])
        )
    )
    flow.request.path = path + ("?" + "&".join(query) if query else "")
    return flow  # fmt: skip


def checked(text):
    try:
        return check(parse(text))
    except FilterError as exc:
        assert {problem.code for problem in exc.problems} <= {"RP306", "RP501"}, (text, exc.problems)  # noqa: PT017
        return None


@pytest.fixture
def deep():
    """Every level is used, however few rules there are."""
    before = dict(index._SMALL)
    index._SMALL.update(dict.fromkeys(before, 0))
    yield
    index._SMALL.update(before)


@pytest.mark.usefixtures("every_engine")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FILTERS, min_size=1, max_size=8), st.lists(flows(), min_size=2, max_size=4))
def test_no_rule_is_left_out(filters, some):
    found = [each for text in filters if (each := checked(text)) is not None]
    before = dict(index._SMALL)
    trees = [Index([index_keys(each) for each in found])]
    index._SMALL.update(dict.fromkeys(before, 0))
    try:
        trees.append(Index([index_keys(each) for each in found]))
    finally:
        index._SMALL.update(before)
    for flow in some:
        true = {number for number, each in enumerate(found) if matches(each, flow)}
        for tree in trees:
            numbers = tree.candidates(flow.request)
            assert true <= set(numbers), filters
            assert list(numbers) == sorted(set(numbers))
            compiled = [number for number in numbers if compile_filter(found[number])(FlowView(flow))]
            assert compiled == sorted(true), filters
            assert true <= set(tree.by_host(flow.request.host)) or flow.request.headers.first(b"host") is not None


def candidates(filters, url, headers=()):
    tree = Index([index_keys(check(parse(text))) for text in filters])
    return list(tree.candidates(HTTPFlow.make("GET", url, headers).request))


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize(
    ("text", "url", "headers", "found"),
    [
        ('path ~ "/(orders|items)/"', "http://a/v1/orders/", [], True),
        ('path ~ "/(orders|items)/"', "http://a/v1/others/", [], False),
        ("~u ORDERS", "http://a/?x=orders", [], True),
        ("~u ORDERS", "http://a/?x=other", [], False),
        ('query["q"] == "orders"', "http://a/?q=%6Frder%73", [], True),
        ('query["q"] == "a b c d"', "http://a/?q=a+b+c+d", [], True),
        ('path == "/orders"', "http://a/%6frders", [], True),
        ('path contains "/orders"', "http://a/%6frders", [], True),
        ('path.raw contains "/%6frders"', "http://a/%6frders", [], True),
        ('request.header["x-case"] == "case-1"', "http://a/", [("X-Case", "case-1")], True),
        ('request.header["x-case"] == "case-1"', "http://a/", [("X-Case", "item-2")], False),
        ('request.header["x-case"] == "case-1"', "http://a/", [("X-Other", "case-1")], False),
        ("~hq x-case", "http://a/", [("X-Case", "1")], True),
        ("~hq x-case", "http://a/", [], False),
        ("~d shop", "http://a/", [("Host", "the-shop.test")], True),
        ("~d shop", "http://a/", [("Host", "the-stop.test")], False),
        ('~u "a.test:81/x"', "http://a/x", [("Host", "a.test:81")], True),
        ('host == "a" or path contains "orders"', "http://b/orders", [], True),
        ('host == "a" or path contains "orders"', "http://a/", [], True),
        ('host == "a" or path contains "orders"', "http://b/", [], False),
        ('(host == "a" and path == "/x") or (host == "b" and path == "/y")', "http://a/x", [], True),
        ('(host == "a" and path == "/x") or (host == "b" and path == "/y")', "http://a/y", [], False),
        ('not (host != "a" or path !~ "orders")', "http://a/orders", [], True),
        ('not (host != "a" or path !~ "orders")', "http://a/", [], False),
        ("not ~all", "http://a/", [], False),
        ('path contains "abc"', "http://a/", [], False),
        ('path contains "ab"', "http://a/", [], True),
        (" or ".join(f'(host == "h{n}" and path contains "text{n}")' for n in range(30)), "http://h7/text7", [], True),
        (" or ".join(f'(host == "h{n}" and path contains "text{n}")' for n in range(30)), "http://x/text7", [], False),
    ],
)
def test_candidates(text, url, headers, found):
    assert (candidates([text, 'host == "other"'], url, headers) == [0]) is found


KINDS = {
    "host": 'host == "h{}.test" and path startswith "/p{}/"',
    "path": 'path ~ "/tenant-{}/(orders|invoices)/[0-9]+"',
    "query": 'query["token"] ~ "^tok{}-[a-f0-9]+$"',
    "tilde": '~u "/item-{}[.](json|xml)"',
    "header": 'request.header["x-case"] == "case-{}"',
}
UNMATCHED = ["http://h7.test/x", "http://a.test/tenant-x7/orders/?token=tokx-7", "http://a.test/item-x7.json"]


def calls(kind, size):
    """The functions that are called for requests that match none of `size` rules."""
    numbers = range(100_000, 100_000 + size)
    lines = [f"- match: '{KINDS[kind].replace('{}', str(n))}'\n  block: 403" for n in numbers]
    rules = load_rules(text="version: 1\nrules:\n" + "\n".join(lines))
    flows = [HTTPFlow.make("GET", url, [("Host", url.split("/")[2]), ("x-case", "case-x")]) for url in UNMATCHED]
    for flow in flows:
        rules.requestheaders(flow)
        assert flow.hits == []
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        for flow in flows:
            rules.requestheaders(flow)
    finally:
        sys.setprofile(None)
    return count / len(flows)


@pytest.mark.parametrize("kind", KINDS)
def test_more_rules_make_no_more_calls(kind):
    few, many = calls(kind, 100), calls(kind, 4_000)
    assert many <= few + 3
    assert few < 60


def cost(tree, url, headers=()):
    """The functions that are called for one request."""
    request = HTTPFlow.make("GET", url, headers).request
    tree.candidates(request)
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        tree.candidates(request)
    finally:
        sys.setprofile(None)
    return count


def test_a_long_url_makes_no_more_calls():
    tree = Index([index_keys(check(parse(f'~u "/item-{n}[.](json|xml)"'))) for n in range(100)])
    assert cost(tree, "http://a.test/" + "item/" * 3000) <= cost(tree, "http://a.test/item/") + 2


def test_headers_that_a_request_does_not_have_cost_nothing():
    few, many = (
        Index([index_keys(check(parse(f'request.header["x-{n}"] == "value-{n}"'))) for n in range(size)])
        for size in (10, 1000)
    )
    headers = [("x-0", "value-0"), ("accept", "*/*")]
    assert list(many.candidates(HTTPFlow.make("GET", "http://a/", headers).request)) == [0]
    assert cost(many, "http://a/", headers) == cost(few, "http://a/", headers)


def test_texts_inside_texts_are_all_found():
    filters = [f'path contains "{text}"' for text in ("abc", "abcde", "bcd", "cde", "abcdef", "xyz")]
    assert candidates(filters, "http://a/abcde") == [0, 1, 2, 3]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_indexes_leave_no_memory_behind():
    keys = [index_keys(check(parse(f'path contains "a-text-of-some-length-{n}"'))) for n in range(300)]
    request = HTTPFlow.make("GET", "http://a/a-text-of-some-length-7/" + "x" * 1000).request

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1])

    def make(times):
        for _ in range(times):
            tree = Index(keys)
            for _ in range(20):
                assert tree.candidates(request) == (7,)

    make(20)
    before = resident()
    make(100)
    # One index of these is over 100 pages.
    assert resident() - before < 1000
