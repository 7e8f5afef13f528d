"""`GrowingList`: a JSON file whose last part is a list that grows. Whoever opens it finds a whole file at any moment.

There are two copies. What is new is written to the hidden one, which then takes the other's place by a rename: so
neither a full disk nor the end of this process can leave half of something. It blocks, so it belongs into a thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

_COPY = 1024 * 1024


class GrowingList:
    """A file of `head`, items, and `tail`.

    Args:
        path: the file.
        head: what stands in front of the first item.
        tail: what stands behind the last one.
        append: go on with a file that is there; else begin anew.
        convert: makes the items of a file that somebody else has written; it gets the contents, and raises ValueError
            where there are none in it.
        largest: the largest file, in bytes, that `convert` is given.
    """

    def __init__(
        self,
        path: Path,
        head: bytes,
        tail: bytes,
        *,
        append: bool,
        convert: Callable[[bytes], list[bytes]],
        largest: int,
    ) -> None:
        # Where a link leads, the file is put: a rename would put it in the place of the link.
        path = Path(os.path.realpath(path))
        self.path = path
        self._head = head
        self._tail = tail
        self._append = append
        self._convert = convert
        self._largest = largest
        self._hidden = path.with_name(f".{path.name}.next")
        self._other = path.with_name(f".{path.name}.last")
        self._files: list[int] = []
        self._end = 0
        self._empty = True
        self._missed = b""

    def add(self, items: Iterable[bytes]) -> None:
        """Put items behind the last one.

        Raises:
            OSError: they cannot be written; the file is as it was before.
            ValueError: the file that is there is none of this kind; it is left as it is.
        """
        if not self._files or not self._is_ours():
            self._open()
        # The copy lacks what was written last.
        data = self._missed
        for item in items:
            data += (b"\n" if self._empty else b",\n") + item
            self._empty = False
        new = data[len(self._missed) :]
        _write(self._files[1], data + self._tail, self._end - len(self._missed))
        self._swap()
        self._end += len(new)
        self._missed = new

    def close(self) -> None:
        """Let go of the file, and take the hidden copy away."""
        files, self._files = self._files, []
        for file in files:
            os.close(file)
        if files:
            with contextlib.suppress(OSError):
                self._hidden.unlink()

    def _is_ours(self) -> bool:
        """Whether the file is still the one that was written here; somebody may have moved it away."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._files[0]))
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        reopened = bool(self._files)
        self.close()
        if self.path.exists() and not self.path.is_file():
            # A device would be replaced by a file, and a pipe waited for without an end.
            raise ValueError("it is there, and it is no regular file")
        for left in (self._hidden, self._other):
            with contextlib.suppress(FileNotFoundError):
                left.unlink()
        if self.path.exists() and (self._append or reopened):
            self._go_on()
        else:
            self._begin([])
        try:
            for path in (self.path, self._hidden):
                self._files.append(os.open(path, os.O_RDWR))
        except BaseException:
            self.close()
            raise
        self._missed = b""

    def _go_on(self) -> None:
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            begins = file.read(len(self._head))
            file.seek(max(0, size - len(self._tail)))
            ours = begins == self._head and file.read() == self._tail and size >= len(self._head) + len(self._tail)
        if ours:
            self._end = size - len(self._tail)
            self._empty = self._end == len(self._head)
            _copy(self.path, self._hidden)
        elif size == 0:
            self._begin([])
        elif size > self._largest:
            raise ValueError(f"somebody else has written it, and it is larger than {self._largest} bytes")
        else:
            self._begin(self._convert(self.path.read_bytes()))

    def _begin(self, items: list[bytes]) -> None:
        """Write both copies anew."""
        body = self._head + b"\n" * bool(items) + b",\n".join(items)
        self._end, self._empty = len(body), not items
        for path in (self._other, self._hidden):
            path.write_bytes(body + self._tail)
        os.replace(self._other, self.path)

    def _swap(self) -> None:
        """The two copies change names. Between any two of these steps the file is a whole one."""
        os.link(self.path, self._other)
        os.replace(self._hidden, self.path)
        os.replace(self._other, self._hidden)
        self._files.reverse()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while data := reader.read(_COPY):
            writer.write(data)


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        at += written
        view = view[written:]
