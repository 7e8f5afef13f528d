"""Whether a rule about messages makes sense: what its actions can do with such messages, and what its gates count."""

from __future__ import annotations

from rulesproxy.diagnostics import Label
from rulesproxy.filters import ast
from rulesproxy.filters.analysis import reads
from rulesproxy.filters.check import Checked
from rulesproxy.filters.phases import MESSAGES, Phase
from rulesproxy.rules.gates import Gates
from rulesproxy.rules.model import Step
from rulesproxy.rules.moments import SENT, acts_on_each, on_messages, opens
from rulesproxy.rules.reading.match import FilterText
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.templates.fields import field_of

_KINDS = {Phase.W: "a WebSocket message", Phase.X: "a TCP message", Phase.V: "an event of a stream"}
_FORMS = {
    "block": "of a message it is `block:`, or with close, reset or timeout behind it: nobody waits for an answer",
    "close": "only a WebSocket has a code and a reason: write `close:` alone",
    "inject-message": "an event stream is text, and goes to the client only",
    "rewrite.message": "an event stream is text: use `text`, `json` or `replace`",
    "delay": "of a message it is a time alone, such as `delay: 200ms`",
    "fault": "there are no chunks: write `fault: {truncate: 1000}`, or `fault: reset`",
    "run": "leave `on` out; a function that is called with the events of a stream is written without `async`",
}
"""How actions look that act on messages in some of their forms only."""


def about_messages(checked: Checked, step: Step, reader: Reader) -> bool:
    """Record why an action cannot do with these messages what it otherwise can; whether there was anything."""
    action = step.action
    kinds = checked.phases & MESSAGES
    if checked.phases & ~MESSAGES or not kinds:
        return False
    shown = " or ".join(word for phase, word in _KINDS.items() if kinds & phase)
    for name in sorted(action.names):
        field = field_of(name)
        if field is not None and action.on_messages & kinds and not field.phases & kinds:
            title = f"`{action.key}` uses `${{{name}}}`, which is not known for {shown}"
            reader.note("RP406", step.span, title, "use a field that such a message has")
            return True
    if action.key in _FORMS and not action.legal_messages & kinds:
        reader.note("RP401", step.span, f"`{action.key}` cannot do this with {shown}", _FORMS[action.key])
        return True
    return False


def check_messages(
    checked: Checked, text: FilterText, tree: ast.Node | None, steps: list[Step], gates: Gates | None, reader: Reader
) -> None:
    """Record what does not go together in a rule about messages."""
    talking = [(step, kinds) for step in steps if (kinds := on_messages(step.action, checked))]
    if not talking:
        return
    _check_lengths(talking, reader)
    _check_open(checked, text, [step for step, _ in talking if opens(step.action, checked)], reader)
    each = [step for step, _ in talking if acts_on_each(step.action, checked)]
    for step in each:
        if step.action.of_whole:
            title = f"this `{step.action.key}` is about the end of a connection, and the filter about one message"
            reader.note("RP401", step.span, title, 'match on the conversation alone, such as `host == "feed.test"`')
    if gates is None:
        return
    others = [step for step in steps if step not in each]
    if each and others:
        reader.note(
            "RP682", each[0].span, "the gates of this rule would count flows and messages",
            "write two rules: one about the flow, one about its messages",
            labels=[Label(others[0].span, "acts once per flow")],
        )  # fmt: skip
    by = gates.sample.by if gates.sample is not None else None
    if by is not None and any(not by.field.phases & kind for _, kinds in talking for kind in _KINDS if kinds & kind):
        reader.note(
            "RP621", talking[0][0].span, f"`{by.field.name}` is not there when such a message is sampled",
            "go by `client.ip`, or match on WebSockets only",
        )  # fmt: skip


def _check_lengths(talking: list[tuple[Step, Phase]], reader: Reader) -> None:
    """Many protocols over TCP say how long a text is before it comes."""
    for step, kinds in talking:
        resized = getattr(step.action, "resized", None)
        if resized is not None and kinds & Phase.X:
            title = f"`{resized}` gets another length, and many protocols over TCP count bytes"
            help = "use a text of the same length, unless lines or the end of the connection end a message here"
            reader.note("RP683", step.span, title, help, severity="warning")


def _check_open(checked: Checked, text: FilterText, openers: list[Step], reader: Reader) -> None:
    """Before the first message there is none that a filter could read."""
    read = next((read for read in reads(checked.node) if read.field.side == "message" or read.field.name in SENT), None)
    if read is None or not openers:
        return
    reader.note(
        "RP681", openers[0].span, f"this acts before any message, and `{read.field.name}` reads one",
        "match on the conversation alone: on its handshake, or with `~tcp`",
        labels=[Label(text.place(0, len(text.text)), "the filter")],
    )  # fmt: skip
