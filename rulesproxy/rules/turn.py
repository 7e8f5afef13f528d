"""`Turn`: one message while the rules look at it, and what they may do with it. One kind for each kind of conversation.

Actions see a message only through this, so that they need not know what carries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias, cast

from rulesproxy.filters.phases import Phase
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow

if TYPE_CHECKING:
    from rulesproxy.rules.position import Pass

Subject: TypeAlias = HTTPFlow | WebSocketFlow | TCPFlow


class Turn:
    """A message, or with `at_open` the moment before the first one.

    Attributes:
        phase: the kind of message that this is.
        subject: the flow that it is a part of, as handlers of its event see it.
        flow: the exchange that began it; of raw TCP, which has none, the TCP flow.
        from_client: who sent it.
    """

    __slots__ = ("_base", "_seen", "_state", "flow", "from_client", "subject")

    phase: ClassVar[Phase]

    def __init__(self, subject: Subject, flow: HTTPFlow, from_client: bool, base: FlowView, state: Pass | None) -> None:
        self.subject = subject
        self.flow = flow
        self.from_client = from_client
        self._base = base
        self._state = state
        self._seen: FlowView | None = None

    def view(self, number: int) -> FlowView:
        """The message as it is now, beside the request as the rule of this number saw it."""
        view = self._seen
        if view is None:
            view = self._seen = self._shown()
        return view if self._state is None else self._state.view(view, number)

    def refresh(self) -> None:
        """A rule has acted: what was read of the message may be out of date."""
        self._seen = None

    def _shown(self) -> FlowView:
        return self._base

    @property
    def content(self) -> str | bytes:
        """What it says: text, or bytes of which nobody knows whether they are text."""
        raise NotImplementedError

    @content.setter
    def content(self, content: str | bytes) -> None:
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """Whether it is dropped, or the conversation ends: no rule below has anything to do with it."""
        raise NotImplementedError

    def drop(self) -> None:
        """Do not send it on."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Let it, and what comes behind it, wait before it goes on."""
        raise NotImplementedError

    def inject(self, to_client: bool, content: str | bytes, before: bool) -> None:
        """Send another message: towards the receiver of this one before or behind it, towards its sender at once."""
        raise NotImplementedError

    def close(self, code: int, reason: str) -> None:
        """End the conversation behind it, in order."""
        raise NotImplementedError

    def kill(self) -> None:
        """End the conversation as a broken connection does."""
        raise NotImplementedError


class WebSocketTurn(Turn):
    """A message of a WebSocket."""

    __slots__ = ("_flow", "_message")

    phase: ClassVar = Phase.W

    def __init__(self, flow: WebSocketFlow, base: FlowView, state: Pass, at_open: bool = False) -> None:
        self._flow = flow
        self._message = None if at_open else flow.messages[-1]
        from_client = self._message is not None and self._message.from_client
        super().__init__(flow, flow.handshake_flow, from_client, base, state)

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
        return self._flow.ending is not None or (self._message is not None and self._message.dropped)

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

    def kill(self) -> None:
        self._flow.kill()


class TCPTurn(Turn):
    """Bytes of a TCP connection.

    Attributes:
        index: the number of the message.
    """

    __slots__ = ("_after", "_before", "_dropped", "_flow", "_message", "index")

    phase: ClassVar = Phase.X

    def __init__(self, flow: TCPFlow, index: int, at_open: bool = False) -> None:
        self._flow = flow
        self._message = None if at_open else flow.messages[-1]
        self._dropped = False
        self._before = self._after = b""
        self.index = index
        from_client = self._message is not None and self._message.from_client
        super().__init__(flow, cast(HTTPFlow, flow), from_client, _NO_VIEW, None)

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
        return self._dropped or self._flow.closing or self._flow.killed

    def drop(self) -> None:
        self._dropped = True

    def wait(self, seconds: float) -> None:
        if self._message is not None:
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

    def kill(self) -> None:
        self._flow.kill()


_NO_VIEW = cast(FlowView, None)


def _bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
