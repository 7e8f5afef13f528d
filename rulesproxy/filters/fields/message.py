"""Headers, parameters and bodies as filters read them: mappings from a key to all its values, made on demand."""

from __future__ import annotations

from rulesproxy.filters.normal import media_type
from rulesproxy.flow import forms
from rulesproxy.flow.forms import Pair
from rulesproxy.flow.headers import Field as HeaderField
from rulesproxy.flow.headers import Headers, to_str
from rulesproxy.flow.http import HTTPMessage
from rulesproxy.flow.plan import FileBody

_FORM_FIELDS = 10_000
"""Fields of a form. No person fills in more, and each costs time and memory."""


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


def content_types(headers: Headers) -> tuple[str, ...]:
    """The values of all Content-Type headers, of which there should be one."""
    return tuple([to_str(value) for lower, _, value in headers.raw if lower == b"content-type"])


def block(headers: Headers) -> str:
    """The header section as it goes over the wire: `Name: value` lines with CR LF."""
    return to_str(bytes(headers))


EVENT_STREAMS = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
"""The types of event streams: server-sent events, and JSON line by line."""


def is_event_stream(headers: Headers) -> bool:
    """Whether the body is an event stream, which has no end and is never kept."""
    return content_type(headers) in EVENT_STREAMS


def content(message: HTTPMessage | None) -> bytes | None:
    """The body without its content codings; None where it is not kept, or is an event stream."""
    if message is None or message.body_source is None or is_event_stream(message.headers):
        return None
    try:
        return message.content
    except OSError:
        # A file that answers a request can go away at any time.
        return None


def text(message: HTTPMessage | None, content: bytes | None) -> str | None:
    """The body as text in its charset. `content` is what `content` gave."""
    return None if message is None or content is None else message.decode_text(content)


def size(message: HTTPMessage) -> int | None:
    """The size that the head declares; None where the body comes in chunks.

    A head that says nothing is one of a test, whose body is there, or of a body that ends with the connection.
    """
    declared = message.headers.first(b"content-length")
    if declared is not None:
        # As many digits as a body of this world can need.
        return int(declared) if declared.isdigit() and len(declared) < 20 else None
    if message.headers.first(b"transfer-encoding") is not None:
        return None
    body = message.body_source
    if isinstance(body, FileBody):
        return body.length
    return len(body) or None if body is not None else None


def form(headers: Headers, content: bytes | None) -> list[Pair]:
    """The fields of a form, urlencoded or multipart; none of anything else."""
    if not content:
        return []
    kind = content_type(headers)
    if kind == "application/x-www-form-urlencoded":
        return [] if content.count(b"&") >= _FORM_FIELDS else forms.parse_form(to_str(content))
    boundary = forms.multipart_boundary(headers.get("content-type", "")) if kind == "multipart/form-data" else ""
    if not boundary or content.count(b"--" + boundary.encode()) > _FORM_FIELDS:
        return []
    return [(to_str(name), to_str(value)) for name, value in forms.parse_multipart(content, boundary)]
