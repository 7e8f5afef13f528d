"""Groups of a match in linear time: backtracking that tries nothing twice, as RE2's bit-state matcher does.

What `re` would try first is tried first, so that it ends at the same match. From one place of the program at one place
of the text nothing else can follow the second time: what has failed there is not tried again.
"""

from __future__ import annotations

from rulesproxy.filters import program as programs
from rulesproxy.filters.charset import holds
from rulesproxy.filters.program import EDGE, Program, kind_of
from rulesproxy.filters.shape import Tree

_FORGET = -1


class Walk:
    """Walks for one regex. Groups inside repeats of what may be empty are not for it."""

    __slots__ = ("_program",)

    def __init__(self, tree: Tree, flags: int) -> None:
        """Make it for a tree of `shape.parse`.

        Raises:
            TooLarge: the regex is too large.
        """
        self._program = Program(tree, flags, groups=True)

    def __call__(self, text: str, start: int) -> dict[int, int]:
        """The edges of the groups of the match that starts there: by twice their number, and one more at the end.

        Raises:
            ValueError: no match starts there.
        """
        program = self._program
        sets, saves, conditions = program.sets, program.saves, program.conditions
        tried: dict[int, bytearray] = {}
        saved: dict[int, int] = {}
        # Places to go on from; or, behind an edge that was saved, what it was before.
        todo: list[tuple[int, int, int]] = [(program.start, start, 0)]
        size = len(text)
        while todo:
            place, at, slot = todo.pop()
            if place == _FORGET:
                saved[slot] = at
                continue
            while place:
                if place in sets:
                    if at == size or not holds(sets[place], ord(text[at])):
                        break
                    at += 1
                elif place in saves:
                    slot = saves[place]
                    todo.append((_FORGET, saved.get(slot, _FORGET), slot))
                    saved[slot] = at
                elif place in conditions:
                    before = kind_of(text[at - 1]) if at else EDGE
                    if not programs.holds(conditions[place], before, kind_of(text[at]) if at < size else EDGE):
                        break
                else:
                    seen = tried.get(place)
                    if seen is None:
                        seen = tried[place] = bytearray(size + 1)
                    if seen[at]:
                        break
                    seen[at] = 1
                    todo.extend([(other, at, 0) for other in reversed(program.after[place][1:])])
                place = program.after[place][0]
            else:
                return {slot: edge for slot, edge in saved.items() if edge >= 0}
        raise ValueError("no match starts there")
