"""`Diagnostic`: a user's mistake, with its code, its place and what to do; and the registry of codes.

It knows how a diagnostic is made and shown, and nothing of rules or filters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Source:
    """A text that diagnostics point into: the file's name as the user wrote it, and its contents."""

    path: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """The line of that number, counted from 1, without its end; empty past the last."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a source: from (line, column) up to, not including, (end_line, end_column), all counted from 1."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.source.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that belongs to a diagnostic, with its own words."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake.

    Attributes:
        code: `RPnnn`; its page is `rulesproxy explain RPnnn`.
        severity: errors stop a rule file from being used.
        title: one lower-case line without a full stop that stands alone.
        span: the smallest place that is wrong; None for a file that could not be read.
        help: what to do; the only place for a fix.
        label: words under the caret.
        labels: other places, such as the first of two duplicates.
        notes: further facts.
    """

    code: str
    severity: Severity
    title: str
    span: Span | None = None
    help: str = ""
    label: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        return f"{place}{self.severity}[{self.code}]: {self.title}"


@dataclass(frozen=True, slots=True)
class Code:
    """A row of the registry: what `rulesproxy explain` says about a code."""

    code: str
    title: str
    explanation: str


class DiagnosticError(Exception):
    """Bad input, with every diagnostic that it deserves. `str()` is one line per diagnostic."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))


def suggest(name: str, known: Iterable[str], synonyms: dict[str, str] | None = None) -> str | None:
    """The known name that was probably meant, or None where nothing is near enough.

    Near means a Damerau-Levenshtein distance of a third of the name's length at most, or an entry of `synonyms`.
    """
    if synonyms and name in synonyms:
        return synonyms[name]
    best, limit = None, max(1, len(name) // 3)
    for candidate in known:
        distance = edit_distance(name, candidate, limit)
        if distance <= limit:
            best, limit = candidate, distance - 1
    return best


def edit_distance(a: str, b: str, limit: int) -> int:
    """Insertions, deletions, changes and swaps of neighbours from `a` to `b`; `limit + 1` where it is over `limit`."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)


# Showing


def render(diagnostic: Diagnostic) -> str:
    """A diagnostic with the lines it is about, in the form of a compiler's messages, without a line end."""
    spans = [(diagnostic.span, diagnostic.label, "^")] if diagnostic.span is not None else []
    spans += [(label.span, label.text, "-") for label in diagnostic.labels]
    width = max([len(str(span.line)) for span, _, _ in spans], default=1)
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {_shown(diagnostic.title)}"]
    if diagnostic.span is not None:
        lines.append(f"{' ' * width} --> {_shown(str(diagnostic.span))}")
        lines += _excerpt(spans, diagnostic.span.source, width)
    for kind, text in [("help", diagnostic.help), *[("note", note) for note in diagnostic.notes]]:
        if text:
            lines.append(f"{' ' * width}  = {kind}: {_shown(text)}")
    lines.append(f"{' ' * width}  = see: rulesproxy explain {diagnostic.code}")
    return "\n".join(lines)


def render_concise(diagnostic: Diagnostic) -> str:
    """A diagnostic in one line that editors and `grep` understand."""
    help = f" ({diagnostic.help})" if diagnostic.help else ""
    return _shown(f"{diagnostic}{help}")


def to_json(diagnostic: Diagnostic) -> dict[str, object]:
    """A diagnostic as plain data for machines."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "title": diagnostic.title,
        "help": diagnostic.help,
        "label": diagnostic.label,
        "notes": list(diagnostic.notes),
        **_place(diagnostic.span),
        "labels": [{"text": label.text, **_place(label.span)} for label in diagnostic.labels],
    }


def _place(span: Span | None) -> dict[str, object]:
    if span is None:
        return {"path": None, "line": None, "column": None, "end_line": None, "end_column": None}
    return {
        "path": span.source.path, "line": span.line, "column": span.column,
        "end_line": span.end_line, "end_column": span.end_column,
    }  # fmt: skip


_Mark: TypeAlias = tuple[Span, str, str]
"""A span, the words beside its marks, and the character of the marks."""

_LINE = 140
"""Characters of a line that are shown; of a longer one the part around the mark."""


def _excerpt(spans: list[_Mark], source: Source, width: int) -> list[str]:
    """The marked lines of one file in their order, then those of others under their own arrow."""
    blank = f"{' ' * width}  |"
    lines = [blank]
    own = sorted([mark for mark in spans if mark[0].source.path == source.path], key=lambda mark: mark[0].line)
    last = 0
    for mark in own:
        number = mark[0].line
        if last and number > last + 1:
            lines.append(f"{' ' * width}  :")
        shown, marks = _marked(mark)
        if number != last:
            lines.append(f" {number:>{width}} | {shown}".rstrip())
        lines.append(f"{blank} {marks}")
        last = number
    lines.append(blank)
    for mark in [mark for mark in spans if mark[0].source.path != source.path]:
        shown, marks = _marked(mark)
        lines += [f"{' ' * width} --> {_shown(str(mark[0]))}", blank]
        lines += [f" {mark[0].line:>{width}} | {shown}".rstrip(), f"{blank} {marks}", blank]
    return lines


def _marked(mark: _Mark) -> tuple[str, str]:
    """A line as it is shown, and the marks below it; a character of two columns gets two marks."""
    span, text, character = mark
    line = span.source.line(span.line)
    start, end = span.column - 1, span.end_column - 1 if span.end_line == span.line else len(line)
    left = 0
    if len(line) > _LINE:
        left = max(0, min(start - _LINE // 2, len(line) - _LINE))
        line = ("…" if left else "") + line[left : left + _LINE] + ("…" if left + _LINE < len(line) else "")
        left -= 1 if left else 0
    before, marked = line[: start - left], line[start - left : end - left]
    marks = " " * _columns(before) + character * max(1, _columns(marked))
    return _shown(line), f"{marks} {text}".rstrip()


def _columns(text: str) -> int:
    columns = 0
    for char in _shown(text):
        if not unicodedata.combining(char):
            columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return columns


def _shown(text: str) -> str:
    """Text that a terminal can be given: tabs as four blanks, control and bidi characters as `?`."""
    text = text.replace("\t", "    ")
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() or char == "\n" else "\ufffd" for char in text])


# The registry. A code is never used again for something else.

_CODES = """
RP001 a rule file cannot be read
    It does not exist, is not readable, or is no regular file. A folder stands for its *.yaml and *.yml files.
RP002 a byte or character that no YAML file has
    Rule files are UTF-8. Control characters are written as escapes inside double quotes.
RP003 a tab in the indentation
    YAML is indented with spaces only.
RP004 YAML that cannot be read
    Often an indentation that does not fit, no blank after a colon, or a bracket or quote that is not closed.
RP005 a key twice in one mapping
    YAML readers silently keep the last one, so one of the two would do nothing.
RP006 a file that is too large, too deep, or grows by aliases
    The limits are 1 MiB, 32 levels and 10,000 values that aliases add.
RP007 a YAML tag
    Tags such as !include change how a value is read. Here values are read by the place they stand in.
RP008 a merge key
    The order of keys means something in a rule, and << hides it.
RP009 more than one document in a file
    Only one document per file is read.
RP010 a filter that starts with an exclamation mark
    YAML takes the ! for a tag, and the negation is lost. Write `not`, or quote the filter.
RP011 a filter with a colon and a blank
    YAML takes `: ` for the end of a key. Put single quotes around the whole filter.
RP012 a filter that is cut at ` #`
    YAML takes a blank and # for a comment. Put single quotes around the whole filter.
RP013 a filter that starts with a quote
    YAML takes the first quoted text for the whole value. Put the field first, or quote the whole filter.
RP014 a filter that starts with @ % * & or a backtick
    These characters mean something else to YAML at the start of a value.
RP015 a set inside {…}
    Inside {…} YAML reads the { of a set as a mapping. Write the rule over several lines.
RP016 a key that other YAML readers take for true or false
    In YAML 1.1 the words on, off, yes and no are booleans.
RP017 yes, no, on or off for true or false
    They are understood here, but not by every YAML reader.
RP018 a value that YAML cuts inside {…} or […]
    Inside brackets `${`, `[`, `,` and ` #` end a value that has no quotes.
RP101 an unknown key
    Nothing is guessed: a key that is not known would do nothing.
RP102 a key of another action
    Every action has its own keys.
RP103 a value of the wrong kind
    Each key says what it wants: text, a number, true or false, a list, or keys with values.
RP104 a value that is not one of those possible
    The message lists what is possible.
RP105 a rule without match
    Without a filter a rule would apply to everything, which should be visible: `match: ~all`.
RP106 a rule or an action that does nothing
    A rule has at least one action, or `stop: true`.
RP107 inline actions beside do
    A rule has its actions either as keys of its own or in a list under `do:`.
RP108 the version of the file format
    Every rule file begins with `version: 1`.
RP109 a list where one value is wanted
    Two filters are joined by `and` or `or`.
RP110 an id used twice
    Ids name rules in logs, tests and metrics, over all files.
RP111 an id that is hard to use
    Ids are typed on command lines and shown in reports.
RP112 rules that are no list
    Rules have an order, so they are a list: every one starts with `- `.
RP200 a filter that cannot be read
    The filter language is described in the filter reference.
RP201 a single equals sign
    Nothing is assigned in a filter: two values are compared with `==`.
RP202 an operator of another language
    The operators are == != < <= > >= ~ !~ ~* !~* glob like contains startswith endswith under in, and not in.
RP203 a bracket, brace or quote that is not closed
    The place is that of the opening one.
RP204 something between the values of a set
    A set is values in braces with spaces between them: {GET POST}.
RP205 filters side by side next to an `|`
    `~` filters side by side mean `and`, as in mitmproxy, and this `and` binds looser than `|`.
RP206 a chain of comparisons
    A comparison has two sides. A range does what a chain would: response.status in {200..299}.
RP207 text without quotes
    Only methods, the words of enumerations, numbers and addresses need no quotes.
RP208 a typographic quote
    Texts stand in straight quotes.
RP209 a part that is missing
    Operators and connectives have something on both sides, and brackets something inside.
RP210 conditions that nothing joins
    Only `~` filters may stand side by side. Others are joined by `and` or `or`.
RP211 an operator in capitals
    and, or, not, in and the other words are lower case.
RP212 an unknown ~ filter
    The message lists those that there are.
RP213 a regex of a ~ filter that is cut in two
    Without quotes it ends at a blank, a bracket, a quote or a tilde.
RP215 a word or text that is no condition
    A word alone is a field name. To search the URL for a text, write ~u and the text.
RP216 an unknown escape
    Texts know \\\\ \\" \\' \\n \\r \\t \\xHH and \\uHHHH. A text in r"…" has no escapes at all.
RP217 a filter that is too large
    The limits are 4,096 characters, 64 levels and 32 regexes. Lists and named filters have no such limits.
RP218 `in` without a set
    Values to choose from stand in braces, also a single one; or they are a list: in $name.
RP219 a value before the operator
    The field comes first, the value after the operator.
RP301 an unknown field
    The filter reference lists every field, and `explain` names the nearest.
RP302 an unknown function
    Or one with arguments that it does not take. Most tests are operators, not functions.
RP303 a value of another type than the field
    A value is read by the type of the field beside it. Numbers have no quotes, text has.
RP304 a number without a unit
    Durations are written with their unit, such as 250ms or 2s, so that nobody has to guess.
RP305 a method that nobody uses
    Any method is allowed, but this one looks like a slip of one that is in use.
RP306 an operator that the field does not have
    Numbers can be ordered, text can be searched, hosts and paths have `under`.
RP307 a network where one address is wanted
    An address is in a network, it does not equal one.
RP308 a number, address or range that is not possible
    Such as port 70000, a prefix of 33 bits, or a range whose first end is the larger one.
RP309 a host with a port, a scheme or a path
    A host is the name alone; `port`, `scheme`, `path` and `url` are fields of their own.
RP310 a ~ filter that is never true
    Flows of UDP and DNS do not come through this proxy.
RP311 a header name with a colon
    The colon stands between name and value, and belongs to neither.
RP312 an unknown name
    $name is a list, a filter or a variable of this set of rule files, and no filter needs itself.
RP313 a name that stands for something else
    A filter, a list, a variable or its values do not fit where this name is used.
RP315 a path without a slash
    Every path starts with one, so the comparison would always say the same.
RP316 a question mark in a path
    The query is not part of `path`.
RP317 a star where it is not special
    Only `glob` gives it a meaning; for subdomains there is `under`.
RP401 a filter that is decided too late for its action
    A request can only be changed while it is there, and a response only once it is.
RP402 a filter that is never true
    It reads what is never there at one moment, such as a status while there is no response.
RP500 a regular expression that does not compile
    The dialect is the part that Python's re and RE2 read in the same way.
RP501 a regular expression that can take exponential time
    A repeat in it can read the same text in several ways, and the engine may have to try all of them.
RP503 a regular expression outside the dialect
    The dialect has no look-around and no back-references: it is what an engine without backtracking can run.
RP601 a file that does not exist
    Paths are relative to the rule file.
RP603 a path of the wrong kind
    A file is wanted where a folder is, or the other way round.
RP604 a capture that is not always set
    A group under `or` or `not` may have no value.
RP605 an unknown name in a template
    Known are the captures of the rule's filter, fields, ${vars.name} and ${env:NAME}.
RP606 two answers in one rule
    The first answer ends the request pass, so a second would never be given.
RP607 edits that contradict each other
    One of the two would do nothing.
RP608 a header field of the connection
    Lengths and connection fields are written by the proxy.
RP609 a header or method that cannot go over the wire
    Names are tokens, and values have no line breaks (RFC 9110 section 5).
RP615 a template, URL or path that cannot be used
    A template ends with `}`; a URL begins with http:// or https://, a path with a slash.
RP805 a name used twice
    Variables, lists and filters share one name space, since `$name` may mean each of them.
RP806 a list file that cannot be read
    List files are UTF-8 with one item a line; # starts a comment.
RP807 a name that cannot be used
    A name has letters, digits, _ and -, and starts with a letter.
"""


def _registry() -> dict[str, Code]:
    rows = [line for line in _CODES.split("\n") if line]
    codes = {}
    for head, explanation in zip(rows[::2], rows[1::2], strict=True):
        code, _, title = head.partition(" ")
        codes[code] = Code(code, title, explanation.strip())
    return codes


CODES: Mapping[str, Code] = MappingProxyType(_registry())
"""Every code with its page, in order."""
