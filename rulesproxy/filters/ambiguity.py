"""Whether a backtracking engine can need exponential time for a regex.

It can where one loop of the regex reads the same text in two ways. The regex becomes a Glushkov automaton, whose states
are its characters; two different walks around a loop over the same text are then a path in the product of the automaton
with itself that leaves the diagonal and comes back to it (Weber and Seidl 1991). A transition that two parts of the
regex make is such a second way as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rulesproxy.filters import shape
from rulesproxy.filters.charset import characters, mask
from rulesproxy.filters.shape import Tree
from rulesproxy.limits import REGEX_SHORT

_MAX_STATES = 200
"""More states in one loop are not analysed but refused."""
_MAX_TRIPLES = 20_000
_UNROLLED = 8
"""A repeat up to this many times is written out; a longer one counts as a loop, as it costs like one."""
_ALL = (1 << 257) - 1
"""A set of characters: one bit for each below 256, and one for all others."""


def ambiguous(tree: Tree, flags: int) -> str:
    """What is wrong with a regex, in words; empty where nothing is."""
    if not _nested(tree, 0):
        return ""
    automaton = _Automaton()
    try:
        automaton.sequence(tree, flags)
    except _TooBig:
        return "it is too large to be sure that it does not"
    return automaton.verdict()


def slowness(tree: Tree, flags: int, *, at_one_place: bool = False, all_matches: bool = False) -> int:
    """The power of the length of a text that a search with `re` may cost: 1 is linear, 2 quadratic, 3 that or more.

    Two loops in a row share text where some word can be read by the first, by the second, and on the way between them:
    how far each of them goes is then open, and each such pair multiplies the work by the length of the text. The search
    itself, which tries every start, is the first loop of a regex without `^`, unless the match is to start
    `at_one_place`. Only one match is looked for, or `all_matches`.
    """
    items = _without_tail(tree, all_matches)
    first = items[0] if items else ("", "")
    at_start = str(first[0]) == "AT" and "BEGINNING" in str(first[1]) and not flags & re.MULTILINE
    anchored = at_start or at_one_place
    if sum(1 for _ in _repeats(items)) + (not anchored) <= 1:
        return 1
    automaton = _Automaton()
    try:
        part = automaton.sequence(items, flags)
        if not anchored:
            start = automaton.state(_ALL)
            automaton.join(start.last, start.first)
            automaton.join(start.last, part.first)
        degree = min(1 + automaton.pairs(), 3)
    except _TooBig:
        return 3
    # From each start it reads so far and no further: the text may be as long as it will.
    short = degree == 2 and not at_one_place and shape.longest(tree) <= REGEX_SHORT
    return 1 if short else degree


def steady(tree: Tree, flags: int) -> bool:
    """Whether matches cost `re` no more than their length, once it is known where they start.

    That is so where no repeat gives back more than once what it has read: there is one, or each of them takes as little
    as it can or stops where the next thing begins. With one repeat that gives back, all that lies between the end of a
    match and where it had read to holds no further match.
    """
    items = shape.flat(tree)
    loops = [at for at, item in enumerate(items) if _is_loop(item)]
    if sum(1 for _ in _repeats(items)) > len(loops):
        return False
    return len(loops) <= 1 or all(_stops(items, at, flags) for at in loops)


def _is_loop(item: tuple[Any, Any]) -> bool:
    return str(item[0]) in ("MAX_REPEAT", "MIN_REPEAT") and item[1][1] > _UNROLLED


def _stops(items: list[tuple[Any, Any]], at: int, flags: int) -> bool:
    """Whether the repeat there takes as little as it can, or stops where the next item begins."""
    name, (_, _, body) = items[at]
    if len(body) != 1 or not _is_character(body[0]):
        return False
    if str(name) == "MIN_REPEAT" or at + 1 == len(items):
        return True
    following = items[at + 1]
    if not _is_character(following):
        return False
    own, other = (mask(characters(str(op), argument, flags)) for op, argument in (body[0], following))
    return not own & other


def _is_character(item: tuple[Any, Any]) -> bool:
    return str(item[0]) in ("LITERAL", "NOT_LITERAL", "ANY", "IN")


def _without_tail(tree: Tree, plain: bool) -> list[tuple[Any, Any]]:
    """A tree without the rounds at its end that nothing needs: where the engine is there, it never comes back.

    With `plain` only rounds of one character, of which none is read in vain.
    """
    items = list(tree)
    while items:
        op, argument = items[-1]
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT") and argument[0] < argument[1]:
            if plain and not (len(argument[2]) == 1 and _is_character(argument[2][0])):
                break
            items.pop()
            if argument[0]:
                items.append((op, (argument[0], argument[0], argument[2])))
                break
        elif name == "SUBPATTERN":
            group, on, off, inner = argument
            items[-1] = (op, (group, on, off, _without_tail(inner, plain)))
            break
        else:
            break
    return items


def _repeats(tree: Tree) -> Iterator[None]:
    """One item for each repeat without a small bound."""
    for op, argument in tree:
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            if argument[1] > _UNROLLED:
                yield
            yield from _repeats(argument[2])
        elif name == "BRANCH":
            for arm in argument[1]:
                yield from _repeats(arm)
        elif name == "SUBPATTERN":
            yield from _repeats(argument[3])


def _nested(tree: Tree, depth: int) -> bool:
    """Whether a repeat holds a repeat or an alternative: without that there is nothing to look for."""
    for op, argument in tree:
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            inner = depth + (argument[1] > 1)
            if (depth and argument[0] != argument[1]) or _nested(argument[2], inner):
                return True
        elif name == "BRANCH":
            if depth or any(_nested(arm, depth) for arm in argument[1]):
                return True
        elif name == "SUBPATTERN" and _nested(argument[3], depth):
            return True
    return False


class _TooBig(Exception):
    pass


class _Part:
    """A piece of the automaton: the states it can start and end with, and whether it can be empty."""

    __slots__ = ("empty", "first", "last")

    def __init__(self, first: list[int], last: list[int], empty: bool) -> None:
        self.first, self.last, self.empty = first, last, empty


class _Automaton:
    def __init__(self) -> None:
        self.sets: list[int] = []
        self.follow: list[set[int]] = []
        self.double: set[tuple[int, int]] = set()

    # Building

    def state(self, chars: int) -> _Part:
        if len(self.sets) >= 4 * _MAX_STATES:
            raise _TooBig
        self.sets.append(chars)
        self.follow.append(set())
        index = len(self.sets) - 1
        return _Part([index], [index], False)

    def join(self, before: list[int], after: list[int]) -> None:
        for a in before:
            for b in after:
                if b in self.follow[a]:
                    self.double.add((a, b))
                self.follow[a].add(b)

    def chain(self, one: _Part, two: _Part) -> _Part:
        self.join(one.last, two.first)
        first = one.first + two.first if one.empty else one.first
        last = one.last + two.last if two.empty else two.last
        return _Part(first, last, one.empty and two.empty)

    def sequence(self, tree: Tree, flags: int) -> _Part:
        part = _Part([], [], True)
        for op, argument in tree:
            part = self.chain(part, self.item(str(op), argument, flags))
        return part

    def item(self, name: str, argument: Any, flags: int) -> _Part:
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            return self.repeat(low, high, body, flags)
        if name == "SUBPATTERN":
            return self.sequence(argument[3], (flags | argument[1]) & ~argument[2])
        if name == "BRANCH":
            parts = [self.sequence(arm, flags) for arm in argument[1]]
            return _Part(
                [state for part in parts for state in part.first],
                [state for part in parts for state in part.last],
                any(part.empty for part in parts),
            )
        if name == "AT":
            return _Part([], [], True)
        if name.startswith("ASSERT"):
            # Only our own end of line is one.
            return _Part([], [], True)
        return self.state(mask(characters(name, argument, flags)))

    def repeat(self, low: int, high: int, body: Tree, flags: int) -> _Part:
        if high <= _UNROLLED:
            part = _Part([], [], True)
            copies = [self.sequence(body, flags) for _ in range(high)]
            for index, copy in reversed(list(enumerate(copies))):
                part = self.chain(copy, part)
                part.empty = part.empty or index >= low
            return part
        part = self.sequence(body, flags)
        self.join(part.last, part.first)
        if part.empty and low > 1:
            # The engine may leave any of the wanted rounds empty: as many ways as there are choices of rounds.
            self.join(part.last, part.first)
        return _Part(part.first, part.last, part.empty or low == 0)

    # Judging

    def verdict(self) -> str:
        for loop in _loops(self.follow):
            if any(a in loop and b in loop for a, b in self.double):
                return "a repeat in a repeat reads the same text in two ways"
            if len(loop) > _MAX_STATES:
                return "it is too large to be sure that it does not"
            if self.two_ways(loop):
                return "a loop in it reads the same text in two ways"
        return ""

    def pairs(self) -> int:
        """The longest chain of loops each of which shares text with the next."""
        loops = _loops(self.follow)
        reach = [_reachable(self.follow, min(loop)) for loop in loops]
        after = {
            one: [
                two
                for two in range(len(loops))
                if two != one and loops[two] & reach[one] and self.share(loops[one], loops[two])
            ]
            for one in range(len(loops))
        }
        longest: dict[int, int] = {}

        def chain(one: int) -> int:
            if one not in longest:
                longest[one] = max((1 + chain(two) for two in after[one]), default=0)
            return longest[one]

        return max(map(chain, after), default=0)

    def share(self, one: set[int], two: set[int]) -> bool:
        """Whether some word goes around `one`, around `two`, and from the same state of one to that of two."""
        return any(self.same_word(p, q, one, two) for p in one for q in two)

    def same_word(self, p: int, q: int, one: set[int], two: set[int]) -> bool:
        todo = [(p, p, q)]
        seen = set(todo)
        while todo:
            at = todo.pop()
            if len(seen) > _MAX_TRIPLES:
                raise _TooBig
            for a in self.follow[at[0]] & one:
                for c in self.follow[at[2]] & two:
                    chars = self.sets[a] & self.sets[c]
                    if not chars:
                        continue
                    for b in self.follow[at[1]]:
                        step = (a, b, c)
                        if chars & self.sets[b] and step not in seen:
                            if step == (p, q, q):
                                return True
                            seen.add(step)
                            todo.append(step)
        return False

    def two_ways(self, loop: set[int]) -> bool:
        """Whether some pair of different states lies between two pairs of equal ones."""
        after: dict[tuple[int, int], list[tuple[int, int]]] = {}
        before: dict[tuple[int, int], list[tuple[int, int]]] = {}
        todo = [(state, state) for state in loop]
        seen = set(todo)
        while todo:
            pair = todo.pop()
            after[pair] = steps = []
            for a in self.follow[pair[0]] & loop:
                for b in self.follow[pair[1]] & loop:
                    if self.sets[a] & self.sets[b]:
                        step = (a, b) if a <= b else (b, a)
                        steps.append(step)
                        before.setdefault(step, []).append(pair)
                        if step not in seen:
                            seen.add(step)
                            todo.append(step)
        back = [(state, state) for state in loop]
        reached = set(back)
        while back:
            for pair in before.get(back.pop(), ()):
                if pair not in reached:
                    reached.add(pair)
                    back.append(pair)
        return any(a != b for a, b in seen & reached)


def _loops(follow: list[set[int]]) -> list[set[int]]:
    """The strongly connected parts of a graph that hold a loop."""
    reach = [_reachable(follow, state) for state in range(len(follow))]
    loops: list[set[int]] = []
    done: set[int] = set()
    for state in range(len(follow)):
        if state in done or state not in reach[state]:
            continue
        loop = {other for other in reach[state] if state in reach[other]}
        done |= loop
        loops.append(loop)
    return loops


def _reachable(follow: list[set[int]], start: int) -> set[int]:
    seen: set[int] = set()
    todo = list(follow[start])
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo.extend(follow[state] - seen)
    return seen
