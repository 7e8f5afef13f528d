"""Rules for WebSocket messages on real sockets: the exact traffic of a feed that is changed on its way."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from rulesproxy import WebSocketFlow
from rulesproxy.proto.websocket import BINARY, TEXT, Close
from tests.support.feed import conversation, feed

FEED = """
  - match: host == "localhost" and ws.json["type"] == "price" and not ws.from_client
    rewrite:
      message:
        json:
          set: {$.v: 99}
  - match: not ws.from_client and ws.json["type"] == "ad"
    drop-message:
  - match: ws.from_client and ws.text == "ping"
    inject-message: {to: client, text: pong}
    drop-message:
  - match: host == "localhost"
    inject-message:
      to: client
      json: {hello: 1}
      when: open
  - match: ws.json["type"] == "bye"
    nth: 3
    close: {code: 4001, reason: enough}
"""


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
async def test_a_feed_is_edited(deflate: bool, tls: bool) -> None:
    async with conversation(FEED, deflate, tls) as (client, server):
        assert await client.receive() == '{"hello": 1}'
        server.send('{"type":"price","v":10}', compressed=deflate)
        server.send('{"type":"ad"}', compressed=deflate)
        server.send(b"\x00\xff", compressed=deflate)
        server.send(b'{"type":"price","v":10}', compressed=deflate)
        assert await client.receive() == '{"type":"price","v":99}'
        # The advertisement is gone, and bytes are nobody's business, whatever they say.
        assert await client.receive() == b"\x00\xff"
        assert await client.receive() == b'{"type":"price","v":10}'
        client.send("ping", compressed=deflate)
        assert await client.receive() == "pong"
        client.send("real", compressed=deflate)
        assert await server.receive() == "real"
        # One message in three frames, with a ping between them that says what rules look for.
        first, second, third = b'{"type":"pr', b'ice","v"', b":1}"
        server.frame(TEXT, first)
        server.frame(0x89, b'{"type":"ad"}')
        server.frame(0, second)
        server.frame(0x80, third)
        assert await client.receive() == 9
        assert await client.receive() == '{"type":"price","v":99}'
        for _ in range(2):
            server.send('{"type":"bye"}', compressed=deflate)
            assert await client.receive() == '{"type":"bye"}'
        server.send('{"type":"bye"}', compressed=deflate)
        assert await client.receive() == '{"type":"bye"}'
        assert await client.receive() == Close(4001, "enough")
        assert await server.receive() == Close(4001, "enough")


async def test_rules_count_the_messages_of_one_conversation() -> None:
    async with feed(FEED) as (_, _, connect), AsyncExitStack() as stack:
        for _ in range(2):
            client, server = await connect(stack)
            assert await client.receive() == '{"hello": 1}'
            for _ in range(2):
                server.send('{"type":"bye"}')
                assert await client.receive() == '{"type":"bye"}'
            server.frame(0x80 | BINARY, b"on")
            assert await client.receive() == b"on"


async def test_hits_of_messages_are_counted() -> None:
    rules = """
  - id: feed
    match: host == "localhost"
    tag: feed
  - id: bye
    match: ws.text == "bye"
    close:
"""
    async with feed(rules) as (proxy, observer, connect), AsyncExitStack() as stack:
        client, server = await connect(stack)
        client.send("bye")
        assert await server.receive() == "bye"
        assert await client.close() == Close(1000, "")
        server.say_close()
        await observer.wait("websocket_end")
        assert (proxy.hits["feed"], proxy.hits["bye"]) == (1, 1)


@pytest.mark.parametrize(("host", "kept"), [("other.test", 0), ("localhost", 1)])
async def test_nobody_reads_where_no_rule_can_match(host: str, kept: int) -> None:
    rules = f"  - match: host == '{host}' and ws.text == 'a'\n    tag: x\n"
    async with feed(rules) as (_, observer, connect), AsyncExitStack() as stack:
        client, server = await connect(stack)
        client.send("a")
        assert await server.receive() == "a"
        client.say_close()
        assert await server.receive() == Close(1000, "")
        server.say_close()
        await observer.wait("websocket_end")
        (flow,) = observer.args("websocket_end")
        assert isinstance(flow, WebSocketFlow)
        assert (flow.message_count, len(flow.messages)) == (1, kept)


async def test_what_is_injected_goes_before_the_end() -> None:
    rules = """
  - match: ws.text == "bye"
    do:
      - inject-message: {to: client, text: to client}
      - inject-message: {to: server, text: to server}
      - inject-message: {to: server, text: before, when: before}
      - close: 4000
"""
    async with conversation(rules) as (client, server):
        client.send("bye")
        assert [await server.receive() for _ in range(4)] == ["before", "bye", "to server", Close(4000, "")]
        assert [await client.receive() for _ in range(2)] == ["to client", Close(4000, "")]


async def test_a_delayed_message_keeps_its_place() -> None:
    rules = """
  - match: ws.text == "slow"
    delay: 20ms
"""
    async with conversation(rules) as (client, server):
        client.send("slow")
        client.send("fast")
        assert [await server.receive(), await server.receive()] == ["slow", "fast"]
