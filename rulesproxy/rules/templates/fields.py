"""Fields of the filter language as values of templates: the same names, the first value of several."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from rulesproxy.filters import typed
from rulesproxy.filters.fields import FIELDS, Field, Kind
from rulesproxy.filters.phases import Phase
from rulesproxy.filters.problem import FilterError
from rulesproxy.filters.reference import values_of
from rulesproxy.filters.view import FlowView
from rulesproxy.rules.edits.json_text import written

_NAME = re.compile(r"(?:orig\.)?([a-z_]+(?:\.[a-z_]+)*)").match
_WHOLE = re.compile(r"""[a-z_.]+(?:\[(?:"[^"]*"|'[^']*'|[0-9]+)\])*""").fullmatch
_STATE = re.compile(r"""state\[["']([^"']*)["']\]""").fullmatch
_HTTP = Phase.Q | Phase.B | Phase.R | Phase.S


class Shown(str):
    """A value as text that is more than text; `json` is its JSON."""

    json: str

    @classmethod
    def of(cls, text: str, value: object) -> Shown:
        """The text, with the value behind it."""
        shown = cls(text)
        shown.json = written(value)
        return shown


def field_of(name: str) -> Field | None:
    """The field that a name of a template reads; None where it is something else."""
    found = _NAME(name)
    return FIELDS.get(found[1]) if found is not None else None


def is_of_request(name: str) -> bool:
    """Whether a name of a template has a value of the request, which rules may change."""
    field = field_of(name)
    return field is not None and field.side == "request" and not name.startswith("orig.")


def state_name(name: str) -> str | None:
    """The name in the state that a name of a template reads, such as `client.step`; None where it reads none."""
    found = _STATE(name)
    return None if found is None else found[1]


@lru_cache(maxsize=1000)
def read_of(name: str) -> typed.Read | None:
    """What reads a field, such as `ws.json["user"]["name"]`; None where the name is no field."""
    from rulesproxy.filters.check import check
    from rulesproxy.filters.parse import parse

    field = field_of(name)
    if field is None or _WHOLE(name) is None:
        return None
    try:
        checked = check(parse(f"has({name})"))
    except FilterError:
        return None
    return next((test.read for test in _tests(checked.node) if test.read.field is field), None)


@lru_cache(maxsize=1000)
def reader(name: str) -> Callable[[FlowView], str | None] | None:
    """What reads a field that an exchange has from a view of it; None where the name is none."""
    field = field_of(name)
    found = read_of(name) if field is not None and field.phases & _HTTP else None
    if field is None or found is None:
        return None
    kind = field.kind

    def value(view: FlowView) -> str | None:
        values = values_of(found, view)
        return text_of(values[0], kind) if values else None

    return value


def _tests(node: typed.Node) -> Iterator[typed.Test]:
    if isinstance(node, typed.Test):
        yield node
    elif isinstance(node, typed.And):
        for item in node.items:
            yield from _tests(item)


def text_of(value: object, kind: Kind) -> str:
    """A value of a field as text; JSON values keep what they are."""
    if isinstance(value, bool):
        return Shown.of("true" if value else "false", value)
    if kind is Kind.JSON and not isinstance(value, str):
        return Shown.of(written(value), value)
    if isinstance(value, (int, float)):
        return Shown.of(str(value), value)
    return str(value)
