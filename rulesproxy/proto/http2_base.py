"""What both ends of HTTP/2 share: frames, flow control of both directions, and what a hostile peer may cost (RFC 9113).

It knows what a stream is, and not what its fields mean: that is for a client or a server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

from hpack import Decoder, Encoder, HeaderTuple, HPACKError, OversizedHeaderListError

from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto import http2_frames as h2
from rulesproxy.proto.http1_messages import END, NEED_DATA, End, NeedData
from rulesproxy.proto.http2_fields import Pair
from rulesproxy.proto.http2_frames import Broken, Frame, FrameReader
from rulesproxy.proto.http2_messages import CHANGED, Event, GoAway, Reset
from rulesproxy.proto.http2_stream import Stream

_TABLE = 4096
"""Bytes of the table with which our fields are compressed, even if the peer offers a larger one."""
_TINY = 256
"""Bytes of a WINDOW_UPDATE below which it counts as a control frame: many of them ask for bodies cut into crumbs."""
_BOMB = 4
"""How often the limit of a head fits into what is decompressed at most. A head that is longer than the limit costs its
stream only; behind this the state of the compression, and so the connection, is given up."""


class Codec(ABC):
    """One end of a connection.

    Attributes:
        settled: whether the peer's settings have come.
        leaving: whether no more streams can be opened: one side has said so, or there are no more numbers.
        queued: how many answers to control frames wait in the output.
    """

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._frames = FrameReader()
        self._ready: deque[Event] = deque()
        self._streams: dict[int, Stream] = {}
        self._encoder = Encoder()
        self._decoder = Decoder(limits.header_block * _BOMB)
        self._failure: Broken | None = None
        # A field block that is not complete: its stream, whether it ends the stream, its parts and their size.
        self._block: tuple[int, bool, list[bytes]] | None = None
        self._block_size = 0
        # What the peer may send on the connection, and what it may still send on streams that were reset here.
        self._unread = max(limits.http2_connection_window, h2.WINDOW)
        self._credit = 0
        self._stray = 0
        self._grown = 0
        self._writable = h2.WINDOW
        # The peer's settings. Until they have come, one stream must do.
        self._most = 1
        self._first_window = h2.WINDOW
        # What does not move anything on.
        self._control = 0
        self._empty = 0
        self.settled = False
        self.leaving = False
        self.queued = 0
        self._out: list[bytes] = []

    # What arrives

    def feed(self, data: bytes) -> None:
        """Take bytes that the peer sent. Never raises."""
        self._frames.feed(data)

    def next_message(self) -> Event | NeedData:
        """The next message of any stream, or `NEED_DATA`.

        A head that is interim has nothing behind it but the next head. Body data is not empty.

        Raises:
            Broken: the peer broke the protocol. The output says so to it. Everything good has been emitted before, and
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
        """How many streams may be open at once."""
        return min(self._most, self._limits.http2_streams)

    # What is sent

    def take_output(self) -> bytes:
        """What is to be sent."""
        data = b"".join(self._out)
        self._out.clear()
        self.queued = 0
        return data

    def room(self, number: int) -> int:
        """How many bytes of a body may be sent on a stream now."""
        stream = self._streams.get(number)
        return 0 if stream is None else max(0, min(self._writable, stream.writable))

    def send_data(self, number: int, data: bytes, end: bool = False) -> None:
        """Send a piece of a body, no longer than there is `room` for; `end` where nothing follows."""
        stream = self._streams[number]
        assert not data or len(data) <= self.room(number), "more than the peer takes"
        self._writable -= len(data)
        stream.writable -= len(data)
        self._out.append(h2.encode_data(number, data, end))
        if end:
            self._end_ours(number, stream)

    def send_trailers(self, number: int, fields: list[HeaderTuple]) -> None:
        """Send the fields behind a body, made by `trailer_fields`, which is the end of a message."""
        self._out.append(h2.encode_block(number, self._encoder.encode(fields), True))
        self._end_ours(number, self._streams[number])

    def consumed(self, number: int, size: int, behind: bool) -> None:
        """So many bytes of a body have gone on, and as many more may come; `behind` where others wait already.

        Where nothing waits the line is the slow part: the window grows, so that more is on the way at once.
        """
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            return
        stream.credit += size
        more = stream.window
        if stream.credit * 2 < more:
            return
        limits = self._limits
        fits = more * 2 <= limits.http2_stream_window_most and self._grown + more <= limits.http2_buffer
        if fits and not behind:
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

    # What a role decides

    @abstractmethod
    def _check_first(self) -> None:
        """Judge the beginning of what has arrived.

        Raises:
            Broken: it is not how this peer begins.
        """
        ...

    @abstractmethod
    def _take_section(self, number: int, stream: Stream, pairs: list[Pair], end: bool) -> None:
        """Take the fields that have come on an open stream.

        Raises:
            ProtocolError: they are malformed.
        """
        ...

    @abstractmethod
    def _stream_of(self, frame: Frame) -> Stream | None:
        """The stream of a frame, None where it is over.

        Raises:
            Broken: nobody has opened it.
        """
        ...

    # Frames

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
            # PRIORITY means nothing any more, and unknown frames are ignored (RFC 9113 sections 5.3 and 5.5).
            self._count_control()

    def _data(self, frame: Frame) -> None:
        size, end = len(frame.payload), bool(frame.flags & h2.END_STREAM)
        self._take_from_window(size)
        data = h2.content(frame)
        stream = self._stream_of(frame)
        if data or end:
            self._empty = 0
        else:
            self._empty += 1
            if self._empty > self._limits.http2_empty_frames:
                raise Broken(f"{self._empty} empty DATA frames one after the other", h2.ENHANCE_YOUR_CALM)
        if stream is None:
            self._stray -= size
            if self._stray < 0:
                raise Broken("data on a stream that is closed", h2.STREAM_CLOSED)
            return
        stream.unread -= size
        if stream.unread < 0:
            raise Broken("more data than the window of its stream", h2.FLOW_CONTROL_ERROR)
        why = stream.count(len(data), end)
        if why:
            self._refuse(frame.stream, stream, why)
            return
        if size > len(data):
            self.consumed(frame.stream, size - len(data), behind=True)
        if data:
            self._ready.append((frame.stream, data))
        if end:
            self._end_theirs(frame.stream, stream, END)

    def _take_from_window(self, size: int) -> None:
        """Whoever reads slowly holds its own stream up, never the connection: that has its window back at once."""
        self._unread -= size
        if self._unread < 0:
            raise Broken("more data than the window of the connection", h2.FLOW_CONTROL_ERROR)
        self._credit += size
        if self._credit * 2 >= self._limits.http2_connection_window:
            self._out.append(h2.encode_window_update(0, self._credit))
            self._unread += self._credit
            self._credit = 0

    def _headers(self, frame: Frame) -> None:
        self._empty = 0
        block = h2.content(frame)
        self._stream_of(frame)
        self._block = (frame.stream, bool(frame.flags & h2.END_STREAM), [block])
        self._block_size = len(block)
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
            # RFC 9113 section 6.5.2 counts 32 bytes more for each field.
            if sum([len(name) + len(value) + 32 for name, value in pairs]) > limit:
                raise ProtocolError(f"the head is longer than {limit} bytes", 502)
            self._take_section(number, stream, pairs, end)
        except Broken:
            raise
        except ProtocolError as exc:
            self._refuse(number, stream, str(exc))

    def _window_update(self, frame: Frame) -> None:
        increment = h2.read_word(frame, "WINDOW_UPDATE") & h2.WINDOW_MOST
        if increment < _TINY:
            self._count_control()
        if not frame.stream:
            self._writable += increment
            if not increment or self._writable > h2.WINDOW_MOST:
                raise Broken("the window of the connection is no window", h2.FLOW_CONTROL_ERROR)
        else:
            stream = self._stream_of(frame)
            if stream is None:
                return
            stream.writable += increment
            if not increment or stream.writable > h2.WINDOW_MOST:
                self._refuse(frame.stream, stream, "the window of a stream is no window", h2.FLOW_CONTROL_ERROR)
                return
        self._ready.append((frame.stream, CHANGED))

    def _reset(self, frame: Frame) -> None:
        code = h2.read_word(frame, "RST_STREAM")
        stream = self._stream_of(frame)
        if stream is None:
            self._count_control()
            return
        # It sends no more of it.
        stream.ended = True
        self._forget(frame.stream, stream)
        self._ready.append((frame.stream, Reset(code)))

    def _settings(self, frame: Frame) -> None:
        if frame.stream:
            raise Broken("settings on a stream")
        self._count_control()
        settings = h2.read_settings(frame)
        if frame.flags & h2.ACK:
            if settings:
                raise Broken("an answer to settings that is not empty", h2.FRAME_SIZE_ERROR)
            return
        if not self.settled:
            # Without a word about it there is no limit (RFC 9113 section 6.5.2).
            self.settled = True
            self._most = h2.STREAM_MOST
        for name, value in settings.items():
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
            changes = self._encoder.table_size_changes
            if len(changes) > 2:
                # The next block says the smallest and the last one (RFC 7541 section 4.2).
                changes[:] = [min(changes), changes[-1]]
        elif name == h2.MAX_FRAME_SIZE and not h2.FRAME <= value < 2**24:
            raise Broken("a largest frame of a size that it cannot have")

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

    def _refuse(self, number: int, stream: Stream, why: str, code: int = h2.PROTOCOL_ERROR) -> None:
        """The peer broke the rules of one stream: that one ends (RFC 9113 section 5.4.2)."""
        self.reset(number, code)
        self._ready.append((number, Reset(code, why)))

    def _end_theirs(self, number: int, stream: Stream, end: End) -> None:
        stream.ended = True
        self._ready.append((number, end))
        if stream.sent:
            self._forget(number, stream)

    def _end_ours(self, number: int, stream: Stream) -> None:
        stream.sent = True
        if stream.ended:
            self._forget(number, stream)

    def _forget(self, number: int, stream: Stream) -> None:
        del self._streams[number]
        self._grown -= stream.window - self._limits.http2_stream_window
        if not stream.ended:
            # What is on its way may still arrive.
            self._stray += stream.unread

    # What a hostile peer may cost

    def _answer(self, frame: bytes) -> None:
        """Answer a control frame. They wait in the output while the peer does not read."""
        self._out.append(frame)
        self.queued += 1
        if self.queued > self._limits.http2_control_frames:
            raise Broken(f"{self.queued} control frames, and it reads no answer", h2.ENHANCE_YOUR_CALM)

    def _count_control(self) -> None:
        self._control += 1
        limit = self._limits.http2_control_frames
        if self._control > limit:
            raise Broken(f"more than {limit} control frames in a second", h2.ENHANCE_YOUR_CALM)
