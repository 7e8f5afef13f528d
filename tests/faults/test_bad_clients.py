"""Clients that vanish, stall or send nonsense: every flow ends once, and nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest

from rulesproxy import HTTPFlow
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, answer, script
from tests.support.recorder import Recorder
from tests.support.running import READING, client_of, get, running

reading = pytest.mark.parametrize("reading", READING)
leaving = pytest.mark.parametrize("leave", ["close", "reset", "half_close"])


async def go(client: RawClient, leave: str) -> None:
    """Leave in one of three ways."""
    if leave == "close":
        await client.close()
    else:
        getattr(client, leave)()


def every_flow_ended(recorder: Recorder) -> None:
    """Each flow that began ended with exactly one of the two."""
    for flow in recorder.args("requestheaders"):
        ends = [event for event in ("response", "error") if any(flow is ended for ended in recorder.args(event))]
        assert len(ends) == 1, f"{flow!r} ended with {ends}"
        assert isinstance(flow, HTTPFlow)
        assert (flow.error is not None) == (ends == ["error"])


@reading
@pytest.mark.parametrize("framing", ["length", "chunks"])
@leaving
async def test_leaving_at_every_byte(leave: str, framing: str, reading: str) -> None:
    recorder = READING[reading]()
    async with Origin() as origin, running(recorder) as proxy:
        if framing == "length":
            data = get(f"{origin.url}/", method="POST", body=b"hello")
        else:
            data = get(
                f"{origin.url}/", "Transfer-Encoding: chunked", method="POST", body=b"2\r\nhi\r\n0\r\nX: y\r\n\r\n"
            )
        for size in range(len(data) + 1):
            async with client_of(proxy) as client:
                client.send(data[:size])
                await client.drain()
                await go(client, leave)
        await recorder.settled()
        every_flow_ended(recorder)
        # What went out whole was whole here, too.
        assert all(request.body in (b"hello", b"hi") for request in origin.requests if request.complete)
        async with client_of(proxy) as client:
            assert (await client.request(data)).status == 200


@reading
@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_leaving_while_the_server_thinks(leave: str, reading: str) -> None:
    recorder = READING[reading]()
    async with Origin(script("request", "stall")) as origin, running(recorder) as proxy:
        async with client_of(proxy) as client:
            client.send(get(f"{origin.url}/"))
            await origin.wait_received(b"\r\n\r\n")
            await go(client, leave)
            if leave == "close":
                # A FIN on plain TCP may be a half-close: the flow lives until an answer cannot be delivered.
                origin.connections[0].send(answer(200, b"x" * 1000))
            await recorder.wait("clientdisconnect")
        every_flow_ended(recorder)


@reading
async def test_leaving_inside_the_response(reading: str) -> None:
    async def endless(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not connection.closed:
            connection.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await connection.drain()
            await asyncio.sleep(0.001)

    recorder = READING[reading]()
    async with Origin(endless) as origin, running(recorder) as proxy:
        async with client_of(proxy) as client:
            client.send(get(f"{origin.url}/"))
            await (client.read_exactly(2000) if reading == "streaming" else origin.wait_received(b"\r\n\r\n"))
            client.reset()
            await recorder.wait("clientdisconnect", "error")
        every_flow_ended(recorder)
        (flow,) = recorder.args("error")
        assert isinstance(flow, HTTPFlow)
        assert flow.error is not None
        assert flow.error.kind == "client"


@reading
async def test_leaving_inside_the_upload_ends_the_server_side(reading: str) -> None:
    recorder = READING[reading]()
    async with Origin() as origin, running(recorder) as proxy:
        async with client_of(proxy) as client:
            client.send(get(f"{origin.url}/", "Content-Length: 1000", method="POST") + b"abc")
            if reading == "streaming":
                await origin.wait_received(b"abc")
            client.reset()
            await recorder.wait("clientdisconnect", "error")
        every_flow_ended(recorder)
        assert all(not request.complete for request in origin.requests)
        if reading == "streaming":
            await origin.wait_ended()


HELLOS = {
    "a record of nothing": b"\x16\x03\x01\x00\x00",
    "half a record": b"\x16\x03\x01\x02\x00\x01\x00",
    "garbage in a record": b"\x16\x03\x01\x00\x05hello",
    "a length that lies": b"\x16\x03\x01\x00\x10\x01\x00\xff\xff" + b"\0" * 12,
    "a huge record": b"\x16\x03\x01\xff\xff" + b"\0" * 70_000,
    "another handshake message": b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\0" * 40,
    "endless small records": b"\x16\x03\x01\x00\x01\x01" * 20_000,
    "nothing but 0x16": b"\x16",
}


@pytest.mark.parametrize("hello", HELLOS)
@pytest.mark.parametrize("where", ["in a tunnel", "at once"])
async def test_bad_hellos(hello: str, where: str) -> None:
    recorder = Recorder()
    async with Origin(script("stall"), raw=True) as origin, running(recorder, intercept="all") as proxy:
        async with client_of(proxy) as client:
            if where == "in a tunnel":
                assert (await client.connect_to(origin.authority)).status == 200
            client.send(HELLOS[hello])
            await asyncio.sleep(0.05)
            client.reset()
        await recorder.settled()
        assert recorder.count("requestheaders") == 0


@pytest.mark.parametrize("kind", ["wrong CA", "garbage behind the hello", "close behind the hello"])
async def test_tls_that_fails(kind: str) -> None:
    import ssl

    recorder = Recorder()
    async with Origin(tls="good") as origin, running(recorder) as proxy, client_of(proxy) as client:
        assert (await client.connect_to(f"localhost:{origin.port}")).status == 200
        if kind == "wrong CA":
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.start_tls(None)
        else:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            client.send(outgoing.read())
            if kind.startswith("garbage"):
                client.send(b"\x17\x03\x03\x00\x10" + b"x" * 16)
                await client.read_to_end()
        await client.close()
        await recorder.settled()
        assert recorder.count("requestheaders") == 0
        assert origin.connections == [], "the server is dialled when a request is there"


async def test_many_clients_leave_at_once() -> None:
    recorder = Recorder()
    async with Origin(script("request", "stall")) as origin, running(recorder) as proxy:
        clients = [await RawClient.connect(proxy.port) for _ in range(50)]
        for client in clients:
            client.send(get(f"{origin.url}/"))
        await origin.wait_connections(50)
        for client in clients:
            client.reset()
        for client in clients:
            await client.close()
        await recorder.settled()
        every_flow_ended(recorder)


async def test_a_slow_reader_stops_the_server() -> None:
    sent = 0

    async def flood(connection: OriginConnection) -> None:
        nonlocal sent
        await connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not connection.closed:
            connection.send(b"x" * 65536)
            sent += 65536
            await connection.drain()

    async with Origin(flood) as origin, running() as proxy, client_of(proxy) as client:
        client.send(get(f"{origin.url}/"))
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        # Socket buffers on four ends, the proxy's own, and asyncio's reader in the test: no more than that.
        assert 0 < sent < 40_000_000
        client.reset()
