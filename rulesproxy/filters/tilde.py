"""The `~` filters: mitmproxy's notation, said in fields and operators.

The grammar knows every name; which of them are in use is the table here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from rulesproxy.diagnostics import suggest
from rulesproxy.filters import ast, typed
from rulesproxy.filters.fields import FIELDS
from rulesproxy.filters.problem import FilterError, Problem, error
from rulesproxy.filters.regex import regex

_WITH_REGEX = frozenset("b bq bs comment d dst h hq hs m marker meta src t tq ts u".split())  # noqa: SIM905
_ALONE = frozenset("a all dns e http marked q replay replayq replays s tcp udp websocket".split())  # noqa: SIM905
_STATUS = re.compile(r"(\d)xx|(\d+)(?:-(\d+))?").fullmatch
_SYNONYMS = {
    "domain": "d", "host": "d", "url": "u", "path": "u", "method": "m", "status": "c", "code": "c", "header": "h",
    "headers": "h", "request": "q", "response": "s", "any": "all",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TildeFilter:
    """A `~` filter: what it means in one sentence, and what it is made into."""

    name: str
    doc: str
    make: Callable[[ast.Tilde], typed.Node]


def desugar(node: ast.Tilde) -> typed.Node:
    """The typed form of a `~` filter.

    Raises:
        FilterError: there is no such filter, or its regex or status is bad.
    """
    known = TILDE.get(node.name)
    if known is None:
        raise FilterError([unknown(node.name, node.start, node.start + 1 + len(node.name))])
    return known.make(node)


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
    near = _SYNONYMS.get(name) or (f"c {status.group(1)}" if status else None)
    if near is None and len(name) > 2:
        near = suggest(name, TILDE)
    help = f"did you mean `~{near}`? the filters are {known}" if near else f"the filters are {known}"
    return error("RP212", f"unknown filter `~{name}`", start, end, help)


def _search(field: str, *, lines: bool = False) -> Callable[[ast.Tilde], typed.Node]:
    """A regex search in a field, ignoring case."""
    spec = FIELDS[field]

    def make(node: ast.Tilde) -> typed.Node:
        assert node.argument is not None
        found = regex(node.argument, ignore_case=True, lines=lines, fold=spec.fold, long=bool(spec.body))
        return typed.Test(typed.Read(spec), "~", found, node.start, node.end)

    return make


def _either_header(node: ast.Tilde) -> typed.Node:
    request, response = _search("~hq", lines=True)(node), _search("~h", lines=True)(node)
    return typed.Or((request, response), node.start, node.end)


def _has_response(node: ast.Tilde) -> typed.Node:
    return typed.Test(typed.Read(FIELDS["~s"]), "true", None, node.start, node.end)


def _no_response(node: ast.Tilde) -> typed.Node:
    return typed.Not(_has_response(node), node.start, node.end)


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
        TildeFilter("c", "The status: a number, `4xx`, or `200-299`.", _status),
        TildeFilter("d", "The host, or that of the Host header.", _search("~d")),
        TildeFilter("h", "The header section of the request, or of the response.", _either_header),
        TildeFilter("hq", "The header section of the request.", _search("~hq", lines=True)),
        TildeFilter("hs", "The header section of the response.", _search("~hs", lines=True)),
        TildeFilter("m", "The method.", _search("method")),
        TildeFilter("q", "There is no response yet.", _no_response),
        TildeFilter("s", "There is a response.", _has_response),
        TildeFilter("u", "The URL, with the host of the Host header.", _search("~u")),
    )
}
"""The `~` filters in use, by name without the `~`."""
