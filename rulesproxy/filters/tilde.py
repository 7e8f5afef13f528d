"""The `~` filters: mitmproxy's notation, said in fields and operators.

The grammar knows every name; which of them are in use is the table here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rulesproxy.diagnostics import suggest
from rulesproxy.filters import ast, typed
from rulesproxy.filters.fields import FIELDS
from rulesproxy.filters.functions import in_bytes
from rulesproxy.filters.problem import FilterError, Problem, error, warning
from rulesproxy.filters.regex import regex

_WITH_REGEX = frozenset("b bq bs comment d dst h hq hs m marker meta src t tq ts u".split())  # noqa: SIM905
_ALONE = frozenset("a all dns e http marked q replay replayq replays s tcp udp websocket".split())  # noqa: SIM905
_STATUS = re.compile(r"(\d)xx|(\d+)(?:-(\d+))?").fullmatch
_SYNONYMS = {
    "domain": "d", "host": "d", "url": "u", "path": "u", "method": "m", "status": "c", "code": "c", "header": "h",
    "headers": "h", "request": "q", "response": "s", "any": "all", "body": "b", "request_body": "bq",
    "response_body": "bs", "type": "t", "content_type": "t", "error": "e", "asset": "a", "ws": "websocket", "ip": "src",
    "client": "src", "server": "dst", "tag": "marker", "tags": "marker", "mark": "marked",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TildeFilter:
    """A `~` filter: what it means in one sentence, what it is made into, and what is said to whoever uses it."""

    name: str
    doc: str
    make: Callable[[ast.Tilde], typed.Node]
    doubt: str = ""


def desugar(node: ast.Tilde) -> tuple[typed.Node, tuple[Problem, ...]]:
    """The typed form of a `~` filter, and warnings.

    Raises:
        FilterError: there is no such filter, or its regex or status is bad.
    """
    known = TILDE.get(node.name)
    if known is None:
        raise FilterError([unknown(node.name, node.start, node.start + 1 + len(node.name))])
    if known.doubt:
        help = "remove it; the proxy sees HTTP, WebSocket and TCP"
        return known.make(node), (warning("RP310", known.doubt, node.start, node.end, help),)
    return known.make(node), ()


def in_grammar(name: str) -> bool:
    """Whether the grammar can read `~name`."""
    return name in _WITH_REGEX or name in _ALONE or name == "c"


def wants_argument(name: str) -> bool:
    """Whether the grammar wants something after `~name`."""
    return name in _WITH_REGEX or name == "c"


def unknown(name: str, start: int, end: int) -> Problem:
    """The problem of a `~` filter that there is not."""
    known = " ".join(f"~{each}" for each in TILDE)
    status = re.fullmatch(r"c(\d\w*)", name)
    lower = name.lower()
    near = _SYNONYMS.get(lower) or (lower if lower in TILDE else None) or (f"c {status.group(1)}" if status else None)
    if near is None and len(name) > 2:
        near = suggest(name, TILDE)
    help = f"did you mean `~{near}`? the filters are {known}" if near else f"the filters are {known}"
    return error("RP212", f"unknown filter `~{name}`", start, end, help)


_Make: TypeAlias = Callable[[ast.Tilde], typed.Node]


def _search(*fields: str, lines: bool = False, dot_all: bool = False) -> _Make:
    """A regex search in one of some fields, ignoring case. `dot_all`: a dot is also a line break."""
    specs = [FIELDS[field] for field in fields]

    def make(node: ast.Tilde) -> typed.Node:
        assert node.argument is not None
        tests: list[typed.Node] = []
        for spec in specs:
            found = regex(
                node.argument,
                ignore_case=True,
                lines=lines,
                fold=spec.fold,
                dot_all=dot_all,
                long=spec.long,
            )
            read = in_bytes(typed.Read(spec), node.argument.value)
            tests.append(typed.Test(read, "~", found, node.start, node.end))
        return tests[0] if len(tests) == 1 else typed.Or(tuple(tests), node.start, node.end)

    return make


def _true(field: str, op: Literal["true", "has"] = "true") -> _Make:
    read = typed.Read(FIELDS[field])
    return lambda node: typed.Test(read, op, None, node.start, node.end)


def _equals(field: str, value: str) -> _Make:
    read = typed.Read(FIELDS[field])
    return lambda node: typed.Test(read, "==", value, node.start, node.end)


def _no_response(node: ast.Tilde) -> typed.Node:
    return typed.Not(_true("~s")(node), node.start, node.end)


def _never(node: ast.Tilde) -> typed.Node:
    return typed.Const(False, node.start, node.end)


def _asset(node: ast.Tilde) -> typed.Node:
    read = typed.Read(FIELDS["response.content_type"])
    words = ("text/javascript", "application/x-javascript", "application/javascript", "text/css")
    starts = ("image/", "font/", "application/font")
    return typed.Or(
        (
            typed.Test(read, "in", typed.Members(frozenset(words)), node.start, node.end),
            typed.Test(read, "startswith", starts, node.start, node.end),
        ),
        node.start,
        node.end,
    )


def _status(node: ast.Tilde) -> typed.Node:
    assert node.argument is not None
    text = node.argument
    match = _STATUS(text.value)
    assert match is not None, text.value
    kind, low, high = match.groups()
    read = typed.Read(FIELDS["response.status"])
    if kind is None and high is None:
        return typed.Test(read, "==", int(low), node.start, node.end)
    first, last = (int(kind) * 100, int(kind) * 100 + 99) if kind else (int(low), int(high))
    if first > last:
        title = f"the range {text.value} is empty"
        raise FilterError([error("RP308", title, text.start, text.end, f"write `{last}-{first}`")])
    members = typed.Members(frozenset(), ((first, last),))
    return typed.Test(read, "in", members, node.start, node.end)


TILDE: dict[str, TildeFilter] = {
    known.name: known
    for known in (
        TildeFilter("all", "Everything.", lambda node: typed.Const(True, node.start, node.end)),
        TildeFilter("a", "The response is an asset: CSS, JavaScript, an image or a font.", _asset),
        TildeFilter("b", "The body of the request, or of the response.", _search("~bq", "~b", dot_all=True)),
        TildeFilter("bq", "The body of the request.", _search("~bq", dot_all=True)),
        TildeFilter("bs", "The body of the response.", _search("~bs", dot_all=True)),
        TildeFilter("c", "The status: a number, `4xx`, or `200-299`.", _status),
        TildeFilter("d", "The host, or that of the Host header.", _search("~d")),
        TildeFilter("dst", "Host and port of the server, such as `a.test:443`.", _search("~dst")),
        TildeFilter("e", "The flow failed.", _true("~e")),
        TildeFilter("h", "The header section of the request, or of the response.", _search("~hq", "~h", lines=True)),
        TildeFilter("hq", "The header section of the request.", _search("~hq", lines=True)),
        TildeFilter("hs", "The header section of the response.", _search("~hs", lines=True)),
        TildeFilter("http", "An HTTP exchange.", _true("~http")),
        TildeFilter("m", "The method.", _search("method")),
        TildeFilter("q", "There is no response yet.", _no_response),
        TildeFilter("s", "There is a response.", _true("~s")),
        TildeFilter("src", "Address and port of the client, such as `192.0.2.7:51000`.", _search("~src")),
        TildeFilter("t", "The Content-Type of the request, or of the response.", _search("~tq", "~t")),
        TildeFilter("tq", "The Content-Type of the request.", _search("~tq")),
        TildeFilter("ts", "The Content-Type of the response.", _search("~ts")),
        TildeFilter("tcp", "A raw TCP conversation.", _true("~tcp")),
        TildeFilter("u", "The URL, with the host of the Host header.", _search("~u")),
        TildeFilter("websocket", "A WebSocket, or the request for one.", _true("~websocket")),
        TildeFilter("replay", "One side did not come from the wire.", _true("~replay", "has")),
        TildeFilter("replayq", "The request did not come from the wire.", _equals("~replay", "request")),
        TildeFilter("replays", "The response did not come from the wire.", _equals("~replay", "response")),
        TildeFilter("meta", "A tag of the flow.", _search("flow.tags", lines=True)),
        TildeFilter("marked", "The flow has a tag.", _true("flow.tags", "has")),
        TildeFilter("marker", "A tag of the flow.", _search("flow.tags")),
        TildeFilter("comment", "A tag of the flow.", _search("flow.tags", lines=True)),
        TildeFilter("udp", "Never: the proxy does not see UDP.", _never, "`~udp` is never true: there is no UDP here"),
        TildeFilter("dns", "Never: the proxy does not see DNS.", _never, "`~dns` is never true: there is no DNS here"),
    )
}
"""The `~` filters, by name without the `~`."""
