"""`Turn`: one message while the rules look at it, and what they may do with it. One kind for each kind of conversation.

Actions see a message only through this, so that they need not know what carries it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias, cast

from rulesproxy.filters.phases import Phase
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import End, Fault, Plan, Repeat, Throttle
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.flow.websocket import WebSocketFlow, WebSocketMessage

if TYPE_CHECKING:
    from rulesproxy.rules.action import Captures
    from rulesproxy.rules.compile import Compiled
    from rulesproxy.rules.position import Pass

Subject: TypeAlias = HTTPFlow | WebSocketFlow | TCPFlow
Made: TypeAlias = "Callable[[Captures], str | bytes]"
"""Makes a message of what the rule has captured."""

_ONCE = "rules-once"
"""The key in the metadata of a flow under which is what happens once in a conversation."""


class Turn(ABC):
    """A message, or with `at_open` the moment before the first one.

    Attributes:
        phase: the kind of message that this is.
        subject: the flow that it is a part of, as handlers of its event see it.
        flow: the exchange that began it; of raw TCP, which has none, the TCP flow.
        from_client: who sent it.
        at_open: whether there is no message yet.
    """

    __slots__ = ("_acting", "_base", "_seen", "_state", "at_open", "flow", "from_client", "subject")

    phase: ClassVar[Phase]

    def __init__(
        self,
        subject: Subject,
        flow: HTTPFlow,
        from_client: bool,
        base: FlowView,
        state: Pass | None,
        at_open: bool = False,
    ) -> None:
        self.subject = subject
        self.flow = flow
        self.from_client = from_client
        self.at_open = at_open
        self._base = base
        self._state = state
        self._seen: FlowView | None = None
        self._acting: tuple[Compiled, FlowView] | None = None

    def view(self, number: int) -> FlowView:
        """The message as it is now, beside the request as the rule of this number saw it."""
        view = self._seen
        if view is None:
            view = self._seen = self._shown()
        return view if self._state is None else self._state.view(view, number)

    def refresh(self) -> None:
        """A rule has acted: what was read of the message may be out of date."""
        self._seen = None

    def acts(self, rule: Compiled, view: FlowView) -> Captures:
        """A rule is about to act, which has seen this view: what it has captured."""
        self._acting = (rule, view)
        return rule.captures(view)

    def once(self, marker: object) -> bool:
        """Whether this is the first time in this conversation that somebody asks with this marker."""
        marks = self.flow.metadata.setdefault(_ONCE, set())
        if not isinstance(marks, set) or marker in marks:
            return False
        marks.add(marker)
        return True

    def repeat(self, to_client: bool, every: float, make: Made) -> None:
        """Send a message every so many seconds from now on, made anew each time of what the acting rule captures."""
        assert self._acting is not None
        rule, view = self._acting

        def content() -> str | bytes:
            return self._as_sent(make(rule.captures(view)))

        self.plan.repeats.append(Repeat(every, content, to_client, f"rule {rule.name}"))

    def throttle(self, throttle: Throttle) -> None:
        """Let the line be slow from now on."""
        self.plan.throttles.append(throttle)

    @property
    def shown(self) -> object:
        """What a function of the user's is called with."""
        return self.subject

    @property
    def plan(self) -> Plan:
        """The plan of the conversation."""
        return self.flow.plan

    def _shown(self) -> FlowView:
        return self._base

    def _as_sent(self, content: str | bytes) -> str | bytes:
        """A message that is repeated as its layer wants it."""
        return content

    @property
    @abstractmethod
    def content(self) -> str | bytes:
        """What it says: text, or bytes of which nobody knows whether they are text."""

    @content.setter
    @abstractmethod
    def content(self, content: str | bytes) -> None: ...

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether it is dropped, or the conversation ends: no rule below has anything to do with it."""

    @abstractmethod
    def drop(self) -> None:
        """Do not send it on."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Let it, and what comes behind it, wait before it goes on."""

    @abstractmethod
    def inject(self, to_client: bool, content: str | bytes, before: bool) -> None:
        """Send another message: towards the receiver of this one before or behind it, towards its sender at once."""

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """End the conversation behind it, in order."""

    @abstractmethod
    def kill(self) -> None:
        """End the conversation as a broken connection does."""

    @abstractmethod
    def end(self, how: End) -> None:
        """End the client's connection in its place."""

    @abstractmethod
    def spoil(self, fault: Fault) -> None:
        """Let it go wrong on its way, or with `at_open` all that the client gets."""


def merged(fault: Fault | None, other: Fault) -> Fault:
    """Two faults of one thing: each goes wrong in its own way, and the later one decides where both are about one."""
    if fault is None:
        return other
    given = {name: value for name in Fault.__slots__ if (value := getattr(other, name)) not in (None, False)}
    return replace(fault, **given)


class _MessageTurn(Turn):
    """What a message of a flow can do, whichever kind of flow that is."""

    __slots__ = ("_flow", "_message")

    _flow: WebSocketFlow | TCPFlow
    _message: WebSocketMessage | TCPMessage | None

    def kill(self) -> None:
        self._flow.kill()

    def end(self, how: End) -> None:
        self.plan.end = how
        self.drop()

    def spoil(self, fault: Fault) -> None:
        if self._message is None:
            self.plan.fault = merged(self.plan.fault, fault)
        else:
            self._message.fault = merged(self._message.fault, fault)


class WebSocketTurn(_MessageTurn):
    """A message of a WebSocket."""

    __slots__ = ()

    phase: ClassVar = Phase.W
    _flow: WebSocketFlow
    _message: WebSocketMessage | None

    def __init__(self, flow: WebSocketFlow, base: FlowView, state: Pass, at_open: bool = False) -> None:
        self._flow = flow
        self._message = None if at_open else flow.messages[-1]
        from_client = self._message is not None and self._message.from_client
        super().__init__(flow, flow.handshake_flow, from_client, base, state, at_open)

    def _shown(self) -> FlowView:
        if self._message is None:
            return self._base
        return self._base.about(self._message, self._flow.message_count - 1)

    @property
    def content(self) -> str | bytes:
        return "" if self._message is None else self._message.content

    @content.setter
    def content(self, content: str | bytes) -> None:
        if self._message is not None:
            self._message.content = content

    @property
    def over(self) -> bool:
        if self._flow.ending is not None or (self._message is not None and self._message.dropped):
            return True
        plan = self.flow.planned
        return plan is not None and plan.end is not None

    def drop(self) -> None:
        if self._message is not None:
            self._message.kill()

    def wait(self, seconds: float) -> None:
        if self._message is not None:
            self._message.delay += seconds

    def inject(self, to_client: bool, content: str | bytes, before: bool) -> None:
        if before and self._message is not None and to_client is not self.from_client:
            self._message.put_before(content)
        else:
            self._flow.inject(to_client, content)

    def close(self, code: int, reason: str) -> None:
        self._flow.close(code, reason)


class TCPTurn(_MessageTurn):
    """Bytes of a TCP connection.

    Attributes:
        index: the number of the message.
    """

    __slots__ = ("_after", "_before", "_dropped", "index")

    phase: ClassVar = Phase.X
    _flow: TCPFlow
    _message: TCPMessage | None

    def __init__(self, flow: TCPFlow, index: int, at_open: bool = False) -> None:
        self._flow = flow
        self._message = None if at_open else flow.messages[-1]
        self._dropped = False
        self._before = self._after = b""
        self.index = index
        from_client = self._message is not None and self._message.from_client
        super().__init__(flow, cast(HTTPFlow, flow), from_client, _NO_VIEW, None, at_open)

    def _shown(self) -> FlowView:
        # What a rule injects in this direction is part of what goes on, but not of what other rules look at.
        return FlowView.of_message(self._flow, self._message, self.index)

    @property
    def content(self) -> str | bytes:
        return b"" if self._message is None else self._message.content

    @content.setter
    def content(self, content: str | bytes) -> None:
        if self._message is not None:
            self._message.content = _bytes(content)

    @property
    def over(self) -> bool:
        plan = self._flow.planned
        ended = plan is not None and plan.end is not None
        return self._dropped or self._flow.closing or self._flow.killed or ended

    def drop(self) -> None:
        self._dropped = True

    def wait(self, seconds: float) -> None:
        if self._message is None:
            self.plan.delay += seconds
        else:
            self._message.delay += seconds

    def inject(self, to_client: bool, content: str | bytes, before: bool) -> None:
        data = _bytes(content)
        if self._message is None or to_client is self.from_client:
            self._flow.inject(to_client, data)
        elif before:
            self._before += data
        else:
            self._after += data

    def settle(self) -> None:
        """The rules have done with it: put together what goes on."""
        if self._message is not None and (self._dropped or self._before or self._after):
            kept = b"" if self._dropped else self._message.content
            self._message.content = self._before + kept + self._after

    def close(self, code: int, reason: str) -> None:
        self._flow.close()

    def _as_sent(self, content: str | bytes) -> str | bytes:
        return _bytes(content)


_NO_VIEW = cast(FlowView, None)


def _bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
