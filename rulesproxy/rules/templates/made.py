"""The values that are made for a rule when it acts: `${now}`, `${uuid}`, `${counter}`, and what it reads of a message.

They stand among its captures, under names that no capture has, and with them the request that the rule saw.
"""

from __future__ import annotations

from collections.abc import Callable

from rulesproxy.filters.reference import values_of
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import Captures
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.templates.fields import read_of, text_of
from rulesproxy.rules.templates.filters import Instant, Seen
from rulesproxy.rules.templates.names import COUNTER, MADE, NOW, UUID


def making(
    names: frozenset[str], captures: Callable[[FlowView], Captures] | None, memory: Memory, outside: Outside
) -> Callable[[FlowView], Captures]:
    """Captures with the values of `names`. They are asked for once per flow on which a rule acts, so they may count."""
    of_message = [(f"${name}", read) for name in names if name not in MADE and (read := read_of(name)) is not None]

    def make(view: FlowView) -> Captures:
        found = _Made(captures(view) if captures is not None else {}, outside)
        # A view of raw TCP has no request of its own, and no template reads one there.
        if isinstance(view.flow, HTTPFlow) and view.request is not view.flow.request:
            found.request = view.request
        if COUNTER in names:
            found[f"${COUNTER}"] = str(memory.next(COUNTER))
        if UUID in names:
            kept = view.flow.metadata
            if UUID not in kept:
                kept[UUID] = outside.uuid()
            found[f"${UUID}"] = str(kept[UUID])
        for key, read in of_message:
            values = values_of(read, view)
            if values:
                found[key] = text_of(values[0], read.field.kind)
        return found

    return make


class _Made(Seen):
    """Captures beside values that are made for the rule. The time is that of the moment at which it is asked for."""

    __slots__ = ("_outside",)

    def __init__(self, captures: Captures, outside: Outside) -> None:
        super().__init__(captures)
        self._outside = outside

    def get(self, name: str, default: object = None) -> str | None:  # type: ignore[override]
        if name == f"${NOW}":
            return Instant.of(self._outside.wall())
        return super().get(name)
