"""One spelling of a regex that every engine reads alike, or the reason why there is none.

It knows the notation, character by character, and nothing of what a regex matches.
"""

from __future__ import annotations

import re
from bisect import bisect_right

_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}").match
_FLAGS = re.compile(r"\(\?([A-Za-z]*)(?:-([A-Za-z]*))?([:)])").match
_NAME = re.compile(r"\(\?P<([A-Za-z_][A-Za-z0-9_]*)>").match
_HEX = re.compile(r"[0-9A-Fa-f]+").match
_MAX_COUNT = 1000
_SPECIAL_IN_CLASS = frozenset("\\]^-[&~|")
_END_OF_LINE = r"(?=\r?\n|\Z)"

_GROUPS = (
    ("(?=", "look-ahead `(?=`", 'use a second condition: `… and path ~ "…"`'),
    ("(?!", "look-ahead `(?!`", 'use a second condition: `… and path !~ "…"`'),
    ("(?<=", "look-behind `(?<=`", "match the text before as well, and put the rest into a group `(?P<name>…)`"),
    ("(?<!", "look-behind `(?<!`", 'use a second condition: `… and path !~ "…"`'),
    ("(?>", "an atomic group `(?>`", "use `(?:`"),
    ("(?P=", "a back-reference `(?P=`", "write the alternatives out"),
    ("(?P>", "a recursion `(?P>`", "write the part out"),
    ("(?(", "a conditional `(?(`", "write two alternatives: `(?:…|…)`"),
    ("(?#", "a comment `(?#`", "remove it"),
    ("(?<", "the group `(?<name>`", "write `(?P<name>…)`"),
)

_ESCAPES = {
    "Z": (r"`\Z`", "write `$`, which is the very end of the text"),
    "z": (r"`\z`", "write `$`, which is the very end of the text"),
    "p": (r"the Unicode class `\p`", "list the characters: `[a-zäöü]`"),
    "P": (r"the Unicode class `\P`", "list the characters: `[^a-zäöü]`"),
    "Q": (r"`\Q`", "put a backslash before each special character, or use `contains`"),
    "E": (r"`\E`", "put a backslash before each special character, or use `contains`"),
    "C": (r"`\C`", "use `.`"),
    "X": (r"`\X`", "use `.`"),
    "R": (r"`\R`", r"use `\r?\n`"),
    "h": (r"`\h`", r"use `[ \t]`"),
    "K": (r"`\K`", "put what you want into a group `(?P<name>…)`"),
    "k": (r"a back-reference `\k`", "write the alternatives out"),
    "g": (r"a back-reference `\g`", "write the alternatives out"),
    "N": (r"`\N`", "write the character itself"),
}


class Refused(Exception):
    """A part of a regex, by its offsets, that is wrong or not in the dialect."""

    def __init__(self, code: str, title: str, start: int, end: int, help: str = "") -> None:
        super().__init__(title)
        self.code, self.title, self.start, self.end, self.help = code, title, start, end, help


class Spelled:
    """The pattern for the engine, and for every offset in it the one in the source."""

    def __init__(self, parts: list[tuple[str, int]]) -> None:
        self.pattern = "".join([part for part, _ in parts])
        self._sources = [source for _, source in parts]
        self._starts: list[int] = []
        at = 0
        for part, _ in parts:
            self._starts.append(at)
            at += len(part)

    def source_of(self, at: int) -> int:
        """The offset in the source of the offset `at` in the pattern."""
        index = bisect_right(self._starts, at) - 1
        return self._sources[index] if self._sources else 0


def translate(source: str, lines: bool = False) -> Spelled:
    """Spell `source` for the engine. With `lines` it is read line by line, and lines end in CR LF.

    Raises:
        Refused: it is not in the dialect.
    """
    return _Translation(source, lines).run()


class _Translation:
    def __init__(self, source: str, lines: bool) -> None:
        self.source = source
        self.at = 0
        self.lines = lines
        # Whether `$` stands at every line, for each open group.
        self.multiline = [lines]
        self.parts: list[tuple[str, int]] = []

    def run(self) -> Spelled:
        source = self.source
        while self.at < len(source):
            char, start = source[self.at], self.at
            if char == "\\":
                out = self.escape(False)
            elif char == "[":
                out = self.char_class()
            elif char == "(":
                out = self.group()
            elif char == "$":
                self.at += 1
                out = r"\Z" if not self.multiline[-1] else _END_OF_LINE if self.lines else "$"
            elif char in "*+?{":
                out = self.quantifier()
            else:
                self.at += 1
                out = char
                if char == ")" and len(self.multiline) > 1:
                    self.multiline.pop()
            self.parts.append((out, start))
        return Spelled(self.parts)

    def escape(self, inside: bool) -> str:
        """An escape, as it stands outside of a class or `inside` one."""
        start = self.at
        char = self.source[start + 1 : start + 2]
        self.at += 2
        if not char:
            raise Refused("RP500", "bad regex: it ends in a backslash", start, start + 1, r"a backslash itself is `\\`")
        if char in "dDwWsS" or char in "nrtfva":
            return "\\" + char
        if char in "bBA":
            if not inside:
                return "\\" + char
            raise Refused(
                "RP503", rf"`\{char}` in a class is not in the dialect", start, self.at, r"backspace is `\x08`"
            )
        if char in "xuU":
            return self.code(char, start)
        if char.isdigit() and char.isascii():
            what = "an octal escape" if char == "0" else "a back-reference"
            help = r"write the character as `\xHH`" if char == "0" else "write the alternatives out"
            raise Refused("RP503", rf"{what} `\{char}` is not in the dialect", start, self.at, help)
        if char in _ESCAPES:
            what, help = _ESCAPES[char]
            raise Refused("RP503", f"{what} is not in the dialect", start, self.at, help)
        if char.isascii() and char.isalpha():
            raise Refused(
                "RP500", rf"bad regex: unknown escape `\{char}`", start, self.at, f"the letter itself is `{char}`"
            )
        return _literal(char, inside)

    def code(self, char: str, start: int) -> str:
        digits = {"x": 2, "u": 4, "U": 8}[char]
        found = _HEX(self.source[self.at : self.at + digits])
        if found is None or len(found.group()) < digits:
            if self.source[self.at : self.at + 1] == "{":
                raise Refused("RP503", rf"`\{char}{{` is not in the dialect", start, self.at + 1, r"write `\uHHHH`")
            raise Refused("RP500", rf"bad regex: `\{char}` needs {digits} hexadecimal digits", start, self.at)
        self.at += digits
        value = int(found.group(), 16)
        if value > 0x10FFFF or 0xD800 <= value <= 0xDFFF:
            raise Refused("RP500", "bad regex: there is no such character", start, self.at)
        return rf"\x{value:02x}" if value < 256 else chr(value)

    def char_class(self) -> str:
        start = self.at
        source = self.source
        self.at += 1
        out = ["["]
        if source[self.at : self.at + 1] == "^":
            self.at += 1
            out.append("^")
        first = True
        while True:
            char = source[self.at : self.at + 1]
            if not char:
                raise Refused("RP500", "bad regex: this `[` is never closed", start, start + 1)
            if char == "]" and not first:
                self.at += 1
                out.append("]")
                return "".join(out)
            first = False
            out.append(self.class_item())

    def class_item(self) -> str:
        """A character or a class in a class, or a range."""
        start = self.at
        low = self.class_char()
        if self.source[self.at : self.at + 1] != "-" or self.source[self.at + 1 : self.at + 2] in ("]", ""):
            return low
        self.at += 1
        high = self.class_char()
        if (low[-1] in "dDwWsS" and low[0] == "\\") or (high[-1] in "dDwWsS" and high[0] == "\\"):
            raise Refused("RP500", "bad regex: a range needs two characters", start, self.at, r"a literal `-` is `\-`")
        return f"{low}-{high}"

    def class_char(self) -> str:
        source, start = self.source, self.at
        if source.startswith(("[:", "[=", "[."), start):
            raise Refused(
                "RP503",
                f"`{source[start : start + 2]}` is not in the dialect",
                start,
                start + 2,
                r"list the characters, or use `\d \w \s`",
            )
        if source[start] == "\\":
            return self.escape(True)
        self.at += 1
        return _literal(source[start], True)

    def group(self) -> str:
        source, start = self.source, self.at
        if source[start + 1 : start + 2] != "?":
            self.at += 1
            self.multiline.append(self.multiline[-1])
            return "("
        name = _NAME(source, start)
        if name:
            self.at = name.end()
            self.multiline.append(self.multiline[-1])
            return name.group()
        for mark, what, help in _GROUPS:
            if source.startswith(mark, start):
                raise Refused("RP503", f"{what} is not in the dialect", start, start + len(mark), help)
        flags = _FLAGS(source, start)
        if flags is None:
            raise Refused(
                "RP500", "bad regex: unknown group", start, start + 2, "groups are `(…)`, `(?:…)`, `(?P<name>…)`"
            )
        return self.flags(flags)

    def flags(self, match: re.Match[str]) -> str:
        on, off, end = match.group(1), match.group(2), match.group(3)
        for flag in on + (off or ""):
            if flag not in "ims":
                raise Refused(
                    "RP503",
                    f"the flag `{flag}` is not in the dialect",
                    match.start(),
                    match.end(),
                    "the flags are i, m and s",
                )
        if off == "" or (end == ")" and off) or (end == ")" and (match.start() or not on)):
            help = "flags stand at the start, `(?i)…`, or have a group, `(?i:…)`"
            raise Refused("RP503", f"`{match.group()}` is not in the dialect", match.start(), match.end(), help)
        self.at = match.end()
        multiline = "m" in on or (self.multiline[-1] and "m" not in (off or ""))
        if end == ":":
            self.multiline.append(multiline)
        else:
            self.multiline[-1] = multiline
        return match.group()

    def quantifier(self) -> str:
        source, start = self.source, self.at
        out = source[start]
        self.at += 1
        if out == "{":
            count = _COUNT(source, start)
            if count is None or count.group() in ("{}", "{,}"):
                return r"\{"
            self.at = count.end()
            low, comma, high = count.groups()
            if int(low or 0) > _MAX_COUNT or int(high or 0) > _MAX_COUNT:
                raise Refused("RP503", f"a count over {_MAX_COUNT:,} is not in the dialect", start, self.at)
            out = f"{{{low or '0'}{comma}{high}}}"
        if source[self.at : self.at + 1] == "+":
            raise Refused(
                "RP503",
                "a possessive repeat is not in the dialect",
                start,
                self.at + 1,
                f"use `{source[start : self.at]}`",
            )
        if source[self.at : self.at + 1] == "?":
            self.at += 1
            out += "?"
        return out


def _literal(char: str, inside: bool) -> str:
    if inside:
        return "\\" + char if char in _SPECIAL_IN_CLASS else char
    return re.escape(char)
