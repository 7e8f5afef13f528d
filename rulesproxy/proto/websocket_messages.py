"""Whole WebSocket messages (RFC 6455 section 5.4): fragments joined, inflated and checked; and back to frames.

A message remembers its frames, so that one that nobody has changed goes on byte for byte, as often as that is possible.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import TypeAlias

from rulesproxy.proto.websocket_deflate import Deflate, Deflater, Inflater
from rulesproxy.proto.websocket_frames import (
    BINARY,
    CLOSE,
    FIN,
    RSV1,
    TEXT,
    Close,
    FrameReader,
    WebSocketError,
    apply_mask,
    encode_frame,
    parse_close,
)

Content: TypeAlias = str | bytes
"""A text message is `str`, a binary one `bytes`."""

_utf8 = getincrementaldecoder("utf-8")


class Message:
    """A whole message.

    Attributes:
        content: what it says, inflated.
        raw: its frames as they came, without control frames that stood between them.
        compressed: whether it was compressed.
    """

    __slots__ = ("compressed", "content", "raw")

    def __init__(self, content: Content, raw: bytes, compressed: bool = False) -> None:
        self.content = content
        self.raw = raw
        self.compressed = compressed

    def __repr__(self) -> str:
        return f"<Message {self.content!r:.60}>"


class Control:
    """A control frame.

    Attributes:
        opcode: `PING`, `PONG` or `CLOSE`.
        raw: the frame as it came.
        close: what a Close frame says; None for the others.
    """

    __slots__ = ("close", "opcode", "raw")

    def __init__(self, opcode: int, raw: bytes, close: Close | None = None) -> None:
        self.opcode = opcode
        self.raw = raw
        self.close = close

    def __repr__(self) -> str:
        return f"<Control {self.opcode} {self.close}>"


class MessageReader(FrameReader):
    """Reads the messages of one direction. Errors are found as early as they can be, even inside a frame.

    Args:
        masked: whether the peer is a client.
        deflate: what was agreed on with this peer.
        limit: of the content of a message, in bytes. Its frames, headers included, may take twice as much.
    """

    __slots__ = ("_buf", "_checked", "_content", "_failure", "_inflater", "_left", "_limit", "_raw", "_start")

    def __init__(self, masked: bool, deflate: Deflate | None, limit: int) -> None:
        super().__init__(masked, deflate is not None)
        self._limit = limit
        self._inflater = None if deflate is None else Inflater(deflate.sender(masked)[0])
        self._buf = b""
        # A message that is not complete: the first byte of its first frame, what is left of the frame at hand, its
        # frames, its content, and the decoder that has checked a text so far.
        self._start = 0
        self._left = -1
        self._raw = bytearray()
        self._content = bytearray()
        self._checked: object = None
        self._failure: tuple[str, int] | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes that the peer sent. Never raises."""
        self._buf = self._buf + data if self._buf else data

    def next_message(self) -> Message | Control | None:
        """The next message or control frame; None if more bytes have to be fed first.

        Raises:
            WebSocketError: the peer broke the protocol. Everything good has been returned before; every later call
                raises the same.
        """
        if self._failure is not None:
            raise WebSocketError(*self._failure)
        try:
            return self._next()
        except WebSocketError as error:
            # The words, not the exception: one that is raised twice holds its frames, and so this reader.
            self._failure = str(error), error.code
            self._buf = b""
            self._raw, self._content = bytearray(), bytearray()
            raise

    def _next(self) -> Message | Control | None:
        while True:
            if self._left >= 0:
                # Inside a data frame.
                message = self._take_part()
                if message is not None or self._left >= 0:
                    return message
                continue
            buf = self._buf
            size = len(buf)
            start = self._read_header(buf, 0, size)
            if not start:
                return None
            first, end = self._first, start + self._length
            if first & 8:
                return None if end > size else self._control(start, end)
            if end <= size and first & ~3 == FIN and first & 3 and self._length <= self._limit:
                # The usual case: one frame that is here as a whole, not compressed.
                raw = buf if end == size else buf[:end]
                self._buf = buf[end:]
                payload = raw[start:]
                if self._masked:
                    payload = apply_mask(payload, self._key)
                return Message(_text(payload) if first & 1 else payload, raw)
            self._begin(start)

    def _control(self, start: int, end: int) -> Control:
        buf = self._buf
        raw = buf[:end]
        opcode = self._first & 15
        close = None
        if opcode == CLOSE:
            payload = raw[start:]
            close = parse_close(apply_mask(payload, self._key) if self._masked else payload)
        self._buf = buf[end:]
        return Control(opcode, raw, close)

    def _begin(self, start: int) -> None:
        """A data frame begins that is a fragment, compressed, or not complete."""
        if self._first & 15:
            self._start = self._first
            self._checked = _utf8() if self._first & 15 == TEXT else None
        self._raw += self._buf[:start]
        self._buf = self._buf[start:]
        self._left = self._length
        if len(self._content) + self._length > self._limit or len(self._raw) + self._length > 2 * self._limit + 16:
            raise WebSocketError(f"a message of more than {self._limit} bytes", 1009)

    def _take_part(self) -> Message | None:
        """Take what is here of the frame at hand; the message if it ends with it."""
        part = self._buf[: self._left]
        if not part and self._left:
            return None
        self._buf = self._buf[len(part) :]
        self._left -= len(part)
        self._raw += part
        if self._masked:
            turn = len(part) & 3
            part = apply_mask(part, self._key)
            self._key = self._key[turn:] + self._key[:turn]
        over = not self._left
        last = over and bool(self._first & FIN)
        compressed = bool(self._start & RSV1)
        if compressed:
            assert self._inflater is not None
            part = self._inflater.inflate(part, self._limit - len(self._content), last)
        self._content += part
        if self._checked is not None:
            _check(self._checked, part, last)
        if not over:
            return None
        self._left = -1
        if not self._track(self._first):
            return None
        raw, content = bytes(self._raw), bytes(self._content)
        self._raw, self._content = bytearray(), bytearray()
        return Message(content.decode() if self._start & 15 == TEXT else content, raw, compressed)


class MessageWriter:
    """Writes the messages of one direction: as they came while it can, else made anew.

    A message cannot go on as it came once the peer's window no longer holds what it was compressed against: after one
    before it was changed or dropped, or where the two sides have agreed on other parameters (RFC 7692 section 7.1.1).

    Args:
        mask: gives a new masking key, towards a server (RFC 6455 section 5.3); None towards a client.
        source: what was agreed on with the peer that the messages come from.
        target: what was agreed on with the peer that they go to.
    """

    __slots__ = ("_deflater", "_mask", "_verbatim", "_windows")

    def __init__(self, mask: Callable[[], bytes] | None, source: Deflate | None, target: Deflate | None) -> None:
        client = mask is not None
        self._mask = mask
        self._deflater = None if target is None else Deflater(*target.sender(client))
        theirs = None if source is None else source.sender(client)
        self._verbatim = target is not None and theirs == target.sender(client)
        # Whether a message may refer to the ones before it.
        self._windows = theirs is not None and not theirs[0]

    def encode(self, message: Message) -> bytes:
        """A message that nobody has changed."""
        if not message.compressed or self._verbatim:
            return message.raw
        return self.make(message.content)

    def replace(self, message: Message, content: Content) -> bytes:
        """A message in the place of one that came, with a content of its own."""
        self.skip(message)
        return self.make(content) if message.compressed else self.inject(content)

    def skip(self, message: Message) -> None:
        """A message that came does not go on."""
        if message.compressed and self._windows:
            self._verbatim = False

    def inject(self, content: Content) -> bytes:
        """A message that did not come. It is not compressed, so it disturbs nothing."""
        first, payload = _payload(content)
        return encode_frame(FIN | first, payload, self._key())

    def make(self, content: Content) -> bytes:
        """A message of our own making, compressed where that was agreed on."""
        first, payload = _payload(content)
        deflated = None if self._deflater is None else self._deflater.deflate(payload)
        if deflated is None:
            return encode_frame(FIN | first, payload, self._key())
        return encode_frame(FIN | RSV1 | first, deflated, self._key())

    def _key(self) -> bytes | None:
        return None if self._mask is None else self._mask()


def _payload(content: Content) -> tuple[int, bytes]:
    return (TEXT, content.encode()) if isinstance(content, str) else (BINARY, content)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise WebSocketError("a text message is not UTF-8", 1007) from None


def _check(decoder: object, part: bytes, last: bool) -> None:
    try:
        decoder.decode(part, last)  # type: ignore[attr-defined]
    except UnicodeDecodeError:
        raise WebSocketError("a text message is not UTF-8", 1007) from None
