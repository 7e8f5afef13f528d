"""What the readers of HTTP/1.1 share: the buffer, the search for the end of a head, the bodies (RFC 9112).

It knows body framing and the limits. It holds no byte longer than it takes to complete a head, a chunk-size line or a
trailer section; body data passes through. What two parsers could read differently is refused, never repaired.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Final

from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.fields import Section, parse_trailers, show
from rulesproxy.proto.http1_messages import (
    CHUNKED,
    END,
    NEED_DATA,
    NO_BODY,
    End,
    Message,
    NeedData,
)

# Where a reader is; the others of this codec need three of them.
HEAD: Final = 0
ENDED: Final = 1  # All is read, only the end has not been emitted.
_LENGTH: Final = 2
_CHUNKS: Final = 3
_TRAILERS: Final = 4
_UNTIL_CLOSE: Final = 5
TUNNEL: Final = 6  # HTTP is over on this connection.
_FAILED: Final = 7

# A client sends the same header section again and again, and so does a server: a reader keeps the last one, unless it
# is so long that thousands of idle connections would feel it.
_SECTION_KEPT = 2048
_EMPTY = Section(b"", 0)

# Every prefix of a good chunk-size line matches, too, so that a bad one is refused before it is complete. Whitespace
# around the size is refused: parsers have disagreed about it.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?").fullmatch


class Reader(ABC):
    """What both readers share: the buffer, the bodies, the end."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._buf: bytes | bytearray = b""
        self._state = HEAD
        self._eof = False
        self._left = 0  # Bytes of the body, or of the chunk, still to come.
        self._chunk_end = False  # The CRLF behind a chunk is still to come.
        self._seen = 0  # So much of the buffer was searched for the end of a head.
        self._start_checked = False
        self._block = b""
        self._section = _EMPTY
        self._failure = ""
        self._status = 400

    # What the caller sees

    def feed(self, data: bytes) -> None:
        """Take bytes that the peer sent. Never raises."""
        if not self._buf:
            self._buf = data
        elif self._state != _FAILED:
            # A bytearray grows in place: a head that trickles in is not copied once per byte.
            if isinstance(self._buf, bytes):
                self._buf = bytearray(self._buf)
            self._buf += data

    def feed_eof(self) -> None:
        """The peer will send no more: a body that lasts until then ends, any other message is broken off."""
        self._eof = True

    def next_message(self) -> Message | NeedData:
        """The next message, or `NEED_DATA`: between messages also after `feed_eof`, for then nothing is wrong.

        Raises:
            ProtocolError: the peer broke the protocol, or stopped inside a message. Everything good has been emitted
                before; every later call raises the same.
        """
        state = self._state
        try:
            if state == HEAD:
                return self._read_head() if self._buf else NEED_DATA
            if state == ENDED:
                self._state = HEAD
                return END
            if state == _LENGTH:
                return self._read_length()
            if state == _CHUNKS:
                return self._read_chunks()
            if state == _TRAILERS:
                return self._read_trailers()
            if state == _UNTIL_CLOSE:
                return self._read_until_close()
        except ProtocolError as error:
            self._fail(error)
        if self._state == _FAILED:
            raise ProtocolError(self._failure, self._status)
        return NEED_DATA

    @property
    def idle(self) -> bool:
        """Whether the reader is between two messages and holds no byte: a pooled connection must be."""
        return self._state == HEAD and not self._buf

    @property
    def started(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self._state == HEAD and bool(self._buf)

    def take_rest(self) -> bytes:
        """What was fed behind the last message. HTTP is over: nothing is read any more.

        For the bytes behind a CONNECT, a 2xx to one, or a 101.
        """
        rest, self._buf = bytes(self._buf), b""
        self._state = TUNNEL
        return rest

    # Heads

    @abstractmethod
    def _read_head(self) -> Message | NeedData:
        """Read a head from a buffer that is not empty."""
        ...

    @abstractmethod
    def _check_start(self, line: bytes, complete: bool) -> bool:
        """Judge the beginning of a head that is not complete; return whether its start line was judged as a whole."""
        ...

    def _cut_head(self) -> tuple[bytes, bytes] | None:
        """Take a head from the buffer: its start line, and its field lines with CRLF between them; None: incomplete."""
        buf = self._buf
        end = buf.find(b"\r\n\r\n", self._seen, self._limits.header_block)
        if end < 0:
            self._wait_for_head(buf)
            return None
        if isinstance(buf, bytearray):
            buf = bytes(buf)
        self._seen = 0
        self._start_checked = False
        self._buf = buf[end + 4 :]
        line_end = buf.find(b"\r\n")
        return buf[:line_end], buf[line_end + 2 : end]

    def _wait_for_head(self, buf: bytes | bytearray) -> None:
        """Refuse what cannot become a good head any more, rather than wait for a time-out (or for 64 KiB)."""
        seen, size = self._seen, len(buf)
        # A line feed at the very start of the new part was judged with the old one, which had its CR.
        fresh = buf[seen:]
        feeds = fresh.count(b"\n") - (1 if seen and fresh.startswith(b"\n") else 0)
        if feeds != fresh.count(b"\r\n"):
            raise ProtocolError("a line of the head ends with LF alone: CRLF is required")
        if not self._start_checked:
            end = buf.find(b"\r\n")
            self._start_checked = self._check_start(bytes(buf if end < 0 else buf[:end]), end >= 0)
        if size >= self._limits.header_block:
            raise ProtocolError(f"the head is longer than {self._limits.header_block} bytes", 431)
        if self._eof:
            raise ProtocolError("the connection ended inside a head")
        self._seen = max(0, size - 3)

    def _read_section(self, block: bytes) -> Section:
        """Read a header section that is not the same as the one before."""
        section = Section(block, self._limits.header_count)
        if len(block) <= _SECTION_KEPT:
            self._block, self._section = block, section
        return section

    def _begin_body(self, length: int) -> None:
        self._left = max(length, 0)
        if length > 0:
            self._state = _LENGTH
        elif length == NO_BODY:
            self._state = ENDED
        else:
            self._state = _CHUNKS if length == CHUNKED else _UNTIL_CLOSE

    # Bodies

    def _read_length(self) -> Message | NeedData:
        buf, left = self._buf, self._left
        size = len(buf)
        if not size:
            return self._need(f"{left} bytes before the end of the body")
        if size > left:
            self._buf = buf[left:]
            self._state = ENDED
            return bytes(buf[:left])
        self._buf = b""
        self._left = left - size
        if size == left:
            self._state = ENDED
        return bytes(buf)

    def _read_until_close(self) -> Message | NeedData:
        buf = self._buf
        if buf:
            self._buf = b""
            return bytes(buf)
        if self._eof:
            self._state = HEAD
            return END
        return NEED_DATA

    def _read_chunks(self) -> Message | NeedData:
        """Emit the data of all chunks in the buffer as one message: small chunks then cost little."""
        buf = bytes(self._buf)
        pos, left = 0, self._left
        pieces = []
        try:
            while True:
                if left:
                    piece = buf[pos : pos + left]
                    if not piece:
                        break
                    pieces.append(piece)
                    pos += len(piece)
                    left -= len(piece)
                    self._chunk_end = not left
                    continue
                if self._chunk_end:
                    if not buf.startswith(b"\r\n", pos):
                        if buf[pos:] not in (b"", b"\r"):
                            raise ProtocolError("a chunk is not followed by CRLF")
                        break
                    pos += 2
                    self._chunk_end = False
                after, left = self._chunk_line(buf, pos)
                if not after:
                    break
                pos = after
                if not left:
                    self._state = _TRAILERS
                    break
        except ProtocolError:
            # What is good comes out first; the next call stops at the same place again.
            if not pieces:
                raise
        self._left = left
        self._buf = buf[pos:]
        if pieces:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._read_trailers() if self._state == _TRAILERS else self._need("inside a chunked body")

    def _chunk_line(self, buf: bytes, pos: int) -> tuple[int, int]:
        """Where the chunk-size line at `pos` ends, 0 if it is not complete, and the size (RFC 9112 section 7.1)."""
        limit = self._limits.chunk_line
        end = buf.find(b"\r\n", pos, pos + limit + 2)
        if end < 0:
            line = buf[pos : pos + limit + 2]
            if len(line) == limit + 2:
                raise ProtocolError(f"a chunk-size line is longer than {limit} bytes")
            line = line.removesuffix(b"\r")
            if line and not _CHUNK_LINE(line):
                raise ProtocolError(f"bad chunk-size line {show(line)}")
            return 0, 0
        match = _CHUNK_LINE(buf, pos, end)
        if match is None:
            raise ProtocolError(f"bad chunk-size line {show(buf[pos:end])}")
        return end + 2, int(match[1], 16)

    def _read_trailers(self) -> Message | NeedData:
        buf, limit = self._buf, self._limits.trailers
        if buf.startswith(b"\r\n"):
            self._buf = buf[2:]
            self._state = HEAD
            return END
        end = buf.find(b"\r\n\r\n", 0, limit)
        if end < 0:
            if len(buf) >= limit:
                raise ProtocolError(f"the trailers are longer than {limit} bytes", 431)
            if buf.count(b"\n") != buf.count(b"\r\n"):
                raise ProtocolError("a line of the trailers ends with LF alone: CRLF is required")
            return self._need("inside the trailers")
        trailers = parse_trailers(bytes(buf[:end]), self._limits.header_count)
        self._buf = buf[end + 4 :]
        self._state = HEAD
        return End(trailers)

    # The end

    def _need(self, where: str) -> NeedData:
        if self._eof:
            raise ProtocolError(f"the connection ended {where}")
        return NEED_DATA

    def _fail(self, error: ProtocolError) -> None:
        self._state = _FAILED
        self._buf = b""
        self._failure, self._status = str(error), error.status
