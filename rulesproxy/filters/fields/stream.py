"""Fields of one message of a stream: of a WebSocket, of an event stream, of raw TCP.

They read the message that a view was made for; in a view of an exchange they are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.fields.document import JSONValues
from rulesproxy.filters.phases import Phase
from rulesproxy.flow.tcp import TCPMessage
from rulesproxy.flow.websocket import WebSocketMessage

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of an event stream: of server-sent events, or a line of NDJSON, which has data only."""

    data: str
    name: str = "message"
    id: str | None = None


Message: TypeAlias = WebSocketMessage | TCPMessage | StreamEvent
"""What a view can be made for, besides an exchange."""


def _websocket(view: FlowView) -> WebSocketMessage | None:
    return view.message if isinstance(view.message, WebSocketMessage) else None


def _tcp(view: FlowView) -> TCPMessage | None:
    return view.message if isinstance(view.message, TCPMessage) else None


def _event(view: FlowView) -> StreamEvent | None:
    return view.message if isinstance(view.message, StreamEvent) else None


def ws_text(view: FlowView) -> str | None:
    """The text of a WebSocket message; missing from a binary one."""
    message = _websocket(view)
    return message.content if message is not None and isinstance(message.content, str) else None


def ws_bytes(view: FlowView) -> str | None:
    """The bytes of a WebSocket message, binary or text."""
    message = _websocket(view)
    return None if message is None else one_char_each(message.content)


def ws_json(view: FlowView) -> JSONValues:
    """The values in a WebSocket text message that is JSON; missing from a binary one, which `json(ws.bytes)` reads."""
    return JSONValues(ws_text(view))


def ws_kind(view: FlowView) -> str | None:
    """The kind of a WebSocket message: `text` or `binary`."""
    message = _websocket(view)
    return None if message is None else message.type.lower()


def ws_from_client(view: FlowView) -> bool:
    """Whether a WebSocket message comes from the client."""
    message = _websocket(view)
    return message is not None and message.from_client


def ws_index(view: FlowView) -> int | None:
    """The number of a WebSocket message in its conversation, counted from 0 over both directions."""
    return None if _websocket(view) is None else view.index


def event_name(view: FlowView) -> str | None:
    """The name of an event; `message` where the server gives none."""
    event = _event(view)
    return None if event is None else event.name


def event_data(view: FlowView) -> str | None:
    """The data of an event."""
    event = _event(view)
    return None if event is None else event.data


def event_json(view: FlowView) -> JSONValues:
    """The values in the data of an event that are JSON."""
    event = _event(view)
    return JSONValues(None if event is None else event.data)


def event_id(view: FlowView) -> str | None:
    """The id of an event."""
    event = _event(view)
    return None if event is None else event.id


def tcp_data(view: FlowView) -> str | None:
    """The bytes of a TCP message."""
    message = _tcp(view)
    return None if message is None else one_char_each(message.content)


def tcp_from_client(view: FlowView) -> bool:
    """Whether a TCP message comes from the client."""
    message = _tcp(view)
    return message is not None and message.from_client


def tcp_index(view: FlowView) -> int | None:
    """The number of a TCP message in its conversation, counted from 0 over both directions."""
    return None if _tcp(view) is None else view.index


def sent(view: FlowView, from_client: bool | None = None) -> str | None:
    """The bytes of the message; only if it has this direction, where one is given."""
    message = view.message
    if isinstance(message, StreamEvent):
        return None if from_client else one_char_each(message.data)
    if message is None or (from_client is not None and message.from_client is not from_client):
        return None
    return one_char_each(message.content)


def one_char_each(content: str | bytes) -> str:
    """Bytes as a text with one character for each; text is UTF-8."""
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return data.decode("latin-1")


FIELDS = (
    Field("ws.text", Kind.TEXT, Phase.W, ws_text, "message", optional=True),
    Field("ws.bytes", Kind.BYTES, Phase.W, ws_bytes, "message", optional=True),
    Field("ws.json", Kind.JSON, Phase.W, ws_json, "message", keyed=True),
    Field(
        "ws.kind",
        Kind.ENUM,
        Phase.W,
        ws_kind,
        "message",
        fold=True,
        normal=str.lower,
        words=("text", "binary"),
        optional=True,
    ),
    Field("ws.from_client", Kind.BOOL, Phase.W, ws_from_client, "message"),
    Field("ws.index", Kind.INT, Phase.W, ws_index, "message", optional=True),
    Field("event.name", Kind.TEXT, Phase.V, event_name, "message", optional=True),
    Field("event.data", Kind.TEXT, Phase.V, event_data, "message", optional=True),
    Field("event.json", Kind.JSON, Phase.V, event_json, "message", keyed=True),
    Field("event.id", Kind.TEXT, Phase.V, event_id, "message", optional=True),
    Field("tcp.data", Kind.BYTES, Phase.X, tcp_data, "message", optional=True),
    Field("tcp.from_client", Kind.BOOL, Phase.X, tcp_from_client, "message"),
    Field("tcp.index", Kind.INT, Phase.X, tcp_index, "message", optional=True),
)
