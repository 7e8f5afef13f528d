"""Faults, throttles, delays and refusals of WebSockets, plain and through TLS, and of event streams, on real sockets."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from rulesproxy import load_rules
from rulesproxy.proto.websocket import Close
from tests.support.events import Streaming, body_of, received, stream
from tests.support.feed import conversation
from tests.support.origin import LIMIT, Origin, OriginConnection, answer
from tests.support.running import client_of, get, running
from tests.support.websocket import Peer

WAYS = pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
GONE = Close(1001, "the client has left")


async def ending(peer: Peer) -> tuple[bytes, bool]:
    """What a side still gets, byte by byte, and whether its connection is reset at the end."""
    rest = peer.connection.received
    data = bytes(rest)[getattr(peer.connection, "handled", 0) :]
    while more := await peer.connection.read():
        data += more
    return data, peer.connection.broken


# At a message


@WAYS
@pytest.mark.parametrize("from_client", [False, True], ids=["server says it", "client says it"])
@pytest.mark.parametrize(("fault", "broken"), [("reset", True), ("empty", False)])
async def test_the_client_is_cut_off_at_a_message(fault: str, broken: bool, from_client: bool, tls: bool) -> None:
    rules = f"  - match: ws.text == 'boom'\n    fault: {fault}\n"
    async with conversation(rules, tls=tls) as (client, server):
        client.send("fine")
        assert await server.receive() == "fine"
        (client if from_client else server).send("boom")
        # No frame more, not even a Close.
        assert await ending(client) == (b"", broken)
        assert await server.receive() == GONE
        assert await server.receive() is None


@WAYS
async def test_a_message_is_cut_in_the_middle_of_its_frame(tls: bool) -> None:
    rules = "  - match: ws.text contains 'boom'\n    fault: {truncate: 5}\n"
    async with conversation(rules, tls=tls) as (client, server):
        server.send("before")
        assert await client.receive() == "before"
        server.send("boom boom")
        assert await ending(client) == (b"\x81\x09boo", False)
        assert await server.receive() == GONE


async def test_a_message_of_the_client_is_cut_for_the_server() -> None:
    rules = "  - match: ws.text contains 'boom'\n    fault: {truncate: 3}\n"
    async with conversation(rules) as (client, server):
        client.send("boom boom")
        assert await client.receive() == Close(1011, "the server is gone")
        data, broken = await ending(server)
        # Two bytes of header and one of the masking key.
        assert (len(data), data[:2], broken) == (3, b"\x81\x89", False)


async def test_a_message_that_is_short_enough_is_whole() -> None:
    async with conversation("  - match: ws.text == 'boom'\n    fault: {truncate: 6}\n") as (client, server):
        for _ in range(2):
            server.send("boom")
            assert await client.receive() == "boom"


@WAYS
async def test_a_frame_that_is_none(tls: bool) -> None:
    async with conversation("  - match: ws.text == 'boom'\n    fault: malformed-chunk\n", tls=tls) as (client, server):
        server.send("boom")
        assert await ending(client) == (b"\x81\x04boom\x83\x00", False)
        assert await server.receive() == GONE


@WAYS
async def test_a_message_that_dribbles(tls: bool) -> None:
    rules = "  - match: ws.text startswith 'slow'\n    fault: {dribble: {chunks: 4, over: 300ms}}\n"
    async with conversation(rules, tls=tls) as (client, server):
        begin = time.monotonic()
        server.send("slow message")
        server.send("quick")
        assert await client.receive() == "slow message"
        assert time.monotonic() - begin >= 0.3
        assert await client.receive() == "quick"


@WAYS
@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
async def test_slow_from_a_message_on(deflate: bool, tls: bool) -> None:
    rules = "  - match: ws.text contains 'slow'\n    throttle: {down: 50KB/s, up: 20KB/s}\n"
    async with conversation(rules, deflate, tls) as (client, server):
        server.send("x" * 100_000)
        assert await client.receive() == "x" * 100_000
        # It is slow once, however often the rule matches.
        for _ in range(3):
            server.send("slow")
            assert await client.receive() == "slow"
        begin = time.monotonic()
        server.send("y" * 25_000)
        assert await client.receive() == "y" * 25_000
        assert time.monotonic() - begin >= 0.3
        begin = time.monotonic()
        client.send("z" * 12_000)
        assert await server.receive() == "z" * 12_000
        assert time.monotonic() - begin >= 0.3


BLOCKS = [
    ("block:", Close(1008, "refused by a rule of the proxy")),
    ("block: close", Close(1008, "refused by a rule of the proxy")),
]


@WAYS
@pytest.mark.parametrize(("block", "close"), BLOCKS)
async def test_a_message_is_refused(block: str, close: Close, tls: bool) -> None:
    async with conversation(f"  - match: ws.text == 'boom'\n    {block}\n", tls=tls) as (client, server):
        client.send("boom")
        assert await client.receive() == close
        assert await server.receive() == close


@WAYS
async def test_a_message_is_refused_with_a_reset(tls: bool) -> None:
    async with conversation("  - match: ws.text == 'boom'\n    block: reset\n", tls=tls) as (client, server):
        client.send("boom")
        assert await ending(client) == (b"", True)
        assert await ending(server) == (b"", True)


@WAYS
async def test_a_message_is_refused_with_silence(tls: bool) -> None:
    async with conversation("  - match: ws.text == 'boom'\n    block: timeout\n", tls=tls) as (client, server):
        client.send("boom")
        assert await server.receive() == GONE
        assert await server.receive() is None
        client.send("are you there?")
        assert not isinstance(client.connection, OriginConnection)
        assert await client.connection.is_open()


# A conversation as a whole


@WAYS
async def test_a_conversation_is_cut_behind_so_many_bytes(tls: bool) -> None:
    async with conversation("  - match: ~websocket\n    fault: {truncate: 10}\n", tls=tls) as (client, server):
        server.send("12345")
        assert await client.receive() == "12345"
        client.send("not counted")
        assert await server.receive() == "not counted"
        server.send("67890")
        assert await ending(client) == (b"\x81\x056", False)
        assert await server.receive() == GONE


async def test_the_first_bytes_may_be_too_many() -> None:
    async with conversation("  - match: ~websocket\n    fault: {truncate: 0}\n") as (client, server):
        server.send("1")
        assert await ending(client) == (b"", False)


async def test_the_first_message_may_break_off_a_conversation_that_nobody_reads() -> None:
    async with conversation("  - match: ~websocket\n    fault: malformed-chunk\n") as (client, server):
        server.send("1")
        assert await ending(client) == (b"\x81\x011\x83\x00", False)


@WAYS
async def test_the_end_of_a_conversation_comes_late(tls: bool) -> None:
    async with conversation("  - match: ~websocket\n    fault: {slow-close: 400ms}\n", tls=tls) as (client, server):
        begin = time.monotonic()
        client.say_close(4000)
        assert await server.receive() == Close(4000, "")
        server.say_close(4000)
        assert await client.receive() == Close(4000, "")
        assert time.monotonic() - begin < 0.4
        assert await client.receive() is None
        assert time.monotonic() - begin >= 0.4


async def test_every_message_of_a_conversation_dribbles() -> None:
    rules = "  - match: ~websocket\n    fault: {dribble: {chunks: 3, over: 100ms}}\n"
    async with conversation(rules) as (client, server):
        begin = time.monotonic()
        for text in ("one", "two"):
            server.send(text)
            assert await client.receive() == text
        assert time.monotonic() - begin >= 0.2


async def test_a_cut_of_what_is_injected_ends_a_conversation() -> None:
    rules = """
  - match: ~websocket
    fault: {truncate: 8}
  - match: ~websocket
    inject-message: {to: client, text: beat, when: open, every: 100ms}
"""
    async with conversation(rules) as (client, server):
        # The second one has six bytes, too: two of them are let through.
        assert await client.receive() == "beat"
        assert await ending(client) == (b"\x81\x04", False)
        assert await server.receive() == GONE


# Again and again


@WAYS
async def test_a_heartbeat_never_gets_inside_a_message(tls: bool) -> None:
    rules = """
  - match: ~websocket
    inject-message: {to: client, text: "${counter}", when: open, every: 100ms}
"""
    async with conversation(rules, tls=tls) as (client, server):
        # Nobody reads these messages: frames pass as they are, and between two fragments nothing may come.
        assert await client.receive() == "1"
        server.frame(0x01, b"first ")
        await asyncio.sleep(0.35)
        server.frame(0x80, b"second")
        told = [await client.receive() for _ in range(4)]
        assert "first second" in told
        beats = [int(str(one)) for one in told if one != "first second"]
        assert beats == sorted(set(beats))


async def test_it_is_repeated_from_the_message_on_that_matches() -> None:
    rules = """
  - match: ws.text ~ "^hello (?P<name>[a-z]+)"
    inject-message: {to: server, json: {from: "${name}", number: "${counter | int}"}, every: 100ms}
    drop-message:
"""
    async with conversation(rules) as (client, server):
        client.send("hello ann")
        for number in range(1, 4):
            assert await server.receive() == f'{{"from": "ann", "number": {number}}}'
        client.say_close()
        while not isinstance(said := await server.receive(), Close):
            assert said is not None
        server.say_close()
        assert await server.receive() is None


async def test_who_does_not_read_is_sent_no_more() -> None:
    """A slow line takes seconds for one message: what would follow meanwhile is left out, not queued."""
    rules = f"""
  - match: ~websocket
    throttle: 10KB/s
    inject-message: {{to: client, text: {"x" * 4000}, when: open, every: 100ms}}
"""
    async with conversation(rules) as (client, server):
        begin = time.monotonic()
        for _ in range(4):
            assert await client.receive() == "x" * 4000
        # Ten a second would be there by now, and would have to wait for the end.
        assert time.monotonic() - begin >= 1.0
        client.say_close()
        assert await server.receive() == Close(1000, "")
        server.say_close()
        rest = 0
        while not isinstance(await client.receive(), Close):
            rest += 1
        assert rest <= 2


# Functions


@pytest.mark.parametrize("way", ["def", "async def"])
async def test_a_function_changes_drops_and_injects(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helpers.py").write_text(
        f"""
{way} edit(flow):
    message = flow.messages[-1]
    if message.content == "drop":
        message.kill()
        flow.inject(message.from_client, "dropped")
    elif message.content == "end":
        flow.close(4000, "asked")
    elif message.content == "break":
        flow.plan.end = "reset"
    else:
        message.content = message.content.upper()
"""
    )
    monkeypatch.chdir(tmp_path)
    rules = "  - match: ws.from_client and has(ws.text)\n    run: helpers.py:edit\n"
    async with conversation(rules) as (client, server):
        client.send("loud")
        assert await server.receive() == "LOUD"
        client.send("drop")
        assert await client.receive() == "dropped"
        client.send("end")
        assert await server.receive() == "end"
        assert await server.receive() == Close(4000, "asked")
        assert await client.receive() == Close(4000, "asked")
    async with conversation(rules) as (client, server):
        client.send("break")
        assert await ending(client) == (b"", True)


# Event streams

EVENT = b"data: boom\n\n"
AT_EVENT = [
    ("reset", b"", True), ("empty", b"", False), ("{truncate: 8}", b"data: bo", False),
    ("malformed-chunk", EVENT, False),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "rest", "broken"), AT_EVENT)
async def test_a_stream_breaks_off_at_an_event(fault: str, rest: bytes, broken: bool) -> None:
    script = Streaming()
    async with stream(f"  - match: event.data == 'boom'\n    fault: {fault}\n", script) as client:
        script.send(b"data: fine\n\n")
        assert await received(client, b"fine\n\n") == b"data: fine\n\n"
        script.send(EVENT, b"data: never\n\n", b"")
        while await client.read():
            pass
        # There is no last chunk: the body is not complete.
        assert not client.received.endswith(b"0\r\n\r\n")
        assert client.broken is broken
        data = client.received.partition(b"\r\n\r\n")[2] if client.received.startswith(b"HTTP/") else client.received
        assert (b"this is no chunk" in data) is (fault == "malformed-chunk")
        assert body_of(data.partition(b"this is")[0]) == b"data: fine\n\n" + rest
        async with asyncio.timeout(LIMIT):
            await script.ended.wait()


async def test_an_event_dribbles() -> None:
    script = Streaming()
    rules = "  - match: event.data == 'boom'\n    fault: {dribble: {chunks: 3, over: 300ms}}\n"
    async with stream(rules, script) as client:
        begin = time.monotonic()
        script.send(EVENT, b"data: quick\n\n")
        assert await received(client, b"quick\n\n") == EVENT + b"data: quick\n\n"
        assert time.monotonic() - begin >= 0.3


async def test_a_stream_is_slow_from_an_event_on() -> None:
    script = Streaming()
    async with stream("  - match: event.data contains 'slow'\n    throttle: 50KB/s\n", script) as client:
        script.send(b"data: " + b"x" * 100_000 + b"\n\n")
        await received(client, b"x\n\n")
        script.send(b"data: slow\n\n")
        await received(client, b"slow\n\n")
        begin = time.monotonic()
        script.send(b"data: " + b"y" * 25_000 + b"\n\n")
        await received(client, b"y\n\n")
        assert time.monotonic() - begin >= 0.3


async def test_a_stream_falls_silent_at_an_event() -> None:
    script = Streaming()
    async with stream("  - match: event.data == 'boom'\n    block: timeout\n", script) as client:
        script.send(b"data: fine\n\n")
        await received(client, b"fine\n\n")
        script.send(EVENT, b"data: never\n\n", b"")
        async with asyncio.timeout(LIMIT):
            await script.ended.wait()
        client.take(len(client.received))
        assert await client.is_open()


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson"])
async def test_a_stream_has_a_heartbeat(kind: str) -> None:
    """It begins before the server says anything, and stays between two events, however an event is cut."""
    script = Streaming(kind)
    server_sent = kind == "text/event-stream"
    beat, event = (b"data: %d\n\n", b"data: whole\n\n") if server_sent else (b"%d\n", b'"whole"\n')
    rules = """
  - match: response.status == 200 and path == "/"
    inject-message: {to: client, text: "${counter}", when: open, every: 100ms}
  - match: event.data == "nobody says this"
    drop-message:
"""
    async with stream(rules, script) as client:
        assert await received(client, beat % 1) == beat % 1
        script.send(event[:5])
        await received(client, beat % 3)
        script.send(event[5:])
        body = await received(client, event)
        assert body == b"".join([beat % number for number in range(1, body.count(b"\n") // beat.count(b"\n"))]) + event
        await received(client, beat % (body.count(b"\n") // beat.count(b"\n")))


async def test_a_function_is_called_with_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helpers.py").write_text(
        """
def edit(flow):
    event = flow.messages[-1]
    flow.tags.append(event.name)
    flow.metadata["seen"] = flow.handshake_flow.request.path
    if event.content == "drop":
        event.kill()
        flow.inject(True, "dropped")
        try:
            flow.inject(False, "never")
        except ValueError as error:
            flow.inject(True, str(error))
    elif event.content == "late":
        event.delay = 0.2
        try:
            event.delay = -1
        except ValueError as error:
            event.content = f"{error}, {event.delay}, {event.from_client}"
    elif event.content == "end":
        flow.close()
    elif event.content == "break":
        flow.kill()
    else:
        event.content = f"{event.id}: {event.content.upper()}"
"""
    )
    monkeypatch.chdir(tmp_path)
    script = Streaming()
    async with stream("  - match: has(event.data)\n    run: helpers.py:edit\n", script) as client:
        script.send(b"id: 7\ndata: a\n\n", b"data: drop\n\n", b"data: late\n\n", b"data: end\n\n", b"data: never\n\n")
        while not client.received.endswith(b"\r\n0\r\n\r\n"):
            await client.read()
        assert body_of(client.received).decode().split("\n\n") == [
            "id: 7\ndata: 7: A", "data: dropped", "data: an event stream has one direction: to the client",
            "data: the delay of an event is a number of seconds, not -1, 0.2, False", "data: end", "",
        ]  # fmt: skip
    script = Streaming()
    async with stream("  - match: has(event.data)\n    run: helpers.py:edit\n", script) as client:
        script.send(b"data: a\n\n")
        await received(client, b"A\n\n")
        script.send(b"data: break\n\n", b"")
        while await client.read():
            pass
        assert client.broken


def test_no_async_function_is_called_with_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helpers.py").write_text("async def edit(flow):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="RP401"):
        load_rules(text="version: 1\nrules:\n  - match: has(event.data)\n    run: helpers.py:edit\n")


async def test_a_stream_that_a_rule_has_made_breaks_off() -> None:
    rules = load_rules(
        text="""version: 1
rules:
  - match: path == "/"
    respond:
      headers: {content-type: text/event-stream}
      body: "data: a\\n\\ndata: boom\\n\\ndata: b\\n\\n"
  - match: event.data == "boom"
    fault: empty
"""
    )
    async with Origin.http(answer()) as origin, running(rules=rules) as proxy, client_of(proxy) as client:
        client.send(get(origin.url))
        data = await client.read_to_end()
        assert data.endswith(b"\r\n\r\ndata: a\n\n")
        assert not client.broken
        assert b"content-length: 10\r\n" in data


MADE = [
    ("reset", b"", True),
    ("malformed-chunk", b"data: boom\n\n\r\nthis is no chunk\r\n", False),
    ("{truncate: 3}", b"dat", False),
]


@pytest.mark.parametrize(("fault", "end", "broken"), MADE)
async def test_a_stream_that_a_rule_has_made_goes_wrong(fault: str, end: bytes, broken: bool) -> None:
    rules = load_rules(
        text=f"""version: 1
rules:
  - match: path == "/"
    respond:
      headers: {{content-type: text/event-stream}}
      body: "data: boom\\n\\ndata: b\\n\\n"
  - match: event.data == "boom"
    fault: {fault}
"""
    )
    async with Origin.http(answer()) as origin, running(rules=rules) as proxy, client_of(proxy) as client:
        client.send(get(origin.url))
        data = await client.read_to_end()
        assert data.endswith(end)
        assert b"data: b\n" not in data
        assert client.broken is broken
