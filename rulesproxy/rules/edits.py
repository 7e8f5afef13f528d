"""Edits of headers, queries and bodies: what `set add default remove replace` mean, shared by the actions that edit.

It knows messages and their framing, and nothing of rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote_plus, unquote_plus

from rulesproxy.flow.coding import SUPPORTED
from rulesproxy.flow.headers import is_token, to_bytes, to_str
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest
from rulesproxy.flow.plan import FileBody
from rulesproxy.rules import nodes
from rulesproxy.rules.schema import Bad
from rulesproxy.rules.template import Captures, Template

if TYPE_CHECKING:
    from rulesproxy.rules.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

Verb: TypeAlias = Literal["set", "add", "default", "remove", "replace"]
VERBS: tuple[Verb, ...] = ("set", "add", "default", "remove", "replace")

FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"})
"""Fields that say how a message is framed on one connection; they are ours to write."""

_DIGESTS = ("etag", "content-md5", "digest", "content-digest", "repr-digest")


@dataclass(frozen=True, slots=True)
class Pattern:
    """What `replace` looks for: a text or a regular expression, and what stands there afterwards."""

    search: re.Pattern[str]
    replacement: Template
    groups: bool

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Pattern:
        mapping = reader.mapping(node, name, "`{text: old, with: new}`")
        for key, _ in mapping.entries:
            if key.text not in ("text", "regex", "with"):
                reader.unknown(
                    key, ("text", "regex", "with"), f"in `{name}`", {"to": "with", "pattern": "regex", "from": "text"}
                )
                raise Bad
        text, regex, new = mapping.get("text"), mapping.get("regex"), mapping.get("with")
        if new is None or (text is None) == (regex is None):
            reader.fail("RP103", node, f"`{name}` needs `with` and either `text` or `regex`")
        if text is not None:
            search = re.compile(re.escape(reader.text(text, "text")))
        else:
            assert regex is not None
            search = _regex(reader.scalar(regex, "regex", "a regular expression"), reader)
        return cls(search, Template.read(new, reader, "with"), regex is not None)

    def apply(self, text: str, flow: HTTPFlow, captures: Captures) -> str:
        """The text with every match replaced; `\\1` and `\\g<name>` mean groups of the regular expression."""
        new = self.replacement.fill(flow, captures)
        # A value that comes from the message must never be read as a reference to a group.
        fixed = self.replacement.constant is not None and self.groups
        return self.search.sub(new if fixed else lambda match: new, text)


def _regex(scalar: Scalar, reader: Reader) -> re.Pattern[str]:
    """A regular expression of the filter language's dialect, so that both run in linear time."""
    from rulesproxy.rules.regex import compile_regex

    return compile_regex(scalar, reader)


Value: TypeAlias = tuple[Template, ...] | Pattern


@dataclass(frozen=True, slots=True)
class Op:
    """One edit: a verb, the name it is about (a glob for `remove`), and the values."""

    verb: Verb
    name: str
    values: tuple[Template, ...] = ()
    pattern: Pattern | None = None
    matches: Callable[[str], object] | None = None


def read_ops(node: Node, reader: Reader, name: str, header: bool) -> tuple[Op, ...]:
    """The edits in a mapping: verbs, and keys that are no verb and mean `set`."""
    mapping = reader.mapping(node, name, f"`{name}: {{x-name: value}}`")
    ops: list[Op] = []
    failed = False
    for key, child in mapping.entries:
        try:
            if key.text == "remove":
                ops.extend(_remove(item, reader, header) for item in reader.items(child))
            elif key.text in VERBS:
                inner = reader.mapping(child, f"{name}.{key.text}", f"`{key.text}: {{name: value}}`")
                ops.extend(_op(key.text, sub, value, reader, header) for sub, value in inner.entries)  # type: ignore[arg-type]
            else:
                ops.append(_op("set", key, child, reader, header))
        except Bad:
            failed = True
    if failed:
        raise Bad
    _conflicts(mapping, ops, reader, name)
    return tuple(ops)


def _op(verb: Verb, key: Scalar, child: Node, reader: Reader, header: bool) -> Op:
    if header:
        _check_name(key, reader)
    if isinstance(child, nodes.Scalar) and child.empty:
        reader.fail(
            "RP103", key, f"`{key.text}` has no value",
            f'to remove it write `remove: [{key.text}]`, for an empty value write ""',
        )  # fmt: skip
    if verb == "replace":
        return Op(verb, key.text, pattern=Pattern.read(child, reader, key.text))
    values = tuple(Template.read(item, reader, key.text) for item in reader.items(child))
    if header:
        for value, item in zip(values, reader.items(child), strict=True):
            if value.constant is not None and re.search(r"[\r\n\0]", value.constant.strip()):
                reader.fail(
                    "RP609",
                    item,
                    f"the value of header `{key.text}` holds a line break",
                    "write one line; a list gives several fields",
                )
    return Op(verb, key.text, values)


def _remove(node: Node, reader: Reader, header: bool) -> Op:
    text = reader.text(node, "remove")
    return Op("remove", text, matches=re.compile(translate(text.lower() if header else text), re.DOTALL).match)


def _check_name(key: Scalar, reader: Reader) -> None:
    if not is_token(to_bytes(key.text)):
        bare = key.text.rstrip(": ")
        help = f"write `{bare}`" if is_token(to_bytes(bare)) else "letters, digits and !#$%&'*+-.^_`|~ are allowed"
        reader.fail("RP609", key, f"`{key.text}` is not a header name", help)
    if key.text.lower() in FRAMING:
        reader.note(
            "RP608", key, f"`{key.text}` belongs to the connection and is written by the proxy",
            "remove this line; the length follows the body by itself", severity="warning",
        )  # fmt: skip


def _conflicts(mapping: nodes.Mapping, ops: Iterable[Op], reader: Reader, name: str) -> None:
    """The same name set and removed in one rule: one of the two does nothing."""
    made = {op.name.lower(): op for op in ops if op.verb in ("set", "default")}
    for op in ops:
        if op.verb == "remove" and op.name.lower() in made:
            reader.note(
                "RP607", mapping.key("remove") or mapping, f"`{op.name}` is set and removed in the same `{name}`",
                "keep one of the two: `set` replaces every old value by itself",
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Edits of a header section, in order."""

    ops: tuple[Op, ...]

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> HeaderEdits:
        return cls(read_ops(node, reader, name, header=True))

    def apply(self, message: HTTPMessage, flow: HTTPFlow, captures: Captures) -> None:
        """Edit the headers of `message`.

        Raises:
            ValueError: a value could not go over the wire; nothing has been changed then.
        """
        headers = message.headers.copy()
        for op in self.ops:
            if op.verb == "remove":
                assert op.matches is not None
                headers.raw = [field for field in headers.raw if not op.matches(to_str(field[0]))]
                continue
            if op.verb == "replace":
                assert op.pattern is not None
                old = headers.get_all(op.name)
                if old:
                    headers.set_all(op.name, [op.pattern.apply(value, flow, captures) for value in old])
                continue
            values = [value.fill(flow, captures) for value in op.values]
            if op.verb == "set":
                headers.set_all(op.name, values)
            elif op.verb == "add" or op.name not in headers:
                for value in values:
                    headers.add(op.name, value)
        message.headers = headers

    def pairs(self, flow: HTTPFlow, captures: Captures) -> list[tuple[str, str]]:
        """The fields that these edits make from nothing."""
        return [(op.name, value.fill(flow, captures)) for op in self.ops if op.verb != "remove" for value in op.values]


@dataclass(frozen=True, slots=True)
class QueryEdits:
    """Edits of the query, in order. Parameters that no edit names keep their spelling."""

    ops: tuple[Op, ...]

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> QueryEdits:
        return cls(read_ops(node, reader, name, header=False))

    def apply(self, request: HTTPRequest, flow: HTTPFlow, captures: Captures) -> None:
        """Edit the query of `request`."""
        path, found, query = request.path.partition("?")
        pieces = [(_name_of(piece), piece) for piece in query.split("&")] if found and query else []
        for op in self.ops:
            pieces = self._one(op, pieces, flow, captures)
        text = "&".join([piece for _, piece in pieces])
        request.path = f"{path}?{text}" if text else path

    def _one(self, op: Op, pieces: list[tuple[str, str]], flow: HTTPFlow, captures: Captures) -> list[tuple[str, str]]:
        if op.verb == "remove":
            assert op.matches is not None
            return [piece for piece in pieces if not op.matches(piece[0])]
        if op.verb == "replace":
            assert op.pattern is not None
            return [
                _piece(op.name, op.pattern.apply(unquote_plus(raw.partition("=")[2]), flow, captures))
                if name == op.name else (name, raw)
                for name, raw in pieces
            ]  # fmt: skip
        new = [_piece(op.name, value.fill(flow, captures)) for value in op.values]
        if op.verb == "add":
            return [*pieces, *new]
        at = [i for i, (name, _) in enumerate(pieces) if name == op.name]
        if op.verb == "default":
            return pieces if at else [*pieces, *new]
        first = at[0] if at else len(pieces)
        rest = [piece for i, piece in enumerate(pieces) if i not in at]
        return [*rest[:first], *new, *rest[first:]]


def _name_of(piece: str) -> str:
    return unquote_plus(piece.partition("=")[0], errors="surrogateescape")


def _piece(name: str, value: str) -> tuple[str, str]:
    return name, f"{quote_plus(name, errors='surrogateescape')}={quote_plus(value, errors='surrogateescape')}"


@dataclass(frozen=True, slots=True)
class FilePath:
    """A file of the user's, resolved against the folder of the rule file."""

    path: Path
    shown: str

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> FilePath:
        scalar = reader.scalar(node, name, "a file")
        path = reader.folder / scalar.text
        reader.touched.append(path)
        if path.is_dir():
            reader.fail("RP603", scalar, f"{name} `{scalar.text}` is a folder, a file is wanted here")
        if not path.is_file():
            missing_file(scalar, path, reader, name)
        return cls(path.resolve(), scalar.text)

    def body(self) -> FileBody:
        """The whole file as a body, as long as it is now.

        Raises:
            OSError: it is not there any more.
        """
        return FileBody(self.path, 0, self.path.stat().st_size)


def missing_file(scalar: Scalar, path: Path, reader: Reader, name: str) -> None:
    """Record that a file does not exist, with the nearest name in its folder."""
    from rulesproxy.diagnostics import suggest

    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    meant = suggest(path.name, beside)
    help = (
        f"did you mean `{scalar.text.removesuffix(path.name)}{meant}`?"
        if meant
        else "the path is relative to the rule file"
    )
    reader.fail("RP601", scalar, f"{name} `{scalar.text}` does not exist", help)


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

    set: Template | None = None
    file: FilePath | None = None
    replace: tuple[Pattern, ...] = ()
    prepend: Template | None = None
    append: Template | None = None

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> BodyEdits:
        if isinstance(node, nodes.Scalar):
            # An empty body is a wish of its own; here nothing else could be meant by it.
            return cls(set=Template.of("") if node.empty else Template.read(node, reader, name))
        edits = reader.record(cls, reader.mapping(node, name), name)
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
            body = self.file.body()
            replace_body(message, body, body.length)
            return
        if self.needs_old and message.get_content(strict=True) is None:
            raise ValueError("the body was not read")
        if self.file is not None:
            content = self.file.path.read_bytes()
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
    if message.trailers is not None:
        for name in _DIGESTS:
            message.trailers.pop(name, None)


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


def no_body(flow: HTTPFlow) -> bool:
    """Whether the response has no body whatever its headers say (RFC 9110 section 6.4.1)."""
    assert flow.response is not None
    status = flow.response.status_code
    return flow.request.method == "HEAD" or status < 200 or status in (204, 304)


__all__ = [
    "BodyEdits", "FilePath", "HeaderEdits", "Mapping", "QueryEdits", "body_changed", "missing_file", "no_body",
    "prepare_for_body_edit", "replace_body",
]  # fmt: skip
