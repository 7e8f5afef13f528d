"""The action `respond`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, TypeVar

from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action, Captures, Example, Handler, Side
from rulesproxy.rules.edits.bodies import whole_file
from rulesproxy.rules.edits.fields import HeaderEdits
from rulesproxy.rules.edits.json_value import JSONValue
from rulesproxy.rules.edits.media import content_type
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.reading.fragments import integer
from rulesproxy.rules.schema import Range, Reader
from rulesproxy.rules.template import Template
from rulesproxy.rules.templates.files import FileTemplate
from rulesproxy.rules.templates.paths import AnyFile

_BODIES = ("body", "json", "file")
_BODILESS = (204, 304)

_MEANT = "a number alone is the status; a text goes below `body:`, a file below `file:`"


@dataclass(frozen=True, slots=True)
class Answer:
    """One item of a sequence: the same keys, without `sequence`."""

    status: Annotated[int, Range(200, 599)] = 200
    headers: HeaderEdits | None = None
    body: Template | None = None
    json: JSONValue | None = None
    file: AnyFile | None = None
    template: bool = False
    _filled: FileTemplate | None = None

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import kind_schema, record_schema

        return {"anyOf": [kind_schema(Annotated[int, Range(200, 599)]), record_schema(cls)]}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Answer:
        if isinstance(node, nodes.Scalar):
            return cls(status=reader.integer(node, name, Range(200, 599), _MEANT))
        answer = reader.record(cls, reader.mapping(node, name), name)
        _check(node, reader, answer.status)
        return _with_template(answer, node, reader)

    def make(self, flow: HTTPFlow, captures: Captures) -> HTTPResponse:
        """The answer for one flow. To HEAD it has the length that a body would have, and no body.

        Raises:
            ValueError: a value cannot go where it is wanted.
            OSError: the file cannot be read.
        """
        kind, body = self._body(flow, captures)
        response = HTTPResponse.make(self.status, b"", [("content-type", kind)] if kind else ())
        if self.headers is not None:
            self.headers.bind()(response, flow, captures)
        if self.status in _BODILESS:
            return response
        if isinstance(body, str):
            # Through the charset that the headers of the rule may name.
            response.text = body
        else:
            response.body_source = body
            response.headers["content-length"] = str(body.length)
        if flow.request.method == "HEAD":
            response.body_source = b""
        return response

    def _body(self, flow: HTTPFlow, captures: Captures) -> tuple[str, str | FileBody]:
        if self.json is not None:
            return "application/json", self.json.fill(flow, captures)
        if self._filled is not None:
            return self._filled.kind, self._filled.fill(flow, captures)
        if self.file is not None:
            path = self.file.at(flow, captures)
            return content_type(path.name), whole_file(path)
        if self.body is not None:
            return "text/plain; charset=utf-8", self.body.fill(flow, captures)
        return "", ""


@dataclass(frozen=True, slots=True)
class Respond(Action):
    """Answer with a response of your own; in the response pass, put it in the place of the server's.

    In a batch of GraphQL requests a rule whose filter reads `graphql.operation` or `graphql.type`, and which does
    nothing else, answers those that match: the server gets the others, and all answers come back in their order.
    An answer that is no JSON, or has another status than 200, answers the whole batch.

    Attributes:
        status: the status, 200 unless given.
        headers: header fields; a content type is there already where there is a body.
        body: the body as text.
        json: the body as JSON, written in YAML; `${… | int}` and `${… | json}` keep their type.
        file: the body from a file, which is read for every answer; `${…}` in its path cannot leave the folder in front.
        template: the file is a template. It is read with the rules, and again when it changes. In a JSON file `${name}`
            stays inside its quotes and `${name | json}` is a whole value; in HTML and XML values are text.
        sequence: answers for one flow after the other, each with these keys; the last one stays.
    """

    key: ClassVar = "respond"
    events: ClassVar = REQUEST | RESPONSE | ERROR
    answers: ClassVar = True
    filled: ClassVar = ("sequence",)
    synonyms: ClassVar = {
        "code": "status", "text": "body", "content": "body", "header": "headers", "data": "json", "path": "file",
        "responses": "sequence", "cycle": "sequence",
    }  # fmt: skip

    status: Annotated[int, Range(200, 599)] = 200
    headers: HeaderEdits | None = None
    body: Template | None = None
    json: JSONValue | None = None
    file: AnyFile | None = None
    template: bool = False
    sequence: tuple[Answer, ...] = ()
    _filled: FileTemplate | None = None

    examples: ClassVar = (
        Example(
            'match: method in {GET HEAD} and path like "/users/{id}"\nrespond:\n  json:\n    id: ${id | int}\n'
            "    q: ${query['q'] | json}",
            'GET http://a.test/users/7?q=a"b',
            '200\ncontent-type: application/json\ncontent-length: 22\n\n{"id": 7, "q": "a\\"b"}',
        ),
        Example(
            "match: path == '/health'\nrespond: {status: 503, headers: {retry-after: '5'}, body: down}",
            "GET http://a.test/health", "503\nretry-after: 5\ncontent-length: 4\n\ndown",
        ),
        Example(
            "match: method == POST\nrespond:\n  sequence:\n    - status: 202\n    - status: 202\n"
            "    - json: {done: true}",
            "POST http://a.test/jobs", "202\ncontent-length: 0",
        ),
        Example(
            "match: response.status >= 500\nrespond:\n  file: mocks/me.json\n  headers: {warning: '110 - stale'}",
            "GET http://a.test/", "200\ncontent-type: application/json\nwarning: 110 - stale\n\n{}", response="503",
        ),
    )  # fmt: skip

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import action_schema

        return action_schema(cls, integer(200, 599))

    @classmethod
    def from_node(cls, node: Node, reader: Reader) -> Respond:
        if isinstance(node, nodes.Scalar) and not node.empty:
            return cls(status=reader.integer(node, "respond", Range(200, 599), _MEANT))
        return _with_template(super(Respond, cls).from_node(node, reader), node, reader)

    def check(self, node: Node, reader: Reader) -> None:
        if not isinstance(node, nodes.Mapping):
            return
        _check(node, reader, self.status)
        sequence = node.key("sequence")
        if sequence is None:
            return
        if not self.sequence:
            reader.note("RP106", sequence, "this sequence is empty", "write at least one answer")
        for key, _ in node.entries:
            if key.text != "sequence":
                title = f"`{key.text}` beside `sequence`: every answer has its own"
                reader.note("RP607", key, title, "move it into the answers of the sequence")

    @property
    def shares(self) -> tuple[str, str] | None:
        return ("RP850", "`sequence` counts its answers") if len(self.sequence) > 1 else None

    def bind_for(self, side: Side, memory: Memory) -> Handler:
        alone = Answer(self.status, self.headers, self.body, self.json, self.file, self.template, self._filled)
        answers = self.sequence or (alone,)

        def respond(flow: HTTPFlow, captures: Captures) -> None:
            if side == "request" and flow.response is not None:
                # An action above it in the same rule has answered, such as `cors` a preflight.
                return
            number = memory.next("sequence") if len(answers) > 1 else 1
            flow.response = answers[min(number, len(answers)) - 1].make(flow, captures)

        return respond

    def bind(self) -> Handler:
        return self.bind_for("response", Memory())


A = TypeVar("A", Answer, Respond)


def _with_template(answer: A, node: Node, reader: Reader) -> A:
    """An answer whose file is a template has read it."""
    if not answer.template or not isinstance(node, nodes.Mapping):
        return answer
    where = node.key("template")
    if answer.file is None:
        reader.fail("RP607", where or node, "`template` is about `file`, and there is none", "`body` is one always")
    file = node.get("file") or node
    if answer.file.where.below is not None:
        title = "`template` reads its file when the rules are loaded, and this path is known with the request only"
        reader.fail("RP607", file, title, "name one file, or write a rule for each")
    return replace(answer, _filled=FileTemplate.of(answer.file.where, file, reader))


def _check(node: Node, reader: Reader, status: int) -> None:
    if not isinstance(node, nodes.Mapping):
        return
    bodies = [key for key, _ in node.entries if key.text in _BODIES]
    for key in bodies[1:]:
        reader.note("RP607", key, f"`{bodies[0].text}` and `{key.text}` both make the body", "keep one of them")
    if bodies and status in _BODILESS:
        where = node.get("status") or node
        reader.note(
            "RP610", where, f"an answer with status {status} has no body", f"remove `{bodies[0].text}`, or use 200",
            severity="warning",
        )  # fmt: skip
