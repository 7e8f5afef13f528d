"""permessage-deflate (RFC 7692): what two peers agree on in the handshake, and the compression of messages."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from rulesproxy.proto.websocket_frames import WebSocketError

_NAME = "permessage-deflate"
_TAIL = b"\x00\x00\xff\xff"
_WINDOW = 32 * 1024

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*(?:({_TOKEN})|"({_TOKEN})")[ \t]*)?').fullmatch
_BITS = re.compile(r"[89]|1[0-5]").fullmatch


class Deflate(NamedTuple):
    """What was agreed on for one connection (RFC 7692 section 7.1).

    Attributes:
        client_no_context_takeover: the client compresses each message on its own.
        server_no_context_takeover: the server does.
        client_max_window_bits: the base-2 logarithm of the client's window, 8 to 15.
        server_max_window_bits: of the server's.
    """

    client_no_context_takeover: bool = False
    server_no_context_takeover: bool = False
    client_max_window_bits: int = 15
    server_max_window_bits: int = 15

    def sender(self, client: bool) -> tuple[bool, int]:
        """How one side compresses: whether each message on its own, and with what window."""
        if client:
            return self.client_no_context_takeover, self.client_max_window_bits
        return self.server_no_context_takeover, self.server_max_window_bits


def only_deflate(offer: str) -> str:
    """What is left of a client's Sec-WebSocket-Extensions if only extensions that are read here are offered."""
    kept = []
    for element in offer.split(","):
        if element.partition(";")[0].strip(" \t").lower() == _NAME and _parse(element) is not None:
            kept.append(element.strip(" \t"))
    return ", ".join(kept)


def agreed(offer: str, answer: str) -> Deflate | None:
    """What the server's Sec-WebSocket-Extensions takes of the client's; None for nothing.

    Raises:
        ValueError: it takes what was not offered, or what is not known here (RFC 6455 section 9.1).
    """
    if not answer.strip(" \t,"):
        return None
    taken = _parse(answer)
    if taken is None:
        raise ValueError(f"the server answers with the WebSocket extensions {answer[:80]!r}, which cannot be read")
    offers = [parsed for element in offer.split(",") if (parsed := _parse(element)) is not None]
    offered = next((offered for offered in offers if _fits(taken, offered)), None)
    if offered is None:
        raise ValueError(f"the server takes the WebSocket extension {answer[:80]!r}, which was not offered like that")
    # What a client says of itself in its offer holds, whether the server repeats it or not (section 7.1.1.2, 7.1.2.2).
    return Deflate(
        "client_no_context_takeover" in taken or "client_no_context_takeover" in offered,
        "server_no_context_takeover" in taken,
        int(taken.get("client_max_window_bits") or offered.get("client_max_window_bits") or 15),
        int(taken.get("server_max_window_bits") or 15),
    )


class Inflater:
    """Undoes the compression of one direction. The window of the sender does not matter: 32 KiB undo all of them."""

    __slots__ = ("_alone", "_made", "_undo")

    def __init__(self, alone: bool) -> None:
        """`alone`: each message was compressed on its own."""
        self._alone = alone
        self._undo = zlib.decompressobj(-15)
        # What was made so far, as far as a later block could refer to it: zlib knows that only until a stream ends.
        self._made = bytearray()

    def inflate(self, data: bytes, limit: int, last: bool) -> bytes:
        """Undo a part of a message; `last` where the message ends with it.

        Raises:
            WebSocketError: 1007 for bad data, 1009 where it becomes more than `limit` bytes.
        """
        made = self._feed(data, limit)
        if last:
            made += self._feed(_TAIL, limit - len(made))
            if self._alone:
                self._undo = zlib.decompressobj(-15)
                self._made = bytearray()
        return made

    def _feed(self, data: bytes, limit: int) -> bytes:
        parts = []
        while True:
            try:
                # One byte more than may come, since a limit of 0 would mean none.
                part = self._undo.decompress(data, limit + 1)
            except zlib.error:
                raise WebSocketError("a compressed message cannot be decompressed", 1007) from None
            limit -= len(part)
            if limit < 0:
                raise WebSocketError("a message becomes too big when it is decompressed", 1009)
            parts.append(part)
            self._keep(part)
            if not self._undo.eof:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            # A block with BFINAL set ends a stream of zlib, but not the message (RFC 7692 section 7.2.3.4).
            data = self._undo.unused_data
            self._undo = zlib.decompressobj(-15, zdict=bytes(self._made[-_WINDOW:]))

    def _keep(self, part: bytes) -> None:
        self._made += part
        if len(self._made) > 2 * _WINDOW:
            # Cut now and then, so that keeping costs no copy of the window for each message.
            del self._made[:-_WINDOW]


class Deflater:
    """Compresses the messages of one direction, with a window that fits what was agreed on."""

    __slots__ = ("_alone", "_bits", "_do")

    def __init__(self, alone: bool, bits: int) -> None:
        self._alone = alone
        self._bits = bits
        # Some 256 KiB, so it is made for the first message.
        self._do: zlib._Compress | None = None

    def deflate(self, data: bytes) -> bytes | None:
        """A compressed message; None where it has to go as it is, which is always allowed."""
        # zlib has no window of 256 bytes for bare DEFLATE. Of nothing zlib makes nothing, which would not be a block.
        if self._bits < 9 or not data:
            return None
        if self._do is None:
            self._do = zlib.compressobj(wbits=-self._bits)
        made = self._do.compress(data) + self._do.flush(zlib.Z_SYNC_FLUSH)
        if self._alone:
            self._do = None
        return made[:-4]


def _parse(element: str) -> dict[str, str] | None:
    """The parameters of one element; None where it is not a valid permessage-deflate (RFC 7692 section 7.1)."""
    name, *parameters = element.split(";")
    if name.strip(" \t").lower() != _NAME:
        return None
    found: dict[str, str] = {}
    for parameter in parameters:
        match = _PARAMETER(parameter)
        if match is None:
            return None
        key, value = match[1].lower(), match[2] or match[3] or ""
        if key in found:
            return None
        if key in ("client_no_context_takeover", "server_no_context_takeover"):
            if "=" in parameter:
                return None
        elif key == "client_max_window_bits":
            # Without a value an offer says that the parameter is understood.
            if "=" in parameter and not _BITS(value):
                return None
        elif key != "server_max_window_bits" or not _BITS(value):
            return None
        found[key] = value
    return found


def _fits(taken: dict[str, str], offered: dict[str, str]) -> bool:
    """Whether an answer is one to this offer (RFC 7692 section 7.1)."""
    if "client_max_window_bits" in taken:
        bits, asked = taken["client_max_window_bits"], offered.get("client_max_window_bits")
        if asked is None or not bits or int(bits) > int(asked or 15):
            return False
    if "server_no_context_takeover" in offered and "server_no_context_takeover" not in taken:
        return False
    if "server_max_window_bits" in offered:
        return int(taken.get("server_max_window_bits") or 16) <= int(offered["server_max_window_bits"])
    return True
