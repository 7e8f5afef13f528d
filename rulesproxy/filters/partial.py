"""What may become a match in a text that goes on: the places near its end at which one has begun and is not decided.

`Sought` is one thing that is looked for. `Tails` reads the end of a text backwards, for all of them together, and stops
where none of them can be under way: mostly after a character or two. Only where it finds a beginning, `Onward` says
whether more text can change what `re` would find there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from rulesproxy.filters import program as programs
from rulesproxy.filters import shape
from rulesproxy.filters.ambiguity import slowness
from rulesproxy.filters.automaton import Automaton, Costly
from rulesproxy.filters.charset import Ranges, holds
from rulesproxy.filters.program import EDGE, OTHER, Program, kind_of
from rulesproxy.filters.shape import Pattern
from rulesproxy.limits import REGEX_STEPS

Span = tuple[int, int]

_UNKNOWN = -1
"""The kind of a character that has not come yet."""
_AROUND = ("boundary", "inside")
_STEPS = 10_000
"""Steps that may be spent on one end of a text, about 1 ms; beyond it, where only hostile texts come, nothing is kept.
Reading the matches of a regex that takes `re` quadratic time may cost four steps more for each character."""
_WARM_UP = 50 * _STEPS
"""Steps that the automaton of such a regex may take beyond that, all in all: its states are made once, and few texts
need many of them."""


class Moves(NamedTuple):
    """The characters of a regex and their order (Glushkov 1961), numbered from 0. Places between them are ignored.

    Attributes:
        sets: what each of them can be.
        after: which of them can follow each.
        first: the ones that a match can begin with.
        open: the ones behind which more text can make a difference.
    """

    sets: list[Ranges]
    after: list[frozenset[int]]
    first: frozenset[int]
    open: frozenset[int]


class Sought(Protocol):
    """One thing that is looked for."""

    @property
    def moves(self) -> Moves:
        """Its characters."""

    @property
    def wide(self) -> bool:
        """Whether it can begin with a character beyond ASCII."""

    def near(self, text: str, place: int) -> bool:
        """Whether a cut at a place may hide or make a match."""

    def spans(self, text: str) -> Iterator[Span]:
        """The matches in a text, which do not overlap, from left to right.

        Raises:
            Costly: to find them would take too long.
        """

    def open(self, text: str, start: int) -> tuple[bool, int]:
        """Whether more text can change what is found at a place at which all that follows fits; the steps it took."""


@dataclass(frozen=True)
class Literal:
    """A plain text, of which at most the first `most` characters are kept back."""

    text: str
    most: int

    @property
    def moves(self) -> Moves:
        # Of a longer beginning nobody asks.
        chars = self.text[: self.most + 1]
        last = len(chars) - 1
        after = [frozenset({at + 1} if at < last else ()) for at in range(len(chars))]
        return Moves([((ord(char),) * 2,) for char in chars], after, frozenset({0}), frozenset(range(last)))

    @property
    def wide(self) -> bool:
        return self.text[0] > "\x7f"

    def near(self, text: str, place: int) -> bool:
        size = len(self.text)
        return text.find(self.text, max(0, place + 1 - size), place + size - 1) >= 0

    def spans(self, text: str) -> Iterator[Span]:
        at = text.find(self.text)
        while at >= 0:
            yield at, at + len(self.text)
            at = text.find(self.text, at + len(self.text))

    def open(self, text: str, start: int) -> tuple[bool, int]:
        return True, 0


class Matches:
    """The matches of a regex that are not empty."""

    def __init__(self, pattern: Pattern) -> None:
        """Make it for a pattern.

        Raises:
            TooLarge: the regex is too large.
            ValueError: it matches the empty text, which is everywhere.
        """
        if not shape.width(pattern.tree):
            raise ValueError("it matches the empty text")
        self._pattern = pattern
        self._program = Program(pattern.tree, pattern.flags)
        self._onward = Onward(self._program)
        linear = slowness(pattern.tree, pattern.flags, all_matches=True) == 1
        self._starts = None if linear else Automaton(pattern.tree, pattern.flags, reverse=True)
        self._spent = self._usual = 0
        self._spare = _WARM_UP

    @property
    def moves(self) -> Moves:
        return _moves(self._program)

    @cached_property
    def wide(self) -> bool:
        moves = self.moves
        return any(moves.sets[at][-1][1] > 0x7F for at in moves.first)

    def near(self, text: str, place: int) -> bool:
        return True

    def spans(self, text: str) -> Iterator[Span]:
        if self._starts is None:
            yield from [match.span() for match in self._pattern.compiled.finditer(text)]
            return
        starts = self._starts.starts(text, self._may_spend(self._starts, _STEPS + len(text)))
        left = _STEPS + 4 * len(text)
        start = starts.find(1)
        while start >= 0:
            end, steps, _ = self._onward(text, start)
            if end < 0:
                return
            yield start, end
            left -= steps
            if left <= 0:
                raise Costly
            start = starts.find(1, end)

    def _may_spend(self, starts: Automaton, usual: int) -> int:
        """So many steps for one text, and what is left of those for working the states of the automaton out."""
        self._spare -= max(0, starts.spent - self._spent - self._usual)
        self._spent, self._usual = starts.spent, usual
        return usual + max(0, self._spare)

    def open(self, text: str, start: int) -> tuple[bool, int]:
        _, steps, is_open = self._onward(text, start)
        return is_open, steps


def undecided(sought: Sought, text: str, places: Sequence[int]) -> int:
    """The first of some places from which on more text can change what is found; -1 if there is none.

    `places` are those from which on all the rest of the text fits the beginning of a match.

    Raises:
        Costly: to find them would take too long.
    """
    at, left = 0, _STEPS
    spans = sought.spans(text)
    start, end = next(spans, (len(text) + 1, 0))
    for place in places:
        while place > start:
            at = max(at, end)
            start, end = next(spans, (len(text) + 1, 0))
        if place < at or left <= 0:
            continue
        is_open, steps = sought.open(text, place)
        if is_open:
            return place
        left -= steps
    return -1


class Tails:
    """The beginnings of matches at the end of a text, for several things that are looked for.

    It reads backwards, as one automaton that is made while it reads.
    """

    def __init__(self, all: Sequence[Sought]) -> None:
        self._before: list[list[int]] = []
        self._owner: list[int] = []
        self._members: dict[Ranges, list[int]] = {}
        self._first: set[int] = set()
        self._open: set[int] = set()
        for number, sought in enumerate(all):
            moves = sought.moves
            base = len(self._before)
            self._before += [[] for _ in moves.sets]
            self._owner += [number] * len(moves.sets)
            for at, (ranges, after) in enumerate(zip(moves.sets, moves.after, strict=True), base):
                self._members.setdefault(ranges, []).append(at)
                for other in after:
                    self._before[base + other].append(at)
            self._first.update([base + at for at in moves.first])
            self._open.update([base + at for at in moves.open])
        self._reading: dict[str, frozenset[int]] = {}
        # What can have been read from a place on; the first two are nothing, and what can stand at the end of the text.
        self._states: list[frozenset[int]] = []
        self._numbers: dict[frozenset[int], int] = {}
        self._rows: list[dict[str, int]] = []
        self._found: list[tuple[int, ...]] = []
        self._forget()

    def __call__(self, text: str, most: int) -> dict[int, list[int]]:
        """For each number of what is looked for the places, in order, at most so many characters from the end."""
        rows, found = self._rows, self._found
        seen: list[tuple[int, tuple[int, ...]]] = []
        state = _START
        for place in range(len(text) - 1, max(-1, len(text) - 1 - most), -1):
            try:
                state = rows[state][text[place]]
            except KeyError:
                state = self._step(state, text[place])
            if not state:
                break
            if found[state]:
                seen.append((place, found[state]))
        places: dict[int, list[int]] = {}
        for place, numbers in reversed(seen):
            for number in numbers:
                places.setdefault(number, []).append(place)
        return places

    def _forget(self) -> None:
        for known in (self._states, self._numbers, self._rows, self._found, self._reading):
            known.clear()
        self._number(frozenset())
        self._states.append(frozenset(self._open))
        self._rows.append({})
        self._found.append(())
        self._left = REGEX_STEPS

    def _step(self, state: int, char: str) -> int:
        reading = self._reading.get(char)
        if reading is None:
            code = ord(char)
            sets = [members for ranges, members in self._members.items() if holds(ranges, code)]
            reading = self._reading[char] = frozenset().union(*sets)
        states = self._states[state]
        allowed = states if state == _START else {other for at in states for other in self._before[at]}
        row = self._rows[state]
        self._left -= 1
        if not self._left:
            self._forget()
        row[char] = to = self._number(reading & allowed)
        return to

    def _number(self, state: frozenset[int]) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            self._rows.append({})
            self._found.append(tuple(sorted({self._owner[at] for at in state & self._first})))
        return number


_START = 1


class Onward:
    """What `re` would find at a place of a text, and whether it could find something else if the text went on.

    Its threads have the order in which `re` tries them (Pike's machine); the steps are kept, up to a bound.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        # The threads, and the kind of the character before them; the first one has none left.
        self._states: list[tuple[tuple[int, ...], int]] = []
        self._numbers: dict[tuple[tuple[int, ...], int], int] = {}
        self._rows: list[dict[str, tuple[int, bool]]] = []
        self._spent = 0
        self._forget()

    def __call__(self, text: str, start: int) -> tuple[int, int, bool]:
        """Where the match ends, -1 if there is none; how many steps it took; whether more could change it.

        A step is a character that was read, or a thread that was looked at to work out what one does.
        """
        conditions = self._program.conditions
        before = OTHER if not conditions else kind_of(text[start - 1]) if start else EDGE
        state = self._number(((self._program.start,), before))
        spent = self._spent + start
        end = -1
        for place in range(start, len(text)):
            step = self._rows[state].get(text[place]) or self._step(state, text[place])
            state, found = step
            if found:
                end = place
            if not state:
                return end, self._spent + place + 1 - spent, False
        threads, found = self._closed(*self._states[state], _UNKNOWN)
        if not threads and found:
            end = len(text)
        return end, self._spent + len(text) - spent, bool(threads)

    def _forget(self) -> None:
        for known in (self._states, self._numbers, self._rows):
            known.clear()
        self._number(((), OTHER))
        self._left = REGEX_STEPS

    def _number(self, state: tuple[tuple[int, ...], int]) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            self._rows.append({})
        return number

    def _step(self, state: int, char: str) -> tuple[int, bool]:
        """The state behind a character, 0 if nothing is left to find; and whether a match ends before it."""
        program, code = self._program, ord(char)
        kind = kind_of(char) if program.conditions else OTHER
        threads, found = self._closed(*self._states[state], kind)
        moved = dict.fromkeys([program.after[at][0] for at in threads if holds(program.sets[at], code)])
        row = self._rows[state]
        self._spent += len(threads)
        self._left -= 1
        if not self._left:
            self._forget()
        row[char] = step = self._number((tuple(moved), kind)) if moved else 0, found
        return step

    def _closed(self, pending: tuple[int, ...], before: int, after: int) -> tuple[list[int], bool]:
        """The instructions that are reached without reading, the ones to try first in front; whether a match ends here.

        What comes behind the end of a match is never tried.
        """
        program = self._program
        order: list[int] = []
        seen: set[int] = set()
        todo = list(reversed(pending))
        while todo:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            if not place:
                return order, True
            condition = program.conditions.get(place)
            if place in program.sets or (after == _UNKNOWN and condition in _AROUND):
                order.append(place)
                continue
            if condition is not None and not programs.holds(condition, before, EDGE if after == _UNKNOWN else after):
                continue
            todo.extend(reversed(program.after[place]))
        return order, False


def _moves(program: Program) -> Moves:
    number = {place: at for at, place in enumerate(program.sets)}
    reached = [_reached(program, program.after[place]) for place in program.sets]
    return Moves(
        list(program.sets.values()),
        [frozenset([number[place] for place in after if place in number]) for after in reached],
        frozenset([number[place] for place in _reached(program, (program.start,)) if place in number]),
        frozenset([at for at, after in enumerate(reached) if after]),
    )


def _reached(program: Program, todo: Sequence[int]) -> set[int]:
    """The instructions that read and those that look around which can come next, whatever stands there."""
    found: set[int] = set()
    seen: set[int] = set()
    left = list(todo)
    while left:
        place = left.pop()
        if place in seen:
            continue
        seen.add(place)
        condition = program.conditions.get(place)
        if place in program.sets or condition in _AROUND:
            found.add(place)
        if place in program.sets or condition == "end":
            continue
        left.extend(program.after[place])
    return found
