"""`matches`: a small interpreter of typed trees without cache or optimisation, the oracle for compiler and index."""

from __future__ import annotations

from rulesproxy.filters import typed
from rulesproxy.filters.check import Checked
from rulesproxy.flow.http import HTTPFlow


def matches(filter: Checked | typed.Node, flow: HTTPFlow) -> bool:
    """Whether the filter is true for the flow."""
    raise NotImplementedError
