"""Programs that tests need and that a machine may lack."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.origin import LIMIT


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where one of these programs is not installed, and say which."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@dataclass(frozen=True)
class Ran:
    """What a program did."""

    code: int
    out: bytes
    err: str


async def run(*arguments: str | Path, stdin: bytes | None = None, timeout: float = 2 * LIMIT) -> Ran:
    """Run a program to its end, beside the loop."""
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ran(process.returncode, out, err.decode(errors="replace"))


async def listening(port: int, process: asyncio.subprocess.Process | None = None) -> None:
    """Wait until somebody listens on this port of 127.0.0.1: `process`, which must not end before."""
    async with asyncio.timeout(3 * LIMIT):
        while True:
            if process is not None:
                assert process.returncode is None, f"the program ended with {process.returncode}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return
