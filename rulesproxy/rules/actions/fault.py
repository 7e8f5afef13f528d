"""The action `fault`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from rulesproxy.diagnostics import Label
from rulesproxy.filters.phases import CONNECTING, MESSAGES, Phase
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import Dribble, End
from rulesproxy.flow.plan import Fault as Spoiled
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action, Captures, Example, Handler, MessageHandler
from rulesproxy.rules.conversations.turn import merged
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.reading.amounts import Duration, Size
from rulesproxy.rules.schema import Range, Reader

_ENDS: dict[str, End] = {"reset": "reset", "empty": "close"}
_WORDS = (*_ENDS, "malformed-chunk", "slow-close")


@dataclass(frozen=True, slots=True)
class Dribbling:
    """A body that is sent slowly, in equal parts.

    Attributes:
        chunks: how many parts.
        over: how long after the first one the last one leaves.
    """

    chunks: Annotated[int, Range(2, 10_000)]
    over: Duration

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        from rulesproxy.rules.reading.json_schema import record_schema

        return record_schema(cls)

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Dribbling:
        """The two keys of a mapping."""
        return reader.record(cls, reader.mapping(node, name, "`dribble: {chunks: 5, over: 2s}`"), name)


@dataclass(frozen=True, slots=True)
class Fault(Action):
    """Let the answer go wrong, as bad networks and bad servers do; the server's side of it stays valid.

    `fault: reset` and `fault: empty` end the connection in place of an answer, and end the request pass. The others
    spoil whatever answer there is, also that of another rule. `fault: malformed-chunk` and `fault: slow-close` may
    stand without keys. Answers without a body, such as those to HEAD, cannot be truncated or badly framed.
    The page with which the proxy says why a flow has failed is spoiled only by rules for flows that fail.

    Under a filter about the request a WebSocket is spoiled as an answer is: its body is all that the client gets behind
    the handshake, and it dribbles message by message. So is raw TCP, where the filter is about the connection, such as
    `host == "db.test"` or `~tcp`. A rule that is decided by a message spoils this message. `reset` and `empty` end the
    client's connection in its place, a WebSocket without a Close frame, and the server sees a client that leaves.
    `truncate`, `malformed-chunk` and `dribble` go to whoever gets the message.

    Attributes:
        truncate: the connection closes after so many bytes of the body; shorter bodies are whole.
        malformed_chunk: the body is sent in chunks, and behind its first piece comes what is no chunk: in a WebSocket a
            frame with a reserved opcode. Raw TCP has nothing like it.
        slow_close: the connection ends with the answer, but so long after it. One message has no such end.
        dribble: `{chunks: 5, over: 2s}`: the body is sent in so many equal parts, the last one so long after the first.
            A body whose length is not known is read to its end before.
    """

    key: ClassVar = "fault"
    events: ClassVar = REQUEST | RESPONSE | ERROR
    on_messages: ClassVar = MESSAGES
    begins: ClassVar = CONNECTING
    needs: ClassVar = ("*",)
    synonyms: ClassVar = {
        "limit": "truncate", "cut": "truncate", "malformed_chunk": "malformed-chunk", "slow_close": "slow-close",
        "slow": "dribble", "chunked-dribble": "dribble",
    }  # fmt: skip

    truncate: Size | None = None
    malformed_chunk: bool = False
    slow_close: Duration | None = None
    dribble: Dribbling | None = None
    _end: End | None = None

    examples: ClassVar = (
        Example("match: path == '/big'\nfault: {truncate: 1000}", "GET http://a.test/big", "GET http://a.test/big"),
        Example(
            "match: response.status == 200\nfault:\n  dribble:\n    chunks: 5\n    over: 2s",
            "GET http://a.test/", "200", response="200",
        ),
        Example("match: ~all\nfault: malformed-chunk", "GET http://a.test/", "200", response="200"),
    )  # fmt: skip

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import action_schema

        return action_schema(cls, {"enum": list(_WORDS)})

    @classmethod
    def from_node(cls, node: Node, reader: Reader) -> Fault:
        if not isinstance(node, nodes.Scalar) or node.empty:
            return super(Fault, cls).from_node(node, reader)
        word = reader.choice(node, "fault", _WORDS)
        if word == "slow-close":
            return cls(slow_close=Duration(5.0, "5s"))
        return cls(malformed_chunk=True) if word == "malformed-chunk" else cls(_end=_ENDS[word])

    def check(self, node: Node, reader: Reader) -> None:
        if not isinstance(node, nodes.Mapping):
            return
        if self == Fault():
            reader.note(
                "RP106", node, "`fault` spoils nothing", "add one of truncate, malformed-chunk, slow-close, dribble"
            )
        key = node.key("malformed-chunk")
        if self.malformed_chunk and key is not None:
            for name in ("truncate", "dribble"):
                other = node.key(name)
                if other is not None:
                    reader.note(
                        "RP631", other, f"`{name}` beside `malformed-chunk`: the body ends behind its first piece",
                        "keep one of them", labels=[Label(key.span, "ends the body")],
                    )  # fmt: skip

    def parts(self) -> tuple[Action, ...]:
        return (_Ending(self._end),) if self._end is not None else (self,)

    @property
    def of_whole(self) -> bool:
        return self.slow_close is not None

    @property
    def legal_messages(self) -> Phase:
        return self.on_messages & ~Phase.X if self.malformed_chunk else self.on_messages

    def bind_message(self, memory: Memory) -> MessageHandler:
        fault = self._fault()
        return lambda turn, captures: turn.spoil(fault)

    def bind(self) -> Handler:
        fault = self._fault()

        def spoil(flow: HTTPFlow, captures: Captures) -> None:
            # Two rules may spoil one answer, each in its own way.
            flow.plan.fault = merged(flow.plan.fault, fault)

        return spoil

    def _fault(self) -> Spoiled:
        slow, drops = self.slow_close, self.dribble
        return Spoiled(
            None if self.truncate is None else self.truncate.bytes,
            self.malformed_chunk,
            None if slow is None else slow.seconds,
            None if drops is None else Dribble(drops.chunks, drops.over.seconds),
        )


@dataclass(frozen=True, slots=True)
class _Ending(Action):
    """The end of the connection in place of an answer."""

    key: ClassVar = Fault.key
    events: ClassVar = REQUEST | RESPONSE | ERROR
    on_messages: ClassVar = MESSAGES
    begins: ClassVar = CONNECTING
    answers: ClassVar = True

    end: End

    def bind_message(self, memory: Memory) -> MessageHandler:
        return lambda turn, captures: turn.end(self.end)

    def bind(self) -> Handler:
        end = self.end

        def finish(flow: HTTPFlow, captures: Captures) -> None:
            flow.plan.end = end

        return finish
