"""`Plan`: the effects that a flow asks for. Handlers write it, the layers carry it out; nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

End: TypeAlias = Literal["close", "reset", "timeout"]
Side: TypeAlias = Literal["request", "response"]


class Plan:
    """What the layers shall do with a flow beyond its messages.

    Attributes:
        end: end the client's connection instead of answering: `close` it, `reset` it (TCP RST), or stay silent until
            the client gives up (`timeout`).
        refuses_big: the sides whose body is refused, with 413 or 502, if it is over the limit; else it passes unread.
    """

    __slots__ = ("end", "refuses_big")

    def __init__(self) -> None:
        self.end: End | None = None
        self.refuses_big: frozenset[Side] = frozenset()


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body that is read from disk while it is sent.

    Attributes:
        path: a regular file.
        start: the first byte.
        length: how many bytes; fixed when the head was made, so that the framing is known.
    """

    path: Path
    start: int
    length: int

    def read(self) -> bytes:
        """The whole body.

        Raises:
            OSError: the file cannot be read, or has become shorter.
        """
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.length)
        if len(data) != self.length:
            raise OSError(f"{self.path} became shorter while it was read")
        return data
