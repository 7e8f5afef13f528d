"""What people use rules for most, with the exact traffic: every scenario on real sockets, under names of its own."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rulesproxy import Proxy, load_rules
from rulesproxy.flow.connection import ServerConn
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, answer
from tests.support.running import client_of, get, running
from tests.support.wire import Request, Response


class Names:
    """An addon in the place of DNS: every server that is asked for is one of these origins.

    Attributes:
        asked: the addresses that were dialled, each with the name in TLS.
    """

    def __init__(self, *origins: Origin, **named: Origin) -> None:
        self._all = origins[0] if origins else None
        self._named = named
        self.asked: list[tuple[str, int, str | None]] = []

    def serverconnect(self, server_conn: ServerConn) -> None:
        host, port = server_conn.address
        self.asked.append((host, port, server_conn.sni))
        origin = self._named.get(host.partition(".")[0], self._all)
        assert origin is not None, f"nobody was to ask for {host}"
        server_conn.address = ("127.0.0.1", origin.port)


@asynccontextmanager
async def scene(rules: str, *origins: Origin, **named: Origin) -> AsyncIterator[tuple[Proxy, RawClient, Names]]:
    """A proxy with these rules, a client on it, and the names that lead to the origins."""
    names = Names(*origins, **named)
    text = "version: 1\nrules:\n" + rules
    async with running(names, rules=load_rules(text=text)) as proxy, client_of(proxy) as client:
        yield proxy, client, names


def fields(response: Response) -> list[tuple[str, str]]:
    return [(name.decode().lower(), value.decode()) for name, value in response.fields]


# A1: CORS unlock

CORS = """
  - match: host == "api.t"
    cors: unlock
"""
TWICE = [("Access-Control-Allow-Origin", "https://other")] * 2


async def test_a1_a_preflight_is_answered_without_the_server() -> None:
    async with Origin.http(answer()) as origin, scene(CORS, origin) as (_, client, names):
        asked = ("Origin: http://app.t", "Access-Control-Request-Method: PUT")
        response = await client.request(
            get("http://api.t/d", *asked, "Access-Control-Request-Headers: x-a, content-type", method="OPTIONS"),
            "OPTIONS",
        )
        assert names.asked == []
        assert response.status == 204
        assert response.get("access-control-allow-origin") == "http://app.t"
        assert response.get("access-control-allow-credentials") == "true"
        assert "PUT" in (response.get("access-control-allow-methods") or "").split(", ")
        assert response.get("access-control-allow-headers") == "x-a, content-type"
        assert int(response.get("access-control-max-age") or 0) > 0
        assert "Origin" in (response.get("vary") or "")
        # An OPTIONS that asks for nothing is no preflight, and the connection has stayed open.
        assert (await client.request(get("http://api.t/d", method="OPTIONS"), "OPTIONS")).status == 200
        assert [request.method for request in origin.requests] == ["OPTIONS"]


async def test_a1_an_answer_is_unlocked_once() -> None:
    sent = answer(500, b"no", [*TWICE, ("X-Id", "1"), ("Content-Type", "text/plain"), ("X-B", "2"), ("Vary", "Accept")])
    async with Origin.http(sent) as origin, scene(CORS, origin) as (_, client, _):
        response = await client.request(get("http://api.t/d", "Origin: http://app.t"))
        assert fields(response) == [
            ("access-control-allow-origin", "http://app.t"),
            ("x-id", "1"),
            ("content-type", "text/plain"),
            ("x-b", "2"),
            ("vary", "Accept"),
            ("content-length", "2"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "X-Id, X-B"),
            ("vary", "Origin"),
        ]
        assert (response.status, response.body) == (500, b"no")
        again = await client.request(get("http://api.t/d", "Origin: null"))
        assert again.get("access-control-allow-origin") == "null"


@pytest.mark.parametrize(
    "sent",
    [
        answer(500, b"no", TWICE),
        answer(200, b"", TWICE, chunks=[b"a", b"bc"]),
        answer(304, headers=[("ETag", '"1"')]),
        b"HTTP/1.1 200 Odd  Reason\r\nx-A:1\r\nX-a:  2\r\nContent-Length: 1\r\n\r\nx",
    ],
)
async def test_a1_without_origin_nothing_changes(sent: bytes) -> None:
    plain = "  - match: host == 'never.t'\n    block:\n"
    async with Origin.http(sent) as origin:
        async with scene(plain, origin) as (_, client, _):
            unruled = await client.request(get("http://api.t/d"))
        async with scene(CORS, origin) as (_, client, _):
            assert (await client.request(get("http://api.t/d"))).raw == unruled.raw
        first, second = origin.requests
        assert first.raw == second.raw


async def test_a1_a_mock_is_unlocked_too() -> None:
    mock = "  - match: path == '/d'\n    respond: {json: {a: 1}}\n"
    for rules in (
        mock + CORS,
        CORS + mock,
        "  - match: host == 'api.t'\n    cors: unlock\n    respond: {sequence: [{json: {a: 1}}, 503]}\n",
    ):
        async with scene(rules) as (_, client, _):
            asked = ("Origin: http://app.t", "Access-Control-Request-Method: POST")
            preflight = await client.request(get("http://api.t/d", *asked, method="OPTIONS"), "OPTIONS")
            assert (preflight.status, preflight.body) == (204, b"")
            response = await client.request(get("http://api.t/d", "Origin: http://app.t"))
            assert (response.status, response.body) == (200, b'{"a": 1}')
            assert response.get("access-control-allow-origin") == "http://app.t"


# A2: mock an API

MOCK = """
  - match: method in {GET HEAD} and path like "/users/{id}"
    respond:
      json:
        id: ${id | int}
        q: ${query["q"] | json}
  - match: method == POST and path == "/jobs"
    respond:
      sequence:
        - status: 202
        - status: 202
        - status: 200
          body: done
"""


async def test_a2_a_mocked_api() -> None:
    async with Origin.http(answer(200, b"real")) as origin, scene(MOCK, origin) as (_, client, names):
        head = [("content-type", "application/json"), ("content-length", "22")]
        response = await client.request(get('http://api.t/users/7?q=a"b'))
        assert (response.status, response.body, fields(response)) == (200, b'{"id": 7, "q": "a\\"b"}', head)
        response = await client.request(get('http://api.t/users/7?q=a"b', method="HEAD"), "HEAD")
        assert (response.status, response.body, fields(response)) == (200, b"", head)
        statuses = [
            (await client.request(get("http://api.t/jobs", method="POST", body=b"{}"), "POST")).status for _ in range(4)
        ]
        assert statuses == [202, 202, 200, 200]
        assert names.asked == []
        assert (await client.request(get("http://api.t/users/7", method="DELETE"), "DELETE")).body == b"real"
        assert [request.method for request in origin.requests] == ["DELETE"]


async def test_a2_a_value_that_is_no_number_fails_the_rule_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin.http(answer(200, b"real")) as origin:
        names = Names(origin)
        rules = load_rules(text="version: 1\nrules:\n" + MOCK)
        async with running(names, rules=rules, errors=True) as proxy, client_of(proxy) as client:
            assert (await client.request(get("http://api.t/users/x1"))).body == b"real"
    assert "'x1' is no number" in caplog.text


async def test_a2_a_sequence_goes_on_after_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    kept = "version: 1\nrules:\n  - id: jobs\n    match: path == '/jobs'\n    respond: {sequence: [201, 202, 203]}\n"

    async def statuses(client: RawClient, count: int) -> list[int]:
        return [(await client.request(get("http://api.t/jobs"))).status for _ in range(count)]

    file.write_text(kept)
    async with running(rules=file) as proxy, client_of(proxy) as client:
        assert await statuses(client, 1) == [201]
        file.write_text(kept + "  - match: path == '/other'\n    block:\n")
        assert await proxy.reload()
        assert await statuses(client, 1) == [202]
        file.write_text(kept.replace("203]", "203, 204]"))
        assert await proxy.reload()
        assert await statuses(client, 2) == [201, 202]


# A3: inject a script

INJECT = """
  - match: response.content_type == "text/html"
    rewrite:
      response:
        html:
          append-head: <script src="/debug.js"></script>
"""
PAGE = """<!doctype html>
<!-- <head> in a comment </head> -->
<html><head><meta name=x content="</head>"><title>首页 </head></title>
<script>var a = "</head>";</script>
</head><body><p>内容</p></body></html>
"""


@pytest.mark.parametrize("coding", ["gzip", "deflate", ""])
async def test_a3_a_script_with_the_nonce_of_the_page(coding: str) -> None:
    body = PAGE.encode("gbk")
    coded = {"gzip": gzip.compress, "deflate": zlib.compress, "": bytes}[coding](body)
    headers = [("Content-Type", "text/html; charset=gbk"), ("Content-Security-Policy", "script-src 'nonce-abc'")]
    headers += [("Content-Encoding", coding)] if coding else []
    sent = answer(200, b"", headers, chunks=[coded[:50], coded[50:]])
    async with Origin.http(sent) as origin, scene(INJECT, origin) as (_, client, _):
        conditions = ("If-None-Match: x", "If-Modified-Since: y", "Accept-Encoding: gzip, deflate")
        response = await client.request(get("http://site.t/", *conditions))
        decode = {"gzip": gzip.decompress, "deflate": zlib.decompress, "": bytes}[coding]
        page = decode(response.body).decode("gbk")
        assert page == PAGE.replace("\n</head><body>", '\n<script nonce="abc" src="/debug.js"></script></head><body>')
        assert response.get("content-type") == "text/html; charset=gbk"
        assert response.get("content-encoding") == (coding or None)
        (request,) = origin.requests
        assert (request.get("if-none-match"), request.get("if-modified-since")) == (None, None)


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("GET", answer(200, b'{"a": "<head></head>"}', [("Content-Type", "text/html")])),
        ("GET", answer(200, b'\n[1, "</head>"]', [("Content-Type", "text/html"), ("ETag", '"1"')])),
        ("GET", answer(200, b"<head></head>", [("Content-Type", "text/plain")])),
        ("GET", answer(200, b"", [("Content-Type", "text/html")])),
        ("GET", answer(206, b"<head></he", [("Content-Type", "text/html"), ("Content-Range", "bytes 0-9/99")])),
        ("GET", answer(304, headers=[("Content-Type", "text/html"), ("ETag", '"1"')])),
        ("GET", answer(204, headers=[("Content-Type", "text/html")])),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 99\r\nETag: x\r\n\r\n"),
    ],
)
async def test_a3_what_is_no_page_is_untouched(method: str, sent: bytes) -> None:
    async with Origin.http(sent) as origin, scene(INJECT, origin) as (_, client, _):
        assert (await client.request(get("http://site.t/", method=method), method)).raw == sent


# A4: staging switch


def staging(options: str = "") -> str:
    return f"""
  - match: host == "prod.t"
    map-remote:
      to: https://stg.t:8443
      {options}
"""


BACK = [
    ("Location", "https://stg.t:8443/b?x=https://stg.t:8443/"),
    ("Set-Cookie", "s=1; Domain=stg.t; Secure"),
    ("Set-Cookie", "t=2; domain=.stg.t"),
    ("Set-Cookie", "u=3; Domain=prod.t"),
    ("Set-Cookie", "v=4; Path=/"),
    ("Access-Control-Allow-Origin", "https://stg.t:8443"),
    ("X-Link", "https://stg.t:8443/kept"),
]
ASK = ("Origin: https://prod.t", "Referer: https://prod.t/page?a=1", "X-From: https://prod.t")


async def through_tls(proxy: Proxy, client: RawClient, *lines: str) -> Response:
    await client.tunnel("prod.t:443", proxy.ca_path)
    head = "\r\n".join(["GET /a?x=1 HTTP/1.1", "Host: prod.t", *lines, "", ""])
    return await client.request(head.encode())


async def test_a4_another_server_answers_and_nobody_notices() -> None:
    sent = answer(302, b"see https://stg.t:8443/b", BACK)
    async with (
        Origin.http(sent, tls="good") as origin,
        scene(staging(), stg=origin) as (proxy, client, names),
    ):
        response = await through_tls(proxy, client, *ASK)
        (request,) = origin.requests
        assert names.asked == [("stg.t", 8443, "stg.t")]
        assert request.raw == (
            b"GET /a?x=1 HTTP/1.1\r\nHost: stg.t:8443\r\nOrigin: https://stg.t:8443\r\n"
            b"Referer: https://stg.t:8443/page?a=1\r\nX-From: https://prod.t\r\n\r\n"
        )
        assert fields(response) == [
            ("location", "https://prod.t/b?x=https://stg.t:8443/"),
            ("set-cookie", "s=1; Domain=prod.t; Secure"),
            ("set-cookie", "t=2; domain=.prod.t"),
            ("set-cookie", "u=3; Domain=prod.t"),
            ("set-cookie", "v=4; Path=/"),
            ("access-control-allow-origin", "https://prod.t"),
            ("x-link", "https://stg.t:8443/kept"),
            ("content-length", "24"),
        ]
        assert response.body == b"see https://stg.t:8443/b"


async def test_a4_the_host_is_kept_on_request() -> None:
    sent = answer(302, headers=BACK[:1])
    async with (
        Origin.http(sent, tls="good") as origin,
        scene(staging("keep-host: true"), stg=origin) as (proxy, client, names),
    ):
        response = await through_tls(proxy, client, *ASK)
        (request,) = origin.requests
        assert request.get("host") == "prod.t"
        assert request.get("origin") == "https://prod.t"
        assert names.asked == [("stg.t", 8443, "stg.t")]
        assert response.get("location") == "https://prod.t/b?x=https://stg.t:8443/"


async def test_a4_nothing_is_rewritten_back_where_that_is_not_wanted() -> None:
    sent = answer(302, headers=BACK)
    async with (
        Origin.http(sent, tls="good") as origin,
        scene(staging("rewrite-back: false"), stg=origin) as (proxy, client, _),
    ):
        response = await through_tls(proxy, client, *ASK)
        (request,) = origin.requests
        assert (request.get("host"), request.get("origin")) == ("stg.t:8443", "https://prod.t")
        assert response.raw == sent


async def test_a4_a_websocket_goes_there_too() -> None:
    async def echo(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        connection.raw()
        assert await connection.read_exactly(11) == b"\x81\x85\x00\x00\x00\x00hello"
        connection.send(b"\x81\x05hello")

    async with Origin(echo, tls="good") as origin, scene(staging(), stg=origin) as (proxy, client, names):
        response = await through_tls(
            proxy, client, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )  # fmt: skip
        assert response.status == 101
        client.send(b"\x81\x85\x00\x00\x00\x00hello")
        assert await client.read_exactly(7) == b"\x81\x05hello"
        assert names.asked == [("stg.t", 8443, "stg.t")]


# A7: caches out of the way

NO_CACHE = "  - match: host == 'site.t'\n    no-cache:\n"


async def test_a7_no_cache_both_ways() -> None:
    kept = [("Cache-Control", "public, max-age=60"), ("X-A", "1")]
    dropped = [("ETag", '"1"'), ("Last-Modified", "x"), ("Expires", "y"), ("Age", "5")]

    def reply(request: Request) -> bytes:
        part = request.get("range") is not None
        return answer(206 if part else 200, b"ab" if part else b"abcdef", [*dropped, *kept])

    async with Origin.http(reply) as origin, scene(NO_CACHE, origin) as (_, client, _):
        conditions = ('If-None-Match: "1"', "If-Modified-Since: x", 'If-Range: "1"', "Cache-Control: max-age=0")
        response = await client.request(get("http://site.t/", "Accept: */*", *conditions))
        assert fields(response) == [("cache-control", "no-store"), ("x-a", "1"), ("content-length", "6")]
        part = await client.request(get("http://site.t/", "Range: bytes=0-1", 'If-Range: "1"'))
        assert (part.status, part.body) == (206, b"ab")
        first, second = origin.requests
        assert first.raw == (
            b"GET / HTTP/1.1\r\nHost: site.t\r\nAccept: */*\r\nCache-Control: no-cache\r\npragma: no-cache\r\n\r\n"
        )
        assert (second.get("range"), second.get("if-range")) == ("bytes=0-1", None)


# A12: a folder with an index for everything


async def test_a12_a_single_page_application(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    (tmp_path / "secret").write_text("secret")
    (dist / "link").symlink_to(tmp_path / "secret")
    (dist / "index.html").write_text("<p>index")
    (dist / "a.js").write_text("var a = 1")
    local = f"dir: {dist}, strip: /app"
    rules = f"""
  - match: path under "/app"
    map-local: {{ {local}, spa: true }}
  - match: path under "/none"
    map-local: {{ dir: {dist}, strip: /none, fallthrough: true }}
  - match: host == "site.t"
    cors: unlock
"""
    async with Origin.http(answer(200, b"real")) as origin, scene(rules, origin) as (_, client, names):

        async def ask(path: str, *lines: str) -> Response:
            return await client.request(get(f"http://site.t{path}", *lines))

        script = await ask("/app/a.js", "Origin: http://app.t")
        assert (script.status, script.body) == (200, b"var a = 1")
        assert script.get("content-type") == "text/javascript; charset=utf-8"
        assert script.get("access-control-allow-origin") == "http://app.t"
        tag = script.get("etag")
        assert (await ask("/app/a.js", f"If-None-Match: {tag}")).status == 304
        part = await ask("/app/a.js", "Range: bytes=0-2")
        assert (part.status, part.body, part.get("content-range")) == (206, b"var", "bytes 0-2/9")
        assert (await ask("/app/r/1")).body == b"<p>index"
        for path in ("/app/../../etc/passwd", "/app/%2e%2e%2fsecret", "/app/..%5csecret", "/app/link", "/app/%00"):
            outside = await ask(path)
            assert b"secret" not in outside.body, path
            assert outside.status == 404 or outside.body == b"<p>index", path
        (dist / "a.js").write_text("var a = 2")
        assert (await ask("/app/a.js")).body == b"var a = 2"
        assert names.asked == []
        assert (await ask("/none/missing.js")).body == b"real"


# A19: one-liners

STRIP = """
  - match: ~all
    rewrite:
      response:
        headers: {remove: [content-security-policy, content-security-policy-report-only, x-frame-options]}
        cookies: {remove: [track]}
      request:
        query: {remove: ["utm_*", fbclid, gclid]}
"""


async def test_a19_policies_trackers_and_one_cookie_are_gone() -> None:
    headers = [
        ("Content-Security-Policy", "default-src 'none'"),
        ("Set-Cookie", "a=1; Path=/"),
        ("X-Frame-Options", "DENY"),
        ("Set-Cookie", "track=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        ("Content-Security-Policy-Report-Only", "default-src 'self'"),
        ("set-cookie", "B=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
    ]
    async with Origin.http(answer(200, b"x", headers)) as origin, scene(STRIP, origin) as (_, client, _):
        response = await client.request(
            get("http://site.t/p%20a?a=%20&utm_source=x&a=+&fbclid=1&&%61=%zz&gclid&b;c=%E4&utm_")
        )
        assert response.raw == answer(200, b"x", [headers[1], headers[5]])
        only = await client.request(get("http://site.t/?utm_id=1&gclid=2"))
        assert only.status == 200
        first, second = origin.requests
        assert first.target == "/p%20a?a=%20&a=+&&%61=%zz&b;c=%E4"
        assert second.target == "/"


# Left undecrypted


@pytest.mark.parametrize("intercept", ["auto", "all"])
async def test_a_host_is_left_undecrypted(intercept: str) -> None:
    rules = "  - match: host == 'stg.t'\n    passthrough:\n  - match: ~all\n    rewrite: {response: {headers: {x-seen: '1'}}}\n"
    loaded = load_rules(text="version: 1\nrules:\n" + rules)
    async with Origin.http(answer(200, b"x"), tls="good") as origin:
        names = Names(origin)
        async with running(names, rules=loaded, intercept=intercept) as proxy:
            async with client_of(proxy) as client:
                # The certificate is the server's own.
                await client.tunnel("stg.t:443", None)
                response = await client.request(b"GET / HTTP/1.1\r\nHost: stg.t\r\n\r\n")
                assert response.get("x-seen") is None
            async with client_of(proxy) as client:
                await client.tunnel("localhost:443", proxy.ca_path)
                response = await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert response.get("x-seen") == "1"
            async with client_of(proxy) as client:
                # The name in TLS is no way around the rules for the host of the tunnel.
                assert (await client.connect_to("localhost:443")).status == 200
                await client.start_tls(proxy.ca_path, "stg.t")
