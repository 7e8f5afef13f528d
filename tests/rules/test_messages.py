"""Rules for messages: which conversations they concern, their order, what they see of one another, what they count."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rulesproxy import HTTPFlow, TCPFlow, WebSocketFlow, load_rules
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.http import HTTPResponse
from rulesproxy.flow.tcp import TCPMessage
from rulesproxy.flow.websocket import WebSocketMessage
from tests.support.deciding import complete
from tests.support.talking import Conversation

HEAD = "version: 1\nrules:\n"


def said(rules: str, *messages: str | bytes, url: str = "http://feed.test/chat") -> list[str]:
    """What comes out when the client says these messages."""
    conversation = Conversation(HEAD + rules, url)
    for message in messages:
        conversation.send(True, message)
    return conversation.shown


ORDER = [
    ("a later rule sees what an earlier one changed",
     "  - match: ws.text == 'a'\n    rewrite: {message: {text: b}}\n"
     "  - match: ws.text == 'b'\n    rewrite: {message: {text: c}}\n", ["server: c"]),
    ("an earlier one does not",
     "  - match: ws.text == 'b'\n    rewrite: {message: {text: c}}\n"
     "  - match: ws.text == 'a'\n    rewrite: {message: {text: b}}\n", ["server: b"]),
    ("a dropped message is over",
     "  - match: ws.text == 'a'\n    drop-message:\n"
     "  - match: ws.text == 'a'\n    inject-message: {to: client, text: x}\n", []),
    ("the rule that drops it acts to its end",
     "  - match: ws.text == 'a'\n    drop-message:\n    inject-message: {to: client, text: x}\n", ["client: x"]),
    ("a rule that only stops",
     "  - match: ws.text == 'a'\n    stop: true\n  - match: ws.text == 'a'\n    drop-message:\n", ["server: a"]),
    ("a rule that stops the request stops the messages",
     "  - match: host == 'feed.test'\n    stop: true\n  - match: ws.text == 'a'\n    drop-message:\n", ["server: a"]),
    ("and one that stops the response",
     "  - match: response.status == 101\n    stop: true\n  - match: ws.text == 'a'\n    drop-message:\n", ["server: a"]),
    ("before and behind",
     "  - match: ws.text == 'a'\n    do:\n      - inject-message: {to: server, text: '1', when: before}\n"
     "      - inject-message: {to: server, text: '2'}\n      - inject-message: {to: server, text: '0', when: before}\n",
     ["server: 1", "server: 0", "server: a", "server: 2"]),
    ("values are those that the rule has met",
     "  - match: ws.text ~ \"^(?P<first>.)\"\n    rewrite: {message: {text: '${first}${ws.text}${ws.index}${host}'}}\n",
     ["server: aa0feed.test"]),
    ("the request as the rule saw it",
     "  - match: path == '/chat' and ws.from_client\n    rewrite: {message: {text: '${ws.text}1'}}\n"
     "  - match: path == '/chat'\n    rewrite: {request: {path: /other}}\n"
     "  - match: path == '/chat' and ws.from_client\n    rewrite: {message: {text: '${ws.text}2'}}\n"
     "  - match: path == '/other' and ws.from_client\n    rewrite: {message: {text: '${ws.text}3'}}\n",
     ["server: a13"]),
    ("also in what it says",
     "  - match: path == '/chat' and ws.from_client\n    rewrite: {message: {text: '${path} ${url}'}}\n"
     "  - match: path == '/chat'\n    rewrite: {request: {url: 'http://other.test/b'}}\n"
     "  - match: ws.from_client\n    inject-message: {to: server, text: '${path} ${url}'}\n",
     ["server: /chat http://feed.test/chat", "server: /b http://other.test/b"]),
    ("the end",
     "  - match: ws.text == 'a'\n    close: {code: 4000, reason: 'because of ${ws.text}'}\n", ["server: a", "close 4000"]),
    ("a refused message",
     "  - match: ws.text == 'a'\n    block:\n", ["close 1008"]),
    ("a broken line",
     "  - match: ws.text == 'a'\n    block: reset\n", ["close 1006"]),
    ("bytes",
     "  - match: ws.text == 'a'\n    rewrite: {message: {bytes: 00 ff}}\n"
     "  - match: ws.kind == binary\n    inject-message: {to: client, bytes: '41'}\n",
     ["server: b'\\x00\\xff'", "client: b'A'"]),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "expected"), [case[1:] for case in ORDER], ids=[case[0] for case in ORDER])
def test_order(rules: str, expected: list[str]) -> None:
    assert said(rules, "a") == expected


def test_json_that_is_none_passes() -> None:
    rules = "  - match: ~websocket\n    rewrite: {message: {json: {set: {$.a: 1}}}}\n"
    conversation = Conversation(HEAD + rules)
    for message in ('{"b": 2, "a": 0}', "[DONE]", "text", "{broken", b'{"a": 0}', b"\xff{"):
        conversation.send(False, message)
    assert [message for _, message in conversation.got] == [
        '{"b": 2, "a": 1}', "[DONE]", "text", "{broken", b'{"a": 1}', b"\xff{",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "expected"), [(b'{"m": "x"}', [b"data: x /chat\n\n", b"data: 1\n\n"]), (None, [b"data: 1\n\n"])]
)
def test_events_may_be_made_of_the_body_of_the_request(body: bytes | None, expected: list[bytes]) -> None:
    text = "${request.json['m']} ${path}"
    rules = load_rules(
        text=HEAD
        + f"""  - match: has(event.data)
    inject-message: {{to: client, text: "{text}", when: before}}
"""
    )
    flow = HTTPFlow.make("POST", "http://feed.test/chat")
    assert rules.requestheaders(flow) is None  # type: ignore[attr-defined]
    assert rules.wants_body(flow, "request")
    flow.request.body_source = body
    assert rules.request(flow) is None  # type: ignore[attr-defined]
    flow.response = HTTPResponse.make(200, b"", [("content-type", "text/event-stream")])
    flow.response.body_source = None
    assert rules.responseheaders(flow) is None  # type: ignore[attr-defined]
    through = flow.response.stream if callable(flow.response.stream) else lambda data: [data]
    out = [piece for data in (b"data: 1\n\n", b"") for piece in through(data)]
    assert b"".join(piece for piece in out if isinstance(piece, bytes)) == b"".join(expected)


def test_bytes_of_tcp_are_made_of_what_is_known_of_the_connection() -> None:
    text = "${client.ip} ${client.port} ${tls} ${sni | default('none')} ${tcp.index} ${tcp.data}"
    rules = load_rules(text=HEAD + f'  - match: has(tcp.data)\n    rewrite: {{message: {{text: "{text}"}}}}\n')
    flow = TCPFlow(ClientConn(("127.0.0.1", 7)), ServerConn(("127.0.0.1", 2)))
    flow.messages.append(TCPMessage(True, b"x"))
    assert rules.tcp_message(flow) is None  # type: ignore[attr-defined]
    assert flow.messages[-1].content == b"127.0.0.1 7 false none 0 x"


CONCERNED = [
    ("host == 'feed.test' and ws.text == 'x'", True),
    ("host == 'other.test' and ws.text == 'x'", False),
    ("not ws.from_client", True),
    ("path under '/chat' and not path == '/chat'", False),
    ("response.status == 101 and ws.kind == text", True),
    ("~d feed.test & ~b hello", True),
    ("~d other & ~b hello", False),
    ("~tcp", False),
    ("event.name == 'x'", False),
]


@pytest.mark.parametrize(("match", "wanted"), CONCERNED)
def test_only_conversations_that_a_rule_can_be_about_are_read(match: str, wanted: bool) -> None:
    rules = load_rules(text=HEAD + f'  - match: "{match}"\n    drop-message:\n')
    flow = HTTPFlow.make("GET", "http://feed.test/chat", status=101)
    flow.websocket = WebSocketFlow(flow)
    rules.requestheaders(flow)  # type: ignore[attr-defined]
    assert rules.wants_messages(flow) is wanted


def test_a_message_at_the_beginning_needs_no_reading() -> None:
    rules = load_rules(text=HEAD + "  - match: ~all\n    inject-message: {to: client, text: hi, when: open}\n")
    assert not hasattr(rules, "websocket_message")
    assert Conversation(rules).shown == ["client: hi"]


def test_nothing_is_decrypted_for_rules_about_tcp() -> None:
    rules = load_rules(text=HEAD + "  - match: tcp.data contains 'x'\n    drop-message:\n")
    assert not rules.wants_host("a.test")
    assert "hosts decrypted: none" in rules.plan()
    assert "on messages of TCP: <text>:3" in rules.plan()


COUNTED = [
    ("nth: 2", "0 0 1 0 0 0"), ("nth: [1, 4]", "0 1 0 0 1 0"), ("every: 2", "0 0 1 0 1 0"), ("times: 2", "0 1 1 0 0 0"),
    ("sample: 0%", "0 0 0 0 0 0"), ("sample: 100%", "0 1 1 1 1 0"),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "expected"), COUNTED)
def test_gates_count_the_messages_that_match(gate: str, expected: str) -> None:
    rules = load_rules(text=HEAD + f"  - match: ws.text == 'a'\n    {gate}\n    rewrite: {{message: {{text: '!'}}}}\n")
    for _ in range(2):
        conversation = Conversation(rules)
        for message in ("other", "a", "a", "a", "a", "other"):
            conversation.send(True, message)
        assert " ".join(str(int(message == "!")) for _, message in conversation.got) == expected


def test_what_rules_leave_on_the_flow() -> None:
    rules = load_rules(
        text=HEAD
        + """
  - id: first
    match: ws.text ~ "^login (?P<user>.+)"
    set-state: {flow.user: "${user}"}
    tag: ["${user}", seen]
  - id: second
    match: ws.text == "who" and has(state["flow.user"])
    rewrite: {message: {text: 'it is ${state["flow.user"]}, ${counter}'}}
"""
    )
    conversation = Conversation(rules)
    for message in ("who", "login ann", "who", "who"):
        conversation.send(True, message)
    assert [message for _, message in conversation.got] == ["who", "login ann", "it is ann, 1", "it is ann, 2"]
    flow = conversation.flow.handshake_flow
    assert (flow.hits, flow.tags) == (["first", "second"], ["ann", "seen"])


@pytest.mark.parametrize("way", ["def", "async def"])
def test_a_function_gets_the_conversation(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helpers.py").write_text(
        f"{way} shout(flow):\n    message = flow.messages[-1]\n    message.content = message.content.upper()\n"
    )
    monkeypatch.chdir(tmp_path)
    text = "  - match: ws.text == 'a'\n    run: helpers.py:shout\n"
    text += "  - match: ws.text == 'A'\n    inject-message: {to: client, text: seen}\n"
    conversation = Conversation(HEAD + text)
    message = WebSocketMessage(True, "a")
    conversation.flow.remember(message)
    complete(conversation.rules.websocket_message(conversation.flow))  # type: ignore[attr-defined]
    assert message.content == "A"
    assert list(conversation.flow.injected) == [(True, "seen")]


@pytest.mark.parametrize(("policy", "expected"), [("open", ["server: {}"]), ("closed", [])])
def test_an_action_that_fails(policy: str, expected: list[str], caplog: pytest.LogCaptureFixture) -> None:
    rules = f"  - id: r\n    match: ws.text == '{{}}'\n    on-error: {policy}\n"
    rules += "    rewrite: {message: {json: {patch: [{op: remove, path: /a}]}}}\n"
    with caplog.at_level(logging.ERROR):
        assert said(rules, "{}") == expected
    assert "rule r: websocket_message" in caplog.text
