"""`match` as a mapping: the filter that it means, and where its mistakes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.diagnostics import Source
from rulesproxy.rules.files.compose import read_nodes
from rulesproxy.rules.load import load_text
from rulesproxy.rules.reading.match import filter_text
from rulesproxy.rules.schema import Reader


@pytest.mark.parametrize(
    ("match", "filter"),
    [
        ("{method: GET}", 'method == "GET"'),
        ("{method: [get, PUT], scheme: https}", 'method in {"get" "PUT"} and scheme == "https"'),
        ("{host: .a.test}", 'host under ".a.test"'),
        ("{host: [.a.test, b.test, '*.c.test', d.test, .e.test]}",
         '(host in {"b.test" "d.test"} or host under {".a.test" ".e.test"} or host glob "*.c.test")'),
        ("{host: $api}", "host in $api"),
        ("{host: '$api'}", 'host == "$api"'),
        ("{host: [$apis, a.test]}", '(host == "a.test" or host in $apis)'),
        ("{path: '/u/{id}'}", 'path like "/u/{id}"'),
        ("{path: [/a, '/b/*']}", '(path == "/a" or path glob "/b/*")'),
        ("{status: 5xx}", "response.status in {500..599}"),
        ("{status: [404, 5XX, 200..204]}", "response.status in {404 500..599 200..204}"),
        ("{port: [80, 443]}", "port in {80 443}"),
        ("{header: {x-a: true, x-b: false, x-c: 'true'}}",
         'has(request.header["x-a"]) and not has(request.header["x-b"]) and request.header["x-c"] == "true"'),
        ("{query: {a: [1, '2*']}, cookie: {s: x}}",
         '(query["a"] == "1" or query["a"] glob "2*") and request.cookie["s"] == "x"'),
        (r"""{header: {x: 'a"b\c', y: "é\t"}}""",
         r'request.header["x"] == "a\"b\\c" and request.header["y"] == "é\x09"'),
    ],
)  # fmt: skip
def test_what_a_mapping_means(match: str, filter: str) -> None:
    reader = Reader(Path(), {})
    assert filter_text(read_nodes(Source("r.yaml", match)), reader).text == filter
    assert reader.problems == []


@pytest.mark.parametrize(
    ("match", "code", "marked"),
    [
        ("{hst: a}", "RP101", "hst"),
        ("{host: 'https://a.test'}", "RP309", "'https://a.test'"),
        ("{host: [a.test, b.test:80, c.test]}", "RP309", "b.test:80"),
        ("{path: '/{1}/{a}'}", "RP500", "{1}"),
        ('{path: "/\\x61/{1}/{a}"}', "RP500", "{1}"),
        ("{path: '/a*/{id}'}", "RP103", "'/a*/{id}'"),
        ("{port: [80, 99999]}", "RP308", "99999"),
        ("{port: 4xx}", "RP103", "4xx"),
        ("{status: many}", "RP103", "many"),
        ("{scheme: [http, htps]}", "RP303", "htps"),
        ("{header: {'x b': 1}}", "RP311", "'x b'"),
        ("{header: {}}", "RP103", "{}"),
        ("{host: []}", "RP103", "[]"),
        ("{host: [[a]]}", "RP109", "[a]"),
        ("{host: }", "RP103", "}"),
        ("{host: $nothing}", "RP312", "$nothing"),
        ("{}", "RP105", "{}"),
    ],
)
def test_where_a_mistake_is(match: str, code: str, marked: str) -> None:
    text = f"version: 1\nrules:\n  - match: {match}\n    tag: x\n"
    (found,) = load_text(text).diagnostics
    assert found.code == code
    assert found.span is not None
    line = text.splitlines()[found.span.line - 1]
    assert line[found.span.column - 1 : found.span.end_column - 1] == marked
