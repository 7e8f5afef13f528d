"""The patterns of `like`: the whole of a path, with `{name}` for a part of one segment, which is captured."""

from __future__ import annotations

import re

from rulesproxy.filters import ast
from rulesproxy.filters.problem import FilterError, error
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.shape import Pattern
from rulesproxy.filters.typed import Read

_GROUP = re.compile(r"\{([^{}]*)\}")
_GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch


def path_pattern(text: ast.Text, read: Read) -> Regex:
    """The regex of a path pattern for the values of `read`.

    Raises:
        FilterError: it is none.
    """
    if not text.value.startswith("/"):
        raise _bad("a path pattern starts with `/`", text, f'write `"/{text.value}"`')
    normal = read.field.normal or str
    parts: list[str] = []
    # Texts and names take turns, so that there is a text, perhaps an empty one, on both sides of each name.
    pieces = _GROUP.split(text.value)
    at = 0
    for index, piece in enumerate(pieces):
        place = text.place(at)
        if index % 2:
            if not _GROUP_NAME(piece):
                help = "a capture is like `{id}`: letters, digits and `_`"
                end = text.place(at + len(piece) + 2)
                raise FilterError([error("RP500", f"`{{{piece}}}` is not a capture", place, end, help)])
            parts.append(f"(?P<{piece}>[^/]+)")
            at += len(piece) + 2
            continue
        brace = re.search("[{}]", piece)
        if brace:
            start = text.place(at + brace.start())
            help = "a capture is like `{id}`"
            raise FilterError([error("RP500", "this brace belongs to no capture", start, start + 1, help)])
        if not piece and 0 < index < len(pieces) - 1:
            end = text.place(at + len(pieces[index + 1]) + 2)
            raise FilterError([error("RP500", "two captures need something between them", place, end)])
        parts.append(re.escape(normal(piece)))
        at += len(piece)
    try:
        pattern = Pattern.of(rf"\A{''.join(parts)}\Z", re.ASCII)
    except re.error as exc:
        raise _bad(f"bad path pattern: {exc.msg}", text) from None
    first = normal(pieces[0])
    texts = frozenset({max(map(normal, pieces[::2]), key=len)})
    return Regex(text.value, pattern, ("==", first) if len(pieces) == 1 else None, first, texts=texts)


def _bad(title: str, text: ast.Text, help: str = "") -> FilterError:
    return FilterError([error("RP500", title, text.start, text.end, help)])
