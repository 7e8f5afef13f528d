"""Warnings about comparisons that are allowed and never do what was meant."""

from __future__ import annotations

from collections.abc import Callable

from rulesproxy.diagnostics import suggest
from rulesproxy.filters import ast
from rulesproxy.filters.fields import Kind
from rulesproxy.filters.problem import Problem, warning
from rulesproxy.filters.typed import Read

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""The methods that everybody knows (RFC 9110 section 9.3, RFC 5789). Others exist."""


def about_text(read: Read, op: str, value: str, node: ast.Operand | ast.Item, warn: Callable[[Problem], None]) -> None:
    """Warn where a text can never equal, start or contain what `read` gives."""
    if read.functions:
        return
    if read.kind is Kind.HOST:
        _about_host(read, op, value, node, warn)
    elif read.kind is Kind.PATH:
        _about_path(op, value, node, warn)
    elif read.kind is Kind.METHOD and op in ("==", "in") and value.upper() not in METHODS:
        near = suggest(value.upper(), METHODS)
        if near:
            help = f"did you mean `{near}`?"
            warn(warning("RP305", f"`{value}` is no method that is in use", node.start, node.end, help))


def _about_host(read: Read, op: str, value: str, node: ast.Operand | ast.Item, warn: Callable[[Problem], None]) -> None:
    name = read.field.name
    if "://" in value or "/" in value:
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
