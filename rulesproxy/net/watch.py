"""`Watch`: tells when the contents of some files have changed. It polls, and trusts contents, not dates.

Editors truncate, rename and write twice; tools restore older files under older dates; mounted configuration swaps
symbolic links. A look at every file four times a second sees all of it, and a digest of the contents decides. It looks
in a thread: a file system of another machine may let us wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias, TypeVar

INTERVAL = 0.25
"""Seconds between two looks."""
_SETTLE = 0.05
# A file that has just gone or become empty is one that somebody is writing: it is waited for this long, and so is one
# that does not stop changing.
_PATIENCE = 2.0
# Every so many looks the contents are read even if no date or size has changed.
_THOROUGH = 8

_Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]
_Digests: TypeAlias = dict[Path, bytes]
_T = TypeVar("_T")

_EMPTY = hashlib.sha256().digest()
_GONE = b""
_DOUBTED = b"?"


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

    async def take(self) -> None:
        """As `start`: everything is about to be read, so what changed before is no news."""
        files = list(self._files())
        stamp = await _aside(_stamp, files)
        self._digests, self._stamp = await _aside(_digest, files), stamp

    def doubt(self, files: Iterable[Path]) -> None:
        """Nobody knows which contents of these were read: they are reported at the next look, whatever is in them."""
        for path in files:
            self._digests[path] = _DOUBTED
        self._stamp = ()

    async def learn(self, files: Iterable[Path]) -> None:
        """These were read just now: those of them that are new are no change."""
        new = [path for path in files if path not in self._digests]
        self._digests.update(await _aside(_digest, new))

    async def moving(self) -> bool:
        """Whether somebody has been at the files since the last change was reported."""
        return await _aside(_stamp, list(self._files())) != self._stamp

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
            stamp = await _aside(_stamp, files)
            if stamp == self._stamp and looks % _THOROUGH:
                continue
            if await _aside(_digest, files) == self._digests:
                self._stamp = stamp
                continue
            if changed := await self._settled():
                return changed

    async def _settled(self) -> frozenset[Path]:
        """Wait until nothing moves; the files whose contents are others than the known ones then."""
        waited = 0.0
        while True:
            files = list(self._files())
            stamp = await _aside(_stamp, files)
            await asyncio.sleep(_SETTLE)
            waited += _SETTLE
            if waited >= _PATIENCE or (await _aside(_stamp, files) == stamp and not self._emptied(files, stamp)):
                break
        digests = await _aside(_digest, files)
        known = self._digests
        self._stamp, self._digests = stamp, digests
        return frozenset([path for path in {*digests, *known} if digests.get(path, _GONE) != known.get(path, _GONE)])

    def _emptied(self, files: list[Path], stamp: _Stamp) -> bool:
        """Whether a file is gone or empty that was not so when it was read. One that always was is as it should be."""
        return any(
            size == 0 and self._digests.get(path, _GONE) not in (_GONE, _EMPTY)
            for path, (_, _, size, _) in zip(files, stamp, strict=True)
        )


async def _aside(look: Callable[[list[Path]], _T], files: list[Path]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(None, look, files)


def changed_at(path: Path) -> float:
    """When contents or place of a file have changed last: what is moved here, or copied with its date, may look old."""
    try:
        found = path.stat()
    except OSError:
        return 0.0
    return max(found.st_mtime, found.st_ctime)


def _stamp(files: Iterable[Path]) -> _Stamp:
    """What `stat` says of every file, links followed; zeros for one that is not there. A folder stands for its list."""
    stamps = []
    for path in files:
        try:
            found = path.stat()
        except OSError:
            stamps.append((str(path), 0, 0, 0))
        else:
            # Some file systems say that a folder is of size 0, which does not make it an empty file.
            size = max(found.st_size, 1) if stat.S_ISDIR(found.st_mode) else found.st_size
            stamps.append((str(path), found.st_mtime_ns, size, found.st_ino))
    return tuple(stamps)


def _digest(files: Iterable[Path]) -> _Digests:
    digests = {}
    for path in files:
        try:
            if path.is_dir():
                names = sorted([entry.name for entry in path.iterdir()])
                content = "\0".join(["", *names]).encode("utf-8", "surrogateescape")
            else:
                content = _contents(path)
        except OSError:
            digests[path] = _GONE
        else:
            digests[path] = hashlib.sha256(content).digest()
    return digests


def _contents(path: Path) -> bytes:
    # Opening a pipe would wait for its writer, and a file may become one at any moment.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
