"""The JSON Schema of rule files: complete, in the form that editors read, and in agreement with `check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from rulesproxy.cli import main
from rulesproxy.resources import grammar
from rulesproxy.rules.actions import ACTIONS
from rulesproxy.rules.files.include import INCLUDE_KEYS
from rulesproxy.rules.files.top import PROJECT_KEYS, TOP_KEYS
from rulesproxy.rules.reading import keys
from rulesproxy.rules.reading.file_schema import NAME, rules_schema
from rulesproxy.rules.reading.json_schema import NoSchemaError, kind_schema
from rulesproxy.rules.reading.written import RULE_KEYS, action_keys
from rulesproxy.rules.schema import schema_of
from tests.support.rule_files import ROOT, good_files, values

SCHEMA: dict[str, Any] = json.loads(json.dumps(rules_schema()))
VALIDATOR = Draft7Validator(SCHEMA)
GOOD = good_files()
BAD = ROOT / "tests" / "diagnostics"
SEEN = ("RP101", "RP102", "RP104-cors", "RP105", "RP108", "RP109", "RP112")
"""Mistakes that a schema can see; the others are inside of texts, or between places."""


def mistakes(text: str) -> list[str]:
    """Every mistake, those of each of several alternatives too."""
    found, errors = [], list(VALIDATOR.iter_errors(values(text)))
    while errors:
        error = errors.pop()
        found.append(f"{error.json_path}: {error.message}")
        errors += error.context or ()
    return found


def parts(value: Any) -> list[dict[str, Any]]:
    """Every object in a schema."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return ([value] if isinstance(value, dict) else []) + [part for item in inside for part in parts(item)]


def test_it_is_a_schema_that_editors_read() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert [part for part in parts(SCHEMA) if "oneOf" in part] == []


def test_every_key_of_a_rule_file_has_a_schema() -> None:
    assert set(RULE_KEYS) ^ set(keys.RULE) == set()
    assert {*TOP_KEYS, *PROJECT_KEYS} ^ set(keys.TOP) == set()
    assert set(INCLUDE_KEYS) ^ set(keys.INCLUDE) == set()
    tables = (keys.RULE, keys.TOP, keys.INCLUDE)
    assert [key.name for table in tables for key in table.values() if not key.doc.endswith(".")] == []


def test_every_action_and_key_has_a_schema_with_a_sentence() -> None:
    assert set(action_keys()) - set(SCHEMA["definitions"]) == set()
    for action in ACTIONS.values():
        fragment = action.json_schema()
        if action.whole is not None:
            continue
        arms: Any = [fragment] if fragment.get("type") == "object" else fragment.get("anyOf", [fragment])
        records = [arm for arm in arms if arm.get("type") == "object"]
        for key in schema_of(action):
            assert any(key in arm["properties"] for arm in records), f"{action.key}: {key} is not in its schema"
            assert any(arm["properties"][key].get("description") for arm in records), (
                f"{action.key}: {key} says nothing"
            )


def test_an_action_that_reads_in_its_own_way_says_what() -> None:
    for action in ACTIONS.values():
        if {"read", "from_node"} & set(vars(action)):
            assert "json_schema" in vars(action), f"{action.key} reads values itself and has no json_schema()"


def test_a_type_without_a_schema_is_named() -> None:
    class Odd:
        @classmethod
        def read(cls, node: object, reader: object, name: str) -> Odd:
            return cls()

    with pytest.raises(NoSchemaError, match="Odd has no json_schema"):
        kind_schema(tuple[Odd, ...])


@pytest.mark.parametrize("name", GOOD)
def test_good_files_are_valid(name: str) -> None:
    assert mistakes(GOOD[name]) == []


@pytest.mark.parametrize(
    "file", [file for file in sorted(BAD.glob("*.yaml")) if file.name.startswith(SEEN)], ids=lambda file: file.stem
)
def test_bad_files_are_not(file: Path) -> None:
    assert mistakes(file.read_text("utf-8")) != []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("match: ~all\nblok:", "'blok' was unexpected"),
        ("match: ~all\nblock: 9000", "not valid"),
        ("match: ~all\nrewrite: {request: {hedders: {}}}", "'hedders' was unexpected"),
        ("match: ~all\nredirect: {status: 302}", "not valid"),
        ("match: ~all\nredirect: {to: /x, status: 200}", "not valid"),
        ("match: {hst: a.test}\nblock:", "not valid"),
        ("match: ~all\non-error: sometimes\nblock:", "is not one of"),
        ("block:", "'match' is a required property"),
    ],
)
def test_what_it_says_of_a_mistake(rule: str, message: str) -> None:
    found = mistakes("version: 1\nrules:\n  - " + rule.replace("\n", "\n    ") + "\n")
    assert any(message in each for each in found), found


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    assert main(["schema", "--path"]) == 0
    assert Path(capsys.readouterr().out.strip()) == grammar(NAME)
