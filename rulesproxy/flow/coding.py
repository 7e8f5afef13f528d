"""Content codings (RFC 9110 section 8.4): undone for reading, with a bound, and made again after a change."""

from __future__ import annotations

import zlib
from typing import Protocol

from rulesproxy.limits import DEFAULT, Limits

SUPPORTED = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity")
"""The codings that `decode` and `encode` know."""

_STEP = 64 * 1024


class CodingError(ValueError):
    """A body that cannot be decoded: an unknown coding, bad data, or more than the bound."""


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def split_codings(header: str | None) -> list[str]:
    """The codings of a Content-Encoding value in the order in which they were applied, in lower case."""
    if not header:
        return []
    return [name for part in header.split(",") if (name := part.strip().lower()) and name != "identity"]


def decode(data: bytes, header: str | None, limits: Limits = DEFAULT) -> bytes:
    """Undo every coding that a Content-Encoding value names, the last one first.

    Raises:
        CodingError: a coding is unknown, the data is bad, or the result is over `limits.decoded_body` bytes or
            `limits.decoded_ratio` times the input.
    """
    for name in reversed(split_codings(header)):
        # A small body may always grow to 64 KiB: a ratio says nothing about ten bytes.
        bound = min(limits.decoded_body, max(len(data) * limits.decoded_ratio, _STEP))
        data = _decode_one(data, name, bound)
    return data


def encode(data: bytes, header: str | None) -> bytes:
    """Apply every coding that a Content-Encoding value names, in order.

    Raises:
        CodingError: a coding is unknown.
    """
    for name in split_codings(header):
        data = _encode_one(data, name)
    return data


def _decode_one(data: bytes, name: str, bound: int) -> bytes:
    if not data:
        return data
    try:
        if name in ("gzip", "x-gzip"):
            return _gunzip(data, bound)
        if name == "deflate":
            return _inflate(data, bound)
        if name == "br":
            return _unbrotli(data, bound)
        if name == "zstd":
            return _unzstd(data, bound)
    except CodingError:
        raise
    except Exception as exc:
        raise CodingError(f"the body is not valid {name}: {exc}") from exc
    raise CodingError(f"the content coding {name!r} is not known (known: {', '.join(SUPPORTED)})")


def _too_big(bound: int) -> CodingError:
    return CodingError(f"the decoded body is over {bound} bytes")


def _gunzip(data: bytes, bound: int) -> bytes:
    """All members of a gzip file (RFC 1952 section 2.2)."""
    parts, size = [], 0
    while data:
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        part = member.decompress(data, bound - size + 1)
        size += len(part)
        if size > bound:
            raise _too_big(bound)
        if not member.eof:
            raise CodingError("the gzip body is cut short")
        parts.append(part)
        # Padding after the last member is common enough to be ignored, as gzip itself does.
        data = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _inflate(data: bytes, bound: int) -> bytes:
    """zlib data, or the raw deflate that some servers send instead (RFC 9110 section 8.4.1.2)."""
    try:
        return _inflate_with(zlib.decompressobj(), data, bound)
    except zlib.error:
        return _inflate_with(zlib.decompressobj(-zlib.MAX_WBITS), data, bound)


def _inflate_with(inflater: _ZlibLike, data: bytes, bound: int) -> bytes:
    decoded = inflater.decompress(data, bound + 1)
    if len(decoded) > bound:
        raise _too_big(bound)
    if not inflater.eof:
        raise CodingError("the deflate body is cut short")
    return decoded


class _ZlibLike(_Decompressor, Protocol):
    @property
    def eof(self) -> bool: ...


def _unbrotli(data: bytes, bound: int) -> bytes:
    import brotli

    decompressor = brotli.Decompressor()
    parts, size = [], 0
    # The input goes in small steps: a step of this size is what one call may grow beyond the bound.
    for start in range(0, len(data), 1024):
        part = decompressor.process(data[start : start + 1024])
        size += len(part)
        if size > bound:
            raise _too_big(bound)
        parts.append(part)
    if not decompressor.is_finished():
        raise CodingError("the br body is cut short")
    return b"".join(parts)


def _unzstd(data: bytes, bound: int) -> bytes:
    import io

    import zstandard

    with zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).stream_reader(
        io.BytesIO(data), read_across_frames=True
    ) as reader:
        decoded: bytes = reader.read(bound + 1)
    if len(decoded) > bound:
        raise _too_big(bound)
    return decoded


def _encode_one(data: bytes, name: str) -> bytes:
    # The fastest levels: the other end of this body is a machine a few metres away.
    if name in ("gzip", "x-gzip"):
        compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return compressor.compress(data) + compressor.flush()
    if name == "deflate":
        return zlib.compress(data, 1)
    if name == "br":
        import brotli

        return bytes(brotli.compress(data, quality=1))
    if name == "zstd":
        import zstandard

        return bytes(zstandard.ZstdCompressor(level=1).compress(data))
    raise CodingError(f"the content coding {name!r} is not known (known: {', '.join(SUPPORTED)})")
