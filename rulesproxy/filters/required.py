"""The texts that a regex cannot do without: one of them is in everything that it finds.

It reads the tree of `shape.parse`. The texts are lower-case ASCII: whoever looks for them folds letters first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rulesproxy.filters.shape import Tree

_MOST = 16
"""Texts that one part may stand for; beyond it only its own parts are looked at."""
_ROUNDS = 4
"""A repeat up to this many times is written out."""
_LONGEST = 64
_NOTHING: frozenset[str] = frozenset()
_NO_TEXT = frozenset({""})


def required(tree: Tree) -> frozenset[str]:
    """Texts one of which is in every text that a search finds something in; empty where there are none to know."""
    part = _sequence(tree)
    return _best(part.needed, part.exact)


@dataclass(slots=True)
class _Part:
    """Attributes:
    exact: everything that it can match; None where that is too much or not known.
    needed: texts one of which is in everything that it matches; empty where nothing is known.
    """

    exact: frozenset[str] | None
    needed: frozenset[str] = _NOTHING


_EMPTY = _Part(_NO_TEXT)
_UNKNOWN = _Part(None)


def _sequence(tree: Tree) -> _Part:
    run: frozenset[str] = _NO_TEXT
    needed = _NOTHING
    whole = True
    literal = ""
    for op, argument in tree:
        name = str(op)
        # Letters beyond ASCII have cases that texts do not share.
        if name == "LITERAL" and argument < 128:
            literal += chr(argument).lower()
            continue
        for part in (_Part(frozenset({literal})), _item(name, argument)) if literal else (_item(name, argument),):
            joined = None if part.exact is None else _product(run, part.exact)
            if joined is not None:
                run = joined
                continue
            whole = False
            needed = _best(needed, run)
            if part.exact is None:
                needed = _best(needed, part.needed)
                run = _NO_TEXT
            else:
                run = part.exact
        literal = ""
    joined = _product(run, frozenset({literal}))
    if joined is None:
        return _Part(None, _best(_best(needed, run), frozenset({literal[:_LONGEST]})))
    return _Part(joined, needed) if whole else _Part(None, _best(needed, joined))


def _item(name: str, argument: Any) -> _Part:
    if name == "IN":
        return _class(argument)
    if name == "SUBPATTERN":
        return _sequence(argument[3])
    if name == "AT" or name.startswith("ASSERT"):
        # No width. Our own end of line is the one assertion.
        return _EMPTY
    if name == "BRANCH":
        return _branch([_sequence(arm) for arm in argument[1]])
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        return _repeat(*argument)
    return _UNKNOWN


def _class(items: list[tuple[Any, Any]]) -> _Part:
    if len(items) > _MOST or any(str(op) != "LITERAL" or code > 127 for op, code in items):
        return _UNKNOWN
    return _Part(frozenset([chr(code).lower() for _, code in items]))


def _branch(parts: list[_Part]) -> _Part:
    sets = [part.exact for part in parts]
    known = [each for each in sets if each is not None]
    if len(known) == len(sets):
        union = _NOTHING.union(*known)
        return _Part(union) if len(union) <= _MOST else _Part(None, union)
    needs = [_best(part.needed, part.exact) for part in parts]
    return _Part(None, _NOTHING.union(*needs) if all(needs) else _NOTHING)


def _repeat(low: int, high: int, body: Tree) -> _Part:
    part = _sequence(body)
    if part.exact is None:
        return _Part(None, part.needed if low else _NOTHING)
    rounds = [frozenset({""})]
    while len(rounds) <= min(high, _ROUNDS):
        longer = _product(rounds[-1], part.exact)
        if longer is None:
            break
        rounds.append(longer)
    union = _NOTHING.union(*rounds[low:])
    if len(rounds) > high and len(union) <= _MOST:
        return _Part(union)
    return _Part(None, rounds[min(low, len(rounds) - 1)] if low else _NOTHING)


def _product(one: frozenset[str], other: frozenset[str]) -> frozenset[str] | None:
    if len(one) * len(other) > _MOST:
        return None
    found = frozenset([a + b for a in one for b in other])
    return found if max(map(len, found), default=0) <= _LONGEST else None


def _best(one: frozenset[str], other: frozenset[str] | None) -> frozenset[str]:
    """The set that says more: whose shortest text is longer, then the smaller one."""
    if not other or "" in other:
        return one
    return other if not one or _worth(other) > _worth(one) else one


def _worth(texts: frozenset[str]) -> tuple[int, int]:
    return min(min(map(len, texts)), 12), -len(texts)
