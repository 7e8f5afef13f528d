"""One entry of `rules:`: its keys, its filter, its actions, and whether filter and actions fit together."""

from __future__ import annotations

import re
from functools import cache
from pathlib import PurePath

from rulesproxy.diagnostics import Label
from rulesproxy.filters import ast
from rulesproxy.filters.check import Checked, Phase
from rulesproxy.filters.problem import FilterError
from rulesproxy.rules import nodes
from rulesproxy.rules.fitting import capture_fields, check_phases
from rulesproxy.rules.match import FilterText, filter_text
from rulesproxy.rules.model import OnError, Rule
from rulesproxy.rules.names import Scope, parse_filter, report
from rulesproxy.rules.nodes import Mapping, Node, Scalar
from rulesproxy.rules.schema import Bad, Names, Reader
from rulesproxy.rules.traps import dropped_comment
from rulesproxy.rules.written import SYNONYMS, check_one_answer, read_steps, written_actions

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
    stop = _flag(node, "stop", False, reader)
    enabled = _flag(node, "enabled", True, reader)
    on_error = _on_error(node, reader)
    description = _optional(node, "description", reader)
    tags = _tags(node, reader)
    if not written and not stop and not _failed(reader, errors):
        help = "add an action such as `block:`, or `stop: true` to let such flows pass"
        reader.fail("RP106", node, f"rule `{name}` matches but does nothing", help)
    check_one_answer(steps, reader)
    if checked is not None and text is not None:
        check_phases(checked, text, tree, steps, reader)
    if checked is None or _failed(reader, errors):
        raise Bad
    if not enabled:
        return None
    steps.sort(key=lambda step: step.action.answers)
    negated = _negated(tree, scope) if stop and checked.phases & Phase.C and tree is not None else None
    return Rule(
        name, identity, description, tags, checked, tuple(steps), stop, on_error, negated, node.span, definition(node)
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
    name = f"{_file_name(node.file.source.path)}:{line}"
    if name in scope.used:
        name = f"{node.file.source.path}:{line}"
    identity = None
    if child is not None:
        try:
            identity = name = reader.text(child, "id")
        except Bad:
            return name, None
        first = scope.ids.get(identity)
        if first is not None:
            reader.note(
                "RP110",
                child,
                f"the id `{identity}` is already used",
                "every rule needs an id of its own, over all files",
                labels=[Label(first, "first used here")],
            )
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


def _flag(node: Mapping, key: str, default: bool, reader: Reader) -> bool:
    child = node.get(key)
    try:
        return default if child is None else reader.boolean(child, key)
    except Bad:
        return default


def _on_error(node: Mapping, reader: Reader) -> OnError:
    child = node.get("on-error")
    try:
        choice = "open" if child is None else reader.choice(child, "on-error", ("open", "closed"))
    except Bad:
        return "open"
    return "closed" if choice == "closed" else "open"


def _optional(node: Mapping, key: str, reader: Reader) -> str:
    child = node.get(key)
    try:
        return "" if child is None else reader.text(child, key)
    except Bad:
        return ""


def _tags(node: Mapping, reader: Reader) -> tuple[str, ...]:
    child = node.get("tags")
    try:
        return () if child is None else tuple(reader.text(item, "tags") for item in reader.items(child))
    except Bad:
        return ()
