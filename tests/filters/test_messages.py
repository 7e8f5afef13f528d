"""Filters of single messages: of a WebSocket, of an event stream, of raw TCP."""

from __future__ import annotations

import pytest

from rulesproxy.filters.check import check as check_filter
from rulesproxy.filters.compile import compile_filter
from rulesproxy.filters.fields.stream import Message, StreamEvent
from rulesproxy.filters.parse import parse
from rulesproxy.filters.phases import FROM_REQUEST, Phase
from rulesproxy.filters.problem import FilterError
from rulesproxy.filters.reference import matches
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.flow.websocket import WebSocketFlow, WebSocketMessage


def handshake() -> HTTPFlow:
    flow = HTTPFlow.make("GET", "http://a.test/chat", [("Cookie", "uid=7")], status=101)
    flow.websocket = True
    return flow


TCP = TCPFlow(ClientConn(("192.0.2.7", 5)), ServerConn(("db.test", 5432)))
VIEWS = {
    "text": FlowView.of_message(WebSocketFlow(handshake()), WebSocketMessage(True, '{"op": "ping", "n": 5}'), 3),
    "bytes": FlowView.of_message(WebSocketFlow(handshake()), WebSocketMessage(False, b"\x00\xffabc"), 0),
    "packed": FlowView.of_message(WebSocketFlow(handshake()), WebSocketMessage(False, b'{"op": "ping"}'), 1),
    "sent": FlowView.of_message(TCP, TCPMessage(True, b"\x16\x03\x01Hello"), 0),
    "received": FlowView.of_message(TCP, TCPMessage(False, b"ok"), 1),
    "event": FlowView.of_message(
        HTTPFlow.make("GET", "http://a.test/", status=200), StreamEvent('{"token": "Hi"}', "delta", "7"), 2
    ),
    "line": FlowView.of_message(HTTPFlow.make("GET", "http://a.test/", status=200), StreamEvent("plain"), 0),
}  # fmt: skip
PHASE = {
    "text": Phase.W, "bytes": Phase.W, "packed": Phase.W, "sent": Phase.X, "received": Phase.X, "event": Phase.V, "line": Phase.V,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("text", 'ws.text contains "ping"', True),
        ("text", 'ws.json["op"] == "ping"', True),
        ("text", 'ws.json["n"] > 4 and ws.index == 3', True),
        ("text", "ws.kind == text and ws.from_client", True),
        ("text", "ws.kind == binary or not ws.from_client", False),
        ("text", 'ws.bytes startswith "{"', True),
        ("text", 'host == "a.test" and request.cookie["uid"] == "7" and ws.from_client', True),
        ("text", "~websocket & ~b ping", True),
        ("text", "~bq ping", True),
        ("text", "~bs ping", False),
        ("text", "!~bs ping", True),
        ("text", "protocol == websocket and ~s", True),
        ("bytes", 'ws.bytes == "\\x00\\xffabc"', True),
        ("bytes", 'ws.bytes ~ "^.{2}abc$" and len(ws.bytes) == 5', True),
        ("bytes", "has(ws.text)", False),
        ("bytes", 'ws.text != "x"', True),
        ("bytes", "ws.kind == binary and not ws.from_client", True),
        ("bytes", "~bs ABC", True),
        ("bytes", "~bq abc", False),
        ("bytes", 'has(ws.json["op"])', False),
        ("packed", 'has(ws.json["op"])', False),
        ("packed", 'json(ws.bytes)["op"] == "ping"', True),
        ("sent", 'tcp.data startswith "\\x16\\x03"', True),
        ("sent", "tcp.from_client and tcp.index == 0", True),
        ("sent", "~tcp & ~b hello", True),
        ("sent", "~bs hello", False),
        ("sent", "!~http & ~bq hello", True),
        ("sent", "client.ip == 192.0.2.7 and protocol == tcp", True),
        ("sent", "~dst ^db.test:5432$ ~src ^192", True),
        ("sent", "!~websocket", True),
        ("received", 'tcp.data == "ok" and not tcp.from_client', True),
        ("received", "~bs ok & !~bq ok & !~e & !~marked", True),
        ("event", 'event.name == "delta" and event.id == "7"', True),
        ("event", 'event.json["token"] ~* "^hi"', True),
        ("event", 'event.data contains "token" and response.status == 200', True),
        ("event", "~bs token", True),
        ("event", "~b token & !~bs nothing", True),
        ("line", 'event.name == "message" and event.data == "plain"', True),
        ("line", "has(event.id)", False),
        ("line", 'has(event.json["token"])', False),
    ],
)
def test_messages(name: str, text: str, expected: bool) -> None:
    checked = check_filter(parse(text))
    view: FlowView = VIEWS[name]
    assert checked.phases & PHASE[name]
    assert compile_filter(checked)(view) is expected
    assert matches(checked, view) is expected


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        ('ws.text == "a"', Phase.W),
        ('ws.text == "a" and path == "/"', Phase.W),
        ('tcp.data == "a"', Phase.X),
        ('tcp.data == "a" and client.ip == 1.2.3.4 and protocol == tcp', Phase.X),
        ('event.data == "a" and response.status == 200', Phase.V),
        ("~tcp", Phase.X),
        ("~tcp & ~q", Phase(0)),
        ("host == 'a.test' and protocol == tcp", Phase(0)),
        ("protocol == tcp", Phase.X),
        ("client.ip == 10.0.0.1 and not protocol == tcp", FROM_REQUEST),
        ("~e", Phase.E),
        ("error.kind == timeout", Phase.E),
        ('error.kind == timeout and request.body contains "a"', Phase.E),
        ("error.kind == timeout or response.status == 502", Phase.R | Phase.S),
        ("error.kind == timeout and response.status == 502", Phase(0)),
        ("error.kind != timeout", Phase.R | Phase.S | Phase.E),
    ],
)
def test_moments(text: str, phases: Phase) -> None:
    assert check_filter(parse(text)).phases == phases


@pytest.mark.parametrize(
    ("text", "stranger"),
    [
        ('ws.text == "a" and response.body == ""', "response.body"),
        ('tcp.data == "a" and path == "/"', "path"),
        ('event.data == "a" or ws.text == "a"', "ws.text"),
    ],
)
def test_what_a_message_does_not_have(text: str, stranger: str) -> None:
    with pytest.raises(FilterError) as refused:
        check_filter(parse(text))
    (problem,) = refused.value.problems
    assert (problem.code, problem.title.split("`")[1]) == ("RP406", stranger)


def test_a_message_of_another_kind_has_no_values() -> None:
    message: Message = WebSocketMessage(True, "a")
    view = FlowView.of_message(handshake(), message, 0)
    for text in ("has(event.data)", "has(tcp.data)", "tcp.from_client", "has(tcp.index)", "has(event.json)"):
        assert compile_filter(check_filter(parse(text)))(view) is False
