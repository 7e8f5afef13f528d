"""What may stand behind a `|` in a template: functions from text to text, and what a missing value becomes.

They know values, and nothing of the names that give them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import quote

from rulesproxy.flow.http import HTTPFlow, HTTPRequest
from rulesproxy.rules.edits.json_text import written
from rulesproxy.rules.templates.fields import Shown

Captures: TypeAlias = Mapping[str, str]
Read: TypeAlias = Callable[[HTTPFlow, Captures], str | None]

TYPED = ("int", "json", "unix")
"""Filters whose result is JSON already."""
OF_TIME = ("unix", "http")
"""Filters for `now` only."""

_INTEGER = re.compile(r"[-+]?[0-9]+").fullmatch
_DEFAULT = re.compile(r"""default\(\s*(["'])(.*)\1\s*\)""")


class Seen(dict[str, str]):
    """Captures of a rule that acts behind the request pass on values of the request.

    Attributes:
        request: the request as it stood when the request pass was at the rule; None where that is still the flow's.
    """

    __slots__ = ("request",)

    def __init__(self, captures: Captures) -> None:
        super().__init__(captures)
        self.request: HTTPRequest | None = None


def request_of(flow: HTTPFlow, captures: Captures) -> HTTPRequest:
    """The request that the templates of a rule read: the one that its filter has read."""
    seen = captures.request if isinstance(captures, Seen) else None
    return flow.request if seen is None else seen


class TemplateError(ValueError):
    """A template could not be filled: a value is not what it must be, or would break out of its place."""


class Instant(str):
    """A moment, as text of RFC 3339 in UTC; `seconds` is the same since the epoch."""

    seconds: int

    @classmethod
    def of(cls, seconds: float) -> Instant:
        """The moment so many seconds after the epoch, without their fraction."""
        instant = cls(datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        instant.seconds = int(seconds)
        return instant


def _json(value: str) -> str:
    return value.json if isinstance(value, Shown) else written(value)


def _int(value: str) -> str:
    # `int` by itself reads `1_0`, and digits of other scripts.
    if len(value) > 20:
        raise TemplateError(f"{value[:20]!r}… is no number")
    if _INTEGER(value.strip()) is None:
        raise TemplateError(f"{value!r} is no number")
    return str(int(value))


def _unix(value: str) -> str:
    return str(value.seconds if isinstance(value, Instant) else 0)


def _http(value: str) -> str:
    # RFC 9110 section 5.6.7. Loaded here, since few templates have a date, and it costs a fiftieth of a short `check`.
    from email.utils import format_datetime

    moment = datetime.fromtimestamp(value.seconds if isinstance(value, Instant) else 0, UTC)
    return format_datetime(moment, usegmt=True)


def html_escaped(value: str) -> str:
    """A text as it stands in HTML, in attributes too."""
    # Its table of two thousand entities is for those who write HTML.
    from html import escape

    return escape(value)


FILTERS: dict[str, Callable[[str], str]] = {
    "json": _json,
    "int": _int,
    "url": lambda value: quote(value, safe="", errors="surrogateescape"),
    "html": html_escaped,
    "base64": lambda value: base64.b64encode(value.encode("utf-8", "surrogateescape")).decode("ascii"),
    "lower": str.lower,
    "upper": str.upper,
    "trim": str.strip,
    "unix": _unix,
    "http": _http,
}

NAMES = [*FILTERS, "default"]


def is_default(text: str) -> bool:
    """Whether a filter says what stands in for a value that is missing or empty."""
    return _DEFAULT.fullmatch(text) is not None


def applied(text: str, read: Read) -> Read | None:
    """A value behind a filter; None where there is no such filter."""
    function = FILTERS.get(text)
    if function is not None:
        return lambda flow, captures: None if (value := read(flow, captures)) is None else function(value)
    default = _DEFAULT.fullmatch(text)
    if default is None:
        return None
    instead = default.group(2)
    return lambda flow, captures: read(flow, captures) or instead
