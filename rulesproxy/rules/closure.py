"""`Closure`: every file that a set of rules comes from, and every folder that was searched for one.

It knows files, folders and globs, and nothing of what is in them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from rulesproxy.limits import RULE_FILES, SEARCHED_FOLDERS

ENDINGS = (".yaml", ".yml")
"""What the names of rule files end in."""


class TooMany(Exception):
    """More files or folders than `limits` allows; `str()` says of what."""


class Closure:
    """What was read and what was searched.

    Attributes:
        paths: files that were read, or looked for where they are not; and folders whose entries count. Whoever watches
            them sees that a file has changed, that a missing one is there, and that a folder has gained or lost one.
    """

    def __init__(self) -> None:
        self.paths: dict[Path, None] = {}
        self._hash = hashlib.sha256()
        self._read: dict[Path, None] = {}
        self._files = 0
        self._folders = 0

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that was read."""
        return tuple(self._read)

    @property
    def digest(self) -> str:
        """A hash over names and contents of all files, and over what the searches have found."""
        return self._hash.hexdigest()

    def add(self, name: str, data: bytes) -> None:
        """Add contents to the digest."""
        for part in (name.encode("utf-8", "surrogateescape"), data):
            self._hash.update(b"%d:%b" % (len(part), part))

    def count(self) -> None:
        """One more rule file.

        Raises:
            TooMany: they are over the limit.
        """
        self._files += 1
        if self._files > RULE_FILES:
            raise TooMany(f"more than {RULE_FILES:,} rule files")

    def read(self, path: Path, most: int) -> bytes:
        """The first bytes of a regular file: up to `most`, and one more where the file is longer.

        Raises:
            OSError: it cannot be read, or is no regular file: opening a pipe would wait for its writer.
            ValueError: no file can have this name.
        """
        self.paths[path] = None
        data = read_regular(path, most + 1)
        self._read[path] = None
        self.add(str(path), data)
        return data

    def watch(self, paths: Iterable[Path]) -> None:
        """Add files that somebody else has read, by their contents as they are now."""
        for path in paths:
            self.paths[path] = None
            if path not in self._read and path.is_file():
                self._read[path] = None
                self.add(str(path), read_regular(path))

    def folder(self, folder: Path) -> list[Path]:
        """The rule files of a folder by name; hidden ones are not among them.

        Raises:
            OSError: it cannot be read.
        """
        names = [name for name in self._names(folder) if name.endswith(ENDINGS) and not name.startswith(".")]
        return self._found(folder, [folder / name for name in names if not (folder / name).is_dir()])

    def glob(self, pattern: Path) -> list[Path]:
        """The files that fit a pattern, sorted. `*` and `?` stay in one folder, `**` is every folder below.

        Names that begin with a dot fit only what begins with one. Folders that cannot be read have no files.

        Raises:
            TooMany: more folders were searched than is allowed.
        """
        parts = pattern.parts
        fixed = next(at for at, part in enumerate(parts) if is_glob(part))
        found = dict.fromkeys(self._fitting(Path(*parts[:fixed]), parts[fixed:]))
        return self._found(pattern, sorted((path for path in found if not path.is_dir()), key=lambda path: path.parts))

    def _found(self, asked: Path, found: list[Path]) -> list[Path]:
        self.add(str(asked), "\0".join(map(str, found)).encode("utf-8", "surrogateescape"))
        return found

    def _fitting(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        first, rest = parts[0], parts[1:]
        if first == "**":
            yield from self._fitting(folder, rest or ("*",))
            for name in self._names_or_none(folder):
                below = folder / name
                # A link to a folder above would be searched for ever.
                if not name.startswith(".") and below.is_dir() and not below.is_symlink():
                    yield from self._fitting(below, parts)
            return
        if is_glob(first):
            hidden = first.startswith(".")
            names = [
                name
                for name in self._names_or_none(folder)
                if (hidden or not name.startswith(".")) and fnmatchcase(name, first)
            ]
        else:
            self.paths[folder / first] = None
            names = [first] if (folder / first).exists() else []
        for name in names:
            if not rest:
                yield folder / name
            elif (folder / name).is_dir():
                yield from self._fitting(folder / name, rest)

    def _names_or_none(self, folder: Path) -> list[str]:
        try:
            return self._names(folder)
        except OSError:
            return []

    def _names(self, folder: Path) -> list[str]:
        if folder not in self.paths:
            self._folders += 1
            if self._folders > SEARCHED_FOLDERS:
                raise TooMany(f"more than {SEARCHED_FOLDERS:,} folders")
            self.paths[folder] = None
        return sorted(entry.name for entry in folder.iterdir())


def read_regular(path: Path, most: int = -1) -> bytes:
    """The first bytes of a regular file, all of them by default.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: no file can have this name.
    """
    if path.is_dir():
        raise OSError(None, "it is a folder")
    # Opening a pipe would wait for its writer, and a file may become one at any moment.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(None, "it is no regular file")
        return file.read(most)


def is_glob(text: str) -> bool:
    """Whether a path, or a part of one, is a pattern."""
    return any(mark in text for mark in "*?[")
