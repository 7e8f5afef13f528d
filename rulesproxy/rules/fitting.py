"""Whether the filter of a rule and its actions fit together: captures, and events at which both are possible."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rulesproxy.diagnostics import Label, Span
from rulesproxy.filters import ast
from rulesproxy.filters.check import Checked, Phase
from rulesproxy.filters.phases import MESSAGES
from rulesproxy.rules.action import Action
from rulesproxy.rules.conversations.message_fitting import about_messages
from rulesproxy.rules.model import Step
from rulesproxy.rules.moments import mask
from rulesproxy.rules.reading.match import FilterText
from rulesproxy.rules.schema import Reader

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


def check_phases(checked: Checked, text: FilterText, tree: ast.Node | None, steps: list[Step], reader: Reader) -> None:
    """Every action needs an event at which it is legal and the filter is decided (RP401)."""
    if not checked.phases:
        return
    before = len(reader.problems)
    for step in steps:
        legal = mask(step.action)
        if checked.phases & legal:
            continue
        refused = about_messages(checked, step, reader)
        if refused:
            continue
        span, known = _late_field(tree, text, legal, checked)
        events = " or ".join(event for phase, event in {**_EVENTS, **_OTHER_EVENTS}.items() if legal & phase)
        reader.note(
            "RP401",
            span,
            *_why(checked, step.action),
            label=known,
            labels=[Label(step.span, f"must run at {events}")],
        )
    one_side = checked.either_side and not any(mask(step.action) & _WITH_RESPONSE for step in steps)
    if steps and one_side and len(reader.problems) == before:
        _one_side(tree, text, steps[0], reader)


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


_ON_MESSAGES = (
    "rewrite.message", "drop-message", "inject-message", "close", "block", "delay", "throttle", "fault",
    "set-state", "tag", "log", "run",
)  # fmt: skip
_WAYS_OUT = {
    "passthrough": "nothing is decrypted yet: match on `host`, `port`, `sni` or `client.ip`",
    "cors": "preflights are answered before there is a response: match on the request",
    "no-cache": "it changes the request too: match on the request",
    "map-remote": "the request is gone by then; match on the request",
}


def _why(checked: Checked, action: Action) -> tuple[str, str]:
    """What is wrong where an action and a filter have no event in common, and what to do."""
    if action.on_messages and not action.events:
        title = f"`{action.key}` acts on messages, and this filter is not decided there"
        return title, "match on what a message has, such as `ws.text`, or on the request alone"
    if not checked.phases & ~MESSAGES:
        title = f"this filter is about messages, and `{action.key}` does nothing with them"
        return title, f"what can be done with a message: {', '.join(_ON_MESSAGES)}"
    if checked.phases & _ACTIONS:
        return "this filter is only decided after the action has to run", _way_out(action)
    if checked.phases & Phase.E:
        title = f"this filter is true only for flows that fail, and `{action.key}` does nothing for those"
        return title, "answer with `respond`, or add `or response.status >= 500`"
    return "this filter is true only where no action runs", "match on something that a request or a response has"


def _way_out(action: Action) -> str:
    if action.key in _WAYS_OUT:
        return _WAYS_OUT[action.key]
    if action.key == "rewrite.request":
        return "the request is gone by then; change the answer with `rewrite: {response: …}`, or match on the request"
    if action.key == "rewrite.response":
        return "there is no response at that time; match on something that a response has too"
    return "the answer is there by then; replace it with `block: 502`, or change it with `rewrite: {response: …}`"


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
