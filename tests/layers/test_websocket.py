"""The WebSocket layer over two `MemoryStream`s: what is sent when, slow and vanishing sides, and the terms of a handshake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rulesproxy.engine.bind import chain_of
from rulesproxy.flow.connection import ClientConn
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.websocket import WebSocketFlow, WebSocketMessage
from rulesproxy.layers.layer import Context
from rulesproxy.layers.outcome import FlowFailed
from rulesproxy.layers.stream import MemoryStream, StreamClosed, StreamTimeout
from rulesproxy.layers.websocket import WebSocketLayer
from rulesproxy.layers.websocket_handshake import Terms, client_terms, limit_offer, server_terms
from rulesproxy.limits import DEFAULT
from rulesproxy.proto.http1 import ResponseHead
from rulesproxy.proto.websocket import Close, Deflate, encode_close, encode_frame
from tests.layers.rig import REGULAR, Rig, settle
from tests.support.recorder import Do

MASK = b"\x05\x06\x07\x08"
NAME = "permessage-deflate"


class GatedStream(MemoryStream):
    """A stream whose peer takes nothing until it is told to, then all; or that breaks on the next drain."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None

    async def drain(self) -> None:
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        await super().drain()


class Talk:
    """A conversation between two streams of the test."""

    def __init__(self, *addons: object, terms: Terms | None = None) -> None:
        self.client, self.server = GatedStream(), GatedStream()
        self.flow = WebSocketFlow(HTTPFlow.make("GET", "http://a.test/"))
        self.addons = addons
        self.terms = terms

    async def __aenter__(self) -> Talk:
        self.rig = Rig()
        self.idle = await self.rig.start()
        context = Context(self.rig.services, self.client, ClientConn(), REGULAR)
        self.layer = WebSocketLayer(context, self.server, self.flow, chain_of(self.addons), self.terms)
        self.task = asyncio.ensure_future(self.layer.run())
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self.task, self.idle):
            task.cancel()
        await asyncio.wait([self.task, self.idle])
        await self.rig.engine.shutdown()
        assert not self.rig.services.conversations

    async def from_client(self, data: bytes) -> None:
        self.client.feed(data)
        await settle()

    async def from_server(self, data: bytes) -> None:
        self.server.feed(data)
        await settle()

    async def done(self) -> None:
        """Both sides leave, and the layer is over."""
        self.client.feed_eof()
        self.server.feed_eof()
        await asyncio.wait_for(self.task, 5)


def up(first: int, payload: bytes = b"") -> bytes:
    return encode_frame(first, payload, MASK)


def down(first: int, payload: bytes = b"") -> bytes:
    return encode_frame(first, payload)


def nothing(flow: WebSocketFlow) -> None:
    pass


READING = {"unread": Do(), "read": Do(websocket_message=nothing)}


@pytest.mark.parametrize("mode", READING)
async def test_bytes_go_on_as_they_are(mode: str) -> None:
    sent = up(0x81, b"text") + up(0x01, b"frag") + up(0x80, b"ments") + up(0x89, b"ping") + up(0x82, bytes(300))
    answers = down(0x81, b"text") + down(0x8A, b"ping") + down(0x82, bytes(70_000))
    async with Talk(READING[mode]) as talk:
        for at in range(0, len(sent), 7):
            await talk.from_client(sent[at : at + 7])
        await talk.from_server(answers)
        assert (talk.server.sent, talk.client.sent) == (sent, answers)
        assert talk.flow.message_count == 5
        await talk.done()
        assert talk.flow.close_code == 1006


async def test_an_injected_message_goes_between_two_messages() -> None:
    async with Talk() as talk:
        whole = down(0x82, b"x" * 100)
        await talk.from_server(whole[:50])
        talk.flow.inject(True, "one")
        await settle()
        assert talk.client.sent == whole[:50], "it waits for the end of the message"
        await talk.from_server(whole[50:] + down(0x82, b"next")[:3])
        assert talk.client.sent == whole + down(0x81, b"one") + down(0x82, b"next")[:3]
        talk.flow.inject(True, "two")
        await talk.from_server(down(0x82, b"next")[3:])
        assert bytes(talk.client.sent).endswith(down(0x82, b"next") + down(0x81, b"two"))
        assert talk.flow.waiting == 0
        await talk.done()


@pytest.mark.parametrize("mode", READING)
async def test_injected_messages_wait_for_a_slow_side(mode: str) -> None:
    async with Talk(READING[mode]) as talk:
        talk.client.open.clear()
        for number in range(3):
            talk.flow.inject(True, f"message {number}")
            await settle()
        await talk.from_server(down(0x81, b"behind them"))
        assert talk.client.sent == down(0x81, b"message 0")
        assert talk.flow.waiting == 18
        with pytest.raises(BufferError):
            talk.flow.inject(True, bytes(DEFAULT.injected))
        talk.client.open.set()
        await settle()
        expected = b"".join(down(0x81, f"message {number}".encode()) for number in range(3))
        assert talk.client.sent == expected + down(0x81, b"behind them")
        assert talk.flow.waiting == 0
        await talk.done()


@pytest.mark.parametrize("mode", READING)
@pytest.mark.parametrize(
    ("fault", "why"), [(StreamTimeout(), "takes nothing any more"), (StreamClosed("it broke"), "it broke")]
)
async def test_a_side_that_takes_nothing(mode: str, fault: Exception, why: str) -> None:
    async with Talk(READING[mode]) as talk:
        talk.client.fault = fault
        await talk.from_server(down(0x81, b"x"))
        await asyncio.wait_for(talk.task, 5)
        assert str(talk.flow.error) == f"the client is gone: {why.replace('takes', 'it takes')}"
        assert (talk.flow.close_code, talk.flow.closed_by_client) == (1006, True)
        assert talk.client.aborted
        assert talk.server.aborted


async def test_a_side_that_vanishes_while_a_message_is_injected() -> None:
    async with Talk() as talk:
        talk.client.fault = StreamClosed("it broke")
        talk.flow.inject(True, "x")
        await settle()
        assert not talk.task.done(), "who reads from it will see that"
        talk.client.break_off()
        await asyncio.wait_for(talk.task, 5)
        assert talk.flow.error is not None


async def test_a_frame_that_is_cut_in_two_gets_no_close_frame_inside() -> None:
    async with Talk() as talk:
        await talk.from_server(down(0x82, b"x" * 100)[:50])
        talk.flow.close(4000, "enough")
        await settle()
        assert talk.client.aborted
        assert talk.server.sent[:2] == b"\x88\x88"
        talk.server.feed_eof()
        await asyncio.wait_for(talk.task, 5)


async def test_the_end_of_the_task_is_told_to_both() -> None:
    seen: list[object] = []
    async with Talk(Do(websocket_end=lambda flow: seen.append(flow.close_code))) as talk:
        talk.task.cancel()
        await asyncio.wait([talk.task])
        assert talk.task.cancelled()
        assert talk.client.sent == encode_close(Close(1001, "the proxy shuts down"))
        assert talk.server.sent[:2] == bytes((0x88, 0x80 | 22))
        assert talk.client.write_ended
    assert seen == [1001]


async def test_the_end_of_the_task_behind_a_close_frame() -> None:
    async with Talk() as talk:
        close = encode_close(Close(4000, "bye"), MASK)
        await talk.from_client(close)
        assert talk.server.sent == close
        talk.task.cancel()
        await asyncio.wait([talk.task])
        assert (talk.flow.close_code, talk.client.sent, talk.server.sent) == (4000, b"", close)


@pytest.mark.parametrize("mode", READING)
async def test_a_bad_answer_to_a_close_frame(mode: str) -> None:
    async with Talk(READING[mode]) as talk:
        await talk.from_client(encode_close(Close(4000, "bye"), MASK))
        await talk.from_server(down(0x88, b"\x03"))
        await talk.done()
        assert (talk.flow.close_code, talk.client.sent) == (4000, b"")
        assert "half a code" in str(talk.flow.error)


async def test_a_bug_is_no_end_of_a_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Talk(Do(websocket_message=nothing)) as talk:
        monkeypatch.setattr("rulesproxy.layers.websocket.WebSocketMessage", None)
        await talk.from_client(up(0x81, b"x"))
        with pytest.raises(TypeError):
            await asyncio.wait_for(talk.task, 5)


async def test_a_handler_ends_it_at_once() -> None:
    async with Talk(Do(websocket_start=lambda flow: flow.close(4000))) as talk:
        assert talk.client.sent == encode_close(Close(4000, ""))
        talk.flow.close(4001)
        talk.flow.kill()
        await talk.done()
        assert talk.flow.close_code == 4000


# Flows


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2000, 5000])
def test_codes_that_cannot_be_sent(code: int) -> None:
    flow = WebSocketFlow(HTTPFlow.make("GET", "http://a.test/"))
    with pytest.raises(ValueError, match=str(code)):
        flow.close(code)
    assert flow.ending is None


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), None, "1s"])
def test_delays_that_are_no_time(delay: object) -> None:
    message = WebSocketMessage(True, "x")
    message.delay = 2
    with pytest.raises(ValueError, match="number of seconds"):
        message.delay = delay  # type: ignore[assignment]
    assert message.delay == 2


async def test_no_message_is_shown_behind_the_one_that_ends_it() -> None:
    seen: list[object] = []

    async def message(flow: WebSocketFlow) -> None:
        seen.append(flow.messages[-1].content)
        await asyncio.sleep(0)
        flow.close(4001)

    async with Talk(Do(websocket_message=message)) as talk:
        talk.client.feed(up(0x81, b"first") + up(0x81, b"second"))
        talk.server.feed(down(0x81, b"third"))
        await settle()
        assert talk.client.sent == encode_close(Close(4001, ""))
        await talk.done()
    assert seen == ["first"]


def test_big_messages_are_forgotten_earlier() -> None:
    flow = WebSocketFlow(HTTPFlow.make("GET", "http://a.test/"))
    size = DEFAULT.messages_kept_size // 3
    for _ in range(5):
        flow.remember(WebSocketMessage(True, bytes(size)))
    assert (len(flow.messages), flow.message_count) == (3, 5)
    flow.remember(WebSocketMessage(True, bytes(2 * DEFAULT.messages_kept_size)))
    assert len(flow.messages) == 1, "the last one is always there"
    for _ in range(200):
        flow.remember(WebSocketMessage(True, "small"))
    assert len(flow.messages) == 100
    assert repr(flow.messages[-1]) == "<WebSocketMessage from client 'small'>"
    assert repr(flow) == f"<WebSocketFlow {flow.id} http://a.test/>"


def test_wants_messages() -> None:
    flow = HTTPFlow.make("GET", "http://a.test/")

    def asking(answer: Callable[[HTTPFlow], bool]) -> Do:
        return Do(websocket_message=nothing, wants_messages=answer)

    assert chain_of([Do(websocket_message=nothing)]).wants_messages(flow)
    assert chain_of([asking(lambda flow: flow.request.host == "a.test")]).wants_messages(flow)
    assert not chain_of([asking(lambda flow: flow.request.host == "b.test")]).wants_messages(flow)
    assert not chain_of([Do(websocket_message=nothing, observes=True)]).wants_messages(flow)
    assert not chain_of([Do(websocket_start=nothing)]).wants_messages(flow)


# Terms


def handshake(offer: str | None, answer: str | None, given: str | None = "as it came") -> tuple[HTTPFlow, ResponseHead]:
    """A handshake whose response an addon has changed to `given`."""
    fields = [("sec-websocket-version", "13"), *([("sec-websocket-extensions", offer)] if offer is not None else [])]
    answers = [] if answer is None else [("sec-websocket-extensions", answer)]
    flow = HTTPFlow.make("GET", "http://a.test/", fields, status=101, response_headers=answers)
    assert flow.response is not None
    head = ResponseHead(101, "", "HTTP/1.1", flow.response.headers.raw, upgrade="websocket")
    if given != "as it came":
        flow.response.headers = flow.response.headers.copy()
        if given is None:
            del flow.response.headers["sec-websocket-extensions"]
        else:
            flow.response.headers["sec-websocket-extensions"] = given
    return flow, head


READ, UNREAD = chain_of([Do(websocket_message=nothing)]), chain_of([])


@pytest.mark.parametrize(
    ("offer", "answer", "given", "expected"),
    [
        (None, None, "as it came", Terms()),
        (NAME, None, "as it came", Terms()),
        (NAME, NAME, "as it came", Terms(Deflate(), Deflate())),
        (NAME, NAME, None, Terms(None, Deflate())),
        (NAME, NAME, f"{NAME}; server_no_context_takeover", Terms(Deflate(False, True), Deflate())),
        (NAME, NAME, f"{NAME}; client_max_window_bits=9", Terms(None, Deflate())),
        (NAME, None, NAME, Terms(Deflate(), None)),
        (None, None, NAME, Terms()),
    ],
)
def test_each_side_has_its_terms(offer: str | None, answer: str | None, given: str | None, expected: Terms) -> None:
    flow, head = handshake(offer, answer, given)
    terms = server_terms(flow, head, READ)
    assert terms is not None
    assert client_terms(flow, terms) == expected
    assert flow.response is not None
    assert ("sec-websocket-extensions" in flow.response.headers) == (expected.client is not None)


def test_terms_that_nobody_can_read() -> None:
    flow, head = handshake("x-own", "x-own")
    with pytest.raises(FlowFailed):
        server_terms(flow, head, READ)
    terms = server_terms(flow, head, UNREAD)
    assert terms == Terms(unknown=True)
    assert client_terms(flow, terms) == terms
    assert flow.response is not None
    assert flow.response.headers["sec-websocket-extensions"] == "x-own"


@pytest.mark.parametrize(
    ("offer", "kept"),
    [
        (None, None),
        ("x-own", None),
        (f"x-own; a, {NAME}", NAME),
        (f"{NAME};  client_max_window_bits", f"{NAME};  client_max_window_bits"),
    ],
)
def test_the_offer_is_limited_where_messages_are_read(offer: str | None, kept: str | None) -> None:
    for chain, expected in ((READ, kept), (UNREAD, offer)):
        flow, _ = handshake(offer, None)
        limit_offer(flow, chain)
        assert flow.request.headers.get("sec-websocket-extensions") == expected
