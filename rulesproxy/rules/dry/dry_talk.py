"""`talk_websocket` and `talk_tcp`: a conversation on its way through a dry run, message by message.

They do what `layers.websocket` and `layers.tcp` do, without streams: they know what goes to whom, and in which order.
Nothing waits, nothing is slow, nothing is repeated or goes wrong: what rules ask for of that kind is left on the flow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rulesproxy.filters.phases import Phase
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.flow.websocket import WebSocketFlow, WebSocketMessage
from rulesproxy.limits import DEFAULT
from rulesproxy.rules.dry.heard import Arrival, Content, Heard, Marks, Said, Showing, index_of

if TYPE_CHECKING:
    from rulesproxy.rules.dry.dry_run import DryRun

_BROKEN = 1006
"""The code of a conversation that ended without a Close frame (RFC 6455 section 7.1.5)."""


def talk_websocket(dry: DryRun, handshake: HTTPFlow, flow: WebSocketFlow, said: Iterable[Said], wall: float) -> Heard:
    """The conversation behind a handshake that has succeeded."""
    heard = Heard(dry.rules, Phase.W, handshake, tuple(handshake.hits))
    dry.show(heard, Showing(0, False, "", Marks.of(handshake)))
    dry.fire("websocket_start", flow)
    _settle_websocket(heard, handshake, flow)
    reads = dry.wants_messages(handshake)
    for number, (from_client, content) in enumerate(said, 1):
        if heard.over:
            break
        message = WebSocketMessage(from_client, content, wall)
        flow.remember(message)
        dry.show(heard, Showing(number, from_client, content, Marks.of(handshake), flow.message_count - 1))
        if reads:
            dry.fire("websocket_message", flow)
        _settle_websocket(heard, handshake, flow, message)
    return heard


def _settle_websocket(
    heard: Heard, handshake: HTTPFlow, flow: WebSocketFlow, message: WebSocketMessage | None = None
) -> None:
    """The rules have done with a message, or with the beginning: what goes on, and whether it goes on at all."""
    plan = handshake.planned
    if plan is not None and plan.end is not None:
        heard.end = plan.end
        return
    if message is not None:
        to_client = not message.from_client
        heard.arrived += [Arrival(to_client, content, message.delay) for content in message.before]
        if not message.dropped:
            heard.arrived.append(Arrival(to_client, message.content, message.delay))
    heard.arrived += [Arrival(to_client, content) for to_client, content in flow.injected]
    flow.injected.clear()
    flow.waiting = 0
    if flow.ending is not None and flow.ending[0] == _BROKEN:
        heard.end = "reset"
    elif flow.ending is not None:
        heard.close = flow.ending[0]


def talk_tcp(dry: DryRun, flow: TCPFlow, said: Iterable[Said], wall: float) -> Heard:
    """A raw TCP connection from its beginning on.

    What one side says several times in a row is one stream of bytes that comes in these pieces: what may be the
    beginning of a match waits for the next piece, until the other side speaks.
    """
    talk = _TCPTalk(dry, flow, wall)
    talk.begin()
    held, held_of, number = b"", False, 0
    for from_client, content in said:
        if held and held_of is not from_client and not talk.heard.over:
            talk.show(number, held_of, held, whole=True)
            held = b""
        number += 1
        if talk.heard.over:
            return talk.heard
        held, held_of = talk.show(number, from_client, held + _bytes(content)), from_client
    if held and not talk.heard.over:
        talk.show(number, held_of, held, whole=True)
    return talk.heard


class _TCPTalk:
    """One connection."""

    def __init__(self, dry: DryRun, flow: TCPFlow, wall: float) -> None:
        self.dry = dry
        self.flow = flow
        self.wall = wall
        self.heard = Heard(dry.rules, Phase.X, flow)

    def begin(self) -> None:
        """It begins: before the server is dialled, and behind that."""
        self.dry.show(self.heard, Showing(0, False, b"", Marks.of(self.flow)))
        self.dry.begin_tcp(self.flow)
        self._settle()
        if not self.heard.over:
            self.dry.fire("tcp_start", self.flow)
            self._settle()

    def show(self, number: int, from_client: bool, data: bytes, whole: bool = False) -> bytes:
        """Show a message to the rules; gives what is held back of it."""
        flow, dry = self.flow, self.dry
        message = TCPMessage(from_client, data, self.wall)
        message.whole = whole = whole or len(data) > DEFAULT.injected
        flow.messages.append(message)
        showing = Showing(number, from_client, data, Marks.of(flow), index_of(flow))
        dry.show(self.heard, showing)
        dry.fire("tcp_message", flow)
        held = b"" if whole else message.held
        showing.content = data[: len(data) - len(held)]
        if not showing.content:
            # No rule has seen it yet.
            self.heard.showings.pop()
        self._settle(message, message.content + message.held if whole else message.content)
        return held

    def _settle(self, message: TCPMessage | None = None, content: bytes = b"") -> None:
        flow, heard = self.flow, self.heard
        plan = flow.planned
        if flow.killed:
            heard.end = "reset"
        elif plan is not None and plan.end is not None:
            heard.end = plan.end
        if heard.over:
            return
        if message is not None and content:
            heard.arrived.append(Arrival(not message.from_client, content, message.delay))
        heard.arrived += [Arrival(to_client, data) for to_client, data in flow.injected]
        flow.injected.clear()
        if flow.closing:
            heard.end = "close"


def _bytes(content: Content) -> bytes:
    return content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
