"""Warnings about comparisons that are allowed and never do what was meant."""

from __future__ import annotations

import re
from collections.abc import Callable

from rulesproxy.diagnostics import suggest
from rulesproxy.filters import ast, regex_hints, typed
from rulesproxy.filters.fields import Kind
from rulesproxy.filters.problem import Problem, info, warning
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.regex_hints import about_regex as about_regex
from rulesproxy.filters.typed import Read

_COOKIE = re.compile(r"([\w.-]+)=([^;\"\\]*)").fullmatch
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""The methods that everybody knows (RFC 9110 section 9.3, RFC 5789)."""
_OTHER_METHODS = frozenset({
    "ACL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKCALENDAR", "MKCOL",
    "MOVE", "ORDERPATCH", "PRI", "PROPFIND", "PROPPATCH", "PURGE", "QUERY", "REBIND", "REPORT", "SEARCH",
    "SOURCE", "BATCH", "TRACK", "UNBIND", "UNLINK", "UNLOCK", "UPDATE",
})  # fmt: skip
"""Methods that are no slip of one of those (IANA's registry, and what caches and media servers use)."""


def about_text(read: Read, op: str, value: str, node: ast.Operand | ast.Item, warn: Callable[[Problem], None]) -> None:
    """Warn where a text can never equal, start or contain what `read` gives."""
    if read.functions:
        _about_case(read, op, value, node, warn)
    elif read.kind is Kind.HOST:
        _about_host(read, op, value, node, warn)
    elif read.kind is Kind.PATH:
        _about_path(op, value, node, warn)
    elif read.field.name == "url" and op in ("==", "in", "startswith"):
        _about_url(op, value, node, warn)
    elif read.key == b"cookie" and read.field.name == "request.header":
        _about_cookie(op, value, node, warn)
    elif read.kind is Kind.METHOD and op in ("==", "in") and value.upper() not in _OTHER_METHODS.union(METHODS):
        near = suggest(value.upper(), METHODS)
        if near:
            help = f"did you mean `{near}`?"
            warn(warning("RP305", f"`{value}` is no method that is in use", node.start, node.end, help))


def about_header(name: str, value: ast.Field, warn: Callable[[Problem], None]) -> None:
    """Warn where a header name is none: such a header is always missing."""
    if _TOKEN(name):
        return
    end = value.end
    if name.endswith(":") and _TOKEN(name[:-1]):
        help = f'write `{value.name}["{name[:-1]}"]`'
    else:
        help = f'a name has letters, digits and `-`; a value is compared: `{value.name}["x"] contains "…"`'
    warn(warning("RP311", f"`{name}` is not a header name", value.start, end, help))


def about_tilde(node: ast.Tilde, made: typed.Node, warn: Callable[[Problem], None]) -> typed.Node:
    """Warn about the regex of a `~` filter, which `made` searches with; `made` itself."""
    if isinstance(made, typed.Test) and made.op == "~" and isinstance(made.operand, Regex):
        regex_hints.about_tilde(node, made.read, made.operand, warn)
    return made


def about_bodies(head_only: typed.Node, warn: Callable[[Problem], None]) -> None:
    """Warn where a filter reads bodies, and nothing that is known without them says which."""
    if _constant(head_only) is True:
        title = "this makes every body wait until it is complete: nothing else in the filter says which are meant"
        help = 'add a condition that is known before: `host == "…"`, `method == POST`, or a content type'
        warn(warning("RP403", title, head_only.start, head_only.end, help))


def _constant(node: typed.Node) -> bool | None:
    """What a tree is for every flow; None where it depends."""
    if isinstance(node, typed.Const):
        return node.value
    if isinstance(node, typed.Not):
        inner = _constant(node.item)
        return None if inner is None else not inner
    if isinstance(node, (typed.And, typed.Or)):
        decides = isinstance(node, typed.Or)
        values = [_constant(item) for item in node.items]
        return decides if decides in values else None if None in values else not decides
    return None


def _about_cookie(op: str, value: str, node: ast.Operand | ast.Item, warn: Callable[[Problem], None]) -> None:
    """A cookie that is looked for in the header, where `sid=1` also finds `xsid=10`."""
    found = _COOKIE(value)
    if found is None or op not in ("==", "contains", "startswith"):
        return
    name, is_value = found.groups()
    help = f'`request.cookie["{name}"] == "{is_value}"`' if is_value else f'`has(request.cookie["{name}"])`'
    warn(info("RP311", "a cookie has a field of its own", node.start, node.end, f"{help} reads exactly this cookie"))


def _about_case(read: Read, op: str, value: str, node: ast.Operand | ast.Item, warn: Callable[[Problem], None]) -> None:
    """Letters that `lower` and `upper` never give."""
    function = read.functions[-1].name
    never = {"lower": r"[A-Z]", "upper": r"[a-z]"}.get(function)
    if never is not None and re.search(never, value):
        right = value.lower() if function == "lower" else value.upper()
        title = f"`{function}(…)` never gives such letters: this is never true"
        warn(warning("RP305", title, node.start, node.end, f'write `"{right}"`'))


def _about_host(read: Read, op: str, value: str, node: ast.Operand | ast.Item, warn: Callable[[Problem], None]) -> None:
    name = read.field.name
    if any(character.isspace() for character in value):
        title = f"a host has no blanks: `{name}` never has this value"
        warn(warning("RP309", title, node.start, node.end, f"several hosts are a set: `{name} in {{…}}`"))
    elif "://" in value or "/" in value:
        title = f"`{name}` has no scheme and no path"
        warn(warning("RP309", title, node.start, node.end, "use `url`, or give the host alone"))
    elif op in ("==", "in", "under", "endswith") and value.count(":") == 1 and value.rpartition(":")[2].isdigit():
        host, _, port = value.rpartition(":")
        help = f'write `{name} == "{host}" and port == {port}`'
        warn(warning("RP309", f"`{name}` has no port", node.start, node.end, help))
    elif "*" in value and op in ("==", "in", "startswith", "endswith", "contains"):
        fix = f'`{name} under "{value[2:]}"`' if value.startswith("*.") else f'`{name} glob "{value}"`'
        warn(warning("RP317", f"`{op}` takes `*` literally", node.start, node.end, f"write {fix}"))


def _about_path(op: str, value: str, node: ast.Operand | ast.Item, warn: Callable[[Problem], None]) -> None:
    if "?" in value:
        help = 'use `query["name"]`, or `url`'
        warn(warning("RP316", "the query is not in `path`", node.start, node.end, help))
    elif op in ("==", "in", "startswith", "under") and value and not value.startswith("/") and value != "*":
        warn(warning("RP315", "paths start with `/`: this is never true", node.start, node.end, f'write `"/{value}"`'))


def _about_url(op: str, value: str, node: ast.Operand | ast.Item, warn: Callable[[Problem], None]) -> None:
    schemes = ("http://", "https://")
    begun = op == "startswith" and any(scheme.startswith(value) for scheme in schemes)
    if not begun and not value.startswith(schemes):
        rest = value.rpartition("://")[2].lstrip("/")
        title = "a URL starts with `http://` or `https://`: this is never true"
        warn(warning("RP315", title, node.start, node.end, f'write `"https://{rest}"`, or search with `contains`'))
