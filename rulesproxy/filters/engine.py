"""The searches of a regex, each in time that is linear in the text, whatever runs them.

A regex for which `re` is linear runs on `re`. Any other one runs on `re` for short texts only, and on RE2 or on our own
automaton for longer ones; RE2 is an optional package (`pip install rulesproxy[re2]`), and changes nothing but time.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from rulesproxy.filters.automaton import Automaton
from rulesproxy.filters.charset import Ranges, characters
from rulesproxy.filters.shape import Pattern, Tree
from rulesproxy.filters.walk import Walk
from rulesproxy.limits import REGEX_SHORT

LONG = 1024
"""Characters of a text from which on RE2 is worth its overhead where `re` is linear too."""


class Searching(Protocol):
    """A pattern as far as replacements need it."""

    @property
    def pattern(self) -> str:
        """The regex."""

    @property
    def flags(self) -> int:
        """Its flags, as `re` has them."""

    def sub(self, repl: str | Callable[[re.Match[str]], str], string: str) -> str:
        """The text with every match replaced."""


class Search:
    """Whether there is a match, for a regex that takes `re` the given power of the length of a text, or for bodies."""

    __slots__ = ("_automaton", "_loaded", "_most", "_pattern", "_re2", "_texts")

    def __init__(self, pattern: Pattern, texts: frozenset[str], degree: int, *, lines: bool) -> None:
        """`texts`: one of them is in every text in which there is a match, letters folded.

        Raises:
            TooLarge: the regex is too large.
        """
        self._texts = texts
        self._pattern = pattern
        self._loaded = False
        # None where `re` will do for every text.
        self._automaton = Automaton(pattern.tree, pattern.flags, lines=lines) if degree > 1 else None
        self._most = {1: LONG, 2: REGEX_SHORT}.get(degree, 0)
        self._re2: Callable[[str], bool] | None = None

    def __call__(self, text: str) -> bool:
        if len(text) <= self._most:
            return self._pattern.compiled.search(text) is not None
        if not self._loaded:
            # RE2 takes its time to load and to compile, which only long texts are worth.
            self._re2, self._loaded = re2_search(self._pattern.tree, self._pattern.flags), True
        if self._re2 is not None:
            try:
                return self._re2(text)
            except UnicodeEncodeError:
                # Bytes that are no UTF-8 have no place in RE2's texts.
                pass
        if self._automaton is None:
            return self._pattern.compiled.search(text) is not None
        if self._texts:
            folded = text.lower()
            if not any(each in folded for each in self._texts):
                return False
        return self._automaton.search(text)


class Captures:
    """The groups of the first match, for a regex for which a search with `re` can take quadratic time.

    That time goes into starts from which nothing is found. Our automaton reads the text from its end and knows where
    the first match starts; `re` then begins there, or where even that could take too much time, `Walk`.
    """

    __slots__ = ("_automaton", "_most", "_pattern", "_walk")

    def __init__(self, pattern: Pattern, degree: int, *, at_one_place: int, lines: bool) -> None:
        """`degree` is that of a search, `at_one_place` that of a match.

        Raises:
            TooLarge: the regex is too large.
        """
        self._pattern = pattern
        self._automaton = Automaton(pattern.tree, pattern.flags, reverse=True, lines=lines)
        self._most = REGEX_SHORT if degree == 2 else 0
        self._walk = Walk(pattern.tree, pattern.flags) if at_one_place > 1 else None

    def __call__(self, text: str) -> dict[str, str | None] | None:
        pattern = self._pattern.compiled
        if len(text) <= self._most:
            match = pattern.search(text)
        else:
            start = self._automaton.first(text)
            if start < 0:
                return None
            if self._walk is not None:
                saved = self._walk(text, start)
                spans = {name: (saved.get(2 * at), saved.get(2 * at + 1)) for name, at in pattern.groupindex.items()}
                return {name: None if end is None else text[begin:end] for name, (begin, end) in spans.items()}
            match = pattern.match(text, start)
        return None if match is None else match.groupdict()


class Replacer:
    """Replaces the matches of a regex for which a search with `re` can take quadratic time.

    Our automaton knows where matches start, and `re` begins there only.
    """

    __slots__ = ("_automaton", "_most", "_pattern")

    def __init__(self, pattern: Pattern, degree: int) -> None:
        """Make it for a regex whose matches are never empty.

        Raises:
            TooLarge: the regex is too large.
        """
        self._pattern = pattern.compiled
        self._automaton = Automaton(pattern.tree, pattern.flags, reverse=True)
        self._most = REGEX_SHORT if degree == 2 else 0

    @property
    def pattern(self) -> str:
        return self._pattern.pattern

    @property
    def flags(self) -> int:
        return self._pattern.flags

    def sub(self, repl: str | Callable[[re.Match[str]], str], string: str) -> str:
        """The text with every match replaced."""
        if len(string) <= self._most:
            return self._pattern.sub(repl, string)
        starts = self._automaton.starts(string)
        parts = []
        at = 0
        start = starts.find(1)
        while start >= 0:
            match = self._pattern.match(string, start)
            assert match is not None, "the automaton and `re` disagree"
            parts += [string[at:start], match.expand(repl) if isinstance(repl, str) else repl(match)]
            at = match.end()
            start = starts.find(1, at)
        return "".join([*parts, string[at:]])


# RE2


@cache
def _re2_module() -> Any:
    try:
        return importlib.import_module("re2")
    except ImportError:
        return None


def has_re2() -> bool:
    """Whether RE2 is installed."""
    return _re2_module() is not None


def re2_search(tree: Tree, flags: int) -> Callable[[str], bool] | None:
    """A search with RE2; None where it is not installed, or cannot run this regex.

    The function raises UnicodeEncodeError for texts with lone surrogates.
    """
    re2 = _re2_module()
    if re2 is None:
        return None
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    try:
        compiled = re2.compile(_spelled(tree, flags), options)
    except (re2.error, _NotInRE2):
        return None
    found = compiled.search
    return lambda text: found(text.encode()) is not None


class _NotInRE2(Exception):
    pass


def _spelled(tree: Tree, flags: int) -> str:
    """A regex in RE2's spelling, in which nothing depends on flags: every character is one of a class of its own."""
    return "".join([_item(str(op), argument, flags) for op, argument in tree])


_PLACES = {
    "AT_BEGINNING": r"\A", "AT_BEGINNING_STRING": r"\A", "AT_END_STRING": r"\z", "AT_END": "(?m:$)",
    "AT_BOUNDARY": r"\b",
}  # fmt: skip


def _item(name: str, argument: Any, flags: int) -> str:
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        low, high, body = argument
        count = f"{{{low},{'' if str(high) == 'MAXREPEAT' else high}}}"
        return f"(?:{_spelled(body, flags)}){count}{'?' if name == 'MIN_REPEAT' else ''}"
    if name == "SUBPATTERN":
        return f"(?:{_spelled(argument[3], (flags | argument[1]) & ~argument[2])})"
    if name == "BRANCH":
        return f"(?:{'|'.join([_spelled(arm, flags) for arm in argument[1]])})"
    if name == "AT":
        place = str(argument)
        if place not in _PLACES:
            # RE2 finds `\B` between the bytes of one character too.
            raise _NotInRE2
        return "(?m:^)" if place == "AT_BEGINNING" and flags & re.MULTILINE else _PLACES[place]
    if name.startswith("ASSERT"):
        raise _NotInRE2
    return _set(characters(name, argument, flags))


def _set(ranges: Ranges) -> str:
    if not ranges:
        # A class that nothing is in.
        return r"[^\x00-\x{10FFFF}]"
    return "[" + "".join([f"\\x{{{low:X}}}-\\x{{{high:X}}}" for low, high in ranges]) + "]"
