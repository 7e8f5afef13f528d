"""`Plan`: the effects that a flow asks for. Handlers write it, the layers carry it out; nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from rulesproxy.flow.route import Route

End: TypeAlias = Literal["close", "reset", "timeout"]


class Plan:
    """What the layers shall do with a flow beyond its messages.

    Attributes:
        end: end the client's connection instead of answering: `close` it, `reset` it (TCP RST), or stay silent until
            the client gives up (`timeout`).
        upstream: how the server is reached, where it is not as the mode and the options have it.
    """

    __slots__ = ("end", "upstream")

    def __init__(self) -> None:
        self.end: End | None = None
        self.upstream: Route | None = None


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
