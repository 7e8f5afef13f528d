"""An origin for very large bodies, in a process of its own: it sends zeros and counts what it receives.

Run as `python -m tests.support.bulk [CERTIFICATE KEY]`; it prints its port. The length of an answer is the path.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

_BLOCK = bytes(256 * 1024)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        _, target, _ = line.split()
        length = 0
        while (line := await reader.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        received = 0
        while received < length:
            received += len(await reader.read(min(length - received, 1024 * 1024)))
        size = int(target.rpartition(b"/")[2])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Received: %d\r\n\r\n" % (size, received))
        while size:
            block = _BLOCK[:size]
            writer.write(block)
            size -= len(block)
            await writer.drain()
    writer.close()


async def main(arguments: list[str]) -> None:
    """Serve until killed."""
    context = None
    if arguments:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*arguments)
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
