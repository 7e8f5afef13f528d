"""The rig of the HTTP/1.1 tests: bytes in pieces through both implementations, messages out as comparable lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest

from rulesproxy.flow.headers import Field
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.proto import ProtocolError
from rulesproxy.proto.http1 import (
    CHUNKED,
    CODECS,
    END,
    NEED_DATA,
    UNTIL_CLOSE,
    End,
    Message,
    RequestHead,
    ResponseHead,
)
from rulesproxy.proto.http1_base import Reader

Read = Callable[..., list[str]]
Check = Callable[..., list[str]]

_LENGTHS = {CHUNKED: "chunked", UNTIL_CLOSE: "until-close"}


def show_fields(fields: Iterable[Field]) -> list[str]:
    for lower, name, _ in fields:
        assert lower == name.lower()
    return [f"  {ascii((name + b': ' + value).decode('latin-1'))[1:-1].rstrip()}" for _, name, value in fields]


def show(message: Message) -> list[str]:
    """A message as lines of text, without body data."""
    if isinstance(message, RequestHead):
        flags = [f"length={_LENGTHS.get(message.length, message.length)}"]
        flags += ["keep-alive"] if message.keep_alive else ["close"]
        flags += ["expect"] if message.expect else []
        flags += [f"upgrade={message.upgrade}"] if message.upgrade else []
        flags += [f"host={message.host}"] if message.host else []
        start = f"request {message.method} {message.target} {message.version}"
        return [f"{start} {' '.join(flags)}", *show_fields(message.fields)]
    if isinstance(message, ResponseHead):
        flags = [f"length={_LENGTHS.get(message.length, message.length)}"]
        flags += ["keep-alive"] if message.keep_alive else ["close"]
        flags += [f"upgrade={message.upgrade}"] if message.upgrade else []
        start = f"response {message.status} {message.reason!a} {message.version}"
        return [f"{start} {' '.join(flags)}", *show_fields(message.fields)]
    assert isinstance(message, End)
    assert message is END or message.trailers is not None
    return ["end", *show_fields(message.trailers or ())]


def read_pieces(
    codec: str,
    kind: str,
    pieces: Iterable[bytes],
    methods: Sequence[str] = (),
    eof: bool = False,
    limits: Limits = DEFAULT,
) -> list[str]:
    """What a reader makes of `pieces`: lines of text, adjacent body data joined, `refused STATUS` at an error.

    `methods` are those of the requests that the responses answer. Bytes behind the end of HTTP come as `rest`.
    """
    reader = CODECS[codec][kind == "response"](limits)
    waiting = list(methods)
    if waiting:
        reader.expect(waiting.pop(0))
    lines: list[str] = []
    data = bytearray()
    tunnel = interim = False
    for piece in [*pieces, None]:
        if piece is not None:
            reader.feed(piece)
        elif eof:
            reader.feed_eof()
        while True:
            try:
                message = reader.next_message()
            except ProtocolError as error:
                if data:
                    lines.append(f"data {bytes(data)!r}")
                return [*lines, _stays_refused(reader, error)]
            if message is NEED_DATA:
                break
            if isinstance(message, bytes):
                assert message, "body data is never empty"
                data += message
                continue
            if data:
                lines.append(f"data {bytes(data)!r}")
                data.clear()
            lines += show(message)
            if isinstance(message, ResponseHead):
                interim = message.status < 200
                tunnel = message.status == 101 or (message.length == 0 and methods[:1] == ["CONNECT"] and not interim)
            elif isinstance(message, End) and waiting and not interim:
                reader.expect(waiting.pop(0))
    if data:
        lines.append(f"data {bytes(data)!r}")
    if tunnel:
        lines.append(f"rest {reader.take_rest()!r}")
        reader.feed(b"HTTP/1.1 200 OK\r\n\r\n")
        assert reader.next_message() is NEED_DATA
    return lines


def _stays_refused(reader: Reader, error: ProtocolError) -> str:
    assert str(error)
    reader.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    reader.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(ProtocolError) as again:
        reader.next_message()
    assert (str(again.value), again.value.status) == (str(error), error.status)
    assert not reader.idle
    assert not reader.started
    return f"refused {error.status}"


def check_splits(kind: str, data: bytes, **options: object) -> list[str]:
    """What both implementations make of `data`: whole, in two pieces at every place, and byte by byte. All alike."""
    whole = read_pieces("native", kind, [data], **options)
    splits = [[data[:at], data[at:]] for at in range(1, len(data))]
    if len(data) > 400:
        splits = splits[:: len(data) // 100]
    for codec in CODECS:
        assert read_pieces(codec, kind, [data], **options) == whole, codec
        assert read_pieces(codec, kind, [bytes([byte]) for byte in data], **options) == whole, codec
        for pieces in splits:
            assert read_pieces(codec, kind, pieces, **options) == whole, (codec, pieces)
    return whole


@pytest.fixture(scope="session")
def read() -> Read:
    return read_pieces


@pytest.fixture(scope="session")
def check() -> Check:
    return check_splits
