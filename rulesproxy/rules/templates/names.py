"""What the names in templates mean: captures, variables, the environment, fields, and values that rules make."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import suggest
from rulesproxy.filters.fields import public_names
from rulesproxy.filters.phases import MESSAGES
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow, HTTPRequest
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.rules.templates import fields as template_fields
from rulesproxy.rules.templates.filters import Captures, Read, request_of

if TYPE_CHECKING:
    from rulesproxy.rules.schema import Names

COUNTER, NOW, UUID = "counter", "now", "uuid"
MADE = (COUNTER, NOW, UUID)
"""Values that are made for the rule: on how many flows it has acted, the time, an identifier of the flow. A handler
gets them with the captures, under these names behind a `$`."""

_INDEXED = re.compile(r"""(query|request\.header|request\.cookie|response\.header)\[\s*(["'])(.*?)\2\s*\]""")
_OF_REQUEST: dict[str, Callable[[HTTPRequest], str | None]] = {
    "method": lambda request: request.method,
    "scheme": lambda request: request.scheme,
    "host": lambda request: request.host,
    "port": lambda request: str(request.port),
    "path": lambda request: request.path.partition("?")[0],
    "url": lambda request: request.url,
    "http.version": lambda request: request.http_version,
    "request.text": lambda request: request.text,
}
_OF_FLOW: dict[str, Callable[[HTTPFlow], str | None]] = {
    "client.ip": lambda flow: flow.client_conn.address[0],
    "orig.method": lambda flow: flow.orig.method,
    "orig.host": lambda flow: flow.orig.host,
    "orig.path": lambda flow: flow.orig.path.partition("?")[0],
    "orig.url": lambda flow: flow.orig.url,
    "response.status": lambda flow: None if flow.response is None else str(flow.response.status_code),
    "response.text": lambda flow: None if flow.response is None else flow.response.text,
}
_FROM_PATH = frozenset({"path", "path.raw", "orig.path"})
_CAPTURE = re.compile(r"[A-Za-z_]\w*").fullmatch


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name means.

    Attributes:
        read: how its value is read.
        fixed: its value is known when the file is loaded.
        from_path: its value is a piece of a path.
        hides: it is a capture, and there is something else of this name.
        empty: it is a variable of the environment that is set, and empty.
    """

    read: Read
    fixed: bool = False
    from_path: bool = False
    hides: bool = False
    empty: bool = False


def meaning(name: str, names: Names) -> Meaning | None:
    """What a name means; None where it means nothing."""
    if names.captures is None:
        # Of a bad filter nothing is known, so that any word may be a capture of it.
        if _CAPTURE(name):
            return Meaning(_capture(name))
    elif name in names.captures:
        hides = name in MADE or template_fields.field_of(name) is not None
        return Meaning(_capture(name), from_path=names.captures[name] in _FROM_PATH, hides=hides)
    if name.startswith(("env:", "vars.")):
        value = names.env.get(name[4:]) if name.startswith("env:") else names.vars.get(name[5:])
        # The environment of rules that are not in force has every variable, and none of its own.
        empty = value == "" and name.startswith("env:") and bool(names.env)
        return None if value is None else Meaning(_literal(value), fixed=True, empty=empty)
    if name in MADE:
        return Meaning(_made(name))
    if name in _OF_REQUEST:
        of_request = _OF_REQUEST[name]
        return Meaning(lambda flow, captures: of_request(request_of(flow, captures)), from_path=name in _FROM_PATH)
    if name in _OF_FLOW:
        of_flow = _OF_FLOW[name]
        return Meaning(lambda flow, captures: of_flow(flow), from_path=name in _FROM_PATH)
    indexed = _INDEXED.fullmatch(name)
    if indexed is not None:
        return Meaning(_indexed(indexed.group(1), indexed.group(3)))
    field = template_fields.field_of(name)
    if field is not None and not field.phases & ~MESSAGES and template_fields.read_of(name) is not None:
        # It is read together with the captures, when the rule meets a message.
        return Meaning(_made(name))
    read = template_fields.reader(name)
    return None if read is None else Meaning(_of_field(read), from_path=name in _FROM_PATH)


def hint(name: str, names: Names) -> str:
    """What somebody may have meant with a name that means nothing."""
    if name.startswith("env:"):
        return f"set the environment variable {name[4:]} before this file is loaded, or give it a `default('…')`"
    if name.startswith("vars."):
        meant = suggest(name[5:], names.vars)
        return f"did you mean `${{vars.{meant}}}`?" if meant else "define it under `vars:`"
    if name in names.vars:
        return f"write `${{vars.{name}}}`"
    known = (*_OF_REQUEST, *_OF_FLOW, *public_names(), *MADE)
    candidates = [*(names.captures or ()), *(f"vars.{key}" for key in names.vars), *known]
    meant = suggest(name, candidates)
    if meant:
        return f"did you mean `${{{meant}}}`?"
    captured = ", ".join(names.captures or ())
    if captured:
        return f"this filter captures {captured}"
    return "this filter captures nothing: name a group, as in `(?P<rest>.*)`"


def _capture(name: str) -> Read:
    return lambda flow, captures: captures.get(name)


def _made(name: str) -> Read:
    key = f"${name}"
    return lambda flow, captures: captures.get(key)


def _literal(value: str) -> Read:
    return lambda flow, captures: value


def _of_field(read: Callable[[FlowView], str | None]) -> Read:
    def of(flow: HTTPFlow, captures: Captures) -> str | None:
        # Messages of raw TCP, which have no request, are filled in with their own flow.
        if isinstance(flow, TCPFlow):
            return read(FlowView.of_message(flow, None, 0))
        return read(FlowView(flow).at(request_of(flow, captures)))

    return of


def _indexed(kind: str, key: str) -> Read:
    def read(flow: HTTPFlow, captures: Captures) -> str | None:
        if kind == "query":
            return request_of(flow, captures).query.get(key)
        if kind == "request.cookie":
            return request_of(flow, captures).cookies.get(key)
        message = request_of(flow, captures) if kind == "request.header" else flow.response
        values = message.headers.get_all(key) if message is not None else ()
        return values[0] if values else None

    return read
