"""The action `set-state`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rulesproxy.filters.fields.marks import SCOPES
from rulesproxy.filters.phases import MESSAGES
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action, Captures, Example, Handler
from rulesproxy.rules.schema import Bad
from rulesproxy.rules.state import is_name, is_shared, state_of
from rulesproxy.rules.template import Template

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader


@dataclass(frozen=True, slots=True)
class StateEdits:
    """Values to remember by name, such as `client.step`, in order."""

    values: tuple[tuple[str, Template], ...]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the action accepts, for editors."""
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^({'|'.join(SCOPES)})\\."},
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            "description": "values by name, such as `client.step`; an empty one forgets",
        }

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> StateEdits:
        mapping = reader.mapping(node, name, f"`{name}: {{client.step: paid}}`")
        values, failed = [], False
        for key, child in mapping.entries:
            try:
                values.append((_name(key, reader), _value(child, reader, key.text)))
            except Bad:
                failed = True
        if failed:
            raise Bad
        return cls(tuple(values))


def _name(key: Scalar, reader: Reader) -> str:
    if not is_name(key.text):
        scope, dot, _ = key.text.partition(".")
        bare = key.text if not dot or scope in SCOPES else key.text.partition(".")[2]
        help = f"write `client.{bare}`, `flow.{bare}` or `global.{bare}`"
        if "${" in key.text or scope in SCOPES:
            help = "it is fixed text, with letters, digits, `_`, `-` and `.` behind `client.`, `flow.` or `global.`"
        reader.fail("RP624", key, f"`{key.text}` does not say who remembers it", help)
    return key.text


def _value(node: Node, reader: Reader, name: str) -> Template:
    from rulesproxy.rules.files import nodes

    if isinstance(node, nodes.Scalar) and node.null:
        # Nothing is what a forgotten value is, so here it need not be quoted.
        return Template.of("")
    return Template.read(node, reader, name)


@dataclass(frozen=True, slots=True)
class SetState(Action):
    """Remember values for later flows and rules, which read them as `state["client.step"]` in filters and templates.

    A name begins with who remembers the value: `flow.` this flow, `client.` this client, which is an IP address, or
    `global.` the proxy. An empty value is forgotten. A restart forgets everything, a reload nothing. Of many clients
    those are forgotten first for whom nothing was set for the longest time.

    Attributes:
        values: the values by name.
    """

    key: ClassVar = "set-state"
    events: ClassVar = REQUEST | RESPONSE | ERROR
    on_messages: ClassVar = MESSAGES
    whole: ClassVar = "values"

    values: StateEdits

    examples: ClassVar = (
        Example(
            "match: method == POST and path == '/pay'\nset-state:\n  client.step: paid", "POST http://a.test/pay",
            "POST http://a.test/pay",
        ),
        Example(
            "match: path == '/login' and response.status == 200\nset-state:\n"
            "  client.user: ${request.form['user'] | lower}\n  global.last-login: ${client.ip}",
            "POST http://a.test/login\ncontent-type: application/x-www-form-urlencoded\n\nuser=Ann", "200",
            response="200",
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        if not self.values.values:
            reader.note("RP106", node, "`set-state` without a name", "write it like `client.step: paid`")

    @property
    def shares(self) -> tuple[str, str] | None:
        name = next((name for name, _ in self.values.values if is_shared(name)), None)
        return None if name is None else ("RP851", f"`{name}` is remembered for other flows too")

    def bind(self) -> Handler:
        values = self.values.values

        def remember(flow: HTTPFlow, captures: Captures) -> None:
            # Filled first: where one fails, nothing is remembered.
            filled = [(name, template.fill(flow, captures)) for name, template in values]
            state_of(flow).update(filled)

        return remember
