"""HTTP/2 towards a server (RFC 9113) without I/O: bytes to messages of many streams, and requests to bytes.

`ClientCodec` keeps the states of its streams, both directions of flow control, and what a hostile server may cost. The
compression of fields is the work of the package `hpack`. A mistake inside one stream ends that stream alone; what
breaks the connection is a `Broken`. What a response means is for the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

from hpack import Decoder, Encoder, HeaderTuple, HPACKError, OversizedHeaderListError

from rulesproxy.flow.headers import Field
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto import http2_frames as h2
from rulesproxy.proto.http1_messages import END, NEED_DATA, NO_BODY, End, NeedData, ResponseHead
from rulesproxy.proto.http2_fields import Pair, read_response, read_trailers, request_fields
from rulesproxy.proto.http2_frames import Broken, Frame, FrameReader, error_name

UNKNOWN: Final = -1
"""A body of which nobody has said how long it is."""

_TABLE = 4096
"""Bytes of the table with which requests are compressed, even if the server offers a larger one."""
_TINY = 256
"""Bytes of a WINDOW_UPDATE below which it counts as a control frame: many of them ask for bodies cut into crumbs."""
_BOMB = 4
"""How often the limit of a head fits into what is decompressed at most. A head that is longer than the limit costs its
stream only; behind this the state of the compression, and so the connection, is given up."""


class Reset:
    """A stream is over before its end.

    Attributes:
        code: why (RFC 9113 section 7); `REFUSED_STREAM` also where a GOAWAY has left the stream out.
        why: what the server did wrong, where the stream was reset here; else empty.
    """

    __slots__ = ("code", "why")

    def __init__(self, code: int, why: str = "") -> None:
        self.code = code
        self.why = why

    def __repr__(self) -> str:
        return f"<Reset {error_name(self.code)} {self.why}>"


class GoAway:
    """The server takes no more streams on this connection; those that it has taken go on.

    Attributes:
        code: why.
        text: what it says about it, for a person; often empty.
    """

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: bytes) -> None:
        self.code = code
        self.text = text


class Changed:
    """The settings of the server have come, or a window has grown: something may be sent that could not before."""

    __slots__ = ()


CHANGED: Final = Changed()

Message: TypeAlias = ResponseHead | bytes | End | Reset | GoAway | Changed
Trailers: TypeAlias = list[HeaderTuple]
Event: TypeAlias = tuple[int, Message]
"""A message and its stream; 0 for what is about the connection."""


class _Stream:
    """What the codec knows of an open stream."""

    __slots__ = ("credit", "ended", "expected", "head", "method", "received", "sent", "unread", "window", "writable")

    def __init__(self, method: str, window: int, writable: int) -> None:
        self.method = method
        self.head = False
        self.expected = UNKNOWN
        self.received = 0
        self.ended = False  # The server's direction.
        self.sent = False  # Ours.
        self.window = window  # What we let the server send at once.
        self.unread = window  # What it may still send.
        self.credit = 0  # What was consumed and has not been granted again.
        self.writable = writable


class ClientCodec:
    """The client's end of a connection.

    Attributes:
        settled: whether the server's settings have come.
        leaving: whether no more streams can be opened: one side has said so, or there are no more numbers.
        queued: how many control frames wait in the output.
    """

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._frames = FrameReader()
        self._ready: deque[Event] = deque()
        self._streams: dict[int, _Stream] = {}
        self._encoder = Encoder()
        self._decoder = Decoder(limits.header_block * _BOMB)
        self._next = 1
        self._failure: Broken | None = None
        # A field block that is not complete: its stream, whether it ends the stream, its parts and their size.
        self._block: tuple[int, bool, list[bytes]] | None = None
        self._block_size = 0
        # Flow control of the connection. What was let through for streams that are gone may still arrive.
        self._unread = limits.http2_connection_window
        self._credit = 0
        self._stray = 0
        self._grown = 0
        self._writable = h2.WINDOW
        # The server's settings.
        self._most = 1
        self._first_window = h2.WINDOW
        # What does not move anything on.
        self._control = 0
        self._empty = 0
        self.settled = False
        self.leaving = False
        self.queued = 0
        ours = {
            h2.ENABLE_PUSH: 0,
            h2.INITIAL_WINDOW_SIZE: limits.http2_stream_window,
            h2.MAX_HEADER_LIST_SIZE: limits.header_block,
        }
        self._out = [h2.PREFACE, h2.encode_settings(ours)]
        if self._unread > h2.WINDOW:
            self._out.append(h2.encode_window_update(0, self._unread - h2.WINDOW))
        else:
            self._unread = h2.WINDOW

    # What arrives

    def feed(self, data: bytes) -> None:
        """Take bytes that the server sent. Never raises."""
        self._frames.feed(data)

    def next_message(self) -> Event | NeedData:
        """The next message of any stream, or `NEED_DATA`.

        A `ResponseHead` that is interim has nothing behind it but the next head. Body data is not empty.

        Raises:
            Broken: the server broke the protocol. The output says so to it. Everything good has been emitted before;
                every later call raises the same.
        """
        while not self._ready:
            if self._failure is not None:
                raise Broken(str(self._failure), self._failure.code)
            try:
                if not self.settled:
                    self._check_first()
                frame = self._frames.next()
                if frame is None:
                    return NEED_DATA
                self._receive(frame)
            except Broken as exc:
                self._failure = exc.with_traceback(None)
                self.close(exc.code)
        return self._ready.popleft()

    def tick(self) -> None:
        """A second has passed: what may be spent on control frames is there again."""
        self._control = 0

    @property
    def limit(self) -> int:
        """How many streams may be open at once; one until the server has said so."""
        return min(self._most, self._limits.http2_streams)

    @property
    def active(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # What is sent

    def take_output(self) -> bytes:
        """What is to be sent."""
        data = b"".join(self._out)
        self._out.clear()
        self.queued = 0
        return data

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
        stream = self._streams[number] = _Stream(method, self._limits.http2_stream_window, self._first_window)
        stream.sent = end
        self._out.append(h2.encode_block(number, self._encoder.encode(made), end))
        return number

    def room(self, number: int) -> int:
        """How many bytes of a body may be sent on a stream now."""
        stream = self._streams.get(number)
        return 0 if stream is None else max(0, min(self._writable, stream.writable))

    def send_data(self, number: int, data: bytes, end: bool = False) -> None:
        """Send a piece of a body, no longer than there is `room` for; `end` where nothing follows."""
        stream = self._streams[number]
        assert len(data) <= self.room(number) or not data, "more than the server takes"
        self._writable -= len(data)
        stream.writable -= len(data)
        self._out.append(h2.encode_data(number, data, end))
        if end:
            self._end_ours(number, stream)

    def send_trailers(self, number: int, fields: Trailers) -> None:
        """Send the fields behind a body, made by `trailer_fields`, and so end the request."""
        block = self._encoder.encode(fields)
        self._out.append(h2.encode_block(number, block, True))
        self._end_ours(number, self._streams[number])

    def consumed(self, number: int, size: int, behind: bool) -> None:
        """So many bytes of a body have gone on, and as many more may come; `behind` where others wait already.

        Where nothing waits the line is the slow part: the window grows, so that more is on the way at once.
        """
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            return
        stream.credit += size
        if stream.credit * 2 < stream.window:
            return
        limits, more = self._limits, stream.window
        fits = stream.window + more <= limits.http2_stream_window_most
        if not behind and fits and self._grown + more <= limits.http2_buffer:
            self._grown += more
            stream.window += more
            stream.credit += more
        stream.unread += stream.credit
        self._out.append(h2.encode_window_update(number, stream.credit))
        stream.credit = 0

    def reset(self, number: int, code: int) -> None:
        """End a stream now (RFC 9113 section 6.4), unless it is over already."""
        stream = self._streams.get(number)
        if stream is not None:
            self._out.append(h2.encode_reset(number, code))
            self._forget(number, stream)

    def close(self, code: int = h2.NO_ERROR) -> None:
        """Say that this is the end of the connection (RFC 9113 section 6.8)."""
        self.leaving = True
        self._out.append(h2.encode_goaway(0, code))

    # Frames

    def _check_first(self) -> None:
        """A server that speaks HTTP/2 begins with its settings (RFC 9113 section 3.4)."""
        begin = self._frames.peek(9)
        if begin[:5] == b"HTTP/":
            raise Broken("it answered in HTTP/1: it does not take HTTP/2 here")
        if len(begin) == 9 and begin[3] != h2.SETTINGS:
            raise Broken("it did not begin with the settings of HTTP/2: it does not speak it")

    def _receive(self, frame: Frame) -> None:
        kind = frame.kind
        if self._block is not None and (kind != h2.CONTINUATION or frame.stream != self._block[0]):
            raise Broken("a header block was interrupted")
        if kind == h2.DATA:
            self._data(frame)
        elif kind == h2.HEADERS:
            self._headers(frame)
        elif kind == h2.WINDOW_UPDATE:
            self._window_update(frame)
        elif kind == h2.RST_STREAM:
            self._reset(frame)
        elif kind == h2.CONTINUATION:
            self._continuation(frame)
        elif kind == h2.SETTINGS:
            self._settings(frame)
        elif kind == h2.PING:
            self._ping(frame)
        elif kind == h2.GOAWAY:
            self._goaway(frame)
        elif kind == h2.PUSH_PROMISE:
            raise Broken("a PUSH_PROMISE, though pushes were refused")
        elif kind == h2.PRIORITY and len(frame.payload) != 5:
            raise Broken(f"a PRIORITY frame of {len(frame.payload)} bytes", h2.FRAME_SIZE_ERROR)
        else:
            # PRIORITY means nothing to a client, and unknown frames are ignored (RFC 9113 section 5.5).
            self._count_control()

    def _data(self, frame: Frame) -> None:
        size = len(frame.payload)
        self._unread -= size
        if self._unread < 0:
            raise Broken("more data than the window of the connection", h2.FLOW_CONTROL_ERROR)
        # Whoever reads slowly holds its own stream up, never the connection: that has its window back at once.
        self._credit += size
        if self._credit * 2 >= self._limits.http2_connection_window:
            self._out.append(h2.encode_window_update(0, self._credit))
            self._unread += self._credit
            self._credit = 0
        data = h2.content(frame)
        stream = self._stream_of(frame)
        if not data and not frame.flags & h2.END_STREAM:
            self._empty += 1
            if self._empty > self._limits.http2_empty_frames:
                raise Broken(f"{self._empty} empty DATA frames one after the other", h2.ENHANCE_YOUR_CALM)
        else:
            self._empty = 0
        if stream is None:
            self._stray -= size
            if self._stray < 0:
                raise Broken("data on a stream that is closed", h2.STREAM_CLOSED)
            return
        stream.unread -= size
        if stream.unread < 0:
            raise Broken("more data than the window of its stream", h2.FLOW_CONTROL_ERROR)
        why = self._add(stream, data, bool(frame.flags & h2.END_STREAM))
        if why:
            self._refuse(frame.stream, stream, why)
            return
        if size > len(data):
            self.consumed(frame.stream, size - len(data), behind=True)
        if data:
            self._ready.append((frame.stream, data))
        if frame.flags & h2.END_STREAM:
            self._end_theirs(frame.stream, stream, END)

    def _add(self, stream: _Stream, data: bytes, end: bool) -> str:
        """Count a piece of a body. What is wrong with it, or nothing."""
        if not stream.head:
            return "a body before its head"
        if stream.ended:
            return "a body behind its end"
        stream.received += len(data)
        if stream.expected == UNKNOWN:
            return ""
        if stream.received > stream.expected or (end and stream.received < stream.expected):
            said = "the response has no body" if not stream.expected else f"Content-Length says {stream.expected}"
            return f"the body has {stream.received} bytes{'' if end else ' or more'}, but {said}"
        return ""

    def _headers(self, frame: Frame) -> None:
        self._empty = 0
        block = h2.content(frame)
        self._block = (frame.stream, bool(frame.flags & h2.END_STREAM), [block])
        self._block_size = len(block)
        self._stream_of(frame)
        self._end_block(frame)

    def _continuation(self, frame: Frame) -> None:
        if self._block is None:
            raise Broken("a CONTINUATION that continues nothing")
        self._count_control()
        self._block[2].append(frame.payload)
        self._block_size += len(frame.payload)
        self._end_block(frame)

    def _end_block(self, frame: Frame) -> None:
        """Decode a header block once it is complete; whatever it is for, the state of the compression needs it."""
        limit = self._limits.header_block
        if self._block_size > limit:
            raise Broken(f"a header block is longer than {limit} bytes", h2.ENHANCE_YOUR_CALM)
        if not frame.flags & h2.END_HEADERS:
            return
        assert self._block is not None
        number, end, parts = self._block
        self._block = None
        try:
            pairs: list[Pair] = list(self._decoder.decode(b"".join(parts), raw=True))
        except OversizedHeaderListError:
            raise Broken(f"a head is longer than {limit * _BOMB} bytes", h2.ENHANCE_YOUR_CALM) from None
        except (HPACKError, IndexError, ValueError) as exc:
            raise Broken(f"a header block cannot be decompressed: {exc}", h2.COMPRESSION_ERROR) from None
        stream = self._streams.get(number)
        if stream is None:
            self._count_control()
            return
        try:
            if sum([len(name) + len(value) + 32 for name, value in pairs]) > limit:
                raise ProtocolError(f"the head is longer than {limit} bytes", 502)
            self._take_section(number, stream, pairs, end)
        except ProtocolError as exc:
            if isinstance(exc, Broken):
                raise
            self._refuse(number, stream, str(exc))

    def _take_section(self, number: int, stream: _Stream, pairs: list[Pair], end: bool) -> None:
        """A decoded header block of an open stream: an interim head, the final head, or trailers.

        Raises:
            ProtocolError: it is malformed.
        """
        if stream.head:
            if stream.ended or not end:
                raise ProtocolError("a second head, or trailers that are not the end", 502)
            why = self._add(stream, b"", True)
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
        if end:
            self._end_theirs(number, stream, END)

    def _window_update(self, frame: Frame) -> None:
        increment = h2.read_word(frame, "WINDOW_UPDATE") & h2.WINDOW_MOST
        if increment < _TINY:
            self._count_control()
        if not frame.stream:
            self._writable += increment
            if not increment or self._writable > h2.WINDOW_MOST:
                raise Broken("the window of the connection is none", h2.FLOW_CONTROL_ERROR)
        else:
            stream = self._stream_of(frame)
            if stream is None:
                return
            stream.writable += increment
            if not increment or stream.writable > h2.WINDOW_MOST:
                self._refuse(frame.stream, stream, "the window of a stream is none", h2.FLOW_CONTROL_ERROR)
                return
        self._ready.append((frame.stream, CHANGED))

    def _reset(self, frame: Frame) -> None:
        code = h2.read_word(frame, "RST_STREAM")
        stream = self._stream_of(frame)
        if stream is None:
            self._count_control()
            return
        stream.ended = True
        self._forget(frame.stream, stream)
        self._ready.append((frame.stream, Reset(code)))

    def _settings(self, frame: Frame) -> None:
        if frame.stream:
            raise Broken("settings on a stream")
        self._count_control()
        if frame.flags & h2.ACK:
            if frame.payload:
                raise Broken("an answer to settings that is not empty", h2.FRAME_SIZE_ERROR)
            if not self.settled:
                raise Broken("it did not begin with the settings of HTTP/2: it does not speak it")
            return
        if not self.settled:
            # Without a word about it there is no limit (RFC 9113 section 6.5.2).
            self.settled = True
            self._most = h2.STREAM_MOST
        for name, value in h2.read_settings(frame):
            self._set(name, value)
        self._answer(h2.encode_frame(h2.SETTINGS, h2.ACK, 0))
        self._ready.append((0, CHANGED))

    def _set(self, name: int, value: int) -> None:
        if name == h2.MAX_CONCURRENT_STREAMS:
            self._most = value
        elif name == h2.INITIAL_WINDOW_SIZE:
            if value > h2.WINDOW_MOST:
                raise Broken("the first window is too large", h2.FLOW_CONTROL_ERROR)
            for stream in self._streams.values():
                stream.writable += value - self._first_window
                if stream.writable > h2.WINDOW_MOST:
                    raise Broken("the window of a stream is too large", h2.FLOW_CONTROL_ERROR)
            self._first_window = value
        elif name == h2.HEADER_TABLE_SIZE:
            self._encoder.header_table_size = min(value, _TABLE)
        elif name == h2.MAX_FRAME_SIZE and not h2.FRAME <= value < 2**24:
            raise Broken("a largest frame of a size that it cannot have")
        elif name == h2.ENABLE_PUSH and value:
            raise Broken("a server that wants to be pushed to")

    def _ping(self, frame: Frame) -> None:
        if frame.stream:
            raise Broken("a PING on a stream")
        if len(frame.payload) != 8:
            raise Broken(f"a PING of {len(frame.payload)} bytes", h2.FRAME_SIZE_ERROR)
        self._count_control()
        if not frame.flags & h2.ACK:
            self._answer(h2.encode_frame(h2.PING, h2.ACK, 0, frame.payload))

    def _goaway(self, frame: Frame) -> None:
        if frame.stream:
            raise Broken("a GOAWAY on a stream")
        self._count_control()
        last, code, text = h2.read_goaway(frame)
        self.leaving = True
        for number in [number for number in self._streams if number > last]:
            self._forget(number, self._streams[number])
            self._ready.append((number, Reset(h2.REFUSED_STREAM)))
        self._ready.append((0, GoAway(code, text)))

    # States

    def _stream_of(self, frame: Frame) -> _Stream | None:
        """The stream of a frame, None where it is over.

        Raises:
            Broken: nobody has opened it.
        """
        number = frame.stream
        stream = self._streams.get(number)
        if stream is None and (not number & 1 or number >= self._next):
            raise Broken(f"a frame on stream {number}, which nobody has opened")
        return stream

    def _refuse(self, number: int, stream: _Stream, why: str, code: int = h2.PROTOCOL_ERROR) -> None:
        """The server broke the rules of one stream: that one ends (RFC 9113 section 5.4.2)."""
        self.reset(number, code)
        self._ready.append((number, Reset(code, why)))

    def _end_theirs(self, number: int, stream: _Stream, end: End) -> None:
        stream.ended = True
        self._ready.append((number, end))
        if stream.sent:
            self._forget(number, stream)

    def _end_ours(self, number: int, stream: _Stream) -> None:
        stream.sent = True
        if stream.ended:
            self._forget(number, stream)

    def _forget(self, number: int, stream: _Stream) -> None:
        del self._streams[number]
        self._grown -= stream.window - self._limits.http2_stream_window
        if not stream.ended:
            self._stray += stream.unread

    def _answer(self, frame: bytes) -> None:
        """Answer a control frame. They wait in the output while the server does not read."""
        self._out.append(frame)
        self.queued += 1
        if self.queued > self._limits.http2_control_frames:
            raise Broken(f"{self.queued} control frames, and it reads no answer", h2.ENHANCE_YOUR_CALM)

    def _count_control(self) -> None:
        self._control += 1
        limit = self._limits.http2_control_frames
        if self._control > limit:
            raise Broken(f"more than {limit} control frames in a second", h2.ENHANCE_YOUR_CALM)
