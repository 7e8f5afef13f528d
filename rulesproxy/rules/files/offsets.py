"""From the text of a YAML scalar back to its file: where every character of the value was written."""

from __future__ import annotations

_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_SOFT = " \t\r\n\x85\u2028\u2029"


def offsets(raw: str, style: str, value: str) -> list[int]:
    """For every character of a scalar's value the offset in its source `raw`.

    What is no white space stands in both in the same order, and escapes count as one. White space is folded, indented
    and chomped in many ways; it is placed where the source has its next white space.
    """
    units = _split_units(raw, style)
    found: list[int] = []
    at = 0
    for char in value:
        if char in _SOFT:
            # A folded or stripped blank has no unit of its own and takes the place after the last one.
            if at < len(units) and (units[at][1] == char or not units[at][2]):
                found.append(units[at][0])
                at += 1
            else:
                found.append(found[-1] + 1 if found else (units[at][0] if at < len(units) else 0))
            continue
        while at < len(units) and not units[at][2]:
            at += 1
        found.append(units[at][0] if at < len(units) else len(raw))
        at += 1
    return found


def _split_units(raw: str, style: str) -> list[tuple[int, str, bool]]:
    """The characters of a scalar's source as (offset, decoded character, whether it is more than white space)."""
    if style in ("|", ">"):
        start = raw.find("\n") + 1
        return [(start + i, char, char not in _SOFT) for i, char in enumerate(raw[start:])]
    units = []
    at, end = (1, len(raw) - 1) if style else (0, len(raw))
    while at < end:
        char = raw[at]
        if style == "'" and char == "'":
            units.append((at, char, True))
            at += 2
        elif style == '"' and char == "\\":
            width = {"x": 4, "u": 6, "U": 10}.get(raw[at + 1], 2)
            decoded = chr(int(raw[at + 2 : at + width], 16)) if width > 2 else _ESCAPES.get(raw[at + 1], raw[at + 1])
            if raw[at + 1] in "\r\n":
                # A line break that is escaped vanishes together with the indentation behind it.
                at += 1
                while at < end and raw[at] in " \t\r\n":
                    at += 1
                continue
            units.append((at, decoded, True))
            at += width
        else:
            units.append((at, char, char not in _SOFT))
            at += 1
    return units
