"""The regex dialect: what a linear-time engine accepts and `re` reads the same way.

`regex` refuses everything else with its place, writes the pattern in the spelling whose meaning both engines share
(`$` is the very end, `{,3}` starts at 0, classes are ASCII), and finds the literal in it that can stand for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rulesproxy.filters import dialect, shape
from rulesproxy.filters.ambiguity import ambiguous
from rulesproxy.filters.ast import Text
from rulesproxy.filters.problem import FilterError, error
from rulesproxy.filters.required import required

Shape: TypeAlias = tuple[Literal["==", "startswith", "endswith", "contains", "under"], str]


@dataclass(frozen=True, slots=True)
class Regex:
    """A regex that may run.

    Attributes:
        source: as written.
        pattern: what it was made from; search with it.
        shape: a plain test of the value that gives the same answer as a search, if there is one.
        prefix: what every value that it finds starts with; empty where nothing is known.
        suffix: what every value that it finds ends with.
        texts: lower-case texts one of which is in every value that it finds, letters folded; empty where unknown.
    """

    source: str
    pattern: re.Pattern[str]
    shape: Shape | None = field(default=None, compare=False)
    prefix: str = field(default="", compare=False)
    suffix: str = field(default="", compare=False)
    texts: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def groups(self) -> frozenset[str]:
        """The names of its groups."""
        return frozenset(self.pattern.groupindex)


def regex(text: Text, *, ignore_case: bool = False, lines: bool = False, fold: bool = False) -> Regex:
    """The regex of a text of a filter.

    `lines` is for header sections: `^` and `$` stand at every line, whose end is CR LF. `fold` says that the values
    have no upper-case letters.

    Raises:
        FilterError: it is no regex, is not in the dialect, or can take exponential time.
    """
    try:
        spelled = dialect.translate(text.value, lines=lines)
    except dialect.Refused as exc:
        problem = error(exc.code, exc.title, text.place(exc.start), text.place(exc.end), exc.help)
        raise FilterError([problem]) from None
    flags = re.ASCII | (re.IGNORECASE if ignore_case else 0) | (re.MULTILINE if lines else 0)
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
    found = shape.Shapes(tree, pattern.flags, fold)
    return Regex(text.value, pattern, found.shape, found.prefix, found.suffix, required(tree))
