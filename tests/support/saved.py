"""A proxy whose rule file is saved while it runs, and what tests want to know of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rulesproxy import Proxy
from tests.support.client import RawClient
from tests.support.origin import LIMIT, Origin, answer
from tests.support.running import get, running

RULES = """version: 1
lists:
  words: {file: words.txt}
rules:
  - id: word
    match: query["word"] in $words or path == "/one"
    block: 451
"""
TWO = RULES.replace("/one", "/two")


class Told:
    """An addon that knows what it was told: the names of every `configure` behind the first."""

    def __init__(self) -> None:
        self.updates: list[set[str]] = []
        self._first = True
        self._more = asyncio.Event()

    def configure(self, updated: set[str]) -> None:
        if not self._first:
            self.updates.append(updated)
            self._more.set()
        self._first = False

    async def more(self) -> None:
        """Wait for the next one."""
        async with asyncio.timeout(LIMIT):
            await self._more.wait()
        self._more.clear()


class Live:
    """A proxy that watches `rules.yaml` in a folder.

    Attributes:
        folder: the folder.
        file: the rule file.
        proxy: the proxy.
        told: an addon in it.
    """

    def __init__(self, file: Path, proxy: Proxy, told: Told) -> None:
        self.folder, self.file, self.proxy, self.told = file.parent, file, proxy, told

    async def status(self, target: str) -> int:
        async with await RawClient.connect(self.proxy.port) as client:
            return (await client.request(get(f"{self.origin}{target}", "Connection: close"))).status

    origin = ""


@asynccontextmanager
async def live(folder: Path, *addons: object, errors: bool = False, **options: object) -> AsyncIterator[Live]:
    """A proxy over the rules in a folder, and an origin that answers 200."""
    file = folder / "rules.yaml"
    if not file.exists():
        file.write_text(RULES)
        (folder / "words.txt").write_text("bad\n")
    told = Told()
    async with (
        Origin.http(answer()) as origin,
        running(*addons, told, rules=file, watch=True, errors=errors, **options) as proxy,
    ):
        found = Live(file, proxy, told)
        found.origin = origin.url
        yield found


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until something has been logged."""
    async with asyncio.timeout(LIMIT):
        while text not in caplog.text:  # noqa: ASYNC110  (a log has nothing to wait on)
            await asyncio.sleep(0.02)
