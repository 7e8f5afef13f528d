"""`compile_filter`: a checked filter to a function of a view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from rulesproxy.filters.check import Checked
from rulesproxy.filters.view import FlowView

Filter: TypeAlias = Callable[[FlowView], bool]


def compile_filter(checked: Checked, *, head_only: bool = False) -> Filter:
    """The fastest function that decides this filter; with `head_only` its over-approximation without bodies."""
    raise NotImplementedError


def compile_captures(checked: Checked) -> Callable[[FlowView], dict[str, str]]:
    """A function that gives the captures for a flow that the filter matches; a group that took no part is left out."""
    raise NotImplementedError
