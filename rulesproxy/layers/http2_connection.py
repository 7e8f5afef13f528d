"""`HTTP2Connection`: one HTTP/2 connection to a server, shared by the exchanges of many clients.

One task reads it. A second one exists only while the server takes less than there is to send. It knows streams, but not
which request is for which connection: that is `http2_pool`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from rulesproxy.flow.connection import ServerConn
from rulesproxy.flow.headers import Field
from rulesproxy.flow.http import HTTPRequest
from rulesproxy.layers.http2_upstream import Failure, HTTP2Upstream
from rulesproxy.layers.outcome import where
from rulesproxy.layers.reach import Key, close_stream
from rulesproxy.layers.stream import FOREVER, Stream, StreamClosed, StreamTimeout
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.fields import show
from rulesproxy.proto.http1 import NEED_DATA
from rulesproxy.proto.http2 import Changed, ClientCodec, GoAway, Message, Reset, error_name
from rulesproxy.proto.http2_frames import NO_ERROR, REFUSED_STREAM

if TYPE_CHECKING:
    from rulesproxy.layers.layer import Services

_log = logging.getLogger("rulesproxy")

_TURN = 16384
"""Bytes that one stream sends before the next one has its turn."""
_BATCH = 65536
"""Bytes that are written before the server has to take some."""


class HTTP2Connection:
    """One connection.

    Attributes:
        key: what it can be used for.
        server_conn: what flows see of it.
        private: whether one client's connection alone may use it.
        streams: what is attached to it.
        uses: how many exchanges it has served.
        idle_until: when the pool gives it up, while nothing is attached.
        settled: set once the server's settings have come, or never will.
        failure: why it is over.
    """

    def __init__(
        self,
        services: Services,
        key: Key,
        stream: Stream,
        server_conn: ServerConn,
        full: Callable[[HTTP2Connection], None],
        closed: Callable[[HTTP2Connection], None],
    ) -> None:
        """Speak HTTP/2 on `stream`. `full` is told when it takes no more exchanges, `closed` when it is over."""
        self._services = services
        self.limits = services.options.limits
        self.key = key
        self.server_conn = server_conn
        self.private = server_conn.address != key.address or server_conn.via != key.via
        self.streams: dict[HTTP2Upstream, None] = {}
        self.uses = 0
        self.idle_until = FOREVER
        self.settled = asyncio.Event()
        self._stream = stream
        self.failure: Failure | None = None
        self._full: Callable[[HTTP2Connection], None] | None = full
        self._closed = closed
        self._codec = ClientCodec(self.limits)
        self._numbers: dict[int, HTTP2Upstream] = {}
        self._wanting: dict[HTTP2Upstream, None] = {}
        self._unflushed = 0
        self._writer: asyncio.Task[None] | None = None
        self._heard = self._services.clock.now()
        self._reading = True
        self._task: asyncio.Task[None] | None = None

    # For the pool

    async def start(self) -> None:
        """Begin to speak, and to read."""
        self._rest()
        self._stream.deadline = self._services.clock.now() + self.limits.http2_settings
        self._flush()
        self._task = asyncio.get_running_loop().create_task(self._run())
        # A task that is cancelled before its first step would never come to its end.
        await asyncio.sleep(0)

    @property
    def has_room(self) -> bool:
        """Whether another exchange can use it now."""
        return self._full is not None and not self._codec.leaving and len(self.streams) < self._codec.limit

    @property
    def spoke(self) -> bool:
        """Whether its server has said anything in HTTP/2."""
        return self._codec.settled

    @property
    def limit(self) -> int:
        """How many exchanges its server lets in at once."""
        return self._codec.limit

    def attach(self) -> HTTP2Upstream:
        """A stream for an exchange."""
        upstream = HTTP2Upstream(self)
        self.streams[upstream] = None
        self.idle_until = FOREVER
        return upstream

    def retire(self) -> None:
        """No more exchanges; it is closed behind the last one."""
        full, self._full = self._full, None
        if full is not None:
            full(self)
        if not self.streams:
            self._stop()

    def sweep(self, now: float) -> None:
        """A second has passed: see whose deadline it was."""
        self._codec.tick()
        late = [upstream for upstream in list(self.streams) if upstream.sweep(now)]
        if late and now - self._heard > min(self.limits.response_head, self.limits.body_stall):
            # Nothing has come at all: the server may be gone without a word, and the next request shall not wait, too.
            self.retire()
        elif not self.streams and self.idle_until < now:
            self.retire()

    async def close(self) -> None:
        """End it now."""
        self.retire()
        self._stop()
        if self._task is not None:
            await asyncio.wait({self._task})

    # For streams

    def open(
        self, upstream: HTTP2Upstream, request: HTTPRequest, authority: bytes, fields: list[Field], end: bool
    ) -> None:
        """Send the head of a request on a stream of its own; `end` where it has no body.

        Raises:
            ValueError: it cannot be sent.
        """
        upstream.number = self._codec.open(request.method, request.scheme, authority, request.path, fields, end)
        self._numbers[upstream.number] = upstream
        self._flush()

    def want(self, upstream: HTTP2Upstream) -> None:
        """A stream has something to send."""
        self._wanting[upstream] = None
        self._pump()

    def consumed(self, number: int, size: int, behind: bool) -> None:
        """A part of a response has gone on."""
        self._codec.consumed(number, size, behind)
        self._flush()

    def reset(self, number: int, code: int) -> None:
        """End a stream that may not be over."""
        self._codec.reset(number, code)
        self._flush()

    def detach(self, upstream: HTTP2Upstream) -> None:
        """An exchange is over."""
        if self.streams.pop(upstream, upstream) is upstream:
            return
        self._wanting.pop(upstream, None)
        self._numbers.pop(upstream.number, None)
        self.uses += 1
        if not self.streams:
            self._rest()
            if self._full is None or self.private:
                self.retire()

    def _rest(self) -> None:
        self.idle_until = self._services.clock.now() + self.limits.idle_pooled

    # Reading

    async def _run(self) -> None:
        """Read until the connection is over, then tell everybody."""
        failure = Failure(StreamClosed, "")
        try:
            await self._read()
        except asyncio.CancelledError:
            failure = Failure(StreamClosed, "the connection is closed")
        except ProtocolError as exc:
            failure = Failure(ProtocolError, str(exc))
        except StreamClosed as exc:
            failure = Failure(StreamClosed, str(exc))
        except StreamTimeout:
            failure = Failure(StreamClosed, f"it took nothing for {self.limits.body_stall:g} s")
        except Exception:
            _log.exception("%s: a bug in HTTP/2", where(self.key.address))
        self._reading = False
        if not self._codec.settled and failure.kind is StreamClosed:
            hint = "it may not speak HTTP/2"
            failure = Failure(StreamClosed, f"{failure.why}; {hint}" if failure.why else hint)
        await self._end(failure)

    async def _read(self) -> None:
        codec, clock = self._codec, self._services.clock
        while True:
            while (event := codec.next_message()) is not NEED_DATA:
                self._deliver(*event)
            self._pump()
            data = await self._next()
            if not data:
                return
            self._heard = clock.now()
            codec.feed(data)

    async def _next(self) -> bytes:
        try:
            return await self._stream.read()
        except StreamTimeout:
            if self._codec.settled:
                raise
            seconds = self.limits.http2_settings
            raise ProtocolError(f"no settings of HTTP/2 came within {seconds:g} s: it may not speak it", 502) from None

    def _deliver(self, number: int, message: Message) -> None:
        if isinstance(message, Changed):
            if not self.settled.is_set() and self._codec.settled:
                self._stream.deadline = FOREVER
                self.settled.set()
        elif isinstance(message, GoAway):
            level = logging.DEBUG if message.code == NO_ERROR else logging.WARNING
            text = show(message.text) if message.text else ""
            _log.log(level, "%s ends its connection: %s %s", where(self.key.address), error_name(message.code), text)
            self.retire()
        else:
            upstream = self._numbers.get(number)
            if upstream is None:
                return
            upstream.put(message)
            if isinstance(message, Reset) and message.code == REFUSED_STREAM and not upstream.begun:
                # Whatever it has too many of, the next request shall not be the next one that it refuses.
                self.retire()

    # Writing

    def _pump(self) -> None:
        """Send what the windows allow, the streams in turns, until the server has to take some."""
        wanting = self._wanting
        idle = 0
        while wanting and idle < len(wanting) and self._writer is None:
            upstream = next(iter(wanting))
            del wanting[upstream]
            idle = 0 if upstream.send_some(self._codec, _TURN) else idle + 1
            if upstream.wants:
                wanting[upstream] = None
            self._flush()
        self._flush()

    def _flush(self) -> None:
        if self._writer is not None:
            return
        data = self._codec.take_output()
        if not data:
            return
        self._stream.write(data)
        self._unflushed += len(data)
        if self._unflushed > _BATCH and self._reading:
            self._writer = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """Wait until the server has taken what was written, and go on."""
        stream, clock = self._stream, self._services.clock
        try:
            while self._unflushed > _BATCH:
                if self.settled.is_set():
                    stream.deadline = clock.now() + self.limits.body_stall
                await stream.drain()
                if self.settled.is_set():
                    stream.deadline = FOREVER
                self._unflushed = 0
                self._writer = None
                self._pump()
                if self._writer is not None:
                    return
        except (StreamClosed, StreamTimeout):
            # The reader is told the same.
            pass
        finally:
            if self._writer is asyncio.current_task():
                self._writer = None

    # The end

    def _stop(self) -> None:
        """Say goodbye and close."""
        if self._reading:
            self._reading = False
            self._codec.close()
            if self._task is not None:
                self._task.cancel()

    async def _end(self, failure: Failure) -> None:
        self.failure, self._full = failure, None
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None
        self._flush()
        self.settled.set()
        for upstream in list(self.streams):
            upstream.fail(failure)
        self._numbers.clear()
        self._wanting.clear()
        self._closed(self)
        await close_stream(self._services, self._stream, self.server_conn)
