"""WebSocket frames and messages (RFC 6455) as bytes in, messages out: every case whole, in two pieces, byte by byte."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import pytest

from rulesproxy.proto.websocket import (
    Close,
    Control,
    Deflate,
    FrameScanner,
    Message,
    MessageReader,
    MessageWriter,
    WebSocketError,
    encode_close,
    encode_frame,
)
from rulesproxy.proto.websocket_frames import apply_mask, parse_close

KEY = b"\x01\x82\x43\xc4"
LIMIT = 100_000
NAMES = {8: "close", 9: "ping", 10: "pong"}
ACCENTS = "κόσμε"


def frame(first: int, payload: bytes = b"", masked: bool = True) -> bytes:
    return encode_frame(first, payload, KEY if masked else None)


def raw_frame(head: bytes, payload: bytes = b"", masked: bool = True) -> bytes:
    """A frame whose length field is written by hand; `head` has no mask bit."""
    if not masked:
        return head + payload
    return bytes((head[0], head[1] | 0x80)) + head[2:] + KEY + apply_mask(payload, KEY)


def read(pieces: Iterable[bytes], masked: bool = True, deflate: Deflate | None = None, limit: int = LIMIT) -> list[str]:
    """What a reader makes of `pieces`, one line each; `refused CODE` at an error. The raw frames must be those fed."""
    reader = MessageReader(masked, deflate, limit)
    lines: list[str] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (message := reader.next_message()) is not None:
                lines.append(line(message))
        except WebSocketError as error:
            return [*lines, stays_refused(reader, error)]
    return lines


def stays_refused(reader: MessageReader, error: WebSocketError) -> str:
    reader.feed(frame(0x81, b"more"))
    with pytest.raises(WebSocketError, match=r".") as again:
        reader.next_message()
    assert (str(again.value), again.value.code) == (str(error), error.code)
    return f"refused {error.code}"


def line(message: Message | Control) -> str:
    if isinstance(message, Control):
        close = "" if message.close is None else f" {message.close.code} {message.close.reason}".rstrip()
        return NAMES[message.opcode] + close
    content = message.content
    shown = repr(content) if len(content) <= 40 else f"{type(content).__name__} of {len(content)}"
    return f"{'deflated ' if message.compressed else ''}{shown}"


def scan(pieces: Iterable[bytes], masked: bool = True, deflated: bool = False) -> tuple[bytes, FrameScanner]:
    scanner = FrameScanner(masked, deflated)
    return b"".join([scanner.scan(piece) for piece in pieces]), scanner


def splits(data: bytes) -> list[list[bytes]]:
    cuts = range(1, len(data)) if len(data) < 300 else [*range(1, 16), len(data) // 2, len(data) - 1]
    both = [[data[:cut], data[cut:]] for cut in cuts]
    return [*both, [bytes([byte]) for byte in data]] if len(data) < 20_000 else both


def check(data: bytes, expected: list[str], masked: bool = True, deflate: Deflate | None = None) -> None:
    assert read([data], masked, deflate) == expected
    for pieces in splits(data):
        assert read(pieces, masked, deflate) == expected, pieces[0]


def check_scan(data: bytes, good: int, masked: bool, refused: int | None, closed: bool, deflated: bool) -> None:
    """The scanner lets the same good bytes pass, however they come."""
    for pieces in [[data], *splits(data)]:
        passed, scanner = scan(pieces, masked, deflated)
        assert data.startswith(passed)
        assert (scanner.error.code if scanner.error else None) == refused, pieces
        assert (scanner.close is not None) == closed
        assert len(passed) >= good


SIZES = [0, 1, 124, 125, 126, 127, 128, 65535, 65536, 65537]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [1, 2])
def test_sizes(size: int, masked: bool, kind: int) -> None:
    payload = b"a" * size
    data = frame(0x80 | kind, payload, masked)
    content: object = payload.decode() if kind == 1 else payload
    check(data, [repr(content) if size <= 40 else f"{type(content).__name__} of {size}"], masked)
    passed, scanner = scan([data], masked)
    assert passed is data
    assert (scanner.messages, scanner.boundary, scanner.between_messages) == (1, len(data), True)


# Frames, what is read, and whether the scanner, which sees headers alone, refuses too.
T, F, C = 0x81, 0x01, 0x80
GOOD: list[tuple[list[tuple[int, bytes]], list[str]]] = [
    ([(T, b"a"), (0x82, b"\xff")], ["'a'", "b'\\xff'"]),
    ([(F, b"a"), (0x00, b"b"), (C, b"c")], ["'abc'"]),
    ([(0x02, b"\xff"), (C, b"\xfe")], ["b'\\xff\\xfe'"]),
    ([(F, b""), (0x00, b""), (C, b"")], ["''"]),
    ([(F, b""), (0x00, b"b"), (C, b"")], ["'b'"]),
    ([(F, b"a"), (0x89, b"p"), (0x00, b"b"), (0x8A, b""), (C, b"c")], ["ping", "pong", "'abc'"]),
    ([(F, b"a"), (0x89, b""), (0x89, b""), (0x89, b""), (C, b"")], ["ping", "ping", "ping", "'a'"]),
    ([(0x89, b""), (0x8A, b"x" * 125), (T, b"")], ["ping", "pong", "''"]),
    ([(T, ACCENTS.encode())], [repr(ACCENTS)]),
    ([(F, ACCENTS.encode()[:3]), (C, ACCENTS.encode()[3:])], [repr(ACCENTS)]),
    ([*[(F if not at else 0, ACCENTS.encode()[at : at + 1]) for at in range(10)], (C, ACCENTS.encode()[10:])], [repr(ACCENTS)]),
    ([(T, "\U0010ffff\ud7ff\ue000\ufffe".encode())], [repr("\U0010ffff\ud7ff\ue000\ufffe")]),
    ([(T, b"\x00")], ["'\\x00'"]),
    ([(0x88, b"")], ["close 1005"]),
    ([(0x88, b"\x03\xe8"), (T, b"late")], ["close 1000", "'late'"]),
    ([(0x88, b"\x03\xe8" + b"r" * 123)], ["close 1000 " + "r" * 123]),
    ([(0x88, b"\x03\xe8" + ACCENTS.encode())], [f"close 1000 {ACCENTS}"]),
    ([(F, b"a"), (0x88, b"\x03\xe9")], ["close 1001"]),
]  # fmt: skip
BAD: list[tuple[list[tuple[int, bytes]], list[str], bool]] = [
    *[([(T, b"a"), (0x80 | opcode, b"x")], ["'a'", "refused 1002"], True) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
    *[([(T, b"a"), (opcode, b"")], ["'a'", "refused 1002"], True) for opcode in (3, 7, 11, 15)],
    *[([(T, b"a"), (0x81 | bits, b"x")], ["'a'", "refused 1002"], True) for bits in (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70)],
    *[([(first | 0x40, b"")], ["refused 1002"], True) for first in (0x88, 0x89, 0x8A, 0x82, 0x80)],
    ([(0x80, b"x")], ["refused 1002"], True),
    ([(0x00, b"x")], ["refused 1002"], True),
    ([(T, b"a"), (0x80, b"x")], ["'a'", "refused 1002"], True),
    ([(F, b"a"), (T, b"b")], ["refused 1002"], True),
    ([(F, b"a"), (F, b"b")], ["refused 1002"], True),
    ([(F, b"a"), (0x82, b"b")], ["refused 1002"], True),
    ([(F, b"a"), (C, b"b"), (C, b"c")], ["'ab'", "refused 1002"], True),
    ([(0x09, b"a")], ["refused 1002"], True),
    ([(0x0A, b"a")], ["refused 1002"], True),
    ([(0x08, b"")], ["refused 1002"], True),
    ([(0x89, b"x" * 126)], ["refused 1002"], True),
    ([(0x8A, b"x" * 65536)], ["refused 1002"], True),
    ([(0x88, b"\x03\xe8" + b"x" * 124)], ["refused 1002"], True),
    ([(0x88, b"\x03")], ["refused 1002"], True),
    ([(0x88, b"\x03\xe8\xce")], ["refused 1007"], True),
    ([(0x88, b"\x03\xe8" + b"\xed\xa0\x80")], ["refused 1007"], True),
    *[([(0x88, code.to_bytes(2, "big"))], ["refused 1002"], True)
      for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)],
    *[([(T, text)], ["refused 1007"], False) for text in (
        b"\xff", b"\x80", b"\xbf", b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xe0\x9f\xbf", b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xce", b"\xe2\x82",
        b"ok \xce\xba\xff", b"\xed\xa0\x80\xed\xb0\x80", b"\xfe", b"\xf0\x9f\x98")],
    ([(F, b"\xce"), (C, b"x")], ["refused 1007"], False),
    ([(F, b"\xce\xba"), (0x00, b"\xff"), (C, b"")], ["refused 1007"], False),
    ([(F, b"\xce"), (C, b"")], ["refused 1007"], False),
]  # fmt: skip


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("frames", "expected"), GOOD)
def test_good_frames(frames: list[tuple[int, bytes]], expected: list[str], masked: bool) -> None:
    data = b"".join(frame(first, payload, masked) for first, payload in frames)
    check(data, expected, masked)
    closed = any(first == 0x88 for first, _ in frames)
    check_scan(data, 0 if closed else len(data), masked, None, closed, False)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("frames", "expected", "seen"), BAD)
def test_bad_frames(frames: list[tuple[int, bytes]], expected: list[str], seen: bool, masked: bool) -> None:
    parts = [frame(first, payload, masked) for first, payload in frames]
    data = b"".join(parts)
    check(data, expected, masked)
    good = len(b"".join(parts[:-1]))
    check_scan(data, good, masked, int(expected[-1][-4:]) if seen else None, False, False)


@pytest.mark.parametrize(
    "head",
    [
        b"\x81\x7e\x00\x7d",
        b"\x81\x7e\x00\x00",
        b"\x81\x7f" + (126).to_bytes(8, "big"),
        b"\x81\x7f" + (65535).to_bytes(8, "big"),
        b"\x81\x7f" + (1 << 63).to_bytes(8, "big"),
    ],
)
@pytest.mark.parametrize("masked", [True, False])
def test_lengths_that_are_too_long_or_too_wide(head: bytes, masked: bool) -> None:
    data = raw_frame(head, b"x" * 200, masked)
    check(data, ["refused 1002"], masked)
    check_scan(data, 0, masked, 1002, False, False)


@pytest.mark.parametrize("masked", [True, False])
def test_the_wrong_side_masks(masked: bool) -> None:
    data = frame(0x81, b"a", not masked)
    check(data, ["refused 1002"], masked)
    check_scan(data, 0, masked, 1002, False, False)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_close_codes(code: int) -> None:
    data = encode_close(Close(code, "why"))
    assert parse_close(data[2:]) == Close(code, "why")
    check(data, [f"close {code} why"], masked=False)
    check(encode_close(Close(code, "why"), KEY), [f"close {code} why"])


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 1016, 2999, 5000])
def test_close_codes_that_are_never_sent(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        encode_close(Close(code, ""))


def test_a_long_reason_is_cut_between_two_characters() -> None:
    assert parse_close(encode_close(Close(1000, "é" * 100))[2:]) == Close(1000, "é" * 61)
    assert encode_close(Close(1005, "none")) == b"\x88\x00"


@pytest.mark.parametrize("text", [b"\xed\xa0\x80", b"abc\xff", b"\xf4\x90"])
def test_bad_text_is_found_before_the_frame_is_complete(text: bytes) -> None:
    reader = MessageReader(False, None, LIMIT)
    reader.feed(b"\x81\x7e\x01\x00" + text)
    with pytest.raises(WebSocketError) as caught:
        reader.next_message()
    assert caught.value.code == 1007


# Bounds


@pytest.mark.parametrize("cut", [10_000_000, 100_001])
def test_a_message_that_is_too_big_is_refused_by_its_header(cut: int) -> None:
    reader = MessageReader(False, None, LIMIT)
    reader.feed(b"\x81\x7f" + cut.to_bytes(8, "big"))
    with pytest.raises(WebSocketError) as caught:
        reader.next_message()
    assert caught.value.code == 1009


def test_fragments_are_bounded_together() -> None:
    assert read([frame(F, b"x" * 60_000), frame(C, b"x" * 40_000)]) == ["str of 100000"]
    assert read([frame(F, b"x" * 60_000), frame(C, b"x" * 40_001)]) == ["refused 1009"]


def test_empty_fragments_without_end() -> None:
    reader = MessageReader(True, None, 1000)
    reader.feed(frame(F, b"") + frame(0, b"") * 400)
    with pytest.raises(WebSocketError) as caught:
        reader.next_message()
    assert caught.value.code == 1009


def test_a_bomb() -> None:
    bomb = zlib.compressobj(wbits=-15)
    data = (bomb.compress(bytes(50_000_000)) + bomb.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(data) < LIMIT
    assert read([frame(0xC2, data)], deflate=Deflate()) == ["refused 1009"]
    assert read([frame(0x42, data[:100]), frame(C, data[100:])], deflate=Deflate()) == ["refused 1009"]


# Raw frames and the writer


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("frames", "expected"), [case for case in GOOD if all(first & 8 == 0 for first, _ in case[0])])
def test_a_message_keeps_its_frames(frames: list[tuple[int, bytes]], expected: list[str], masked: bool) -> None:
    data = b"".join(frame(first, payload, masked) for first, payload in frames)
    for pieces in [[data], *splits(data)]:
        reader, writer = MessageReader(masked, None, LIMIT), MessageWriter(None, None, None)
        out = b""
        for piece in pieces:
            reader.feed(piece)
            while (message := reader.next_message()) is not None:
                assert isinstance(message, Message)
                out += writer.encode(message)
        assert out == data


def test_masks() -> None:
    data = bytes(range(256)) * 3
    for size in (0, 1, 2, 3, 4, 5, 7, 8, 100, 767):
        expected = bytes(byte ^ KEY[at % 4] for at, byte in enumerate(data[:size]))
        assert apply_mask(data[:size], KEY) == expected
    assert frame(0x82, data)[:4] == b"\x82\xfe\x03\x00"
    assert frame(0x82, data)[4:8] == KEY


# The scanner


def test_frames_pass_before_they_are_complete() -> None:
    scanner = FrameScanner(True)
    data = frame(0x82, b"x" * 1000)
    assert scanner.scan(data[:5]) == b"", "half a header waits"
    assert scanner.scan(data[5:100]) == data[:100]
    assert (scanner.between_frames, scanner.between_messages, scanner.boundary) == (False, False, -1)
    assert scanner.scan(data[100:] + frame(0x89, b"p")[:5]) == data[100:]
    assert (scanner.messages, scanner.boundary) == (1, len(data) - 100)
    assert scanner.between_messages
    assert scanner.scan(frame(0x89, b"p")[5:]) == frame(0x89, b"p"), "control frames pass whole"
    assert scanner.boundary == 7


def test_where_a_frame_can_be_put_in() -> None:
    scanner = FrameScanner(False)
    first, middle, last = (frame(kind, b"abc", False) for kind in (0x01, 0x00, 0x80))
    ping = frame(0x89, b"", False)
    assert scanner.scan(first + ping) == first + ping
    assert (scanner.boundary, scanner.between_frames, scanner.between_messages) == (-1, True, False)
    assert scanner.scan(middle + last + first) == middle + last + first
    assert scanner.boundary == 10


def test_what_comes_behind_a_close_frame_is_dropped() -> None:
    scanner = FrameScanner(True)
    close = encode_close(Close(4001, "bye"), KEY)
    assert scanner.scan(frame(0x81, b"a") + close + frame(0x81, b"b")) == frame(0x81, b"a") + close
    assert scanner.close == Close(4001, "bye")
    assert scanner.scan(frame(0x81, b"b")) == b""


def test_an_unknown_extension_may_use_reserved_bits() -> None:
    data = frame(0xB1, b"x") + frame(0x82, b"y")
    assert scan([data])[1].error is not None
    scanner = FrameScanner(True, lenient=True)
    assert scanner.scan(data) == data
    assert scanner.scan(frame(0x83)) == b""
    assert scanner.error is not None
