"""Edits of JSON text: a value is put in, replaced or cut out, and every other byte stays as it was.

The text is walked only along the path of an edit; what lies beside it is skipped by the scanner of the standard
library, which is written in C. It knows JSON and nothing of rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import NamedTuple, TypeAlias

from rulesproxy.rules.edits.json_path import Every, Step

_LONE = re.compile("[\ud800-\udfff]")
_BLANK = re.compile(r"[ \t\n\r]*")
_COMPACT = re.compile(r'"\s*:(\s*)')
_skip = json.JSONDecoder(parse_int=str, parse_float=str, strict=True).raw_decode


def written(value: object) -> str:
    """A value as JSON, in letters of every script.

    Bytes that are no UTF-8, and halves of surrogate pairs, are written as escapes: as they are they would be no JSON
    (RFC 8259 section 8.1).
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() else _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class JSONError(ValueError):
    """A text is not JSON, or an edit does not fit it."""


class Entry(NamedTuple):
    """One value in an object or array: its name or position, where its name begins and ends, and the value."""

    key: str | int
    name: int
    name_end: int
    start: int
    end: int


class Container(NamedTuple):
    """An object or array: where it begins and ends, and its entries."""

    kind: str
    start: int
    end: int
    entries: list[Entry]


Splice: TypeAlias = tuple[int, int, str]


def set_value(text: str, path: Sequence[Step], value: str) -> str:
    """Put `value` where `path` leads, and make the objects on the way that are missing.

    Raises:
        JSONError: the text is not JSON, or the path leads through a value that is neither object nor array.
    """
    return splice(text, list(_set(text, root(text), path, value)))


def delete_value(text: str, path: Sequence[Step]) -> str:
    """Cut out what `path` leads to; nothing happens where there is nothing.

    Raises:
        JSONError: the text is not JSON, or the path is the whole.
    """
    if not path:
        raise JSONError("the whole document cannot be deleted")
    cuts: list[Splice] = []
    for start in find(text, path[:-1]):
        container = container_at(text, start)
        if container is not None:
            chosen = {entry.start for entry in _chosen(container, path[-1])}
            cuts += _cuts(container, chosen)
    return splice(text, cuts)


def append_value(text: str, path: Sequence[Step], value: str) -> str:
    """Put `value` behind the last item of the array that `path` leads to, which is made where it is missing.

    Raises:
        JSONError: the text is not JSON, or there is something else than an array.
    """
    found = find(text, path)
    if not found:
        return set_value(text, path, f"[{value}]")
    edits = []
    for start in found:
        container = container_at(text, start)
        if container is None or container.kind != "[":
            raise JSONError(f"{shown(path)} is no array")
        edits.append(insertion(text, container, len(container.entries), None, value))
    return splice(text, edits)


def root(text: str) -> int:
    """Where the value of a document begins, after a look at all of it.

    Raises:
        JSONError: it is not JSON.
    """
    start = _blank(text, 1 if text.startswith("\ufeff") else 0)
    end = value_end(text, start)
    if _blank(text, end) != len(text):
        raise JSONError(f"the body is not JSON: something follows at character {end}")
    return start


def value_end(text: str, start: int) -> int:
    """The offset behind the value that begins at `start`."""
    try:
        return _skip(text, start)[1]
    except RecursionError:
        raise JSONError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise JSONError(f"the body is not JSON: {error}") from None


def find(text: str, path: Sequence[Step]) -> list[int]:
    """Where the values begin that `path` leads to, in order."""
    starts = [root(text)]
    for step in path:
        following = []
        for start in starts:
            container = container_at(text, start)
            if container is not None:
                following += [entry.start for entry in _chosen(container, step)]
        starts = following
    return starts


def container_at(text: str, start: int) -> Container | None:
    """The object or array that begins at `start`; None for any other value."""
    kind = text[start]
    if kind not in "{[":
        return None
    entries: list[Entry] = []
    at = _blank(text, start + 1)
    close = "}" if kind == "{" else "]"
    while text[at] != close:
        if text[at] == ",":
            at = _blank(text, at + 1)
        name = name_end = at
        key: str | int = len(entries)
        if kind == "{":
            key, name_end = scanstring(text, at + 1, True)
            at = _blank(text, _blank(text, name_end) + 1)
        end = value_end(text, at)
        entries.append(Entry(key, name, name_end, at, end))
        at = _blank(text, end)
    return Container(kind, start, at + 1, entries)


def insertion(text: str, container: Container, at: int, name: str | None, value: str) -> Splice:
    """What has to be put in for a new entry at a position, written like its neighbours."""
    entries = container.entries
    colon = ""
    if name is not None:
        first = entries[0] if entries else None
        colon = text[first.name_end : first.start] if first is not None else f":{'' if is_compact(text) else ' '}"
        value = f"{written(name)}{colon}{value}"
    if not entries:
        return container.start + 1, container.end - 1, value
    if at < len(entries):
        return entries[at].name, entries[at].name, f"{value}{_between(text, container)}"
    return entries[-1].end, entries[-1].end, f"{_between(text, container)}{value}"


def splice(text: str, edits: Sequence[Splice]) -> str:
    """The text with pieces replaced, which must not overlap."""
    out, at = [], 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        out += [text[at:start], new]
        at = end
    return "".join([*out, text[at:]])


def is_compact(text: str) -> bool:
    """Whether a document is written without blanks behind its colons."""
    found = _COMPACT.search(text)
    return found is not None and not found[1]


def shown(path: Sequence[Step]) -> str:
    """A path as text."""
    parts = ["$"]
    for step in path:
        parts.append("[*]" if isinstance(step, Every) else f"[{step}]" if isinstance(step, int) else f".{step}")
    return "".join(parts)


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None
    return found.end()


def _chosen(container: Container, step: Step) -> list[Entry]:
    """The entries that a step names; a name that stands there twice names both, since readers differ."""
    entries = container.entries
    if isinstance(step, Every):
        return entries
    if isinstance(step, int):
        if container.kind != "[":
            return []
        at = step + len(entries) if step < 0 else step
        return entries[at : at + 1] if at >= 0 else []
    return [entry for entry in entries if entry.key == step] if container.kind == "{" else []


def _set(text: str, start: int, path: Sequence[Step], value: str) -> Iterator[Splice]:
    for number, step in enumerate(path):
        container = container_at(text, start)
        if container is None or (isinstance(step, (str, int)) and (container.kind == "{") != isinstance(step, str)):
            wanted = "an array" if isinstance(step, int) else "an object" if isinstance(step, str) else "made of parts"
            raise JSONError(f"{shown(path[:number])} is not {wanted}")
        chosen = _chosen(container, step)
        if len(chosen) != 1:
            for entry in chosen:
                yield from _set(text, entry.start, path[number + 1 :], value)
            if not chosen and not isinstance(step, Every):
                yield _made(text, container, path, number, value)
            return
        start = chosen[0].start
    yield start, value_end(text, start), value


def _made(text: str, container: Container, path: Sequence[Step], number: int, value: str) -> Splice:
    """A new entry for `path[number]`, with the objects below it that the rest of the path needs."""
    colon = ":" if is_compact(text) else ": "
    for step in reversed(path[number + 1 :]):
        if isinstance(step, Every) or (isinstance(step, int) and step != 0):
            raise JSONError(f"there is nothing at {shown(path[: number + 1])}")
        value = f"[{value}]" if isinstance(step, int) else f"{{{written(step)}{colon}{value}}}"
    step = path[number]
    if isinstance(step, int) and step != len(container.entries):
        raise JSONError(f"{shown(path[:number])} has {len(container.entries)} items, so there is no [{step}]")
    return insertion(text, container, len(container.entries), step if isinstance(step, str) else None, value)


def _between(text: str, container: Container) -> str:
    """What stands between two entries."""
    entries = container.entries
    if len(entries) > 1:
        return text[entries[0].end : entries[1].name]
    lead = text[container.start + 1 : entries[0].name]
    return f",{lead}" if lead.strip(" ") else "," if is_compact(text) else ", "


def _cuts(container: Container, chosen: set[int]) -> Iterator[Splice]:
    """What has to go so that the chosen entries are gone, each with one comma."""
    entries = container.entries
    kept = [number for number, entry in enumerate(entries) if entry.start not in chosen]
    if not kept:
        if entries:
            yield container.start + 1, container.end - 1, ""
        return
    last = kept[-1]
    for number, entry in enumerate(entries[:last]):
        if entry.start in chosen:
            yield entry.name, entries[number + 1].name, ""
    if last + 1 < len(entries):
        yield entries[last].end, entries[-1].end, ""
