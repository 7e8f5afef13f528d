"""The client's side of SOCKS5."""

from __future__ import annotations

import struct

from tests.support.client import RawClient


async def socks(client: RawClient, host: str, port: int, auth: tuple[str, str] | None = None) -> bytes:
    """Speak SOCKS5 as RFC 1928 has it; the reply's code, or what refused before it."""
    client.send(b"\x05\x02\x00\x02" if auth else b"\x05\x01\x00")
    method = await client.read_exactly(2)
    if method == b"\x05\x02":
        assert auth is not None
        user, password = (part.encode() for part in auth)
        client.send(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
        verdict = await client.read_exactly(2)
        if verdict != b"\x01\x00":
            return verdict
    elif method != b"\x05\x00":
        return method
    name = host.encode()
    client.send(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack("!H", port))
    return (await client.read_exactly(10))[:2]
