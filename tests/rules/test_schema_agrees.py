"""The JSON Schema and the reader say the same of a value, at every place of a rule file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.rules.actions import ACTIONS
from rulesproxy.rules.files.project import read_project
from rulesproxy.rules.files.top import PROJECT_FILE
from rulesproxy.rules.load import RulesError, load_files
from rulesproxy.rules.reading.file_schema import rules_schema
from tests.support.rule_files import values

SCHEMA: dict[str, Any] = json.loads(json.dumps(rules_schema()))
VALIDATOR = Draft7Validator(SCHEMA)
NEEDED = {
    "to": "/x", "match": "~all", "name": "t", "request": "GET http://a.test/", "with": "y", "expect": "{status: 200}",
    "url": "http://a.test/", "chunks": "2", "over": "1s", "cert": "files/a.pem", "file": "files/a.txt", "path": "/a",
    "op": "remove", "function": "x.py:f", "include": "files/a.yaml", "from": "client", "address": "a.test:1",
}  # fmt: skip
"""A value for each key that some object needs beside the one that is looked at."""
POOL = (
    "0", "1", "-1", "200", "404", "599", "600", "99", "70000", "1.5", "1e3", '"404"', "'80'", "true", "false", "yes",
    "no", "On", "True", '"true"', '"off"', "null", "~", "", '""', "abc", "close", "open", "200ms", "200ms..2s", "10KB",
    "3g", "1.5B", "50KB/s", "400kbit/s", "30%", "5% by client.ip seed 42", '"00 ff"', "00f", "GET", "https://a.test/",
    "/x", "a.test", "$.a", "${vars.v}", "${env:V}", "${method}", "[a]", "[]", "[1, 2]", "{}", "{a: b}", "lognormal",
    "direct", "http://p:1", "socks5://p", "p:1", "client", "request", "12:30", "1.10", ".5", "+1", "01", "0x10",
    "500..599", "4xx", "$lst", "{set: {a: b}}", "{remove: [a]}", "[{regex: a, with: b}]", "[{regex: a}]", "files",
    "files/a.txt", "[[a]]", "{a: [1]}", "{a: null}", "{a: {}}", "{$.a: 1}", "[$.a]", "none", "[~]",
)  # fmt: skip
FORM = frozenset({"RP016", "RP101", "RP102", "RP103", "RP104", "RP105", "RP106", "RP108", "RP109", "RP112"})
"""What a schema can see. The other mistakes are inside of texts, such as filters, in files, or between places."""


class Place(NamedTuple):
    """The keys on the way to a value, each with those that its object needs besides; a list is `[]`."""

    steps: tuple[tuple[str, tuple[str, ...]], ...]
    fragment: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.steps)

    def __str__(self) -> str:
        return ".".join(self.names)


def resolved(fragment: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in fragment:
        fragment = SCHEMA["definitions"][fragment["$ref"].rpartition("/")[2]]
    return fragment


def places(fragment: dict[str, Any], steps: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> Iterator[Place]:
    """Every place below a fragment."""
    fragment = resolved(fragment)
    if steps:
        yield Place(steps, fragment)
    for arm in [fragment, *map(resolved, fragment.get("anyOf", ()))]:
        needed = arm.get("required", ())
        for key, below in arm.get("properties", {}).items():
            yield from places(below, (*steps, (key, tuple(name for name in needed if name != key))))
        for key, name in (("additionalProperties", "any"), ("items", "[]")):
            if isinstance(arm.get(key), dict):
                yield from places(arm[key], (*steps, (name, ())))


def every_place() -> list[Place]:
    """Places at the top of a file, in a rule and beside an include; one of those that are alike."""
    found: dict[object, Place] = {}
    tables = [
        ((), {**SCHEMA, "required": [], "properties": {k: v for k, v in SCHEMA["properties"].items() if k != "rules"}}),
        ((("rules", ()), ("[]", ())), {**SCHEMA["definitions"]["rule"], "required": []}),
        ((("rules", ()), ("[]", ())), SCHEMA["definitions"]["include"]),
    ]
    for before, table in tables:
        for place in places(table, before):
            if "do" not in place.names:
                about = {key: value for key, value in place.fragment.items() if "escription" not in key}
                # The value of an action as a whole is read by that action.
                own = place.names[2:] if len(place.names) < 5 else place.names[-1:]
                found.setdefault((own, json.dumps(about, sort_keys=True)), place)
    return [place for place in found.values() if place.names != ("rules", "[]")]


PLACES = every_place()
_ACTS = {key.partition(".")[0] for key in ACTIONS}


def lines(steps: tuple[tuple[str, tuple[str, ...]], ...], value: str, indent: int = 0) -> list[str]:
    (name, needed), rest = steps[0], steps[1:]
    pad = "  " * indent
    head = f"{pad}-" if name == "[]" else f"{pad}{name}:"
    found = [f"{pad}{key}: {NEEDED[key]}" for key in needed]
    return [*found, *([head, *lines(rest, value, indent + 1)] if rest else [f"{head} {value}".rstrip()])]


def text_of(place: Place, value: str) -> str:
    """A rule file that is good but for what stands at one place."""
    top = {"version": "version: 1", "vars": "vars: {v: '1'}", "rules": "rules: [{match: ~all, tag: x}]"}
    written = [line for key, line in top.items() if key != place.names[0]]
    if place.names[0] != "rules":
        return "\n".join([*written, *lines(place.steps, value)]) + "\n"
    key = place.names[2]
    rule = [] if key == "match" or "include" in (key, *place.steps[2][1]) else ["match: ~all"]
    rule += [] if key in _ACTS or (not rule and key != "match") else ["tag: x"]
    body = "\n    ".join([*rule, *lines(place.steps[2:], value)])
    return "\n".join([*written, f"rules:\n  - {body}\n"])


def errors_of(text: str, folder: Path) -> list[Diagnostic]:
    """What the reader finds."""
    file = folder / PROJECT_FILE
    file.write_text(text, encoding="utf-8")
    found = load_files([file], env={"V": "1"}).diagnostics
    try:
        read_project(file)
    except RulesError as error:
        found = (*found, *error.diagnostics)
    return [each for each in found if each.severity == "error" and each.span and each.span.source.path == str(file)]


def excused(place: Place, text: str, errors: list[Diagnostic]) -> str:
    """Why draft 7 cannot say what the reader says; empty for no reason."""
    value = text.strip()
    if "${" in value:
        return "what a constant stands for is not in this file"
    read = values(value or "~")
    numbers = read if isinstance(read, list) else [read]
    if any(
        type(each) in (int, float) and str(each) not in value.replace(",", " ").strip("[]").split() for each in numbers
    ):
        return "a number that has another spelling is the same number in JSON"
    if place.names[-1] == "bytes" and type(read) is int:
        return "the digits of a number cannot be counted"
    if str(place).endswith("fault.malformed-chunk"):
        return "`false` is a boolean, which only alone does nothing"
    if place.names[-2:] in (("upstream", "address"), ("upstream", "sni")):
        return "which characters a host may have is more than a pattern should say"
    return ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("rules")
    (found / "files").mkdir()
    for name in ("a.txt", "a.pem"):
        (found / "files" / name).write_text("x")
    (found / "files" / "a.yaml").write_text("version: 1\n")
    return found


def check(place: Place, value: str, folder: Path) -> None:
    text = text_of(place, value)
    errors = errors_of(text, folder)
    valid = VALIDATOR.is_valid(values(text))
    if not errors:
        assert valid, f"the schema refuses what the reader reads: {place}: {value}"
    elif valid and any(error.code in FORM for error in errors):
        assert excused(place, value, errors), (
            f"the schema accepts {place}: {value}, of which the reader says {errors[0]}"
        )


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_both_say_the_same_of_a_value(folder: Path, place: Place) -> None:
    for value in POOL:
        check(place, value, folder)


SCALARS = [place for place in PLACES if set(place.fragment) & {"type", "anyOf", "enum"}]
PLAIN = re.compile(r"[A-Za-z0-9./+-][A-Za-z0-9./%+: -]*[A-Za-z0-9./%+-]|[A-Za-z0-9]").fullmatch


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SCALARS), st.text("0123456789.:/%smhkKBbit +-tfTyesno", max_size=8), st.booleans())
def test_both_say_the_same_of_a_scalar(folder: Path, place: Place, text: str, quoted: bool) -> None:
    if not quoted and (not PLAIN(text) or ": " in text or text.endswith(":")):
        quoted = True
    check(place, json.dumps(text) if quoted else text, folder)


def test_every_action_is_looked_at() -> None:
    names = {name for place in PLACES for name in place.names[2:3]}
    assert _ACTS - names == set()
    assert len(PLACES) > 100
