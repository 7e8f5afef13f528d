"""HTTP/2 servers that reset, go away, break off, say nonsense or nothing: what clients get, and who else notices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from rulesproxy import HTTPFlow, load_rules
from tests.support import h2_frames as frames
from tests.support.client import RawClient
from tests.support.h2_origin import H2Origin, H2Request, Handler, Peer
from tests.support.origin import LIMIT, Origin, OriginConnection
from tests.support.recorder import Observer, Recorder
from tests.support.running import READING, get, running, second

RULES = "version: 1\nrules:\n- match: ~all\n  upstream: {http-version: 2}\n"
BROKEN = "broken off"
reading = pytest.mark.parametrize("reading", READING)


@asynccontextmanager
async def served(
    origin: Origin, *addons: object, clients: int = 1, **options: object
) -> AsyncIterator[list[RawClient]]:
    """Clients of a proxy that speaks HTTP/2 without TLS to `origin`."""
    async with origin, running(*addons, rules=load_rules(text=RULES), **options) as proxy:
        made = [await RawClient.connect(proxy.port) for _ in range(clients)]
        try:
            yield made
        finally:
            for client in made:
                await client.close()


def ask(origin: Origin, path: str = "/x", method: str = "GET", body: bytes = b"", *fields: str) -> bytes:
    return get(f"{origin.url}{path}", *fields, method=method, body=body)


async def outcome(client: RawClient, method: str = "GET") -> int | str:
    """The status of a whole answer, or `BROKEN`."""
    try:
        return (await client.read_response(method)).status
    except AssertionError as exc:
        if "cut short" not in str(exc):
            raise
        return BROKEN


def handled(handler: Handler) -> H2Origin:
    """A server without TLS: `/good` is answered, all else is for `handler`."""

    async def serve(peer: Peer, request: H2Request) -> None:
        if request.path == "/good":
            await peer.answer(request.stream, 200, b"good")
            return
        done = handler(peer, request)
        if done is not None:
            await done

    return H2Origin(serve, tls=None)


async def streams(origin: H2Origin, count: int) -> None:
    """Wait until so many requests have come."""
    async with asyncio.timeout(LIMIT):
        await origin.wait_connections(1)
        await origin.peers[0].until(lambda: len(origin.streams) >= count)


async def reset(peer: Peer, request: H2Request, code: int) -> None:
    peer.h2.reset_stream(request.stream, code)
    peer.flush()


# What a server does with one stream: what it does, what a client gets with the body streaming and with it buffered, and
# what is said.


def before(code: int) -> Handler:
    return lambda peer, request: reset(peer, request, code)


async def inside(peer: Peer, request: H2Request) -> None:
    peer.head(request.stream, 200, [("content-length", "10")])
    await peer.data(request.stream, b"abc")
    await reset(peer, request, 2)


async def inside_of_unknown_length(peer: Peer, request: H2Request) -> None:
    peer.head(request.stream, 200)
    await peer.data(request.stream, b"abc")
    await reset(peer, request, 8)


async def too_short(peer: Peer, request: H2Request) -> None:
    peer.raw(frames.head(request.stream, 200, ("content-length", "10")) + frames.data(request.stream, b"abc", True))


async def too_long(peer: Peer, request: H2Request) -> None:
    peer.raw(frames.head(request.stream, 200, ("content-length", "2")) + frames.data(request.stream, b"abc", True))


def raw(*parts: Callable[[int], bytes]) -> Handler:
    def send(peer: Peer, request: H2Request) -> None:
        peer.raw(b"".join(part(request.stream) for part in parts))

    return send


ONE_STREAM: dict[str, tuple[Handler, int | str, int | str, str]] = {
    "reset before the head": (before(2), 502, 502, "ended the stream without an answer (INTERNAL_ERROR)"),
    "cancelled": (before(8), 502, 502, "(CANCEL)"),
    "reset inside the body": (inside, BROKEN, 502, "broke off its answer (INTERNAL_ERROR)"),
    "reset inside a body of unknown length": (inside_of_unknown_length, BROKEN, 502, "broke off its answer (CANCEL)"),
    "refused inside the body": (
        raw(lambda n: frames.head(n) + frames.data(n, b"abc") + frames.word(frames.RST_STREAM, n, 7)), BROKEN, 502,
        "broke off its answer (REFUSED_STREAM)",
    ),
    "HTTP/1.1 wanted inside the body": (
        raw(lambda n: frames.head(n) + frames.data(n, b"abc") + frames.word(frames.RST_STREAM, n, 13)), BROKEN, 502,
        "broke off its answer (HTTP_1_1_REQUIRED)",
    ),
    "a body that is too short": (too_short, BROKEN, 502, "Content-Length says 10"),
    "a body that is too long": (too_long, BROKEN, 502, "Content-Length says 2"),
    "a field of HTTP/1.1": (
        raw(lambda n: frames.head(n, 200, ("transfer-encoding", "chunked"), end=True)), 502, 502, "does not exist in HTTP/2",
    ),
    "a line break in a field": (
        raw(lambda n: frames.head(n, 200, ("x", "a\r\nx-evil: 1"), end=True)), 502, 502, "control character",
    ),
    "no status": (raw(lambda n: frames.trailers(n, ("x", "1"))), 502, 502, "no :status"),
    "bad trailers": (
        raw(lambda n: frames.head(n) + frames.data(n, b"abc") + frames.trailers(n, ("host", "x"))), BROKEN, 502,
        "in the trailers",
    ),
    "a body before the head": (raw(lambda n: frames.data(n, b"abc")), 502, 502, "before its head"),
}  # fmt: skip


@reading
@pytest.mark.parametrize("name", ONE_STREAM)
async def test_one_bad_stream_harms_no_other(name: str, reading: str, caplog: pytest.LogCaptureFixture) -> None:
    handler, streamed, buffered, said = ONE_STREAM[name]
    origin, recorder = handled(handler), READING[reading]()
    waiting = asyncio.Event()

    async def serve(peer: Peer, request: H2Request) -> None:
        if request.path == "/slow":
            waiting.set()
            await peer.until(lambda: len(peer.requests) > 1)
            await asyncio.sleep(0.05)
            await peer.answer(request.stream, 200, b"slow")
            return
        done = handler(peer, request)
        if done is not None:
            await done

    origin = handled(serve)
    async with served(origin, recorder, clients=2) as (client, other):
        other.send(ask(origin, "/slow"))
        await asyncio.wait_for(waiting.wait(), LIMIT)
        client.send(ask(origin))
        assert await outcome(client) == (streamed if reading == "streaming" else buffered)
        assert (await other.read_response()).body == b"slow"
        assert (await other.request(ask(origin, "/good"))).body == b"good"
        assert len(origin.connections) == 1, "the connection goes on"
    failed = [flow for flow in recorder.args("error") if isinstance(flow, HTTPFlow)]
    assert [said in str(flow.error) for flow in failed] == [True]
    assert any(said in record.message and record.levelno == logging.WARNING for record in caplog.records)


# What may be tried again


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_stream_is_tried_once_more_elsewhere(method: str) -> None:
    count = 0

    async def handler(peer: Peer, request: H2Request) -> None:
        nonlocal count
        count += 1
        body = await request.read()
        if count == 1:
            await reset(peer, request, 7)
        else:
            await peer.answer(request.stream, 200, body)

    origin = handled(handler)
    async with served(origin, Recorder()) as [client]:
        response = await client.request(ask(origin, "/x", method, b"hello" if method == "POST" else b""), method)
        assert (response.status, response.body) == (200, b"hello" if method == "POST" else b"")
        assert len(origin.connections) == 2


async def test_a_stream_that_is_always_refused() -> None:
    origin = handled(before(7))
    async with served(origin) as [client]:
        response = await client.request(ask(origin))
        assert (response.status, b"refused the request (REFUSED_STREAM)" in response.body) == (502, True)
        assert len(origin.streams) == 5


async def test_a_body_that_streamed_is_not_sent_again() -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        await peer.until(lambda: len(request.body) > 0)
        await reset(peer, request, 7)

    origin = handled(handler)
    async with served(origin, Observer()) as [client]:
        client.send(ask(origin, "/x", "POST", b"", "Content-Length: 10") + b"abc")
        assert await outcome(client, "POST") == 502
        assert len(origin.streams) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_a_goaway_leaves_out_is_sent_again(method: str) -> None:
    """The first stream goes on to its end on the old connection; the second, which was not taken, on a new one."""

    async def handler(peer: Peer, request: H2Request) -> None:
        body = await request.read()
        if request.path == "/first":
            await peer.until(lambda: len([one for one in peer.requests if one.complete]) > 1)
            peer.raw(frames.goaway(request.stream, 0))
            await asyncio.sleep(0.05)
            await peer.answer(request.stream, 200, b"first")
        elif len(origin.connections) > 1:
            await peer.answer(request.stream, 200, body or b"second")

    origin = handled(handler)
    async with served(origin, Recorder(), clients=3) as (one, two, three):
        one.send(ask(origin, "/first"))
        await streams(origin, 1)
        two.send(ask(origin, "/second", method, b"hello" if method == "POST" else b""))
        assert (await two.read_response(method)).body == (b"hello" if method == "POST" else b"second")
        assert (await one.read_response()).body == b"first"
        assert (await three.request(ask(origin, "/good"))).body == b"good"
        assert len(origin.connections) == 2
        assert [len(peer.requests) for peer in origin.peers] == [2, 2]


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 502)])
async def test_a_connection_that_dies_under_a_request(method: str, status: int) -> None:
    """As with HTTP/1.1: once more where that changes nothing, and where the connection had served somebody before."""

    async def handler(peer: Peer, request: H2Request) -> None:
        if len(origin.connections) == 1:
            await request.read()
            await peer.connection.close()
        else:
            await peer.answer(request.stream, 200, b"again")

    origin = handled(handler)
    async with served(origin, Recorder()) as [client]:
        assert (await client.request(ask(origin, "/good"))).status == 200
        client.send(ask(origin, "/x", method, b"hello" if method == "POST" else b""))
        assert await outcome(client, method) == status


async def test_a_server_that_only_says_goodbye() -> None:
    async def serve(connection: OriginConnection) -> None:
        connection.send(frames.SERVER + frames.goaway(0, 0))
        await connection.wait_end()

    origin = Origin(serve, raw=True)
    async with served(origin, clients=4) as clients:
        for client in clients:
            client.send(ask(origin))
        assert await asyncio.gather(*[outcome(client) for client in clients]) == [502] * 4
        assert len(origin.connections) < 20


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_all_streams_of_a_connection_that_dies_fail_with_its_cause(how: str) -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        await peer.until(lambda: len(peer.requests) == 3)
        peer.connection.reset() if how == "reset" else await peer.connection.close()

    origin, recorder = handled(handler), Recorder()
    async with served(origin, recorder, clients=3) as clients:
        for number, client in enumerate(clients):
            client.send(ask(origin))
            await streams(origin, number + 1)
        assert await asyncio.gather(*[outcome(client) for client in clients]) == [502] * 3
        await recorder.wait("serverdisconnect")
    errors = {str(flow.error) for flow in recorder.args("error") if isinstance(flow, HTTPFlow)}
    [error] = errors
    assert "closed the connection without an answer" in error
    assert ("reset" in error) == (how == "reset")
    assert recorder.count("serverdisconnect") == recorder.count("serverconnected") == 1


# Waiting


@reading
async def test_a_head_that_does_not_come(reading: str) -> None:
    origin = handled(lambda peer, request: None)
    async with served(origin, READING[reading](), clients=2, limits_response_head=0.5) as (client, other):
        client.send(ask(origin))
        assert (await other.request(ask(origin, "/good"))).body == b"good"
        response = await client.read_response()
        assert (response.status, b"did not answer within 0.5 s" in response.body) == (504, True)
        [peer] = origin.peers[:1]
        await peer.until(lambda: peer.requests[0].reset == 8)


async def test_a_body_that_stalls() -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        peer.head(request.stream, 200)
        await peer.data(request.stream, b"abc")

    origin = handled(handler)
    async with served(origin, Recorder(), limits_body_stall=0.5) as [client]:
        client.send(ask(origin))
        assert await outcome(client) == 504
        [peer] = origin.peers
        await peer.until(lambda: peer.requests[0].reset == 8)


async def test_the_next_request_after_a_silence_takes_another_connection() -> None:
    first = True

    async def serve(connection: OriginConnection) -> None:
        nonlocal first
        if first:
            first = False
            connection.send(frames.SERVER)
            await connection.wait_end()
            return
        await Peer(connection).run(lambda peer, request: peer.answer(request.stream, 200, b"new"))

    origin = Origin(serve, raw=True)
    async with served(origin, clients=2, limits_response_head=0.5, limits_body_stall=0.5) as (one, two):
        one.send(ask(origin))
        assert await outcome(one) == 504
        assert (await two.request(ask(origin))).body == b"new"


# Clients that leave, servers that answer early


async def test_a_client_that_leaves_ends_its_stream_alone() -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        if request.path == "/slow":
            await peer.until(lambda: peer.requests[0].reset is not None)
            await peer.answer(request.stream, 200, b"slow")

    origin = handled(handler)
    async with served(origin, Observer(), clients=2) as (leaving, other):
        leaving.send(ask(origin))
        await streams(origin, 1)
        other.send(ask(origin, "/slow"))
        leaving.reset()
        assert (await other.read_response()).body == b"slow"
        assert origin.peers[0].requests[0].reset == 8
        assert len(origin.connections) == 1


async def test_a_client_that_leaves_inside_a_body_ends_its_stream() -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        peer.head(request.stream, 200)
        await peer.data(request.stream, bytes(50_000_000))

    origin = handled(handler)
    async with served(origin, Observer(), clients=2) as (leaving, other):
        leaving.send(ask(origin))
        await leaving.read_until(b"\r\n\r\n")
        leaving.reset()
        peer = origin.peers[0]
        async with asyncio.timeout(LIMIT):
            await peer.until(lambda: peer.requests[0].reset == 8)
        assert (await other.request(ask(origin, "/good"))).body == b"good"
        assert len(origin.connections) == 1


async def test_a_client_that_leaves_inside_its_upload_ends_its_stream() -> None:
    origin, recorder = handled(lambda peer, request: None), Observer()
    async with served(origin, recorder, clients=2) as (leaving, other):
        leaving.send(ask(origin, "/x", "POST", b"", "Content-Length: 100000") + bytes(1000))
        await streams(origin, 1)
        peer = origin.peers[0]
        await peer.until(lambda: len(peer.requests[0].body) == 1000)
        leaving.reset()
        async with asyncio.timeout(LIMIT):
            await peer.until(lambda: peer.requests[0].reset == 8)
        assert not peer.requests[0].complete, "half a request never looks whole"
        assert (await other.request(ask(origin, "/good"))).body == b"good"
        assert len(origin.connections) == 1


@pytest.mark.parametrize("politely", [True, False])
async def test_an_early_answer_ends_the_upload(politely: bool) -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        await peer.until(lambda: len(request.body) > 0)
        await peer.answer(request.stream, 413, b"too much")
        if politely:
            await reset(peer, request, 0)

    origin = handled(handler)
    async with served(origin, Observer(), clients=2) as (client, other):
        client.send(ask(origin, "/x", "POST", b"", "Content-Length: 10000000") + bytes(100_000))
        response = await client.read_response("POST")
        assert (response.status, response.body, response.get("connection")) == (413, b"too much", "close")
        if not politely:
            peer = origin.peers[0]
            await peer.until(lambda: peer.requests[0].reset == 8)
        assert (await other.request(ask(origin, "/good"))).body == b"good"
        assert len(origin.connections) == 1


# Flow control


async def test_a_server_that_takes_nothing_holds_its_client_back() -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        if request.path == "/up":
            await go.wait()
            peer.credits = True
            peer.h2.increment_flow_control_window(1_000_000_000)
            peer.h2.increment_flow_control_window(1_000_000_000, request.stream)
            peer.flush()
            await peer.answer(request.stream, 200, str(len(await request.read())).encode())

    go = asyncio.Event()
    origin = handled(handler)

    def stingy(peer: Peer, request: H2Request) -> Awaitable[None]:
        peer.credits = False
        return handler(peer, request)

    origin = handled(stingy)
    size = 20_000_000
    async with served(origin, Observer(), clients=2) as (client, other):
        client.send(ask(origin, "/up", "POST", b"", f"Content-Length: {size}") + bytes(size))
        await streams(origin, 1)
        async with asyncio.timeout(LIMIT):
            await origin.peers[0].until(lambda: len(origin.streams[0].body) >= 65535)
        # An answer needs no window, so this is a round trip through the proxy; more of the body has not come meanwhile.
        assert (await other.request(ask(origin, "/good"))).body == b"good"
        assert len(origin.streams[0].body) <= 3 * 65535
        go.set()
        assert (await client.read_response("POST")).body == str(size).encode()


async def test_a_slow_client_holds_up_nobody_else() -> None:
    async def handler(peer: Peer, request: H2Request) -> None:
        peer.head(request.stream, 200)
        await peer.data(request.stream, bytes(2_000_000 if request.path == "/fast" else 30_000_000), end=True)

    origin = handled(handler)
    async with served(origin, Observer(), clients=10) as (*slow, fast, last):
        for client in slow:
            client.send(ask(origin))
        await streams(origin, len(slow))
        peer = origin.peers[0]
        async with asyncio.timeout(LIMIT):
            # Each slow client stops its own stream, once its connection is full of what it does not read.
            await peer.until(lambda: all(not peer.h2.local_flow_control_window(one.stream) for one in peer.requests))
        assert len((await fast.request(ask(origin, "/fast"))).body) == 2_000_000
        assert (await last.request(ask(origin, "/good"))).body == b"good"
        assert len(origin.connections) == 1
        assert all(not peer.h2.local_flow_control_window(one.stream) for one in peer.requests[: len(slow)])


# Servers that break HTTP/2


FLOODS: dict[str, tuple[bytes, str]] = {
    "PING": (frames.frame(frames.PING, 0, 0, bytes(8)) * 2000, "control frames"),
    "SETTINGS": (frames.SERVER * 2000, "control frames"),
    "interim responses": (frames.head(1, 103) * 2000, "interim responses|control frames"),
    "empty data": (frames.head(1) + frames.data(1) * 200, "empty DATA"),
    "empty continuations": (
        frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.CONTINUATION, 0, 1) * 2000, "control frames",
    ),
    "an endless head": (
        frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.CONTINUATION, 0, 1, bytes(16000)) * 10, "longer than",
    ),
    "a compression bomb": (
        frames.frame(frames.HEADERS, 4, 1, b"\x88\x40\x01x\x7f\xb9\x16" + b"a" * 3000 + b"\xbe" * 10000), "longer than",
    ),
    "a frame that is too long": (frames.frame(frames.DATA, 0, 1, bytes(20000)), "longer than 16384"),
    "more than the window": (frames.head(1) + frames.data(1, bytes(16384)) * 100, "window"),
    "a push": (frames.frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82"), "PUSH_PROMISE"),
    "garbage": (b"\xff" * 1000, "longer than 16384"),
    "nonsense in the compression": (frames.frame(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff\x0f"), "decompressed"),
}  # fmt: skip


@reading
@pytest.mark.parametrize("name", FLOODS)
async def test_a_server_that_breaks_http_2(name: str, reading: str) -> None:
    sent, said = FLOODS[name]
    hostile = True

    async def serve(connection: OriginConnection) -> None:
        nonlocal hostile
        if hostile:
            hostile = False
            connection.send(frames.SERVER)
            while b"\x01\x05\0\0\0\x01" not in connection.received:
                await connection.read()
            connection.send(sent)
            await connection.wait_end()
            return
        await Peer(connection).run(lambda peer, request: peer.answer(request.stream, 200, b"new"))

    origin, recorder = Origin(serve, raw=True), READING[reading]()
    async with served(origin, recorder) as [client]:
        client.send(ask(origin))
        assert await outcome(client) in (103, 502, BROKEN)
        await recorder.wait("error")
        flow = recorder.args("error")[0]
        assert isinstance(flow, HTTPFlow)
        assert any(word in str(flow.error) for word in said.split("|"))
        if "interim" not in name:
            await origin.wait_ended()
            assert b"\x07\0\0\0\0\0\0\0\0\0\0\0\0" in origin.connections[0].received, "a GOAWAY"


async def test_the_end_of_the_proxy_ends_its_streams() -> None:
    origin = handled(lambda peer, request: None)
    recorder = Observer()
    async with origin, second(recorder, rules=load_rules(text=RULES), shutdown_grace=0.1) as proxy:
        client = await RawClient.connect(proxy.port)
        client.send(ask(origin))
        await streams(origin, 1)
    await client.close()
    assert recorder.count("serverdisconnect") == 1
    assert recorder.count("error") == 1
