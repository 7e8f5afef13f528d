"""HTTP/2 towards a server (RFC 9113) without I/O: bytes to messages of many streams, and requests to bytes.

A mistake inside one stream ends that stream alone; what breaks the connection is a `Broken`. The compression of fields
is the work of the package `hpack`. What a response means is for the caller.
"""

from __future__ import annotations

from collections.abc import Iterable

from rulesproxy.flow.headers import Field
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto import http2_frames as h2
from rulesproxy.proto.http1_messages import END, NO_BODY, UNTIL_CLOSE, End
from rulesproxy.proto.http2_base import Codec
from rulesproxy.proto.http2_fields import Pair, read_response, read_trailers, request_fields, trailer_fields
from rulesproxy.proto.http2_frames import Broken, Frame, error_name
from rulesproxy.proto.http2_messages import CHANGED, Changed, Event, GoAway, Message, Reset
from rulesproxy.proto.http2_stream import Stream

__all__ = [
    "CHANGED", "Broken", "Changed", "ClientCodec", "Event", "GoAway", "Message", "Reset", "error_name",
    "trailer_fields",
]  # fmt: skip


class ClientCodec(Codec):
    """The client's end of a connection. Heads that come are those of responses."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        super().__init__(limits)
        self._next = 1
        settings = {
            h2.ENABLE_PUSH: 0,
            h2.INITIAL_WINDOW_SIZE: limits.http2_stream_window,
            h2.MAX_HEADER_LIST_SIZE: limits.header_block,
        }
        self._out += [h2.PREFACE, h2.encode_settings(settings)]
        if self._unread > h2.WINDOW:
            self._out.append(h2.encode_window_update(0, self._unread - h2.WINDOW))

    def open(self, method: str, scheme: str, authority: bytes, path: str, fields: Iterable[Field], end: bool) -> int:
        """Begin a request on a new stream, whose number is returned. `end` where it has neither body nor trailers.

        Raises:
            ValueError: it cannot be sent; nothing was.
        """
        made = request_fields(method, scheme, authority, path, fields)
        number = self._next
        self._next += 2
        if self._next > h2.STREAM_MOST:
            self.leaving = True
        stream = self._streams[number] = Stream(method, self._limits.http2_stream_window, self._first_window)
        stream.sent = end
        self._out.append(h2.encode_block(number, self._encoder.encode(made), end))
        return number

    def _check_first(self) -> None:
        """A server that speaks HTTP/2 begins with its settings (RFC 9113 section 3.4)."""
        begin = self._frames.peek(9)
        if begin[:5] == b"HTTP/":
            raise Broken("it answered in HTTP/1: it does not take HTTP/2 here")
        if len(begin) == 9 and (begin[3] != h2.SETTINGS or begin[4] & h2.ACK):
            raise Broken("its first bytes are not those of HTTP/2, which it does not seem to speak")

    def _take_section(self, number: int, stream: Stream, pairs: list[Pair], end: bool) -> None:
        """An interim head, the final head, or trailers."""
        if stream.head:
            if not end:
                raise ProtocolError("a second head, or trailers that are not the end", 502)
            why = stream.count(0, True)
            if why:
                raise ProtocolError(why, 502)
            trailers = read_trailers(pairs, self._limits)
            self._end_theirs(number, stream, End(trailers) if trailers else END)
            return
        head = read_response(pairs, stream.method, end, self._limits)
        self._ready.append((number, head))
        if head.status < 200:
            self._count_control()
            return
        stream.head = True
        if head.length >= NO_BODY:
            stream.expected = head.length
            if head.length > 0 and any(field[0] == b"trailer" for field in head.fields):
                # HTTP/1.1 has trailers behind chunks alone (RFC 9112 section 7.1.2): the length is only checked.
                head.length = UNTIL_CLOSE
        if end:
            self._end_theirs(number, stream, END)

    def _set(self, name: int, value: int) -> None:
        if name == h2.ENABLE_PUSH and value:
            raise Broken("a server that wants to be pushed to")
        super()._set(name, value)

    def _stream_of(self, frame: Frame) -> Stream | None:
        number = frame.stream
        stream = self._streams.get(number)
        if stream is None and (not number & 1 or number >= self._next):
            raise Broken(f"a frame on stream {number}, which nobody has opened")
        return stream
