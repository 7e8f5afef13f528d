"""WebSockets through a proxy on real sockets: whole traces, what addons can do, how conversations end, real peers."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from aiohttp import web

from rulesproxy import HTTPFlow, HTTPResponse, Proxy, WebSocketFlow
from rulesproxy.addons.access_log import AccessLog
from rulesproxy.layers.tcp import TCPLayer
from rulesproxy.layers.websocket import WebSocketLayer
from rulesproxy.limits import DEFAULT
from rulesproxy.proto.websocket import Close, Deflate
from rulesproxy.rules.ruleset import load_rules
from tests.support import pki
from tests.support.client import RawClient
from tests.support.origin import LIMIT, Origin, answer
from tests.support.recorder import Do, Observer, Recorder
from tests.support.running import client_of, get, running
from tests.support.traces import trace_of
from tests.support.websocket import HANDSHAKE, Peer, echo, open_websocket, serving, websocket

START = "clientconnect next_layer requestheaders"
DIAL = "serverconnect serverconnected"
OPEN = f"{START} websocket_handshake request {DIAL} responseheaders response next_layer websocket_start"

READING = {"unread": Observer, "read": Recorder}


def flow_of(recorder: Recorder) -> WebSocketFlow:
    (flow,) = recorder.args("websocket_end")
    assert isinstance(flow, WebSocketFlow)
    return flow


async def echoed(client: RawClient, proxy: Proxy, origin: Origin) -> None:
    peer = await open_websocket(client, origin.url)
    peer.send("hello")
    assert await peer.receive() == "hello"
    peer.send(b"\x00\xff")
    assert await peer.receive() == b"\x00\xff"
    assert await peer.close(4001, "bye") == Close(4001, "bye")


# Golden traces


@pytest.mark.parametrize("mode", READING)
async def test_websocket(mode: str) -> None:
    observes = mode == "unread"
    trace, recorder = await trace_of(echoed, Origin(serving()), observes=observes)
    messages = "" if observes else "websocket_message " * 4
    assert trace == f"{OPEN} {messages}websocket_end clientdisconnect"
    flow = flow_of(recorder)
    (handshake,) = recorder.args("websocket_handshake")
    assert flow.handshake_flow is handshake
    assert flow.handshake_flow.websocket is flow
    assert (flow.close_code, flow.close_reason, flow.closed_by_client, flow.error) == (4001, "bye", True, None)
    assert flow.message_count == 4
    assert [(m.from_client, m.type, m.content) for m in flow.messages] == (
        []
        if observes
        else [
            (True, "TEXT", "hello"),
            (False, "TEXT", "hello"),
            (True, "BINARY", b"\x00\xff"),
            (False, "BINARY", b"\x00\xff"),
        ]
    )


@pytest.mark.parametrize("mode", READING)
async def test_inside_tls(mode: str) -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
        peer = await open_websocket(client, "/chat", "Host: localhost")
        peer.send("x" * 200_000)
        assert await peer.receive() == "x" * 200_000
        assert await peer.close() == Close(1000, "")

    trace, recorder = await trace_of(
        scenario, Origin(serving(), tls="good"), observes=mode == "unread", intercept="all"
    )
    tunnel = "clientconnect next_layer http_connect next_layer clienthello next_layer requestheaders"
    assert trace.startswith(OPEN.replace(START, tunnel))
    assert trace.endswith("websocket_end clientdisconnect")
    assert flow_of(recorder).close_code == 1000


async def test_refused_by_the_server() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(get(origin.url, *HANDSHAKE))
        assert (response.status, response.body) == (403, b"no")
        response = await client.request(get(f"{origin.url}/plain"))
        assert response.status == 403, "the connection goes on"

    trace, recorder = await trace_of(scenario, Origin.http(answer(403, b"no")))
    first = f"{START} websocket_handshake request {DIAL} responseheaders response"
    assert trace == f"{first} requestheaders request responseheaders response clientdisconnect"
    flow = recorder.args("response")[0]
    assert isinstance(flow, HTTPFlow)
    assert flow.websocket is not None
    assert flow.websocket.close_code is None


async def test_answered_by_an_addon() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        assert (await client.request(get(origin.url, *HANDSHAKE))).status == 418

    def refuse(flow: HTTPFlow) -> None:
        flow.response = HTTPResponse.make(418)

    for event in ("websocket_handshake", "request"):
        trace, _ = await trace_of(scenario, Origin(), Do(**{event: refuse}))
        assert trace == f"{START} websocket_handshake request responseheaders response clientdisconnect"


@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize("by_client", [True, False])
async def test_the_connection_breaks(mode: str, by_client: bool) -> None:
    async def talk(peer: Peer) -> None:
        if by_client:
            assert await peer.receive() is None
        else:
            assert await peer.receive() == "go"
            peer.connection.reset()

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        if by_client:
            client.reset()
            await origin.wait_ended()
            assert origin.connections[0].broken, "a reset is passed on as one"
        else:
            peer.send("go")
            assert await peer.receive() is None
            assert client.broken

    trace, recorder = await trace_of(scenario, Origin(serving(talk)), observes=mode == "unread")
    assert trace.endswith("websocket_error websocket_end clientdisconnect")
    flow = flow_of(recorder)
    assert (flow.close_code, flow.closed_by_client) == (1006, by_client)
    assert flow.error is not None
    assert flow.error.kind == "disconnected"
    assert ("the client" if by_client else "the server") in flow.error.msg


@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize("by_client", [True, False])
async def test_an_end_without_a_close_frame(mode: str, by_client: bool) -> None:
    async def talk(peer: Peer) -> None:
        if by_client:
            assert await peer.receive() is None
        else:
            await peer.connection.close()

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        await open_websocket(client, origin.url)
        if by_client:
            client.half_close()
        assert await client.read_to_end() == b""
        assert not client.broken

    trace, recorder = await trace_of(scenario, Origin(serving(talk)), observes=mode == "unread")
    assert trace == f"{OPEN} websocket_error websocket_end clientdisconnect"
    flow = flow_of(recorder)
    assert (flow.close_code, flow.closed_by_client) == (1006, by_client)
    assert "without a Close frame" in str(flow.error)


BAD = [
    ("read", 0x81, b"\xff", 1007),
    ("read", 0x83, b"", 1002),
    ("unread", 0x83, b"", 1002),
    ("read", 0xC1, b"x", 1002),
    ("unread", 0xC1, b"x", 1002),
    ("read", 0x80, b"x", 1002),
    ("unread", 0x80, b"x", 1002),
    ("read", 0x88, b"\x03", 1002),
    ("unread", 0x88, b"\x03\xed", 1002),
    ("read", 0x88, b"\x03\xe8\xff", 1007),
    ("unread", 0x88, b"\x03\xe8\xff", 1007),
]


@pytest.mark.parametrize("by_client", [True, False])
@pytest.mark.parametrize(("mode", "first", "payload", "code"), BAD)
async def test_a_protocol_error(mode: str, first: int, payload: bytes, code: int, by_client: bool) -> None:
    heard: list[object] = []

    async def talk(peer: Peer) -> None:
        if not by_client:
            peer.send("fine")
            peer.frame(first, payload)
        while (said := await peer.receive()) is not None:
            heard.append(said)

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        if by_client:
            peer.send("fine")
            peer.frame(first, payload)
        else:
            assert await peer.receive() == "fine"
        close = await peer.receive()
        assert isinstance(close, Close)
        assert await peer.receive() is None
        assert not client.broken
        await origin.wait_ended()
        assert close.code == (code if by_client else 1011)
        if by_client:
            assert heard == ["fine", Close(1001, "the client broke the protocol")]
        else:
            (told,) = heard
            assert isinstance(told, Close)
            assert told.code == code

    trace, recorder = await trace_of(scenario, Origin(serving(talk)), observes=mode == "unread")
    assert trace.endswith("websocket_error websocket_end clientdisconnect")
    flow = flow_of(recorder)
    assert (flow.close_code, flow.closed_by_client) == (code, by_client)
    assert flow.error is not None
    assert flow.error.kind == "protocol"


# Close frames


@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1005, ""), (1001, "away"), (3000, "é" * 61), (4999, "x")])
@pytest.mark.parametrize("by_client", [True, False])
async def test_close_frames_are_passed_on(mode: str, code: int, reason: str, by_client: bool) -> None:
    heard: list[object] = []

    async def talk(peer: Peer) -> None:
        if not by_client:
            peer.say_close(code, reason)
        heard.append(await peer.receive())
        if by_client:
            peer.say_close(1000, "answered")
        await peer.connection.close()

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        if by_client:
            assert await peer.close(code, reason) == Close(1000, "answered")
        else:
            assert await peer.receive() == Close(code, reason)
            peer.say_close(1000, "answered")
            assert await peer.receive() is None
        assert not client.broken

    trace, recorder = await trace_of(scenario, Origin(serving(talk)), observes=mode == "unread")
    assert trace == f"{OPEN} websocket_end clientdisconnect"
    assert heard == [Close(code, reason) if by_client else Close(1000, "answered")]
    flow = flow_of(recorder)
    assert (flow.close_code, flow.close_reason, flow.closed_by_client) == (code, reason, by_client)


@pytest.mark.parametrize("mode", READING)
async def test_messages_may_still_come_behind_the_other_sides_close(mode: str) -> None:
    async def talk(peer: Peer) -> None:
        assert await peer.receive() == Close(1000, "")
        peer.send("last words")
        peer.say_close()

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        peer.say_close()
        peer.send("too late")
        assert await peer.receive() == "last words"
        assert await peer.receive() == Close(1000, "")
        assert await peer.receive() is None

    trace, _ = await trace_of(scenario, Origin(serving(talk)), observes=mode == "unread")
    assert "websocket_error" not in trace


@pytest.mark.parametrize("mode", READING)
async def test_control_frames_are_passed_on_in_order(mode: str) -> None:
    pings = [bytes([number]) * number for number in range(5)]

    async def talk(peer: Peer) -> None:
        await peer.connection.read_exactly(1)
        peer.connection.handled -= 1
        for ping in pings:
            peer.frame(0x89, ping)
        await echo(peer)

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        peer.frame(0x01, b"frag")
        peer.frame(0x8A, b"early")
        sent = b"".join(b"\x89" + bytes([len(ping)]) + ping for ping in pings)
        assert await client.read_exactly(len(sent)) == sent
        peer.frame(0x80, b"ments")
        assert await peer.receive() == "fragments"
        await peer.close()
        received = bytes(origin.connections[0].received).partition(b"\r\n\r\n")[2]
        assert b"\x8a\x85\x01\x02\x03\x04" in received, "masked as it came"

    await trace_of(scenario, Origin(serving(talk)), observes=mode == "unread")


# What addons can do


async def test_messages_are_changed_dropped_and_put_in() -> None:
    def message(flow: WebSocketFlow) -> None:
        last = flow.messages[-1]
        if last.content == '{"v":10}':
            last.content = '{"v":99}'
        elif last.content == "ad":
            last.kill()
        elif last.content == "ping":
            last.kill()
            flow.inject(True, "pong")
        elif last.content == "twice":
            flow.inject(not last.from_client, "twice")
        elif last.content == "bytes":
            last.content = b"\x00bytes"

    def start(flow: WebSocketFlow) -> None:
        flow.inject(True, '{"hello":1}')
        flow.inject(False, b"from the proxy")

    heard: list[object] = []

    async def talk(peer: Peer) -> None:
        while (said := await peer.receive()) is not None:
            heard.append(said)
            if isinstance(said, Close):
                peer.say_close(said.code)
                return
            if said == "go":
                for content in ('{"v":10}', "ad", "twice", b"\x01binary"):
                    peer.send(content)

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        assert await peer.receive() == '{"hello":1}'
        for content in ("ping", "go", "bytes"):
            peer.send(content)
        assert await peer.receive() == "pong"
        assert [await peer.receive() for _ in range(4)] == ['{"v":99}', "twice", "twice", b"\x01binary"]
        await peer.close()
        assert heard == [b"from the proxy", "go", b"\x00bytes", Close(1000, "")]

    _, recorder = await trace_of(scenario, Origin(serving(talk)), Do(websocket_message=message, websocket_start=start))
    flow = flow_of(recorder)
    assert flow.message_count == 7, "what was injected is no message of theirs"
    assert flow.waiting == 0


@pytest.mark.parametrize("mode", READING)
async def test_injection_at_any_time(mode: str) -> None:
    recorder = READING[mode]()
    async with Origin(serving()) as origin, running(recorder) as proxy:
        async with websocket(proxy.port, origin.url) as peer:
            await recorder.wait("websocket_start")
            (flow,) = recorder.args("websocket_start")
            assert isinstance(flow, WebSocketFlow)
            flow.inject(True, "to the client")
            flow.inject(False, "to the server and back")
            assert {await peer.receive(), await peer.receive()} == {"to the client", "to the server and back"}
            peer.frame(0x01, b"a fragment ")
            peer.frame(0x89, b"")
            assert await peer.receive() == 10, "so the fragment has passed, too, or waits for the others"
            flow.inject(False, "behind it")
            peer.frame(0x80, b"and its end")
            said = [await peer.receive(), await peer.receive()]
            # Where fragments wait in the proxy, it can go first; never inside a message.
            expected = ["a fragment and its end", "behind it"]
            assert said == (expected if mode == "unread" else expected[::-1])
            await peer.close()
        await recorder.wait("websocket_end")
        assert flow.waiting == 0
        flow.inject(True, "too late")
        assert not flow.injected


@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize("where", ["start", "message", "task"])
async def test_an_addon_closes(mode: str, where: str) -> None:
    if mode == "unread" and where == "message":
        return
    heard: list[object] = []

    async def talk(peer: Peer) -> None:
        while (said := await peer.receive()) is not None:
            heard.append(said)

    def close(flow: WebSocketFlow) -> None:
        flow.close(4001, "enough")

    recorder = READING[mode]()
    handler = {"start": {"websocket_start": close}, "message": {"websocket_message": close}, "task": {}}[where]
    async with Origin(serving(talk)) as origin, running(Do(**handler), recorder) as proxy:
        async with websocket(proxy.port, origin.url) as peer:
            await recorder.wait("websocket_start")
            if where == "message":
                peer.send("goes through")
                peer.send("does not")
            elif where == "task":
                close(recorder.args("websocket_start")[0])  # type: ignore[arg-type]
            assert await peer.receive() == Close(4001, "enough")
            assert await peer.receive() is None
        await origin.wait_ended()
        await recorder.wait("websocket_end")
    flow = flow_of(recorder)
    assert heard == [*(["goes through"] if where == "message" else []), Close(4001, "enough")]
    assert (flow.close_code, flow.close_reason, flow.closed_by_client, flow.error) == (4001, "enough", None, None)


async def test_an_addon_kills() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        peer.send("x")
        assert await client.read_to_end() == b""
        assert client.broken
        await origin.wait_ended()
        assert origin.connections[0].broken

    trace, recorder = await trace_of(scenario, Origin(serving()), Do(websocket_message=lambda flow: flow.kill()))
    assert trace == f"{OPEN} websocket_message websocket_error websocket_end clientdisconnect"
    flow = flow_of(recorder)
    assert (flow.close_code, flow.closed_by_client, flow.killed) == (1006, None, True)
    assert flow.error is not None
    assert flow.error.kind == "killed"


async def test_a_handler_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    def message(flow: WebSocketFlow) -> None:
        content = flow.messages[-1].content
        if content == "raise":
            raise RuntimeError("a bug")
        if content == "wrong":
            flow.messages[-1].content = 5  # type: ignore[assignment]
        if content == "surrogate":
            flow.inject(True, "\ud800")

    closed = Do(
        websocket_message=lambda flow: 1 / 0 if flow.messages[-1].content == "closed" else None, on_error="closed"
    )
    async with (
        Origin(serving()) as origin,
        running(Do(websocket_message=message), closed, errors=True) as proxy,
        websocket(proxy.port, origin.url) as peer,
    ):
        for content in ("raise", "wrong", "surrogate", "closed", "last"):
            peer.send(content)
        assert [await peer.receive() for _ in range(4)] == ["raise", "wrong", "surrogate", "last"]
        await peer.close()
    assert "RuntimeError: a bug" in caplog.text
    assert "is str or bytes, not int" in caplog.text
    assert "surrogates not allowed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_slow_handler_finds_its_own_message() -> None:
    held, going, seen = asyncio.Event(), asyncio.Event(), []

    async def message(flow: WebSocketFlow) -> None:
        if flow.messages[-1].content == "slow":
            held.set()
            await going.wait()
        seen.append(flow.messages[-1].content)

    async def talk(peer: Peer) -> None:
        await held.wait()
        peer.send("meanwhile")
        assert await peer.receive() == "slow"
        peer.say_close()
        await peer.receive()

    async with (
        Origin(serving(talk)) as origin,
        running(Do(websocket_message=message)) as proxy,
        websocket(proxy.port, origin.url) as peer,
    ):
        peer.send("slow")
        await held.wait()
        # Long enough for the other message to come; were it shown now, the slow handler would find it.
        asyncio.get_running_loop().call_later(0.1, going.set)
        assert await peer.receive() == "meanwhile"
        assert await peer.receive() == Close(1000, "")
        peer.say_close()
    assert seen == ["slow", "meanwhile"]


async def test_a_delayed_message_holds_up_its_own_direction_only() -> None:
    def message(flow: WebSocketFlow) -> None:
        if flow.messages[-1].content == "late":
            flow.messages[-1].delay = 0.2

    async def talk(peer: Peer) -> None:
        while (said := await peer.receive()) not in (None, "behind"):
            assert said == "late"
        peer.send("both are here")
        await echo(peer)

    async with (
        Origin(serving(talk)) as origin,
        running(Do(websocket_message=message)) as proxy,
        websocket(proxy.port, origin.url) as peer,
    ):
        started = asyncio.get_running_loop().time()
        peer.send("late")
        peer.send("behind")
        assert await peer.receive() == "both are here"
        assert asyncio.get_running_loop().time() - started >= 0.2
        await peer.close()


# The handshake


async def test_the_handshake_may_be_changed() -> None:
    def handshake(flow: HTTPFlow) -> None:
        flow.request.headers["x-added"] = "1"
        flow.request.headers["sec-websocket-protocol"] = "chat"

    async with (
        Origin(serving(None, "Sec-WebSocket-Protocol: chat")) as origin,
        running(Do(websocket_handshake=handshake)) as proxy,
        websocket(proxy.port, origin.url) as peer,
    ):
        assert peer.handshake is not None
        assert peer.handshake.get("sec-websocket-protocol") == "chat"
        await peer.close()
        assert origin.requests[0].get("x-added") == "1"
        assert origin.requests[0].get("sec-websocket-protocol") == "chat"


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize(("offer", "chosen"), [
    ("; client_max_window_bits", ""),
    ("", "; server_no_context_takeover; client_no_context_takeover"),
    ("; client_max_window_bits=12; server_max_window_bits=10", "; client_max_window_bits=9; server_max_window_bits=9"),
])  # fmt: skip
async def test_compression_is_agreed_on_and_survives_edits(mode: str, offer: str, chosen: str) -> None:
    deflate = Deflate("client_no" in chosen, "server_no" in chosen, *((9, 9) if "=9" in chosen else (15, 15)))

    def message(flow: WebSocketFlow) -> None:
        last = flow.messages[-1]
        if last.content == "drop " * 20:
            last.kill()
        elif str(last.content).startswith("edit") and not last.from_client:
            last.content = str(last.content).upper()

    async def talk(peer: Peer) -> None:
        while (said := await peer.receive()) is not None and not isinstance(said, Close):
            assert isinstance(said, str)
            peer.send(said, compressed=True)
        peer.say_close()

    addons = [Do(websocket_message=message)] if mode == "read" else []
    texts = [word * 20 for word in ("same ", "edit ", "same ", "drop ", "drop ", "same ", "edit ", "same ")]
    async with (
        Origin(serving(talk, DEFLATE + chosen, deflate=deflate)) as origin,
        running(*addons) as proxy,
        websocket(proxy.port, origin.url, DEFLATE + offer, deflate=deflate) as peer,
    ):
        for text in texts:
            peer.send(text, compressed=True)
        expected = texts
        if mode == "read":
            expected = [text.upper() if "edit" in text else text for text in texts if "drop" not in text]
        assert [await peer.receive() for _ in expected] == expected
        await peer.close()
        assert origin.requests[0].get("sec-websocket-extensions") == DEFLATE[26:] + offer


@pytest.mark.parametrize("who", ["client", "server"])
async def test_each_side_has_its_own_compression(who: str) -> None:
    def without(flow: HTTPFlow) -> None:
        message = flow.request if who == "client" else flow.response
        assert message is not None
        del message.headers["sec-websocket-extensions"]

    event = "websocket_handshake" if who == "client" else "response"
    server = None if who == "client" else Deflate()

    async def talk(peer: Peer) -> None:
        while (said := await peer.receive()) is not None and not isinstance(said, Close):
            assert isinstance(said, str)
            peer.send(said, compressed=True)
        peer.say_close()

    fields = [] if server is None else [DEFLATE]
    async with (
        Origin(serving(talk, *fields, deflate=server)) as origin,
        running(Do(**{event: without})) as proxy,
        websocket(proxy.port, origin.url, DEFLATE) as peer,
    ):
        assert peer.handshake is not None
        assert peer.handshake.get("sec-websocket-extensions") is None
        for _ in range(3):
            peer.send("the same text " * 9)
            assert await peer.receive() == "the same text " * 9
        await peer.close()


async def test_an_unknown_extension_is_not_offered_where_messages_are_read() -> None:
    offer = "Sec-WebSocket-Extensions: x-webkit-deflate-frame, permessage-deflate; client_max_window_bits"
    for mode in READING:
        async with (
            Origin(serving()) as origin,
            running(READING[mode]()) as proxy,
            websocket(proxy.port, origin.url, offer) as peer,
        ):
            await peer.close()
            kept = "permessage-deflate; client_max_window_bits" if mode == "read" else offer[26:]
            assert origin.requests[0].get("sec-websocket-extensions") == kept


async def test_a_server_that_takes_what_was_not_offered() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(get(origin.url, *HANDSHAKE))
        assert response.status == 502
        assert b"not offered" in response.body

    async def talk(peer: Peer) -> None:
        await peer.receive()

    trace, _ = await trace_of(scenario, Origin(serving(talk, DEFLATE)))
    assert trace == f"{START} websocket_handshake request {DIAL} error clientdisconnect"


async def test_another_version_is_no_websocket_of_ours() -> None:
    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        response = await client.request(get(origin.url, *HANDSHAKE[:2], "Sec-WebSocket-Version: 99", HANDSHAKE[3]))
        assert response.status == 101
        client.send(b"\x00anything\xff")
        assert await client.read_exactly(10) == b"\x00anything\xff"
        client.half_close()
        assert await client.read_to_end() == b""

    async def talk(peer: Peer) -> None:
        await peer.connection.echo()  # type: ignore[union-attr]

    trace, _ = await trace_of(scenario, Origin(serving(talk)))
    assert "next_layer tcp_start tcp_message tcp_message tcp_end clientdisconnect" in trace


async def test_the_layer_can_be_replaced() -> None:
    layers: list[object] = []

    def as_tcp(layer: WebSocketLayer) -> TCPLayer | None:
        if isinstance(layer, WebSocketLayer):
            layers.append(layer)
            return TCPLayer(layer.context, layer.server, events=True)
        return None

    trace, _ = await trace_of(echoed, Origin(serving()), Do(next_layer=as_tcp))
    assert "websocket_start" not in trace
    assert " tcp_start " in trace
    assert len(layers) == 1

    def another(layer: WebSocketLayer) -> WebSocketLayer | None:
        if isinstance(layer, WebSocketLayer):
            return WebSocketLayer(layer.context, layer.server, WebSocketFlow(layer.flow.handshake_flow))
        return None

    trace, _ = await trace_of(echoed, Origin(serving()), Do(next_layer=another))
    assert trace.endswith("websocket_start " + "websocket_message " * 4 + "websocket_end clientdisconnect")


# Bounds


@pytest.mark.parametrize("by_client", [True, False])
async def test_a_message_that_is_too_big(by_client: bool) -> None:
    async def talk(peer: Peer) -> None:
        if not by_client:
            peer.frame(0x01, b"x" * 60_000)
            peer.frame(0x80, b"x" * 40_001)
        while await peer.receive() is not None:
            pass

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        if by_client:
            peer.frame(0x01, b"x" * 60_000)
            peer.frame(0x80, b"x" * 40_001)
        close = await peer.receive()
        assert isinstance(close, Close)
        assert close.code == (1009 if by_client else 1011)
        assert await peer.receive() is None

    trace, recorder = await trace_of(scenario, Origin(serving(talk)), limits_websocket_message=100_000)
    assert trace == f"{OPEN} websocket_error websocket_end clientdisconnect"
    assert flow_of(recorder).close_code == 1009


@pytest.mark.parametrize("mode", READING)
async def test_a_slow_reader_holds_the_writer_back(mode: str) -> None:
    sent, size = 0, 60_000
    blocked = asyncio.Event()

    async def talk(peer: Peer) -> None:
        nonlocal sent
        while sent < 2000:
            peer.send(bytes(size))
            sent += 1
            try:
                async with asyncio.timeout(0.5):
                    await peer.connection.drain()
            except TimeoutError:
                blocked.set()
                await peer.connection.drain()
        peer.say_close()
        await peer.receive()

    async with (
        Origin(serving(talk)) as origin,
        running(READING[mode]()) as proxy,
        websocket(proxy.port, origin.url) as peer,
    ):
        async with asyncio.timeout(LIMIT):
            await blocked.wait()
        assert sent < 1000, "much less than the 120 MB that it has"
        for _ in range(2000):
            assert len(await peer.receive() or b"") == size  # type: ignore[arg-type]
        assert await peer.receive() == Close(1000, "")
        peer.say_close()
        assert await peer.receive() is None


@pytest.mark.parametrize("mode", READING)
async def test_nothing_moves_for_too_long(mode: str) -> None:
    heard: list[object] = []

    async def talk(peer: Peer) -> None:
        while (said := await peer.receive()) is not None:
            heard.append(said)

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        assert await peer.receive() == Close(1001, "no frame came for 0.5 s")
        assert await peer.receive() is None
        await origin.wait_ended()
        assert heard == [Close(1001, "no frame came for 0.5 s")]

    trace, recorder = await trace_of(
        scenario, Origin(serving(talk)), observes=mode == "unread", limits_websocket_idle=0.5
    )
    assert trace == f"{OPEN} websocket_error websocket_end clientdisconnect"
    flow = flow_of(recorder)
    assert flow.error is not None
    assert (flow.error.kind, flow.close_code, flow.closed_by_client) == ("timeout", 1001, None)


@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize("slow", ["client", "server"])
async def test_a_side_that_reads_nothing_for_too_long(mode: str, slow: str) -> None:
    heard: list[object] = []

    async def flood(peer: Peer) -> None:
        while not heard:
            peer.send(bytes(100_000))
            try:
                async with asyncio.timeout(0.05):
                    await peer.connection.drain()
            except (TimeoutError, ConnectionError):
                pass
            if isinstance(peer.connection, RawClient) and peer.connection.ended:
                return

    async def talk(peer: Peer) -> None:
        if slow == "client":
            await flood(peer)
        else:
            # Nobody reads here, so the socket fills.
            await over.wait()

    over = asyncio.Event()
    recorder = READING[mode]()
    async with (
        Origin(serving(talk)) as origin,
        running(recorder, limits_websocket_stall=0.5) as proxy,
        websocket(proxy.port, origin.url) as peer,
    ):
        flooding = asyncio.ensure_future(flood(peer)) if slow == "server" else None
        await recorder.wait("websocket_error", "websocket_end")
        heard.append("the end")
        over.set()
        if flooding is not None:
            await flooding
    flow = flow_of(recorder)
    assert str(flow.error) == f"the {slow} is gone: it takes nothing any more"
    assert (flow.close_code, flow.closed_by_client) == (1006, slow == "client")


@pytest.mark.parametrize("mode", READING)
async def test_a_close_frame_that_is_never_answered(mode: str) -> None:
    async def talk(peer: Peer) -> None:
        await peer.connection.wait_end()  # type: ignore[union-attr]

    async def scenario(client: RawClient, proxy: Proxy, origin: Origin) -> None:
        peer = await open_websocket(client, origin.url)
        peer.say_close(4000)
        assert await peer.receive() is None

    trace, recorder = await trace_of(
        scenario, Origin(serving(talk)), observes=mode == "unread", limits_websocket_close=0.5
    )
    assert trace == f"{OPEN} websocket_end clientdisconnect"
    assert flow_of(recorder).close_code == 4000


def test_injection_is_bounded() -> None:
    flow = WebSocketFlow(HTTPFlow.make("GET", "http://a.test/"))
    flow.inject(True, bytes(DEFAULT.injected))
    with pytest.raises(BufferError):
        flow.inject(True, b"x")


async def test_a_shutdown_says_goodbye() -> None:
    recorder = Recorder()
    async with Origin(serving()) as origin:
        async with running(recorder, shutdown_grace=5) as proxy:
            async with websocket(proxy.port, origin.url) as peer:
                stopping = asyncio.ensure_future(proxy.stop())
                assert await peer.receive() == Close(1001, "the proxy shuts down")
                assert await peer.receive() is None
            await stopping
    assert (flow_of(recorder).close_code, flow_of(recorder).closed_by_client) == (1001, None)


# Rules, logs, reloads


async def test_rules_for_the_handshake() -> None:
    rules = load_rules(
        text="""
version: 1
rules:
  - id: no-ads
    match: ~websocket & host == 'localhost' and path under "/ads"
    block: 451
  - id: marked
    match: protocol == websocket
    rewrite:
      request:
        headers:
          x-marked: "yes"
"""
    )
    recorder = Observer()
    async with Origin(serving(), tls="good") as origin, running(recorder, rules=rules) as proxy:
        async with client_of(proxy) as client:
            await client.tunnel(f"localhost:{origin.port}", proxy.ca_path)
            blocked = await client.request(get("/ads/ws", "Host: localhost", *HANDSHAKE))
            assert blocked.status == 451
            peer = await open_websocket(client, "/free", "Host: localhost")
            peer.send("through")
            assert await peer.receive() == "through"
            await peer.close()
        assert [request.get("x-marked") for request in origin.requests] == ["yes"]
    assert recorder.count("websocket_start") == 1
    assert recorder.count("websocket_handshake") == 1, "not for what is blocked"


async def test_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="rulesproxy.access"):
        await trace_of(echoed, Origin(serving()), AccessLog())
    lines = [record for record in caplog.records if record.name == "rulesproxy.access"]
    assert len(lines) == 2
    assert " -> 101 " in lines[0].getMessage()
    assert " -> websocket 4001 by the client, 4 messages, " in lines[1].getMessage()
    assert lines[1].getMessage().endswith("ms: bye")
    assert lines[1].fields["close_code"] == 4001  # type: ignore[attr-defined]


async def test_a_flow_keeps_its_chain() -> None:
    def counting(seen: list[object]) -> Do:
        return Do(websocket_message=lambda flow: seen.append(flow.messages[-1].content))

    old: list[object] = []
    new: list[object] = []
    first, second = counting(old), counting(new)
    async with (
        Origin(serving()) as origin,
        running(first) as proxy,
        websocket(proxy.port, origin.url) as peer,
    ):
        peer.send("one")
        assert await peer.receive() == "one"
        await proxy.engine.replace(first, second, set())
        peer.send("two")
        assert await peer.receive() == "two"
        async with websocket(proxy.port, origin.url) as other:
            other.send("three")
            assert await other.receive() == "three"
            await other.close()
        await peer.close()
    assert old == ["one", "one", "two", "two"]
    assert new == ["three", "three"]


# Real peers


@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_the_websockets_library_on_both_sides(mode: str, compression: str | None) -> None:
    async def echo_all(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    recorder = READING[mode]()
    context = pki.server_context("good")
    async with (
        websockets.asyncio.server.serve(echo_all, "localhost", 0, ssl=context, compression=compression) as server,
        running(recorder, intercept="all") as proxy,
    ):
        port = server.sockets[0].getsockname()[1]
        async with websockets.asyncio.client.connect(
            f"wss://localhost:{port}/", proxy=proxy.url, ssl=pki.client_context(proxy.ca_path), compression=compression
        ) as client:
            for message in ("text", b"binary", "long " * 50_000, "", b"", "é" * 70):
                await client.send(message)
                assert await client.recv() == message
            await client.send(["in", "frag", "ments"])
            assert await client.recv() == "infragments"
            await (await client.ping(b"payload"))
            await client.close(1000, "done")
        assert (client.close_code, client.close_reason) == (1000, "done")
        await recorder.wait("websocket_end")
    assert recorder.count("websocket_error") == 0


@pytest.mark.parametrize("mode", READING)
async def test_aiohttp_on_both_sides(mode: str) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(compress=True)
        await response.prepare(request)
        async for message in response:
            if message.type is aiohttp.WSMsgType.TEXT:
                await response.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await response.send_bytes(message.data)
        return response

    application = web.Application()
    application.router.add_get("/ws", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    recorder = READING[mode]()
    try:
        port = runner.addresses[0][1]
        async with running(recorder) as proxy, aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{port}/ws", proxy=proxy.url, compress=15) as client:
                for text in ("text", "long " * 50_000, ""):
                    await client.send_str(text)
                    assert await client.receive_str() == text
                await client.send_bytes(b"\x00\xff" * 40_000)
                assert await client.receive_bytes() == b"\x00\xff" * 40_000
                await client.ping(b"x")
                await client.close(code=4000, message=b"done")
            await recorder.wait("websocket_end")
    finally:
        await runner.cleanup()
    assert flow_of(recorder).close_code == 4000
    assert recorder.count("websocket_error") == 0
