"""Content codings (RFC 9110 section 8.4): undone for reading, with a bound, and made again after a change."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from rulesproxy.limits import DEFAULT, Limits

if TYPE_CHECKING:
    import zstandard

SUPPORTED = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity")
"""The codings that `decode` and `encode` know."""

_FLOOR = 64 * 1024
"""A small body may always grow to this: a ratio says nothing about ten bytes."""

_CODINGS = 5
"""Codings on one body. Nobody applies more than two; a hundred nested ones are a bomb that no size limit sees."""

_STEP = 8 * 1024
"""Input that a decoder gets at a time. What follows the end of a member is copied, so the step bounds that copy."""

_MEMBERS = 10_000
"""Members of one gzip body, frames of one zstd body: empty ones cost time and count for nothing in the size."""

_ZSTD_GROWTH = 32 * 1024
"""What a byte of zstd can become: a block of four bytes stands for 128 KiB (RFC 8878 section 3.1.1.2)."""

_ZSTD_WINDOW = 8 * 1024 * 1024
"""The window that a decoder must support for HTTP, and no more than it (RFC 9659 section 3)."""


class CodingError(ValueError):
    """A body that cannot be decoded: an unknown coding, bad data, or more than the bound."""


class _Decoder(Protocol):
    """What `zlib` and `zstandard` give for one member or frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


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
    for name in reversed(_codings(header)):
        bound = min(limits.decoded_body, max(len(data) * limits.decoded_ratio, _FLOOR))
        data = _decode_one(data, name, bound)
    return data


def encode(data: bytes, header: str | None) -> bytes:
    """Apply every coding that a Content-Encoding value names, in order.

    Raises:
        CodingError: a coding is unknown, or there are too many of them.
    """
    for name in _codings(header):
        data = _encode_one(data, name)
    return data


def _codings(header: str | None) -> list[str]:
    names = split_codings(header)
    if len(names) > _CODINGS:
        raise CodingError(f"the body has {len(names)} content codings, over the limit of {_CODINGS}")
    return names


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
    """All members of a gzip file (RFC 1952 section 2.2), without the zeros that may pad it."""

    def feed(member: zlib._Decompress, piece: bytes, room: int) -> bytes:
        return member.decompress(piece, room)

    return _join(data, bound, "gzip", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), feed, padding=b"\0")


def _unzstd(data: bytes, bound: int) -> bytes:
    """All frames (RFC 8878 section 3.1)."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)

    def feed(frame: zstandard.ZstdDecompressionObj, piece: bytes, room: int) -> bytes:
        return frame.decompress(piece)

    # This library cannot limit its output, so the input is cut so fine that a step cannot go far beyond the bound.
    step = min(_STEP, max(64, bound // _ZSTD_GROWTH))
    return _join(data, bound, "zstd", decompressor.decompressobj, feed, step=step)


_D = TypeVar("_D", bound=_Decoder)


def _join(
    data: bytes,
    bound: int,
    name: str,
    start: Callable[[], _D],
    feed: Callable[[_D, bytes, int], bytes],
    padding: bytes = b"",
    step: int = _STEP,
) -> bytes:
    """Decode one member after the other and join them."""
    parts, size, members, member = [], 0, 0, None
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        while piece:
            if member is None:
                piece = piece.lstrip(padding) if members and padding else piece
                if not piece:
                    break
                member = start()
                members += 1
                if members > _MEMBERS:
                    raise CodingError(f"the {name} body has more than {_MEMBERS} parts")
            part = feed(member, piece, bound - size + 1)
            size += len(part)
            if size > bound:
                raise _too_big(bound)
            parts.append(part)
            piece = b""
            if member.eof:
                piece, member = member.unused_data, None
    if member is not None:
        raise CodingError(f"the {name} body is cut short")
    return b"".join(parts)


def _inflate(data: bytes, bound: int) -> bytes:
    """zlib data, or the raw deflate that some servers send instead (RFC 9110 section 8.4.1.2)."""
    try:
        return _inflate_with(zlib.decompressobj(), data, bound)
    except zlib.error:
        return _inflate_with(zlib.decompressobj(-zlib.MAX_WBITS), data, bound)


def _inflate_with(inflater: zlib._Decompress, data: bytes, bound: int) -> bytes:
    decoded = inflater.decompress(data, bound + 1)
    if len(decoded) > bound:
        raise _too_big(bound)
    if not inflater.eof:
        raise CodingError("the deflate body is cut short")
    return decoded


def _unbrotli(data: bytes, bound: int) -> bytes:
    import brotli

    decompressor = brotli.Decompressor()
    parts, size = [], 0
    # Without a limit on the output, one kilobyte of input can become hundreds of megabytes in a single call.
    while not decompressor.is_finished():
        part = decompressor.process(data, output_buffer_limit=_FLOOR)
        data = b""
        size += len(part)
        if size > bound:
            raise _too_big(bound)
        if not part and decompressor.can_accept_more_data() and not decompressor.is_finished():
            raise CodingError("the br body is cut short")
        parts.append(part)
    return b"".join(parts)


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
