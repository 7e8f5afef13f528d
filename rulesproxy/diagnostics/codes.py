"""The registry of codes: `codes.md`, one section for each, which `rulesproxy explain` shows.

A code is never used again for something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_FILE = Path(__file__).with_name("codes.md")
_SECTION = re.compile(r"^## (RP\d{3}) (.*)\n", re.M)


@dataclass(frozen=True, slots=True)
class Code:
    """What there is to say about a code.

    Attributes:
        code: `RPnnn`.
        title: one lower-case line.
        explanation: what is wrong.
        rationale: why it matters.
        resolution: how to write it right.
        example: a piece of a rule file that is wrong; empty where the mistake is not in a file.
        instead: the same piece, right.
    """

    code: str
    title: str
    explanation: str
    rationale: str
    resolution: str
    example: str
    instead: str

    def page(self) -> str:
        """The page as text for a terminal, without a line end."""
        parts = [f"{self.code}: {self.title}", self.explanation]
        parts += [f"Rationale\n{_indented(self.rationale)}", f"Resolution\n{_indented(self.resolution)}"]
        if self.example:
            parts.append(f"Example\n{_indented(self.example)}")
        if self.instead:
            parts.append(f"Instead\n{_indented(self.instead)}")
        return "\n\n".join(parts)


class _Codes(Mapping[str, Code]):
    """The codes in order. Who asks for none does not read the file."""

    @cached_property
    def _pages(self) -> dict[str, Code]:
        _, *sections = _SECTION.split(_FILE.read_text(encoding="utf-8"))
        return {
            code: _code(code, title, text)
            for code, title, text in zip(sections[::3], sections[1::3], sections[2::3], strict=True)
        }

    def __getitem__(self, code: str) -> Code:
        return self._pages[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pages)

    def __len__(self) -> int:
        return len(self._pages)


def _code(code: str, title: str, text: str) -> Code:
    parts = {"explanation": "", "rationale": "", "resolution": "", "example": "", "instead": ""}
    part = "explanation"
    for paragraph in re.split(r"\n\n(?=\S)", text.strip()):
        named = re.match(r"(Rationale|Resolution|Example|Instead):\s*", paragraph)
        if named:
            part = named[1].lower()
            paragraph = paragraph[named.end() :]
        if part in ("example", "instead"):
            # An empty line inside an example stays one.
            paragraph = "\n".join(line[4:] for line in f"    {paragraph.lstrip()}".splitlines())
        parts[part] = f"{parts[part]}\n\n{paragraph}".strip()
    return Code(code, title, **parts)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


CODES: Mapping[str, Code] = _Codes()
"""Every code with its page, in order."""
