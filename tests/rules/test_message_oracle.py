"""Rules about messages against a second implementation of the contract, for each kind of conversation.

The oracle below walks over the rules for each message with the reference interpreter, without an index, and counts and
remembers by itself. Rule sets and conversations are generated; what each side gets, tags and the end must agree.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rulesproxy import HTTPFlow, TCPFlow
from rulesproxy.filters.fields.stream import StreamEvent
from rulesproxy.filters.reference import matches
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.plan import END
from rulesproxy.flow.tcp import TCPMessage
from rulesproxy.flow.websocket import WebSocketMessage
from rulesproxy.rules import runner
from rulesproxy.rules.model import Rule
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.ruleset import RuleSet, load_rules
from tests.support.talking import Conversation

Content: TypeAlias = str | bytes
Sent: TypeAlias = list[tuple[bool, Content]]
"""For each message whether the client gets it, and what it says."""

ACTIONS = [
    "rewrite: {message: {text: a}}", "rewrite: {message: {text: b}}", "drop-message:", "stop: true", "tag: t", "close:",
    "inject-message: {to: client, text: i}", "inject-message: {to: client, text: j, when: before}", "set-state: {flow.s: a}",
    "rewrite: {message: {replace: [{text: ab, with: x}, {regex: '[ax]+', with: 'y\\g<0>'}]}}",
    "rewrite: {message: {json: {set: {$.a: 2}}}}",
]  # fmt: skip
BOTH_WAYS = [
    "inject-message: {to: server, text: k}", "inject-message: {to: server, text: l, when: before}", "block: reset",
]  # fmt: skip
STATES = ["has(state['flow.s']) and %s", "flow.tags == 't' and %s", "not (%s)", "%s"]
GATES = ["", "", "", "    nth: 2\n", "    every: 2\n", "    times: 1\n", "    sample: 0%\n"]
TEXTS = ["a", "b", "ab", "xaby", '{"a": 1}', "b{"]


@st.composite
def rule_sets(draw: st.DrawFn, filters: list[str], actions: list[str]) -> str:
    text = "version: 1\nrules:\n"
    for number in range(draw(st.integers(1, 6))):
        match = draw(st.sampled_from(STATES)) % draw(st.sampled_from(filters))
        text += f'  - id: r{number}\n    match: "{match}" # rulesproxy: ignore\n'
        text += f"    {draw(st.sampled_from(actions))}\n{draw(st.sampled_from(GATES))}"
    return text


class Oracle(ABC):
    """One message and one rule after the other.

    Attributes:
        flow: what filters see beside the messages.
        got: what comes out.
        end: how a rule has ended the conversation: `close`, `reset`, or not at all.
    """

    def __init__(self, rules: RuleSet, flow: HTTPFlow | TCPFlow) -> None:
        self.rules: list[Rule] = [addon.rule for addon in rules.rules]
        self.flow: Any = flow
        flow.metadata["state"] = {}
        self.counts: Counter[tuple[int, str]] = Counter()
        self.got: Sent = []
        self.end = ""
        self.index = 0

    @abstractmethod
    def view(self, from_client: bool, content: Content) -> FlowView:
        """What filters see of a message."""

    def send(self, from_client: bool, content: Content) -> None:
        if self.end:
            return
        before: Sent = []
        after: Sent = []
        dropped = False
        for number, rule in enumerate(self.rules):
            if not matches(rule.filter, self.view(from_client, content)) or not self.opens(number):
                continue
            for step in rule.steps:
                key, action = step.action.key, step.action
                if key == "rewrite.message":
                    content = rewritten(content, action)
                elif key == "drop-message":
                    dropped = True
                elif key == "close":
                    self.end = "close"
                elif key == "block":
                    self.end, dropped = "reset", True
                elif key == "tag" and "t" not in self.flow.tags:
                    self.flow.tags.append("t")
                elif key == "set-state":
                    self.flow.metadata["state"]["flow.s"] = "a"
                elif key == "inject-message":
                    to_client = action.to == "client"  # type: ignore[attr-defined]
                    front = action.when == "before" and to_client is not from_client  # type: ignore[attr-defined]
                    (before if front else after).append((to_client, action.text.text))  # type: ignore[attr-defined]
            if dropped or self.end or rule.stop:
                break
        self.index += 1
        self.settle(from_client, before, None if dropped else content, after)

    def settle(self, from_client: bool, before: Sent, content: Content | None, after: Sent) -> None:
        """What goes on of a message."""
        self.got += before + ([] if content is None else [(not from_client, content)]) + after

    def opens(self, number: int) -> bool:
        gates = self.rules[number].gates
        if gates is None:
            return True
        if gates.sample is not None:
            return False
        if gates.nth or gates.every > 1:
            self.counts[number, "gate"] += 1
            count = self.counts[number, "gate"]
            if count % gates.every or (gates.nth and count not in gates.nth):
                return False
        self.counts[number, "times"] += 1
        return not gates.times or self.counts[number, "times"] <= gates.times


def rewritten(content: Content, action: Any) -> Content:
    """What `rewrite.message` makes of a message, for the forms above."""
    text = content if isinstance(content, str) else content.decode("utf-8", "surrogateescape")
    if action.text is not None:
        return str(action.text.text)
    if action.replace:
        new = re.sub("[ax]+", r"y\g<0>", text.replace("ab", "x"))
    elif not is_object(text):
        return content
    elif "a" in json.loads(text):
        new = re.sub(r'"a": \d+', '"a": 2', text)
    else:
        new = text.replace("}", ', "a": 2}')
    if new == text:
        return content
    return new if isinstance(content, str) else new.encode("utf-8", "surrogateescape")


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def loaded(text: str, indexed_from: int) -> RuleSet:
    threshold, runner.INDEXED_FROM = runner.INDEXED_FROM, indexed_from
    try:
        return load_rules(text=text, outside=Outside(lambda: 0.0, lambda: 0.0, lambda: "u", "0"))
    finally:
        runner.INDEXED_FROM = threshold


def agree(compiled: tuple[object, ...], oracle: Oracle, text: str) -> None:
    assert compiled == (oracle.got, oracle.flow.tags, oracle.end), text


several = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
indexed = pytest.mark.parametrize("indexed_from", [1, 1000], ids=["indexed", "linear"])
URLS = st.sampled_from(["http://a.test/", "http://b.test/"])

# WebSocket


class WebSocketOracle(Oracle):
    def view(self, from_client: bool, content: Content) -> FlowView:
        return FlowView(self.flow).about(WebSocketMessage(from_client, content), self.index)


WEBSOCKET = [
    "ws.text == 'a'", "ws.text == 'b'", "ws.from_client", "not ws.from_client", "ws.index > 1", "ws.kind == binary",
    "host == 'a.test' and ws.text contains 'a'", "host == 'b.test' and ws.from_client", "has(ws.bytes)", "ws.json['a'] == 1",
    "host under 'test' and not ws.text == 'b'", "~b X and has(ws.bytes)",
]  # fmt: skip
WEBSOCKET_MESSAGES = st.lists(
    st.tuples(st.booleans(), st.sampled_from([*TEXTS, b"a", b"xab\xff"])), min_size=1, max_size=6
)


@indexed
@several
@given(rule_sets(WEBSOCKET, [*ACTIONS, *BOTH_WAYS]), WEBSOCKET_MESSAGES, URLS)
def test_websockets(indexed_from: int, text: str, messages: list[tuple[bool, Content]], url: str) -> None:
    rules = loaded(text, indexed_from)
    conversation, oracle = Conversation(rules, url), WebSocketOracle(rules, HTTPFlow.make("GET", url, status=101))
    oracle.flow.websocket = True
    for message in messages:
        conversation.send(*message)
        oracle.send(*message)
    ending = conversation.flow.ending
    end = "" if ending is None else "reset" if ending[0] == 1006 else "close"
    agree((conversation.got, conversation.flow.handshake_flow.tags, end), oracle, text)


# TCP


def tcp_flow() -> TCPFlow:
    return TCPFlow(ClientConn(("127.0.0.1", 1)), ServerConn(("127.0.0.1", 2)))


class TCPOracle(Oracle):
    def view(self, from_client: bool, content: Content) -> FlowView:
        return FlowView.of_message(self.flow, TCPMessage(from_client, as_bytes(content)), self.index)

    def settle(self, from_client: bool, before: Sent, content: Content | None, after: Sent) -> None:
        if self.end == "reset":
            return
        # What goes the same way is one with it.
        onward = [
            *before,
            (not from_client, content or b""),
            *[piece for piece in after if piece[0] is not from_client],
        ]
        self.got.append((not from_client, b"".join(as_bytes(piece) for _, piece in onward)))
        self.got += [(to_client, as_bytes(piece)) for to_client, piece in after if to_client is from_client]


def as_bytes(content: Content) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


TCP = [
    "tcp.data == 'a'", "tcp.data contains 'ab'", "tcp.data ~ 'a.*b'", "tcp.data ~* '^[XA]+.?'", "tcp.from_client", "tcp.index > 1",
    "~bq A and has(tcp.data)", "~bs b or tcp.index > 3", "~b 'a$' and has(tcp.data)", "tcp.data !~ 'b'", "len(tcp.data) > 2", "client.ip == 127.0.0.1 and tcp.data startswith 'x'",
    "client.ip == 10.0.0.1 and tcp.from_client",
]  # fmt: skip
TCP_MESSAGES = st.lists(
    st.tuples(st.booleans(), st.sampled_from([*map(as_bytes, TEXTS), b"a\xffb"])), min_size=1, max_size=6
)


@indexed
@several
@given(rule_sets(TCP, [*ACTIONS, *BOTH_WAYS]), TCP_MESSAGES)
def test_tcp(indexed_from: int, text: str, messages: list[tuple[bool, bytes]]) -> None:
    rules = loaded(text, indexed_from)
    flow, oracle = tcp_flow(), TCPOracle(rules, tcp_flow())
    got: Sent = []
    for from_client, content in messages:
        oracle.send(from_client, content)
        if flow.closing or flow.killed:
            continue
        message = TCPMessage(from_client, content)
        # What is kept back of it is the business of `test_look_behind`.
        message.whole = True
        flow.messages.append(message)
        assert not hasattr(rules, "tcp_message") or rules.tcp_message(flow) is None
        if not flow.killed:
            got += [(not from_client, message.content), *flow.injected]
        flow.injected.clear()
    agree((got, flow.tags, "reset" if flow.killed else "close" if flow.closing else ""), oracle, text)


# Event streams


class EventOracle(Oracle):
    def __init__(self, rules: RuleSet, flow: HTTPFlow) -> None:
        super().__init__(rules, flow)
        self.event = StreamEvent("")
        self.out: list[StreamEvent] = []

    def view(self, from_client: bool, content: Content) -> FlowView:
        return FlowView(self.flow).about(StreamEvent(str(content), self.event.name, self.event.id), self.index)

    def settle(self, from_client: bool, before: Sent, content: Content | None, after: Sent) -> None:
        self.out += [StreamEvent(str(piece)) for _, piece in before]
        if content is not None:
            self.out.append(StreamEvent(str(content), self.event.name, self.event.id))
        self.out += [StreamEvent(str(piece)) for _, piece in after]


EVENT = [
    "event.data == 'a'", "event.data contains 'ab'", "event.data ~ 'a.*b'", "event.name == 'x'", "has(event.id)", "event.id == '1'",
    "event.json['a'] == 1", "host == 'a.test' and has(event.data)", "host == 'b.test' and event.data == 'b'", "~b AB & has(event.data)",
    "response.status == 200 and event.data != 'a'",
]  # fmt: skip
EVENT_MESSAGES = st.lists(
    st.builds(
        StreamEvent, st.sampled_from(TEXTS), st.sampled_from(["message", "x", "y"]), st.sampled_from([None, "1", "2"])
    ),
    min_size=1,
    max_size=6,
)


def encoded(events: list[StreamEvent], lines: bool) -> bytes:
    """A stream with these events, and with what is none between them."""
    out = ": begin\n\n" if not lines else "\n"
    for event in events:
        if lines:
            out += event.data + "\n"
            continue
        out += f"event: {event.name}\n" if event.name != "message" else ""
        out += f"id: {event.id}\n" if event.id is not None else ""
        out += f"data: {event.data}\n\n"
    return out.encode()


def decoded(stream: bytes, lines: bool) -> Iterator[StreamEvent]:
    for block in stream.decode().split("\n" if lines else "\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not lines and line[:1] not in ("", ":"))
        if lines and block:
            yield StreamEvent(block)
        elif fields:
            yield StreamEvent(fields["data"], fields.get("event", "message"), fields.get("id"))


@pytest.mark.parametrize("lines", [False, True], ids=["sse", "ndjson"])
@indexed
@several
@given(rule_sets(EVENT, ACTIONS), EVENT_MESSAGES, URLS, st.integers(1, 40))
def test_event_streams(
    indexed_from: int, lines: bool, text: str, events: list[StreamEvent], url: str, size: int
) -> None:
    if lines:
        events = [StreamEvent(event.data) for event in events]
    rules = loaded(text, indexed_from)
    kind = "application/x-ndjson" if lines else "text/event-stream"
    flow, other = [HTTPFlow.make("GET", url, status=200, response_headers=[("content-type", kind)]) for _ in range(2)]
    oracle = EventOracle(rules, other)
    for event in events:
        oracle.event = event
        oracle.send(False, event.data)
    answer, flow.response = flow.response, None
    assert rules.requestheaders(flow) is None  # type: ignore[attr-defined]
    flow.response = answer
    assert answer is not None
    answer.body_source = None
    assert not hasattr(rules, "responseheaders") or rules.responseheaders(flow) is None
    stream = encoded(events, lines)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    through = answer.stream if callable(answer.stream) else lambda data: [data]
    out = [part for piece in (*pieces, b"") for part in through(piece)]
    end = "close" if END in out else ""
    got = list(decoded(b"".join(part for part in out if isinstance(part, bytes)), lines))
    assert (got, flow.tags, end) == (oracle.out, oracle.flow.tags, oracle.end), text
