"""Fields of what rules and addons have left on a flow. They are read anew each time: every rule may change them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.phases import ALL, FROM_REQUEST

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

STATE = "state"
"""The key in the metadata of a flow under which its state is, as a mapping from names to values."""
SCOPES = ("flow", "client", "global")
"""Who remembers a value: what the names in it begin with."""


def tags(view: FlowView) -> tuple[str, ...]:
    """The tags that rules and addons have put on the flow."""
    return tuple([tag for tag in view.flow.tags if isinstance(tag, str)])


class StateValues:
    """The remembered values by name; None is for all of them."""

    __slots__ = ("_kept",)

    def __init__(self, kept: Mapping[object, object]) -> None:
        self._kept = kept

    def __getitem__(self, name: str | None) -> tuple[str, ...]:
        if name is None:
            return tuple([str(value) for value in self._kept.values()])
        value = self._kept.get(name)
        return () if value is None else (str(value),)


def state(view: FlowView) -> StateValues:
    """A value that a rule has remembered with `set-state`, such as `state["client.step"]`."""
    kept = view.flow.metadata.get(STATE)
    return StateValues(kept if isinstance(kept, Mapping) else {})


def replay(view: FlowView) -> str | None:
    """Which side did not come from the wire: `request` or `response`."""
    return view.flow.is_replay


FIELDS = (
    Field("flow.tags", Kind.TEXT, ALL, tags, "flow", many=True),
    Field("state", Kind.TEXT, ALL, state, "flow", keyed=True),
    Field("~replay", Kind.TEXT, FROM_REQUEST, replay, "flow", optional=True),
)
