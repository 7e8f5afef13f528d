"""Mistakes in the values of actions: each is one diagnostic, with its code, at its place."""

from __future__ import annotations

import pytest

from rulesproxy.rules.load import load_text

REQUEST = "rewrite:\n      request:\n        "
RESPONSE = "rewrite:\n      response:\n        "

MISTAKES = [
    ("map-remote: staging.test", "RP615", "is not a URL", "staging.test"),
    ("map-remote: /path", "RP615", "is not a URL", "/path"),
    ("map-remote: {to: 'https://a b.test'}", "RP615", "this is not a URL", "'https://a b.test'"),
    ("map-remote: {keep-host: true}", "RP103", "needs `to`", "{keep-host: true}"),
    ("map-remote: {to: 'http://b.test', keep_host: true}", "RP101", "unknown key `keep_host`", "keep_host"),
    ("respond: ok", "RP103", "wants a number", "ok"),
    ("respond: {sequence: [ok]}", "RP103", "wants a number", "ok"),
    ("respond: 99", "RP104", "200 to 599", "99"),
    ("respond:", "RP103", "wants keys with values, got nothing", ""),
    ("respond: {sequence: []}", "RP106", "this sequence is empty", "sequence"),
    ("respond: {sequence: [{sequence: [200]}]}", "RP101", "unknown key `sequence`", "sequence"),
    ("respond: {json: .nan}", "RP103", "is not possible in JSON", ".nan"),
    ("respond: {json: {a: '${b | int}'}}", "RP605", "unknown name `${b}`", "${b | int}"),
    ("respond: {file: no.json}", "RP601", "does not exist", "no.json"),
    ("cors:", "RP103", "wants `unlock`", ""),
    ("cors: '*'", "RP104", "is one of unlock", "'*'"),
    ("no-cache: false", "RP103", "stands alone, got `false`", "false"),
    ("passthrough: {host: a.test}", "RP103", "stands alone, got keys", "{host: a.test}"),
    ("tag: []", "RP106", "without a word", "[]"),
    ("log: '${response.statuss}'", "RP605", "unknown name", "${response.statuss}"),
    ("log: {level: info}", "RP101", "unknown key `level`", "level"),
    (f"{REQUEST}host: b.test:8443", "RP615", "has a port", "b.test:8443"),
    (f"{REQUEST}host: b/c", "RP615", "this is not a host", "b/c"),
    (f"{REQUEST}port: 70000", "RP104", "1 to 65535", "70000"),
    (f"{REQUEST}scheme: ftp", "RP104", "one of http, https", "ftp"),
    (f"{REQUEST}url: http://b.test\n        host: c.test", "RP607", "both set the host", "host"),
    (f"{REQUEST}body: a\n        text: b", "RP607", "both make the body", "text"),
    (f"{REQUEST}cookies: {{'a b': c}}", "RP609", "is not a cookie name", ""),
    (f"{REQUEST}cookies: {{a: }}", "RP103", "`a` has no value", "a"),
    (f"{REQUEST}headers: {{a: null}}", "RP103", "`a` has no value", "a"),
    (f"{REQUEST}headers: {{add: {{a: [b, ~]}}}}", "RP103", "`a` has no value", "a"),
    ("respond: {headers: {a: NULL}}", "RP103", "`a` has no value", "a"),
    (f"{REQUEST}cookies: {{a: b, remove: a}}", "RP607", "is set and removed", "remove"),
    (f"{REQUEST}form: [a]", "RP103", "wants keys with values", "[a]"),
    (f"{REQUEST}html: {{remove: a}}", "RP102", "`html` is no key of `rewrite.request`", "html"),
    (f"{RESPONSE}reason: \"a\\nb\"", "RP609", "one line", '"a\\nb"'),
    (f"{RESPONSE}form: {{a: b}}", "RP102", "`form` is no key of `rewrite.response`", "form"),
    (f"{RESPONSE}html: {{append-head: x, remove-all: y}}", "RP101", "unknown key `remove-all`", "remove-all"),
    (f"{RESPONSE}html: {{}}", "RP106", "changes nothing", "{}"),
    (f"{RESPONSE}html: {{append-head: {{text: a, file: b}}}}", "RP601", "does not exist", "b"),
    (f"{RESPONSE}json: {{}}", "RP106", "changes nothing", "{}"),
    (f"{RESPONSE}json: {{sett: {{$.a: 1}}}}", "RP101", "unknown key `sett`", "sett"),
    (f"{RESPONSE}json: {{delete: $}}", "RP615", "whole document", "$"),
    (f"{RESPONSE}json: {{set: {{$.a[x]: 1}}}}", "RP018", "", None),
    (f"{RESPONSE}json: {{patch: {{op: ad, path: /a}}}}", "RP104", "one of add, remove", "ad"),
    (f"{RESPONSE}json: {{patch: [{{op: add, path: /a}}]}}", "RP103", "needs `value`", ""),
    (f"{RESPONSE}json: {{patch: [{{op: move, path: /a}}]}}", "RP103", "needs `from`", ""),
    (f"{RESPONSE}json: {{patch: [{{op: remove, path: a}}]}}", "RP615", "no JSON Pointer", "a"),
    (f"{RESPONSE}json: {{patch: [{{op: remove, path: /a~2}}]}}", "RP615", "no JSON Pointer", "/a~2"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "code", "words", "place"), MISTAKES)
def test_a_mistake(rule: str, code: str, words: str, place: str | None) -> None:
    loaded = load_text(f"version: 1\nrules:\n  - match: ~all\n    {rule}\n")
    assert [diagnostic.code for diagnostic in loaded.diagnostics] == [code], loaded.diagnostics
    (diagnostic,) = loaded.diagnostics
    assert words in diagnostic.title
    span = diagnostic.span
    assert span is not None
    if place:
        line = span.source.line(span.line)
        assert line[span.column - 1 : span.end_column - 1] == place or line[span.column - 1 :].startswith(place)


@pytest.mark.parametrize("rule", ["respond: ok", "respond: {sequence: [ok]}"])
def test_a_body_in_the_place_of_a_status(rule: str) -> None:
    (diagnostic,) = load_text(f"version: 1\nrules:\n  - match: ~all\n    {rule}\n").diagnostics
    assert "`body:`" in diagnostic.help


@pytest.mark.parametrize("rule", ["cors: unlock", "no-cache:", "map-remote: http://b.test"])
def test_what_acts_on_both_sides_needs_a_filter_of_the_request(rule: str) -> None:
    loaded = load_text(f"version: 1\nrules:\n  - match: response.status == 200\n    {rule}\n")
    (diagnostic,) = loaded.diagnostics
    assert diagnostic.code == "RP401"
    assert "request" in diagnostic.help


@pytest.mark.parametrize("key", ["redirect: /${response.status}", f"{REQUEST}headers: {{x: '${{response.text}}'}}",
                                 "map-remote: http://${response.header['x']}"])  # fmt: skip
def test_a_value_that_comes_too_late(key: str) -> None:
    loaded = load_text(f"version: 1\nrules:\n  - match: ~all\n    {key}\n")
    assert [diagnostic.code for diagnostic in loaded.diagnostics] == ["RP401"]
    assert "${response." in loaded.diagnostics[0].title
