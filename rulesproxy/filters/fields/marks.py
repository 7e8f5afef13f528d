"""Fields of what rules and addons have left on a flow. They are read anew each time: every rule may change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.fields.message import PairValues
from rulesproxy.filters.phases import ALL, FROM_REQUEST

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

STATE = "state"
"""The key in the metadata of a flow under which its state is."""


def tags(view: FlowView) -> tuple[str, ...]:
    """The tags that rules and addons have put on the flow."""
    return tuple([tag for tag in view.flow.tags if isinstance(tag, str)])


def state(view: FlowView) -> PairValues:
    """A value that a rule has remembered, such as `state["flow.step"]`."""
    kept = view.flow.metadata.get(STATE)
    return PairValues([(str(name), str(value)) for name, value in kept.items()] if isinstance(kept, dict) else [])


def replay(view: FlowView) -> str | None:
    """Which side did not come from the wire: `request` or `response`."""
    return view.flow.is_replay


FIELDS = (
    Field("flow.tags", Kind.TEXT, ALL, tags, "flow", many=True),
    Field("state", Kind.TEXT, ALL, state, "flow", keyed=True),
    Field("~replay", Kind.TEXT, FROM_REQUEST, replay, "flow", optional=True),
)
