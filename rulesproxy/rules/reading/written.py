"""The keys of a rule, and its actions as they are written: inline or below `do:`, each read into its class."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

from rulesproxy.diagnostics import Label
from rulesproxy.rules.action import Action, is_late, is_of_message
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Mapping, Node, Scalar
from rulesproxy.rules.model import Step
from rulesproxy.rules.reading.keys import RULE
from rulesproxy.rules.schema import Bad, Reader
from rulesproxy.rules.templates.fields import field_of

RULE_KEYS = tuple(RULE)
SYNONYMS = {
    "when": "match", "if": "match", "filter": "match", "on": "match", "matches": "match", "name": "id",
    "desc": "description", "comment": "description", "note": "description", "actions": "do", "action": "do",
    "then": "do",
    "deny": "block", "drop": "block", "reject": "block", "abort": "block", "modify": "rewrite", "maplocal": "map-local",
    "map_local": "map-local", "file": "map-local", "on_error": "on-error", "final": "stop", "last": "stop",
    "chance": "sample", "probability": "sample", "percent": "sample", "limit": "times", "max": "times", "once": "times",
    "repeat": "times", "on_overflow": "on-overflow",
}  # fmt: skip

Written: TypeAlias = tuple[Scalar, Node, type[Action]]
"""An action as written: its key, its value, its class."""


def written_actions(node: Mapping, reader: Reader) -> list[Written]:
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


def read_steps(written: Written, reader: Reader) -> list[Step]:
    """An action as the parts that it consists of; none after a diagnostic."""
    key, child, action = written
    try:
        read = action.read(child, reader, action.key)
    except Bad:
        return []
    parts = read.parts()
    if not all(part.legal or part.legal_messages for part in parts):
        names = sorted(name for name in read.names if is_late(name))
        strange = sorted(name for name in read.names if is_of_message(name))
        if strange:
            others = sorted(name for name in read.names if name not in strange and field_of(name) is not None)
            title = f"`{action.key}` uses `${{{strange[0]}}}`, which is not there when it acts"
            if read.on_messages:
                second = (others or strange)[-1]
                title = f"`{action.key}` uses `${{{strange[0]}}}` and `${{{second}}}`, which are never there together"
            help = "a message has its own fields (`ws.…`, `tcp.…`, `event.…`); TCP has no request"
            reader.note("RP406", key, title, help)
            return []
        reader.note(
            "RP401", key, f"`{action.key}` acts before there is a response, and uses `${{{names[0]}}}`",
            "take the value from the request, or act on the response",
        )  # fmt: skip
        return []
    return [Step(part, key.span) for part in parts]


def check_one_answer(steps: list[Step], reader: Reader) -> None:
    """Record every answering action but the first (RP606)."""
    answering = [step for step in steps if step.action.answers]
    for step in answering[1:]:
        reader.note(
            "RP606",
            step.span,
            f"`{step.action.key}` after `{answering[0].action.key}`: a rule answers once",
            "keep one of them, or write two rules",
            labels=[Label(answering[0].span, "this one answers already")],
        )


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
