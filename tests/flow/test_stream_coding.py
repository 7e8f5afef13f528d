"""Content codings of streams: the same text whatever the cuts, as soon as it can be told, and no bombs."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from rulesproxy.flow.coding import CodingError
from rulesproxy.flow.stream_coding import StreamDecoder

TEXT = b"data: hello\n\n" * 500


def raw_deflate(data: bytes) -> bytes:
    maker = zlib.compressobj(wbits=-15)
    return maker.compress(data) + maker.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "none": ("", bytes),
    "gzip": ("gzip", gzip.compress),
    "two-members": ("gzip", lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:]) + b"\0\0"),
    "zlib": ("deflate", zlib.compress),
    "deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "two-frames": ("zstd", lambda data: zstandard.compress(data[:10]) + zstandard.compress(data[10:])),
    "twice": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
}


@pytest.mark.parametrize("name", CODINGS)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_any_cut_gives_the_text(name: str, size: int) -> None:
    header, encode = CODINGS[name]
    data = encode(TEXT)
    decoder = StreamDecoder(header)
    pieces = [piece for at in range(0, len(data), size) for piece in decoder.feed(data[at : at + size])]
    assert b"".join(pieces) == TEXT


def test_what_was_flushed_is_there() -> None:
    maker = zlib.compressobj(wbits=31)
    decoder = StreamDecoder("gzip")
    first = maker.compress(b"data: a\n\n") + maker.flush(zlib.Z_SYNC_FLUSH)
    assert b"".join(decoder.feed(first)) == b"data: a\n\n"


@pytest.mark.parametrize("name", ["gzip", "zlib", "br", "zstd"])
def test_a_bomb_comes_in_small_pieces(name: str) -> None:
    header, encode = CODINGS[name]
    size = 0
    for piece in StreamDecoder(header).feed(encode(bytes(30_000_000))):
        assert len(piece) <= 2 * 1024 * 1024
        size += len(piece)
    assert size == 30_000_000


@pytest.mark.parametrize("header", ["gzip", "deflate", "br", "zstd"])
def test_what_is_not_coded_so(header: str) -> None:
    with pytest.raises(CodingError):
        list(StreamDecoder(header).feed(b"data: this is no compressed data at all, by no means\n\n" * 3))


@pytest.mark.parametrize("header", ["magic", "gzip, gzip, gzip"])
def test_what_cannot_be_undone(header: str) -> None:
    with pytest.raises(CodingError):
        StreamDecoder(header)
