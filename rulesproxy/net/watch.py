"""`Watch`: tells when the contents of some files have changed. It polls, and trusts contents, not dates.

Editors truncate, rename and write twice; tools restore older files under older dates; mounted configuration swaps
symbolic links. A look at every file four times a second sees all of it, and a digest of the contents decides.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

INTERVAL = 0.25
"""Seconds between two looks."""
_SETTLE = 0.05
# A file that is gone or empty is one that somebody is just writing: it is waited for this long.
_PATIENCE = 2.0
# Every so many looks the contents are read even if no date or size has changed.
_THOROUGH = 8

_Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]
_Digests: TypeAlias = dict[Path, bytes]


class Watch:
    """Watches the files that `files` gives, which is asked anew at every look."""

    def __init__(self, files: Callable[[], Iterable[Path]], interval: float | None = None) -> None:
        self._files = files
        self._interval = INTERVAL if interval is None else interval
        self._stamp: _Stamp = ()
        self._digests: _Digests = {}
        self._now = asyncio.Event()

    def trigger(self) -> None:
        """Report a change at the next turn, whether there is one or not."""
        self._now.set()

    def start(self) -> None:
        """Take the contents as they are now for the known ones."""
        files = list(self._files())
        self._stamp, self._digests = _stamp(files), _digest(files)

    @property
    def moving(self) -> bool:
        """Whether somebody has been at the files since the last change was reported: another report will follow."""
        return _stamp(list(self._files())) != self._stamp

    async def changed(self) -> frozenset[Path] | None:
        """Wait until contents have changed and have stopped changing.

        Returns the files that are others now, were added, or are watched no more; None where `trigger` was called.
        """
        looks = 0
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._now.wait()
                self._now.clear()
                await self._settled()
                return None
            except TimeoutError:
                pass
            looks += 1
            files = list(self._files())
            if _stamp(files) == self._stamp and looks % _THOROUGH:
                continue
            loop = asyncio.get_running_loop()
            if await loop.run_in_executor(None, _digest, files) == self._digests:
                self._stamp = _stamp(files)
                continue
            if changed := await self._settled():
                return changed

    async def _settled(self) -> frozenset[Path]:
        """Wait until nothing moves; the files whose contents are others than the known ones then."""
        loop = asyncio.get_running_loop()
        waited = 0.0
        while True:
            files = list(self._files())
            stamp = _stamp(files)
            await asyncio.sleep(_SETTLE)
            waited += _SETTLE
            if _stamp(files) == stamp and (waited >= _PATIENCE or all(size > 0 for _, _, size, _ in stamp)):
                break
        digests = await loop.run_in_executor(None, _digest, files)
        known = self._digests
        self._stamp, self._digests = stamp, digests
        return frozenset([path for path in {*digests, *known} if digests.get(path) != known.get(path)])


def _stamp(files: Iterable[Path]) -> _Stamp:
    """What `stat` says of every file, links followed; zeros for one that is not there. A folder stands for its list."""
    stamps = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            stamps.append((str(path), 0, 0, 0))
        else:
            stamps.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(stamps)


def _digest(files: Iterable[Path]) -> _Digests:
    digests = {}
    for path in files:
        try:
            if path.is_dir():
                names = sorted([entry.name for entry in path.iterdir()])
                content = "\0".join(names).encode("utf-8", "surrogateescape")
            elif path.is_file():
                content = path.read_bytes()
            else:
                # Gone, or a pipe, which nobody may wait for.
                content = b""
        except OSError:
            digests[path] = b""
        else:
            digests[path] = hashlib.sha256(content).digest()
    return digests
