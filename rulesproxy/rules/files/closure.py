"""`Closure`: every file that a set of rules comes from, and every folder that was searched for one.

It knows files, folders and globs, and nothing of what is in them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from rulesproxy.limits import RULE_FILES, SEARCHED_FOLDERS

ENDINGS = (".yaml", ".yml")
"""What the names of rule files end in."""


class TooMany(Exception):
    """More files or folders than `limits` allows; `str()` says of what."""


@dataclass(slots=True)
class Contents:
    """What reading a set of rules has found on disk: enough to read it once more without the disk.

    Python files are not in it, since they are imported and not read; the digest tells whether they are the same.

    Attributes:
        files: the bytes that were read, by path.
        folders: the rule files of folders, by path.
        patterns: the files that fitted patterns, by the pattern.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, list[str]] = field(default_factory=dict)
    patterns: dict[str, list[str]] = field(default_factory=dict)


class Closure:
    """What was read and what was searched.

    Attributes:
        paths: files that were read, or looked for where they are not; and folders whose entries count. Whoever watches
            them sees that a file has changed, that a missing one is there, and that a folder has gained or lost one.
    """

    def __init__(self, keep: Contents | None = None, given: Contents | None = None) -> None:
        """
        Args:
            keep: is filled with what is found on disk.
            given: stands in the place of the disk.
        """
        self._keep = keep
        self._given = given
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
        data = self._bytes(path, most)
        self._read[path] = None
        self.add(str(path), data)
        return data

    def exists(self, path: Path) -> bool:
        """Whether there is a file or folder of this name, which then is no pattern."""
        return path.exists() if self._given is None else str(path) in {**self._given.files, **self._given.folders}

    def is_folder(self, path: Path) -> bool:
        """Whether there is a folder, whose rule files `folder` gives."""
        return path.is_dir() if self._given is None else str(path) in self._given.folders

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
        if self._given is not None:
            return self._found(folder, self._again(folder, self._given.folders))
        names = [name for name in self._names(folder) if name.endswith(ENDINGS) and not name.startswith(".")]
        found = [folder / name for name in names if not (folder / name).is_dir()]
        if self._keep is not None:
            self._keep.folders[str(folder)] = list(map(str, found))
        return self._found(folder, found)

    def glob(self, pattern: Path) -> list[Path]:
        """The files that fit a pattern, sorted. `*` and `?` stay in one folder, `**` is every folder below.

        Names that begin with a dot fit only what begins with one. Folders that cannot be read have no files.

        Raises:
            TooMany: more folders were searched than is allowed.
        """
        if self._given is not None:
            return self._found(pattern, self._again(pattern, self._given.patterns))
        parts = pattern.parts
        fixed = next(at for at, part in enumerate(parts) if is_glob(part))
        found = dict.fromkeys(self._fitting(Path(*parts[:fixed]), parts[fixed:]))
        files = sorted((path for path in found if not path.is_dir()), key=lambda path: path.parts)
        if self._keep is not None:
            self._keep.patterns[str(pattern)] = list(map(str, files))
        return self._found(pattern, files)

    def _found(self, asked: Path, found: list[Path]) -> list[Path]:
        self.add(str(asked), "\0".join(map(str, found)).encode("utf-8", "surrogateescape"))
        return found

    def _again(self, asked: Path, found: dict[str, list[str]]) -> list[Path]:
        self.paths[asked] = None
        return [Path(name) for name in found.get(str(asked), [])]

    def _bytes(self, path: Path, most: int) -> bytes:
        if self._given is not None:
            known = self._given.files.get(str(path))
            if known is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return known
        data = read_regular(path, most + 1)
        if self._keep is not None:
            self._keep.files[str(path)] = data
        return data

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
