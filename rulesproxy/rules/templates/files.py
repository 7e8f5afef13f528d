"""Files that are templates: read with the rules that name them, and filled per flow so that no value breaks out.

What a value may not do depends on the type of the file: in JSON it stays inside its string, in HTML and XML it is text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import Source
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.edits.json_text import written
from rulesproxy.rules.edits.media import content_type
from rulesproxy.rules.files.compose import MAX_CHARACTERS
from rulesproxy.rules.files.nodes import File, Scalar
from rulesproxy.rules.template import Captures, Place, Template, parse
from rulesproxy.rules.templates.filters import html_escaped

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node
    from rulesproxy.rules.schema import Reader
    from rulesproxy.rules.templates.paths import LocalPath


@dataclass(frozen=True, slots=True)
class FileTemplate:
    """The text of a file with places in it.

    Attributes:
        template: the text.
        kind: its Content-Type.
    """

    template: Template
    kind: str

    @classmethod
    def of(cls, file: LocalPath, node: Node, reader: Reader) -> FileTemplate:
        """Read a file as a template; its mistakes are shown at their places in it."""
        try:
            data = file.path.read_bytes() if reader.closure is None else reader.closure.read(file.path, MAX_CHARACTERS)
        except OSError as error:
            reader.fail("RP601", node, f"cannot read `{file.shown}`: {(error.strerror or str(error)).lower()}")
        if len(data) > MAX_CHARACTERS:
            reader.fail("RP603", node, f"`{file.shown}` is over 1 MiB", "files that are no templates may be larger")
        try:
            text = data.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError:
            reader.fail("RP002", node, f"`{file.shown}` is not UTF-8", "save it as UTF-8, or remove `template: true`")
        scalar = Scalar(File(Source(str(file.path), text)), text, "", 0, len(text), False)
        template = parse(scalar, reader) if "${" in text else Template.of(text)
        found = cls(template, content_type(file.path.name))
        if found._json:
            found._check_json(scalar, reader)
        return found

    @property
    def _json(self) -> bool:
        kind = self.kind.partition(";")[0]
        return kind == "application/json" or kind.endswith("+json")

    def _check_json(self, scalar: Scalar, reader: Reader) -> None:
        """It is JSON whatever the values are, if it is with a number for each typed place and nothing for others."""
        try:
            json.loads("".join([_sample(part) for part in self.template.parts]))
        except ValueError as error:
            title = f"with its values filled in this is no JSON: {str(error).partition(':')[0]}"
            help = "write `${name | json}` for a whole value, and `${name}` only inside of quotes"
            reader.fail("RP615", scalar.part(0, 1), title, help)

    def fill(self, flow: HTTPFlow, captures: Captures) -> str:
        """The text for one flow.

        Raises:
            TemplateError: a value is not what it is said to be.
        """
        if self.template.constant is not None:
            return self.template.constant
        safe = _inside_json if self._json else html_escaped if _is_markup(self.kind) else str
        return "".join([_filled(part, flow, captures, safe) for part in self.template.parts])


def _filled(part: str | Place, flow: HTTPFlow, captures: Captures, safe: Callable[[str], str]) -> str:
    if isinstance(part, str):
        return part
    value = part.read(flow, captures)
    if part.typed:
        return value or "null"
    return safe(value or "")


def _sample(part: str | Place) -> str:
    return part if isinstance(part, str) else "0" if part.typed else ""


def _inside_json(value: str) -> str:
    return written(value)[1:-1]


def _is_markup(kind: str) -> bool:
    kind = kind.partition(";")[0]
    return kind in ("text/html", "text/xml", "application/xml") or kind.endswith("+xml")
