"""What of a filter can be known from the host, the path or a piece of text alone: conditions that an index looks up.

`index_keys` is for the index, `index_key` for whoever wants one answer about host and path, and `host_decision` for
those who know nothing but a host. All of them are necessary conditions: what they leave out is never true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rulesproxy.filters.check import Checked
from rulesproxy.filters.compile import predicate
from rulesproxy.filters.haystack import LEAST, known_part, place_of
from rulesproxy.filters.normal import normal_host
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import And, Const, Members, Node, Not, Or, Test

_Sets: TypeAlias = tuple[frozenset[str], frozenset[str]]
"""Whole values, and tops of domains or prefixes of paths."""
_Rule: TypeAlias = Callable[[Test], "_Sets | None"]

_NEVER: _Sets = (frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Key:
    """A necessary condition of a filter, or of one way for it to be true: all of its parts must pass.

    The host passes where one of `view.hosts` (the request's host, and the Host header's where that differs) is in
    `hosts` or is, or is a subdomain of, one of `suffixes`. The path (`view.path`) passes where it is in `paths` or
    starts with one of `prefixes`. Both sets of a pair are None where nothing is known; both empty: never true.

    Attributes:
        texts: one of them is in the haystack of the request's URL; None where nothing is known.
        header: the lower-case name of a header, empty for the whole section, and texts one of which is in its haystack.
    """

    hosts: frozenset[str] | None = None
    suffixes: frozenset[str] | None = None
    paths: frozenset[str] | None = None
    prefixes: frozenset[str] | None = None
    texts: frozenset[str] | None = None
    header: tuple[bytes, frozenset[str]] | None = None


def index_key(checked: Checked) -> Key:
    """What a flow must have for this filter to be true, as far as host and path go."""
    host = _necessary(checked.node, True, _host_sets)
    path = _necessary(checked.node, True, _path_sets)
    hosts, suffixes = host if host is not None else (None, None)
    paths, prefixes = path if path is not None else (None, None)
    return Key(hosts, suffixes, paths, prefixes)


def index_keys(checked: Checked) -> tuple[Key, ...]:
    """The ways in which this filter can be true; a flow for which it is true passes at least one of them."""
    return tuple(_arms(checked.node, True))


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


_ANY = Key()
_MAX_ARMS = 16
"""More ways than this are made fewer, at the price of candidates that need not have been tried."""


def _arms(node: Node, positive: bool) -> list[Key]:
    """The ways in which a tree, or its opposite, can be true."""
    if isinstance(node, Const):
        return [_ANY] if node.value == positive else []
    if isinstance(node, Not):
        return _arms(node.item, not positive)
    if isinstance(node, Test):
        return [_test_key(node) if positive else _ANY]
    if not isinstance(node, (And, Or)):
        return [_ANY]
    parts = [_arms(item, positive) for item in node.items]
    if isinstance(node, And) != positive:
        return _fewer([arm for part in parts for arm in part])
    arms = [_ANY]
    for part in sorted(parts, key=len):
        if len(arms) * len(part) <= _MAX_ARMS:
            arms = [_both(one, other) for one in arms for other in part]
    return arms


def _test_key(test: Test) -> Key:
    host, path, text = _host_sets(test), _path_sets(test), _texts(test)
    place = place_of(test.read)
    if host is None and path is None and (text is None or place is None):
        return _ANY
    hosts, suffixes = host if host is not None else (None, None)
    paths, prefixes = path if path is not None else (None, None)
    header = (place, text) if place and text is not None else None
    return Key(hosts, suffixes, paths, prefixes, text if place == b"" else None, header)


def _both(one: Key, other: Key) -> Key:
    """What passes both keys passes this one, which takes the narrower one of each part."""
    if one is _ANY or other is _ANY:
        return other if one is _ANY else one
    host = min((key for key in (one, other) if key.hosts is not None), key=_host_width, default=_ANY)
    path = min((key for key in (one, other) if key.paths is not None), key=_path_width, default=_ANY)
    texts = min([key.texts for key in (one, other) if key.texts is not None], key=_vague, default=None)
    header = min(
        [key.header for key in (one, other) if key.header is not None], key=lambda h: _vague(h[1]), default=None
    )
    return Key(host.hosts, host.suffixes, path.paths, path.prefixes, texts, header)


def _host_width(key: Key) -> float:
    return _width((key.hosts or frozenset(), key.suffixes or frozenset()))


def _path_width(key: Key) -> float:
    return _width((key.paths or frozenset(), key.prefixes or frozenset()))


def _vague(texts: frozenset[str]) -> float:
    """How little texts say: long ones say more than short ones, one says more than several."""
    return sum(1 / len(text) ** 2 for text in texts)


def _fewer(arms: list[Key]) -> list[Key]:
    """Ways that differ in one part only become one way, which loses nothing; if there are too many, others do too."""
    for lossless in (True, False):
        groups: dict[tuple[object, ...], Key] = {}
        for arm in arms:
            known = (arm.hosts is not None, arm.paths is not None, arm.texts is not None, arm.header and arm.header[0])
            single = sum(map(bool, known)) <= 1
            same = known if single or not lossless else (arm,)
            groups[same] = _either(groups[same], arm) if same in groups else arm
        arms = list(groups.values())
        if len(arms) <= _MAX_ARMS:
            return [_ANY] if _ANY in arms else arms
    return [_ANY]


def _either(one: Key, other: Key) -> Key:
    """What passes one of two keys with the same known parts passes this one."""
    return Key(
        _union(one.hosts, other.hosts),
        _union(one.suffixes, other.suffixes),
        _union(one.paths, other.paths),
        _union(one.prefixes, other.prefixes),
        None if one.texts is None or other.texts is None else one.texts | other.texts,
        None if one.header is None or other.header is None else (one.header[0], one.header[1] | other.header[1]),
    )


def _union(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return None if one is None or other is None else one | other


def _texts(test: Test) -> frozenset[str] | None:
    """Texts one of which is in every value that passes a test, long enough to be looked up."""
    operand = test.operand
    if test.read.functions:
        return None
    if isinstance(operand, Regex):
        found: frozenset[str] | None = operand.texts
    elif isinstance(operand, Members):
        found = None if operand.ranges or operand.networks else frozenset(map(str, operand.values))
    elif test.op == "glob" and isinstance(operand, tuple):
        found = frozenset({max(operand, key=lambda piece: len(known_part(piece)))})
    elif isinstance(operand, tuple):
        found = frozenset(operand)
    else:
        found = frozenset({operand}) if isinstance(operand, str) and test.op == "==" else None
    parts = frozenset(map(known_part, found)) if found else None
    return parts if parts and all(len(part) >= LEAST for part in parts) else None


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
