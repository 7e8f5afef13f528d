"""The regex dialect: what a linear-time engine accepts and `re` reads the same way.

`regex` refuses everything else with its place, writes the pattern in the spelling whose meaning both engines share
(`$` is the very end, `{,3}` starts at 0, classes are ASCII), and finds the literal in it that can stand for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rulesproxy.filters import dialect, shape
from rulesproxy.filters.ambiguity import ambiguous, slowness, steady
from rulesproxy.filters.ast import Text
from rulesproxy.filters.engine import Captures, Replacer, Search, Searching
from rulesproxy.filters.problem import FilterError, error
from rulesproxy.filters.program import TooLarge
from rulesproxy.filters.required import required
from rulesproxy.filters.shape import Pattern, Pieces

Shape: TypeAlias = tuple[Literal["==", "startswith", "endswith", "contains", "under"], str]
GroupsIn: TypeAlias = Callable[[str], dict[str, str | None] | None]


@dataclass(frozen=True, slots=True)
class Regex:
    """A regex that may run.

    Attributes:
        source: as written.
        meaning: what it means; what it matches is said by this one.
        shape: a plain test of the value that gives the same answer as a search, if there is one.
        prefix: what every value that it finds starts with; empty where nothing is known.
        suffix: what every value that it finds ends with.
        texts: lower-case texts one of which is in every value that it finds, letters folded; empty where unknown.
        pieces: plain texts in order that give the same answer as a search, in linear time.
        quick: finds something in the same texts as `meaning`, though not always all of it.
        test: whether there is a match, where `quick` could take too much time or another engine takes less.
        groups_in: the groups of the first match, where a search with `meaning` could take too much time.
    """

    source: str
    meaning: Pattern
    shape: Shape | None = field(default=None, compare=False)
    prefix: str = field(default="", compare=False)
    suffix: str = field(default="", compare=False)
    texts: frozenset[str] = field(default=frozenset(), compare=False)
    pieces: Pieces | None = field(default=None, compare=False)
    quick: Pattern | None = field(default=None, compare=False)
    test: Callable[[str], bool] | None = field(default=None, compare=False)
    groups_in: GroupsIn | None = field(default=None, compare=False)

    @property
    def groups(self) -> frozenset[str]:
        """The names of its groups."""
        return self.meaning.groups

    @property
    def pattern(self) -> re.Pattern[str]:
        """What it means, as `re` runs it."""
        return self.meaning.compiled

    def captures(self, text: str) -> dict[str, str | None] | None:
        """The texts of the named groups in the first match, None for one that took no part; None without a match."""
        if self.groups_in is not None:
            return self.groups_in(text)
        match = self.pattern.search(text)
        return None if match is None else match.groupdict()


def regex(
    text: Text,
    *,
    ignore_case: bool = False,
    lines: bool = False,
    fold: bool = False,
    long: bool = False,
    dot_all: bool = False,
) -> Regex:
    """The regex of a text of a filter.

    `lines` is for header sections: `^` and `$` stand at every line, whose end is CR LF. `fold` says that the values
    have no upper-case letters, `dot_all` that `.` is a line break too, `long` that the values are bodies.

    Raises:
        FilterError: it is no regex, is not in the dialect, or can take too much time.
    """
    meaning = _checked(text, _flags(ignore_case, dot_all), lines=lines)
    quick, groups_in = meaning, None
    if meaning.groups:
        groups_in = _captures(text, meaning, lines, long)
    else:
        rest = _without_head(meaning.text)
        if rest != meaning.text:
            quick = Pattern.of(rest, meaning.flags)
    tree = quick.tree
    found = shape.Shapes(tree, quick.flags, fold)
    test, texts = None, required(tree)
    if found.shape is None and found.pieces is None:
        degree = slowness(tree, quick.flags)
        if degree > 1 or long:
            try:
                test = Search(quick, texts, degree, lines=lines)
            except TooLarge:
                raise _too_large(text) from None
    return Regex(
        text.value, meaning, found.shape, found.prefix, found.suffix, texts, found.pieces, quick, test, groups_in
    )


def replacing(text: Text) -> tuple[re.Pattern[str], Searching]:
    """A regex all of whose matches are replaced: what it means, and what does it in linear time.

    Raises:
        FilterError: it is no regex, is not in the dialect, or can take too much time.
    """
    meaning = _checked(text, re.ASCII)
    pattern, tree = meaning.compiled, meaning.tree
    degree = slowness(tree, meaning.flags, all_matches=True)
    if degree == 1:
        return pattern, pattern
    at_one_place = slowness(tree, meaning.flags, at_one_place=True, all_matches=True)
    if at_one_place > 1 or not steady(tree, meaning.flags) or not shape.width(tree):
        raise _too_slow(text, "replacing with this regex")
    try:
        return pattern, Replacer(meaning, degree)
    except TooLarge:
        raise _too_large(text) from None


def _flags(ignore_case: bool, dot_all: bool) -> int:
    return re.ASCII | (re.IGNORECASE if ignore_case else 0) | (re.DOTALL if dot_all else 0)


def _checked(text: Text, flags: int, *, lines: bool = False) -> Pattern:
    """A regex in `re`'s spelling; it takes no exponential time."""
    try:
        spelled = dialect.translate(text.value, lines=lines)
    except dialect.Refused as exc:
        problem = error(exc.code, exc.title, text.place(exc.start), text.place(exc.end), exc.help)
        raise FilterError([problem]) from None
    try:
        meaning = Pattern.of(spelled.pattern, flags | (re.MULTILINE if lines else 0))
    except re.error as exc:
        at = text.place(spelled.source_of(exc.pos or 0))
        raise FilterError([error("RP500", f"bad regex: {exc.msg}", at, min(at + 1, text.end))]) from None
    except (RecursionError, OverflowError):
        raise FilterError([error("RP500", "bad regex: nested too deeply", text.start, text.end)]) from None
    trouble = ambiguous(meaning.tree, meaning.flags)
    if trouble:
        help = "let only one of the repeats match each character, or drop the outer one"
        raise FilterError(
            [error("RP501", f"this regex can take exponential time: {trouble}", text.start, text.end, help)]
        )
    return meaning


def _captures(text: Text, meaning: Pattern, lines: bool, long: bool) -> GroupsIn | None:
    """The groups of the first match of a regex with captures; None where a search with `re` is good enough."""
    tree = meaning.tree
    degree = slowness(tree, meaning.flags)
    if degree == 1:
        return None
    at_one_place = slowness(tree, meaning.flags, at_one_place=True)
    if at_one_place > 1 and (long or lines or shape.empty_rounds(tree)):
        raise _too_slow(text, "finding the captures of this regex")
    try:
        return Captures(meaning, degree, at_one_place=at_one_place, lines=lines)
    except TooLarge:
        raise _too_large(text) from None


_CLASS = r"\[\^?\]?(?:\\.|[^\]\\])*\]"
_HEAD = re.compile(rf"(\\[dDwWsS]|{_CLASS}|\.|[A-Za-z0-9/_=&%:;,@ -])([*+])\??").match
_NO_BAR = re.compile(rf"\\.|{_CLASS}", re.DOTALL).sub


def _without_head(pattern: str) -> str:
    """A regex that finds something in the same texts, without the repeat that it begins with.

    A search finds the rest behind it all the same. With the repeat it would go through the same text from every start.
    """
    depth = 0
    for char in _NO_BAR("", pattern):
        depth += (char == "(") - (char == ")")
        if char == "|" and not depth:
            return pattern
    head = _HEAD(pattern)
    while head is not None:
        pattern = (head[1] if head[2] == "+" else "") + pattern[head.end() :]
        head = _HEAD(pattern)
    return pattern


def _too_slow(text: Text, what: str) -> FilterError:
    title = f"{what} can take quadratic time: several repeats can share the same text"
    help = "say what may stand between its parts, such as `[^/]*` for `.*`"
    return FilterError([error("RP501", title, text.start, text.end, help)])


def _too_large(text: Text) -> FilterError:
    title = "this regex is too large to be searched for in linear time"
    return FilterError([error("RP501", title, text.start, text.end, "use smaller counts, or `+` and `*`")])
