"""`parse`: the text of a filter to its tree."""

from __future__ import annotations

from rulesproxy.filters import ast
from rulesproxy.filters.problem import FilterError, Problem

__all__ = ["FilterError", "Problem", "parse"]


def parse(text: str) -> ast.Node:
    """The tree of a filter.

    Raises:
        FilterError: it cannot be read; the problems name the mistake and its place.
    """
    raise NotImplementedError
