"""Edits of JSON: what they do, that nothing else changes by a byte, and what they refuse."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.rules.edits.json_patch import (
    merge_patch,
    patch_add,
    patch_get,
    patch_move,
    patch_remove,
    patch_replace,
    patch_test,
)
from rulesproxy.rules.edits.json_path import Every, PathError, parse_path, parse_pointer
from rulesproxy.rules.edits.json_text import JSONError, append_value, delete_value, set_value
from rulesproxy.rules.edits.json_value import core_scalar

Exchange = Callable[..., Any]

ODD = '\ufeff { "a" : 1,\r\n  "b":[1, 2 ,{"x":"\\u00e9"}],"a":2,\n\t"c" :{} , "n": 1e400 } \n'

SETS = [
    ("$.b[0]", "9", ODD.replace("[1,", "[9,")),
    ("$['b'][-1].x", '"y"', ODD.replace('"\\u00e9"', '"y"')),
    ("$.c", "[]", ODD.replace("{} ", "[] ")),
    ("$.c.d", "true", ODD.replace("{}", '{"d": true}')),
    ("$.b[3]", "null", ODD.replace("}]", "}, null]")),
    ("$.b[*]", "0", ODD.replace('1, 2 ,{"x":"\\u00e9"}', "0, 0 ,0")),
    ("$.c.p.q[0]", "1", ODD.replace("{}", '{"p": {"q": [1]}}')),
    # A name that stands there twice is read in two ways; both are changed.
    ("$.a", "7", ODD.replace('"a" : 1', '"a" : 7').replace('"a":2', '"a":7')),
    ("$.z", '"end"', ODD.replace("1e400 }", '1e400,\r\n  "z" : "end" }')),
    ("$", "[]", "\ufeff [] \n"),
]


@pytest.mark.parametrize(("path", "value", "after"), SETS)
def test_set(path: str, value: str, after: str) -> None:
    assert set_value(ODD, parse_path(path), value) == after


DELETES = [
    ('{"a":1,"b":2,"c":3}', "$.a", '{"b":2,"c":3}'),
    ('{"a":1,"b":2,"c":3}', "$.b", '{"a":1,"c":3}'),
    ('{"a":1,"b":2,"c":3}', "$.c", '{"a":1,"b":2}'),
    ('{ "a" : 1 , "b" : 2 }', "$.b", '{ "a" : 1 }'),
    ('{ "a" : 1 }', "$.a", "{}"),
    ('{"a":1,"b":2,"a":3}', "$.a", '{"b":2}'),
    ("[1, 2, 3]", "$[0]", "[2, 3]"),
    ("[1, 2, 3]", "$[-1]", "[1, 2]"),
    ("[1, 2, 3]", "$[*]", "[]"),
    ("[1, 2, 3]", "$[3]", "[1, 2, 3]"),
    ('{"a":{"b":1}}', "$.a.b.c", '{"a":{"b":1}}'),
    ('[{"x":1,"y":2},{"y":3},4]', "$[*].y", '[{"x":1},{},4]'),
]


@pytest.mark.parametrize(("before", "path", "after"), DELETES)
def test_delete(before: str, path: str, after: str) -> None:
    assert delete_value(before, parse_path(path)) == after


def test_append() -> None:
    assert append_value('{"a":[1,2]}', parse_path("$.a"), "3") == '{"a":[1,2,3]}'
    assert append_value('{"a":[\n  1\n]}', parse_path("$.a"), "3") == '{"a":[\n  1,\n  3\n]}'
    assert append_value('{"b":1}', parse_path("$.a"), "3") == '{"b":1,"a":[3]}'
    assert append_value('[{"l":[]},{"l":[0]}]', parse_path("$[*].l"), "1") == '[{"l":[1]},{"l":[0,1]}]'


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("{", lambda text: set_value(text, parse_path("$.a"), "1")),
        ("{} x", lambda text: set_value(text, parse_path("$.a"), "1")),
        ("[" * 100_000, lambda text: set_value(text, parse_path("$.a"), "1")),
        ('{"a": 1}', lambda text: set_value(text, parse_path("$.a.b"), "1")),
        ('{"a": 1}', lambda text: set_value(text, parse_path("$[0]"), "1")),
        ("[1]", lambda text: set_value(text, parse_path("$[2]"), "1")),
        ("[1]", lambda text: set_value(text, parse_path("$.a"), "1")),
        ('{"a": 1}', lambda text: append_value(text, parse_path("$.a"), "1")),
        ("[1]", lambda text: delete_value(text, ())),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(text: str, edit: Callable[[str], str]) -> None:
    with pytest.raises(JSONError):
        edit(text)


PATHS = [
    ("$", ()), ("$.a.b", ("a", "b")), ("$['a b']", ("a b",)), ('$["a\'\\u0041"]', ("a'A",)), ("$['it\\'s']", ("it's",)),
    ("$[0][-1]", (0, -1)), ("$.*[*]", (Every(), Every())), ("$.größe-x", ("größe-x",)), ("$['']", ("",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "steps"), PATHS)
def test_paths(text: str, steps: tuple[object, ...]) -> None:
    assert parse_path(text) == steps


@pytest.mark.parametrize("text", ["", "a", "$a", "$.", "$..a", "$[", "$['a]", "$[?(@.a)]", "$[1:2]", "$[01]", "$.a b"])
def test_no_paths(text: str) -> None:
    with pytest.raises(PathError):
        parse_path(text)


# RFC 6902 appendix A, and the pointers of RFC 6901 section 5.
PATCHES: list[tuple[str, Callable[[str], str], str]] = [
    ('{"foo": "bar"}', lambda t: patch_add(t, ("baz",), '"qux"'), '{"foo": "bar", "baz": "qux"}'),
    ('{"foo": ["bar", "baz"]}', lambda t: patch_add(t, ("foo", "1"), '"qux"'), '{"foo": ["bar", "qux", "baz"]}'),
    ('{"baz":"qux","foo":"bar"}', lambda t: patch_remove(t, ("baz",)), '{"foo":"bar"}'),
    ('{"foo": ["bar", "qux", "baz"]}', lambda t: patch_remove(t, ("foo", "1")), '{"foo": ["bar", "baz"]}'),
    ('{"baz": "qux"}', lambda t: patch_replace(t, ("baz",), '"boo"'), '{"baz": "boo"}'),
    ('{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}',
     lambda t: patch_move(t, ("qux", "thud"), ("foo", "waldo")),
     '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}'),
    ('{"foo": ["all", "grass", "cows", "eat"]}', lambda t: patch_move(t, ("foo", "3"), ("foo", "1")),
     '{"foo": ["all", "cows", "eat", "grass"]}'),
    ('{"baz":"qux","foo":["a",2,"c"]}', lambda t: patch_test(t, ("foo", "1"), "2.0"), '{"baz":"qux","foo":["a",2,"c"]}'),
    ('{"foo": "bar"}', lambda t: patch_add(t, ("child",), '{"g": {}}'), '{"foo": "bar", "child": {"g": {}}}'),
    ('{"foo": ["bar"]}', lambda t: patch_add(t, ("foo", "-"), '["abc", "def"]'), '{"foo": ["bar", ["abc", "def"]]}'),
    ('{"a/b": 1, "m~n": 8, "": 0}', lambda t: patch_replace(t, parse_pointer("/m~0n"), "9"),
     '{"a/b": 1, "m~n": 9, "": 0}'),
    ('{"a/b": 1, "": 0}', lambda t: patch_replace(t, parse_pointer("/a~1b"), patch_get(t, parse_pointer("/"))),
     '{"a/b": 0, "": 0}'),
    ("[1]", lambda t: patch_add(t, (), "{}"), "{}"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "edit", "after"), PATCHES)
def test_patch(before: str, edit: Callable[[str], str], after: str) -> None:
    assert edit(before) == after


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: patch_test(t, ("baz",), '"bar"'), lambda t: patch_test(t, ("one",), "true"),
        lambda t: patch_add(t, ("baz", "bat"), "1"), lambda t: patch_add(t, ("no", "bat"), "1"),
        lambda t: patch_remove(t, ("no",)), lambda t: patch_replace(t, ("no",), "1"),
        lambda t: patch_add(t, ("list", "2"), "1"), lambda t: patch_add(t, ("list", "01"), "1"),
        lambda t: patch_move(t, ("obj", "in"), ("obj",)), lambda t: patch_remove(t, ("list", "-")),
    ],
)  # fmt: skip
def test_a_patch_that_does_not_fit_is_refused(edit: Callable[[str], str]) -> None:
    with pytest.raises(JSONError):
        edit('{"baz": "qux", "one": 1, "list": [1], "obj": {"in": 1}}')


# RFC 7396 appendix A.
MERGES = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'), ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"), ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'), ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a": {"b": "c"}}', '{"a":{"b":"d","c":null}}', '{"a": {"b": "d"}}'),
    ('{"a": [ {"b":"c"} ]}', '{"a": [1]}', '{"a": [1]}'), ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'), ('{"a":"foo"}', "null", "null"), ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a": "b"}'), ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a": {"bb": {}}}'),
]  # fmt: skip


@pytest.mark.parametrize(("before", "patch", "after"), MERGES)
def test_merge(before: str, patch: str, after: str) -> None:
    assert merge_patch(before, patch) == after


# Against Python's own idea of JSON

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('x"\\\u00e9\n', max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
STEPS = st.lists(NAMES | st.integers(0, 2), min_size=1, max_size=3)
LAYOUTS = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 2}, {"ensure_ascii": False}])


def reached(value: Any, steps: list[str | int]) -> tuple[Any, str | int] | None:
    """The container and the key that a path leads to; None where something on the way is missing."""
    for step in steps[:-1]:
        if isinstance(value, dict if isinstance(step, str) else list):
            value = value.get(step) if isinstance(step, str) else value[step] if step < len(value) else None
        else:
            return None
    return (value, steps[-1]) if isinstance(value, dict if isinstance(steps[-1], str) else list) else None


@given(VALUES, STEPS, VALUES, LAYOUTS)
def test_set_and_delete_mean_what_python_would_do(
    value: Any, steps: list[str | int], new: Any, layout: dict[str, Any]
) -> None:
    text = json.dumps(value, **layout)
    place = reached(wanted := copy.deepcopy(value), steps)
    if place is not None:
        container, key = place
        if isinstance(container, dict):
            container[key] = new
        elif key <= len(container):
            container[key : key + 1] = [new]
        else:
            place = None
    if place is not None:
        assert json.loads(set_value(text, steps, json.dumps(new))) == wanted
    place = reached(wanted := copy.deepcopy(value), steps)
    if place is not None and (steps[-1] in place[0] if isinstance(place[0], dict) else steps[-1] < len(place[0])):
        del place[0][steps[-1]]
    after = delete_value(text, steps)
    assert json.loads(after) == wanted
    if value == wanted:
        assert after == text


# In rules


def rewrite(exchange: Exchange, edits: str, body: bytes, kind: str = "application/json", **arguments: Any) -> Any:
    rule = "  - match: path like '/{id}' or ~all\n    rewrite:\n      response:\n        json:\n"
    rule += "".join(f"          {line}\n" for line in edits.split("\n"))
    return exchange(rule, response_headers=[("content-type", kind)], response_body=body, **arguments)


def test_the_edits_run_in_the_order_in_which_they_are_written(exchange: Exchange) -> None:
    edits = "delete: [$.a, '$.l[0]']\nset: {$.b: 2}\nappend: {$.l: {x: ~}}\nmerge: {c: {d: yes}}\n"
    edits += "patch: [{op: move, from: /b, path: /z}, {op: test, path: /z, value: 2}]"
    outcome = rewrite(exchange, edits, b'{"a":1, "l":[1,2]}')
    assert outcome.text == '{"l":[2,{"x":null}],"c":{"d":"yes"},"z":2}'
    assert outcome.header("content-length") == str(len(outcome.text))


def test_a_failing_edit_leaves_the_message_as_it_was(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    rule = "  - match: ~all\n    rewrite:\n      response:\n        status: 201\n        headers: {x-a: '1'}\n"
    rule += "        json: {patch: [{op: add, path: /b, value: 1}, {op: test, path: /a, value: 2}]}\n"
    outcome = exchange(rule, response_headers=[("content-type", "application/json")], response_body=b'{"a":1}')
    assert (outcome.status, outcome.header("x-a"), outcome.text) == (200, None, '{"a":1}')
    assert "/a is 1, not 2" in caplog.text


@pytest.mark.parametrize(
    ("kind", "body", "after", "fails"),
    [
        ("application/problem+json", b"{}", '{"a": 1}', False), ("text/plain", b"{}", '{"a": 1}', False),
        ("text/html", b"<p>", "<p>", False), ("application/json", b"", "", False),
        ("application/json", b"oops", "oops", True), ("application/json", b'{"a":1}}', '{"a":1}}', True),
    ],
)  # fmt: skip
def test_what_is_no_json_passes(
    exchange: Exchange, caplog: pytest.LogCaptureFixture, kind: str, body: bytes, after: str, fails: bool
) -> None:
    assert rewrite(exchange, "set: {$.a: 1}", body, kind).text == after
    assert ("not JSON" in caplog.text) == fails


def test_no_value_breaks_out_of_its_string(exchange: Exchange) -> None:
    edits = """set: {$.h: '${request.header["x"]}', "$['${h}']": 1}\nmerge: {'${method}': '${query["q"] | json}'}"""
    outcome = rewrite(exchange, edits, b"{}", headers=[("x", '"},{"\\')], url='http://a.test/?q="}{')
    assert json.loads(outcome.text) == {"h": '"},{"\\', "${h}": 1, "GET": '"}{'}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", "null"), ("null", "null"), ("true", "true"), ("yes", None), ("no", None), ("12", "12"), ("-0", "-0"),
        ("012", "12"), ("+5", "5"), ("-07", "-7"), ("0x1F", "31"), ("0o17", "15"), ("1.10", "1.10"), ("1e3", "1e3"),
        (".5", "0.5"), ("1.", "1.0"), ("12:30", None), ("1_000", None), ("2026-01-01", None), ("1e999", "1e999"),
    ],
)  # fmt: skip
def test_plain_scalars_have_the_type_of_yaml_1_2(text: str, value: str | None) -> None:
    assert core_scalar(text) == value
