"""How times, sizes and rates are written: what is read, and what editors are told."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator

from rulesproxy.diagnostics import Source
from rulesproxy.rules.files.compose import read_nodes
from rulesproxy.rules.reading.amounts import Duration, Number, Size, Speed, Wait
from rulesproxy.rules.reading.json_schema import kind_schema
from rulesproxy.rules.schema import Bad, Reader
from tests.support.rule_files import values

GOOD: list[tuple[Any, str, object]] = [
    (Duration, "200ms", 0.2),
    (Duration, "1.5s", 1.5),
    (Duration, "2m", 120),
    (Duration, "1 h", 3600),
    (Duration, "0", 0),
    (Wait, "200ms", (0.2, 0.2)),
    (Wait, "200ms..2s", (0.2, 2)),
    (Wait, "0 .. 1s", (0, 1)),
    (Size, "1000", 1000),
    (Size, "10KB", 10_000),
    (Size, "1.5 kib", 1536),
    (Size, "1MiB", 1_048_576),
    (Speed, "50KB/s", 50_000),
    (Speed, "50 KiB/s", 51_200),
    (Speed, "0.5B/s", 0.5),
    (Speed, "400kbit/s", 50_000),
    (Speed, "1.6Mbps", 200_000),
    (Speed, "56kbps", 7000),
    (Number, "0.4", 0.4),
    (Number, "1", 1),
]
BAD: list[tuple[Any, str]] = [
    (Duration, "200"),
    (Duration, "-1s"),
    (Duration, "1s..2s"),
    (Duration, "1e3s"),
    (Duration, "1 2s"),
    (Duration, "٣s"),
    (Wait, "1s.."),
    (Wait, "..1s"),
    (Wait, "2s..1s"),
    (Size, "1.5"),
    (Size, "10K/s"),
    (Size, "-1"),
    (Speed, "50KB"),
    (Speed, "0KB/s"),
    (Speed, "50"),
    (Speed, "50KB/m"),
    (Number, "-1"),
    (Number, "1s"),
    (Number, "x"),
]


def read(kind: Any, text: str) -> tuple[Any, list[str]]:
    reader = Reader.__new__(Reader)
    reader.problems = []
    try:
        value = kind.read(read_nodes(Source("x", text)), reader, "it")
    except Bad:
        value = None
    return value, [problem.code for problem in reader.problems]


def fits(kind: Any, text: str) -> bool:
    return Draft7Validator(kind_schema(kind)).is_valid(values(text))


@pytest.mark.parametrize(("kind", "text", "wanted"), GOOD)
def test_what_is_read(kind: Any, text: str, wanted: object) -> None:
    value, problems = read(kind, text)
    assert problems == []
    names = {Duration: "seconds", Size: "bytes", Speed: "bytes_per_second", Number: "value"}
    got = (value.low, value.high) if kind is Wait else getattr(value, names[kind])
    assert got == pytest.approx(wanted)
    assert fits(kind, text)


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_what_is_refused(kind: Any, text: str) -> None:
    value, problems = read(kind, text)
    assert value is None
    assert problems in (["RP103"], ["RP104"])
    # Which of two times is the longer one, and whether a rate is none, no pattern tells.
    assert fits(kind, text) is (text in ("2s..1s", "0KB/s"))


@pytest.mark.parametrize("kind", [Duration, Wait, Size, Speed, Number])
def test_editors_are_told(kind: Any) -> None:
    schema = kind.json_schema()
    assert "oneOf" not in schema
    assert schema.get("type") or schema["anyOf"]
    assert schema["description"]
