"""Servers that close, break off, send garbage or stall: what the client gets, and that the next request is fine."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

import pytest

from rulesproxy import HTTPFlow
from tests.support import pki
from tests.support.client import RawClient
from tests.support.origin import Origin, OriginConnection, answer, script
from tests.support.running import READING, client_of, get, running

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN = "broken off"

reading = pytest.mark.parametrize("reading", READING)


async def outcome(client: RawClient, method: str = "GET") -> int | str:
    """The status of a whole answer, or `BROKEN`."""
    try:
        response = await client.read_response(method)
    except AssertionError as exc:
        if "cut short" not in str(exc):
            raise
        client.take(len(client.received))
        return BROKEN
    return response.status


async def check(origin: Origin, kind: str, streamed: int | str, buffered: int | str, method: str = "GET") -> None:
    """One request to `origin`, then one to a good one. The bad one's flow ends once, with the right event."""
    expected = streamed if kind == "streaming" else buffered
    recorder = READING[kind]()
    async with origin, Origin() as good, running(recorder) as proxy:
        async with client_of(proxy) as client:
            client.send(get(f"{origin.url}/", method=method))
            assert await outcome(client, method) == expected
            assert await client.read_to_end() == b"", "nothing follows a failure"
        async with client_of(proxy) as client:
            assert (await client.request(get(f"{good.url}/next"))).status == 200
        await recorder.settled()
    failed = expected == BROKEN or expected >= 500
    flow = recorder.args("requestheaders")[0]
    assert isinstance(flow, HTTPFlow)
    assert (flow.error is not None) == failed
    assert recorder.count("error") == failed
    assert recorder.count("error") + recorder.count("response") == recorder.count("requestheaders")


# What the server does, and what a client gets: with the body streaming, with the body buffered.
CLOSING = {
    "before the head": ([], 502, 502),
    "inside the status line": ([b"HTTP/1.1 20"], 502, 502),
    "inside the head": ([OK + b"Conte"], 502, 502),
    "behind the head": ([OK + b"Content-Length: 5\r\n\r\n"], BROKEN, 502),
    "inside a sized body": ([OK + b"Content-Length: 5\r\n\r\nabc"], BROKEN, 502),
    "before the chunks": ([CHUNKED], BROKEN, 502),
    "inside a chunk size": ([CHUNKED + b"5"], BROKEN, 502),
    "inside a chunk": ([CHUNKED + b"5\r\nabc"], BROKEN, 502),
    "behind a chunk": ([CHUNKED + b"3\r\nabc\r\n"], BROKEN, 502),
    "before the trailers": ([CHUNKED + b"3\r\nabc\r\n0\r\n"], BROKEN, 502),
    "inside the trailers": ([CHUNKED + b"3\r\nabc\r\n0\r\nX: 1\r\n"], BROKEN, 502),
    "behind an interim response": ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], 103, 103),
}


@reading
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("where", [name for name in CLOSING if not name.startswith("behind an interim")])
async def test_closing(where: str, how: str, reading: str) -> None:
    steps, streamed, buffered = CLOSING[where]
    await check(Origin(script("request", *steps, how)), reading, streamed, buffered)


EVERY = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
}


@reading
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", EVERY)
async def test_closing_at_every_byte(framing: str, how: str, reading: str) -> None:
    """A cut answer never looks whole."""
    reply, size = EVERY[framing], 0

    async def server(connection: OriginConnection) -> None:
        await connection.read_request()
        connection.send(reply[:size])
        await connection.drain()
        connection.reset() if how == "reset" else await connection.close()

    recorder = READING[reading]()
    async with Origin(server) as origin, running(recorder) as proxy:
        for size in range(len(reply)):
            async with client_of(proxy) as client:
                client.send(get(f"{origin.url}/"))
                got = await outcome(client)
                assert got in (502, BROKEN), f"{got} for {reply[:size]!r}"
                if reading == "buffering":
                    assert got == 502
        await recorder.settled()
    assert recorder.count("error") == recorder.count("requestheaders") == len(reply)


@reading
async def test_closing_behind_an_interim_response(reading: str) -> None:
    async with Origin(script("request", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", "close")) as origin:
        async with running(READING[reading]()) as proxy, client_of(proxy) as client:
            assert (await client.request(get(origin.url + "/"))).status == 103
            assert (await client.read_response()).status == 502


@reading
async def test_a_body_to_the_end_of_the_connection(reading: str) -> None:
    async with Origin(script("request", OK + b"\r\nhello", "close")) as origin, running(READING[reading]()) as proxy:
        async with client_of(proxy) as client:
            response = await client.request(get(origin.url + "/"))
            assert (response.status, response.body) == (200, b"hello")
            assert await client.is_open(), "the client's side has a framing of its own"


@reading
async def test_a_body_that_a_reset_ends_is_not_whole(reading: str) -> None:
    await check(Origin(script("request", OK + b"\r\nhello", "reset")), reading, BROKEN, 502)


@reading
async def test_a_body_that_tls_does_not_end_is_not_whole(reading: str) -> None:
    """Without close_notify, whoever sits between may have cut it (RFC 9112 section 9.8)."""
    recorder = READING[reading]()
    options = {"intercept": "all"}
    async with Origin(script("request", OK + b"\r\nhello", "reset"), tls="good") as origin:
        async with running(recorder, **options) as proxy, client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await outcome(client) == (BROKEN if reading == "streaming" else 502)


BAD_HEADS = {
    "garbage": b"garbage\r\n\r\n",
    "binary": b"\0\1\2\3\4\5\6\7",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x0a",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTML": b"<html><body>hello</body></html>\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2 answer": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "an HTTP/2 preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "ICY": b"ICY 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "status abc": b"HTTP/1.1 abc X\r\nContent-Length: 0\r\n\r\n",
    "status 2000": b"HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare CR": OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "NUL": OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "obs-fold": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "space before the name": OK + b" Content-Length: 0\r\n\r\n",
    "no colon": OK + b"Content-Length 0\r\n\r\n",
    "no name": OK + b": 0\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "the same length twice": OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": OK + b"Content-Length: 3, 4\r\n\r\nabcd",
    "length -1": OK + b"Content-Length: -1\r\n\r\n",
    "length +3": OK + b"Content-Length: +3\r\n\r\nabc",
    "length 0x3": OK + b"Content-Length: 0x3\r\n\r\nabc",
    "length empty": OK + b"Content-Length:\r\n\r\n",
    "length 1_0": OK + b"Content-Length: 1_0\r\n\r\n",
    "length of 30 digits": OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a long head": OK + b"X: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "an endless head": OK + b"X: y\r\n" * 20_000,
    "an endless line": b"HTTP/1.1 200 " + b"a" * 100_000,
    "many fields": OK + b"X: y\r\n" * 201 + b"Content-Length: 0\r\n\r\n",
}


@reading
@pytest.mark.parametrize("name", BAD_HEADS)
async def test_bad_heads(name: str, reading: str) -> None:
    await check(Origin(script("request", BAD_HEADS[name], "stall")), reading, 502, 502)


BAD_BODIES = {
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "size x": b"x\r\nabc\r\n0\r\n\r\n",
    "size -1": b"-1\r\nabc\r\n0\r\n\r\n",
    "size 0x3": b"0x3\r\nabc\r\n0\r\n\r\n",
    "size with a space": b"3 \r\nabc\r\n0\r\n\r\n",
    "a huge size": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "bare LF": b"3\nabc\n0\n\n",
    "too long a chunk": b"3\r\nabcd\r\n0\r\n\r\n",
    "a long extension": b"3;" + b"x" * 300 + b"\r\nabc\r\n0\r\n\r\n",
    "NUL in an extension": b"3;a\0b\r\nabc\r\n0\r\n\r\n",
    "a bad trailer": b"3\r\nabc\r\n0\r\nbad line\r\n\r\n",
    "a trailer that frames": b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
    "endless trailers": b"3\r\nabc\r\n0\r\n" + b"X: y\r\n" * 2000,
}


@reading
@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_bodies(name: str, reading: str) -> None:
    # All of it arrives at once, so nothing of the answer needs to have been sent when the error is seen.
    origin = Origin(script("request", CHUNKED + BAD_BODIES[name], "stall"))
    async with origin, running(READING[reading]()) as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        assert await outcome(client) in ((BROKEN, 502) if reading == "streaming" else (502,))


@reading
@pytest.mark.parametrize(
    "kind", ["expired", "not-yet", "wrong-host", "self-signed", "unknown-ca", "old", "client-cert"]
)
async def test_bad_certificates(kind: pki.Kind, reading: str) -> None:
    recorder = READING[reading]()
    async with Origin(tls=kind) as origin, running(recorder, intercept="all") as proxy, client_of(proxy) as client:
        await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        response = await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert response.status == 502
        assert f"localhost:{origin.port}".encode() in response.body
        assert origin.requests == []
    (flow,) = recorder.args("error")
    assert isinstance(flow, HTTPFlow)
    assert flow.error is not None
    # TLS 1.3 refuses a client without a certificate behind its handshake.
    assert flow.error.kind in (("tls", "disconnected") if kind == "client-cert" else ("tls",))


async def test_a_server_that_wants_a_client_certificate() -> None:
    # With blocking sockets, since asyncio's server leaves without the alert that says so.
    def refuse(listening: socket.socket) -> None:
        client, _ = listening.accept()
        context = pki.server_context("client-cert")
        with context.wrap_socket(client, server_side=True, do_handshake_on_connect=False) as tls:
            with pytest.raises(ssl.SSLError):
                tls.do_handshake()
            # Closing on the unread request would be a reset, which destroys the alert.
            with socket.fromfd(tls.fileno(), socket.AF_INET, socket.SOCK_STREAM) as raw:
                raw.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        authority = f"127.0.0.1:{listening.getsockname()[1]}"
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listening))
        async with running() as proxy, client_of(proxy) as client:
            response = await client.request(get(f"https://{authority}/"))
            assert response.status == 502
            assert b"the server wants a client certificate" in response.body
        await refusing


async def test_interim_responses_without_end_do_not_fill_memory() -> None:
    async def flood(connection: OriginConnection) -> None:
        await connection.read_request()
        while not connection.closed:
            connection.send((b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 8000 + b"\r\n\r\n") * 8)
            await connection.drain()
            nonlocal sent
            sent += 1

    sent = 0
    async with Origin(flood) as origin, running() as proxy, client_of(proxy) as client:
        client.send(get(origin.url + "/"))
        await client.read_until(b"103")
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        assert max(stream._transport.get_write_buffer_size() for stream in proxy._streams) < 2**20  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["expired", "wrong-host", "self-signed", "unknown-ca"])
async def test_bad_certificates_are_taken_if_asked(kind: pki.Kind) -> None:
    async with Origin(tls=kind) as origin, running(intercept="all", verify_upstream=False) as proxy:
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            assert (await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200


@pytest.mark.parametrize(
    "steps", [["close"], ["reset"], [b"garbage, not TLS", "stall"], [b"\x15\x03\x03\x00\x02\x02\x28"]]
)
async def test_servers_without_tls(steps: Sequence[bytes | str]) -> None:
    async with Origin(script(*steps), raw=True) as origin, running(intercept="all") as proxy:
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            response = await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert response.status == 502


# What no response may smuggle into the next one.
EXTRA = {
    "a body with HEAD": ("HEAD", OK + b"Content-Length: 5\r\n\r\nEXTRA", 200, b""),
    "chunks with HEAD": ("HEAD", CHUNKED + b"5\r\nEXTRA\r\n0\r\n\r\n", 200, b""),
    "a body with 204": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nEXTRA", 204, b""),
    "a body with 304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nEXTRA", 304, b""),
    "more than the length": ("GET", OK + b"Content-Length: 3\r\n\r\nabcEXTRA", 200, b"abc"),
    "more than the chunks": ("GET", CHUNKED + b"3\r\nabc\r\n0\r\n\r\nEXTRA", 200, b"abc"),
    "two responses": ("GET", answer(200, b"abc") + answer(200, b"EXTRA"), 200, b"abc"),
}


@reading
@pytest.mark.parametrize("name", EXTRA)
async def test_extra_bytes_never_reach_anybody(name: str, reading: str) -> None:
    method, data, status, body = EXTRA[name]

    async with Origin(script("request", data, "request", answer(200, b"POISON"), "stall")) as origin:
        async with running(READING[reading]()) as proxy, client_of(proxy) as client:
            response = await client.request(get(origin.url + "/1", method=method), method)
            assert (response.status, response.body) == (status, body)
            client.send(get(origin.url + "/2"))
            await origin.wait_connections(2)
            assert [request.target for request in origin.requests_of(origin.connections[0])] == ["/1"]
            assert await outcome(client) == status


async def test_extra_bytes_that_come_late() -> None:
    """What a server says unasked on a pooled connection is no answer to the next request."""
    origin = Origin(script("request", answer(200, b"one"), "request", answer(200, b"three")))
    async with origin, running() as proxy, client_of(proxy) as client:
        assert (await client.request(get(origin.url + "/1"))).body == b"one"
        origin.connections[0].send(answer(200, b"POISON"))
        await origin.connections[0].drain()
        while not proxy.services.upstreams.idle:
            await client.drain()
        assert await client.is_open()
        assert (await client.request(get(origin.url + "/2"))).body == b"one"
        assert len(origin.connections) == 2
