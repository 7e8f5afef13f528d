"""Our log: the logger, the lines on stderr, and what feeds the `log(entry)` event.

It knows levels, formats and what must be escaped. It does not know addons: the engine gives `EntryHandler` a callable.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Literal, TextIO, TypeAlias

from rulesproxy.engine.secrets import masked

ALERT = 21
"""Worth a look although nothing is wrong. It is shown wherever `info` is."""

logger = logging.getLogger("rulesproxy")
"""Every line of ours goes through it or through a child of it."""

Level: TypeAlias = Literal["debug", "info", "alert", "warn", "error"]
Format: TypeAlias = Literal["text", "json"]

logging.addLevelName(ALERT, "ALERT")


class LogEntry:
    """A line of the log, as the `log` event passes it.

    Attributes:
        msg: the line, control characters escaped.
        level: debug, info, alert, warn or error.
    """

    __slots__ = ("level", "msg")

    def __init__(self, msg: str, level: str) -> None:
        self.msg = msg
        self.level = level

    def __repr__(self) -> str:
        return f"LogEntry({self.msg!r}, {self.level!r})"


def setup(
    format: Format = "text", verbosity: int = 0, stream: TextIO | None = None, shared: bool = False
) -> logging.Handler:
    """Send our log to `stream`, stderr by default; a second call replaces the first.

    `verbosity` -1 shows warnings and errors, 0 also info and alert, 1 everything. Colours need a terminal and no
    `NO_COLOR` in the environment. With `shared`, other processes write to the same stream, and lines stay whole.
    """
    stream = stream or sys.stderr
    handler = _BatchHandler(stream, _ATOMIC if shared else None)
    # Nobody sees these fields of a record, and finding them costs more than all the rest ("Optimization" in the
    # documentation of `logging`).
    logging._srcfile = None
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    colour = stream.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(JSONFormatter() if format == "json" else TextFormatter(colour))
    handler.set_name(_HANDLER_NAME)
    for old in [old for old in logger.handlers if old.get_name() == _HANDLER_NAME]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbosity > 0 else logging.INFO if verbosity == 0 else logging.WARNING)
    logger.propagate = False
    return handler


@contextmanager
def overheard() -> Iterator[list[logging.LogRecord]]:
    """Catch what this thread logs meanwhile, which then goes nowhere else: dry runs write nothing into the log."""
    records: list[logging.LogRecord] = []
    thread = get_ident()

    def hear(record: logging.LogRecord) -> bool:
        # A record itself does not always know its thread: see `setup`.
        if get_ident() != thread:
            return True
        records.append(record)
        return False

    logger.addFilter(hear)
    try:
        yield records
    finally:
        logger.removeFilter(hear)


def escape(text: str) -> str:
    """`text` with everything that could move a cursor, forge a line or turn the writing direction made visible."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_visible, text)


def level_name(number: int) -> Level:
    """The word of the `log` event for a level of `logging`."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warn"
    if number >= ALERT:
        return "alert"
    return "info" if number >= logging.INFO else "debug"


class TextFormatter(logging.Formatter):
    """`HH:MM:SS level message`, then, indented, what stands in the record's `lines` and the traceback."""

    def __init__(self, colour: bool = False) -> None:
        super().__init__()
        self.colour = colour
        self._second = -1
        self._clock = ""

    def format(self, record: logging.LogRecord) -> str:
        level = level_name(record.levelno)
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._clock = self.formatTime(record, "%H:%M:%S")
        word = f"{_COLOURS[level]}{level:5}\x1b[0m" if self.colour else f"{level:5}"
        head = f"{self._clock} {word} {escape(masked(record.getMessage()))}"
        if not record.exc_info and not hasattr(record, "lines"):
            return head
        return "\n".join([head, *[f"    {escape(masked(line))}" for line in _more_lines(self, record)]])


class JSONFormatter(logging.Formatter):
    """One JSON object in a line: time, level, logger, message, and the record's `fields`, `lines` and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": level_name(record.levelno),
            "logger": record.name,
            "message": escape(masked(record.getMessage())),
        }
        fields: dict[str, object] = getattr(record, "fields", {})
        entry.update({name: masked(value) if isinstance(value, str) else value for name, value in fields.items()})
        if lines := _more_lines(self, record):
            entry["lines"] = [masked(line) for line in lines]
        # ASCII only: no control character and no bidi mark of a peer reaches a terminal unescaped.
        return json.dumps(entry, default=str)


class _BatchHandler(logging.StreamHandler[TextIO]):
    """Writes what one turn of the event loop has logged at once; a line from elsewhere immediately."""

    def __init__(self, stream: TextIO, most: int | None = None) -> None:
        super().__init__(stream)
        self._most = most
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
            # Commands that only read rules need no event loop, and do not wait for it to be imported. Looking it up is
            # cheaper than an import statement, which asks a package for its parts every time.
            events = sys.modules.get("asyncio.events")
            loop = None if events is None else events._get_running_loop()
            if loop is None:
                self.flush()
            elif len(self._lines) == 1:
                loop.call_soon(self.flush)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        # A thread may log while the loop writes.
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            if self._most is not None:
                for block in _blocks(lines, self._most):
                    self.stream.write(block)
                    self.stream.flush()
            elif lines:
                self.stream.write("\n".join(lines) + "\n")
            self.stream.flush()
        except ValueError:
            pass  # The stream is closed: the process ends.
        finally:
            self.release()


class EntryHandler(logging.Handler):
    """Turns every record of our log into a `LogEntry` and gives it to `sink`, in whatever thread logged it.

    Where `wanted` says no, nothing is made of it.
    """

    def __init__(self, sink: Callable[[LogEntry], None], wanted: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._sink = sink
        self._wanted = wanted

    def emit(self, record: logging.LogRecord) -> None:
        if self._wanted is not None and not self._wanted():
            return
        try:
            self._sink(LogEntry(escape(masked(record.getMessage())), level_name(record.levelno)))
        except Exception:
            self.handleError(record)


def _blocks(lines: list[str], most: int) -> Iterator[str]:
    """The lines in pieces of so many bytes at most; a longer line is a piece of its own."""
    block, size = "", 0
    for line in lines:
        length = len(line.encode("utf-8", "replace")) + 1
        if block and size + length > most:
            yield block
            block, size = "", 0
        block += line + "\n"
        size += length
    if block:
        yield block


_ATOMIC = 4096
"""Bytes that Linux writes to a pipe in one piece (PIPE_BUF, pipe(7))."""
_HANDLER_NAME = "rulesproxy-stderr"
_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "alert": "\x1b[36m", "warn": "\x1b[33m", "error": "\x1b[31m"}

# C0 and C1 controls, zero-width and bidi marks, line separators, and half surrogates, which no stream can encode.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _more_lines(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    lines = list(getattr(record, "lines", ()))
    if record.exc_info:
        lines += formatter.formatException(record.exc_info).split("\n")
    return lines
