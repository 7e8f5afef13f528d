"""Edits of `multipart/form-data` bodies (RFC 7578): fields are set, added and removed, other parts keep their bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rulesproxy.flow import forms
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.edits.fields import Op
from rulesproxy.rules.template import Captures

_FILE = re.compile(rb"(?im)^content-disposition:[^\r\n]*;[ \t]*filename\*?=").search


class _Part(NamedTuple):
    """A part: its name, and its bytes with the delimiter in front of them."""

    name: str
    raw: bytes


def edited(ops: Sequence[Op], content: bytes, boundary: str, flow: HTTPFlow, captures: Captures) -> bytes:
    """The body after the edits, in order.

    Raises:
        ValueError: it is no multipart body with this boundary, or a value holds the boundary.
    """
    delimiter = re.compile(rb"\r\n--" + re.escape(boundary.encode()) + rb"(--|[ \t]*(?=\r\n))")
    # A delimiter begins a line, and the line break before it belongs to it (RFC 2046 section 5.1.1).
    text = b"\r\n" + content
    marks = list(delimiter.finditer(text))
    end = next((number for number, mark in enumerate(marks) if mark[1] == b"--"), -1)
    if end < 0:
        raise ValueError("the body is no multipart form, or it is cut short")
    starts = [mark.start() for mark in marks[: end + 1]]
    parts = [_Part(_name(text[start:stop], boundary), text[start:stop]) for start, stop in pairwise(starts)]
    for op in ops:
        parts = _one(op, parts, boundary, flow, captures)
    return b"".join([text[: starts[0]], *[part.raw for part in parts], text[starts[-1] :]])[2:]


def _name(raw: bytes, boundary: str) -> str:
    found = forms.parse_multipart(raw[2:] + b"\r\n--" + boundary.encode() + b"--", boundary)
    return found[0][0].decode("utf-8", "surrogateescape") if found else ""


def _one(op: Op, parts: list[_Part], boundary: str, flow: HTTPFlow, captures: Captures) -> list[_Part]:
    if op.verb == "remove":
        assert op.matches is not None
        return [part for part in parts if not op.matches(part.name)]
    if op.pattern is not None:
        return [_replaced(op, part, boundary, flow, captures) if part.name == op.name else part for part in parts]
    new = [_made(op.name, value.fill(flow, captures), boundary) for value in op.values]
    at = [number for number, part in enumerate(parts) if part.name == op.name]
    if op.verb == "add" or not at:
        return [*parts, *new]
    if op.verb == "default":
        return parts
    rest = [part for part in parts if part.name != op.name]
    return [*rest[: at[0]], *new, *rest[at[0] :]]


def _replaced(op: Op, part: _Part, boundary: str, flow: HTTPFlow, captures: Captures) -> _Part:
    assert op.pattern is not None
    head, blank, body = part.raw.partition(b"\r\n\r\n")
    if _FILE(head):
        return part
    value = op.pattern.apply(body.decode("utf-8", "surrogateescape"), flow, captures)
    return _Part(part.name, head + blank + _checked(value, boundary))


def _made(name: str, value: str, boundary: str) -> _Part:
    shown = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{shown}"\r\n\r\n'
    return _Part(name, head.encode("utf-8", "surrogateescape") + _checked(value, boundary))


def _checked(value: str, boundary: str) -> bytes:
    if f"--{boundary}" in value:
        raise ValueError("a value holds the boundary of the form")
    return value.encode("utf-8", "surrogateescape")
