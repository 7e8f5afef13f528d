"""The traps that YAML sets for filters: what the user wrote, what YAML made of it, and what to do.

It knows the parser's complaints and the look of a filter, and nothing of what a rule means.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.rules.files.nodes import File, Scalar

if TYPE_CHECKING:
    import yaml

QUOTE = "quote the whole filter with single quotes, and double a single quote inside it"

_MATCH_LINE = re.compile(r"^\s*(?:-\s+)*(?:\{\s*)?match:\s*(?P<filter>.*)$")
_GOES_ON = re.compile(
    r"(?:and|or|not|in|contains|under|like|glob|startswith|endswith)\b|[&|~!=<>]|.*[\"']\s*(?:\)|and\b|or\b|$)"
)
_MISSING_BLANK = re.compile(r"\s*(?:-\s+)*([a-z][a-z-]*:)(?=[^\s/])")
_NO_COLON = re.compile(r"\s*(?:-\s+)*(?!(?:and|or|not|in)\b)[a-z][a-z-]*\s+[^:#]*$").fullmatch
_FORBIDDEN_START = "@%`"
_ODD_BLANK = "\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff"
"""What looks like a blank, or like nothing, and is a letter for YAML (1.2.2 section 5.5)."""
_BEGINS_ODD = re.compile(f"[{_ODD_BLANK}]").match
_ODD_LAYOUT = re.compile(f" *(?:- *)*(?:[a-z][a-z-]*:)?([{_ODD_BLANK}])").match


def starts_filter(key: Scalar | None) -> bool:
    """Whether the value of this key is a filter."""
    return key is not None and key.text == "match"


def prefixed_filter(file: File, key: Scalar | None, start: int, tagged: bool) -> Diagnostic | None:
    """The diagnostic for a filter whose `!` or `&` YAML took for a tag or an anchor; None if this is no filter."""
    if not starts_filter(key):
        return None
    if tagged:
        word = re.match(r"!\s*\S*", file.source.text[start : start + 200])
        rest = word.group()[1:] if word else ""
        return Diagnostic(
            "RP010",
            "error",
            "YAML reads a filter that starts with `!` as a tag, so `not` would be lost",
            file.span(start, start + 1),
            help=f"write `not {rest} …`, or quote the whole filter with single quotes",
        )
    return Diagnostic(
        "RP014",
        "error",
        "YAML reads a filter that starts with `&` as an anchor",
        file.span(start, start + 1),
        help=QUOTE,
    )


def dropped_comment(scalar: Scalar) -> Diagnostic | None:
    """The diagnostic for a filter of which YAML dropped the end as a comment, or None.

    A real comment behind a filter is fine; text that goes on with the filter, or closes its string, is not one.
    """
    if not scalar.plain:
        return None
    text = scalar.file.source.text
    line_end = text.find("\n", scalar.end)
    rest = text[scalar.end : line_end if line_end >= 0 else len(text)].rstrip("\r")
    found = re.match(r"[ \t]+#\s*(.*)", rest)
    if found is None:
        return None
    dropped = found.group(1).strip()
    open_string = scalar.text.count('"') % 2 or scalar.text.count("'") % 2
    if not open_string and not _GOES_ON.match(dropped):
        return None
    start = scalar.end + rest.index("#")
    return Diagnostic(
        "RP012",
        "error",
        "YAML drops everything after ` #` as a comment",
        scalar.file.span(start, start + len(rest) - rest.index("#")),
        help=f"{QUOTE}; or put the comment on a line of its own",
        label="not part of the filter",
    )


def odd_blank(key: Scalar) -> Diagnostic | None:
    """The diagnostic for a key that begins with what only looks like a blank, or None."""
    return _odd(key.file, key.start) if key.plain and _BEGINS_ODD(key.text) else None


def _odd(file: File, at: int) -> Diagnostic:
    from unicodedata import name

    character = file.source.text[at]
    title = f"U+{ord(character):04X} ({name(character, 'without a name').lower()}) is no blank for YAML"
    help = "write an ordinary blank in its place: text that is copied from pages and chats often has others"
    return Diagnostic("RP019", "error", title, file.span(at, at + 1), help=help)


def _odd_layout(file: File, at: int) -> Diagnostic | None:
    """An odd blank where the layout of a line is: in the one that the parser refused, or in the one above."""
    text = file.source.text
    start = text.rfind("\n", 0, at) + 1
    for begin in (start, text.rfind("\n", 0, max(start - 1, 0)) + 1):
        found = _ODD_LAYOUT(text[begin : begin + 200].partition("\n")[0])
        if found is not None:
            return _odd(file, begin + found.start(1))
    return None


def explain_error(file: File, error: yaml.YAMLError) -> Diagnostic:
    """The diagnostic for text that the YAML parser refused."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _unreadable(file, error)
    text = file.source.text
    at = min(mark.index, len(text))
    line_start = text.rfind("\n", 0, at) + 1
    line_end = text.find("\n", at)
    line = text[line_start : line_end if line_end >= 0 else len(text)].rstrip("\r")
    problem = str(getattr(error, "problem", ""))
    context = str(getattr(error, "context", "") or "")
    if "nesting depth" in problem:
        # Some versions of the parser give up by themselves, before a node so deep is seen.
        return Diagnostic(
            "RP006", "error", "nested too deeply", file.span(at, at + 1), help="a rule file needs about ten levels"
        )
    return (
        _tab(file, line, line_start, problem)
        or _odd_layout(file, at)
        or _in_flow(file, text, at, line, line_start, context)
        or _in_filter(file, line, line_start, at, problem, context)
        or _layout(file, error, at, problem, context)
    )


def _unreadable(file: File, error: yaml.YAMLError) -> Diagnostic:
    position = getattr(error, "position", None)
    character = getattr(error, "character", None)
    shown = f"U+{character:04X}" if isinstance(character, int) else "a character"
    at = position if isinstance(position, int) and position < len(file.source.text) else 0
    return Diagnostic(
        "RP002",
        "error",
        f"{shown} is not allowed in YAML",
        file.span(at, at + 1),
        help='remove it, or write it as an escape inside double quotes, such as "\\x07"',
    )


def _tab(file: File, line: str, line_start: int, problem: str) -> Diagnostic | None:
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" not in indent or not ("token" in problem or "tab" in problem or "expected" in problem):
        return None
    start = line_start + indent.index("\t")
    return Diagnostic(
        "RP003",
        "error",
        "a tab is used for indentation",
        file.span(start, start + 1),
        help="YAML needs spaces here; use two for every level",
    )


def _in_flow(file: File, text: str, at: int, line: str, line_start: int, context: str) -> Diagnostic | None:
    """Inside `{…}` or `[…]` many characters mean something else."""
    if "flow mapping" not in context and "flow sequence" not in context:
        return None
    column = at - line_start
    before = line[:column]
    if before.endswith("$") and line[column : column + 1] == "{":
        return _flow(file, at - 1, "RP018", "inside `{…}` or `[…]` YAML reads the `{` of `${` as its own", "template")
    if re.search(r"\bin\s*\{?$", before):
        return _flow(file, at, "RP015", "inside `{…}` YAML reads the `{` of a set as its own", "filter")
    if line[column : column + 1] == "[":
        return _flow(file, at, "RP018", "inside `{…}` YAML reads this `[` as the start of a list", "value")
    comment = re.search(r"\s#", line)
    if comment:
        start = line_start + comment.start() + 1
        return _flow(file, start, "RP018", "` #` starts a comment, and the closing bracket is lost in it", "value")
    return None


def _flow(file: File, at: int, code: str, title: str, what: str) -> Diagnostic:
    return Diagnostic(
        code,
        "error",
        title,
        file.span(at, at + 1),
        help=f"write the rule over several lines, or quote the {what} with single quotes",
    )


def _in_filter(file: File, line: str, line_start: int, at: int, problem: str, context: str) -> Diagnostic | None:
    """The line holds a filter that YAML cannot read as one value."""
    match = _MATCH_LINE.match(line)
    if match is None:
        return None
    start = line_start + match.start("filter")
    text = match.group("filter")
    if text[:1] == "!":
        return prefixed_filter(file, Scalar(file, "match", "", 0, 0, False), start, True)
    if text[:1] and text[0] in _FORBIDDEN_START:
        return Diagnostic(
            "RP014",
            "error",
            f"a plain YAML value cannot start with {_named(text[0])}",
            file.span(start, start + 1),
            help=QUOTE,
        )
    if text[:1] in ("*", "&"):
        word = "an alias" if text[0] == "*" else "an anchor"
        title = f"YAML reads a filter that starts with `{text[0]}` as {word}"
        return Diagnostic("RP014", "error", title, file.span(start, start + 1), help=QUOTE)
    if text[:1] in ('"', "'") and "quoted scalar" not in context:
        return Diagnostic(
            "RP013",
            "error",
            "for YAML this value ends at its second quote",
            file.span(start, at),
            help=f"put the field first, as in `host == {text.split(text[0])[1]!r}`; or {QUOTE}".replace("'", '"', 2),
            label="YAML stops here",
        )
    if "mapping values" in problem:
        return Diagnostic(
            "RP011", "error", "YAML reads `: ` inside the filter as the end of a key", file.span(at, at + 1), help=QUOTE
        )
    return None


def _line_above(file: File, at: int) -> str:
    end = file.source.text.rfind("\n", 0, at)
    return file.source.text[file.source.text.rfind("\n", 0, max(end, 0)) + 1 : end] if end > 0 else ""


def _named(character: str) -> str:
    return "a backtick" if character == "`" else f"`{character}`"


_BRACKETS = re.compile(r"""[\[\]{}]|"(?:\\.|[^"\\])*"|'[^']*'|(?:^|(?<=\s))#[^\n]*""")


def _last_open(text: str) -> int:
    """Where the innermost bracket stands that is still open at the end, as far as can be told without a parser."""
    stack = [0]
    for match in _BRACKETS.finditer(text):
        mark = match[0]
        if mark in "[{":
            stack.append(match.start())
        elif mark in "]}" and len(stack) > 1:
            stack.pop()
    return stack[-1]


def _layout(file: File, error: yaml.YAMLError, at: int, problem: str, context: str) -> Diagnostic:
    """Everything else is a matter of indentation, a missing colon, or a quote or bracket that is never closed."""
    named = {"while scanning an alias": ("*", "an alias"), "while scanning an anchor": ("&", "an anchor")}.get(context)
    if "cannot start any token" in problem and file.source.text[at : at + 1] in tuple(_FORBIDDEN_START):
        title = f"a plain YAML value cannot start with {_named(file.source.text[at])}"
        return Diagnostic("RP014", "error", title, file.span(at, at + 1), help="quote the value with single quotes")
    if named is not None:
        start = max(file.source.text.rfind(named[0], 0, at + 1), 0)
        title = f"YAML reads a value that starts with `{named[0]}` as {named[1]}"
        help = "quote the value with single quotes"
        return Diagnostic("RP014", "error", title, file.span(start, start + 1), help=help)
    if at >= len(file.source.text):
        at = max(0, len(file.source.text.rstrip()) - 1)
    forgotten = _MISSING_BLANK.match(_line_above(file, at)) if "mapping values" in problem else None
    if forgotten is not None:
        above = file.source.text.rfind("\n", 0, file.source.text.rfind("\n", 0, at)) + 1
        start, end = above + forgotten.start(1), above + forgotten.end(1)
        title = f"a blank is missing after `{forgotten[1]}`"
        return Diagnostic("RP004", "error", title, file.span(start, end), help="write a blank behind the colon")
    line_above = _line_above(file, at)
    if "mapping values" in problem and _NO_COLON(line_above):
        start = file.source.text.rfind("\n", 0, file.source.text.rfind("\n", 0, at)) + 1
        word = line_above.strip().removeprefix("- ").split()[0]
        start += line_above.index(word)
        title = f"a colon is missing behind `{word}`"
        return Diagnostic("RP004", "error", title, file.span(start, start + len(word)), help=f"write `{word}: …`")
    if "could not find expected ':'" in problem:
        mark = getattr(error, "context_mark", None)
        start = mark.index if mark is not None else at
        end = file.source.text.find("\n", start)
        title = "this line has no key: there is no `: ` in it"
        help = "write `key: value`; a line that goes on with the one above is indented further"
        span = file.span(start, end if end >= 0 else len(file.source.text))
        return Diagnostic("RP004", "error", title, span, help=help)
    if "mapping values" not in problem and ("quoted scalar" in context or "flow" in context):
        return _never_closed(file, error, at, problem, context)
    if "mapping values" in problem:
        title, help = "a `: ` stands where no key can be", "check the indentation of this line, or quote the value"
    elif "expected key" in problem or "block" in context:
        title, help = (
            "this line does not fit the lines above it",
            "check its indentation, and that every key ends with `: `",
        )
    else:
        title, help = "YAML cannot read this", f"the parser says: {problem}"
    return Diagnostic("RP004", "error", title, file.span(at, at + 1), help=help)


def _never_closed(file: File, error: yaml.YAMLError, at: int, problem: str, context: str) -> Diagnostic:
    """A quote or a bracket that has no end, or an escape in quotes that YAML does not have."""
    mark = getattr(error, "context_mark", None)
    at = mark.index if mark is not None else at
    if "quoted scalar" in context and "escape" in problem:
        mark = getattr(error, "problem_mark", None)
        at = mark.index if mark is not None else at
        title, help = (
            "YAML does not know this escape in double quotes",
            "use single quotes, where a backslash is a backslash",
        )
        return Diagnostic("RP004", "error", title, file.span(at, at + 1), help=help)
    opened = file.source.text[at : at + 1]
    if opened not in "[{\"'" or not opened:
        # The parser noticed at the end of the file. The reader wants to see where it began.
        at = _last_open(file.source.text)
        opened = file.source.text[at]
    if opened in "[{":
        help = "close it, or quote the value if the bracket belongs to it"
    else:
        help = "close it at the end of the value; a quote that belongs to the value goes inside the other kind"
    return Diagnostic("RP004", "error", f"this `{opened}` is never closed", file.span(at, at + 1), help=help)
