"""Event streams through rules: the function in the path of a response's body that shows its events to them.

It knows how a stream becomes events and events a stream. Which rules act, and in which order, is known by `messages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rulesproxy.engine.log import logger
from rulesproxy.filters.fields.message import content_type, is_event_stream
from rulesproxy.filters.fields.stream import StreamEvent
from rulesproxy.flow.http import HTTPFlow, HTTPResponse, bodiless
from rulesproxy.flow.plan import END, Break, Ending, Fault, Pause
from rulesproxy.flow.stream_coding import StreamDecoder
from rulesproxy.proto.event_stream import Block, EventReader, encode_event
from rulesproxy.rules.conversations.event_turn import EventTurn, text_of
from rulesproxy.rules.conversations.messages import Messages, Talk
from rulesproxy.rules.conversations.turn import merged
from rulesproxy.rules.edits.bodies import body_changed

if TYPE_CHECKING:
    from rulesproxy.rules.position import Pass

_LARGEST = 64 * 1024
"""Bytes that are joined to one piece at most."""
_SERVER_SENT = "text/event-stream"


def has_events(flow: HTTPFlow) -> bool:
    """Whether the response of a flow is an event stream that goes to its client."""
    response = flow.response
    return (
        response is not None
        and is_event_stream(response.headers)
        and not bodiless(flow.request.method, response.status_code)
    )


def watch(messages: Messages, flow: HTTPFlow, state: Pass, talk: Talk, limit: int) -> None:
    """Let the events of a response pass the rules: as they arrive, or at once where the response is in hand."""
    response = flow.response
    assert response is not None
    if response.stream:
        # Somebody else has put a function in the way of the body.
        return
    try:
        decoder = StreamDecoder(response.headers.get("content-encoding"))
    except ValueError as error:
        logger.warning("%s: no rule sees the events of this stream: %s", flow.request.url, error)
        return
    stream = EventStream(messages, flow, state, talk, decoder, limit)
    # Events that are made anew would have to be coded anew, each by itself: identity is what every client takes.
    response.headers.pop("content-encoding", None)
    body_changed(response)
    body = response.raw_content
    if not body:
        response.stream = stream
        return
    _edit_whole(flow, response, stream, body)


def _edit_whole(flow: HTTPFlow, response: HTTPResponse, stream: EventStream, body: bytes) -> None:
    """A stream that a rule has made has its end: its events are edited together, and their delays are one."""
    out: list[bytes] = []
    for piece in (*stream.opening(), *stream(body), *stream(b"")):
        if isinstance(piece, Pause):
            flow.plan.delay += piece.seconds
        elif isinstance(piece, Ending):
            if piece.broken is not None:
                out.append(_break_off(flow, piece.broken, sum(map(len, out))))
            break
        else:
            out.append(piece)
    response.body_source = b"".join(out)
    response.headers["content-length"] = str(len(response.body_source))


def _break_off(flow: HTTPFlow, how: Break, size: int) -> bytes:
    """Let an answer that is in hand break off behind so many bytes; what has to follow, so that there is more."""
    if how == "malformed":
        flow.plan.fault = merged(flow.plan.fault, Fault(malformed_chunk=True))
        return b""
    if how == "close":
        flow.plan.fault = merged(flow.plan.fault, Fault(truncate=size))
        return b"\n"
    flow.plan.end = how
    return b""


class EventStream:
    """A function for `response.stream`: takes the body piece by piece, and gives what goes on."""

    __slots__ = ("_decoder", "_lines", "_messages", "_over", "_reader", "_talk", "_turn")

    def __init__(
        self, messages: Messages, flow: HTTPFlow, state: Pass, talk: Talk, decoder: StreamDecoder, limit: int
    ) -> None:
        assert flow.response is not None
        assert talk.base is not None
        self._lines = content_type(flow.response.headers) != _SERVER_SENT
        self._messages = messages
        self._talk = talk
        self._decoder = decoder
        self._reader = EventReader(self._lines, limit)
        self._turn: EventTurn | None = EventTurn(flow, talk.base, state, self._beat)
        self._over = False

    def opening(self) -> Iterable[bytes | Pause | Ending]:
        """What goes before all that the server sends."""
        turn = self._turn
        if turn is not None and self._talk.openers:
            self._messages.open(self._talk, turn)
            yield from self._injected(turn)

    def __call__(self, data: bytes) -> Iterable[bytes | Pause | Ending]:
        return _joined(self._edited(data))

    def _edited(self, data: bytes) -> Iterator[bytes | Pause | Ending]:
        turn = self._turn
        if turn is None or self._over:
            return
        if data:
            for piece in self._decoder.feed(data):
                self._reader.feed(piece)
                while not self._over and (block := self._reader.next_block()) is not None:
                    yield from self._pass(turn, block)
                if self._over:
                    return
            return
        block = self._reader.finish()
        if block is not None:
            yield from self._pass(turn, block)
        # The flow holds this function: it must not be held by it for longer than needed.
        self._turn = None

    def _pass(self, turn: EventTurn, block: Block) -> Iterator[bytes | Pause | Ending]:
        """One block, as the rules leave it."""
        event = block.event
        if event is None or not self._talk.numbers:
            yield block.raw
            return
        turn.begin(StreamEvent(event.data, event.name or "message", event.id), self._talk.index)
        self._talk.index += 1
        rest = self._messages.run(self._talk, turn)
        assert rest is None, "no action on events is async"
        if turn.pause:
            yield Pause(turn.pause)
        for content in turn.before:
            yield encode_event(content, self._lines)
        if not turn.dropped:
            changed = turn.event.data != event.data
            raw = block.encode(turn.event.data, self._lines) if changed else block.raw
            yield from _spoiled(raw, turn.fault) if turn.fault is not None else (raw,)
            if turn.fault is not None and (ending := _ending(raw, turn.fault)) is not None:
                turn.broken = ending
        if turn.broken is None:
            yield from self._injected(turn)
        if turn.over_all:
            self._over = True
            self._turn = None
            yield END if turn.broken is None else Ending(turn.broken)

    def _beat(self, content: str | bytes) -> bytes:
        """Something that is sent again and again, as the stream spells it; nothing in the middle of an event."""
        if self._over or self._turn is None or not self._reader.between:
            return b""
        return encode_event(text_of(content), self._lines)

    def _injected(self, turn: EventTurn) -> Iterator[bytes]:
        for content in turn.after:
            yield encode_event(content, self._lines)
        turn.after.clear()


def _spoiled(raw: bytes, fault: Fault) -> Iterator[bytes | Pause]:
    """An event as its fault lets it through."""
    if fault.truncate is not None:
        raw = raw[: fault.truncate]
    if fault.dribble is None:
        yield raw
        return
    size = max(1, -(-len(raw) // fault.dribble.chunks))
    for at in range(0, len(raw), size):
        if at:
            yield Pause(fault.dribble.over / (fault.dribble.chunks - 1))
        yield raw[at : at + size]


def _ending(raw: bytes, fault: Fault) -> Break | None:
    """How the stream breaks off behind an event that has gone wrong."""
    if fault.truncate is not None and len(raw) > fault.truncate:
        return "close"
    return "malformed" if fault.malformed_chunk else None


def _joined(pieces: Iterator[bytes | Pause | Ending]) -> Iterator[bytes | Pause | Ending]:
    """The same in fewer pieces: what is there together is sent together."""
    out: list[bytes] = []
    size = 0
    for piece in pieces:
        if isinstance(piece, bytes):
            out.append(piece)
            size += len(piece)
        if size > _LARGEST or not isinstance(piece, bytes):
            if out:
                yield b"".join(out)
            out.clear()
            size = 0
        if not isinstance(piece, bytes):
            yield piece
    if out:
        yield b"".join(out)
