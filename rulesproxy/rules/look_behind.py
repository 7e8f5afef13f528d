"""`LookBehind`: texts that rules look for in TCP, and the end of a segment that may be the beginning of one of them.

TCP has no messages: a word may be cut anywhere. What may be the first part of one waits for the rest, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rulesproxy.filters import analysis
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import Node
from rulesproxy.rules.action import Action

_PLAIN = re.compile(r"[^\\.^$*+?{}\[\]|()]+").fullmatch


class LookBehind:
    """The texts of the rules of one conversation.

    Args:
        texts: what they look for, as bytes.
        bound: the longest part that is kept back.
    """

    __slots__ = ("_longest", "_prefixes", "_texts")

    def __init__(self, texts: Iterable[bytes], bound: int) -> None:
        self._texts = tuple(sorted({text for text in texts if len(text) > 1}))
        self._longest = min(max((len(text) - 1 for text in self._texts), default=0), bound)
        self._prefixes = frozenset(
            [text[:size] for text in self._texts for size in range(1, min(self._longest, len(text) - 1) + 1)]
        )

    def __bool__(self) -> bool:
        return bool(self._texts)

    def cut(self, data: bytes) -> int:
        """How many bytes at the end of `data` may be the beginning of a text that is not complete yet."""
        for size in range(min(self._longest, len(data)), 0, -1):
            tail = data[-size:]
            if tail in self._prefixes and not self._spanned(data, len(data) - size):
                return size
        return 0

    def _spanned(self, data: bytes, place: int) -> bool:
        """Whether a whole text goes over a place: cutting there would hide it."""
        for text in self._texts:
            found = data.find(text)
            while 0 <= found < place:
                if found + len(text) > place:
                    return True
                found = data.find(text, found + len(text))
        return False


def texts_of(node: Node, actions: Iterable[Action]) -> Iterator[bytes]:
    """The plain texts that a filter looks for in the bytes of TCP, and those that actions replace there."""
    for test in analysis.tests(node):
        if test.read.field.name != "tcp.data":
            continue
        operand = test.operand
        if isinstance(operand, Regex):
            if _PLAIN(operand.source) and not operand.meaning.compiled.flags & re.IGNORECASE:
                yield operand.source.encode()
        elif test.op == "contains" and isinstance(operand, tuple) and not test.read.functions:
            yield from [text.encode("latin-1", "ignore") for text in operand]
    for action in actions:
        yield from [text.encode("utf-8", "surrogateescape") for text in action.looks_for]
