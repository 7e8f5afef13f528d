"""Connections, errors, plans, WebSocket and TCP flows: small records, their defaults and their few rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import FileBody, Plan
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.flow.websocket import WebSocketFlow, WebSocketMessage
from rulesproxy.limits import DEFAULT


def test_connections() -> None:
    client = ClientConn(("127.0.0.1", 4000), ("127.0.0.1", 8080), mode="reverse")
    server = ServerConn(("example.com", 443), tls=True)
    assert client.address == client.peername == ("127.0.0.1", 4000)
    assert client.sockname == ("127.0.0.1", 8080)
    assert (client.mode, client.connect_host, client.tls) == ("reverse", None, False)
    assert (server.address, server.peername, server.tls, server.error) == (("example.com", 443), None, True, None)
    assert client.id != server.id
    assert repr(server) == f"<ServerConn {server.id} example.com:443>"
    assert repr(ClientConn()).startswith("<ClientConn ")


def test_errors() -> None:
    error = FlowError("no route to example.com", "refused", 1.5)
    assert str(error) == error.msg == "no route to example.com"
    assert repr(error) == "FlowError('no route to example.com', 'refused')"
    assert FlowError("x").kind == "protocol"


def test_a_file_body_is_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"0123456789")
    assert FileBody(path, 0, 10).read() == b"0123456789"
    assert FileBody(path, 2, 3).read() == b"234"
    assert FileBody(path, 10, 0).read() == b""
    for body in (FileBody(path, 5, 6), FileBody(tmp_path / "nothing", 0, 1)):
        with pytest.raises(OSError):
            body.read()


def test_a_plan_asks_for_nothing_at_first() -> None:
    assert Plan().end is None


def websocket() -> WebSocketFlow:
    return WebSocketFlow(HTTPFlow.make("GET", "http://example.com/chat"), 2.0)


def tcp() -> TCPFlow:
    return TCPFlow(ClientConn(), ServerConn(("example.com", 25)), 2.0)


def test_websocket() -> None:
    flow = websocket()
    assert flow.handshake_flow.request.path == "/chat"
    assert (flow.close_code, flow.close_reason, flow.closed_by_client, flow.error) == (None, "", None, None)
    assert WebSocketMessage(True, "a").type == "TEXT"
    message = WebSocketMessage(False, b"a", 1.0)
    assert (message.type, message.from_client, message.content, message.dropped) == ("BINARY", False, b"a", False)
    message.kill()
    assert message.dropped
    flow.inject(True, "to the client")
    flow.inject(False, b"to the server")
    assert list(flow.injected) == [(True, "to the client"), (False, b"to the server")]
    assert flow.waiting == 26


def test_tcp() -> None:
    flow = tcp()
    assert flow.server_conn.address == ("example.com", 25)
    assert (flow.error, flow.metadata, flow.tags, flow.timestamp_start) == (None, {}, [], 2.0)
    flow.inject(True, b"x")
    assert flow.injected == [(True, b"x")]


@pytest.mark.parametrize(
    ("flow", "message"), [(websocket(), WebSocketMessage(True, "x")), (tcp(), TCPMessage(True, b"x"))]
)
def test_only_the_last_messages_are_kept(flow: WebSocketFlow | TCPFlow, message: WebSocketMessage | TCPMessage) -> None:
    for _ in range(DEFAULT.messages_kept + 5):
        flow.messages.append(message)
    assert len(flow.messages) == DEFAULT.messages_kept == 100


@pytest.mark.parametrize("record", [ClientConn(), FlowError("x"), Plan(), websocket(), tcp(), TCPMessage(True, b"")])
def test_records_take_no_unknown_attribute(record: object) -> None:
    with pytest.raises(AttributeError):
        record.peer_name = "a misspelt name is an error at once"  # type: ignore[attr-defined]


def test_ids_differ() -> None:
    flows = [websocket(), tcp(), HTTPFlow.make("GET", "/")]
    assert len({flow.id for flow in flows}) == 3
