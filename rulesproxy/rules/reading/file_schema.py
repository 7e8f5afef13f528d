"""The JSON Schema of rule files for editors, made from the registries of keys and actions.

Draft 7 without `oneOf`: what fits several ways is no error in an editor, and `anyOf` gives the better messages. It
says less than `check`, which alone reads filters and templates, and nothing that `check` would not say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rulesproxy.diagnostics import Source
from rulesproxy.rules.actions import ACTIONS
from rulesproxy.rules.edits.json_value import core_scalar
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.compose import read_nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.reading import keys
from rulesproxy.rules.reading.json_schema import Fragment, facts, key_schema, paragraphs, plain, summary

if TYPE_CHECKING:
    from rulesproxy.rules.action import Action

NAME = "rules.schema.json"
"""The file in `grammar/` that is shipped."""
_SNIPPET_SPECIAL = re.compile(r"([\\$}])")


def rules_schema() -> Fragment:
    """The schema of a rule file.

    Raises:
        NoSchemaError: some type has no `json_schema`.
    """
    actions = action_properties()
    rule_keys = {key.name: key_schema(key) for key in keys.RULE.values()}
    definitions: dict[str, object] = {
        "rule": {
            "type": "object",
            "properties": {**rule_keys, **{key: {"$ref": f"#/definitions/{key}"} for key in actions}},
            "required": ["match"],
            "additionalProperties": False,
            "defaultSnippets": _rule_snippets(),
        },
        "include": {
            "type": "object",
            "properties": {key.name: key_schema(key) for key in keys.INCLUDE.values()},
            "required": ["include"],
            "additionalProperties": False,
        },
        "actions": {
            "type": "object",
            "description": "An action with its value.",
            "properties": {key: {"$ref": f"#/definitions/{key}"} for key in actions},
            "additionalProperties": False,
            "minProperties": 1,
        },
        **actions,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "rulesproxy rules",
        "description": "A rule file of rulesproxy, or its project file rulesproxy.yaml.",
        "type": "object",
        "properties": {key.name: key_schema(key) for key in keys.TOP.values()},
        "required": ["version"],
        "additionalProperties": False,
        "definitions": definitions,
    }


def action_properties() -> dict[str, Fragment]:
    """The schema of each action by its first key; those of `rewrite` are below it."""
    found: dict[str, Fragment] = {}
    for key, action in ACTIONS.items():
        group, dot, side = key.partition(".")
        fragment = {**action.json_schema(), **_described(action)}
        if not dot:
            found[group] = fragment
            continue
        outer = found.setdefault(
            group,
            {
                "type": "object",
                "description": "",
                "properties": {},
                "additionalProperties": False,
                "minProperties": 1,
            },
        )
        outer["description"] = f"{outer['description']} {summary(action)}".strip()
        inner = outer["properties"]
        assert isinstance(inner, dict)
        inner[side] = fragment
    return found


def _described(action: type[Action]) -> Fragment:
    example = action.examples[0].rule if action.examples else ""
    parts = [*paragraphs(action), facts(action)]
    if example:
        parts.append(f"```yaml\n- {example.replace(chr(10), chr(10) + '  ')}\n```")
    described: Fragment = {"description": plain(summary(action)), "markdownDescription": "\n\n".join(parts)}
    snippets: list[Fragment] = []
    for shown in action.examples:
        value = _at(_value(shown.rule), action.key.split("."))
        if isinstance(value, (dict, list)) and value not in [snippet["body"] for snippet in snippets]:
            snippets.append({"label": _label(value), "description": shown.rule, "body": value})
    if snippets:
        described["defaultSnippets"] = snippets
    return described


def _rule_snippets() -> list[Fragment]:
    """For each action the first rule that shows it."""
    found: list[Fragment] = []
    for action in ACTIONS.values():
        if action.examples:
            example = action.examples[0]
            found.append({
                "label": f"rule: {action.key}", "description": summary(action), "body": _value(example.rule),
            })  # fmt: skip
    return found


def _value(text: str) -> Any:
    """A piece of YAML as plain values whose texts are snippets: what is special there is escaped."""
    return _plain_value(read_nodes(Source("<example>", text)))


def _plain_value(node: Node) -> Any:
    if isinstance(node, nodes.Mapping):
        return {key.text: _plain_value(child) for key, child in node.entries}
    if isinstance(node, nodes.Sequence):
        return [_plain_value(item) for item in node.items]
    core = core_scalar(node.text) if node.plain else None
    return json.loads(core) if core is not None else _SNIPPET_SPECIAL.sub(r"\\\1", node.text)


def _at(value: Any, path: Iterable[str]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _label(value: Any) -> str:
    names = ", ".join(value) if isinstance(value, dict) else "list"
    return f"with {names}"
