"""Event streams: every cut gives the same events, nothing is lost, and what is changed leaves the rest as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.proto.event_stream import Block, Event, EventReader, encode_event

LIMIT = 1000


def blocks(data: bytes, lines: bool = False, size: int | None = None, limit: int = LIMIT) -> list[Block]:
    """All blocks of a stream that arrives in pieces of `size` bytes."""
    reader = EventReader(lines, limit)
    found: list[Block] = []
    for at in range(0, len(data), size or len(data) or 1):
        reader.feed(data[at : at + size] if size else data)
        while (block := reader.next_block()) is not None:
            found.append(block)
    last = reader.finish()
    return found if last is None else [*found, last]


def events(data: bytes, lines: bool = False, size: int | None = None) -> list[Event]:
    return [block.event for block in blocks(data, lines, size) if block.event is not None]


STREAMS = [
    (b"data: a\n\ndata: b\n\n", [Event("a"), Event("b")]),
    (b"data: a\r\n\r\ndata: b\r\rdata:c\n\n", [Event("a"), Event("b"), Event("c")]),
    (b"data: a\r\n\ndata: b\n\r\n", [Event("a"), Event("b")]),
    (b"event: delta\nid: 7\ndata: a\ndata: b\n\n", [Event("a\nb", "delta", "7")]),
    (b": ping\n\nretry: 10\n\nid: 3\n\ndata: x\n\n", [Event("x")]),
    (b"\xef\xbb\xbfdata: a\n\n", [Event("a")]),
    (b"data\n\ndata:\n\ndata:  two\n\n", [Event(""), Event(""), Event(" two")]),
    (b"data: whole\n\ndata: half", [Event("whole")]),
    (b"data: \xc3\xa4\n\ndata: \xff\n\n", [Event("ä"), Event("\udcff")]),
    (b"\n\n\r\ndata: a\n\n\n", [Event("a")]),
    (b"id: a\x00b\ndata: x\n\n", [Event("x")]),
    (b"", []),
]


@pytest.mark.parametrize(("data", "expected"), STREAMS)
@pytest.mark.parametrize("size", [None, 1, 2, 3, 7])
def test_server_sent_events(data: bytes, expected: list[Event], size: int | None) -> None:
    assert events(data, size=size) == expected
    assert b"".join(block.raw for block in blocks(data, size=size)) == data


@pytest.mark.parametrize("size", [None, 1, 2, 5])
def test_lines(size: int | None) -> None:
    data = b'{"a": 1}\n\n  \r\n{"b": 2}\r\n{"c": 3}'
    assert events(data, True, size) == [Event('{"a": 1}'), Event('{"b": 2}'), Event('{"c": 3}')]
    assert b"".join(block.raw for block in blocks(data, True, size)) == data


@given(st.text("data: x\r\n"), st.integers(1, 9))
def test_a_cut_changes_no_event(text: str, size: int) -> None:
    data = text.encode()
    for lines in (False, True):
        assert events(data, lines, size) == events(data, lines)
        assert b"".join(block.raw for block in blocks(data, lines, size)) == data


def test_an_event_comes_with_its_last_byte() -> None:
    reader = EventReader(False, LIMIT)
    reader.feed(b"data: a\r\n\r")
    block = reader.next_block()
    assert block is not None
    assert block.event == Event("a")
    # The other half of the CR LF belongs to it, and makes no event.
    reader.feed(b"\ndata: b\r\n\r\n")
    assert [reader.next_block(), reader.next_block()] == [Block(b"\n"), Block(b"data: b\r\n\r\n", Event("b"))]


CHANGES = [
    (b"data: a\n\n", "x", b"data: x\n\n"),
    (b"data:a\n\n", "x", b"data:x\n\n"),
    (b": c\r\nevent: e\r\ndata: a\r\ndata: b\r\nid: 1\r\nretry: 5\r\n\r\n", "x",
     b": c\r\nevent: e\r\ndata: x\r\nid: 1\r\nretry: 5\r\n\r\n"),
    (b"data: a\r\r", "x\ny\r\nz", b"data: x\rdata: y\rdata: z\r\r"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "data", "expected"), CHANGES)
def test_other_data(raw: bytes, data: str, expected: bytes) -> None:
    (block,) = [block for block in blocks(raw) if block.event is not None]
    assert block.encode(data, False) == expected


def test_a_line_stays_one() -> None:
    assert Block(b"{}\r\n").encode('{"a":\n1}', True) == b'{"a": 1}\r\n'
    assert Block(b"{}").encode("x", True) == b"x"
    assert encode_event("a\nb", True) == b"a b\n"
    assert encode_event("a\nb", False) == b"data: a\ndata: b\n\n"


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("size", [1, 10, 64])
def test_an_event_over_the_limit_passes_and_the_next_one_is_read(lines: bool, size: int) -> None:
    big = b"data: " + b"x" * 300 + (b"\n" if lines else b"\n\n")
    data = big + b"data: a\n\n"
    found = blocks(data, lines, size, 100)
    assert b"".join(block.raw for block in found) == data
    assert [block.event.data for block in found if block.event is not None] == ["data: a" if lines else "a"]
    assert max(len(block.raw) for block in found) < 200


def test_a_changed_event_whose_lines_end_in_different_ways_still_ends() -> None:
    (one,) = blocks(b"data: a\rdata: b\n\n")
    assert one.encode("c\nd", False) == b"data: c\ndata: d\n\n"
    (one,) = blocks(b"data: a\r\nid: 1\r\n\r\n")
    assert one.encode("c", False) == b"data: c\r\nid: 1\r\n\r\n"


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_byte_order_mark_is_one_at_the_beginning_only(size: int) -> None:
    assert [block.event for block in blocks(b"\n\xef\xbb\xbf\n", lines=True, size=size)] == [None, Event("\ufeff")]
    assert [block.event for block in blocks(b"\xef\xbb\xbfa\n", lines=True, size=size)] == [None, Event("a")]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_over_the_limit_is_none_however_it_comes(size: int) -> None:
    found = blocks(b"x" * 60 + b"\nshort\n", lines=True, size=size, limit=32)
    assert [block.event for block in found if block.event is not None] == [Event("short")]
