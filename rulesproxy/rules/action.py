"""`Action`: what every action is. One effect, read from YAML into a frozen dataclass and bound to a handler.

It knows how an action presents itself, and nothing of the single actions or of the order in which rules run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias, TypeVar

from rulesproxy.filters.phases import MESSAGES, NONE, Phase
from rulesproxy.flow.http import HTTPFlow, HTTPMessage
from rulesproxy.flow.plan import Side as Side
from rulesproxy.flow.route import Route
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.schema import describe, schema_of
from rulesproxy.rules.template import names_in
from rulesproxy.rules.templates.fields import field_of

if TYPE_CHECKING:
    from rulesproxy.filters.engine import Searching
    from rulesproxy.rules.conversations.turn import Turn
    from rulesproxy.rules.schema import Reader

Captures: TypeAlias = Mapping[str, str]
Handler: TypeAlias = Callable[[HTTPFlow, Captures], Awaitable[object] | None]
"""Carries one action out on a flow. It raises where it cannot, and the rule's `on-error` decides.

Only an action that `awaits` gives something to be awaited.
"""
MessageHandler: TypeAlias = "Callable[[Turn, Captures], Awaitable[object] | None]"
"""The same for one message of a conversation or of an event stream."""

A = TypeVar("A", bound="Action")

REQUEST = frozenset({"requestheaders", "request"})
RESPONSE = frozenset({"responseheaders", "response"})
ERROR = frozenset({"error"})


_NO_EVENTS: frozenset[str] = frozenset()
_NO_SIDES: frozenset[Side] = frozenset()
_BODIES: dict[Side, Phase] = {"request": Phase.B, "response": Phase.S}
_ON_REQUEST = Phase.Q | Phase.B


def is_late(name: str) -> bool:
    """Whether a name of a template has no value before there is a response."""
    field = field_of(name)
    return field is not None and not field.phases & _ON_REQUEST


def is_of_message(name: str) -> bool:
    """Whether a name of a template has a value in messages only."""
    field = field_of(name)
    return field is not None and not field.phases & ~MESSAGES


class ActionError(Exception):
    """An action could not do its work on this flow; the message says why."""


@dataclass(frozen=True, slots=True)
class Example:
    """An example that is documentation and test at once.

    Attributes:
        rule: the keys of a rule, in YAML.
        request: a request line without version, such as `GET https://a.test/x`, then header lines; a blank line and a
            body may follow.
        response: the server's answer likewise, its first line the status; empty for none.
        expect: the message that comes out: the answer where there is one, else the request. Only what is named counts;
            a line that starts with `!` names a header that must not be there.
        messages: the messages of the conversation that follows, one a line, behind `client: ` or `server: `. `expect`
            then has what comes out: on the side that gets it, in order, and `close CODE` where it ends.
    """

    rule: str
    request: str
    expect: str
    response: str = ""
    messages: str = ""


class Action:
    """Base of all actions. A subclass is a frozen dataclass whose fields are its keys in YAML.

    Attributes:
        key: its name in a rule; `rewrite.request` is the key `request` under `rewrite`.
        events: the events of an exchange at which it is legal.
        on_messages: the kinds of messages on which it is legal: of a WebSocket (W), of TCP (X), of an event stream (V).
        at_open: on those it acts once, before the first message.
        begins: where the filter is decided at one of these moments and reads no message, it acts once on a connection
            of raw TCP: before its server is dialled.
        answers: it ends the request pass, and therefore runs last in its rule.
        may_answer: it answers some requests by itself, and leaves the others to the rest of its rule.
        bare: it may stand without a value.
        short: the field that a value without keys is read into.
        whole: the field that the whole value is read into, where its keys are names of the user's own.
        needs: keys of which at least one has to be there; `*` for any of all. For the schema, as `filled`:
            `check` of the action says so too.
        filled: keys whose lists have at least one item.
        edits_request: it may change the request.
        synonyms: keys that people try, each with the one that they mean.
        edits_body: the message whose body it changes, which therefore has to be read before.
        examples: what it does, shown.
    """

    __slots__ = ("_names",)
    _names: frozenset[str]

    key: ClassVar[str]
    events: ClassVar[frozenset[str]]
    on_messages: ClassVar[Phase] = NONE
    at_open: ClassVar[bool] = False
    begins: ClassVar[Phase] = NONE
    answers: ClassVar[bool] = False
    may_answer: ClassVar[bool] = False
    bare: ClassVar[bool] = False
    short: ClassVar[str | None] = None
    whole: ClassVar[str | None] = None
    needs: ClassVar[tuple[str, ...]] = ()
    filled: ClassVar[tuple[str, ...]] = ()
    edits_request: ClassVar[bool] = False
    synonyms: ClassVar[dict[str, str]] = {}
    examples: ClassVar[tuple[Example, ...]] = ()

    @property
    def awaits(self) -> bool:
        """Whether its handler gives something to be awaited before the pass goes on."""
        return False

    @property
    def edits_body(self) -> Side | None:
        return None

    @property
    def shares(self) -> tuple[str, str] | None:
        """What its flows share, so that several processes cannot act for one: a code and words. None for nothing."""
        return None

    @property
    def of_whole(self) -> bool:
        """Whether it makes sense for conversations as a whole only, and not for one message."""
        return False

    @property
    def route(self) -> Route | None:
        """How it has the server reached, where it does."""
        return None

    def touches(self, message: HTTPMessage) -> bool:
        """Whether it may change the body of this message, as far as its headers tell."""
        return True

    @property
    def legal(self) -> frozenset[str]:
        """The events at which this one is legal: values that it takes from the response are not there before it."""
        if any(is_of_message(name) for name in self.names):
            return _NO_EVENTS
        return self.events & (RESPONSE | ERROR) if any(is_late(name) for name in self.names) else self.events

    @property
    def legal_messages(self) -> Phase:
        """The kinds of messages on which this one is legal: those that have all that its values are made of."""
        phases = self.on_messages
        for name in self.names if phases else ():
            field = field_of(name)
            if field is not None:
                phases &= field.phases
        return phases

    @property
    def looks_for(self) -> tuple[str | Searching, ...]:
        """The plain texts and the regexes that it looks for in a message."""
        return ()

    @property
    def names(self) -> frozenset[str]:
        """The names in its templates."""
        try:
            return self._names
        except AttributeError:
            # Found once: of thousands of rules every one is asked several times.
            object.__setattr__(self, "_names", names_in(self))
            return self._names

    @property
    def reads_body(self) -> frozenset[Side]:
        """The messages whose bodies its values are made of."""
        if not self.names:
            return _NO_SIDES
        bodies = [field.body for name in self.names if (field := field_of(name)) is not None]
        return frozenset([side for side, phase in _BODIES.items() if any(body & phase for body in bodies)])

    def parts(self) -> tuple[Action, ...]:
        """The actions that this one consists of: itself, unless it does several things at different events."""
        return (self,)

    def bind(self) -> Handler:
        """The handler that carries this action out."""
        raise TypeError(f"{type(self).__name__} has neither bind() nor bind_for()")

    def bind_for(self, side: Side, memory: Memory) -> Handler:
        """The same for one pass, with the memory of the rule."""
        return self.bind()

    def bind_message(self, memory: Memory) -> MessageHandler:
        """The same for messages, with the memory of the rule."""
        handler = self.bind_for("response", memory)
        return lambda turn, captures: handler(turn.flow, captures)

    def check(self, node: Node, reader: Reader) -> None:
        """Record what is wrong with the values together."""

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What it accepts, as JSON Schema. An action that reads values in a way of its own says so here too."""
        from rulesproxy.rules.reading.json_schema import action_schema

        return action_schema(cls)

    @classmethod
    def read(cls: type[A], node: Node, reader: Reader, name: str) -> A:
        """The action from its value in a rule."""
        action = cls.from_node(node, reader)
        action.check(node, reader)
        return action

    @classmethod
    def from_node(cls: type[A], node: Node, reader: Reader) -> A:
        """The action without the checks of its values together."""
        schema = schema_of(cls)
        if cls.bare and isinstance(node, nodes.Scalar) and node.bare:
            return cls()
        if not schema:
            help = "write nothing behind the colon; `enabled: false` switches a rule off"
            reader.fail("RP103", node, f"`{cls.key}` stands alone, got {describe(node)}", help)
        if cls.whole is not None:
            field = schema[cls.whole]
            return cls(**{field.attribute: reader.value(field.kind, node, cls.key)})
        if isinstance(node, nodes.Mapping):
            return reader.record(cls, node, cls.key, _owner_of)
        if cls.short is None:
            reader.mapping(node, cls.key, f"`{cls.key}: {{{next(iter(schema))}: …}}`")
        field = schema[str(cls.short)]
        return cls(**{field.attribute: reader.value(field.kind, node, cls.key)})


def _owner_of(key: str) -> str:
    """Which action has this key, for a key that stands in the wrong one."""
    from rulesproxy.rules.actions import ACTIONS

    owners = [action.key for action in ACTIONS.values() if key in schema_of(action)]
    return f"`{key}` belongs to `{owners[0]}`" if owners else ""
