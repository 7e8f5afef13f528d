"""Replacements: what `replace` looks for in a text, and what stands there afterwards.

It knows groups of regular expressions and their other spellings, and nothing of messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.schema import Bad
from rulesproxy.rules.template import Captures, Template
from rulesproxy.rules.templates.fields import field_of
from rulesproxy.rules.templates.names import MADE

if TYPE_CHECKING:
    from rulesproxy.filters.engine import Searching
    from rulesproxy.rules.files.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

_DOLLAR = re.compile(r"(?<!\$)\$(?:(\d+)|\{(\w+)\})")
"""`$1` or `${name}`."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What `replace` looks for: a text or a regular expression, and what stands there afterwards.

    Attributes:
        search: finds it.
        replacement: what stands there afterwards.
        groups: whether it is a regular expression, whose groups the replacement may name.
        text: the text, where it is one.
    """

    search: Searching
    replacement: Template
    groups: bool
    text: str | None = None

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        text = Template.json_schema()
        return {
            "type": "object",
            "properties": {
                "text": {**text, "minLength": 1, "description": "The text that is looked for."},
                "regex": {**text, "description": "The regular expression that is looked for."},
                "with": {**text, "description": "What stands there afterwards; \\1 and \\g<name> are groups."},
            },
            "required": ["with"],
            "anyOf": [{"required": ["text"]}, {"required": ["regex"]}],
            "additionalProperties": False,
        }

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Pattern:
        mapping = reader.mapping(node, name, "`{text: old, with: new}`")
        for key, _ in mapping.entries:
            if key.text not in ("text", "regex", "with"):
                reader.unknown(
                    key, ("text", "regex", "with"), f"in `{name}`", {"to": "with", "pattern": "regex", "from": "text"}
                )
                raise Bad
        text, regex, new = mapping.get("text"), mapping.get("regex"), mapping.get("with")
        if new is None or (text is None) == (regex is None):
            reader.fail("RP103", node, f"`{name}` needs `with` and either `text` or `regex`")
        plain = None
        if text is not None:
            plain = reader.text(text, "text")
            if not plain:
                reader.fail("RP103", text, "this text is empty, so that it is everywhere", "write what is looked for")
            search: Searching = re.compile(re.escape(plain))
        else:
            assert regex is not None
            search = _regex(reader.scalar(regex, "regex", "a regular expression"), reader)
        if regex is not None:
            _explain_dollars(search, reader.raw(new, "with", "text"), reader)
        replacement = Template.read(new, reader, "with")
        if regex is not None:
            for part in replacement.parts:
                if isinstance(part, str):
                    _check_references(search, part, new, reader)
        return cls(search, replacement, regex is not None, plain)

    def apply(self, text: str, flow: HTTPFlow, captures: Captures) -> str:
        """The text with every match replaced; `\\1` and `\\g<name>` mean groups of the regular expression."""
        replacement = self.replacement
        if replacement.constant is not None and self.groups:
            return self.search.sub(replacement.constant, text)
        if not self.groups:
            new = replacement.fill(flow, captures)
            return self.search.sub(lambda match: new, text)
        # A value that comes from the message must never be read as a reference to a group.
        parts = [
            part if isinstance(part, str) else Value(part.read(flow, captures) or "") for part in replacement.parts
        ]
        return self.search.sub(
            lambda match: "".join([part if isinstance(part, Value) else match.expand(part) for part in parts]), text
        )


class Value(str):
    """What a template has put in, as opposed to what stands in the rule."""


def _explain_dollars(search: Searching, node: Scalar, reader: Reader) -> None:
    """Groups as other programs write them, where the regular expression has such a group (RP500)."""
    for found in _DOLLAR.finditer(node.text):
        name = found[1] or found[2]
        try:
            search.sub(f"\\g<{name}>", "")
        except (re.error, IndexError):
            continue
        written = f"\\{name}" if name.isdigit() else f"\\g<{name}>"
        place = node.part(found.start(), found.end())
        title = f"`{found[0]}` is no group of the regular expression here"
        if found[2] is None:
            reader.note("RP500", place, title, f"write `{written}`", severity="warning")
        elif name.isdigit() or _is_unknown(name, reader):
            reader.fail("RP500", place, title, f"write `{written}`; `${{…}}` are values, and captures of `match`")


def _is_unknown(name: str, reader: Reader) -> bool:
    """Whether a template cannot name it; of a bad filter nothing is known."""
    captures = reader.names.captures
    return captures is not None and name not in captures and field_of(name) is None and name not in MADE


def _check_references(search: Searching, replacement: str, node: Node, reader: Reader) -> None:
    try:
        search.sub(replacement, "")
    except (re.error, IndexError) as error:
        reader.fail(
            "RP500",
            node,
            f"the replacement cannot be used: {error}",
            "groups are `\\1` and `\\g<name>`; a backslash is `\\\\`",
        )


def _regex(scalar: Scalar, reader: Reader) -> Searching:
    """A regular expression of the filter language's dialect, so that both run in linear time."""
    from rulesproxy.rules.edits.regex import compile_regex

    return compile_regex(scalar, reader)
