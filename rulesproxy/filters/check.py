"""`check`: fields, types, names and regexes of a filter; its typed tree and what the rules need to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rulesproxy.filters import ast, typed
from rulesproxy.filters.phases import Phase
from rulesproxy.filters.problem import FilterError, Problem

__all__ = ["Checked", "FilterError", "Phase", "check"]

_NO_NAMES: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Checked:
    """A filter that can be used.

    Attributes:
        node: its typed tree.
        phases: where the whole filter can be decided and may be true; empty for a filter that never is.
        needs_body: `Phase.B`, `Phase.S`, both or none: the bodies that it reads.
        head_only: what is known without bodies: true wherever the filter may be true. `node` itself without body fields.
        uses_response: whether it reads anything of the response.
        either_side: whether it reads whichever side is there (`~h`) and is to be tried in both passes.
        captures: named groups that are set whenever the filter is true.
        conditional_captures: named groups under `or`, `not` or a quantifier: not usable as captures.
        warnings: problems that do not stop it.
    """

    node: typed.Node
    phases: Phase
    needs_body: Phase
    head_only: typed.Node
    uses_response: bool
    either_side: bool
    captures: frozenset[str]
    conditional_captures: frozenset[str]
    warnings: tuple[Problem, ...]


def check(node: ast.Node, names: Mapping[str, object] = _NO_NAMES) -> Checked:
    """Type and desugar a filter. `names`: lists (tuples of `str`), filters (trees) and variables (`str`) by name.

    Raises:
        FilterError: unknown fields or names, types that do not fit, regexes outside the dialect; all of them.
    """
    raise NotImplementedError
