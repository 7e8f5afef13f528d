"""The strict readers of HTTP/1.1: every byte is read twice, by the fast reader and by h11, and both must agree.

A request can only be smuggled where two parsers disagree; here the disagreement is seen before anything is forwarded.
It costs an order of magnitude. h11 is imported when the first strict reader reads.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, cast

from rulesproxy.flow.headers import to_bytes
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1_base import HEAD, Reader
from rulesproxy.proto.http1_messages import NEED_DATA, UNTIL_CLOSE, End, Message, NeedData, RequestHead, ResponseHead
from rulesproxy.proto.http1_read import RequestReader, ResponseReader

if TYPE_CHECKING:
    import h11


class _Strict(Reader):
    """Sees what the fast reader takes from its buffer, and hands the same bytes to h11."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        super().__init__(limits)
        self._h11: h11.Connection | None = None
        self._interim = False
        self._until_close = False

    def next_message(self) -> Message | NeedData:
        import h11

        held = bytes(self._buf)
        if self._state == HEAD and self._h11 is None and held:
            self._h11 = self._connect()
        message = super().next_message()
        # The buffer only ever loses bytes at its beginning.
        taken = held[: len(held) - len(self._buf)]
        try:
            self._compare(taken, message)
        except (h11.ProtocolError, ProtocolError) as error:
            self._fail(ProtocolError(f"the parsers do not agree: {error}"))
            raise ProtocolError(self._failure, self._status) from None
        return message

    @abstractmethod
    def _connect(self) -> h11.Connection:
        """An h11 connection that waits for the next message."""
        ...

    def _compare(self, taken: bytes, message: Message | NeedData) -> None:
        import h11

        connection = self._h11
        if connection is None:
            _demand("message", message, NEED_DATA)
            return
        if isinstance(message, (RequestHead, ResponseHead)):
            # An empty line before a request is no part of it, and h11 does not know it.
            connection.receive_data(taken.removeprefix(b"\r\n"))
            self._compare_head(connection.next_event(), message)
        elif self._state != HEAD or isinstance(message, End):
            if taken:
                connection.receive_data(taken)
            if isinstance(message, bytes):
                self._compare_data(connection, message)
            elif isinstance(message, End) and self._interim:
                self._interim = False
            elif isinstance(message, End):
                if self._until_close:
                    connection.receive_data(b"")
                event = connection.next_event()
                if not isinstance(event, h11.EndOfMessage):
                    raise ProtocolError(f"the message ends, but h11 reads {event!r}")
                _demand("trailers", _pairs(message), event.headers.raw_items())
                self._h11 = None

    def _compare_head(self, event: object, message: RequestHead | ResponseHead) -> None:
        kind = type(event).__name__
        head: h11.Request | h11.Response | h11.InformationalResponse
        if isinstance(message, RequestHead):
            _demand("message", "Request", kind)
            request = head = cast("h11.Request", event)
            _demand("method", to_bytes(message.method), request.method)
            _demand("target", to_bytes(message.target), request.target)
        else:
            self._interim = message.status < 200
            self._until_close = message.length == UNTIL_CLOSE
            _demand("message", "InformationalResponse" if self._interim else "Response", kind)
            response = head = cast("h11.Response", event)
            _demand("status", message.status, response.status_code)
            _demand("reason", to_bytes(message.reason), response.reason)
        _demand("version", to_bytes(message.version), b"HTTP/" + head.http_version)
        ours, theirs = _pairs(message), head.headers.raw_items()
        if ours != theirs:
            # h11 puts the value of Transfer-Encoding into lower case.
            _demand("fields", [(name, value.lower()) for name, value in ours], [(n, v.lower()) for n, v in theirs])

    def _compare_data(self, connection: h11.Connection, data: bytes) -> None:
        import h11

        read = bytearray()
        while len(read) < len(data):
            event = connection.next_event()
            if not isinstance(event, h11.Data):
                raise ProtocolError(f"body data, but h11 reads {event!r}")
            read += event.data
        _demand("data", data, bytes(read))


class StrictRequestReader(_Strict, RequestReader):
    """`RequestReader`, with h11 as the second opinion."""

    def _connect(self) -> h11.Connection:
        import h11

        limit = self._limits.header_block + self._limits.trailers
        return h11.Connection(h11.SERVER, max_incomplete_event_size=limit)


class StrictResponseReader(_Strict, ResponseReader):
    """`ResponseReader`, with h11 as the second opinion."""

    def expect(self, method: str) -> None:
        super().expect(method)
        if self._state == HEAD:
            # The connection may have been made for another request already, if some bytes came early.
            self._h11 = None

    def _connect(self) -> h11.Connection:
        import h11

        limit = self._limits.header_block + self._limits.trailers
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=limit)
        # h11 reads a response only behind its request. This one offers an upgrade, so that a 101 may come; what else
        # the request was decides nothing about the response.
        method = self._method if self._method in ("HEAD", "CONNECT") else "GET"
        fields = [("Host", "h"), ("Connection", "upgrade"), ("Upgrade", "h")]
        connection.send(h11.Request(method=method, target="h:1", headers=fields))
        connection.send(h11.EndOfMessage())
        return connection


def _pairs(message: RequestHead | ResponseHead | End) -> list[tuple[bytes, bytes]]:
    fields = message.trailers if isinstance(message, End) else message.fields
    return [(name, value) for _, name, value in fields or ()]


def _demand(what: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        raise ProtocolError(f"{what} {ours!r}, but h11 reads {theirs!r}")
