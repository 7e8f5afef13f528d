"""Frames of HTTP/2 (RFC 9113 section 4): cut out of what arrives, and made.

It knows how long a frame may be and what is around its payload. It knows no streams and no fields.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from rulesproxy.proto import ProtocolError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113 section 3.4)."""

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB
HTTP_1_1_REQUIRED: Final = 0xD

_NAMES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip

FRAME: Final = 16384
"""Bytes of a frame that both sides must take (RFC 9113 section 4.2). Bigger ones are never asked for."""
WINDOW: Final = 65535
"""What may be sent before the other side has said anything (RFC 9113 section 6.9.2)."""
WINDOW_MOST: Final = 2**31 - 1
"""The largest flow-control window."""
STREAM_MOST: Final = 2**31 - 1
"""The largest number of a stream."""

_HEAD = 9
_HEADER = struct.Struct(">HBBBI")
_PAIR = struct.Struct(">HI")
_WORD = struct.Struct(">I")
_COMPACT = 65536


class Broken(ProtocolError):
    """The other side broke HTTP/2 in a way that ends the connection.

    Attributes:
        code: the error code that it is told (RFC 9113 section 7).
    """

    def __init__(self, message: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message, 502)
        self.code = code


class Frame(NamedTuple):
    """One frame. `stream` is 0 for those that are about the connection."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class FrameReader:
    """Cuts frames out of what arrives. Holds one unfinished frame at most, beside what was fed and not taken yet."""

    def __init__(self) -> None:
        self._buf = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take bytes that have arrived. Never raises."""
        if self._at == len(self._buf):
            self._buf = bytearray(data)
            self._at = 0
            return
        if self._at > _COMPACT:
            del self._buf[: self._at]
            self._at = 0
        self._buf += data

    def peek(self, size: int) -> bytes:
        """The next bytes, as many as are there, at most `size`."""
        return bytes(self._buf[self._at : self._at + size])

    def next(self) -> Frame | None:
        """The next whole frame, None where it is not complete.

        Raises:
            Broken: it is longer than it may be.
        """
        at = self._at
        left = len(self._buf) - at
        if left < _HEAD:
            return None
        high, low, kind, flags, stream = _HEADER.unpack_from(self._buf, at)
        size = high << 8 | low
        if size > FRAME:
            raise Broken(f"a frame of {size} bytes is longer than {FRAME}", FRAME_SIZE_ERROR)
        if left < _HEAD + size:
            return None
        self._at = at + _HEAD + size
        with memoryview(self._buf) as view:
            payload = bytes(view[at + _HEAD : self._at])
        return Frame(kind, flags, stream & STREAM_MOST, payload)


def encode_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame in bytes."""
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def encode_settings(settings: dict[int, int]) -> bytes:
    """A SETTINGS frame (RFC 9113 section 6.5)."""
    return encode_frame(SETTINGS, 0, 0, b"".join([_PAIR.pack(*pair) for pair in settings.items()]))


def encode_window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame (RFC 9113 section 6.9)."""
    return encode_frame(WINDOW_UPDATE, 0, stream, _WORD.pack(increment))


def encode_reset(stream: int, code: int) -> bytes:
    """A RST_STREAM frame (RFC 9113 section 6.4)."""
    return encode_frame(RST_STREAM, 0, stream, _WORD.pack(code))


def encode_goaway(last: int, code: int) -> bytes:
    """A GOAWAY frame (RFC 9113 section 6.8)."""
    return encode_frame(GOAWAY, 0, 0, _WORD.pack(last) + _WORD.pack(code))


def encode_block(stream: int, block: bytes, end: bool) -> bytes:
    """A field block: HEADERS, and CONTINUATION frames behind it where it is long (RFC 9113 section 4.3)."""
    flags = END_STREAM if end else 0
    parts = [block[at : at + FRAME] for at in range(0, len(block), FRAME)] or [b""]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    last = len(parts) - 1
    return b"".join(
        [
            encode_frame(kind, (0 if number else flags) | (END_HEADERS if number == last else 0), stream, part)
            for number, (kind, part) in enumerate(zip(kinds, parts, strict=True))
        ]
    )


def encode_data(stream: int, data: bytes, end: bool) -> bytes:
    """DATA frames (RFC 9113 section 6.1), as many as it takes; one without data for none."""
    if len(data) <= FRAME:
        return encode_frame(DATA, END_STREAM if end else 0, stream, data)
    parts = []
    for at in range(0, len(data), FRAME):
        last = end and at + FRAME >= len(data)
        parts.append(encode_frame(DATA, END_STREAM if last else 0, stream, data[at : at + FRAME]))
    return b"".join(parts)


def read_settings(frame: Frame) -> dict[int, int]:
    """The settings of a SETTINGS frame. Of one that is there twice the last value is in force.

    Raises:
        Broken: its length is no number of settings.
    """
    if len(frame.payload) % 6:
        raise Broken(f"a SETTINGS frame of {len(frame.payload)} bytes", FRAME_SIZE_ERROR)
    return dict(_PAIR.iter_unpack(frame.payload))


def read_word(frame: Frame, name: str) -> int:
    """The number that is all of a frame's payload.

    Raises:
        Broken: it is longer or shorter.
    """
    if len(frame.payload) != 4:
        raise Broken(f"a {name} frame of {len(frame.payload)} bytes", FRAME_SIZE_ERROR)
    number: int = _WORD.unpack(frame.payload)[0]
    return number


def read_goaway(frame: Frame) -> tuple[int, int, bytes]:
    """The last stream, the error code and the debug data of a GOAWAY frame.

    Raises:
        Broken: it is too short.
    """
    if len(frame.payload) < 8:
        raise Broken(f"a GOAWAY frame of {len(frame.payload)} bytes", FRAME_SIZE_ERROR)
    last, code = struct.unpack_from(">II", frame.payload)
    return last & STREAM_MOST, code, frame.payload[8:]


def content(frame: Frame) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding and priority.

    Raises:
        Broken: they are longer than the frame.
    """
    start, end = 0, len(frame.payload)
    if frame.flags & PADDED:
        if not end:
            raise Broken("a padded frame without the length of its padding", FRAME_SIZE_ERROR)
        start, end = 1, end - frame.payload[0]
    if frame.kind == HEADERS and frame.flags & HAS_PRIORITY:
        start += 5
    if start > end:
        raise Broken("a frame is shorter than its padding")
    return frame.payload[start:end] if end - start < len(frame.payload) else frame.payload


def error_name(code: int) -> str:
    """What an error code is called (RFC 9113 section 7)."""
    return _NAMES[code] if code < len(_NAMES) else f"error {code:#x}"
