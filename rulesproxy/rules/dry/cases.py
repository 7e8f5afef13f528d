"""The `tests:` of a rule file: what a client sends, what the server answers, and what is expected to come of it.

It knows how a test is written; which of its keys go together is known by `case_checks`. That it holds is seen by
`judge`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

from rulesproxy.diagnostics import Span
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.headers import is_token
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.url import split_url
from rulesproxy.rules.dry.case_messages import Code, MessageList, SentMessage, Target, client_address
from rulesproxy.rules.dry.expected import BodyText, Ending, HeaderNames, JSONSubset, NameList, Pairs, Status, Upstream
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.schema import Reader

Failing = Literal["refused", "timeout", "tls", "dns", "disconnected"]

_WORDS: dict[str, str] = {
    "refused": "the connection was refused",
    "timeout": "the server did not answer in time",
    "tls": "the TLS handshake failed",
    "dns": "the host has no address",
    "disconnected": "the server broke off its answer",
}
_FORM = "`GET https://api.example.com/v1`"
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_HANDSHAKE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": _KEY,
}  # fmt: skip
"""What the handshake of a WebSocket has beside its URL (RFC 6455 section 4.1), with the key of its example."""
_ACCEPTS = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What the server adds to the key in its answer (RFC 6455 section 4.2.2)."""
R = TypeVar("R", bound="_Record")


class _Record:
    """Reads itself from a mapping whose keys are its fields."""

    __slots__ = ()

    @classmethod
    def read(cls: type[R], node: Node, reader: Reader, name: str) -> R:
        record = reader.record(cls, reader.mapping(node, name), name)
        return replace(record, _span=node.span)  # type: ignore[type-var]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What it accepts, for editors."""
        from rulesproxy.rules.reading.json_schema import record_schema

        return record_schema(cls)


@dataclass(frozen=True, slots=True)
class Request:
    """What the client sends: `GET URL`, a URL alone, or a mapping.

    Attributes:
        url: the absolute URL; with `ws://` or `wss://` the request is the handshake of a WebSocket.
        method: the method, `GET` unless given.
        headers: header fields, each a text or a list of texts. Host, the length and what a handshake needs are there by
            themselves.
        body: the body as text.
        json: the body as JSON, written in YAML; the content type is there by itself.
        client: the address of the client.
    """

    synonyms: ClassVar = {"verb": "method", "uri": "url", "header": "headers", "data": "body", "ip": "client"}

    url: str
    method: str = "GET"
    headers: Pairs | None = None
    body: BodyText | None = None
    json: JSONSubset | None = None
    client: str = "127.0.0.1"

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Request:
        if isinstance(node, nodes.Mapping):
            request = reader.record(cls, node, name)
            at_url, at_method = node.get("url") or node, node.get("method") or node
            _one_body(node, reader)
        else:
            scalar = reader.scalar(node, name, f"a request such as {_FORM}")
            words = scalar.text.split()
            if len(words) == 3 and words[2].startswith("HTTP/"):
                words.pop()
            if len(words) == 1 and "://" in words[0]:
                words.insert(0, "GET")
            if len(words) != 2:
                reader.fail("RP904", node, f"`{scalar.text}` is no request line", f"write method and URL: {_FORM}")
            request, at_url, at_method = cls(words[1], words[0]), node, node
        try:
            split_url(request.url)
        except ValueError as error:
            reader.fail("RP904", at_url, str(error).replace("'", "`"), f"such as {_FORM}")
        if not is_token(request.method.encode("utf-8", "replace")):
            reader.fail("RP904", at_method, f"`{request.method}` is no method", f"such as {_FORM}")
        at_client = node.get("client") if isinstance(node, nodes.Mapping) else None
        client_address(request.client, at_client or node, reader)
        request = replace(request, method=request.method.upper())
        if request.is_websocket and request.method != "GET":
            reader.fail("RP904", at_method, f"a WebSocket begins with GET, not with {request.method}")
        return request

    @property
    def is_websocket(self) -> bool:
        """Whether it is the handshake of a WebSocket."""
        fields = self.headers.fields() if self.headers is not None else ()
        upgrades = any(name.lower() == "upgrade" and value.lower() == "websocket" for name, value in fields)
        return upgrades or self.url.lower().startswith(("ws://", "wss://"))

    def flow(self) -> HTTPFlow:
        """A flow that begins with this request."""
        fields = list(self.headers.fields()) if self.headers is not None else []
        for name, value in _HANDSHAKE.items() if self.is_websocket else ():
            _default(fields, name, value)
        body = b"" if self.body is None else self.body.text.encode("utf-8", "surrogateescape")
        if self.json is not None:
            body = self.json.encoded()
            _default(fields, "Content-Type", "application/json")
        flow = HTTPFlow.make(self.method, self.url, fields, body)
        flow.client_conn.address = flow.client_conn.peername = (self.client, 0)
        return flow

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        about = "What the client sends: a method and a URL, or a mapping."
        return {"description": about, "anyOf": [{"type": "string"}, record_schema(cls)]}


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answers: a status alone, or a mapping.

    Attributes:
        status: the status, 200 unless given; of a WebSocket 101, which begins it.
        headers: header fields, each a text or a list of texts. The length is there by itself.
        body: the body as text.
        json: the body as JSON, written in YAML; the content type is there by itself.
    """

    synonyms: ClassVar = {"code": "status", "header": "headers", "text": "body", "content": "body", "data": "json"}

    status: Status | None = None
    headers: Pairs | None = None
    body: BodyText | None = None
    json: JSONSubset | None = None

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Response:
        if isinstance(node, nodes.Scalar):
            return cls(Status.read(node, reader, name))
        response = reader.record(cls, reader.mapping(node, name), name)
        if isinstance(node, nodes.Mapping):
            _one_body(node, reader)
        return response

    def put_on(self, flow: HTTPFlow) -> None:
        """Make it what the server answers to this flow."""
        fields = list(self.headers.fields()) if self.headers is not None else []
        body = b"" if self.body is None else self.body.text.encode("utf-8", "surrogateescape")
        if self.json is not None:
            body = self.json.encoded()
            _default(fields, "Content-Type", "application/json")
        status = (101 if flow.request.headers.get("upgrade") else 200) if self.status is None else self.status.value
        if status == 101:
            # Few tests need these.
            from base64 import b64encode
            from hashlib import sha1

            key = flow.request.headers.get("sec-websocket-key", "")
            accepted = b64encode(sha1(f"{key}{_ACCEPTS}".encode()).digest()).decode()
            agreed = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Accept": accepted}
            for name, value in agreed.items():
                _default(fields, name, value)
        made = HTTPFlow.make("GET", "http://server/", status=status, response_headers=fields, response_body=body)
        flow.response = made.response

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        about = "What the server answers: a status, or a mapping."
        return {"description": about, "anyOf": [Status.json_schema(), record_schema(cls)]}


@dataclass(frozen=True, slots=True)
class Expect(_Record):
    """What is to come of a request or a connection. What is not named may be anything.

    Attributes:
        rules: the rules that match, all of them, in the order of their first hit; `none` or an empty list for none.
        rules_include: rules that are among those that match.
        status: the status that the client gets.
        headers: header fields that the client gets, by name; `null` for one that must not be there.
        body: the body that the client gets, as text.
        json: what the body that the client gets holds, as JSON: members that are not named may be there too.
        end: how a rule ends the client's connection: `close`, `reset` or `timeout`.
        upstream: what the server gets, with the keys `method`, `url`, `headers`, `body` and `json`; `none` where it
            must not be asked.
        messages: all that arrives in a conversation on either side, in order, each `{to, text}`, `{to, json}` or
            `{to, bytes}`; `none` for nothing.
        close: the code with which a rule closes the WebSocket.
    """

    synonyms: ClassVar = {
        "rule": "rules", "hits": "rules", "code": "status", "header": "headers", "text": "body", "content": "body",
        "includes": "rules-include", "server": "upstream", "connection": "end", "message": "messages",
    }  # fmt: skip

    rules: NameList | None = None
    rules_include: NameList | None = None
    status: Status | None = None
    headers: HeaderNames | None = None
    body: BodyText | None = None
    json: JSONSubset | None = None
    end: Ending | None = None
    upstream: Upstream | None = None
    messages: MessageList | None = None
    close: Code | None = None
    _span: Span | None = None


@dataclass(frozen=True, slots=True)
class Exchange(_Record):
    """One request of a test, or one connection.

    Attributes:
        request: what the client sends: `GET https://a.test/x`, or `{method, url, headers, body, json, client}`.
        tcp: the raw TCP connection that the client opens instead: `redis.test:6379`, or `{address, client}`.
        messages: what is sent then, on that connection or on the WebSocket that the request begins, in order, each
            `{from, text}`, `{from, json}` or `{from, bytes}`.
        response: what the server answers: a status, or `{status, headers, body, json}`; 200, empty, unless given.
        error: how the server fails instead: `refused`, `timeout`, `tls`, `dns`, `disconnected`.
        sampled: whether rules with `sample` take this request.
        expect: what is to come of it.
    """

    expect: Expect
    request: Request | None = None
    tcp: Target | None = None
    messages: tuple[SentMessage, ...] = ()
    response: Response | None = None
    error: Failing | None = None
    sampled: bool = True
    _span: Span | None = None

    needs: ClassVar = ("request", "tcp")
    synonyms: ClassVar = {"connection": "tcp", "message": "messages", "expected": "expect", "then": "expect"}

    def flow(self) -> HTTPFlow:
        """The flow that it is made of."""
        assert self.request is not None
        flow = self.request.flow()
        if self.error is not None:
            flow.error = FlowError(f"{flow.request.host}: {_WORDS[self.error]}", self.error)
        else:
            (self.response or Response()).put_on(flow)
        return flow


@dataclass(frozen=True, slots=True)
class Case(_Record):
    """A test: one request or connection, or `steps` that follow each other on one state and one clock.

    Attributes:
        name: what it is about.
        profile: profiles that are on.
        vars: other values for variables of this file.
        request: what the client sends.
        tcp: the raw TCP connection that the client opens instead: `redis.test:6379`, or `{address, client}`.
        messages: what is sent on that connection, or on the WebSocket that the request begins, in order.
        response: what the server answers.
        error: how the server fails instead.
        sampled: whether rules with `sample` take this request.
        expect: what is to come of it.
        steps: several requests or connections, each with the keys `request`, `tcp`, `messages`, `response`, `error`,
            `sampled` and `expect`.
    """

    synonyms: ClassVar = {
        "id": "name", "title": "name", "description": "name", "expected": "expect", "then": "expect",
        "given": "response", "profiles": "profile", "variables": "vars", "connection": "tcp", "message": "messages",
    }  # fmt: skip

    name: str = ""
    profile: NameList | None = None
    vars: Pairs | None = None
    request: Request | None = None
    tcp: Target | None = None
    messages: tuple[SentMessage, ...] = ()
    response: Response | None = None
    error: Failing | None = None
    sampled: bool = True
    expect: Expect | None = None
    steps: tuple[Exchange, ...] = ()
    _span: Span | None = None

    @property
    def span(self) -> Span:
        """Where it begins."""
        assert self._span is not None
        return self._span

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Its requests and connections, in order."""
        if self.steps:
            return self.steps
        assert self.expect is not None
        alone = Exchange(
            self.expect, self.request, self.tcp, self.messages, self.response, self.error, self.sampled, self._span
        )
        return (alone,)

    @property
    def profiles(self) -> tuple[str, ...]:
        """Its profiles."""
        return tuple([name for name, _ in self.profile.names]) if self.profile is not None else ()

    @property
    def variables(self) -> Mapping[str, str]:
        """Its values for variables."""
        return dict(self.vars.fields()) if self.vars is not None else {}


def _one_body(node: nodes.Mapping, reader: Reader) -> None:
    text, json = node.key("body"), node.key("json")
    if text is not None and json is not None:
        reader.fail("RP607", json, "`body` and `json` both make the body", "keep one of them")


def _default(fields: list[tuple[str, str]], name: str, value: str) -> None:
    if not any(known.lower() == name.lower() for known, _ in fields):
        fields.append((name, value))
