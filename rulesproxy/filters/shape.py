"""The parse tree of a regex, and the plain text in it: tests that can stand for it, prefixes and suffixes.

The tree is that of the standard library's own parser, which is no public interface: everything that knows it is here
and in `ambiguity`, and tests pin what is used.
"""

from __future__ import annotations

import importlib
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias

Tree: TypeAlias = Sequence[tuple[Any, Any]]
"""Pairs of an operation and its argument; operations print as their names."""

_Shape: TypeAlias = tuple[Literal["==", "startswith", "endswith", "contains", "under"], str]
_UPPER = frozenset(string.ascii_uppercase)
_LETTERS = frozenset(string.ascii_letters)


@dataclass(frozen=True)
class Pattern:
    """A regex in `re`'s spelling, which is compiled when it is first used: most rules of a large set never see a text.

    Attributes:
        text: the regex.
        flags: of `re`, with those that the text itself sets.
        groups: the names of its groups.
    """

    text: str
    flags: int
    groups: frozenset[str] = field(compare=False)

    @classmethod
    def of(cls, text: str, flags: int) -> Pattern:
        """The pattern of a text.

        Raises:
            re.error: it is no regex.
            RecursionError: it is nested too deeply.
            OverflowError: a count in it is too large.
        """
        state = parse(text, flags).state  # type: ignore[attr-defined]
        return cls(text, int(state.flags), frozenset(state.groupdict))

    @property
    def tree(self) -> Tree:
        """Its parse tree."""
        return parse(self.text, self.flags)

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """What runs."""
        return re.compile(self.text, self.flags)


@lru_cache(maxsize=16)
def parse(pattern: str, flags: int) -> Tree:
    """The tree of a pattern that compiles. The last few are remembered: hints ask again right after the compiler."""
    tree: Tree = importlib.import_module("re._parser").parse(pattern, flags)
    return tree


def width(tree: Tree) -> int:
    """The smallest number of characters that a regex matches."""
    return int(tree.getwidth()[0])  # type: ignore[attr-defined]


def longest(tree: Tree) -> int:
    """The largest number of characters that a regex matches."""
    return int(tree.getwidth()[1])  # type: ignore[attr-defined]


def fixed_width(tree: Tree) -> int | None:
    """The number of characters of everything that a regex matches; None where that differs."""
    low, high = tree.getwidth()  # type: ignore[attr-defined]
    return int(low) if low == high else None


def empty_rounds(tree: Tree) -> bool:
    """Whether a group is inside a repeat one round of which may be empty."""
    return any(_empty_rounds(str(op), argument) for op, argument in tree)


def _empty_rounds(name: str, argument: Any) -> bool:
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        body = argument[2]
        return (body.getwidth()[0] == 0 and _has_groups(body)) or empty_rounds(body)
    if name == "SUBPATTERN":
        return empty_rounds(argument[3])
    return name == "BRANCH" and any(map(empty_rounds, argument[1]))


def _has_groups(tree: Tree) -> bool:
    for op, argument in tree:
        if str(op) == "SUBPATTERN" and (argument[0] is not None or _has_groups(argument[3])):
            return True
        if str(op) in ("MAX_REPEAT", "MIN_REPEAT") and _has_groups(argument[2]):
            return True
        if str(op) == "BRANCH" and any(map(_has_groups, argument[1])):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Pieces:
    """Texts in their order with anything between them.

    Attributes:
        texts: the first one is at the very start, the last one at the very end; both may be empty.
        at_start: the first line is meant, not any.
        at_end: the last line is meant, not any.
        dotall: lines make no difference.
        ignore_case: the texts are in lower case, and ASCII letters of either case are the same.
    """

    texts: tuple[str, ...]
    at_start: bool
    at_end: bool
    dotall: bool
    ignore_case: bool


class Shapes:
    """What plain text says about a regex.

    Attributes:
        shape: a test that holds exactly where a search finds something, if there is one.
        prefix: what every text that it finds something in starts with; empty where nothing is known.
        suffix: what every such text ends with.
        pieces: plain texts with `.*` between them that mean the same, if there are some.
    """

    def __init__(self, tree: Tree, flags: int, fold: bool) -> None:
        self.shape: _Shape | None = None
        self.prefix = ""
        self.suffix = ""
        self.pieces: Pieces | None = None
        if flags & re.MULTILINE:
            # `^` and `$` say nothing of the whole text.
            return
        self._ignore_case = bool(flags & re.IGNORECASE)
        self._fold = fold
        items = flat(tree)
        under = self._under(items)
        if under:
            self.shape, self.suffix = ("under", under), under
            return
        at_start = bool(items) and _is_at(items[0], "AT_BEGINNING", "AT_BEGINNING_STRING")
        at_end = bool(items) and _is_at(items[-1], "AT_END_STRING")
        body = items[at_start : len(items) - at_end] if len(items) > 1 else [] if at_start or at_end else items
        if not at_start:
            while body and _may_be_empty(body[0]):
                body = body[1:]
        if not at_end:
            while body and _may_be_empty(body[-1]):
                body = body[:-1]
        if at_start:
            self.prefix = self._text(body)
        if at_end:
            self.suffix = self._text(body[::-1])[::-1]
        text = self._text(body)
        if len(text) == len(body):
            self.shape = (_TESTS[at_start, at_end], text)
        else:
            self.pieces = self._pieces(body, at_start, at_end, bool(flags & re.DOTALL))

    def _pieces(self, items: list[tuple[Any, Any]], at_start: bool, at_end: bool, dotall: bool) -> Pieces | None:
        texts = [""] if at_start else ["", ""]
        for item in items:
            if _is_anything(item):
                texts.append("")
                continue
            char = self._text([item])
            if not char and str(item[0]) == "LITERAL" and self._ignore_case:
                char = chr(item[1]).lower()
            if not char or char == "\n":
                return None
            texts[-1] += char
        if not at_end:
            texts.append("")
        if len(texts) == 1:
            return None
        return Pieces(tuple(texts), at_start, at_end, dotall, self._ignore_case)

    def _text(self, items: list[tuple[Any, Any]]) -> str:
        """The literal characters at the start of `items`, as long as they mean one text each."""
        chars = []
        for op, argument in items:
            if str(op) != "LITERAL":
                break
            char = chr(argument)
            if self._ignore_case and char in _LETTERS:
                if not self._fold:
                    break
                char = char.lower()
            elif self._fold and char in _UPPER:
                # It never occurs; the regex itself may say so.
                break
            chars.append(char)
        return "".join(chars)

    def _under(self, items: list[tuple[Any, Any]]) -> str:
        r"""The text of `(^|\.)text$`, with any kind of group."""
        if len(items) < 3 or not _is_at(items[-1], "AT_END_STRING") or str(items[0][0]) != "BRANCH":
            return ""
        arms = sorted(_arm_name(arm) for arm in items[0][1][1])
        text = self._text(items[1:-1])
        return text if arms == ["", "."] and len(text) == len(items) - 2 else ""


_TESTS: dict[tuple[bool, bool], Literal["==", "startswith", "endswith", "contains"]] = {
    (True, True): "==",
    (True, False): "startswith",
    (False, True): "endswith",
    (False, False): "contains",
}


def flat(tree: Tree) -> list[tuple[Any, Any]]:
    """The items of a sequence, those of groups without flags of their own among them."""
    items: list[tuple[Any, Any]] = []
    for op, argument in tree:
        if str(op) == "SUBPATTERN" and not argument[1] and not argument[2]:
            items.extend(flat(argument[3]))
        else:
            items.append((op, argument))
    return items


def _is_at(item: tuple[Any, Any], *names: str) -> bool:
    return str(item[0]) == "AT" and str(item[1]) in names


def _is_anything(item: tuple[Any, Any]) -> bool:
    if str(item[0]) not in ("MAX_REPEAT", "MIN_REPEAT"):
        return False
    low, high, body = item[1]
    return low == 0 and str(high) == "MAXREPEAT" and [str(op) for op, _ in body] == ["ANY"]


def _may_be_empty(item: tuple[Any, Any]) -> bool:
    return str(item[0]) in ("MAX_REPEAT", "MIN_REPEAT") and item[1][0] == 0


def _arm_name(arm: Tree) -> str:
    """`""` for the start of the text, `.` for a full stop, something else for the rest."""
    items = flat(arm)
    if len(items) == 1 and _is_at(items[0], "AT_BEGINNING", "AT_BEGINNING_STRING"):
        return ""
    if len(items) == 1 and str(items[0][0]) == "LITERAL":
        return chr(items[0][1])
    return "?"
