"""Nothing waits without a deadline: what stalls gets its answer, or its end, in time."""

from __future__ import annotations

import asyncio

import pytest

from rulesproxy import HTTPFlow, app
from tests.support.origin import Origin, OriginConnection, answer, script
from tests.support.recorder import Recorder
from tests.support.running import READING, client_of, get, running

QUICK = 0.2
reading = pytest.mark.parametrize("reading", READING)


@pytest.fixture(autouse=True)
def quick_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines are looked at more often than once a second."""
    monkeypatch.setattr(app, "_SWEEP", 0.05)


@pytest.mark.parametrize(
    "data", [b"G", b"GET http://a/ HTTP/1.1\r\n", b"GET http://a/ HTTP/1.1\r\nHost: a\r\n", b"\r\n"]
)
async def test_a_head_that_does_not_end(data: bytes) -> None:
    async with running(limits_header_read=QUICK, limits_idle=QUICK) as proxy, client_of(proxy) as client:
        client.send(data)
        rest = await client.read_to_end()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")
        assert rest or data in (b"G", b"\r\n"), "who has begun a request is told"


async def test_a_head_that_trickles() -> None:
    """The deadline is for the whole head: a byte now and then does not extend it."""
    async with running(limits_header_read=3 * QUICK) as proxy, client_of(proxy) as client:
        trickle = asyncio.create_task(_trickle(client, b"GET http://a/ HTTP/1.1\r\nX: " + b"y" * 1000))
        async with asyncio.timeout(3):
            assert (await client.read_response()).status == 408
        trickle.cancel()


async def _trickle(client: object, data: bytes) -> None:
    for at in range(len(data)):
        client.send(data[at : at + 1])  # type: ignore[attr-defined]
        await asyncio.sleep(0.02)


async def test_a_client_that_says_nothing() -> None:
    async with running(limits_idle=QUICK) as proxy, client_of(proxy) as client:
        assert await client.read_to_end() == b""


async def test_an_idle_client() -> None:
    async with Origin() as origin, running(limits_idle=QUICK) as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/"))).status == 200
        assert await client.read_to_end() == b""


@reading
async def test_an_upload_that_stalls(reading: str) -> None:
    recorder = READING[reading]()
    options = {"limits_body_stall": QUICK, "limits_response_head": QUICK}
    async with Origin() as origin, running(recorder, **options) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/", "Content-Length: 10", method="POST") + b"abc")
        assert (await client.read_response()).status == 408
        assert await client.read_to_end() == b""
        assert all(not request.complete for request in origin.requests)
    assert recorder.count("error") == 1


@reading
async def test_a_server_that_does_not_answer(reading: str) -> None:
    recorder = READING[reading]()
    async with Origin(script("request", "stall")) as origin, running(recorder, limits_response_head=QUICK) as proxy:
        async with client_of(proxy) as client:
            response = await client.request(get(origin.url + "/"))
            assert response.status == 504
            assert origin.authority.encode() in response.body
    (flow,) = recorder.args("error")
    assert isinstance(flow, HTTPFlow)
    assert flow.error is not None
    assert flow.error.kind == "timeout"


@reading
async def test_a_server_that_stalls_inside_the_head(reading: str) -> None:
    origin = Origin(script("request", b"HTTP/1.1 200 OK\r\nConte", "stall"))
    async with origin, running(READING[reading](), limits_response_head=QUICK) as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/"))).status == 504


@reading
async def test_a_head_that_a_server_trickles(reading: str) -> None:
    async def trickle(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nX: ")
        while not connection.closed:
            connection.send(b"y")
            await asyncio.sleep(0.02)

    async with Origin(trickle) as origin, running(READING[reading](), limits_response_head=3 * QUICK) as proxy:
        async with client_of(proxy) as client, asyncio.timeout(3):
            assert (await client.request(get(origin.url + "/"))).status == 504


async def test_interim_responses_without_end() -> None:
    async def interim(connection: OriginConnection) -> None:
        await connection.read_request()
        while not connection.closed:
            connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await asyncio.sleep(0.02)

    async with Origin(interim) as origin, running(limits_response_head=3 * QUICK) as proxy:
        async with client_of(proxy) as client, asyncio.timeout(4):
            client.send(get(origin.url + "/"))
            while (response := await client.read_response()).status == 103:
                pass
            assert response.status == 504


@reading
async def test_a_server_that_stalls_inside_the_body(reading: str) -> None:
    recorder = READING[reading]()
    origin = Origin(script("request", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "stall"))
    async with origin, running(recorder, limits_body_stall=QUICK) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        data = await client.read_to_end()
        if reading == "streaming":
            assert data.endswith(b"\r\n\r\nabc")
            assert client.broken, "half an answer must not look like a whole one"
        else:
            assert data.startswith(b"HTTP/1.1 504 ")
    assert recorder.count("error") == 1


async def test_a_server_that_does_not_shake_hands() -> None:
    async with Origin(script("stall"), raw=True) as origin:
        async with running(Recorder(), limits_tls_handshake=QUICK) as proxy, client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            assert (await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 504


@pytest.mark.parametrize("data", [b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00"])
async def test_a_client_that_does_not_shake_hands(data: bytes) -> None:
    async with Origin(tls="good") as origin, running(Recorder(), limits_tls_handshake=QUICK) as proxy:
        async with client_of(proxy) as client:
            assert (await client.connect_to(f"localhost:{origin.port}")).status == 200
            client.send(data)
            assert await client.read_to_end() == b""


async def test_a_tunnel_that_nobody_uses() -> None:
    async with Origin(script("stall"), raw=True) as origin:
        async with (
            running(Recorder(), limits_tunnel_idle=QUICK, limits_idle=QUICK) as proxy,
            client_of(proxy) as client,
        ):
            assert (await client.connect_to(origin.authority)).status == 200
            client.send(b"\0\0")
            assert await client.read_to_end() == b""
        async with running(Recorder(), limits_idle=QUICK) as proxy, client_of(proxy) as client:
            assert (await client.connect_to(origin.authority)).status == 200
            assert await client.read_to_end() == b""


async def test_a_tunnel_lives_while_one_direction_moves() -> None:
    async def slow(connection: OriginConnection) -> None:
        for _ in range(10):
            connection.send(b"x")
            await asyncio.sleep(QUICK / 2)
        await connection.close()

    async with Origin(slow, raw=True) as origin, running(limits_tunnel_idle=2 * QUICK) as proxy:
        async with client_of(proxy) as client:
            assert (await client.connect_to(origin.authority)).status == 200
            client.send(b"\0\0")
            assert await client.read_exactly(10) == b"x" * 10


async def test_a_reader_that_stalls() -> None:
    """A client that takes nothing does not hold a flow for ever."""

    async def flood(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not connection.closed:
            connection.send(b"x" * 65536)
            await connection.drain()

    recorder = READING["streaming"]()
    async with Origin(flood) as origin, running(recorder, limits_body_stall=QUICK) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        await recorder.wait("error", "clientdisconnect")


async def test_the_pool_lets_go() -> None:
    recorder = Recorder()
    async with Origin() as origin, running(recorder, limits_idle_pooled=QUICK) as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/"))).status == 200
        await recorder.wait("serverdisconnect")
        assert (await client.request(get(origin.url + "/"))).status == 200
        assert len(origin.connections) == 2


async def test_an_interrupted_shutdown_does_not_hang() -> None:
    """`stop()` with a flow that never ends takes `shutdown_grace`, no more."""
    async with Origin(script("request", "stall")) as origin:
        async with asyncio.timeout(5), running(shutdown_grace=QUICK) as proxy:
            async with client_of(proxy) as client:
                client.send(get(origin.url + "/"))
                await origin.wait_received(b"\r\n\r\n")
                await proxy.stop()
                assert client.ended or await client.read_to_end() == b""


async def test_shutdown_lets_flows_finish() -> None:
    async def later(connection: OriginConnection) -> None:
        await connection.read_request()
        await asyncio.sleep(QUICK)
        connection.send(answer(200, b"done"))

    async with Origin(later) as origin, running(shutdown_grace=5.0) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        await origin.wait_received(b"\r\n\r\n")
        async with asyncio.timeout(2):  # An idle client is no reason to wait for the whole grace.
            await proxy.stop()
        assert (await client.read_response()).body == b"done"
