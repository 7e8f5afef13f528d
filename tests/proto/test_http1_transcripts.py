"""Transcripts in `tests/wire/http1`: what goes over the wire, and what the readers make of it.

A file has a comment, options (`methods: …` of the requests that are answered, `eof`), the bytes with escapes and
without the line ends of the file, and the messages. Every file is read by both codecs: whole, at every split, and byte
by byte.
"""

from __future__ import annotations

from pathlib import Path

import pytest

WIRE = Path(__file__).parent.parent / "wire" / "http1"
FILES = sorted(WIRE.glob("*.txt"))


def parse(path: Path) -> tuple[dict[str, object], bytes, list[str]]:
    top, _, rest = path.read_text("ascii").partition("--- bytes\n")
    text, _, messages = rest.partition("--- messages\n")
    options: dict[str, object] = {}
    for line in top.splitlines():
        word, _, value = line.partition(": ")
        if word == "methods":
            options["methods"] = value.split()
        elif word == "eof":
            options["eof"] = True
        else:
            assert line.startswith("# "), line
    data = text.replace("\n", "").encode("ascii").decode("unicode_escape").encode("latin-1")
    return options, data, messages.splitlines()


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_transcript(path: Path, check) -> None:
    options, data, expected = parse(path)
    assert check(path.stem.split("-")[0], data, **options) == expected


def test_there_are_transcripts() -> None:
    assert len(FILES) >= 15
