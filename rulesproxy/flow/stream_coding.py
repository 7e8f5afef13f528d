"""`StreamDecoder`: content codings of a body that is read while it arrives (RFC 9110 section 8.4).

What comes out is given in pieces of bounded size, so that no input becomes more memory than a few of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rulesproxy.flow.coding import CodingError, split_codings

if TYPE_CHECKING:
    import zstandard

_PIECE = 64 * 1024
_CODINGS = 2
"""Codings on one stream. Nobody applies more than one, and each may be a bomb in the next."""
_ZSTD_STEP = 64
"""Bytes that a zstd decoder gets at a time: it cannot limit its output, and a block of four bytes can stand for 128 KiB
(RFC 8878 section 3.1.1.2)."""
_ZSTD_WINDOW = 8 * 1024 * 1024
"""As for whole bodies (RFC 9659 section 3)."""


class StreamDecoder:
    """Undoes the codings of a stream."""

    def __init__(self, header: str | None) -> None:
        """
        Raises:
            CodingError: a coding is unknown, or there are too many of them.
        """
        names = split_codings(header)
        if len(names) > _CODINGS:
            raise CodingError(f"the stream has {len(names)} content codings, over the limit of {_CODINGS}")
        self._steps = [_decoder(name) for name in reversed(names)]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What a piece of the stream becomes, as far as it can be told yet.

        Raises:
            CodingError: the data is bad.
        """
        pieces: Iterator[bytes] = iter((data,))
        for step in self._steps:
            pieces = _through(step, pieces)
        return pieces


def _through(step: Callable[[bytes], Iterator[bytes]], pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        try:
            yield from step(piece)
        except CodingError:
            raise
        except Exception as error:
            raise CodingError(f"the stream is not what its Content-Encoding says: {error}") from error


def _decoder(name: str) -> Callable[[bytes], Iterator[bytes]]:
    if name in ("gzip", "x-gzip"):
        return _Inflater(16 + zlib.MAX_WBITS).feed
    if name == "deflate":
        return _Inflater(zlib.MAX_WBITS).feed
    if name == "br":
        return _Brotli().feed
    if name == "zstd":
        return _Zstd().feed
    raise CodingError(f"the content coding {name!r} is not known")


class _Inflater:
    """gzip with all its members, or zlib; also the raw deflate that some servers send instead."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._inner = zlib.decompressobj(bits)
        self._kept = b""
        # The first two bytes tell zlib from raw deflate. Behind a member of gzip zeros may pad it.
        self._fresh = bits == zlib.MAX_WBITS
        self._padded = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._fresh:
            data = self._kept = self._kept + data
            if len(data) < 2:
                return
            self._fresh = False
            if int.from_bytes(data[:2]) % 31 or data[0] & 15 != 8:
                self._bits = -zlib.MAX_WBITS
                self._inner = zlib.decompressobj(self._bits)
        while data:
            if self._padded:
                data = data.lstrip(b"\0")
                self._padded = not data
                continue
            piece = self._inner.decompress(data, _PIECE)
            if piece:
                yield piece
            data = self._inner.unconsumed_tail
            if self._inner.eof:
                data = self._inner.unused_data
                self._inner = zlib.decompressobj(self._bits)
                self._padded = True


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self._inner = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._inner.process(data, output_buffer_limit=_PIECE)
            data = b""
            if not piece:
                return
            yield bytes(piece)


class _Zstd:
    def __init__(self) -> None:
        import zstandard

        self._outer = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._inner: zstandard.ZstdDecompressionObj = self._outer.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_STEP):
            rest = data[at : at + _ZSTD_STEP]
            while rest:
                piece = self._inner.decompress(rest)
                rest = b""
                if piece:
                    yield piece
                if self._inner.eof:
                    rest = self._inner.unused_data
                    self._inner = self._outer.decompressobj()
