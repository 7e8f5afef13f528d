"""HTTP/1.1 through the proxy, byte by byte: what passes unchanged, what belongs to one hop, what connections do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from rulesproxy import HTTPFlow, HTTPResponse
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, answer, script
from tests.support.recorder import Do, Recorder
from tests.support.running import READING, client_of, get, running
from tests.support.wire import Request

reading = pytest.mark.parametrize("reading", READING)
codec = pytest.mark.parametrize("codec", ["native", "h11"])
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def fields(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


# Header fields


ODD = [
    "x-lower: 1",
    "X-UPPER: 2",
    "X-Twice: b",
    "Accept: */*",
    "x-twice: a",
    "X-Empty:",
    "X-Twice: b",
    "X-Bytes: caf\xe9 \xff",
    'X-Quoted: "a, b" ;c',
    "X_Under.score~: tab\there",
    "Cookie: a=1; b=2",
    "Cookie: c=3",
    "User-Agent: none",
    "X-Long: " + "y" * 8000,
]


@reading
async def test_fields_keep_order_spelling_and_duplicates(reading: str) -> None:
    def reply(request: Request) -> bytes:
        return b"HTTP/1.1 200 Fine\r\n" + fields(*ODD, "Set-Cookie: a", "set-cookie: b") + b"Content-Length: 0\r\n\r\n"

    async with Origin.http(reply) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        host = f"hOsT: {origin.authority}"
        response = await client.request(get(origin.url + "/a%20b?c=d&&e", *ODD[:3], host, *ODD[3:]))
        (request,) = origin.requests
        start = b"GET /a%20b?c=d&&e HTTP/1.1\r\n"
        assert request.raw == start + fields(*ODD[:3], host, *ODD[3:]).replace(b"X-Empty:\r", b"X-Empty: \r") + b"\r\n"
        head = fields(*ODD, "Set-Cookie: a", "set-cookie: b").replace(b"X-Empty:\r", b"X-Empty: \r")
        assert response.raw == b"HTTP/1.1 200 Fine\r\n" + head + b"Content-Length: 0\r\n\r\n"


@reading
@pytest.mark.parametrize(
    ("sent", "left"),
    [
        (["Connection: close", "X-A: 1"], ["X-A"]),
        (["Connection: keep-alive, X-Secret", "X-Secret: 1", "X-A: 1"], ["X-A"]),
        (["Connection: x-secret", "connection: X-Other", "X-Other: 2", "X-Secret: 1", "X-A: 1"], ["X-A"]),
        (["Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "X-A: 1"], ["X-A"]),
        (["Proxy-Authorization: Basic eA==", "X-A: 1"], ["X-A"]),
        (
            ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings", "X-A: 1"],
            ["X-A"],
        ),
        (["TE: gzip", "X-A: 1"], ["X-A"]),
        (["Trailer: X-T", "Via: 1.0 a", "X-A: 1"], ["Trailer", "Via", "X-A"]),
        (["Connection: Host, Content-Length, Authorization", "Authorization: x", "X-A: 1"], ["Authorization", "X-A"]),
    ],
)
async def test_fields_of_one_hop_stay_behind(sent: list[str], left: list[str], reading: str) -> None:
    async with Origin() as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/", *sent))).status == 200
        (request,) = origin.requests
        assert request.names == ["Host", *left]


async def test_te_trailers_is_for_the_next_hop() -> None:
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/", "TE: trailers", "Connection: TE"))).status == 200
        (request,) = origin.requests
        assert request.get_all("te") in ([], ["trailers"])


@reading
async def test_response_fields_of_one_hop_stay_behind(reading: str) -> None:
    sent = [
        "Connection: keep-alive, X-Secret",
        "X-Secret: 1",
        "Keep-Alive: timeout=5",
        "X-A: 1",
    ]
    reply = b"HTTP/1.1 200 OK\r\n" + fields(*sent) + b"Content-Length: 2\r\n\r\nok"
    async with Origin.http(reply) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/"))
        assert response.names == ["X-A", "Content-Length"]


@pytest.mark.parametrize(
    ("target", "host", "sent_target", "sent_host"),
    [
        ("http://AUTH/x", "AUTH", "/x", "AUTH"),
        ("http://AUTH/x", "other.test", "/x", "AUTH"),
        ("http://AUTH", "AUTH", "/", "AUTH"),
        ("http://AUTH?q", "AUTH", "/?q", "AUTH"),
        ("HTTP://AUTH/x", "AUTH", "/x", "AUTH"),
        ("http://AUTH/a/../b//c/./%2e%2e/", "AUTH", "/a/../b//c/./%2e%2e/", "AUTH"),
        ('http://AUTH/%zz{}|^`"<>', "AUTH", '/%zz{}|^`"<>', "AUTH"),
        ("http://AUTH/http://x/?http://y", "AUTH", "/http://x/?http://y", "AUTH"),
    ],
)
async def test_targets(target: str, host: str, sent_target: str, sent_host: str) -> None:
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        data = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".replace("AUTH", origin.authority)
        assert (await client.request(data.encode())).status == 200
        (request,) = origin.requests
        assert (request.target, request.get("host")) == (sent_target, sent_host.replace("AUTH", origin.authority))


async def test_options_of_the_whole_server() -> None:
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url, method="OPTIONS"))).body == b"OPTIONS * HTTP/1.1"


@pytest.mark.parametrize("event", ["request", None])
async def test_a_plain_client_may_ask_for_https(event: str | None) -> None:
    """`GET https://…` without a tunnel: the connection to the server is TLS, that to the client is not."""
    async with (
        Origin(tls="good") as origin,
        running(*([Recorder()] if event else [])) as proxy,
        client_of(proxy) as client,
    ):
        assert (await client.request(get(f"https://localhost:{origin.port}/x"))).body == b"GET /x HTTP/1.1"
        assert origin.requests[0].get("host") == f"localhost:{origin.port}"


async def test_ipv6() -> None:
    async with Origin(host="::1") as origin, running(Recorder()) as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/"))).status == 200
        (request,) = origin.requests
        assert request.get("host") == origin.authority == f"[::1]:{origin.port}"


# Bodies


@reading
@codec
@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, 1_000_000])
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_bodies_both_ways(framing: str, size: int, codec: str, reading: str) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    def reply(request: Request) -> bytes:
        if framing == "length":
            return answer(200, request.body)
        return answer(200, chunks=[request.body[at : at + 5000] for at in range(0, size, 5000)])

    async with Origin.http(reply) as origin:
        async with running(READING[reading](), http1_codec=codec) as proxy, client_of(proxy) as client:
            for _ in range(2):
                if framing == "length":
                    client.send(get(origin.url + "/", f"Content-Length: {size}", method="POST") + body)
                else:
                    client.send(get(origin.url + "/", "Transfer-Encoding: chunked", method="POST"))
                    for at in range(0, size, 5000):
                        piece = body[at : at + 5000]
                        client.send(b"%x;ext\r\n%b\r\n" % (len(piece), piece))
                    client.send(b"0\r\n\r\n")
                response = await client.read_response()
                assert response.body == body
        assert [request.body for request in origin.requests] == [body, body]


@reading
async def test_a_body_byte_by_byte(reading: str) -> None:
    async with Origin.http(lambda request: answer(200, request.body)) as origin:
        async with running(READING[reading]()) as proxy, client_of(proxy) as client:
            await client.trickle(get(origin.url + "/", method="POST", body=b"hello"))
            assert (await client.read_response()).body == b"hello"
            chunked = get(origin.url + "/", "Transfer-Encoding: chunked", method="POST")
            await client.trickle(chunked + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
            assert (await client.read_response()).body == b"hello"


@reading
async def test_trailers_both_ways(reading: str) -> None:
    def reply(request: Request) -> bytes:
        return answer(200, chunks=[request.body], trailers=[("X-Sum", "1"), ("x-sum", "2")])

    async with Origin.http(reply) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        body = b"3\r\nabc\r\n0\r\nX-T: 1\r\nX-t: 2\r\n\r\n"
        request = get(origin.url + "/", "Transfer-Encoding: chunked", "TE: trailers", method="POST", body=body)
        response = await client.request(request)
        assert (response.body, response.trailers) == (b"abc", [(b"X-Sum", b"1"), (b"x-sum", b"2")])
        assert origin.requests[0].trailers == [(b"X-T", b"1"), (b"X-t", b"2")]


@reading
@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 404 Not Found\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: x\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_answers_without_a_body(method: str, reply: bytes, reading: str) -> None:
    async with Origin.http(reply) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        for _ in range(2):
            response = await client.request(get(origin.url + "/", method=method), method)
            assert response.raw == reply
        assert len(origin.connections) == 1


@reading
async def test_http_10(reading: str) -> None:
    async with Origin.http(answer(200, chunks=[b"abc"])) as origin, running(READING[reading]()) as proxy:
        async with client_of(proxy) as client:
            client.send(get(origin.url + "/", version="HTTP/1.0"))
            response = await client.read_response() if reading == "buffering" else None
            data = await client.read_to_end()
            if response is None:
                head, _, body = data.partition(b"\r\n\r\n")
                assert (body, b"chunked" in head) == (b"abc", False), "HTTP/1.0 knows no chunks (RFC 9112 section 7.1)"
            else:
                assert (response.body, data) == (b"abc", b"")
        async with client_of(proxy) as client:
            request = f"GET {origin.url}/ HTTP/1.0\r\n\r\n".encode()
            assert b"abc" in await client.read_to_end() if client.send(request) is None else False
        assert origin.requests[-1].get("host") == origin.authority


@reading
async def test_a_server_of_http_10(reading: str) -> None:
    reply = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    async with Origin(script("request", reply, "close")) as origin, running(READING[reading]()) as proxy:
        async with client_of(proxy) as client:
            for _ in range(2):
                response = await client.request(get(origin.url + "/"))
                assert response.body == b"abc"
                assert response.start == b"HTTP/1.1 200 OK", "each hop says its own version (RFC 9110 section 2.5)"
        assert len(origin.connections) == 2


# Interim responses


@reading
async def test_interim_responses_pass(reading: str) -> None:
    reply = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2 + answer(200, b"done")
    async with Origin.http(reply) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        assert [(await client.read_response()).status for _ in range(3)] == [103, 103, 200]
        assert (await client.request(get(origin.url + "/"))).status == 103
    async with Origin.http(reply) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/", version="HTTP/1.0"))
        assert (await client.read_response()).status == 200, "HTTP/1.0 knows no interim responses"


async def test_100_that_nobody_asked_for_does_not_pass() -> None:
    async with Origin.http(CONTINUE + answer(200, b"done")) as origin, running() as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/"))).status == 200


async def test_expect_is_answered_where_the_body_is_buffered() -> None:
    async with Origin.http(lambda request: answer(200, request.body)) as origin:
        async with running(Recorder()) as proxy, client_of(proxy) as client:
            client.send(get(origin.url + "/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
            assert (await client.read_response()).status == 100
            assert origin.connections == [], "the server is asked when the body is here"
            client.send(b"abc")
            assert (await client.read_response()).body == b"abc"
            assert origin.requests[0].get("expect") is None


async def test_expect_is_the_servers_where_the_body_streams() -> None:
    async def server(connection: OriginConnection) -> None:
        head = await connection.read_until(b"\r\n\r\n")
        assert b"Expect: 100-continue" in head
        connection.send(CONTINUE)
        connection.send(answer(200, await connection.read_exactly(3)))

    async with Origin(server) as origin, running() as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        assert (await client.read_response()).status == 100
        client.send(b"abc")
        assert (await client.read_response()).body == b"abc"


async def test_a_server_that_refuses_the_expectation() -> None:
    async def server(connection: OriginConnection) -> None:
        await connection.read_until(b"\r\n\r\n")
        connection.send(answer(417, b"no", reason="Expectation Failed"))

    async with Origin(server) as origin, running() as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        assert (await client.read_response()).status == 417
        # Whether the client sends its body now is not known, so the connection cannot go on.
        assert await client.read_to_end() == b""


@pytest.mark.parametrize("event", ["requestheaders", "request"])
async def test_an_expectation_that_an_addon_answers(event: str) -> None:
    def handler(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(403)

    async with running(Do(**{event: handler})) as proxy, client_of(proxy) as client:
        client.send(get("http://example.test/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        response = await client.read_response()
        if response.status == 100:
            assert event == "request"
            client.send(b"abc")
            response = await client.read_response()
        assert response.status == 403


# Connections


@reading
@codec
async def test_pipelining(codec: str, reading: str) -> None:
    async def reply(request: Request) -> bytes:
        await asyncio.sleep(0.05 if request.target == "/0" else 0)
        return answer(200, request.target.encode() + request.body)

    async with Origin.http(reply) as origin:
        async with running(READING[reading](), http1_codec=codec) as proxy, client_of(proxy) as client:
            data = b""
            for number in range(4):
                data += get(f"{origin.url}/{number}", method="POST", body=b"!" * number)
            client.send(data + get(origin.url + "/last", method="HEAD"))
            for number in range(4):
                assert (await client.read_response()).body == b"/%d%b" % (number, b"!" * number)
            assert (await client.read_response("HEAD")).body == b""
            assert await client.is_open()


async def test_pipelining_to_several_servers() -> None:
    async with Origin.http(answer(200, b"one")) as one, Origin.http(answer(200, b"two")) as two, running() as proxy:
        async with client_of(proxy) as client:
            client.send(get(one.url + "/") + get(two.url + "/") + get(one.url + "/"))
            assert [(await client.read_response()).body for _ in range(3)] == [b"one", b"two", b"one"]


@pytest.mark.parametrize("end", ["Connection: close", "Proxy-Connection: close, Connection: close"])
async def test_a_client_that_wants_the_connection_closed(end: str) -> None:
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/", *end.split(", ")))
        assert response.get("connection") == "close"
        assert await client.read_to_end() == b""


async def test_a_server_that_wants_the_connection_closed() -> None:
    reply = answer(200, b"abc", [("Connection", "close")])
    async with Origin(script("request", reply, "close")) as origin, running() as proxy, client_of(proxy) as client:
        for _ in range(3):
            response = await client.request(get(origin.url + "/"))
            assert response.body == b"abc"
            assert response.get("connection") is None, "that was between the server and us"
        assert len(origin.connections) == 3


async def test_the_pool_is_shared_by_clients() -> None:
    async with Origin() as origin, running() as proxy:
        for _ in range(3):
            async with client_of(proxy) as client:
                assert (await client.request(get(origin.url + "/"))).status == 200
        assert len(origin.connections) == 1


@reading
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_stale_connection_is_replaced(how: str, reading: str) -> None:
    """The server closes just when the second request arrives: GET is asked again on a fresh connection."""
    served = 0

    async def server(connection: OriginConnection) -> None:
        nonlocal served
        served += 1
        await connection.read_request()
        connection.send(answer(200, b"%d" % served))
        await connection.read_request()
        if served == 1:
            connection.reset() if how == "reset" else await connection.close()

    async with Origin(server) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/1"))).body == b"1"
        assert (await client.request(get(origin.url + "/2"))).body == b"2"
        assert [request.target for request in origin.requests] == ["/1", "/2", "/2"]


async def test_post_is_never_sent_twice() -> None:
    steps = ["request", answer(200, b"first"), "request", "close"]
    async with Origin(script(*steps)) as origin, running(Recorder()) as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/1"))).body == b"first"
        assert (await client.request(get(origin.url + "/2", method="POST", body=b"x"))).status == 502
        assert [request.target for request in origin.requests] == ["/1", "/2"]


async def test_a_connection_that_the_server_closed_while_idle_is_not_used() -> None:
    steps = ["request", answer(200, b"abc"), "close"]
    async with Origin(script(*steps)) as origin, running() as proxy, client_of(proxy) as client:
        for number in range(3):
            assert (await client.request(get(f"{origin.url}/{number}", method="POST", body=b"x"))).status == 200
            await client.is_open()
        assert len(origin.requests) == 3


@reading
async def test_half_close_of_a_client(reading: str) -> None:
    async def slow(request: Request) -> bytes:
        await asyncio.sleep(0.05)
        return answer(200, b"late")

    async with Origin.http(slow) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        client.half_close()
        assert (await client.read_response()).body == b"late"
        assert await client.read_to_end() == b""


async def test_half_close_in_a_tunnel() -> None:
    async def count(connection: OriginConnection) -> None:
        connection.raw()
        await connection.wait_end()
        connection.send(b"%d" % len(connection.received))
        await connection.close()

    async with Origin(count, raw=True) as origin, running() as proxy, client_of(proxy) as client:
        assert (await client.connect_to(origin.authority)).status == 200
        client.send(b"\0" * 1000)
        client.half_close()
        assert await client.read_to_end() == b"1000"


@pytest.mark.parametrize(
    "fields", [["Upgrade: echo", "Connection: upgrade"], ["connection: x, UPGRADE", "upgrade: Echo"]]
)
async def test_upgrade(fields: list[str]) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
    async with Origin(script("request", switch, "echo")) as origin, running() as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/", *fields) + b"\0early bytes")
        assert (await client.read_response()).status == 101
        assert await client.read_exactly(12) == b"\0early bytes"
        client.half_close()
        assert await client.read_to_end() == b""


async def test_an_upgrade_that_the_server_declines() -> None:
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        for _ in range(2):
            assert (await client.request(get(origin.url + "/", "Upgrade: echo", "Connection: upgrade"))).status == 200


async def test_h2c_is_not_passed_on() -> None:
    """An upgrade to HTTP/2 would carry requests that nobody here can read."""
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        settings = ["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"]
        assert (await client.request(get(origin.url + "/", *settings))).status == 200
        assert origin.requests[0].names == ["Host"]


# What addons make of it


async def send_twice(client: RawClient, origin: Origin, *extra: str) -> list[bytes]:
    bodies = []
    for _ in range(2):
        request = get(origin.url + "/", *extra, method="POST", body=b"hello")
        bodies.append((await client.request(request)).body)
    return bodies


def text(function: object) -> Do:
    def request(flow: HTTPFlow) -> None:
        flow.request.text = function(flow.request.text)  # type: ignore[operator]

    def response(flow: HTTPFlow) -> None:
        assert flow.response is not None
        flow.response.text = function(flow.response.text)  # type: ignore[operator]

    return Do(request=request, response=response)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("coding", ["", "gzip", "br", "zstd", "deflate"])
async def test_bodies_are_rewritten_under_their_coding(coding: str, chunked: bool) -> None:
    from rulesproxy.flow.coding import decode, encode

    def reply(request: Request) -> bytes:
        body = encode(b"<" + request.body + b">", coding)
        extra = [("Content-Encoding", coding)] if coding else []
        return answer(200, headers=extra, chunks=[body]) if chunked else answer(200, body, extra)

    async with Origin.http(reply) as origin:
        async with running(text(lambda body: body + "!" * 1000)) as proxy, client_of(proxy) as client:
            for body in await send_twice(client, origin):
                assert decode(body, coding) == b"<hello" + b"!" * 1000 + b">" + b"!" * 1000


async def test_stream_functions_change_what_passes() -> None:
    def upper(data: bytes) -> Iterable[bytes]:
        return [data.upper()] if data else [b"[end]"]

    def request(flow: HTTPFlow) -> None:
        flow.request.stream = upper

    def response(flow: HTTPFlow) -> None:
        assert flow.response is not None
        flow.response.stream = lambda data: data.replace(b"L", b"1")

    addon = Do(requestheaders=request, responseheaders=response)
    async with Origin.http(lambda request: answer(200, request.body)) as origin:
        async with running(addon) as proxy, client_of(proxy) as client:
            assert await send_twice(client, origin) == [b"HE11O[end]"] * 2


async def test_a_request_that_is_sent_elsewhere() -> None:
    async with Origin.http(answer(200, b"one")) as one, Origin.http(lambda request: answer(200, request.start)) as two:

        def move(flow: HTTPFlow) -> None:
            flow.request.url = two.url + "/moved"

        async with running(Do(request=move)) as proxy, client_of(proxy) as client:
            assert (await client.request(get(one.url + "/x"))).body == b"GET /moved HTTP/1.1"
            assert two.requests[0].get("host") == two.authority
            assert one.connections == []


async def test_a_request_that_is_sent_to_tls_and_back() -> None:
    async with Origin.http(answer(200, b"tls"), tls="good") as secure, Origin.http(answer(200, b"plain")) as plain:

        def cross(flow: HTTPFlow) -> None:
            to = f"https://localhost:{secure.port}" if flow.request.scheme == "http" else plain.url
            flow.request.url = to + flow.request.path

        async with running(Do(request=cross), intercept="all") as proxy:
            async with client_of(proxy) as client:
                assert (await client.request(get(plain.url + "/"))).body == b"tls"
            async with client_of(proxy) as client:
                await client.tunnel(f"localhost:{secure.port}", proxy.ca_path)
                assert (await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).body == b"plain"


async def test_bodies_over_the_limit_pass_unread() -> None:
    seen: list[object] = []
    addon = Do(
        request=lambda flow: seen.append(flow.request.content),
        response=lambda flow: seen.append(flow.response.content),
    )
    body = b"x" * 5000
    async with Origin.http(lambda request: answer(200, request.body)) as origin:
        async with running(addon, limits_body=1000) as proxy, client_of(proxy) as client:
            response = await client.request(get(origin.url + "/", method="POST", body=body))
            assert response.body == body
            chunks = b"".join(b"1f4\r\n%b\r\n" % (b"x" * 500) for _ in range(10)) + b"0\r\n\r\n"
            request = get(origin.url + "/", "Transfer-Encoding: chunked", method="POST", body=chunks)
            assert (await client.request(request)).body == body
    assert seen == [None] * 4


async def test_an_answered_upload_keeps_or_closes_the_connection() -> None:
    def answer_it(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(200, b"no need")

    addon = Do(requestheaders=answer_it, wants_body=lambda flow, side: False)
    async with running(addon) as proxy:
        async with client_of(proxy) as client:
            for _ in range(2):
                request = get("http://example.test/", method="POST", body=b"x" * 10_000)
                assert (await client.request(request)).body == b"no need"
            assert await client.is_open()
        async with client_of(proxy) as client:
            client.send(get("http://example.test/", "Content-Length: 100000000", method="POST") + b"x" * 100_000)
            response = await client.read_response()
            assert (response.body, response.get("connection")) == (b"no need", "close")


async def test_a_request_to_ourselves_is_recognised() -> None:
    async with running() as proxy, client_of(proxy) as client, asyncio.timeout(5):
        response = await client.request(get(f"http://127.0.0.1:{proxy.port}/"))
        assert 400 <= response.status < 600
        assert (await client.read_to_end()) == b""
