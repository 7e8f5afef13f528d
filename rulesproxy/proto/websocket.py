"""WebSocket (RFC 6455) and permessage-deflate (RFC 7692) without I/O.

Each object here reads or writes one direction of a connection. `MessageReader` makes whole messages of frames, and
remembers the frames, so that a message that nobody changes goes on byte for byte. `FrameScanner` looks at frame headers
only, for conversations whose messages nobody wants to see. The opening handshake is HTTP's; only its extensions are
read here. What a message means, and who may change it, is for the caller.
"""

from __future__ import annotations

from rulesproxy.proto.websocket_deflate import Deflate, agreed, only_deflate
from rulesproxy.proto.websocket_frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Close,
    FrameScanner,
    WebSocketError,
    encode_close,
    encode_frame,
)
from rulesproxy.proto.websocket_messages import Control, Message, MessageReader, MessageWriter

__all__ = [
    "BINARY", "CLOSE", "PING", "PONG", "TEXT", "Close", "Control", "Deflate", "FrameScanner", "Message",
    "MessageReader", "MessageWriter", "WebSocketError", "agreed", "encode_close", "encode_frame", "only_deflate",
]  # fmt: skip
