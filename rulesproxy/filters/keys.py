"""`index_key` and `host_decision`: what of a filter can be known from the host or the path alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rulesproxy.filters.check import Checked
from rulesproxy.filters.compile import predicate
from rulesproxy.filters.normal import normal_host
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import And, Const, Members, Node, Not, Or, Test

_Sets: TypeAlias = tuple[frozenset[str], frozenset[str]]
"""Whole values, and tops of domains or prefixes of paths."""
_Rule: TypeAlias = Callable[[Test], "_Sets | None"]

_NEVER: _Sets = (frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Key:
    """A necessary condition of a filter: it can only be true for a flow whose host and path both pass.

    The host passes where one of `view.hosts` (the request's host, and the Host header's where that differs) is in
    `hosts` or is, or is a subdomain of, one of `suffixes`. The path (`view.path`) passes where it is in `paths` or
    starts with one of `prefixes`. Both sets of a pair are None where nothing is known; both empty: never true.
    """

    hosts: frozenset[str] | None
    suffixes: frozenset[str] | None
    paths: frozenset[str] | None
    prefixes: frozenset[str] | None


def index_key(checked: Checked) -> Key:
    """What a flow must have for this filter to be true, as far as host and path go."""
    host = _necessary(checked.node, True, _host_sets)
    path = _necessary(checked.node, True, _path_sets)
    hosts, suffixes = host if host is not None else (None, None)
    paths, prefixes = path if path is not None else (None, None)
    return Key(hosts, suffixes, paths, prefixes)


def host_decision(checked: Checked) -> Callable[[str], bool]:
    """A function of a host: may the filter be true for some flow to it?

    A flow to a host is one whose request, and whose Host header where it has one, names that host.
    """
    may = _may(checked.node, True)
    if may is None:
        return _always
    return lambda host: may(normal_host(host))


def _always(host: str) -> bool:
    return True


def _necessary(node: Node, positive: bool, rule: _Rule) -> _Sets | None:
    """The sets that a tree, or its opposite, needs its host or path to be in; None where nothing is known."""
    if isinstance(node, Const):
        return None if node.value == positive else _NEVER
    if isinstance(node, Not):
        return _necessary(node.item, not positive, rule)
    if isinstance(node, Test):
        return rule(node) if positive else None
    if not isinstance(node, (And, Or)):
        return None
    parts = [_necessary(item, positive, rule) for item in node.items]
    known = [part for part in parts if part is not None]
    if isinstance(node, And) == positive:
        return min(known, key=_width, default=None)
    if len(known) < len(parts):
        return None
    return (
        frozenset[str]().union(*[part[0] for part in known]),
        frozenset[str]().union(*[part[1] for part in known]),
    )


def _width(sets: _Sets) -> float:
    """How much a key lets through: a whole value is one, a longer top or prefix is less than a shorter one."""
    whole, wide = sets
    return len(whole) + sum(1000 / len(text) for text in wide)


def _host_sets(test: Test) -> _Sets | None:
    read = test.read
    if read.field.name not in ("host", "~d") or read.original or read.functions or read.element:
        return None
    whole, tail = _plain(test)
    if whole is not None:
        return whole, frozenset()
    if test.op == "under" and isinstance(test.operand, tuple):
        return frozenset(), frozenset(test.operand)
    if isinstance(test.operand, Regex) and test.operand.shape is not None and test.operand.shape[0] == "under":
        return frozenset(), frozenset({test.operand.shape[1]})
    # What a host ends with says something about whole labels only.
    tops = frozenset(text.partition(".")[2] for text in tail[1])
    return (frozenset(), tops) if tops and all(tops) else None


def _path_sets(test: Test) -> _Sets | None:
    read = test.read
    if read.field.name != "path" or read.original or read.functions or read.element:
        return None
    whole, head = _plain(test)
    if whole is not None:
        return whole, frozenset()
    if test.op == "under" and isinstance(test.operand, tuple):
        return frozenset(test.operand), frozenset(f"{top}/" for top in test.operand)
    return (frozenset(), frozenset(head[0])) if head[0] and all(head[0]) else None


def _plain(test: Test) -> tuple[frozenset[str] | None, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The whole values that a test allows, if they can be listed, and what they start and end with."""
    operand = test.operand
    if test.op == "==" and isinstance(operand, str):
        return frozenset({operand}), ((), ())
    if isinstance(operand, Members):
        return frozenset(str(value) for value in operand.values), ((), ())
    if isinstance(operand, Regex):
        if operand.shape is not None and operand.shape[0] == "==":
            return frozenset({operand.shape[1]}), ((), ())
        return None, ((operand.prefix,), (operand.suffix,))
    if isinstance(operand, tuple) and test.op == "glob":
        if len(operand) == 1:
            return frozenset(operand), ((), ())
        return None, ((operand[0],), (operand[-1],))
    if isinstance(operand, tuple) and test.op in ("startswith", "endswith"):
        return None, (operand, ()) if test.op == "startswith" else ((), operand)
    return None, ((), ())


_May: TypeAlias = Callable[[str], bool]


def _may(node: Node, positive: bool) -> _May | None:
    """May a tree, or its opposite, be true for a host? None: always."""
    if isinstance(node, Const):
        return None if node.value == positive else (lambda host: False)
    if isinstance(node, Not):
        return _may(node.item, not positive)
    if isinstance(node, Test):
        if node.read.field.name not in ("host", "~d") or node.read.element:
            return None
        passes = predicate(node)
        return passes if positive else (lambda host: not passes(host))
    if not isinstance(node, (And, Or)):
        return None
    parts = [_may(item, positive) for item in node.items]
    known = [part for part in parts if part is not None]
    if isinstance(node, And) == positive:
        return (lambda host: all(part(host) for part in known)) if known else None
    return (lambda host: any(part(host) for part in known)) if len(known) == len(parts) else None
