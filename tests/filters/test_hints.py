"""Hints: each is given where it is true, and nowhere else."""

from __future__ import annotations

import pytest

from rulesproxy.filters.check import check
from rulesproxy.filters.parse import parse

FIRES = [
    ("method == GTE", "RP305", "GTE", "did you mean `GET`?"),
    ("method in {GET POTS}", "RP305", "POTS", "POST"),
    ('lower(path) == "/API"', "RP305", '"/API"', 'write `"/api"`'),
    ('upper(method) in {"GET" "post"}', "RP305", '"post"', "POST"),
    ('trim(lower(path)) == "/a" and lower(trim(path)) contains "A"', "RP305", '"A"', ""),
    ('host == "a.test:443"', "RP309", '"a.test:443"', "and port == 443"),
    ('host == "https://a.test"', "RP309", '"https://a.test"', "url"),
    ('request.header["Accept:"] == "a"', "RP311", 'request.header["Accept:"]', '["Accept"]'),
    ('request.header["content type"] == "a"', "RP311", 'request.header["content type"]', ""),
    ('has(response.header["x=1"])', "RP311", 'response.header["x=1"]', ""),
    ('path == "v1"', "RP315", '"v1"', 'write `"/v1"`'),
    ('path == "/a?b=c"', "RP316", '"/a?b=c"', "query"),
    (r'path ~ "^/search\?q="', "RP316", r'"^/search\?q="', "query"),
    ('host == "*.a.test"', "RP317", '"*.a.test"', 'host under "a.test"'),
    # A dot that is not escaped
    ('host ~ "^api.example.com$"', "RP504", ".", 'host == "api.example.com"'),
    ('host ~ "example.com"', "RP504", ".", 'host under "example.com"'),
    (r'host ~ "api\.example.com$"', "RP504", ".", 'host under "api.example.com"'),
    ('sni ~ "^a.test$"', "RP504", ".", 'sni == "a.test"'),
    ('orig.host ~ "^a.test$"', "RP504", ".", 'orig.host == "a.test"'),
    # An end that is open
    (r'host ~ "example\.com"', "RP505", r'"example\.com"', 'host under "example.com"'),
    (r'host ~ "example\.com$"', "RP505", r'"example\.com$"', 'host under "example.com"'),
    (r'host ~ "^example\.com"', "RP505", r'"^example\.com"', 'host == "example.com"'),
    # Everything
    ('path ~ ".*"', "RP506", '".*"', "drop it"),
    ('path ~ "^.*"', "RP506", '"^.*"', "drop it"),
    ('path ~ "^.*$"', "RP506", '"^.*$"', "drop it"),
    ('path ~ ""', "RP506", '""', "drop it"),
    ('path ~ "^"', "RP506", '"^"', "drop it"),
    ('path ~ "a*"', "RP506", '"a*"', "drop it"),
    ('request.header["x"] ~ ".*"', "RP506", '".*"', 'has(request.header["x"])'),
    ('query[*] ~ ".*"', "RP506", '".*"', "has(query[*])"),
    ("~u .*", "RP506", ".*", "drop it"),
    ("~m .*", "RP506", ".*", "drop it"),
    # Never
    ('path ~ "a$b"', "RP507", '"a$b"', r"`\$`"),
    ('path ~ "a^b"', "RP507", '"a^b"', ""),
    ('request.header["x"] ~ "(?:a|bc)^d"', "RP507", '"(?:a|bc)^d"', ""),
    ("~u a$b", "RP507", "a$b", ""),
    ('path ~ "^https://"', "RP507", '"^https://"', "url"),
    ('path ~ "^v1"', "RP507", '"^v1"', "remove the `^`"),
    ('host ~ "https?://a"', "RP507", '"https?://a"', "url"),
    ('host ~ "a/b"', "RP507", '"a/b"', ""),
    ('host ~ "^API"', "RP507", '"^API"', "lower case"),
    ('host ~ "^[A-Z]+$"', "RP507", '"^[A-Z]+$"', "lower case"),
    ('host ~ "^(?:A|B)"', "RP507", '"^(?:A|B)"', "lower case"),
    ('response.content_type ~ "JSON"', "RP507", '"JSON"', "lower case"),
    ('method ~ "get|post"', "RP507", '"get|post"', "`~*`"),
    # Size
    ('path ~ "^(?:[a-z]{30}/){400}$"', "RP508", '"^(?:[a-z]{30}/){400}$"', ""),
    ("~u (?:abcdefghijklm){900}", None, "", ""),
    # Plain comparisons
    ('path ~ "^/v1/"', "RP509", '"^/v1/"', 'path startswith "/v1/"'),
    (r'path ~ "\.json$"', "RP509", r'"\.json$"', 'path endswith ".json"'),
    ('path ~ "^/v1$"', "RP509", '"^/v1$"', 'path == "/v1"'),
    (r'url ~ "a\.b"', "RP509", r'"a\.b"', 'url contains "a.b"'),
    (r'host ~ "(^|\.)a\.test$"', "RP509", r'"(^|\.)a\.test$"', 'host under "a.test"'),
    (r'host ~ "^a\.test$"', "RP509", r'"^a\.test$"', 'host == "a.test"'),
    ('method ~ "^GET$"', "RP509", '"^GET$"', 'method == "GET"'),
    ('request.header["x"][0] ~ "^a"', "RP509", '"^a"', 'request.header["x"][0] startswith "a"'),
    (r'host ~ "^cdn\.example"', "RP509", r'"^cdn\.example"', 'host startswith "cdn.example"'),
    (r'host ~ "^10\.0\."', "RP509", r'"^10\.0\."', 'host startswith "10.0."'),
    # Backslashes
    (r'host ~ r"^api\\.a\\.test$"', "RP510", r"\\.", r"write `\.`"),
    (r'path ~ "^/a\\\\d"', "RP510", r"\\\\d", r"write `\d`"),
    # ~d
    ("~d example.com$", "RP711", "~d example.com$", 'host under "example.com"'),
    (r"~d example\.com$", "RP711", r"~d example\.com$", 'host under "example.com"'),
    (r"~d ^example\.com$", "RP711", r"~d ^example\.com$", 'host == "example.com"'),
    (r'~d "(^|\.)example\.com$"', "RP711", r'~d "(^|\.)example\.com$"', 'host under "example.com"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "marked", "help"), [row for row in FIRES if row[1]])
def test_a_hint_is_given(text: str, code: str, marked: str, help: str) -> None:
    warnings = check(parse(text)).warnings
    assert [(problem.code, text[problem.start : problem.end]) for problem in warnings] == [(code, marked)]
    (problem,) = warnings
    assert help in problem.help
    assert problem.severity == ("info" if code in ("RP509", "RP711") else "warning")


QUIET = [
    *[f"method == {method}" for method in ("GET", "get", "PURGE", "LINK", "QUERY", "PATCH", "LOCK", "M-SEARCH", "PROPFIND", "POLL", "TRACK", "BATCH", "LIST", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "DESCRIBE", "BREW", "MKCOL", "BASELINE-CONTROL", "VERSION-CONTROL", "MKACTIVITY", "MKREDIRECTREF", "UPDATEREDIRECTREF", "MKWORKSPACE", "UNCHECKOUT")],
    'lower(path) == "/api-ß-1"', 'upper(path) == "/API-1"', 'url_decode(lower(path)) == "A"', 'lower(path) ~ "[A-Z]"',
    'request.header["x-Y_z.1"] == "a"', 'request.header["!#$%&\'*+-.^_`|~"] == "a"',
    'host ~ "^api-[0-9]+$"', r'host ~ "^api-\d+\.example\.com$"', r'host ~ "^cdn\.example\.[a-z]+$"', r'host ~ "^(?:a|b)\.test$"',
    r'host ~ "^1.2"', 'host ~ "^API|^x"', 'host ~* "^API-[0-9]"', 'host ~ "(?i)^API-[0-9]"', 'host ~ "(?i:A)[0-9]"', 'host ~ "[A-Za-z]+[0-9]"',
    r'host ~ "^[^/]+\.test$"', "host ~ \"a/?[b-c]\"", r'sni ~ "^[a-z]+\.a\.test$"', 'host ~ "A*[0-9]"',
    r'path ~ "^/(?P<rest>.*)"', 'path ~ "(?P<rest>.*)"', 'path ~ "^/v[0-9]/"', 'path ~ "^/.*$"', 'path ~ "^$|^/[a-z]"', r'path ~ "^\*$|[0-9]"',
    r'path ~ "\?|[0-9]"', r'path ~ "^/a\??[0-9]"', 'path ~ "^(?:/a|https)[0-9]"', 'path ~ "^https?|[0-9]"', "path ~ \".+\"", 'path ~ "(?:^|/)a[0-9]"', 'path ~ "a(?:$|/)[0-9]*"', 'path ~ "(?:a$|b)[0-9]*"',
    '(path ~ "(?m)a$\\nb") or tls', 'request.header["x"] ~ "^[0-9]"', r'request.header["x"] ~ r"C:\\.*[0-9]"', r'path ~ r"\.\.\\[a-z]"', r'path ~ r"a\\[0-9]"',
    'request.content_type ~ "json|xml"', 'method ~ "^(?:GET|get)$"', 'method ~* "^(?:get|post)$"', 'method ~ "GET"',
    'path ~ "^(?:[a-z]{30}/){300}$"', 'lower(path) ~ "^/v1/"', 'path ~ "^/a%2Fb"', 'path ~* "^/v1/"', r'path ~ "a\"b"',
    'path ~ "checkout"', 'host ~ "ads"', "~d example.com", r"~d example\.com", "~d api.example.com & ~u /v1",
    "~u /v1", "~u ^https://a", "~m GET", "~m get", "~d ads", r"~d ^10\.", r"~d ^cdn\.example\.", r"~d (?:a|b)\.test$".replace("(?:a|b)", "[ab]"), "~h .*", "~hs .*", "~hq .*", "~hq x$", "~c 404",
]  # fmt: skip


@pytest.mark.parametrize("text", QUIET)
def test_no_hint_is_given(text: str) -> None:
    assert check(parse(text)).warnings == ()


COOKIES = [
    ('request.header["Cookie"] contains "sid=1"', 'request.cookie["sid"] == "1"'),
    ('request.header["cookie"] == "sid="', 'has(request.cookie["sid"])'),
    ('request.header["cookie"] contains "sid"', ""),
    ('request.header["cookie"] contains "a=1; b=2"', ""),
    ('request.header["x"] contains "sid=1"', ""),
    ('request.header[*] contains "sid=1"', ""),
    ('response.header["cookie"] contains "sid=1"', ""),
]


@pytest.mark.parametrize(("text", "help"), COOKIES)
def test_cookies_by_hand(text: str, help: str) -> None:
    warnings = check(parse(text)).warnings
    assert [(problem.code, problem.severity) for problem in warnings] == ([("RP311", "info")] if help else [])
    assert all(help in problem.help for problem in warnings)


BODIES = [
    ('request.text contains "a"', True),
    ('~all and response.text contains "a"', True),
    ('not request.json["a"] == 1', True),
    ('host == "a.test" or request.body contains "a"', True),
    ("~b a", True),
    ("~bs a | ~d a", True),
    ('host == "a.test" and request.text contains "a"', False),
    ("~m POST & not ~bq a", False),
    ('host == "a.test" or (tls and request.form["a"] == "b")', False),
    ('response.content_type == "text/html" and response.text contains "a"', False),
    ("~websocket & ~b a", False),
    ('ws.text contains "a"', False),
    ('event.data contains "a"', False),
    ('tcp.data contains "a"', False),
    ('host == "a.test"', False),
]


@pytest.mark.parametrize(("text", "fires"), BODIES)
def test_bodies_that_all_wait(text: str, fires: bool) -> None:
    assert [problem.code for problem in check(parse(text)).warnings] == (["RP403"] if fires else [])
