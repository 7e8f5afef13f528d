"""`Channel`: messages between the supervisor and a worker, over a pair of sockets that nobody else can reach."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any, TypeAlias

from rulesproxy.limits import WORKER_MESSAGE

Message: TypeAlias = dict[str, Any]
"""What JSON can say. `do` asks for something, `id` numbers question and answer, `is` tells something unasked."""

_HEAD = struct.Struct("!IQ")


class Channel:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, sock: socket.socket) -> Channel:
        """The channel over a connected socket, which it owns from now on."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Message, data: bytes = b"") -> None:
        """Send a message, with bytes behind it. What the peer does not read any more is lost."""
        text = json.dumps(message).encode()
        self._writer.write(_HEAD.pack(len(text), len(data)) + text)
        if data:
            self._writer.write(data)

    @property
    def waiting(self) -> int:
        """Bytes that the peer has not taken yet."""
        size: int = self._writer.transport.get_write_buffer_size()
        return size

    async def receive(self) -> tuple[Message, bytes] | None:
        """The next message and its bytes; None when the peer is gone, or sends what is over the limit."""
        try:
            text, data = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
            if text + data > WORKER_MESSAGE:
                return None
            message: Message = json.loads(await self._reader.readexactly(text))
            return message, await self._reader.readexactly(data) if data else b""
        except (asyncio.IncompleteReadError, OSError):
            return None

    def close(self) -> None:
        """Close this end; the other one sees it."""
        self._writer.close()
