"""One entry of `rules:`: its keys, its filter, its actions, and whether filter and actions fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.diagnostics import Label, Span
from rulesproxy.filters import ast
from rulesproxy.filters.check import Checked, Phase
from rulesproxy.filters.problem import FilterError
from rulesproxy.rules import nodes
from rulesproxy.rules.action import Action, is_late
from rulesproxy.rules.match import FilterText, filter_text
from rulesproxy.rules.model import OnError, Rule, Step
from rulesproxy.rules.nodes import Mapping, Node, Scalar
from rulesproxy.rules.schema import Bad, Names, Reader
from rulesproxy.rules.traps import dropped_comment

if TYPE_CHECKING:
    from rulesproxy.rules.load import Scope

RULE_KEYS = ("id", "description", "tags", "enabled", "match", "stop", "on-error", "do")
SYNONYMS = {
    "when": "match", "if": "match", "filter": "match", "on": "match", "matches": "match", "name": "id",
    "desc": "description", "comment": "description", "note": "description", "actions": "do", "action": "do",
    "then": "do",
    "deny": "block", "drop": "block", "reject": "block", "abort": "block", "modify": "rewrite", "maplocal": "map-local",
    "map_local": "map-local", "file": "map-local", "on_error": "on-error", "final": "stop", "last": "stop",
}  # fmt: skip

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*").fullmatch
_GROUP = re.compile(r"\(\?P?<([A-Za-z_]\w*)>")
_SEGMENT = re.compile(r"\{([A-Za-z_]\w*)")
_EVENTS = {
    Phase.C: "http_connect",
    Phase.T: "clienthello",
    Phase.Q: "requestheaders",
    Phase.B: "request",
    Phase.R: "responseheaders",
    Phase.S: "response",
}
_OTHER_EVENTS = {
    Phase.T: "clienthello",
    Phase.W: "websocket_message",
    Phase.X: "tcp_message",
    Phase.E: "error",
    Phase.V: "an event of a stream",
}
"""Events at which filters can be decided, and no action runs."""

_ACTIONS = Phase.C | Phase.Q | Phase.B | Phase.R | Phase.S
_WITH_RESPONSE = Phase.R | Phase.S

Written: TypeAlias = tuple[Scalar, Node, type[Action]]
"""An action as written: its key, its value, its class."""


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
    written = _written(node, reader)
    name, identity = _identity(node, reader, scope)
    checked, text, tree = _filter(node, reader, scope, errors)
    captures = _captures(checked, tree, scope)
    conditional = frozenset[str]() if checked is None else checked.conditional_captures
    reader.names = Names(captures, scope.vars, reader.names.env, conditional)
    steps = [step for entry in written for step in _steps(entry, reader)]
    stop = _flag(node, "stop", False, reader)
    enabled = _flag(node, "enabled", True, reader)
    on_error = _on_error(node, reader)
    description = _optional(node, "description", reader)
    tags = _tags(node, reader)
    if not written and not stop and not _failed(reader, errors):
        help = "add an action such as `block:`, or `stop: true` to let such flows pass"
        reader.fail("RP106", node, f"rule `{name}` matches but does nothing", help)
    _one_answer(steps, reader)
    if checked is not None and text is not None:
        _phases(checked, text, tree, steps, reader)
    if checked is None or _failed(reader, errors):
        raise Bad
    if not enabled:
        return None
    steps.sort(key=lambda step: step.action.answers)
    negated = _negated(tree, scope) if stop and checked.phases & Phase.C and tree is not None else None
    return Rule(
        name, identity, description, tags, checked, tuple(steps), stop, on_error, negated, node.span,
        definition(node), text,
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


@cache
def action_keys() -> dict[str, dict[str, type[Action]] | type[Action]]:
    """The actions by their first key; `rewrite` has several below it."""
    from rulesproxy.rules.actions import ACTIONS

    keys: dict[str, dict[str, type[Action]] | type[Action]] = {}
    for key, action in ACTIONS.items():
        group, dot, side = key.partition(".")
        if dot:
            inner = keys.setdefault(group, {})
            assert isinstance(inner, dict)
            inner[side] = action
        else:
            keys[key] = action
    return keys


def _written(node: Mapping, reader: Reader) -> list[Written]:
    """The actions of a rule in the order in which they are written; unknown keys are recorded."""
    known = [*RULE_KEYS, *action_keys()]
    written: list[Written] = []
    inline: Scalar | None = None
    for key, child in node.entries:
        if key.text in action_keys():
            inline = inline or key
            written.extend(_actions(key, child, reader))
        elif key.text not in RULE_KEYS:
            reader.unknown(key, known, "in a rule", SYNONYMS)
    do = node.get("do")
    if do is None:
        return written
    if inline is not None:
        reader.note(
            "RP107",
            inline,
            f"`{inline.text}` and `do` in one rule",
            "move every action into `do:`, or write them all inline",
            labels=[Label((node.key("do") or inline).span, "and here")],
        )
    if not isinstance(do, nodes.Sequence):
        reader.note("RP103", do, "`do` wants a list of actions", "start every action with `- `")
        return written
    for item in do.items:
        if not isinstance(item, Mapping):
            reader.note("RP103", item, "an action is a key with a value", "write it like `- block: 403`")
            continue
        for key, child in item.entries:
            if key.text in action_keys():
                written.extend(_actions(key, child, reader))
            else:
                reader.unknown(key, action_keys(), "in an action", SYNONYMS)
    return written


def _actions(key: Scalar, child: Node, reader: Reader) -> list[Written]:
    found = action_keys()[key.text]
    if not isinstance(found, dict):
        return [(key, child, found)]
    try:
        mapping = reader.mapping(child, key.text, f"`{key.text}: {{request: …}}`")
    except Bad:
        return []
    if not mapping.entries:
        reader.note("RP106", key, f"`{key.text}` changes nothing", f"add one of {', '.join(found)}")
    inner: list[Written] = []
    for side, value in mapping.entries:
        action = found.get(side.text)
        if action is None:
            reader.unknown(side, found, f"in `{key.text}`", {"req": "request", "resp": "response", "res": "response"})
            if side.text in ("headers", "body", "path", "status", "query", "method", "url"):
                last = reader.problems.pop()
                where = "response" if side.text == "status" else "request"
                reader.note(last.code, side, last.title, f"put it below `{where}:`")
        else:
            inner.append((side, value, action))
    return inner


def _steps(written: Written, reader: Reader) -> list[Step]:
    key, child, action = written
    try:
        read = action.read(child, reader, action.key)
    except Bad:
        return []
    parts = read.parts()
    if not all(part.legal for part in parts):
        names = sorted(name for name in read.names if is_late(name))
        reader.note(
            "RP401", key, f"`{action.key}` acts before there is a response, and uses `${{{names[0]}}}`",
            "take the value from the request, or act on the response",
        )  # fmt: skip
        return []
    return [Step(part, key.span) for part in parts]


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
    from rulesproxy.rules.load import parse_filter, report

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


def _one_answer(steps: list[Step], reader: Reader) -> None:
    answering = [step for step in steps if step.action.answers]
    for step in answering[1:]:
        reader.note(
            "RP606",
            step.span,
            f"`{step.action.key}` after `{answering[0].action.key}`: a rule answers once",
            "keep one of them, or write two rules",
            labels=[Label(answering[0].span, "this one answers already")],
        )


def _phases(checked: Checked, text: FilterText, tree: ast.Node | None, steps: list[Step], reader: Reader) -> None:
    """Every action needs an event at which it is legal and the filter is decided (RP401)."""
    from rulesproxy.rules.compile import mask

    if not checked.phases:
        return
    before = len(reader.problems)
    for step in steps:
        legal = mask(step.action)
        if checked.phases & legal:
            continue
        span, known = _late_field(tree, text, legal, checked)
        events = " or ".join(event for phase, event in _EVENTS.items() if legal & phase)
        reader.note(
            "RP401",
            span,
            "this filter is only decided after the action has to run"
            if checked.phases & _ACTIONS
            else "this filter is true only where no action runs",
            _way_out(step.action)
            if checked.phases & _ACTIONS
            else "match on something that a request or a response has",
            label=known,
            labels=[Label(step.span, f"must run at {events}")],
        )
    one_side = checked.either_side and not any(mask(step.action) & _WITH_RESPONSE for step in steps)
    if steps and one_side and len(reader.problems) == before:
        _one_side(tree, text, steps[0], reader)


def _one_side(tree: ast.Node | None, text: FilterText, step: Step, reader: Reader) -> None:
    """A `~` filter for whichever side is there sees only one in this rule."""
    for item in _walk(tree):
        if isinstance(item, ast.Tilde) and item.name in ("b", "h", "t"):
            reader.note(
                "RP405",
                text.place(item.start, item.end),
                f"`~{item.name}` looks at the request only in this rule",
                f"`~{item.name}q` says so",
                labels=[Label(step.span, "runs before there is a response")],
                severity="info",
            )


def _late_field(tree: ast.Node | None, text: FilterText, legal: Phase, checked: Checked) -> tuple[Span, str]:
    """The field that is not readable where the action is legal."""
    from rulesproxy.filters.fields import FIELDS

    for item in _walk(tree):
        if isinstance(item, (ast.Field, ast.Tilde)):
            name = item.name.removeprefix("orig.") if isinstance(item, ast.Field) else f"~{item.name}"
            field = FIELDS.get(name)
            if field is not None and not field.phases & field.holds & legal:
                return text.place(item.start, item.end), _readable(field.phases & field.holds)
    return text.place(0, len(text.text)), f"decided at {_first(checked.phases)}"


def _readable(phases: Phase) -> str:
    only = next((event for phase, event in _OTHER_EVENTS.items() if phases == phase), None)
    return f"readable at {_first(phases)} or later" if only is None else f"there at {only} only"


def _first(phases: Phase) -> str:
    return next((event for phase, event in {**_EVENTS, **_OTHER_EVENTS}.items() if phases & phase), "another event")


_WAYS_OUT = {
    "passthrough": "nothing is decrypted yet: match on `host`, `port`, `sni` or `client.ip`",
    "cors": "preflights are answered before there is a response: match on the request",
    "no-cache": "it changes the request too: match on the request",
    "map-remote": "the request is gone by then; match on the request",
}


def _way_out(action: Action) -> str:
    if action.key in _WAYS_OUT:
        return _WAYS_OUT[action.key]
    if action.key == "rewrite.request":
        return "the request is gone by then; change the answer with `rewrite: {response: …}`, or match on the request"
    if action.key == "rewrite.response":
        return "there is no response at that time; match on something that a response has too"
    return "the answer is there by then; replace it with `block: 502`, or change it with `rewrite: {response: …}`"


def capture_fields(tree: ast.Node, names: dict[str, object]) -> dict[str, str]:
    """The field that every capture of a filter comes from."""
    found: dict[str, str] = {}
    for item in _walk(tree):
        if isinstance(item, ast.Compare) and isinstance(item.left, ast.Field) and isinstance(item.right, ast.Text):
            pattern = _SEGMENT if item.op == "like" else _GROUP
            for name in pattern.findall(item.right.value):
                found.setdefault(name, item.left.name)
        elif isinstance(item, ast.Named):
            named = names.get(item.name)
            if named is not None and not isinstance(named, (str, tuple)):
                # A filter that names itself is an error of `check`; taking the name away ends the walk.
                rest = {name: value for name, value in names.items() if name != item.name}
                for name, field in capture_fields(named, rest).items():  # type: ignore[arg-type]
                    found.setdefault(name, field)
    return found


def _walk(node: object) -> Iterator[object]:
    """Every node of a filter's tree."""
    if node is None or isinstance(node, (str, int, float)):
        return
    yield node
    for slot in ("items", "item", "left", "right", "value", "args"):
        child = getattr(node, slot, None)
        if isinstance(child, tuple):
            for part in child:
                yield from _walk(part)
        elif child is not None:
            yield from _walk(child)
