"""Event streams, bytes to events and back: server-sent events (HTML Standard, section 9.2) and lines of NDJSON.

Everything that comes in goes out again in the same order: what is none, such as a comment, is a `Block` without one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
# CR LF is one end of a line, whatever follows it: hence the atomic groups.
_BLANK = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|$)")
_ENDS = re.compile(r"\r\n|\n|\r")
_OVERLAP = 2
"""How far back the search for an end begins anew: the length of a CR LF."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        data: its data, the lines of a server-sent event joined by LF.
        name: its type; None where none is given.
        id: its id; None where none is given.
    """

    data: str
    name: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a stream.

    Attributes:
        raw: its bytes.
        event: the event in it; None where it is none, or over the limit.
    """

    raw: bytes
    event: Event | None = None

    def encode(self, data: str, lines: bool) -> bytes:
        """The same block with other data; `lines` for NDJSON.

        Its other lines stay as they are. Only where their ends differ all get the same: a CR that came to stand before
        an LF would be one end of a line with it.
        """
        if lines:
            end = b"\r\n" if self.raw.endswith(b"\r\n") else b"\n" if self.raw.endswith(b"\n") else b""
            return _one_line(data) + end
        out: list[bytes] = []
        placed = False
        found = _LINE.findall(self.raw)
        if len({end for _, end in found if end}) > 1:
            found = [(line, end and b"\n") for line, end in found]
        for line, end in found:
            if _field(line)[0] != b"data":
                out += (line, end)
            elif not placed:
                placed = True
                start = b"data: " if line.startswith(b"data: ") else b"data:"
                for part in _ENDS.split(data):
                    out += (start, part.encode("utf-8", "surrogateescape"), end)
        return b"".join(out)


def encode_event(data: str, lines: bool) -> bytes:
    """A new event without a name; `lines` for NDJSON."""
    if lines:
        return _one_line(data) + b"\n"
    parts = [b"data: " + part.encode("utf-8", "surrogateescape") + b"\n" for part in _ENDS.split(data)]
    return b"".join(parts) + b"\n"


class EventReader:
    """Cuts a stream into blocks, each as soon as its last byte is there.

    Args:
        lines: whether every line is an event (NDJSON); else they are server-sent events.
        limit: the bytes of one event; a bigger one passes in pieces.
    """

    def __init__(self, lines: bool, limit: int) -> None:
        self._lines = lines
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._passing = False
        self._fresh = True

    @property
    def between(self) -> bool:
        """Whether what has come out so far ends where an event may begin."""
        return not self._passing

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        self._buffer += data

    def next_block(self) -> Block | None:
        """The next piece; None where more has to come first."""
        buffer = self._buffer
        if not buffer:
            return None
        if not self._passing:
            blank = self._between()
            if blank:
                return Block(self._take(blank))
        end = self._end()
        if end:
            passing, self._passing = self._passing, False
            raw = self._take(end)
            return Block(raw) if passing or len(raw) > self._limit else self._read(raw)
        self._searched = len(buffer)
        if self._passing or len(buffer) > self._limit:
            self._passing = True
            # What may be one half of an end stays.
            size = len(buffer) - _OVERLAP
            return Block(self._take(size)) if size > 0 else None
        return None

    def finish(self) -> Block | None:
        """The rest, at the end of the stream. A line is an event without its LF, too; of server-sent events none is."""
        if not self._buffer:
            return None
        raw = self._take(len(self._buffer))
        return self._read(raw) if self._lines and not self._passing else Block(raw)

    def _between(self) -> int:
        """The length of what stands between two events: the first bytes of a stream, and blank lines."""
        buffer = self._buffer
        if self._fresh and buffer.startswith(_BOM):
            self._fresh = False
            return len(_BOM)
        self._fresh = self._fresh and _BOM.startswith(buffer)
        if buffer.startswith(b"\r\n"):
            return 2
        return 1 if buffer[0] in b"\r\n" else 0

    def _end(self) -> int:
        """The length of the block at the front; 0 where its end is not there."""
        start = max(0, self._searched - _OVERLAP)
        if self._lines:
            return self._buffer.find(b"\n", start) + 1
        found = _BLANK.search(self._buffer, start)
        return 0 if found is None else found.end()

    def _take(self, size: int) -> bytes:
        raw = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        return raw

    def _read(self, raw: bytes) -> Block:
        if self._lines:
            text = raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
            return Block(raw, Event(text) if text.strip() else None)
        data: list[str] = []
        name = id = None
        for line, _ in _LINE.findall(raw):
            field, value = _field(line)
            if field == b"data":
                data.append(value.decode("utf-8", "surrogateescape"))
            elif field == b"event":
                name = value.decode("utf-8", "surrogateescape")
            elif field == b"id" and b"\0" not in value:
                id = value.decode("utf-8", "surrogateescape")
        # Without data nothing is dispatched (section 9.2.6).
        return Block(raw, Event("\n".join(data), name or None, id) if data else None)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.removeprefix(b" ")


def _one_line(data: str) -> bytes:
    """In JSON the end of a line is a blank like another."""
    return _ENDS.sub(" ", data).encode("utf-8", "surrogateescape")
