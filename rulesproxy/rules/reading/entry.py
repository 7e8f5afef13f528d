"""One entry of `rules:`: its keys, its filter, its actions, and whether filter and actions fit together."""

from __future__ import annotations

import re
from functools import cache
from pathlib import PurePath
from typing import Any

from rulesproxy.diagnostics import Label
from rulesproxy.filters import ast
from rulesproxy.filters.check import Checked, Phase
from rulesproxy.filters.problem import FilterError
from rulesproxy.rules.action import REQUEST, RESPONSE
from rulesproxy.rules.conversations.message_fitting import check_messages
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Mapping, Node, Scalar
from rulesproxy.rules.files.traps import dropped_comment
from rulesproxy.rules.fitting import capture_fields, check_phases
from rulesproxy.rules.gates import Gates
from rulesproxy.rules.model import Rule, Step
from rulesproxy.rules.reading.keys import RULE
from rulesproxy.rules.reading.match import FilterText, filter_text
from rulesproxy.rules.reading.names import Scope, parse_filter, report
from rulesproxy.rules.reading.written import SYNONYMS, check_one_answer, read_steps, written_actions
from rulesproxy.rules.schema import Bad, Names, Reader

DEFAULTS: dict[str, Any] = {
    "description": "", "tags": (), "enabled": True, "on-error": "open", "on-overflow": "stream",
}  # fmt: skip
GATES = ("sample", "nth", "every", "times")
ON_FLOWS = REQUEST | RESPONSE

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*").fullmatch


def read_rule(node: Node, reader: Reader, scope: Scope) -> Rule | None:
    """The rule in a node; None where it is disabled.

    Raises:
        Bad: it has an error, which has been recorded.
    """
    if not isinstance(node, Mapping):
        reader.fail(
            "RP103",
            node,
            "a rule is made of keys, such as `match` and `block`",
            "write `- match: …` and an action below it",
        )
    errors = len(reader.problems)
    written = written_actions(node, reader)
    name, identity = _identity(node, reader, scope)
    checked, text, tree = _filter(node, reader, scope, errors)
    captures = _captures(checked, tree, scope)
    conditional = frozenset[str]() if checked is None else checked.conditional_captures
    reader.names = Names(captures, scope.vars, reader.names.env, conditional)
    steps = [step for entry in written for step in read_steps(entry, reader)]
    stop = _value(node, "stop", False, reader)
    gates = _gates(node, steps, reader)
    if not written and not stop and not _failed(reader, errors):
        help = "add an action such as `block:`, or `stop: true` to let such flows pass"
        reader.fail("RP106", node, f"rule `{name}` matches but does nothing", help)
    check_one_answer(steps, reader)
    if checked is not None and text is not None:
        check_phases(checked, text, tree, steps, reader)
        check_messages(checked, text, tree, steps, gates, reader)
    keys = {key: _value(node, key, default, reader) for key, default in DEFAULTS.items()}
    if checked is None or _failed(reader, errors):
        raise Bad
    if not keys["enabled"]:
        return None
    steps.sort(key=lambda step: step.action.answers)
    passes = stop or any(step.action.key == "passthrough" for step in steps)
    whole = passes and gates is None and checked.phases & Phase.C
    return Rule(
        name, identity, keys["description"], keys["tags"], checked, tuple(steps), stop, keys["on-error"],
        _negated(tree, scope) if whole and tree is not None else None, node.span, definition(node), gates,
        keys["on-overflow"] == "block", text,
    )  # fmt: skip


def definition(node: Node) -> str:
    """What a node says, without the places, the comments and the quotes that do not matter."""
    if isinstance(node, Mapping):
        return "{" + ",".join(f"{key.text!r}:{definition(child)}" for key, child in node.entries) + "}"
    if isinstance(node, nodes.Sequence):
        return "[" + ",".join(definition(item) for item in node.items) + "]"
    return node.text if node.plain else repr(node.text)


def _captures(checked: Checked | None, tree: ast.Node | None, scope: Scope) -> dict[str, str] | None:
    """The captures of a filter with the fields they come from; None for a bad filter, of which nothing is known."""
    if checked is None or tree is None:
        return None
    if not checked.captures:
        return {}
    fields = capture_fields(tree, scope.names)
    return {capture: fields.get(capture, "") for capture in checked.captures}


def _failed(reader: Reader, before: int) -> bool:
    """Whether there is an error behind the first `before` problems."""
    return any(problem.severity == "error" for problem in reader.problems[before:])


def _identity(node: Mapping, reader: Reader, scope: Scope) -> tuple[str, str | None]:
    child = node.get("id")
    line = node.span.line
    name = f"{scope.prefix}{_file_name(node.file.source.path)}:{line}"
    if name in scope.used:
        name = f"{scope.prefix}{node.file.source.path}:{line}"
    identity = None
    if child is not None:
        try:
            identity = name = scope.prefix + reader.text(child, "id")
        except Bad:
            return name, None
        first = scope.ids.get(identity)
        if first is not None:
            again = first == child.span
            reader.note(
                "RP110",
                child,
                f"the id `{identity}` is already used",
                f"this file is included twice: an `id` beside one `include` stands before its ids: `other/{identity}`"
                if again
                else "every rule needs an id of its own, over all files",
                labels=[] if again else [Label(first, "first used here")],
            )
        elif not identity:
            reader.note("RP111", child, "this id is empty", "name the rule, or remove the key")
        elif not _ID(identity):
            reader.note(
                "RP111",
                child,
                f"the id `{identity}` is hard to type",
                "use letters, digits, `.`, `_`, `/` and `-`",
                severity="warning",
            )
        scope.ids.setdefault(identity, child.span)
    scope.used.add(name)
    return name, identity


@cache
def _file_name(path: str) -> str:
    return PurePath(path).name


def _filter(
    node: Mapping, reader: Reader, scope: Scope, errors: int
) -> tuple[Checked | None, FilterText | None, ast.Node | None]:
    from rulesproxy.filters.check import check

    child = node.get("match")
    if child is None:
        if not any(key.text in SYNONYMS and SYNONYMS[key.text] == "match" for key, _ in node.entries):
            reader.note("RP105", node, "this rule has no `match`", "write `match: ~all` to match everything")
        return None, None, None
    if isinstance(child, Scalar):
        trap = dropped_comment(child)
        if trap is not None:
            reader.problems.append(trap)
            return None, None, None
    if any(problem.code == "RP018" for problem in reader.problems[errors:]):
        # The filter was cut by YAML: what is left of it deserves no message of its own.
        return None, None, None
    try:
        text = filter_text(child, reader)
    except Bad:
        return None, None, None
    try:
        tree = parse_filter(text.text)
        checked = check(tree, scope.names)
    except FilterError as error:
        report(error.problems, text, reader)
        return None, None, None
    report(checked.warnings, text, reader)
    return checked, text, tree


def _negated(tree: ast.Node, scope: Scope) -> Checked | None:
    from rulesproxy.filters.check import check

    try:
        return check(ast.Not(tree, tree.start, tree.end), scope.names)
    except FilterError:
        return None


def _value(node: Mapping, key: str, default: Any, reader: Reader) -> Any:
    """The value of a key; the default where there is none, or a bad one, which has been recorded."""
    child = node.get(key)
    try:
        return default if child is None else reader.value(RULE[key].kind, child, key)
    except Bad:
        return default


def _gates(node: Mapping, steps: list[Step], reader: Reader) -> Gates | None:
    """The gates of a rule; None where every flow gets through."""
    keys = [key for key, _ in node.entries if key.text in GATES]
    gates = Gates(
        _value(node, "sample", None, reader), frozenset(_value(node, "nth", (), reader)),
        _value(node, "every", 1, reader), _value(node, "times", 0, reader),
        tuple([(key.text, key.span) for key in keys]),
    )  # fmt: skip
    numbers = node.get("nth")
    if isinstance(numbers, nodes.Sequence) and not numbers.items:
        reader.note("RP103", numbers, "`nth` names no flow", "give a number, or remove the key")
    nth, every = node.key("nth"), node.key("every")
    if nth is not None and every is not None:
        reader.note(
            "RP622", every, "`nth` and `every` both say which flows", "keep one of them",
            labels=[Label(nth.span, "this one says it already")],
        )  # fmt: skip
    passing = next(
        (step for step in steps if step.action.events.isdisjoint(ON_FLOWS) and not step.action.on_messages), None
    )
    if keys and passing is not None:
        reader.note(
            "RP623", keys[0], f"`{keys[0].text}` counts flows, and `{passing.action.key}` acts before there is one",
            "say with `match` which connections are meant", labels=[Label(passing.span, "acts on connections")],
        )  # fmt: skip
    return None if gates.open else gates
