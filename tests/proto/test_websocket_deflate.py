"""permessage-deflate (RFC 7692): what is agreed on, what is read, and that every edit leaves a valid stream."""

from __future__ import annotations

import zlib
from itertools import cycle, product

import pytest

from rulesproxy.proto.websocket import (
    Deflate,
    Message,
    MessageReader,
    MessageWriter,
    WebSocketError,
    agreed,
    only_deflate,
)
from rulesproxy.proto.websocket_deflate import Inflater
from tests.proto.test_websocket import KEY, check, frame

NAME = "permessage-deflate"
TAKEOVER = Deflate()
ALONE = Deflate(True, True)


def packed(*texts: bytes, alone: bool = False, bits: int = 15) -> list[bytes]:
    """Compressed messages of one peer."""
    made, out = zlib.compressobj(wbits=-bits), []
    for text in texts:
        out.append((made.compress(text) + made.flush(zlib.Z_SYNC_FLUSH))[:-4])
        if alone:
            made = zlib.compressobj(wbits=-bits)
    return out


@pytest.mark.parametrize(("offer", "answer", "expected"), [
    ("", "", None),
    (NAME, "", None),
    (NAME, NAME, TAKEOVER),
    (NAME.upper(), f" {NAME} ", TAKEOVER),
    (f"{NAME}; client_max_window_bits", NAME, TAKEOVER),
    (f"{NAME}; client_max_window_bits", f"{NAME}; client_max_window_bits=10", Deflate(False, False, 10, 15)),
    (f"{NAME}; client_max_window_bits=12", f"{NAME}; client_max_window_bits=10", Deflate(False, False, 10, 15)),
    (f"{NAME}; client_max_window_bits=12", NAME, Deflate(False, False, 12, 15)),
    (f"{NAME}; server_max_window_bits=9", f"{NAME}; server_max_window_bits=8", Deflate(False, False, 15, 8)),
    (NAME, f"{NAME}; server_max_window_bits=9", Deflate(False, False, 15, 9)),
    (NAME, f'{NAME}; server_max_window_bits="9"', Deflate(False, False, 15, 9)),
    (NAME, f"{NAME}; server_no_context_takeover;client_no_context_takeover", ALONE),
    (f"{NAME}; client_no_context_takeover", NAME, Deflate(True, False)),
    (f"{NAME}; server_no_context_takeover", f"{NAME}; server_no_context_takeover", Deflate(False, True)),
    (f"x-other; a=1, {NAME}; server_max_window_bits=10, {NAME}", NAME, TAKEOVER),
])  # fmt: skip
def test_agreed(offer: str, answer: str, expected: Deflate | None) -> None:
    assert agreed(offer, answer) == expected


@pytest.mark.parametrize(("offer", "answer"), [
    ("", NAME),
    ("x-other", NAME),
    ("x-other", "x-other"),
    (NAME, f"{NAME}, {NAME}"),
    (NAME, f"{NAME}, x-other"),
    (NAME, f"{NAME}; what"),
    (NAME, f"{NAME}; client_max_window_bits"),
    (NAME, f"{NAME}; client_max_window_bits=10"),
    (f"{NAME}; client_max_window_bits=10", f"{NAME}; client_max_window_bits=11"),
    (f"{NAME}; client_max_window_bits", f"{NAME}; client_max_window_bits"),
    (f"{NAME}; client_max_window_bits", f"{NAME}; client_max_window_bits=7"),
    (f"{NAME}; client_max_window_bits", f"{NAME}; client_max_window_bits=16"),
    (f"{NAME}; client_max_window_bits", f"{NAME}; client_max_window_bits=010"),
    (NAME, f"{NAME}; server_max_window_bits"),
    (NAME, f"{NAME}; server_max_window_bits=x"),
    (f"{NAME}; server_max_window_bits=9", NAME),
    (f"{NAME}; server_max_window_bits=9", f"{NAME}; server_max_window_bits=10"),
    (f"{NAME}; server_no_context_takeover", NAME),
    (NAME, f"{NAME}; server_no_context_takeover=1"),
    (NAME, f"{NAME}; server_no_context_takeover; server_no_context_takeover"),
    (NAME, f"{NAME};; server_no_context_takeover"),
    (f"{NAME}; server_no_context_takeover; server_no_context_takeover", NAME),
])  # fmt: skip
def test_not_agreed(offer: str, answer: str) -> None:
    with pytest.raises(ValueError, match="the server"):
        agreed(offer, answer)


def test_only_what_is_known_is_offered() -> None:
    assert only_deflate(f"x-webkit-deflate-frame, {NAME}; client_max_window_bits, {NAME}; bad, x") == (
        f"{NAME}; client_max_window_bits"
    )
    assert only_deflate("x-webkit-deflate-frame") == ""


# Reading

HELLO = b"\xf2\x48\xcd\xc9\xc9\x07\x00"  # RFC 7692 section 7.2.3.1


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("frames", "expected"), [
    ([(0xC1, HELLO)], ["deflated 'Hello'"]),
    ([(0x41, HELLO[:3]), (0x80, HELLO[3:])], ["deflated 'Hello'"]),
    ([(0x41, HELLO[:3]), (0x89, b""), (0x00, b""), (0x80, HELLO[3:])], ["ping", "deflated 'Hello'"]),
    ([(0xC1, HELLO), (0xC1, b"\xf2\x00\x11\x00\x00")], ["deflated 'Hello'", "deflated 'Hello'"]),
    ([(0xC1, HELLO), (0x81, b"plain"), (0xC1, b"\xf2\x00\x11\x00\x00")], ["deflated 'Hello'", "'plain'", "deflated 'Hello'"]),
    ([(0xC1, b"\x00\x05\x00\xfa\xffHello\x00")], ["deflated 'Hello'"]),
    ([(0xC1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")], ["deflated 'Hello'"]),
    ([(0xC1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), (0xC2, HELLO)], ["deflated 'Hello'", "deflated b'Hello'"]),
    ([(0xC1, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")], ["deflated 'Hello'"]),
    ([(0xC1, b"\x00")], ["deflated ''"]),
    ([(0x41, b""), (0x80, b"\x00")], ["deflated ''"]),
    ([(0x81, b"plain"), (0xC1, HELLO)], ["'plain'", "deflated 'Hello'"]),
    ([(0x41, HELLO[:3]), (0xC0, HELLO[3:])], ["refused 1002"]),
    ([(0xC9, b"")], ["refused 1002"]),
    ([(0xE1, HELLO)], ["refused 1002"]),
    ([(0xC1, b"\xff\xff\xff")], ["refused 1007"]),
    ([(0xC1, b"\xf2\x00\x11\x00\x00")], ["refused 1007"]),
    ([(0xC1, packed(b"\xff\xfe")[0])], ["refused 1007"]),
    ([(0x41, packed(b"ab\xce")[0]), (0x80, b"")], ["refused 1007"]),
])  # fmt: skip
def test_compressed_frames(frames: list[tuple[int, bytes]], expected: list[str], masked: bool) -> None:
    data = b"".join(frame(first, payload, masked) for first, payload in frames)
    check(data, expected, masked, TAKEOVER)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("alone", [True, False])
def test_windows(bits: int, alone: bool) -> None:
    texts = [b"one two three " * 50, b"one two three " * 60, b"x" * 40_000, b"one two three " * 50]
    reader = MessageReader(False, Deflate(False, alone, 15, bits), 100_000)
    reader.feed(b"".join(frame(0xC2, data, False) for data in packed(*texts, alone=alone, bits=bits)))
    for text in texts:
        message = reader.next_message()
        assert isinstance(message, Message)
        assert message.content == text


# Writing: whatever is changed, dropped or put in, the receiver reads what was meant

TEXTS = [
    "alpha beta gamma " * 4,
    "beta gamma delta " * 4,
    "",
    "plain",
    "alpha beta gamma " * 4,
    "omega " * 9,
    "beta gamma " * 4,
]
LEGS = [None, TAKEOVER, ALONE, Deflate(True, False, 15, 9), Deflate(False, True, 9, 15), Deflate(False, False, 8, 8)]


def through(source: Deflate | None, target: Deflate | None, client: bool, ways: str) -> None:
    """Send messages of a peer through; `ways`: . as it is, e edited, d dropped, i one is injected behind it."""
    key = KEY if client else None
    sender = MessageWriter((lambda: KEY) if client else None, None, source)
    reader = MessageReader(client, source, 10_000)
    writer = MessageWriter((lambda: KEY) if client else None, source, target)
    receiver = MessageReader(client, target, 10_000)
    expected = []
    for at, (text, way) in enumerate(zip(TEXTS, cycle(ways), strict=False)):
        reader.feed(frame(0x81, text.encode(), client) if text == "plain" else sender.make(text))
        message = reader.next_message()
        assert isinstance(message, Message)
        assert message.content == text
        if way == "d":
            writer.skip(message)
        else:
            content = f"edited {at} " * 5 if way == "e" else text
            receiver.feed(writer.replace(message, content) if way == "e" else writer.encode(message))
            expected.append(content)
        if way == "i":
            receiver.feed(writer.inject(b"injected"))
            expected.append(b"injected")  # type: ignore[arg-type]
    assert key is None or client
    for content in expected:
        received = receiver.next_message()
        assert isinstance(received, Message)
        assert received.content == content
    assert receiver.next_message() is None


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize(("source", "target"), list(product(LEGS, LEGS)))
def test_edits_stay_valid(source: Deflate | None, target: Deflate | None, client: bool) -> None:
    for ways in (".", "e", "d.", ".d", "..e", "i", ".ied", "ee.", "d..i", "...e.d"):
        through(source, target, client, ways)


def test_messages_go_on_as_they_came_until_one_is_changed() -> None:
    texts = [b"alpha beta gamma", b"alpha beta gamma", b"alpha beta gamma", b"alpha beta gamma"]
    raws = [frame(0xC1, data, False) for data in packed(*texts)]
    reader, writer = MessageReader(False, TAKEOVER, 1000), MessageWriter(None, TAKEOVER, TAKEOVER)
    reader.feed(b"".join(raws))
    messages = [reader.next_message() for _ in raws]
    assert all(isinstance(message, Message) for message in messages)
    first, second, third, fourth = messages
    assert writer.encode(first) == raws[0]  # type: ignore[arg-type]
    assert writer.inject("x") == b"\x81\x01x"
    assert writer.encode(second) == raws[1]  # type: ignore[arg-type]
    writer.skip(third)  # type: ignore[arg-type]
    assert writer.encode(fourth) != raws[3]  # type: ignore[arg-type]


def test_a_message_on_its_own_goes_on_as_it_came_behind_any_change() -> None:
    raws = [frame(0xC1, data, False) for data in packed(b"alpha", b"beta", alone=True)]
    reader, writer = MessageReader(False, ALONE, 1000), MessageWriter(None, ALONE, ALONE)
    reader.feed(b"".join(raws))
    first, second = reader.next_message(), reader.next_message()
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert writer.replace(first, "other")[0] == 0xC1
    assert writer.encode(second) == raws[1]


def test_small_messages_are_compressed_against_the_ones_before() -> None:
    writer = MessageWriter(None, None, TAKEOVER)
    text = "the quick brown fox jumps over the lazy dog"
    assert len(writer.make(text)) > len(text) / 2
    assert len(writer.make(text)) < 12


def test_a_bad_code_is_no_bomb() -> None:
    reader = MessageReader(True, TAKEOVER, 1000)
    reader.feed(frame(0xC1, packed(bytes(1001))[0]))
    with pytest.raises(WebSocketError) as caught:
        reader.next_message()
    assert caught.value.code == 1009


@pytest.mark.parametrize("alone", [True, False])
def test_a_block_behind_a_final_one_may_refer_to_all_before_it(alone: bool) -> None:
    text = bytes(range(256)) * 4
    final = zlib.compressobj(wbits=-15)
    first = final.compress(text) + final.flush(zlib.Z_FINISH)
    again = zlib.compressobj(wbits=-15, zdict=text)
    second = (again.compress(text) + again.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
    data = first + second
    for cut in (0, len(first) - 1, len(first), len(first) + 1):
        inflater = Inflater(alone)
        made = inflater.inflate(data[:cut], 10_000, False) + inflater.inflate(data[cut:], 10_000, True)
        assert made == text + text


def test_the_window_that_is_kept_is_bounded() -> None:
    deflater, inflater = zlib.compressobj(wbits=-15), Inflater(False)
    for number in range(100):
        piece = deflater.compress(bytes([number]) * 5000) + deflater.flush(zlib.Z_SYNC_FLUSH)
        inflater.inflate(piece.removesuffix(b"\0\0\xff\xff"), 10_000, True)
        assert len(inflater._made) <= 3 * 32768
