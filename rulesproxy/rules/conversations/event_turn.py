"""`EventTurn`: an event of an event stream while the rules look at it; and `EventFlow`, the same for a function.

How a stream becomes events is the business of `event_streams`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rulesproxy.filters.fields.stream import StreamEvent
from rulesproxy.filters.phases import Phase
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import Break, End, Fault, Plan
from rulesproxy.rules.conversations.turn import Turn, merged

if TYPE_CHECKING:
    from rulesproxy.rules.position import Pass


class EventTurn(Turn):
    """An event of an event stream; one object for all events of a stream, one after the other.

    Args:
        beat: how something is spelt that is repeated between two events.

    Attributes:
        event: the event as it is now.
        before: what goes in front of it; `after` behind it.
        pause: seconds that it waits.
        dropped: whether it does not go on.
        fault: how it goes wrong on its way.
        closing: whether the stream ends behind it.
        broken: how the stream breaks off instead.
    """

    __slots__ = ("_beat", "_index", "after", "before", "broken", "closing", "dropped", "event", "fault", "pause")

    phase: ClassVar = Phase.V

    def __init__(self, flow: HTTPFlow, base: FlowView, state: Pass, beat: Callable[[str | bytes], bytes]) -> None:
        super().__init__(flow, flow, False, base, state)
        self._beat = beat
        self.after: list[str] = []
        self.closing = False
        self.broken: Break | None = None
        self.begin(None, 0)

    def begin(self, event: StreamEvent | None, index: int) -> None:
        """The next event; None for the moment before the first."""
        self.event = event or StreamEvent("")
        self.at_open = event is None
        self.refresh()
        self._index = index
        self.before: list[str] = []
        self.pause = 0.0
        self.dropped = False
        self.fault: Fault | None = None

    def _shown(self) -> FlowView:
        return self._base if self.at_open else self._base.about(self.event, self._index)

    def _as_sent(self, content: str | bytes) -> str | bytes:
        return self._beat(content)

    @property
    def shown(self) -> object:
        return EventFlow(self)

    @property
    def content(self) -> str | bytes:
        return self.event.data

    @content.setter
    def content(self, content: str | bytes) -> None:
        self.event = StreamEvent(text_of(content), self.event.name, self.event.id)

    @property
    def over(self) -> bool:
        return self.dropped or self.over_all

    @property
    def over_all(self) -> bool:
        """Whether the stream ends with this event."""
        return self.closing or self.broken is not None

    def drop(self) -> None:
        self.dropped = True

    def wait(self, seconds: float) -> None:
        self.pause += seconds

    def inject(self, to_client: bool, content: str | bytes, before: bool) -> None:
        (self.before if before else self.after).append(text_of(content))

    def close(self, code: int, reason: str) -> None:
        self.closing = True

    def kill(self) -> None:
        self.broken = "reset"

    def end(self, how: End) -> None:
        self.broken = how
        self.drop()

    def spoil(self, fault: Fault) -> None:
        self.fault = merged(self.fault, fault)


class EventMessage:
    """An event for a function.

    Attributes:
        from_client: always False.
    """

    __slots__ = ("_turn",)

    from_client: ClassVar = False

    def __init__(self, turn: EventTurn) -> None:
        self._turn = turn

    @property
    def content(self) -> str:
        """Its data; it may be changed."""
        return self._turn.event.data

    @content.setter
    def content(self, content: str) -> None:
        self._turn.content = content

    @property
    def name(self) -> str:
        """Its type: `message` where none is given."""
        return self._turn.event.name

    @property
    def id(self) -> str | None:
        """Its id, where one is given."""
        return self._turn.event.id

    @property
    def delay(self) -> float:
        """Seconds that it waits before it goes on; what comes behind it waits too."""
        return self._turn.pause

    @delay.setter
    def delay(self, seconds: float) -> None:
        if not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise ValueError(f"the delay of an event is a number of seconds, not {seconds!r}")
        self._turn.pause = seconds

    def kill(self) -> None:
        """Do not send it on."""
        self._turn.drop()


class EventFlow:
    """An event stream for a function, in the shape of a `WebSocketFlow`.

    Attributes:
        handshake_flow: the exchange whose response it is.
        messages: the event at hand, alone.
    """

    __slots__ = ("_turn", "handshake_flow", "messages")

    def __init__(self, turn: EventTurn) -> None:
        self._turn = turn
        self.handshake_flow = turn.flow
        self.messages: Sequence[EventMessage] = (EventMessage(turn),)

    @property
    def tags(self) -> list[str]:
        """The tags of the exchange."""
        return self.handshake_flow.tags

    @property
    def metadata(self) -> dict[str, object]:
        """The metadata of the exchange."""
        return self.handshake_flow.metadata

    @property
    def plan(self) -> Plan:
        """The plan of the exchange."""
        return self.handshake_flow.plan

    def inject(self, to_client: bool, content: str) -> None:
        """Send another event behind this one.

        Raises:
            ValueError: it is for the server, and an event stream goes to the client.
        """
        if not to_client:
            raise ValueError("an event stream has one direction: to the client")
        self._turn.inject(True, content, before=False)

    def close(self) -> None:
        """End the stream behind this event, in order."""
        self._turn.close(1000, "")

    def kill(self) -> None:
        """Break the stream off in place of this event."""
        self._turn.end("reset")


def text_of(content: str | bytes) -> str:
    """A content as text."""
    return content if isinstance(content, str) else content.decode("utf-8", "surrogateescape")
