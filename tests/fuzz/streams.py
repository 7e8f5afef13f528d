"""What is fuzzed of streams: their readers, and rules in their way. Where the bytes are cut changes nothing."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from hypothesis import strategies as st

from rulesproxy.filters import shape
from rulesproxy.filters.ast import Text
from rulesproxy.filters.problem import FilterError
from rulesproxy.filters.regex import replacing
from rulesproxy.filters.shape import Pattern
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.limits import DEFAULT
from rulesproxy.proto.event_stream import Block, EventReader
from rulesproxy.rules.ruleset import RulesError, RuleSet, load_rules


def cut(data: bytes, sizes: bytes) -> Iterator[bytes]:
    """The data in pieces of these sizes, again and again; empty ones are none."""
    steps = [size % 16 + 1 for size in sizes] or [len(data)]
    at = turn = 0
    while at < len(data):
        yield data[at : at + steps[turn % len(steps)]]
        at += steps[turn % len(steps)]
        turn += 1


# Event streams


def run_events(data: bytes) -> None:
    """Read the events of a stream, and let rules edit them: its pieces make no difference, and no byte is lost.

    But for the ends of lines: an event goes on before it is known whether a CR at its end is one half of a CR LF.
    """
    sizes, _, stream = data.partition(b"\n\n")
    for lines in (False, True):
        whole = _blocks([stream], lines, 1 << 20)
        for pieces in (cut(stream, sizes), cut(stream, b"\0")):
            blocks = _blocks(pieces, lines, 1 << 20)
            assert b"".join(block.raw for block in blocks) == stream
            assert _events(blocks) == _events(whole), (lines, stream)
        small = _blocks(cut(stream, sizes), lines, 8)
        assert b"".join(block.raw for block in small) == stream
        assert all(len(block.raw) <= 8 for block in small if block.event is not None)
        for block in whole:
            if block.event is not None:
                # Not at the beginning, where a byte order mark is none of the event.
                made = _blocks([b"\n", block.encode(block.event.data, lines)], lines, 1 << 20)
                expected = re.sub(r"\r\n|\r|\n", " ", block.event.data) if lines else block.event.data
                assert [(event.data, event.name, event.id) for event in _events(made)] == [
                    (expected, block.event.name, block.event.id)
                ], block
        edited = _through_rules([stream], lines, False)
        assert _through_rules(cut(stream, sizes), lines, False) == edited, (lines, stream)
        assert _through_rules(cut(gzip.compress(stream), sizes), lines, True) == edited, (lines, stream)


def _blocks(pieces: Iterable[bytes], lines: bool, limit: int) -> list[Block]:
    reader, found = EventReader(lines, limit), []
    for piece in pieces:
        reader.feed(piece)
        while (block := reader.next_block()) is not None:
            found.append(block)
    rest = reader.finish()
    return found if rest is None else [*found, rest]


def _events(blocks: list[Block]) -> list:  # type: ignore[type-arg]
    return [block.event for block in blocks if block.event is not None]


@lru_cache
def _editing() -> RuleSet:
    return load_rules(
        text="version: 1\nrules:\n"
        "  - match: event.data contains 'a'\n    rewrite: {message: {replace: [{regex: 'a+', with: \"b\\nc\"}]}}\n"
        "  - match: event.id == 'x'\n    drop-message:\n"
        "  - match: event.json['d'] == 1\n    rewrite: {message: {json: {set: {$.d: 2}}}}\n"
        "    inject-message: {to: client, text: new, when: before}\n"
        "  - match: event.name == 'end'\n    close:\n"
    )


def _through_rules(pieces: Iterable[bytes], lines: bool, gzipped: bool) -> bytes:
    kind = "application/x-ndjson" if lines else "text/event-stream"
    headers = [("content-type", kind), *([("content-encoding", "gzip")] if gzipped else [])]
    flow = HTTPFlow.make("GET", "http://a.test/", status=200, response_headers=headers)
    answer, flow.response = flow.response, None
    assert answer is not None
    rules = _editing()
    assert rules.requestheaders(flow) is None  # type: ignore[attr-defined]
    flow.response = answer
    answer.body_source = None
    assert rules.responseheaders(flow) is None  # type: ignore[attr-defined]
    through = answer.stream
    assert callable(through)
    out: list[bytes] = []
    for piece in (*pieces, b""):
        out += [part for part in through(piece) if isinstance(part, bytes)]
    plain = b"".join(out).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return re.sub(rb"\n\n+", b"\n\n", plain).strip(b"\n")


EVENT_LINES = [
    b"data: a", b"data:a", b"data", b"data: ", b'data: {"d": 1}', b'{"d": 1, "e": "a"}', b"event: end", b"event: x", b"id: x", b"id: y\0",
    b": comment", b"retry: 10", b"", b"aaa", b"data: \xc3\xa9\xff", b"\xef\xbb\xbf", b"data: aa", b"datum: 1", b"[DONE]",
]  # fmt: skip
EVENTS = st.tuples(
    st.binary(max_size=5).map(lambda sizes: sizes.replace(b"\n", b"")),
    st.lists(st.tuples(st.sampled_from(EVENT_LINES), st.sampled_from([b"\n", b"\n", b"\n\n", b"\r\n", b"\r", b""])), max_size=12),
).map(lambda parts: parts[0] + b"\n\n" + b"".join(line + end for line, end in parts[1]))  # fmt: skip


# TCP

_MOST = 100
"""Bytes of a stream: within what may be kept back, and so short that no look takes too many steps."""


def run_tcp(data: bytes) -> None:
    """Bytes in pieces, through rules that mark what a regex finds: the same as in one piece, as far as it can be."""
    source, _, rest = data.partition(b"\n")
    sizes, _, stream = rest.partition(b"\n")
    stream = stream[:_MOST]
    text = source.decode("utf-8", "surrogateescape")
    try:
        found, _ = replacing(Text(text, 0, len(text), 0))
        rules = _marking(text)
    except (FilterError, RulesError):
        return
    tree = Pattern.of(found.pattern, found.flags).tree
    whole = _sent(rules, [stream], b"")
    assert whole[0].replace(b"<", b"") == stream.replace(b"<", b"")
    for pieces in (cut(stream, sizes), cut(stream, b"\0")):
        sent = _sent(rules, pieces, b"")
        if shape.width(tree) and not _placed(str(tree)):
            assert sent == whole, (text, stream)
        assert sent[0].replace(b"<", b"") == stream.replace(b"<", b"")
    # A pause lets go what is kept: that may split a match, and loses nothing.
    assert _sent(rules, cut(stream, sizes), sizes)[0].replace(b"<", b"") == stream.replace(b"<", b"")


def _placed(tree: str) -> bool:
    """Whether a regex asks where it is, which at the edges of pieces is something else."""
    return " AT" in tree or "(AT," in tree or "ASSERT" in tree


@lru_cache(maxsize=4)
def _marking(source: str) -> RuleSet:
    quoted = "'" + source.replace("'", "''") + "'"
    with_filter = "'tcp.data ~ r###\"" + source.replace("'", "''") + "\"###'"
    return load_rules(
        text="version: 1\nrules:\n"
        f"  - match: {with_filter} # rulesproxy: ignore\n    tag: found\n"
        f"  - match: ~tcp # rulesproxy: ignore\n    rewrite: {{message: {{replace: [{{regex: {quoted}, with: '<\\g<0>'}}]}}}}\n"
    )


def _sent(rules: RuleSet, pieces: Iterable[bytes], pauses: bytes) -> tuple[bytes, bool]:
    """What goes on, and whether the filter has found something; behind some pieces comes a pause."""
    flow = TCPFlow(ClientConn(("127.0.0.1", 1)), ServerConn(("127.0.0.1", 2)))
    sent: list[bytes] = []

    def show(data: bytes, whole: bool) -> bytes:
        message = TCPMessage(True, data)
        message.whole = whole
        flow.messages.append(message)
        assert rules.tcp_message(flow) is None  # type: ignore[attr-defined]
        sent.append(message.content)
        assert len(message.held) <= DEFAULT.tcp_look_behind
        return message.held

    held = b""
    for number, piece in enumerate(pieces):
        held = show(held + piece, False)
        if held and pauses and pauses[number % len(pauses)] & 16:
            held = show(held, True)
    assert not held or not show(held, True)
    return b"".join(sent), "found" in flow.tags


TCP_STREAMS = [
    b"a",
    b"b",
    b"ab",
    b"B",
    b"/",
    b"k",
    b"\xe2\x84\xaa",
    b"\xc3\xa9",
    b"\xc3",
    b"\xff",
    b"\r\n",
    b" ",
    b"1",
    b"_",
    b"aab",
]


def tcp_texts(regexes: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """A regex, how to cut the stream, and the stream."""
    return st.tuples(
        regexes.map(lambda source: source.replace("\n", "").encode("utf-8", "surrogatepass")),
        st.binary(max_size=4).map(lambda sizes: sizes.replace(b"\n", b"")),
        st.lists(st.sampled_from(TCP_STREAMS), max_size=24).map(b"".join),
    ).map(b"\n".join)
