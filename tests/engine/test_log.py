"""The log: levels, lines, escaping, what `log` entries are made of."""

import asyncio
import io
import json
import logging
import re

import pytest

from rulesproxy.engine.log import ALERT, EntryHandler, LogEntry, escape, level_name, logger, setup


@pytest.fixture(autouse=True)
def untouched():
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.level, logger.propagate, logger.handlers[:] = before


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("text", "escaped"), [
    ("plain äöü € 漢 😀",   "plain äöü € 漢 😀"),
    ("a\nb\r\tc",           r"a\nb\r\tc"),
    ("\x1b[31m\x00\x7f\x9b", r"\x1b[31m\x00\x7f\x9b"),
    ("\u202eevil\u2066\u200f\u061c", r"\u202eevil\u2066\u200f\u061c"),
    ("\u2028\u2029\ufeff\u200b",     r"\u2028\u2029\ufeff\u200b"),
    ("\udcff",              r"\udcff"),
    ("back\\slash",         "back\\slash"),
])  # fmt: skip
def test_escape(text, escaped):
    assert escape(text) == escaped
    assert escape(escaped) == escaped


@pytest.mark.parametrize(
    ("number", "word"),
    [(5, "debug"), (10, "debug"), (20, "info"), (ALERT, "alert"), (30, "warn"), (40, "error"), (50, "error")],
)
def test_levels(number, word):
    assert level_name(number) == word


def test_text_lines():
    stream = io.StringIO()
    setup(stream=stream)
    logging.getLogger("rulesproxy.access").info("a %s", "b\x1b[0m\nforged 12:00:00 error x")
    logger.log(ALERT, "look", extra={"lines": ["one\x07", "two"]})
    logger.debug("not shown")
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d info  a b\\x1b\[0m\\nforged 12:00:00 error x", lines[0])
    assert re.fullmatch(r"\d\d:\d\d:\d\d alert look", lines[1])
    assert lines[2:] == ["    one\\x07", "    two"]


@pytest.mark.parametrize(("verbosity", "shown"), [
    (-1, ["warn", "error"]),
    (0,  ["info", "alert", "warn", "error"]),
    (1,  ["debug", "info", "alert", "warn", "error"]),
])  # fmt: skip
def test_verbosity(verbosity, shown):
    stream = io.StringIO()
    setup(verbosity=verbosity, stream=stream)
    for number in (10, 20, ALERT, 30, 40):
        logger.log(number, "x")
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == shown


def test_colours_only_on_a_terminal_that_wants_them(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream, coloured in [(io.StringIO(), False), (Terminal(), True)]:
        setup(stream=stream)
        logger.warning("x")
        assert ("\x1b[33mwarn \x1b[0m x" in stream.getvalue()) == coloured
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    setup(stream=stream)
    logger.warning("x")
    assert "\x1b" not in stream.getvalue()


def test_a_second_setup_replaces_the_first(capsys):
    first = io.StringIO()
    setup(stream=first)
    setup()
    logger.error("x")
    assert first.getvalue() == ""
    assert capsys.readouterr().err.endswith(" error x\n")


def test_json_lines():
    stream = io.StringIO()
    setup("json", stream=stream)
    logging.getLogger("rulesproxy.access").info("a\x1b\u202e %d", 5, extra={"fields": {"status": 200, "path": object}})
    try:
        raise ValueError("x\ny")
    except ValueError:
        logger.exception("failed", extra={"lines": ["more"]})
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert stream.getvalue().isascii()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert first == {"level": "info", "logger": "rulesproxy.access", "message": "a\\x1b\\u202e 5", "status": 200,
                     "path": "<class 'object'>"}  # fmt: skip
    assert second["message"] == "failed"
    assert second["lines"][0] == "more"
    assert second["lines"][-2:] == ["ValueError: x", "y"]


def test_tracebacks_are_indented_and_escaped():
    stream = io.StringIO()
    setup(stream=stream)
    try:
        raise ValueError("x\x1b")
    except ValueError:
        logger.exception("failed")
    lines = stream.getvalue().splitlines()
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    ValueError: x\\x1b"


def test_entries(capsys):
    entries = []
    handler = EntryHandler(entries.append)
    logger.addHandler(handler)
    logger.error("a %s", "b\x1b")
    assert repr(entries) == repr([LogEntry("a b\\x1b", "error")])

    def failing(entry):
        raise ValueError("sink")

    logger.addHandler(EntryHandler(failing))
    logger.error("still fine")
    assert [entry.msg for entry in entries] == ["a b\\x1b", "still fine"]
    assert "ValueError: sink" in capsys.readouterr().err


def test_lines_stay_whole_where_others_write_too() -> None:
    """What is written at once is what a pipe takes in one piece."""
    written: list[str] = []

    class Pipe(io.StringIO):
        def flush(self) -> None:
            if self.getvalue():
                written.append(self.getvalue())
                self.seek(0)
                self.truncate()

    async def many() -> None:
        for number in range(300):
            logger.info("line %d %s", number, "é" * 20)
        logger.info("x" * 5000)
        logger.info("last")

    setup(stream=Pipe(), shared=True)
    asyncio.run(many())
    assert all(piece.endswith("\n") for piece in written)
    assert [len(piece.encode()) <= 4096 for piece in written].count(False) == 1, "a line of its own"
    assert len(written) > 4
    assert "".join(written).count("\n") == 302
