"""`Index`: from a request to the rules that may match it, at a cost that does not grow with the number of rules.

It knows keys, which are necessary conditions, and numbers. Whoever asks evaluates the filters of the candidates.

It is a tree. Each level looks at one thing: the host, the path, the text of the URL, the text of headers. A level hands
its buckets, and the rules that do not care about its thing, to the next level; a bucket that is small enough is a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

from rulesproxy.filters import haystack
from rulesproxy.filters.keys import Key
from rulesproxy.filters.normal import normal_host, normal_path
from rulesproxy.flow.forms import host_of_authority
from rulesproxy.flow.headers import to_str
from rulesproxy.flow.http import HTTPRequest

Numbers: TypeAlias = tuple[int, ...]
Question: TypeAlias = tuple[str, str, int, str, object]

NONE: Numbers = ()

_LENGTHS = 24
"""Different lengths of prefixes that are looked up; with more, prefixes are cut to the next shorter one."""
_HOSTS = 4096
"""Hosts whose normal form is remembered."""

_URL = b""
"""In the place of a header's name: the haystack of the URL."""

_Entries: TypeAlias = Sequence[tuple[int, Key]]
_Search: TypeAlias = Callable[[str], Iterable[tuple[int, str]]]
_T = TypeVar("_T")


class _Asked:
    """A request as the levels see it; what few of them need is made once, when it is asked for."""

    __slots__ = ("_found", "_searches", "host", "named", "other", "path", "request")

    def __init__(
        self, request: HTTPRequest, host: str, named: bytes | None, other: str, searches: dict[bytes, _Search]
    ) -> None:
        self.request = request
        self.host = host
        self.named = named
        self.other = other
        self.path = normal_path(request.path)
        self._searches = searches
        self._found: dict[bytes, set[str]] = {}

    def texts(self, place: bytes) -> set[str]:
        """The texts of all rules that are in the haystack of the URL, or of the header of that name."""
        found = self._found.get(place)
        if found is None:
            if place:
                text = haystack.of_header(self.request, place)
            else:
                text = haystack.of_url(self.request, self.host, self.named)
            found = self._found[place] = {each for _, each in self._searches[place](text)}
        return found


class _Leaf:
    """Rules that are candidates."""

    __slots__ = ("numbers",)

    def __init__(self, entries: _Entries) -> None:
        self.numbers: Numbers = tuple(sorted({number for number, _ in entries}))

    def find(self, asked: _Asked, found: list[Numbers]) -> None:
        """Add the candidates among the rules below to `found`."""
        found.append(self.numbers)


class _ByHost:
    """Rules by the host, or the top of the domain."""

    __slots__ = ("exact", "rest", "suffixes")

    def __init__(self, entries: _Entries) -> None:
        exact: dict[str, list[tuple[int, Key]]] = {}
        suffixes: dict[str, list[tuple[int, Key]]] = {}
        for entry in entries:
            for host in entry[1].hosts or ():
                exact.setdefault(host, []).append(entry)
            for suffix in entry[1].suffixes or ():
                suffixes.setdefault(suffix, []).append(entry)
        self.exact = {host: _build(below, _ByPath) for host, below in exact.items()}
        self.suffixes = {suffix: _build(below, _ByPath) for suffix, below in suffixes.items()}
        self.rest = _rest(entries, _ByHost)

    @staticmethod
    def knows(key: Key) -> bool:
        """Whether the key says something about what this level looks at."""
        return key.hosts is not None

    def find(self, asked: _Asked, found: list[Numbers]) -> None:
        if self.rest is not None:
            self.rest.find(asked, found)
        self._one(asked.host, asked, found)
        if asked.other:
            self._one(asked.other, asked, found)

    def _one(self, host: str, asked: _Asked, found: list[Numbers]) -> None:
        below = self.exact.get(host)
        if below is not None:
            below.find(asked, found)
        if self.suffixes:
            for below in _tops(self.suffixes, host):
                below.find(asked, found)


class _ByPath:
    """Rules by the path, or what it starts with."""

    __slots__ = ("exact", "lengths", "prefixes", "rest")

    def __init__(self, entries: _Entries) -> None:
        exact: dict[str, list[tuple[int, Key]]] = {}
        prefixes: dict[str, list[tuple[int, Key]]] = {}
        lengths = _choose_lengths([prefix for _, key in entries for prefix in key.prefixes or ()])
        anywhere: list[tuple[int, Key]] = []
        for entry in entries:
            for path in entry[1].paths or ():
                exact.setdefault(path, []).append(entry)
            for prefix in entry[1].prefixes or ():
                cut = _cut(prefix, lengths)
                if cut:
                    prefixes.setdefault(cut, []).append(entry)
                else:
                    anywhere.append(entry)
        self.exact = {path: _build(below, _ByText) for path, below in exact.items()}
        self.prefixes = {prefix: _build(below, _ByText) for prefix, below in prefixes.items()}
        self.lengths = tuple(sorted({len(prefix) for prefix in self.prefixes}))
        self.rest = _rest(entries, _ByPath, anywhere)

    @staticmethod
    def knows(key: Key) -> bool:
        return key.paths is not None

    def find(self, asked: _Asked, found: list[Numbers]) -> None:
        if self.rest is not None:
            self.rest.find(asked, found)
        path = asked.path
        below = self.exact.get(path)
        if below is not None:
            below.find(asked, found)
        get, size = self.prefixes.get, len(path)
        for length in self.lengths:
            if length > size:
                break
            below = get(path[:length])
            if below is not None:
                below.find(asked, found)


class _ByText:
    """Rules by a text that the URL must have."""

    __slots__ = ("below", "rest")

    def __init__(self, entries: _Entries) -> None:
        grouped: dict[str, list[tuple[int, Key]]] = {}
        for entry in entries:
            for text in entry[1].texts or ():
                grouped.setdefault(text, []).append(entry)
        self.below = {text: _build(below, _ByHeader) for text, below in grouped.items()}
        self.rest = _rest(entries, _ByText)

    @staticmethod
    def knows(key: Key) -> bool:
        return key.texts is not None

    def find(self, asked: _Asked, found: list[Numbers]) -> None:
        if self.rest is not None:
            self.rest.find(asked, found)
        for text in asked.texts(_URL):
            below = self.below.get(text)
            if below is not None:
                below.find(asked, found)


class _ByHeader:
    """Rules by a text that a header must have."""

    __slots__ = ("below", "names", "rest")

    def __init__(self, entries: _Entries) -> None:
        grouped: dict[tuple[bytes, str], list[tuple[int, Key]]] = {}
        for entry in entries:
            if entry[1].header is not None:
                name, texts = entry[1].header
                for text in texts:
                    grouped.setdefault((name, text), []).append(entry)
        self.below = {place: _Leaf(some) for place, some in grouped.items()}
        self.names = frozenset([name for name, _ in grouped])
        self.rest = _rest(entries, _ByHeader)

    @staticmethod
    def knows(key: Key) -> bool:
        return key.header is not None

    def find(self, asked: _Asked, found: list[Numbers]) -> None:
        if self.rest is not None:
            self.rest.find(asked, found)
        names = self.names.intersection([lower for lower, _, _ in asked.request.headers.raw])
        for name in (*names, haystack.WHOLE) if haystack.WHOLE in self.names else names:
            for text in asked.texts(name):
                below = self.below.get((name, text))
                if below is not None:
                    found.append(below.numbers)


_Node: TypeAlias = _Leaf | _ByHost | _ByPath | _ByText | _ByHeader
_Level: TypeAlias = type[_ByHost] | type[_ByPath] | type[_ByText] | type[_ByHeader]

_NEXT: dict[_Level, _Level | None] = {_ByHost: _ByPath, _ByPath: _ByText, _ByText: _ByHeader, _ByHeader: None}
_SMALL: dict[_Level, int] = {_ByHost: 0, _ByPath: 1, _ByText: 1, _ByHeader: 2}
"""So many rules are tried one by one, which costs less than looking at the thing of the level."""


class Index:
    """The rules of a set by what their filters need; of each rule the keys of the ways in which it can match."""

    __slots__ = ("_exact", "_hosts", "_root", "_searches", "_suffixes", "_unbound")

    def __init__(self, keys: Sequence[Sequence[Key]]) -> None:
        entries = [(number, key) for number, those in enumerate(keys) for key in those if not _never(key)]
        self._root = _build(entries, _ByHost)
        self._searches = _searches(entries)
        self._hosts: dict[str, str] = {}
        exact: dict[str, list[int]] = {}
        suffixes: dict[str, list[int]] = {}
        for number, key in entries:
            for host in key.hosts or ():
                exact.setdefault(host, []).append(number)
            for suffix in key.suffixes or ():
                suffixes.setdefault(suffix, []).append(number)
        self._unbound = {number for number, key in entries if key.hosts is None}
        self._exact = {host: tuple(numbers) for host, numbers in exact.items()}
        self._suffixes = {suffix: tuple(numbers) for suffix, numbers in suffixes.items()}

    @property
    def useless(self) -> bool:
        """Whether every flow has all rules as candidates."""
        return isinstance(self._root, _Leaf)

    def candidates(self, request: HTTPRequest) -> Numbers:
        """The numbers of the rules whose keys this request passes, in order."""
        raw = request.host
        host = self._hosts.get(raw)
        if host is None:
            host = self._normal(raw)
        other = ""
        named = request.headers.first(b"host")
        if named is not None:
            text = to_str(named)
            if text != raw:
                other = normal_host(host_of_authority(text))
                if other == host:
                    other = ""
        found: list[Numbers] = []
        self._root.find(_Asked(request, host, named, other, self._searches), found)
        if not found:
            return NONE
        return found[0] if len(found) == 1 else tuple(sorted({number for numbers in found for number in numbers}))

    def by_host(self, host: str) -> Numbers:
        """The numbers of the rules that may concern some request to this host, in order."""
        name = normal_host(host)
        return tuple(sorted(self._unbound.union(self._exact.get(name, ()), *_tops(self._suffixes, name))))

    def _normal(self, raw: str) -> str:
        if len(self._hosts) >= _HOSTS:
            self._hosts.clear()
        host = self._hosts[raw] = normal_host(raw)
        return host


def asked_of(request: HTTPRequest) -> Question:
    """All that the candidates depend on; comparing it is cheaper than asking again."""
    return request.host, request.path, request.port, request.scheme, request.headers.raw


def _never(key: Key) -> bool:
    return (key.hosts is not None and not key.hosts and not key.suffixes) or (
        key.paths is not None and not key.paths and not key.prefixes
    )


def _build(entries: _Entries, level: _Level | None) -> _Node:
    """The tree of these rules from a level on."""
    while level is not None:
        if len(entries) <= _SMALL[level]:
            break
        if any(level.knows(key) for _, key in entries):
            return level(entries)
        level = _NEXT[level]
    return _Leaf(entries)


def _rest(entries: _Entries, level: _Level, more: _Entries = ()) -> _Node | None:
    """The rules that do not care about the thing of a level."""
    others = [entry for entry in entries if not level.knows(entry[1])]
    others.extend(more)
    return _build(others, _NEXT[level]) if others else None


def _searches(entries: _Entries) -> dict[bytes, _Search]:
    """For each place a function that finds all texts of all rules in its haystack at once."""
    texts: dict[bytes, set[str]] = {}
    for _, key in entries:
        if key.texts is not None:
            texts.setdefault(_URL, set()).update(key.texts)
        if key.header is not None:
            texts.setdefault(key.header[0], set()).update(key.header[1])
    return {place: _search(those) for place, those in texts.items()}


def _search(texts: set[str]) -> _Search:
    # Imported where it is needed: most rule sets are small, and their rules are tried one by one.
    from ahocorasick import Automaton

    automaton = Automaton()
    for text in texts:
        automaton.add_word(text, text)
    automaton.make_automaton()
    search: _Search = automaton.iter
    return search


def _tops(suffixes: dict[str, _T], host: str) -> list[_T]:
    found = []
    rest = host
    while rest:
        if rest in suffixes:
            found.append(suffixes[rest])
        rest = rest.partition(".")[2]
    return found


def _choose_lengths(prefixes: list[str]) -> list[int]:
    """The lengths that are looked up: all of them, or as many as are allowed, spread over the rules."""
    lengths = sorted(len(prefix) for prefix in prefixes if prefix)
    distinct = sorted(set(lengths))
    if len(distinct) <= _LENGTHS:
        return distinct
    step = len(lengths) / _LENGTHS
    return sorted({lengths[int(i * step)] for i in range(_LENGTHS)})


def _cut(prefix: str, lengths: list[int]) -> str:
    """The prefix, cut to the longest length that is looked up."""
    fitting = [length for length in lengths if length <= len(prefix)]
    return prefix[: fitting[-1]] if fitting else ""
