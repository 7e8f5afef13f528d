"""Suggestions for misspelt names, and diagnostics as one line of text."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.diagnostics import Diagnostic, DiagnosticError, Source, Span, edit_distance, suggest

KNOWN = ["request", "response", "requestheaders", "host", "path", "method", "status"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("requst", "request"),
        ("reqeust", "request"),
        ("requestheader", "requestheaders"),
        ("hots", "host"),
        ("hosts", "host"),
        ("Host", "host"),
        ("paht", "path"),
        ("host", "host"),
        ("hxxt", None),
        ("banana", None),
        ("", None),
        ("uri", "path"),
    ],
)
def test_suggest(name: str, meant: str | None) -> None:
    assert suggest(name, KNOWN, {"uri": "path"}) == meant


def test_suggest_takes_the_nearest() -> None:
    assert suggest("abcdef", ["abxxef", "abcxef", "abcdexx"]) == "abcxef"
    assert suggest("abcd", ["abcx", "abcy"]) == "abcx", "the first of equals"
    assert suggest("abc", []) is None


@cache
def plain_distance(a: str, b: str) -> int:
    """Optimal string alignment as it is defined."""
    if not a or not b:
        return len(a) + len(b)
    costs = [
        plain_distance(a[:-1], b) + 1,
        plain_distance(a, b[:-1]) + 1,
        plain_distance(a[:-1], b[:-1]) + (a[-1] != b[-1]),
    ]
    if len(a) > 1 and len(b) > 1 and a[-1] == b[-2] and a[-2] == b[-1]:
        costs.append(plain_distance(a[:-2], b[:-2]) + 1)
    return min(costs)


words = st.text("abc", max_size=7)


@given(words, words, st.integers(0, 8))
def test_edit_distance(a: str, b: str, limit: int) -> None:
    assert edit_distance(a, b, limit) == min(plain_distance(a, b), limit + 1)
    assert edit_distance(a, b, limit) == edit_distance(b, a, limit)


SOURCE = Source("rules/a.yaml", "first\r\nsecond\n")


@pytest.mark.parametrize(("number", "line"), [(0, ""), (1, "first"), (2, "second"), (3, ""), (4, ""), (-1, "")])
def test_lines(number: int, line: str) -> None:
    assert SOURCE.line(number) == line


def test_a_diagnostic_is_one_line() -> None:
    placed = Diagnostic("RP101", "error", "unknown key 'hots'", Span(SOURCE, 2, 3, 2, 7))
    lost = Diagnostic("RP001", "warning", "the file is empty")
    assert str(placed) == "rules/a.yaml:2:3: error[RP101]: unknown key 'hots'"
    assert str(lost) == "warning[RP001]: the file is empty"
    error = DiagnosticError(iter([placed, lost]))
    assert error.diagnostics == (placed, lost)
    assert str(error) == f"{placed}\n{lost}"
