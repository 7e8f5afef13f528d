"""WebSocket frames (RFC 6455 section 5): headers, masks, close codes, and the scanner that reads headers alone.

It knows the order of frames in one direction. It knows neither what is inside a message nor compression, except that
one bit of the header belongs to it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rulesproxy.flow.websocket import may_close_with
from rulesproxy.proto import ProtocolError

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

FIN: Final = 0x80
RSV1: Final = 0x40

MAX_CONTROL: Final = 125
"""The payload of a control frame (RFC 6455 section 5.5)."""

# The first bytes that may come where a message may begin, with and without compression, and inside a message.
_CONTROLS = frozenset({FIN | CLOSE, FIN | PING, FIN | PONG})
_FIRST = _CONTROLS | {FIN | TEXT, FIN | BINARY, TEXT, BINARY}
_FIRST_DEFLATED = _FIRST | {RSV1 | byte for byte in _FIRST if not byte & 8}
_NEXT = _CONTROLS | {FIN | CONTINUATION, CONTINUATION}


class WebSocketError(ProtocolError):
    """A peer broke the protocol.

    Attributes:
        code: the close code that tells it so (RFC 6455 section 7.4.1): 1002, 1007 or 1009.
    """

    def __init__(self, message: str, code: int = 1002) -> None:
        super().__init__(message)
        self.code = code


class Close(NamedTuple):
    """What a Close frame says.

    Attributes:
        code: the status code; 1005 where the frame has none (RFC 6455 section 7.1.5).
        reason: text for people, often empty.
    """

    code: int
    reason: str


class FrameReader:
    """What both readers of a direction share: the checks of frame headers, one after the other.

    Args:
        masked: whether the frames must be masked: those of a client are, those of a server are not (section 5.1).
        deflated: whether permessage-deflate was agreed on, so that RSV1 may be set on the first frame of a message.
        lenient: whether an extension that is not known here was agreed on: reserved bits mean what it says.
    """

    __slots__ = ("_allowed", "_first", "_key", "_length", "_lenient", "_masked", "_starting", "_within")

    def __init__(self, masked: bool, deflated: bool = False, lenient: bool = False) -> None:
        self._masked = 0x80 if masked else 0
        self._lenient = lenient
        self._starting = _FIRST_DEFLATED if deflated else _FIRST
        self._allowed = self._starting
        # The last header: its first byte, the length of its payload, its masking key.
        self._first = 0
        self._length = 0
        self._key = b""
        self._within = False

    def _read_header(self, buf: bytes, pos: int, size: int) -> int:
        """Read the frame header at `pos`; where its payload begins, or 0 if the header is not complete.

        Raises:
            WebSocketError: no such frame may come here.
        """
        if size - pos < 2:
            if size > pos:
                self._check_first(buf[pos])
            return 0
        first, second = buf[pos], buf[pos + 1]
        if first not in self._allowed:
            self._check_first(first)
        if second & 0x80 != self._masked:
            raise WebSocketError("a frame of the server is masked" if second & 0x80 else "a frame is not masked")
        length = second & 0x7F
        start = pos + 2
        if length > MAX_CONTROL:
            if first & 8:
                raise WebSocketError(f"a control frame with more than {MAX_CONTROL} bytes")
            width = 2 if length == 126 else 8
            if size - start < width:
                return 0
            length = int.from_bytes(buf[start : start + width], "big")
            start += width
            if length >> 63:
                raise WebSocketError("the length of a frame has its highest bit set")
            if length <= (125 if width == 2 else 0xFFFF):
                raise WebSocketError(f"the length {length} of a frame takes more bytes than it needs")
        if self._masked:
            if size - start < 4:
                return 0
            self._key = buf[start : start + 4]
            start += 4
        self._first = first
        self._length = length
        return start

    def _check_first(self, first: int) -> None:
        """Say what is wrong with the first byte of a frame, unless an extension may have meant it."""
        if first in self._allowed:
            return
        opcode = first & 15
        if first & 0x70 and self._lenient:
            first &= ~0x70
        if first in self._allowed:
            return
        if 2 < opcode < 8 or opcode > 10:
            raise WebSocketError(f"a frame with the reserved opcode {opcode}")
        if opcode & 8 and not first & FIN:
            raise WebSocketError("a control frame in fragments")
        if first & 0x70:
            raise WebSocketError("a reserved bit of a frame is set, and no extension that was agreed on means it here")
        if opcode == CONTINUATION:
            raise WebSocketError("a continuation frame without a message that it continues")
        raise WebSocketError("a new message begins inside another one")

    def _track(self, first: int) -> bool:
        """Note that a data frame is over; whether its message is."""
        if first & FIN:
            self._within = False
            self._allowed = self._starting
            return True
        self._within = True
        self._allowed = _NEXT
        return False


class FrameScanner(FrameReader):
    """Reads the frame headers of one direction, so that the bytes can go on as they are.

    Partial headers and partial control frames are held back until they are complete; everything else passes at once.

    Attributes:
        messages: how many messages have ended.
        boundary: where the last message, or control frame between two messages, ended in what `scan` has returned;
            -1 where it has none. A frame may be put in there.
        close: the Close frame, once it has passed; what comes behind it is dropped.
        error: what the peer did wrong; what was good before it has been returned.
    """

    __slots__ = ("_held", "_left", "boundary", "close", "error", "messages")

    def __init__(self, masked: bool, deflated: bool = False, lenient: bool = False) -> None:
        super().__init__(masked, deflated, lenient)
        self._held = b""
        self._left = 0
        self.messages = 0
        self.boundary = -1
        self.close: Close | None = None
        self.error: WebSocketError | None = None

    @property
    def between_messages(self) -> bool:
        """Whether what has passed so far ends where a message may begin."""
        return not self._left and not self._within

    @property
    def between_frames(self) -> bool:
        """Whether what has passed so far ends where a control frame may stand."""
        return not self._left

    def scan(self, data: bytes) -> bytes:
        """What of the bytes so far may go on. Never raises: see `error`."""
        self.boundary = -1
        if self.close is not None or self.error is not None:
            return b""
        if self._held:
            data = self._held + data
            self._held = b""
        end = self._walk(data)
        if end == len(data):
            return data
        if self.close is None and self.error is None:
            self._held = data[end:]
        return data[:end]

    def _walk(self, data: bytes) -> int:
        """Walk over the frames of `data`; where what may go on ends."""
        pos, size, left = 0, len(data), self._left
        while True:
            if left > size - pos:
                self._left = left - (size - pos)
                return size
            if left:
                pos += left
                left = self._left = 0
                self._count(pos)
            try:
                start = self._read_header(data, pos, size)
                if not start:
                    return pos
                if self._first & 8:
                    end = start + self._length
                    if end > size:
                        return pos
                    if self._first & 15 == CLOSE:
                        payload = data[start:end]
                        self.close = parse_close(apply_mask(payload, self._key) if self._masked else payload)
                        return end
                    pos = end
                    if not self._within:
                        self.boundary = pos
                    continue
            except WebSocketError as error:
                self.error = error.with_traceback(None)
                return pos
            pos, left = start, self._length
            if not left:
                self._count(pos)

    def _count(self, end: int) -> None:
        """A data frame has ended there."""
        if self._track(self._first):
            self.messages += 1
            self.boundary = end


def apply_mask(data: bytes, key: bytes) -> bytes:
    """Mask or unmask a payload (RFC 6455 section 5.3); `key` is that of its first byte."""
    size = len(data)
    if not size:
        return b""
    # One exclusive or of two long numbers: byte by byte it would take fifty times as long.
    keys = int.from_bytes((key * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(data, "little") ^ keys).to_bytes(size, "little")


def encode_frame(first: int, payload: bytes, key: bytes | None = None) -> bytes:
    """A frame with the first byte `first`: FIN, reserved bits and opcode.

    Args:
        key: the masking key, four random bytes, of a frame towards a server; None towards a client.
    """
    size = len(payload)
    mask = 0 if key is None else 0x80
    if size <= MAX_CONTROL:
        head = bytes((first, mask | size))
    elif size <= 0xFFFF:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    return head + payload if key is None else head + key + apply_mask(payload, key)


def encode_close(close: Close, key: bytes | None = None) -> bytes:
    """A Close frame; without a payload for the code 1005. A reason that is too long is cut.

    Raises:
        ValueError: a code that must not be sent (RFC 6455 section 7.4).
    """
    if close.code == 1005:
        return encode_frame(FIN | CLOSE, b"", key)
    if not may_close_with(close.code):
        raise ValueError(f"{close.code} is not a close code: 1000 to 1003, 1007 to 1014 and 3000 to 4999 are")
    # A code point that is cut in two is left out as a whole.
    reason = close.reason.encode()[: MAX_CONTROL - 2].decode("utf-8", "ignore").encode()
    return encode_frame(FIN | CLOSE, close.code.to_bytes(2, "big") + reason, key)


def parse_close(payload: bytes) -> Close:
    """What a Close frame says (RFC 6455 section 5.5.1).

    Raises:
        WebSocketError: 1002 for a code that must not be sent, 1007 for a reason that is not UTF-8.
    """
    if not payload:
        return Close(1005, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not may_close_with(code):
        raise WebSocketError("a Close frame with half a code" if len(payload) == 1 else f"the close code {code}")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise WebSocketError("the reason of a Close frame is not UTF-8", 1007) from None
