"""Headers and parameters as filters read them: mappings from a key to all its values, made on demand."""

from __future__ import annotations

from rulesproxy.filters.normal import media_type
from rulesproxy.flow.forms import Pair
from rulesproxy.flow.headers import Field as HeaderField
from rulesproxy.flow.headers import Headers, to_str


class HeaderValues(dict[bytes | None, tuple[str, ...]]):
    """The values of every header by lower-case name, decoded when they are asked for; None is for all of them."""

    __slots__ = ("_raw",)

    def __init__(self, raw: list[HeaderField]) -> None:
        self._raw = raw

    def __missing__(self, key: bytes | None) -> tuple[str, ...]:
        values = tuple([to_str(value) for lower, _, value in self._raw if lower == key or key is None])
        self[key] = values
        return values


class PairValues(dict[str | None, tuple[str, ...]]):
    """The values of every parameter by name; None is for all of them."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: list[Pair]) -> None:
        self._pairs = pairs

    def __missing__(self, key: str | None) -> tuple[str, ...]:
        values = tuple([value for name, value in self._pairs if name == key or key is None])
        self[key] = values
        return values


def content_type(headers: Headers) -> str | None:
    """The media type of a Content-Type header; None without one."""
    value = headers.first(b"content-type")
    return None if value is None else media_type(to_str(value))


def block(headers: Headers) -> str:
    """The header section as it goes over the wire: `Name: value` lines with CR LF."""
    return to_str(bytes(headers))
