"""HTTP/2 towards servers, over real sockets: what arrives there, what clients get, and who shares a connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rulesproxy import HTTPFlow, HTTPResponse, Proxy, Route, load_rules
from rulesproxy.rules.ruleset import RuleSet
from tests.support import h2_frames as frames
from tests.support.client import RawClient
from tests.support.h2_origin import H2Origin, H2Request, Peer
from tests.support.origin import Origin, OriginConnection, answer
from tests.support.recorder import Do, Observer, Recorder
from tests.support.running import READING, client_of, get, running, second

reading = pytest.mark.parametrize("reading", READING)


def version(number: str = "2", more: str = "") -> RuleSet:
    """Rules that speak this version to every server."""
    return load_rules(text=f"version: 1\nrules:\n- match: ~all\n  upstream: {{http-version: {number}}}\n{more}")


@asynccontextmanager
async def through(origin: Origin, *addons: object, number: str = "2", **options: object) -> AsyncIterator[RawClient]:
    """A client in a tunnel to `origin`."""
    options.setdefault("rules", version(number))
    async with origin, running(*addons, **options) as proxy, client_of(proxy) as client:
        if origin.url.startswith("https"):
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        yield client


def ask(origin: Origin, path: str = "/x", *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request as `through` has to send it."""
    made = get(f"http://localhost:{origin.port}{path}", *fields, method=method, body=body)
    return made.replace(f"http://localhost:{origin.port}".encode(), b"", 1) if origin.url[:5] == "https" else made


# One exchange


@pytest.mark.parametrize("tls", ["good", None], ids=["tls", "plain"])
async def test_a_request_and_its_answer(tls: str | None) -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        fields = [("x-a", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-bytes", "\xe9")]
        await peer.answer(request.stream, 200, b"hello", fields)

    recorder = Observer()
    origin = H2Origin(handler, tls=tls)
    async with through(origin, recorder) as client:
        for _ in range(2):
            sent = ask(
                origin, "/x?y=%20", "X-Mixed-Case: a", "Cookie: a=1", "Cookie: b=2", "Keep-Alive: 1", "TE: trailers"
            )
            response = await client.request(sent)
            assert response.start == b"HTTP/1.1 200 OK"
            assert response.fields == [
                (b"x-a", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-bytes", b"\xe9"),
                (b"Transfer-Encoding", b"chunked"),
            ]  # fmt: skip
            assert response.body == b"hello"
    scheme = "https" if tls else "http"
    for request in origin.streams:
        assert request.fields == [
            (":method", "GET"), (":scheme", scheme), (":authority", f"localhost:{origin.port}"), (":path", "/x?y=%20"),
            ("x-mixed-case", "a"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"),
        ]  # fmt: skip
    assert [request.stream for request in origin.streams] == [1, 3]
    flow = recorder.args("response")[0]
    assert isinstance(flow, HTTPFlow)
    assert flow.response is not None
    assert (flow.request.http_version, flow.response.http_version) == ("HTTP/1.1", "HTTP/2.0")
    assert flow.server_conn.alpn == ("h2" if tls else None)
    assert [recorder.count(name) for name in ("serverconnect", "serverconnected")] == [1, 1]
    await recorder.wait("serverdisconnect")
    assert recorder.count("serverdisconnect") == 1


def served(status: int, body: bytes, *fields: tuple[str, str], trailers: tuple[tuple[str, str], ...] = ()) -> H2Origin:
    async def handler(peer: Peer, request: H2Request) -> None:
        await request.read()
        await peer.answer(request.stream, status, body, fields, trailers)

    return H2Origin(handler)


@reading
@pytest.mark.parametrize(
    ("method", "origin", "status", "body", "length"),
    [
        ("GET", served(200, b"hello", ("content-length", "5")), 200, b"hello", "5"),
        ("GET", served(200, b""), 200, b"", "0"),
        ("GET", served(204, b""), 204, b"", None),
        ("GET", served(304, b"", ("content-length", "9")), 304, b"", "9"),
        ("HEAD", served(200, b"", ("content-length", "9")), 200, b"", "9"),
        ("HEAD", served(200, b""), 200, b"", None),
        ("DELETE", served(404, b"no"), 404, b"no", None),
    ],
)
async def test_how_answers_are_framed(
    reading: str, method: str, origin: H2Origin, status: int, body: bytes, length: str | None
) -> None:
    async with through(origin, READING[reading]()) as client:
        for _ in range(2):
            response = await client.request(ask(origin, method=method), method)
            assert (response.status, response.body) == (status, body)
            if not body or length:
                assert response.get("content-length") == length
    origin.connections.clear()
    origin.peers.clear()


@reading
async def test_trailers_both_ways(reading: str) -> None:
    origin = served(200, b"hello", trailers=(("grpc-status", "0"), ("x-t", "1")))
    async with through(origin, READING[reading]()) as client:
        body = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
        client.send(ask(origin, "/x", "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST") + body)
        response = await client.read_response("POST")
        assert response.body == b"hello"
        assert response.trailers == [(b"grpc-status", b"0"), (b"x-t", b"1")]
    [request] = origin.streams
    assert (bytes(request.body), request.trailers) == (b"abc", [("x-sum", "1")])
    assert (request.get("transfer-encoding"), request.get("content-length")) == (None, None)


@reading
@pytest.mark.parametrize("size", [0, 1, 16384, 65535, 65536, 300_000, 3_000_000])
async def test_bodies_of_many_sizes(reading: str, size: int) -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        body = await request.read()
        await peer.answer(request.stream, 200, body, [("content-length", str(len(body)))])

    origin = H2Origin(handler)
    async with through(origin, READING[reading]()) as client:
        body = bytes(range(256)) * (size // 256 + 1)
        response = await client.request(ask(origin, method="PUT", body=body[:size]), "PUT")
        assert response.body == body[:size]


@reading
async def test_interim_responses(reading: str) -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        peer.head(request.stream, 103, [("link", "<a>")])
        await request.read()
        await peer.answer(request.stream, 200, b"x")

    origin = H2Origin(handler)
    async with through(origin, READING[reading]()) as client:
        response = await client.request(ask(origin))
        assert (response.status, response.get("link")) == (103, "<a>")
        assert (await client.read_response()).status == 200


async def test_expect_is_for_the_server_to_answer() -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        assert request.get("expect") == "100-continue"
        peer.head(request.stream, 100)
        await peer.answer(request.stream, 200, await request.read())

    origin = H2Origin(handler)
    async with through(origin, Observer()) as client:
        client.send(ask(origin, "/x", "Expect: 100-continue", "Content-Length: 2", method="POST"))
        assert (await client.read_response("POST")).status == 100
        client.send(b"ab")
        assert (await client.read_response("POST")).body == b"ab"


async def test_a_client_of_http_1_0() -> None:
    origin = served(200, b"hello")
    async with through(origin) as client:
        client.send(b"GET /x HTTP/1.0\r\n\r\n")
        response = await client.read_to_end()
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        assert response.endswith(b"\r\n\r\nhello")
    assert origin.streams[0].get(":authority") == f"localhost:{origin.port}"


# Who shares a connection


async def hold(peer: Peer, request: H2Request) -> None:
    """Answer when as many requests wait as the path says."""
    await peer.until(lambda: len([one for one in peer.requests if one.complete]) >= int(request.path[1:]))
    await peer.answer(request.stream, 200, b"done")


@asynccontextmanager
async def clients(proxy: Proxy, origin: Origin, count: int) -> AsyncIterator[list[RawClient]]:
    """Clients in tunnels to an origin."""
    made = await asyncio.gather(*[RawClient.connect(proxy.port) for _ in range(count)])
    try:
        for client in made:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        yield made
    finally:
        for client in made:
            await client.close()


async def test_many_clients_share_one_connection() -> None:
    recorder = Observer()
    async with H2Origin(hold) as origin, running(recorder, rules=version()) as proxy:
        async with clients(proxy, origin, 20) as some:
            responses = await asyncio.gather(*[client.request(ask(origin, "/20")) for client in some])
            assert [response.body for response in responses] == [b"done"] * 20
        assert len(origin.connections) == 1
        assert recorder.count("serverconnected") == 1
        assert (proxy.services.upstreams.active, proxy.services.upstreams.idle) == (0, 1)


async def test_a_server_that_allows_few_streams_gets_more_connections() -> None:
    most = 0

    async def handler(peer: Peer, request: H2Request) -> None:
        nonlocal most
        open_now = peer.h2.open_inbound_streams
        most = max(most, open_now)
        await request.read()
        await asyncio.sleep(0.02)
        await peer.answer(request.stream, 200, b"x")

    async with H2Origin(handler, settings={3: 2}) as origin, running(rules=version()) as proxy:
        async with clients(proxy, origin, 9) as some:
            for _ in range(2):
                responses = await asyncio.gather(*[client.request(ask(origin)) for client in some])
                assert [response.status for response in responses] == [200] * 9
    assert most == 2
    assert 5 <= len(origin.connections) <= 9


async def test_our_own_limit_of_streams() -> None:
    async with H2Origin(hold) as origin, running(rules=version(), limits_http2_streams=2) as proxy:
        async with clients(proxy, origin, 6) as some:
            for _ in range(2):
                responses = await asyncio.gather(*[client.request(ask(origin, "/1")) for client in some])
                assert [response.status for response in responses] == [200] * 6
        assert 3 <= len(origin.connections) <= 6


async def test_idle_connections_are_bounded() -> None:
    recorder = Observer()
    async with H2Origin(settings={3: 1}) as origin, running(recorder, rules=version(), limits_idle_per_key=1) as proxy:
        async with clients(proxy, origin, 4) as some:
            await asyncio.gather(*[client.request(ask(origin)) for client in some])
            count = len(origin.connections)
            assert count > 1
            await recorder.wait(*["serverdisconnect"] * (count - 1))
            assert proxy.services.upstreams.idle == 1
            assert (await some[0].request(ask(origin))).status == 200
            assert len(origin.connections) == count


async def test_a_server_that_allows_none() -> None:
    async def none(connection: OriginConnection) -> None:
        connection.send(frames.setting((3, 0)))
        while await connection.read():
            connection.send(
                frames.word(frames.RST_STREAM, 1, 7) if b"\x01\x05\0\0\0\x01" in connection.received else b""
            )

    async with Origin(none, tls="good", raw=True, alpn=("h2",)) as origin, running(rules=version()) as proxy:
        async with clients(proxy, origin, 3) as some:
            # One request may be on its way before the server has said so.
            responses = await asyncio.gather(*[client.request(ask(origin)) for client in some])
            assert {response.status for response in responses} == {502}
            assert all(b"MAX_CONCURRENT_STREAMS is 0" in response.body for response in responses[1:])


async def test_a_connection_that_is_idle_is_closed_in_order() -> None:
    recorder = Observer()
    async with H2Origin() as origin, running(recorder, rules=version(), limits_idle_pooled=0.1) as proxy:
        async with clients(proxy, origin, 1) as [client]:
            assert (await client.request(ask(origin))).status == 200
            await recorder.wait("serverdisconnect")
            [peer] = origin.peers
            await peer.until(lambda: peer.goaway == 0)
            assert (await client.request(ask(origin))).status == 200
            assert len(origin.connections) == 2


async def test_the_server_may_close_an_idle_connection() -> None:
    recorder = Observer()
    async with H2Origin() as origin, running(recorder, rules=version()) as proxy:
        async with clients(proxy, origin, 1) as [client]:
            for number in (1, 2):
                assert (await client.request(ask(origin))).status == 200
                await origin.connections[-1].close()
                await recorder.wait(*["serverdisconnect"] * number)
            assert proxy.services.upstreams.idle == 0


async def test_a_connection_that_was_sent_elsewhere_is_private() -> None:
    async with H2Origin() as origin, running(
        Do(serverconnect=lambda server_conn: setattr(server_conn, "address", ("127.0.0.1", origin.port))),
        rules=version(), verify_upstream=False,
    ) as proxy:  # fmt: skip
        for _ in range(2):
            async with client_of(proxy) as client:
                await client.tunnel("example.test:443", proxy.ca_path)
                for _ in range(3):
                    assert (await client.request(b"GET /x HTTP/1.1\r\nHost: example.test\r\n\r\n")).status == 200
        assert [len(peer.requests) for peer in origin.peers] == [3, 3]


async def test_an_addon_chooses_the_version() -> None:
    def choose(flow: HTTPFlow) -> None:
        flow.plan.upstream = Route(http_version="2" if flow.request.path == "/2" else None)

    async with H2Origin(alpn=("h2",)) as origin, Origin(tls="good", alpn=("http/1.1",)) as old:
        async with running(Do(requestheaders=choose)) as proxy, client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            assert (await client.request(ask(origin, "/2"))).body == b"GET /2 0"
        async with running(Do(requestheaders=choose)) as proxy, client_of(proxy) as client:
            await client.tunnel(f"localhost:{old.port}", proxy.ca_path)
            assert (await client.request(ask(old, "/1"))).body == b"GET /1 HTTP/1.1"


# Which version


async def test_auto_takes_what_the_server_chooses() -> None:
    recorder = Observer()
    async with H2Origin(alpn=("h2", "http/1.1")) as new, Origin(tls="good", alpn=("http/1.1",)) as old:
        async with Origin(tls="good") as none, running(recorder, rules=version("auto")) as proxy:
            for origin, said in [(new, b"GET /x 0"), (old, b"GET /x HTTP/1.1"), (none, b"GET /x HTTP/1.1")]:
                async with clients(proxy, origin, 4) as some:
                    for _ in range(2):
                        responses = await asyncio.gather(*[client.request(ask(origin)) for client in some])
                        assert [response.body for response in responses] == [said] * 4
        assert len(new.connections) == 1
        assert len(old.connections) <= 4
        assert len(none.connections) <= 4
    alpn = [flow.server_conn.alpn for flow in recorder.args("response") if isinstance(flow, HTTPFlow)]
    assert alpn == ["h2"] * 8 + ["http/1.1"] * 8 + [None] * 8


async def test_auto_is_http_1_without_tls() -> None:
    async with Origin() as origin, running(rules=version("auto")) as proxy, client_of(proxy) as client:
        assert (await client.request(get(f"{origin.url}/x"))).body == b"GET /x HTTP/1.1"


async def test_without_the_key_nothing_else_is_offered() -> None:
    async with Origin(tls="good", alpn=("h2", "http/1.1")) as origin, running() as proxy:
        async with running(Recorder()) as proxy, client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            assert (await client.request(ask(origin))).body == b"GET /x HTTP/1.1"


REFUSING = {
    "another choice": (lambda: Origin(tls="good", alpn=("http/1.1",)), "no protocol was chosen"),
    "no choice": (lambda: Origin(tls="good"), "no protocol was chosen"),
    "HTTP/1.1 without TLS": (lambda: Origin(raw=True), "it answered in HTTP/1"),
}


@pytest.mark.parametrize("name", REFUSING)
async def test_a_server_that_does_not_take_http_2(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rulesproxy")
    make, said = REFUSING[name]
    recorder = Observer()
    origin = make()
    if "without" in name:

        async def refuse(connection: OriginConnection) -> None:
            await connection.read()
            connection.send(answer(400, b"no"))

        origin = Origin(refuse, raw=True)
    async with through(origin, recorder) as client:
        response = await client.request(ask(origin))
        assert response.status == 502
        assert said.encode() in response.body
        assert b"HTTP/2" in response.body
    assert any(said in record.message and record.levelno == logging.WARNING for record in caplog.records)
    await recorder.settled()
    assert recorder.count("serverconnected") == recorder.count("serverdisconnect") == 1


async def test_a_server_that_closes_at_once_may_not_speak_it() -> None:
    async def close(connection: OriginConnection) -> None:
        await connection.read()
        await connection.close()

    origin = Origin(close, raw=True)
    async with through(origin) as client:
        response = await client.request(ask(origin))
        assert (response.status, b"may not speak HTTP/2" in response.body) == (502, True)


async def test_a_server_that_says_nothing() -> None:
    async def silent(connection: OriginConnection) -> None:
        await connection.wait_end()

    origin = Origin(silent, raw=True)
    async with through(origin, limits_http2_settings=0.5) as client:
        response = await client.request(ask(origin))
        assert (response.status, b"no settings of HTTP/2 came within 0.5 s" in response.body) == (502, True)


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"),
        ("Connection: upgrade", "Upgrade: other"),
        ("Authorization: NTLM abc",),
        ("authorization: Negotiate abc",),
    ],
)  # fmt: skip
async def test_what_http_2_does_not_have_goes_over_http_1(fields: tuple[str, ...]) -> None:
    async with (
        Origin(tls="good", alpn=("http/1.1",)) as origin,
        running(rules=version()) as proxy,
        client_of(proxy) as client,
    ):
        await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        assert (await client.request(ask(origin, "/x", *fields))).body == b"GET /x HTTP/1.1"


async def test_a_server_that_wants_http_1_for_a_request() -> None:
    async def script(connection: OriginConnection) -> None:
        tls = connection.tls
        if tls.selected_alpn_protocol() != "h2":  # type: ignore[attr-defined]
            request = await connection.read_request()
            assert request is not None
            connection.send(answer(200, request.body))
            return
        peer = Peer(connection)

        async def refuse(peer: Peer, request: H2Request) -> None:
            await request.read()
            peer.h2.reset_stream(request.stream, 0xD)
            peer.flush()

        await peer.run(refuse)

    for number, status in (("auto", 200), ("2", 502)):
        origin = Origin(script, tls="good", raw=True, alpn=("h2", "http/1.1"))
        async with through(origin, Recorder(), number=number) as client:
            response = await client.request(ask(origin, method="POST", body=b"hello"), "POST")
            assert response.status == status
            assert response.body == b"hello" or b"wants HTTP/1.1 for this request" in response.body


# Through proxies


@pytest.mark.parametrize("mode", ["regular", "socks5"])
@pytest.mark.parametrize("tls", ["good", None], ids=["tls", "plain"])
async def test_through_a_proxy(mode: str, tls: str | None) -> None:
    scheme = {"regular": "http", "socks5": "socks5"}[mode]
    async with H2Origin(tls=tls) as origin, second(mode=mode, intercept="none") as far:
        rules = load_rules(
            text=f"version: 1\nrules:\n- match: ~all\n  upstream: {{proxy: '{scheme}://127.0.0.1:{far.port}', http-version: 2}}\n"
        )
        async with running(rules=rules) as proxy, client_of(proxy) as client:
            if tls:
                await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            for _ in range(2):
                assert (await client.request(ask(origin))).body == b"GET /x 0"
        assert len(origin.connections) == 1


async def test_in_reverse_mode() -> None:
    async with H2Origin() as origin:
        async with (
            running(rules=version(), mode=f"reverse:https://localhost:{origin.port}") as proxy,
            client_of(proxy) as client,
        ):
            response = await client.request(b"GET /x HTTP/1.1\r\nHost: front.test\r\n\r\n")
            assert response.body == b"GET /x 0"
    assert origin.streams[0].get(":authority") == f"localhost:{origin.port}"


# Answers that rules and addons make


async def test_an_answer_in_place_of_the_servers_frees_the_stream() -> None:
    def replace(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(200, b"mine")

    async def handler(peer: Peer, request: H2Request) -> None:
        peer.head(request.stream, 200)
        await peer.until(lambda: request.reset is not None)

    origin = H2Origin(handler)
    async with through(origin, Do(responseheaders=replace)) as client:
        assert (await client.request(ask(origin))).body == b"mine"
        assert (await client.request(ask(origin))).body == b"mine"
        peer = origin.peers[0]
        await peer.until(lambda: all(request.reset == 8 for request in peer.requests))
    assert len(origin.connections) == 1
