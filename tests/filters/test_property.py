"""Generated filters and flows: compiler and interpreter agree, and what is known beforehand is never too little."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rulesproxy.filters.analysis import request_only
from rulesproxy.filters.check import Phase, check
from rulesproxy.filters.compile import compile_captures, compile_filter, compile_node
from rulesproxy.filters.keys import host_decision, index_key
from rulesproxy.filters.parse import FilterError, parse
from rulesproxy.filters.reference import matches
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow

NAMES = {
    "hosts": ("a.test", "b.a.test", "c"),
    "nets": ("10.0.0.0/8", "::1"),
    "f": parse('host under "a.test" and not tls'),
}

HOSTS = ["a.test", "b.a.test", "xa.test", "test", "c", "10.0.0.1", "A.TEST.", "[::1]"]
PATHS = ["/", "/v1", "/v1/", "/v1/users", "/v12", "/%76%31/x", "/a%2Fb", "/v1/users/7.json", "", "*"]
VALUES = ["", "a", "b", "ab", "A", "1", "v1", "application/json", "a=b; c", "\udcff", "é"]


def quoted(text):
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def values(texts):
    return st.sampled_from(texts).map(quoted)


def sets(texts):
    return st.lists(values(texts), min_size=1, max_size=4).map(lambda items: "{" + " ".join(items) + "}")


def joined(*parts):
    return st.tuples(*[st.just(part) if isinstance(part, str) else part for part in parts]).map(" ".join)


PRINTABLE = [text for text in VALUES if text.isprintable()]
REGEXES = ["^a", "a$", "^a$", "a", "^/v1", "^/v1/", "users$", r"\.test$", r"(^|\.)a\.test$", r"^a\.test$", "[ab]", "(?i)A", ".*b",
           r"^/v1/(?P<rest>.*)", "", "^$", r"(?P<x>[a-z]+)/", r"^(?:v|/)", "a|b", "1$"]  # fmt: skip
JSON = st.sampled_from(['request.json["a"]', 'request.json["a"]["b"]', 'response.json["a"]', "request.json", "request.json[*]",
                        'request.json["a"][*]', 'request.json[0]', 'json(query["a"])', 'json(request.text)["a"]'])  # fmt: skip
BODY = st.sampled_from(["request.body", "response.body", "request.text", "response.text", 'request.form["a"]',
                        "request.form[*]", "graphql.operation", "graphql.operation[1]"])  # fmt: skip
LITERAL = st.sampled_from(['"a"', '"1"', "1", "2.5", "true", "false", '""', "0"])
HOST = st.sampled_from(["host", "orig.host", "sni"])
PATH = st.sampled_from(["path", "path.raw", "orig.path"])
TEXT = st.sampled_from(["url", "request.content_type", "response.content_type", 'query["a"]', "query[*]", 'query["a"][1]',
                        'request.header["X"]', 'response.header["x"]', 'orig.query["a"]', "method", "lower(method)",
                        "upper(path)", 'b64_decode(query["a"])', 'trim(request.header["x"])', "url_decode(path.raw)", "path.segments", "path.segments[1]",
                        'request.cookie["a"]', "request.cookie[*]", 'response.cookie["a"]', "flow.tags", "tls.alpn[0]",
                        "error.message"])  # fmt: skip
NUMBER = st.sampled_from(["port", "response.status", "client.port", "len(path)", 'len(query["a"])', "orig.port"])
BINARY = st.sampled_from(["==", "!=", "contains", "startswith", "endswith", "glob"])
LEAF = st.one_of(
    joined(HOST, BINARY, values(["a.test", "A.test", "b.a.test", ".test", "*.test", "a*", "test", "c", "::1"])),
    joined(HOST, st.sampled_from(["in", "not in", "under", "endswith"]), sets(["a.test", "b.a.test", "test", "c"])),
    joined(HOST, st.sampled_from(["in", "not in", "under"]), "$hosts"),
    joined(PATH, BINARY, values(["/v1", "/v1/users", "/v", "/", "*", "/v1/*", "*.json", "/a%2Fb", "/%76"])),
    joined(PATH, "under", values(["/v1", "/v1/", "/", "/v1/users"])),
    joined(PATH, "under", sets(["/v1", "/a", "/v1/users"])),
    joined(PATH, "like", values(["/v1", "/v1/{id}", "/{a}/{b}", "/v1/users/{id}.json"])),
    joined(st.one_of(HOST, PATH, TEXT), st.sampled_from(["~", "!~", "~*", "!~*"]), values(REGEXES)),
    joined(TEXT, BINARY, values([*PRINTABLE, "a*", "*b", "*a*"])),
    joined(TEXT, st.sampled_from(["in", "not in"]), sets(PRINTABLE)),
    joined(TEXT, st.sampled_from(["contains", "startswith", "endswith"]), sets(PRINTABLE)),
    joined(NUMBER, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.sampled_from(["0", "1", "80", "200", "404"])),
    joined(NUMBER, st.sampled_from(["in", "not in"]), st.sampled_from(["{80 200}", "{1..100}", "{1..2 80..443 404}", "{0}"])),
    joined("method", st.sampled_from(["==", "!="]), st.sampled_from(["GET", "get", "POST"])),
    joined("scheme", st.sampled_from(["==", "!="]), st.sampled_from(["http", "https"])),
    joined("client.ip", st.sampled_from(["in", "not in"]),
           st.sampled_from(["{10.0.0.0/8}", "{10.0.0.1..10.0.0.9 ::1}", "$nets", "{::/0}", "{127.0.0.1 10.0.0.1}"])),
    joined(st.sampled_from(["any(", "all("]), TEXT, BINARY, values(["a", "ab", "b*"]), ")"),
    joined(JSON, st.sampled_from(["==", "!="]), LITERAL),
    joined(JSON, st.sampled_from(["in", "not in"]), st.sampled_from(['{1 "a" true}', "{1..9}", "{false}", '{"a" "1"}'])),
    joined(JSON, st.sampled_from(["<", ">="]), st.sampled_from(["1", "2.5"])),
    joined(st.one_of(JSON, BODY), BINARY, values(PRINTABLE)),
    joined(st.one_of(JSON, BODY), st.sampled_from(["~", "!~*"]), values(["^a", "a", "é", "(?s)a.b", "[éa]"])),
    joined("has(", st.one_of(JSON, BODY), ")"),
    joined(st.sampled_from(["any(", "all("]), JSON, st.sampled_from(["==", "!="]), LITERAL, ")"),
    joined(st.sampled_from(["len(request.body)", "len(response.text)", 'len(request.json["a"])', "request.size",
                            "response.size"]), st.sampled_from([">", "==", "<="]), st.sampled_from(["0", "1", "5"])),
    st.sampled_from(["protocol == http1", "http.version == 1.1", "request.destination == image", "~http", "~websocket", "~e",
                     "response.ttfb > 0", "graphql.type == query", "error.kind == timeout", "~a", "~replay", "~marked",
                     "request.json", "listen.port == 80", "server.ip in {::/0}", "tls.version == 1.3"]),
    st.sampled_from(["~b a", "~bq a", "~bs a", '~b "a.b"', "~bq é", "~t a", "~tq json", "~ts json", "~src 10", "~dst :80",
                     "~marker a", "~meta a"]),
    st.sampled_from(["tls", "tls == false", "has(sni)", "has(response.status)", 'has(query["a"])', "has(client.ip)", "$f"]),
    st.sampled_from(["~all", "~q", "~s", "~c 4xx", "~c 200-299", "~c 404", "~m get", "~m P", "~u v1", "~u ^http://a", "~d a",
                     r"~d ^a\.test$", r'~d "(^|\.)a\.test$"', r"~d \.test$", "~hq ^x:.a$", "~hs a$", "~h ^x:", "~h json"]),
)  # fmt: skip


def longer(inner):
    return st.one_of(
        inner.map(lambda text: f"not ({text})"),
        inner.map(lambda text: f"!({text})"),
        st.lists(inner, min_size=2, max_size=4).map(lambda items: " and ".join(f"({item})" for item in items)),
        st.lists(inner, min_size=2, max_size=4).map(lambda items: " | ".join(f"({item})" for item in items)),
    )


FILTERS = st.recursive(LEAF, longer, max_leaves=8)
PAIRS = st.lists(
    st.tuples(st.sampled_from(["X", "x", "Content-Type", "Host"]), st.sampled_from([*VALUES, "b.a.test:80"])),
    max_size=3,
)


BODIES = [
    b"", b"a", b"ab", b"1", b"a\nb", "é".encode(), b"\xff", None, b'{"a": 1}', b'{"a": {"b": "a"}}', b'{"a": [1, "a", true, null]}',
    b"[1, 2.5]", b'"a"', b"true", b'[{"a": false}]', b"a=a&a=b&b=", b'{"query": "query a { b }"}', b'[{"operationName": "a"}, 1]', b"{",
]  # fmt: skip


@st.composite
def flows(draw):
    host, path = draw(st.sampled_from(HOSTS)), draw(st.sampled_from(PATHS))
    query = draw(st.lists(st.sampled_from(["a=a", "a=b", "a", "b=YWI", "a=%61b", "a=+"]), max_size=3))
    url = f"{draw(st.sampled_from(['http', 'https']))}://{host}{draw(st.sampled_from(['', ':8080']))}/"
    status = draw(st.sampled_from([None, 200, 204, 404, 500]))
    flow = HTTPFlow.make(draw(st.sampled_from(["GET", "get", "POST"])), url, draw(PAIRS), b"", status, draw(PAIRS))
    flow.request.path = path + ("?" + "&".join(query) if query else "")
    flow.request.body_source = draw(st.sampled_from(BODIES))
    if flow.response is not None:
        flow.response.body_source = draw(st.sampled_from(BODIES))
    for message in (flow.request, flow.response):
        if message is not None and message.body_source:
            message.headers["Content-Length"] = str(len(message.body_source))
    flow.websocket = draw(st.booleans())
    flow.tags = draw(st.sampled_from([[], ["a"], ["b", "ab"]]))
    flow.error = draw(st.sampled_from([None, None, FlowError("a b", "timeout")]))
    flow.client_conn.peername = (draw(st.sampled_from(["10.0.0.1", "::1", "::ffff:10.0.0.1", "127.0.0.1", "?"])), 80)
    flow.client_conn.tls = draw(st.booleans())
    flow.client_conn.sni = draw(st.sampled_from([None, "a.test", "B.a.test"]))
    return flow.copy() if draw(st.booleans()) else flow


def checked(text):
    try:
        return check(parse(text), NAMES)
    except FilterError as exc:
        # A quantifier around a field with one value is the only mistake that is generated.
        if {problem.code for problem in exc.problems} != {"RP306"}:
            raise
        return None


def found_by(key, view):
    by_host = key.hosts is None or any(
        host in key.hosts or any(host == top or host.endswith(f".{top}") for top in key.suffixes) for host in view.hosts
    )
    by_path = key.paths is None or view.path in key.paths or any(view.path.startswith(p) for p in key.prefixes)
    return by_host and by_path


def early(flow):
    """The flow when its request head is there, and nothing else."""
    head = flow.copy()
    announced = any(name in head.request.headers for name in ("content-length", "transfer-encoding"))
    if announced or head.request.body_source is not None:
        # A request that announces no body has none, which is known from the beginning.
        head.request.body_source = b""
    head.response = head.error = None
    head.tags = []
    return FlowView(head)


@pytest.mark.usefixtures("every_engine")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS, st.lists(flows(), min_size=2, max_size=4))
def test_compiler_interpreter_and_keys(text, some):
    found = checked(text)
    if found is None:
        return
    function, captures = compile_filter(found), compile_captures(found)
    key, may = index_key(found), host_decision(found)
    may_be, near = compile_filter(found, head_only=True), compile_node(request_only(found.node))
    for flow in some:
        view = FlowView(flow)
        result = function(view)
        assert result is matches(found, flow)
        assert result is function(view)
        if result:
            assert found_by(key, view), key
            assert may_be(view), "the over-approximation without bodies is not sound"
            assert near(early(flow)), "the over-approximation at the request is not sound"
            assert not found.needs_body & Phase.B or flow.request.body_source is not None
            assert not found.needs_body & Phase.S or flow.response is None or flow.response.body_source is not None
            assert view.hosts != (view.host,) or may(view.host)
            assert set(captures(view)) <= found.captures


@settings(max_examples=300)
@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            [
                "host",
                "==",
                '"a"',
                "'",
                "(",
                ")",
                "{",
                "}",
                "~u",
                "~q",
                "~c",
                "200",
                "4xx",
                "and",
                "or",
                "not",
                "in",
                "|",
                "&",
                "!",
                "~",
                " ",
                "$x",
                "[",
                "]",
                "=",
                ",",
                "path",
                "r#",
                '"',
                "\\",
                "..",
                "1",
                "10KB",
                "::1",
                "any(",
                "has(",
                "lower(",
                "GET",
                "AND",
                "é",
                "“",
                "*",
            ]
        ),
        max_size=12,
    ).map(" ".join)
    | st.lists(st.sampled_from(list("~uqchost=!<>&|()[]{}\"'\\ $.,1a*+?")), max_size=20).map("".join)
)
def test_any_text_is_read_or_refused_in_place(text):
    """Nothing but `FilterError` comes out, with places inside the text."""
    try:
        check(parse(text), NAMES)
    except FilterError as exc:
        for problem in exc.problems:
            assert 0 <= problem.start <= problem.end <= len(text)
            assert problem.title


def encoded(parts):
    return "".join(parts).encode()


@settings(max_examples=200)
@given(
    st.text(max_size=12),
    st.text(max_size=30),
    st.lists(
        st.tuples(
            st.sampled_from(["Content-Type", "content-encoding", "Content-Length", "Cookie", "Sec-Fetch-Dest"])
            | st.text(max_size=5),
            st.sampled_from(
                ["gzip", "br", "application/json", "multipart/form-data; boundary=a", "text/a; charset=utf-16"]
            )
            | st.text(max_size=8),
        ),
        max_size=3,
    ),
    st.binary(max_size=60)
    | st.lists(st.sampled_from(list('{}[]":,a1 ')) | st.just('"query"'), max_size=20).map(encoded),
)
def test_no_flow_makes_a_filter_raise(method, url, headers, body):
    try:
        flow = HTTPFlow.make(method, url, headers, body, 200, headers, body)
    except UnicodeEncodeError:
        # Half of a surrogate pair is text that no header can hold.
        return
    view = FlowView(flow)
    for text in EVERYTHING:
        found = checked(text)
        assert compile_filter(found)(view) is matches(found, flow)


EVERYTHING = [
    'request.json["a"][*][0] == 1 or response.json[*] == "a" or request.form["a"] == "a" or request.form[*] == "b"',
    'graphql.operation == "a" or graphql.type == query or request.text == "a" or response.body contains "a"',
    'request.cookie[*] == "a" or response.cookie["a"] == "b" or request.size > 5 or response.size > 5KB',
    'request.destination == image or request.site == none or path.segments[0] == "a" or http.version == 2',
    'json(url)["a"] == 1 or json(request.body)["a"][*] == "x" or len(request.json["a"]) > 1 or ~b a or ~t b or ~src c',
    'host under "a" or sni == "a" or ~d a or ~u a or ~h a or ~hs a or ~m a',
    'path == "/a" and path.raw contains "a" or query["a"] ~ "a" or query[*] == "a" or url ~ "a"',
    'b64_decode(path) == "a" or url_decode(url) == "a" or len(trim(upper(lower(path)))) == 3',
    'request.content_type == "a" or response.content_type == "a" or request.header[*] == "a"',
    'orig.url == "a" or orig.path == "a" or orig.query["a"] == "a" or orig.host == "a"',
]


@pytest.mark.parametrize("text", EVERYTHING)
def test_everything_is_checked(text):
    assert checked(text) is not None
