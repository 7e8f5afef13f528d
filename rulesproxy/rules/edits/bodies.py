"""Edits of bodies, from text or files, and what has to follow them: lengths, codings, validators.

It knows messages and their framing, and nothing of rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rulesproxy.flow import forms
from rulesproxy.flow.coding import SUPPORTED
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.rules.edits import multipart
from rulesproxy.rules.edits.fields import QueryEdits
from rulesproxy.rules.edits.json_edits import JSONEdits
from rulesproxy.rules.edits.replacements import Pattern
from rulesproxy.rules.files import nodes
from rulesproxy.rules.template import Captures, Template
from rulesproxy.rules.templates.paths import AnyFile

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node
    from rulesproxy.rules.schema import Reader

FORM = "application/x-www-form-urlencoded"
_DIGESTS = ("etag", "content-md5", "digest", "content-digest", "repr-digest")


@dataclass(frozen=True, slots=True)
class BodyEdits:
    """What happens to a body, in the order set or file, replace, prepend, append.

    Attributes:
        set: the new body as text.
        file: the new body from a file.
        replace: texts or regular expressions with their replacements.
        prepend: text in front.
        append: text behind.
    """

    needs: ClassVar = ("*",)

    set: Template | None = None
    file: AnyFile | None = None
    replace: tuple[Pattern, ...] = ()
    prepend: Template | None = None
    append: Template | None = None

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        return {"anyOf": [Template.json_schema(), {"type": "null"}, record_schema(cls)]}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> BodyEdits:
        if isinstance(node, nodes.Scalar):
            # An empty body is a wish of its own; here nothing else could be meant by it.
            return cls(set=Template.of("") if node.null else Template.read(node, reader, name))
        mapping = reader.mapping(node, name)
        if not mapping.entries:
            reader.note("RP106", node, f"`{name}` changes nothing", "add one of set, file, replace, prepend, append")
        edits = reader.record(cls, mapping, name)
        if edits.set is not None and edits.file is not None:
            reader.fail("RP607", node, f"`{name}` has both `set` and `file`", "keep one of them")
        return edits

    @property
    def needs_old(self) -> bool:
        """Whether the new body is made from the old one."""
        return self.set is None and self.file is None

    def apply(self, message: HTTPMessage, flow: HTTPFlow, captures: Captures) -> None:
        """Give `message` its new body; length, coding and digests follow.

        Raises:
            ValueError: the old body has a coding that cannot be undone.
            OSError: the file cannot be read.
        """
        if self.file is not None and not (self.replace or self.prepend or self.append):
            body = whole_file(self.file.at(flow, captures))
            replace_body(message, body, body.length)
            return
        if self.needs_old and message.get_content(strict=True) is None:
            raise ValueError("the body was not read")
        if self.file is not None:
            content = self.file.at(flow, captures).read_bytes()
            replace_body(message, content, len(content))
        text = self.set.fill(flow, captures) if self.set is not None else (message.text or "")
        for pattern in self.replace:
            text = pattern.apply(text, flow, captures)
        before = self.prepend.fill(flow, captures) if self.prepend is not None else ""
        after = self.append.fill(flow, captures) if self.append is not None else ""
        text = f"{before}{text}{after}"
        if self.needs_old and text == message.text:
            return
        if not self.needs_old:
            replace_body(message, b"", 0)
        message.text = text
        body_changed(message)


def whole_file(path: Path) -> FileBody:
    """A file as a body, as long as it is now.

    Raises:
        OSError: it is not there any more.
    """
    return FileBody(path, 0, path.stat().st_size)


def edit_json(edits: JSONEdits, message: HTTPMessage, flow: HTTPFlow, captures: Captures) -> None:
    """Edit a body that is JSON; one that neither is JSON nor is said to be passes unchanged.

    Raises:
        ValueError: it is said to be JSON and is not, an edit does not fit it, or its coding cannot be undone.
    """
    if not may_be_json(message):
        return
    if message.get_content(strict=True) is None:
        raise ValueError("the body was not read")
    text = message.text
    if not text or not text.strip():
        return
    if "json" not in media_type(message) and text.lstrip()[:1] not in "{[":
        return
    edited = edits.apply(text, flow, captures)
    if edited != text:
        message.text = edited
        body_changed(message)


def may_be_json(message: HTTPMessage) -> bool:
    """Whether a body may be JSON, by its type: servers also send it as text, or without a type."""
    kind = media_type(message)
    if is_part(message):
        return False
    return not kind or "json" in kind or kind.startswith("text/")


def is_part(message: HTTPMessage) -> bool:
    """Whether a body is a piece of something larger, in which nothing can be found (RFC 9110 section 15.3.7)."""
    return isinstance(message, HTTPResponse) and message.status_code == 206


def media_type(message: HTTPMessage) -> str:
    """The type that the Content-Type names, in lower case; empty without one."""
    return message.headers.get("content-type", "").partition(";")[0].strip().lower()


def edit_form(edits: QueryEdits, request: HTTPRequest, flow: HTTPFlow, captures: Captures) -> None:
    """Edit the fields of a form, urlencoded or multipart; a request without a body gets an urlencoded one.

    Raises:
        ValueError: the body is something else, was not read, or has a coding that cannot be undone.
    """
    content = request.get_content(strict=True)
    if content is None:
        raise ValueError("the body was not read")
    kind = media_type(request)
    boundary = forms.multipart_boundary(request.headers.get("content-type", ""))
    if boundary:
        edited = multipart.edited(edits.ops, content, boundary, flow, captures)
    elif kind == FORM or not (kind or content):
        text = content.decode("utf-8", "surrogateescape")
        edited = edits.edited(text, flow, captures).encode("utf-8", "surrogateescape")
    else:
        raise ValueError(f"the body is no form: its type is {kind or 'not named'}")
    if edited != content:
        if not kind:
            request.headers["content-type"] = FORM
        request.content = edited
        body_changed(request)


def replace_body(message: HTTPMessage, body: bytes | FileBody, length: int) -> None:
    """Put a body without codings in place of the old one."""
    for name in ("content-encoding", "transfer-encoding"):
        message.headers.pop(name, None)
    message.body_source = body
    message.headers["content-length"] = str(length)
    body_changed(message)


def body_changed(message: HTTPMessage) -> None:
    """Drop what described the old body: validators, digests, trailers."""
    for name in _DIGESTS:
        message.headers.pop(name, None)
    if message.trailers is None:
        return
    for name in _DIGESTS:
        message.trailers.pop(name, None)
    announced = message.headers.get("trailer")
    if announced is not None:
        names = [name.strip() for name in announced.split(",") if name.strip().lower() not in _DIGESTS]
        if names:
            message.headers["trailer"] = ", ".join(names)
        else:
            del message.headers["trailer"]
    if not message.trailers:
        message.trailers = None


def prepare_for_body_edit(request: HTTPRequest) -> None:
    """Make sure that the response comes whole and readable: no 304, no coding that we cannot undo."""
    request.anticache()
    accepted = request.headers.get("accept-encoding")
    if accepted is None:
        return
    known = [part for part in accepted.split(",") if part.partition(";")[0].strip().lower() in SUPPORTED]
    kept = ",".join(known).strip()
    if kept != accepted.strip():
        request.headers["accept-encoding"] = kept or "identity"
