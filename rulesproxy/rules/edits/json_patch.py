"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) on JSON text, which keeps every byte that they do not name."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rulesproxy.rules.edits.json_path import Step
from rulesproxy.rules.edits.json_text import (
    Container,
    JSONError,
    container_at,
    delete_value,
    find,
    insertion,
    root,
    set_value,
    splice,
    value_end,
)


def merge_patch(text: str, patch: str) -> str:
    """The document with a merge patch applied: null removes, objects are merged, everything else replaces.

    Raises:
        JSONError: one of the two is not JSON.
    """
    return _merge(text, (), patch)


def _merge(text: str, path: tuple[Step, ...], patch: str) -> str:
    changes = container_at(patch, root(patch))
    if changes is None or changes.kind == "[":
        return set_value(text, path, patch)
    if not _is_object(text, path):
        text = set_value(text, path, "{}")
    for entry in changes.entries:
        value = patch[entry.start : entry.end]
        below = (*path, entry.key)
        text = delete_value(text, below) if value == "null" else _merge(text, below, value)
    return text


def _is_object(text: str, path: Sequence[Step]) -> bool:
    found = find(text, path)
    return bool(found) and text[found[-1]] == "{"


def patch_add(text: str, pointer: Sequence[str], value: str) -> str:
    """Operation `add` (RFC 6902 section 4.1).

    Raises:
        JSONError: there is no such place.
    """
    if not pointer:
        start = root(text)
        return splice(text, [(start, value_end(text, start), value)])
    container = _parent(text, pointer)
    name = pointer[-1]
    if container.kind == "{":
        old = [entry for entry in container.entries if entry.key == name]
        if old:
            return splice(text, [(entry.start, entry.end, value) for entry in old])
        return splice(text, [insertion(text, container, len(container.entries), name, value)])
    size = len(container.entries)
    at = size if name == "-" else _index(name, pointer)
    if at > size:
        raise JSONError(f"{_shown(pointer)} is behind the end of the array")
    return splice(text, [insertion(text, container, at, None, value)])


def patch_remove(text: str, pointer: Sequence[str]) -> str:
    """Operation `remove` (section 4.2).

    Raises:
        JSONError: there is nothing.
    """
    patch_get(text, pointer)
    container = _parent(text, pointer) if pointer else None
    if container is None:
        raise JSONError("the whole document cannot be removed")
    step: Step = pointer[-1] if container.kind == "{" else _index(pointer[-1], pointer)
    return delete_value(text, (*_steps(text, pointer[:-1]), step))


def patch_replace(text: str, pointer: Sequence[str], value: str) -> str:
    """Operation `replace` (section 4.3).

    Raises:
        JSONError: there is nothing to replace.
    """
    patch_get(text, pointer)
    return set_value(text, _steps(text, pointer), value)


def patch_move(text: str, pointer: Sequence[str], source: Sequence[str]) -> str:
    """Operation `move` (section 4.4).

    Raises:
        JSONError: there is nothing at `source`, or no such place at `pointer`.
    """
    if len(pointer) > len(source) and list(pointer[: len(source)]) == list(source):
        raise JSONError(f"{_shown(source)} cannot be moved into itself")
    value = patch_get(text, source)
    return text if list(pointer) == list(source) else patch_add(patch_remove(text, source), pointer, value)


def patch_test(text: str, pointer: Sequence[str], value: str) -> str:
    """Operation `test` (section 4.6): the text as it is.

    Raises:
        JSONError: another value is there, or none.
    """
    found = patch_get(text, pointer)
    if not _equal(json.loads(found), json.loads(value)):
        raise JSONError(f"{_shown(pointer)} is {found[:60]}, not {value[:60]}")
    return text


def patch_get(text: str, pointer: Sequence[str]) -> str:
    """The text of a value.

    Raises:
        JSONError: there is none.
    """
    found = find(text, _steps(text, pointer))
    if not found:
        raise JSONError(f"there is nothing at {_shown(pointer)}")
    return text[found[-1] : value_end(text, found[-1])]


def _steps(text: str, pointer: Sequence[str]) -> tuple[Step, ...]:
    """The same place as steps: whether a part is a name or a position depends on what is there."""
    steps: list[Step] = []
    start = root(text)
    for number, part in enumerate(pointer):
        container = container_at(text, start)
        if container is None:
            raise JSONError(f"there is nothing at {_shown(pointer[: number + 1])}")
        step: Step = part if container.kind == "{" else _index(part, pointer)
        found = [entry.start for entry in container.entries if entry.key == step]
        if not found:
            raise JSONError(f"there is nothing at {_shown(pointer[: number + 1])}")
        steps.append(step)
        start = found[-1]
    return tuple(steps)


def _parent(text: str, pointer: Sequence[str]) -> Container:
    start = find(text, _steps(text, pointer[:-1]))[-1]
    container = container_at(text, start)
    if container is None:
        raise JSONError(f"{_shown(pointer[:-1])} is neither an object nor an array")
    return container


def _index(part: str, pointer: Sequence[str]) -> int:
    if part.isascii() and part.isdigit() and len(part) < 10 and (part == "0" or part[0] != "0"):
        return int(part)
    raise JSONError(f"{_shown(pointer)} names no position of an array")


def _shown(pointer: Sequence[str]) -> str:
    return "".join([f"/{part.replace('~', '~0').replace('/', '~1')}" for part in pointer]) or "the document"


def _equal(a: object, b: object) -> bool:
    """Equality as section 4.6 means it: true is not 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a == b and isinstance(a, bool) == isinstance(b, bool)
