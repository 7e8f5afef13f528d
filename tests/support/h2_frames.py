"""Frames of HTTP/2 in bytes, right or wrong, made apart from the package."""

from __future__ import annotations

import struct

from hpack import Encoder

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END, END_HEADERS, PADDED, HAS_PRIORITY, ACK = 1, 4, 8, 32, 1

SERVER = b"\0\0\0\x04\0\0\0\0\0"
"""The settings that a server begins with, all of them as they are without a word."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def block(*fields: tuple[str, str]) -> bytes:
    """A header block that leaves no trace in the table of the compression."""
    return Encoder().encode([(name, value, True) for name, value in fields], huffman=False)


def head(stream: int, status: int | str = 200, *fields: tuple[str, str], end: bool = False) -> bytes:
    """A response head."""
    payload = block((":status", str(status)), *fields)
    return frame(HEADERS, END_HEADERS | (END if end else 0), stream, payload)


def data(stream: int, body: bytes = b"", end: bool = False) -> bytes:
    """A piece of a body."""
    return frame(DATA, END if end else 0, stream, body)


def trailers(stream: int, *fields: tuple[str, str]) -> bytes:
    """The end of a message with fields."""
    return frame(HEADERS, END_HEADERS | END, stream, block(*fields))


def setting(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def word(kind: int, stream: int, number: int) -> bytes:
    """A frame whose payload is one number."""
    return frame(kind, 0, stream, struct.pack(">I", number))


def goaway(last: int, code: int, text: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text)


def cut(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The frames in `data`: kind, flags, stream and payload of each."""
    frames = []
    while data:
        size = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + size, "half a frame"
        frames.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return frames
