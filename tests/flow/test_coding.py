"""Content codings: every one is undone and made again, and no body, however made, costs more than the bound."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.flow.coding import CodingError, decode, encode, split_codings
from rulesproxy.limits import KIB, MIB, Limits


def gzipped(data: bytes, level: int = 9) -> bytes:
    """The same bytes at whatever time."""
    return gzip.compress(data, level, mtime=0)


BODY = b"hello, world" * 100
NAMES = ["gzip", "x-gzip", "deflate", "br", "zstd"]


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def zstd_stream(data: bytes, **parameters: int) -> bytes:
    """A frame that does not say how long its content is."""
    compression = zstandard.ZstdCompressionParameters.from_level(3, **parameters)
    compressor = zstandard.ZstdCompressor(compression_params=compression).compressobj()
    return compressor.compress(data) + compressor.flush()


def zstd_run(blocks: int) -> bytes:
    """The steepest zstd there is: blocks of four bytes that stand for 128 KiB each."""
    block = (1 << 1) | (128 * KIB << 3)
    frame = b"\x28\xb5\x2f\xfd\x00\x68"
    frame += (block.to_bytes(3, "little") + b"\0") * (blocks - 1)
    return frame + (block | 1).to_bytes(3, "little") + b"\0"


SKIPPABLE = struct.pack("<II", 0x184D2A50, 5) + b"extra"

GOOD = [
    (BODY, None),
    (BODY, ""),
    (BODY, "identity"),
    (gzipped(BODY), "gzip"),
    (gzipped(BODY), "GZip"),
    (gzipped(BODY), " x-gzip , identity"),
    (gzipped(BODY[:500]) + gzipped(BODY[500:]), "gzip"),
    (gzipped(BODY) + b"\0" * 20_000, "gzip"),
    (gzipped(BODY[:500]) + b"\0" * 9000 + gzipped(BODY[500:]), "gzip"),
    (zlib.compress(BODY), "deflate"),
    (raw_deflate(BODY), "deflate"),
    (brotli.compress(BODY), "br"),
    (zstandard.compress(BODY), "zstd"),
    (zstd_stream(BODY), "zstd"),
    (zstandard.compress(BODY[:500]) + SKIPPABLE + zstd_stream(BODY[500:]), "zstd"),
    (brotli.compress(gzipped(BODY)), "gzip, br"),
    (gzipped(zlib.compress(brotli.compress(zstandard.compress(BODY)))), "zstd,br,deflate,gzip"),
    *[(b"", name) for name in NAMES],
]  # fmt: skip


@pytest.mark.parametrize(("data", "header"), GOOD)
def test_decode(data: bytes, header: str | None) -> None:
    assert decode(data, header) == (BODY if data else b"")


BAD = [
    (BODY, "gzip", "is not valid gzip"),
    (BODY, "deflate", "is not valid deflate"),
    (BODY, "br", "is not valid br"),
    (BODY, "zstd", "is not valid zstd"),
    (BODY, "compress", "'compress' is not known"),
    (b"", "sdch", ""),
    (BODY, "gzip;q=1", "is not known"),
    (gzipped(BODY)[:-1], "gzip", "cut short"),
    (gzipped(BODY)[:5], "gzip", "cut short"),
    (gzipped(BODY) + gzipped(BODY)[:-1], "gzip", "cut short"),
    (b"\0" + gzipped(BODY), "gzip", "is not valid gzip"),
    (zlib.compress(BODY)[:-1], "deflate", "cut short"),
    (raw_deflate(BODY)[:-1], "deflate", "cut short"),
    (brotli.compress(BODY)[:-1], "br", "cut short"),
    (brotli.compress(BODY) + b"junk", "br", "is not valid br"),
    (zstandard.compress(BODY)[:-1], "zstd", "cut short"),
    (zstd_stream(BODY)[:-1], "zstd", "cut short"),
    (zstandard.compress(BODY) + b"junk!", "zstd", "is not valid zstd"),
    (zstd_stream(BODY, window_log=27), "zstd", "is not valid zstd"),
    (gzipped(BODY), "br, gzip", "is not valid br"),
    (BODY, "gzip, " * 6, "has 6 content codings"),
]


@pytest.mark.parametrize(("data", "header", "message"), BAD)
def test_decode_bad(data: bytes, header: str, message: str) -> None:
    if not message:
        assert decode(data, header) == b"", "an empty body has no coding to undo"
        return
    with pytest.raises(CodingError, match=message):
        decode(data, header)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8, 12, -2, -1])
def test_a_cut_body_is_never_taken_for_whole(name: str, cut: int) -> None:
    with pytest.raises(CodingError):
        decode(encode(BODY, name)[:cut], name)


@given(st.binary(max_size=3000), st.lists(st.sampled_from(NAMES), max_size=5))
def test_decode_undoes_encode(data: bytes, names: list[str]) -> None:
    header = ", ".join(names)
    assert decode(encode(data, header), header) == data


@given(st.binary(max_size=200), st.sampled_from(NAMES))
def test_garbage_raises_nothing_else(data: bytes, name: str) -> None:
    try:
        decode(data, name)
    except CodingError:
        pass


def test_encode_bad() -> None:
    with pytest.raises(CodingError, match="'compress' is not known"):
        encode(b"x", "compress")
    with pytest.raises(CodingError, match="over the limit of 5"):
        encode(b"x", "gzip," * 6)


def test_split_codings() -> None:
    assert split_codings("GZIP , ,identity,br") == ["gzip", "br"]


BIG = 256 * MIB
BOMBS = {
    "gzip": lambda: gzipped(bytes(BIG), 9),
    "deflate": lambda: zlib.compress(bytes(BIG), 9),
    "deflate, raw": lambda: raw_deflate(bytes(BIG)),
    "br": lambda: brotli.compress(bytes(BIG), quality=9, lgwin=24),
    "zstd": lambda: zstandard.compress(bytes(BIG)),
    "zstd, run": lambda: zstd_run(BIG // (128 * KIB)),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize(("limits", "room"), [(Limits(decoded_body=MIB), MIB), (Limits(decoded_ratio=10), 3 * MIB)])
def test_bombs(kind: str, limits: Limits, room: int) -> None:
    bomb = BOMBS[kind]()
    tracemalloc.start()
    try:
        with pytest.raises(CodingError, match="the decoded body is over"):
            decode(bomb, kind.partition(",")[0], limits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The result so far, a last step beyond the bound, and what the decoder holds itself: far from the 256 MiB.
    assert peak < 2 * room + 24 * MIB, f"{peak / MIB:.0f} MiB"


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_is_exact(name: str) -> None:
    data = bytes(100 * KIB)
    coded = encode(data, name)
    # Constant data grows more than a thousandfold, so only the size bounds it here.
    assert decode(coded, name, Limits(decoded_body=100 * KIB, decoded_ratio=10**6)) == data
    with pytest.raises(CodingError, match=f"over {100 * KIB - 1} bytes"):
        decode(coded, name, Limits(decoded_body=100 * KIB - 1, decoded_ratio=10**6))


@pytest.mark.parametrize("name", NAMES)
def test_a_small_body_may_grow_beyond_the_ratio(name: str) -> None:
    data = bytes(64 * KIB)
    assert decode(encode(data, name), name, Limits(decoded_ratio=1)) == data


@pytest.mark.parametrize(
    ("name", "member"),
    [("gzip", gzipped(b"")), ("zstd", zstandard.compress(b"")), ("zstd", struct.pack("<II", 0x184D2A50, 0))],
)
def test_many_empty_members_are_refused_soon(name: str, member: bytes) -> None:
    with pytest.raises(CodingError, match="more than 10000 parts"):
        decode(member * 500_000, name)
    assert decode(member * 10_000, name) == b""
