"""What filters mean of flows that are written out; more of them are in the conformance tables."""

import pytest

from rulesproxy.flow.http import HTTPFlow
from tests.support.deciding import decide


def request(method="GET", url="https://api.example.com/v1/users/7?q=a&q=b&e=&plus=a+b%20c", headers=(), **response):
    headers = [("Accept", "text/html"), ("X-Multi", "one"), ("x-multi", "two"), *headers]
    return HTTPFlow.make(method, url, headers, **response)


def response(status=200, headers=(), **more):
    return request(
        status=status, response_headers=[("Content-Type", "Application/JSON; charset=utf-8"), *headers], **more
    )


def client(ip, tls=False, sni=None):
    flow = request()
    flow.client_conn.peername = (ip, 51000)
    flow.client_conn.tls = tls
    flow.client_conn.sni = sni
    return flow


def edited():
    flow = request()
    flow.request.host = "staging.test"
    flow.request.path = "/v2/new"
    return flow


OTHERS = [
    ("~q", response(), False),
    ("~s", response(), True),
    ("response.status == 404", response(404), True),
    ("response.status in {500..599}", response(503), True),
    ("response.status in {500..599}", response(499), False),
    ("response.status in {200 500..599 301..302}", response(302), True),
    ("response.status in $codes", response(404), True),
    ("response.status in $codes", response(550), True),
    ("response.status in $codes", response(200), False),
    ("response.status == $status", response(404), True),
    ("~c 404", response(404), True),
    ("~c 4xx", response(404), True),
    ("~c 4xx", response(399), False),
    ("~c 200-299", response(299), True),
    ("~c 200-299", response(300), False),
    ("~c 200-299 | ~c 404", response(404), True),
    ("~c 404|~c 405", response(405), True),
    ('response.content_type == "application/json"', response(), True),
    ('response.content_type == "Application/JSON"', response(), True),
    ('response.content_type endswith "/JSON"', response(), True),
    ('response.header["content-type"] contains "JSON"', response(), True),
    ('response.header["content-type"] contains "json"', response(), False),
    ('lower(response.header["content-type"]) contains "json"', response(), True),
    ('~hs "^content-type: application/json; charset=utf-8$"', response(), True),
    ("~h utf-8$", response(), True),
    ("~h text/html", response(), True),
    ("~hq utf-8", response(), False),
    ("response.header[*] == 'b'", response(200, [("Set-Cookie", "a"), ("set-cookie", "b")]), True),
    ("all(response.header['set-cookie'] startswith 'a')", response(200, [("Set-Cookie", "a"), ("set-cookie", "b")]), False),
    # hosts in odd spellings
    ('host == "xn--mnchen-3ya.test"', request(url="http://MÜNCHEN.test/"), True),
    ('host == "münchen.test"', request(url="http://xn--mnchen-3ya.test/"), True),
    ('host == "straße.test"', request(url="http://xn--strae-oqa.test/"), True),
    ('host == "a.test"', request(url="http://A.TEST.:8080/"), True),
    ("host == 192.0.2.1", request(url="http://192.0.2.1/"), True),
    ('host == "[::1]"', request(url="http://[0:0::1]:81/"), True),
    ("host in {::1 127.0.0.1}", request(url="http://[::1]/"), True),
    ("host under $trackers", request(url="http://x.doubleclick.net/"), True),
    ("host under $trackers", request(url="http://ads.test/"), True),
    ("host under $trackers", request(url="http://notdoubleclick.net/"), False),
    ('host under "a.test"', request(url="http://xa.test/"), False),
    # the Host header
    ("~d front", request(headers=[("Host", "front.test:443")]), True),
    ("~d ^front.test$", request(headers=[("Host", "FRONT.test.")]), True),
    ("~d api.example", request(headers=[("Host", "front.test")]), True),
    ("~d :443", request(headers=[("Host", "front.test:443")]), False),
    ('host == "front.test"', request(headers=[("Host", "front.test")]), False),
    ("~u ^https://front.test/v1", request(headers=[("Host", "front.test")]), True),
    ("~u ^https://front.test:8443/v1", request(headers=[("Host", "front.test:8443")]), True),
    ("~u ^https://front.test/v1", request(headers=[("Host", "front.test:443")]), True),
    ("~u ^https://api", request(headers=[("Host", "front.test")]), False),
    ('url startswith "https://api"', request(headers=[("Host", "front.test")]), True),
    # paths in odd spellings
    ('path == "/Az09-._~"', request(url="http://a/%41%7a%30%39%2d%2E%5f%7E"), True),
    ('path == "/%41"', request(url="http://a/A"), True),
    ('path == "/a%2Fb"', request(url="http://a/a%2Fb"), True),
    ('path == "/a/b"', request(url="http://a/a%2Fb"), False),
    ('path.raw == "/%41"', request(url="http://a/%41?%42"), True),
    ('path.raw == "/A"', request(url="http://a/%41"), False),
    ('path == "/a/../b"', request(url="http://a/a/../b"), True),
    ('path == "/é"', request(url="http://a/é"), True),
    ('path == "/%zz"', request(url="http://a/%zz"), True),
    ('path like "/{name}.json"', request(url="http://a/x.y.json"), True),
    ('path like "/a.c"', request(url="http://a/abc"), False),
    ('path glob "/a*a"', request(url="http://a/a"), False),
    ('path glob "/a*a"', request(url="http://a/aa"), True),
    ('path glob "/*b*"', request(url="http://a/abc"), True),
    ('path ~ "^/a$"', request(url="http://a/a"), True),
    ('url == "http://a.test:8080/"', request(url="http://a.test:8080"), True),
    ('url == "http://a.test/"', request(url="http://a.test:80"), True),
    ('query["a"] == "%"', request(url="http://a/?a=%"), True),
    ('query["ä"] == "ö"', request(url="http://a/?%C3%A4=%C3%B6"), True),
    # headers that are no text
    ('request.header["x"] == "\\u00e9"', request(headers=[("X", "é")]), True),
    ('request.header["x"] contains "b"', request(headers=[("X", "\udcffb")]), True),
    ('b64_decode(request.header["x"]) == "user"', request(headers=[("X", "dXNlcg")]), True),
    ('url_decode(request.header["x"]) == "a b"', request(headers=[("X", "a%20b")]), True),
    ('request.content_type == "text/plain"', request(headers=[("content-type", " Text/Plain ;x=1")]), True),
    # escapes of plain texts
    (r'''request.header["x"] == "\"\'\\\t\x41\u0042"''', request(headers=[("X", "\"'\\\tAB")]), True),
    (r"""request.header['x'] == 'it\'s "so"'""", request(headers=[("X", "it's \"so\"")]), True),
    (r'''request.header["x"] == r"a\d\"''', request(headers=[("X", "a\\d\\")]), True),
    (r'''request.header["x"] == r##"a"#b"##''', request(headers=[("X", 'a"#b')]), True),
    # escapes of regexes
    (r'request.header["x"] ~ "^\x2e$"', request(headers=[("X", "a")]), False),
    (r'request.header["x"] ~ "^\x2e$"', request(headers=[("X", ".")]), True),
    (r'request.header["x"] ~ "^\u00e9$"', request(headers=[("X", "é")]), True),
    (r'request.header["x"] ~ "\"\\d\\\\"', request(headers=[("X", '"7\\')]), True),
    (r'request.header["x"] ~ "^a{,2}$"', request(headers=[("X", "aa")]), True),
    (r'request.header["x"] ~ "^a{2}$"', request(headers=[("X", "aa")]), True),
    (r'request.header["x"] ~ "\d"', request(headers=[("X", "٣")]), False),
    (r'request.header["x"] ~ "(?i)ABC"', request(headers=[("X", "abc")]), True),
    (r'request.header["x"] ~ "(?i:A)B"', request(headers=[("X", "ab")]), False),
    (r'request.header["x"] ~ "[[a]"', request(headers=[("X", "[")]), True),
    (r'request.header["x"] ~ "^[\w.-]+$"', request(headers=[("X", "a-.")]), True),
    # the client
    ("client.ip == 192.0.2.7", client("192.0.2.7"), True),
    ('client.ip == "192.0.2.7"', client("192.0.2.7"), True),
    ("client.ip == 192.0.2.7", client("::ffff:192.0.2.7"), True),
    ("client.ip in {10.0.0.0/8}", client("10.1.2.3"), True),
    ("client.ip in {10.0.0.0/8 2001:db8::/32}", client("2001:db8::5"), True),
    ("client.ip in {10.0.0.1..10.0.0.9}", client("10.0.0.9"), True),
    ("client.ip in {10.0.0.1..10.0.0.9}", client("10.0.0.10"), False),
    ("client.ip in {10.0.0.1..10.0.0.9}", client("::1"), False),
    ("client.ip in $office", client("10.9.9.9"), True),
    ("client.ip in $office", client("192.0.2.7"), True),
    ("client.ip in $office", client("2001:db8::8"), True),
    ("client.ip in $office", client("192.0.2.8"), False),
    ("client.ip not in $office", client("192.0.2.8"), True),
    ("client.ip in {fe80::/10}", client("fe80::1%eth0"), True),
    ("has(client.ip)", client("nonsense"), False),
    ("client.ip != 1.1.1.1", client("nonsense"), True),
    ("client.port == 51000", client("::1"), True),
    ("tls and sni == 'a.test'", client("::1", True, "A.test"), True),
    ("sni under 'test'", client("::1", True, "A.test"), True),
    ("tls == true", client("::1", True), True),
    # what was received, and what it became
    ("orig.host == $api and host == 'staging.test'", edited(), True),
    ("orig.path under '/v1' and path under '/v2'", edited(), True),
    ("orig.url contains '/v1' and url contains '/v2'", edited(), True),
    ("has(orig.query['q']) and not has(query['q'])", edited(), True),
    ("orig.path.raw == '/v1/users/7'", edited(), True),
    ("path == ''", request("CONNECT", "a.test:443"), False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "flow", "expected"), OTHERS)
def test_others(text, flow, expected):
    decide(text, flow, expected)
