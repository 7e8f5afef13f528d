"""What differs between two moments of a flow, in words of the filter language. It knows messages, and no rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass

from rulesproxy.filters.fields.marks import STATE
from rulesproxy.flow.headers import Headers, to_str
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPRequest, HTTPResponse
from rulesproxy.flow.plan import FileBody, Plan, Rate
from rulesproxy.flow.route import Via
from rulesproxy.flow.url import format_authority

_SHOWN = 60
"""Characters of a value in one line."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was.

    Attributes:
        what: its name, where there is one that of a field: `path`, `request.header["x"]`, `response`, `plan.end`.
        before: its value as text; None where it was not there.
        after: its value now; None where it is gone.
    """

    what: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        before, after = _cut(self.before), _cut(self.after)
        if before is None:
            return f"{self.what}: {after}"
        if after is None:
            return f"{self.what} removed: {before}"
        return f"{self.what}: {before} → {after}"


class Moment:
    """A flow as it was: a copy of what can change, which costs little since messages share what they can."""

    __slots__ = ("answer", "error", "plan", "request", "response", "state", "tags")

    def __init__(self, flow: HTTPFlow) -> None:
        self.request = flow.request.copy()
        # The copy for what it says, the original to know it by.
        self.answer = flow.response
        self.response = None if flow.response is None else flow.response.copy()
        self.tags = tuple(flow.tags)
        kept = flow.metadata.get(STATE)
        self.state: dict[str, str] = dict(kept) if isinstance(kept, Mapping) else {}
        self.error = flow.error
        self.plan = _plan(flow.planned)


def changes(before: Moment, after: Moment) -> tuple[Change, ...]:
    """What is different at the second moment, in the order of a message."""
    found = of_requests(before.request, after.request)
    found += of_responses(before.response, after.response)
    found += [Change("flow.tags", None, tag) for tag in after.tags if tag not in before.tags]
    found += [
        Change(f'state["{name}"]', before.state.get(name), after.state.get(name))
        for name in dict.fromkeys([*before.state, *after.state])
        if before.state.get(name) != after.state.get(name)
    ]
    found += _effects(before.plan, after.plan)
    if after.error is not None and after.error is not before.error:
        found.append(Change("error", None, str(after.error)))
    return tuple(found)


def of_requests(before: HTTPRequest, after: HTTPRequest) -> list[Change]:
    """What is different about a request."""
    found = _single("method", before.method, after.method)
    if (before.scheme, before.host, before.port) == (after.scheme, after.host, after.port):
        found += _single("path", before.path, after.path)
    else:
        found += _single("url", before.url, after.url)
    return found + _message("request", before, after)


def of_responses(before: HTTPResponse | None, after: HTTPResponse | None) -> list[Change]:
    """What is different about a response."""
    if before is None:
        return [] if after is None else [Change("response", None, status_line(after))]
    if after is None:
        return [Change("response", status_line(before), None)]
    found = _single("response.status", status_line(before), status_line(after))
    return found + _message("response", before, after)


def of_plans(before: Plan | None, after: Plan | None) -> list[Change]:
    """What is different about the effects that a flow asks for."""
    return _effects(_plan(before), _plan(after))


def _effects(before: dict[str, str], after: dict[str, str]) -> list[Change]:
    names = dict.fromkeys([*before, *after])
    different = [name for name in names if before.get(name) != after.get(name)]
    return [Change(f"plan.{name}", before.get(name), after.get(name)) for name in different]


def _message(side: str, before: HTTPMessage, after: HTTPMessage) -> list[Change]:
    found: list[Change] = []
    if before.headers.raw is not after.headers.raw:
        found += _headers(side, before.headers, after.headers)
    if before.body_source != after.body_source:
        found.append(Change(f"{side}.body", body_line(before), body_line(after)))
    return found


def _headers(side: str, before: Headers, after: Headers) -> list[Change]:
    found = []
    for name in {key: None for key, _, _ in [*before.raw, *after.raw]}:
        old, new = before.get_all(name), after.get_all(name)
        if old != new:
            what = f'{side}.header["{to_str(name)}"]'
            found.append(Change(what, " | ".join(old) if old else None, " | ".join(new) if new else None))
    return found


def _single(what: str, before: str, after: str) -> list[Change]:
    return [Change(what, before, after)] if before != after else []


def status_line(response: HTTPResponse) -> str:
    """The status with its reason phrase."""
    return f"{response.status_code} {response.reason}".rstrip()


def body_line(message: HTTPMessage) -> str | None:
    """A body in one line; None where there is none, or it passed unread."""
    body = message.body_source
    if isinstance(body, FileBody):
        return f"the file {body.path} ({body.length} bytes)"
    if not body:
        return None
    text = message.decode_text(message.get_content(strict=False) or b"")
    if text.isprintable() and len(text) <= _SHOWN:
        return text
    lines = text.split("\n")
    first = lines[0].rstrip("\r")
    return f"{first[:_SHOWN]}…" if first.isprintable() and first else f"{len(body)} bytes"


def _plan(plan: Plan | None) -> dict[str, str]:
    """The effects that a flow asks for, by name, as far as they differ from those of a plan that nobody has touched."""
    if plan is None:
        return {}
    untouched = Plan()
    values = {name: getattr(plan, name) for name in Plan.__slots__}
    return {name: _effect(value) for name, value in values.items() if value != getattr(untouched, name)}


def _effect(value: object) -> str:
    """An effect in words: of a record only what differs from its defaults."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
        return format_authority(value[0], value[1], "")
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(sorted([_effect(item) for item in value]))
    if isinstance(value, Rate):
        return f"{value.bytes_per_second:g} bytes/s"
    if isinstance(value, Via):
        # Its own text leaves the password out.
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        there = [(field.name, getattr(value, field.name)) for field in fields(value)]
        defaults = {field.name: field.default for field in fields(value)}
        return " ".join([f"{name}={_effect(item)}" for name, item in there if item != defaults[name]])
    return str(value)


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= 2 * _SHOWN else f"{text[: 2 * _SHOWN - 1]}…"
