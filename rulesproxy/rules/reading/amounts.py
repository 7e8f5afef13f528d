"""How times, sizes and rates are written in rules: `200ms`, `200ms..2s`, `10KB`, `50KB/s`. Each reads itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rulesproxy.filters.fields.base import Kind
from rulesproxy.filters.quantities import UNITS
from rulesproxy.rules.schema import describe

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

_NUMBER = r"(\d{1,12}(?:\.\d{1,9})?)"
_AMOUNT = re.compile(rf"{_NUMBER}\s*([A-Za-z]*)", re.ASCII).fullmatch
_SPEED = re.compile(rf"{_NUMBER}\s*([A-Za-z]+)(/s|ps)", re.ASCII).fullmatch
_TIMES = UNITS[Kind.DURATION]
_SIZES = {unit.lower(): size for unit, size in UNITS[Kind.SIZE].items()}
# What tools for networks count in: bits.
_BITS = {"bit": 1 / 8, "kbit": 125.0, "mbit": 125e3, "gbit": 125e6}
_BIT_RATES = {"b": 1 / 8, "k": 125.0, "kb": 125.0, "mb": 125e3, "gb": 125e6}

_DIGITS = r"[0-9]{1,12}(\.[0-9]{1,9})?"
_TIME_PATTERN = rf"{_DIGITS}\s*(us|ms|s|m|h)|0+(\.0+)?"
_UNIT = "[KkMmGg][Ii]?[Bb]"


@dataclass(frozen=True, slots=True)
class Octets:
    """Bytes in hexadecimal digits, such as `00 ff`, with spaces where they help.

    Attributes:
        data: the bytes.
    """

    data: bytes

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        digits = {"type": "string", "pattern": r"^\s*([0-9A-Fa-f]{2}\s*)*$"}
        return {"anyOf": [digits, {"type": "integer", "minimum": 0}], "description": "00 ff"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Octets:
        """The bytes in a scalar.

        Raises:
            Bad: it is something else; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "bytes such as `00 ff`")
        try:
            return cls(bytes.fromhex(scalar.text))
        except ValueError:
            help = "two digits for each byte, as in `00 ff`; text goes below `text`"
            return reader.fail("RP104", scalar, f"`{name}` wants hexadecimal digits, got `{scalar.text}`", help)


@dataclass(frozen=True, slots=True)
class Duration:
    """A time, such as `200ms`, `1.5s` or `2m`.

    Attributes:
        seconds: the same in seconds.
        text: as it is written.
    """

    seconds: float
    text: str

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Duration:
        """The time in a scalar.

        Raises:
            Bad: it is none; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "a time such as `200ms`")
        return cls(_seconds(scalar, scalar.text, 0, reader, name), scalar.text)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        times = {"type": "string", "pattern": f"^\\s*({_TIME_PATTERN})\\s*$"}
        return {"anyOf": [times, {"enum": [0]}], "description": "200ms, 1.5s, 2m"}


@dataclass(frozen=True, slots=True)
class Wait:
    """A time, or any time between two: `200ms`, `200ms..2s`.

    Attributes:
        low: the shortest, in seconds.
        high: the longest, in seconds.
        text: as it is written.
    """

    low: float
    high: float
    text: str

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Wait:
        """The time or the two times in a scalar.

        Raises:
            Bad: there is none; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "a time such as `200ms` or `200ms..2s`")
        first, dots, second = scalar.text.partition("..")
        low = high = _seconds(scalar, first, 0, reader, name)
        if dots:
            high = _seconds(scalar, second, len(first) + 2, reader, name)
            if high < low:
                reader.fail(
                    "RP104", scalar, f"`{name}` goes from {first.strip()} down to {second.strip()}",
                    f"write `{second.strip()}..{first.strip()}`",
                )  # fmt: skip
        return cls(low, high, scalar.text)

    def between(self, chance: float) -> float:
        """The time for a chance from 0.0 to 1.0, in seconds."""
        return self.low + (self.high - self.low) * chance

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        pattern = rf"^\s*({_TIME_PATTERN})\s*(\.\.\s*({_TIME_PATTERN})\s*)?$"
        return {"anyOf": [{"type": "string", "pattern": pattern}, {"enum": [0]}], "description": "200ms, 200ms..2s"}


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes: `1000`, `10KB`, `1MiB`.

    Attributes:
        bytes: the number.
        text: as it is written.
    """

    bytes: int
    text: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Size:
        """The size in a scalar.

        Raises:
            Bad: it is none; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "a size such as `10KB`")
        found = _AMOUNT(scalar.text)
        unit = _SIZES.get(found[2].lower()) if found is not None else None
        size = float(found[1]) * unit if found is not None and unit is not None else 0.5
        if size != int(size):
            reader.fail(
                "RP103", scalar, f"`{name}` wants a size such as `1000` or `10KB`, got {describe(scalar)}",
                "the units are B, KB, MB, GB, KiB, MiB and GiB",
            )  # fmt: skip
        return cls(int(size), scalar.text)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        sizes = {"type": "string", "pattern": rf"^([0-9]{{1,12}}(\.0+)?\s*[Bb]?|{_DIGITS}\s*{_UNIT})$"}
        return {"anyOf": [sizes, {"type": "integer", "minimum": 0}], "description": "1000, 10KB, 1MiB"}


@dataclass(frozen=True, slots=True)
class Speed:
    """A rate: `50KB/s` in bytes, `400kbit/s` or `1.6Mbps` in bits.

    Attributes:
        bytes_per_second: the rate.
    """

    bytes_per_second: float

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Speed:
        """The rate in a scalar.

        Raises:
            Bad: it is none; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "a rate such as `50KB/s`")
        found = _SPEED(scalar.text)
        rate = None
        if found is not None:
            unit = found[2].lower()
            known = _BIT_RATES if found[3] == "ps" else {**_SIZES, **_BITS}
            rate = float(found[1]) * known[unit] if unit in known else None
        if not rate:
            bare = _AMOUNT(scalar.text)
            unit = "" if bare is None else bare[2] or "KB"
            help = (
                f"write `{bare[1]}{unit}/s`" if bare is not None and unit.lower() in _SIZES and float(bare[1]) else ""
            )
            reader.fail(
                "RP103", scalar, f"`{name}` wants a rate such as `50KB/s` or `400kbit/s`, got {describe(scalar)}", help
            )
        return cls(rate)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        pattern = rf"^{_DIGITS}\s*(({_UNIT}|[Bb])/s|[KkMmGg]?[Bb][Ii][Tt]/s|[KkMmGg]?[Bb]?ps)$"
        return {"type": "string", "pattern": pattern, "description": "50KB/s, 400kbit/s, 1.6Mbps"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number that is not negative, such as `0.4`.

    Attributes:
        value: the number.
    """

    value: float

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Number:
        """The number in a scalar.

        Raises:
            Bad: it is none; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "a number such as `0.4`")
        found = _AMOUNT(scalar.text)
        if found is None or found[2]:
            reader.fail("RP103", scalar, f"`{name}` wants a number such as `0.4`, got {describe(scalar)}")
        return cls(float(found[1]))

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        numbers = [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_DIGITS}$"}]
        return {"anyOf": numbers, "description": "0.4"}


def _seconds(scalar: Scalar, text: str, at: int, reader: Reader, name: str) -> float:
    """The seconds of a time that stands at an offset of a scalar."""
    word = text.strip()
    found = _AMOUNT(word)
    unit = _TIMES.get(found[2]) if found is not None else None
    if found is None or (unit is None and (found[2] or float(found[1]))):
        place = scalar.part(at, at + len(text)) if at or len(text) < len(scalar.text) else scalar
        if found is not None and not found[2]:
            reader.fail(
                "RP103", place, f"`{name}` wants a time such as `200ms`, got the number {word}",
                f"write its unit: `{word}ms` or `{word}s`",
            )  # fmt: skip
        shown = f"`{word}`" if word else "nothing"
        reader.fail(
            "RP103", place, f"`{name}` wants a time such as `200ms`, got {shown}", "the units are us, ms, s, m and h"
        )
    return float(found[1]) * (unit or 0.0)
