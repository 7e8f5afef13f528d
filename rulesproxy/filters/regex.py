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
from rulesproxy.filters.ambiguity import ambiguous, slowness
from rulesproxy.filters.ast import Text
from rulesproxy.filters.problem import FilterError, Problem, error
from rulesproxy.filters.required import required
from rulesproxy.filters.shape import Pieces

Shape: TypeAlias = tuple[Literal["==", "startswith", "endswith", "contains", "under"], str]


@dataclass(frozen=True, slots=True)
class Regex:
    """A regex that may run.

    Attributes:
        source: as written.
        pattern: what it means; what it matches is said by this one.
        shape: a plain test of the value that gives the same answer as a search, if there is one.
        prefix: what every value that it finds starts with; empty where nothing is known.
        suffix: what every value that it finds ends with.
        texts: lower-case texts one of which is in every value that it finds, letters folded; empty where unknown.
        pieces: plain texts in order that give the same answer as a search, in linear time.
        quick: a search that finds something in the same texts as `pattern`, though not always all of it.
    """

    source: str
    pattern: re.Pattern[str]
    shape: Shape | None = field(default=None, compare=False)
    prefix: str = field(default="", compare=False)
    suffix: str = field(default="", compare=False)
    texts: frozenset[str] = field(default=frozenset(), compare=False)
    pieces: Pieces | None = field(default=None, compare=False)
    quick: Callable[[str], re.Match[str] | None] | None = field(default=None, compare=False)

    @property
    def groups(self) -> frozenset[str]:
        """The names of its groups."""
        return frozenset(self.pattern.groupindex)


def regex(
    text: Text,
    *,
    ignore_case: bool = False,
    lines: bool = False,
    fold: bool = False,
    long: bool = False,
    whole: bool = False,
    dot_all: bool = False,
) -> Regex:
    """The regex of a text of a filter.

    `lines` is for header sections: `^` and `$` stand at every line, whose end is CR LF. `fold` says that the values
    have no upper-case letters, `dot_all` that `.` is a line break too, `long` that the values are bodies, for which
    quadratic time is too much as well. With `whole` the match itself is wanted, as in a replacement, and not only
    whether there is one.

    Raises:
        FilterError: it is no regex, is not in the dialect, or can take too much time.
    """
    try:
        spelled = dialect.translate(text.value, lines=lines)
    except dialect.Refused as exc:
        problem = error(exc.code, exc.title, text.place(exc.start), text.place(exc.end), exc.help)
        raise FilterError([problem]) from None
    flags = re.ASCII | (re.IGNORECASE if ignore_case else 0) | (re.MULTILINE if lines else 0)
    flags |= re.DOTALL if dot_all else 0
    try:
        pattern = re.compile(spelled.pattern, flags)
        tree = shape.parse(spelled.pattern, flags)
    except re.error as exc:
        at = text.place(spelled.source_of(exc.pos or 0))
        raise FilterError([error("RP500", f"bad regex: {exc.msg}", at, min(at + 1, text.end))]) from None
    except (RecursionError, OverflowError):
        raise FilterError([error("RP500", "bad regex: nested too deeply", text.start, text.end)]) from None
    trouble = ambiguous(tree, pattern.flags)
    if trouble:
        help = "let only one of the repeats match each character, or drop the outer one"
        raise FilterError(
            [error("RP501", f"this regex can take exponential time: {trouble}", text.start, text.end, help)]
        )
    search = pattern
    if not whole and not pattern.groupindex:
        rest = _without_head(spelled.pattern)
        if rest != spelled.pattern:
            search = re.compile(rest, flags)
            tree = shape.parse(rest, flags)
    found = shape.Shapes(tree, search.flags, fold)
    plain = not whole and (found.shape is not None or found.pieces is not None)
    if pattern.groupindex or not plain:
        allowed = 1 if long else 2
        degree = slowness(tree, search.flags, allowed)
        if degree > allowed:
            raise FilterError([_too_slow(text, degree)])
    return Regex(
        text.value, pattern, found.shape, found.prefix, found.suffix, required(tree), found.pieces, search.search
    )


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


def _too_slow(text: Text, degree: int) -> Problem:
    much = "quadratic" if degree == 2 else "cubic"
    title = f"this regex can take {much} time: several repeats in a row can share the same text"
    help = "start it with `^`, or say what may stand between its parts, such as `[^/]*` for `.*`"
    return error("RP501", title, text.start, text.end, help)
