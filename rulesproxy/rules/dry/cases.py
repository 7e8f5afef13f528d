"""The `tests:` of a rule file: what a client sends, what the server answers, and what is expected to come of it.

It knows how a test is written. That it holds is seen by `judge`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import ClassVar, Literal, TypeVar

from rulesproxy.diagnostics import Diagnostic, Span, suggest
from rulesproxy.flow.error import FlowError
from rulesproxy.flow.headers import is_token
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.url import split_url
from rulesproxy.rules.dry.expected import BodyText, Ending, HeaderNames, JSONSubset, NameList, Pairs, Status, Upstream
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.files.profiles import Profiles
from rulesproxy.rules.reading.names import unknown_name
from rulesproxy.rules.schema import Bad, Reader

Failing = Literal["refused", "timeout", "tls", "dns", "disconnected"]

_WORDS: dict[str, str] = {
    "refused": "the connection was refused",
    "timeout": "the server did not answer in time",
    "tls": "the TLS handshake failed",
    "dns": "the host has no address",
    "disconnected": "the server broke off its answer",
}
_FORM = "`GET https://api.example.com/v1`"
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
        url: the absolute URL.
        method: the method, `GET` unless given.
        headers: header fields, each a text or a list of texts. Host and the length are there by themselves.
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
        try:
            ip_address(request.client)
        except ValueError:
            at_client = node.get("client") if isinstance(node, nodes.Mapping) else None
            reader.fail("RP904", at_client or node, f"`{request.client}` is no IP address", "such as 10.0.0.5")
        return replace(request, method=request.method.upper())

    def flow(self) -> HTTPFlow:
        """A flow that begins with this request."""
        fields = list(self.headers.fields()) if self.headers is not None else []
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
        status: the status, 200 unless given.
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
        status = 200 if self.status is None else self.status.value
        made = HTTPFlow.make("GET", "http://server/", status=status, response_headers=fields, response_body=body)
        flow.response = made.response

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        about = "What the server answers: a status, or a mapping."
        return {"description": about, "anyOf": [Status.json_schema(), record_schema(cls)]}


@dataclass(frozen=True, slots=True)
class Expect(_Record):
    """What is to come of a request. What is not named may be anything.

    Attributes:
        rules: the rules that match, all of them, in the order of their first hit; `none` or an empty list for none.
        rules_include: rules that are among those that match.
        status: the status that the client gets.
        headers: header fields that the client gets, by name; `null` for one that must not be there.
        body: the body that the client gets, as text.
        json: what the body that the client gets holds, as JSON: members that are not named may be there too.
        end: how the connection ends where it ends without an answer: `close`, `reset` or `timeout`.
        upstream: what the server gets, with the keys `method`, `url`, `headers`, `body` and `json`; `none` where it
            must not be asked.
    """

    synonyms: ClassVar = {
        "rule": "rules", "hits": "rules", "code": "status", "header": "headers", "text": "body", "content": "body",
        "includes": "rules-include", "server": "upstream", "connection": "end",
    }  # fmt: skip

    rules: NameList | None = None
    rules_include: NameList | None = None
    status: Status | None = None
    headers: HeaderNames | None = None
    body: BodyText | None = None
    json: JSONSubset | None = None
    end: Ending | None = None
    upstream: Upstream | None = None
    _span: Span | None = None


@dataclass(frozen=True, slots=True)
class Exchange(_Record):
    """One request of a test.

    Attributes:
        request: what the client sends: `GET https://a.test/x`, or `{method, url, headers, body, json, client}`.
        response: what the server answers: a status, or `{status, headers, body, json}`; 200, empty, unless given.
        error: how the server fails instead: `refused`, `timeout`, `tls`, `dns`, `disconnected`.
        sampled: whether rules with `sample` take this request.
        expect: what is to come of it.
    """

    request: Request
    expect: Expect
    response: Response | None = None
    error: Failing | None = None
    sampled: bool = True
    _span: Span | None = None

    def flow(self) -> HTTPFlow:
        """The flow that it is made of."""
        flow = self.request.flow()
        if self.error is not None:
            flow.error = FlowError(f"{flow.request.host}: {_WORDS[self.error]}", self.error)
        else:
            (self.response or Response()).put_on(flow)
        return flow


@dataclass(frozen=True, slots=True)
class Case(_Record):
    """A test: one request, or `steps` that follow each other on one state and one clock.

    Attributes:
        name: what it is about.
        profile: profiles that are on.
        vars: other values for variables of this file.
        request: what the client sends.
        response: what the server answers.
        error: how the server fails instead.
        sampled: whether rules with `sample` take this request.
        expect: what is to come of it.
        steps: several requests, each with the keys `request`, `response`, `error`, `sampled` and `expect`.
    """

    synonyms: ClassVar = {
        "id": "name", "title": "name", "description": "name", "expected": "expect", "then": "expect",
        "given": "response", "profiles": "profile", "variables": "vars",
    }  # fmt: skip

    name: str = ""
    profile: NameList | None = None
    vars: Pairs | None = None
    request: Request | None = None
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
        """Its requests, in order."""
        if self.steps:
            return self.steps
        assert self.request is not None
        assert self.expect is not None
        return (Exchange(self.request, self.expect, self.response, self.error, self.sampled, self._span),)

    @property
    def profiles(self) -> tuple[str, ...]:
        """Its profiles."""
        return tuple([name for name, _ in self.profile.names]) if self.profile is not None else ()

    @property
    def variables(self) -> Mapping[str, str]:
        """Its values for variables."""
        return dict(self.vars.fields()) if self.vars is not None else {}


def read_cases(node: Node, reader: Reader, variables: set[str], profiles: Profiles) -> list[Case]:
    """The tests in the value of `tests:`; what is wrong is recorded, and such a test left out.

    `variables` are those of the file.
    """
    if not isinstance(node, nodes.Sequence):
        reader.fail("RP112", node, "`tests` must be a list", "start every test with `- `")
    found = []
    for item in node.items:
        try:
            case = Case.read(item, reader, "a test")
            _check_case(case, item, reader)
        except Bad:
            continue
        for key in case.vars.keys if case.vars is not None else ():
            if key.text not in variables:
                unknown_name(key, "vars", variables, reader)
        for profile, span in case.profile.names if case.profile is not None else ():
            profiles.want(profile, span)
        name = case.name or f"line {case.span.line}"
        found.append(replace(case, name=name))
    return found


def check_names(cases: list[Case], names: set[str], ids: set[str]) -> Iterator[Diagnostic]:
    """What is wrong with the names of rules in tests: `names` are those that run, `ids` all that are written."""
    for case in cases:
        for exchange in case.exchanges:
            for listed in (exchange.expect.rules, exchange.expect.rules_include):
                for name, span in listed.names if listed is not None else ():
                    if name in names or (name in ids and case.profiles):
                        continue
                    if name in ids:
                        title = f"test `{case.name}` expects rule `{name}`, which is switched off"
                        help = "switch it on, or name its `profile` in the test"
                    else:
                        title = f"test `{case.name}` expects rule `{name}`, which does not exist"
                        meant = suggest(name, names | ids)
                        help = f"did you mean `{meant}`?" if meant else "rules are named by their `id`"
                    yield Diagnostic("RP901", "error", title, span, help)


def _check_case(case: Case, node: Node, reader: Reader) -> None:
    assert isinstance(node, nodes.Mapping)
    if case.steps:
        for key in ("request", "response", "error", "expect", "sampled"):
            written = node.key(key)
            if written is not None:
                help = f"move `{key}` into the first step"
                reader.fail("RP905", written, f"`{key}` beside `steps`: every step has its own", help)
        mappings = node.get("steps")
        steps = mappings.items if isinstance(mappings, nodes.Sequence) else [mappings]
        for step, written_step in zip(case.steps, steps, strict=True):
            _check_exchange(step.expect, written_step, reader)
        return
    if case.request is None:
        reader.fail("RP905", node, "this test has no request", f"add `request: {_FORM.strip('`')}`")
    if case.expect is None:
        help = "add `expect:` with `rules`, `status`, `headers`, `body`, `json` or `upstream`"
        reader.fail("RP905", node, "this test expects nothing", help)
    _check_exchange(case.expect, node, reader)


def _check_exchange(expect: Expect, node: Node | None, reader: Reader) -> None:
    assert isinstance(node, nodes.Mapping)
    written = node.get("expect")
    assert isinstance(written, nodes.Mapping)
    if not written.entries:
        reader.fail("RP905", written, "this test expects nothing", "add `rules`, `status` or `upstream`")
    error = node.key("error")
    if error is not None and node.key("response") is not None:
        reader.fail("RP905", error, "`error` and `response`: a server fails or answers", "keep one of them")
    if expect.end is not None:
        for key in ("status", "headers", "body", "json"):
            beside = written.key(key)
            if beside is not None:
                help = f"keep `end`, or `{key}`"
                reader.fail("RP905", beside, f"`{key}` beside `end`: the client gets no answer", help)


def _one_body(node: nodes.Mapping, reader: Reader) -> None:
    text, json = node.key("body"), node.key("json")
    if text is not None and json is not None:
        reader.fail("RP607", json, "`body` and `json` both make the body", "keep one of them")


def _default(fields: list[tuple[str, str]], name: str, value: str) -> None:
    if not any(known.lower() == name.lower() for known, _ in fields):
        fields.append((name, value))
