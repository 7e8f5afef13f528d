"""What a server of HTTP/2 may send, for the fuzzer: frames right and wrong, and what must hold for every one of them."""

from __future__ import annotations

from hypothesis import strategies as st

from rulesproxy.limits import DEFAULT
from rulesproxy.proto import http1, http2
from tests.support import h2_frames


def run_http2(data: bytes) -> None:
    """Read what a server sends on three streams; a cut changes nothing, and what comes out can go on over HTTP/1.1."""
    whole = _events([data])
    assert _events([data[: len(data) // 2], data[len(data) // 2 :]]) == whole
    over: set[int] = set()
    for number, message in whole:
        assert number not in over or message.startswith("<Reset"), "nothing follows an end but a reset"
        if message.startswith(("<End", "<Reset")):
            over.add(number)


def _events(pieces: list[bytes]) -> list[tuple[int, str]]:
    codec, bodies = http2.ClientCodec(), dict.fromkeys((1, 3, 5), b"")
    seen: list[tuple[int, str]] = []
    for method in ("GET", "HEAD", "POST"):
        codec.open(method, "https", b"a.test", "/", [], end=method != "POST")
    for piece in pieces:
        codec.feed(piece)
        try:
            while (event := codec.next_message()) is not http1.NEED_DATA:
                number, message = event
                if isinstance(message, http1.ResponseHead):
                    head = http1.encode_response_head(message.status, message.reason, message.fields)
                    seen.append((number, repr(head)))
                elif isinstance(message, bytes):
                    assert message
                    bodies[number] += message
                    assert len(bodies[number]) <= DEFAULT.http2_stream_window, "nothing was taken yet"
                elif isinstance(message, http1.End):
                    seen.append((number, f"<End {http1.encode_last_chunk(message.trailers)!r}>"))
                elif not isinstance(message, http2.Changed):
                    seen.append((number, repr(message) if isinstance(message, http2.Reset) else "goaway"))
        except http2.Broken:
            seen.append((0, "broken"))
            break
    return [*seen, (0, repr(bodies))]


HTTP2_FRAMES = st.lists(
    st.builds(
        h2_frames.frame,
        st.integers(0, 10),
        st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 32, 36, 37, 45]),
        st.sampled_from([0, 1, 1, 3, 5, 2, 7]),
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from(
                [
                    b"\x88", b"\x88\x5c\x011", b"\x08\x03103", b"\x88\x40\x01x\x01y", b"\xbe", b"\x3f\xe1\x1f\x89",
                    h2_frames.block((":status", "200"), ("content-length", "3")), b"abc", b"x" * 16384, b"\0\0\0\x07",
                ]
            ),
        ),
    ),
    max_size=8,
).map(lambda frames: h2_frames.SERVER + b"".join(frames))  # fmt: skip
