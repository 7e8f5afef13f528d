"""Upgrades and tunnels that are used to get past the proxy: what nobody has asked for never begins."""

from __future__ import annotations

import pytest

from rulesproxy import HTTPFlow, HTTPResponse
from tests.support.origin import Origin, OriginConnection, script
from tests.support.recorder import Do, Observer, Recorder
from tests.support.running import READING, client_of, get, running

WEBSOCKET = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")


def switch(to: str) -> bytes:
    return f"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {to}\r\n\r\n".encode()


@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Upgrade: H2C , h2c", "Connection: upgrade"),
        ("Upgrade: echo",),
        ("Upgrade: echo", "Connection: keep-alive"),
    ],
)
async def test_a_switch_that_nobody_has_asked_for(fields: tuple[str, ...], reading: str) -> None:
    origin = Origin(script("request", switch("h2c") + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "stall"))
    recorder = READING[reading]()
    async with origin, running(recorder) as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/", *fields))
        assert response.status == 502
        assert b"switched protocols without being asked" in response.body
        assert await client.read_to_end() == b""
        await origin.wait_ended()
    assert origin.requests[0].get_all("upgrade") == []
    assert origin.requests[0].get_all("connection") == []
    assert recorder.count("error") == 1
    assert recorder.count("tcp_start") == 0


async def test_a_switch_whose_request_a_handler_has_taken_back() -> None:
    def remove(flow: HTTPFlow) -> None:
        del flow.request.headers["upgrade"]

    origin = Origin(script("request", switch("echo"), "stall"))
    async with origin, running(Do(requestheaders=remove)) as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/", "Upgrade: echo", "Connection: upgrade"))
    assert response.status == 502


async def test_http_10_asks_for_no_upgrade() -> None:
    """RFC 9110 section 7.8: Upgrade in a request of HTTP/1.0 is to be ignored."""
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        response = await client.request(
            get(origin.url + "/", "Upgrade: echo", "Connection: upgrade", version="HTTP/1.0")
        )
        assert response.status == 200
    assert origin.requests[0].get_all("upgrade") == []


@pytest.mark.parametrize("offer", ["h2c, echo", "echo, H2C", "h2c,echo,h2c"])
async def test_h2c_among_others_is_not_passed_on(offer: str) -> None:
    async with Origin() as origin, running() as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/", f"Upgrade: {offer}", "Connection: upgrade"))
        assert response.status == 200
    assert origin.requests[0].get_all("upgrade") == ["echo"]


async def test_a_websocket_among_others_is_one() -> None:
    origin = Origin(script("request", switch("websocket"), "stall"))
    recorder = Recorder()
    async with origin, running(recorder) as proxy, client_of(proxy) as client:
        response = await client.request(
            get(origin.url + "/", "Upgrade: echo, websocket", "Connection: keep-alive, Upgrade", *WEBSOCKET)
        )
        assert response.status == 101
        await client.close()
        await recorder.wait("websocket_handshake", "websocket_start", "websocket_end")


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("reading", READING)
async def test_a_switch_waits_for_the_whole_request(framing: str, reading: str) -> None:
    """RFC 9110 section 7.8: the new protocol begins behind the request; its body is no part of it."""

    async def switches(connection: OriginConnection) -> None:
        request = await connection.read_request()
        assert request is not None
        assert request.body == b"hello"
        connection.send(switch("echo"))
        await connection.echo()

    field, body = ("Content-Length: 5", b"hello") if framing == "length" else (
        "Transfer-Encoding: chunked", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    )  # fmt: skip
    async with Origin(switches) as origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        head = get(origin.url + "/", "Upgrade: echo", "Connection: upgrade", field, method="POST")
        client.send(head + body + b"GET /smuggled HTTP/1.1\r\n\r\n")
        assert (await client.read_response()).status == 101
        assert await client.read_exactly(26) == b"GET /smuggled HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("upgrade", ["echo", "websocket"])
async def test_a_switch_before_the_end_of_the_request(upgrade: str) -> None:
    async def switches(connection: OriginConnection) -> None:
        await connection.read_until(b"he")
        connection.raw()
        connection.send(switch(upgrade))
        await connection.wait_end()

    async with Origin(switches, raw=True) as origin, running(Observer()) as proxy, client_of(proxy) as client:
        fields = (f"Upgrade: {upgrade}", "Connection: upgrade", "Content-Length: 5", *WEBSOCKET)
        client.send(get(origin.url + "/", *fields, method="POST") + b"he")
        response = await client.read_response()
        assert response.status == 502
        assert b"before it had the whole request" in response.body
        await origin.wait_ended()


@pytest.mark.parametrize("upgrade", ["echo", "websocket"])
async def test_an_answer_in_the_place_of_a_switch(upgrade: str) -> None:
    """Rules may refuse an upgrade when they see what the server says."""

    def refuse(flow: HTTPFlow) -> None:
        assert flow.response is not None
        assert flow.response.status_code == 101
        flow.response = HTTPResponse.make(403, b"no upgrades")

    origin = Origin(script("request", switch(upgrade), "stall"))
    recorder = Recorder()
    async with origin, running(Do(responseheaders=refuse), recorder) as proxy, client_of(proxy) as client:
        fields = (f"Upgrade: {upgrade}", "Connection: upgrade", *WEBSOCKET)
        response = await client.request(get(origin.url + "/", *fields))
        assert (response.status, response.body) == (403, b"no upgrades")
        await origin.wait_ended()
    assert recorder.count("websocket_start") == recorder.count("tcp_start") == 0
    assert recorder.count("response") == 1


@pytest.mark.parametrize("upgrade", ["echo", "websocket"])
async def test_an_answer_in_the_place_of_a_switch_at_the_end(upgrade: str) -> None:
    def refuse(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(403, b"no upgrades")

    origin = Origin(script("request", switch(upgrade), "stall"))
    async with origin, running(Do(response=refuse)) as proxy, client_of(proxy) as client:
        fields = (f"Upgrade: {upgrade}", "Connection: upgrade", *WEBSOCKET)
        response = await client.request(get(origin.url + "/", *fields))
        assert (response.status, response.body) == (403, b"no upgrades")
        await origin.wait_ended()


async def test_a_switch_with_a_length_has_none() -> None:
    head = switch("echo")[:-2] + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    origin = Origin(script("request", head + b"hello", "stall"))
    async with origin, running() as proxy, client_of(proxy) as client:
        response = await client.request(get(origin.url + "/", "Upgrade: echo", "Connection: upgrade"))
        # Either is fine: it is refused, or it goes on without what RFC 9110 section 8.6 forbids.
        if response.status == 101:
            assert response.get_all("content-length") == response.get_all("transfer-encoding") == []
            assert await client.read_exactly(5) == b"hello"
        else:
            assert response.status == 502


# Proxies behind this one


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 504),
        (b"HTTP/1.1 200 OK\r\nX: ", 502),
    ],
)
async def test_a_proxy_that_floods(reply: bytes, status: int) -> None:
    """Its answer to CONNECT never ends."""

    async def flood(connection: OriginConnection) -> None:
        await connection.read_until(b"\r\n\r\n")
        connection.send(reply)
        filler = reply if reply.endswith(b"100 Continue\r\n\r\n") else b"x"
        while True:
            connection.send(filler * (65536 // len(filler)))
            await connection.drain()

    async with Origin(flood, proxy=True, raw=True) as other:
        async with running(Recorder(), mode=f"upstream:{other.url}", limits_proxy_connect=1) as proxy:
            async with client_of(proxy) as client:
                await client.tunnel("localhost:9", proxy.ca_path)
                response = await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert response.status == status
    assert f"the proxy {other.url}" in response.body.decode()


async def test_silence_towards_a_client_keeps_no_server() -> None:
    def silent(flow: HTTPFlow) -> None:
        flow.plan.end = "timeout"

    async with Origin() as origin, running(Do(responseheaders=silent)) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        await origin.wait_connections(1)
        await origin.wait_ended()
        assert await client.is_open()
