"""What somebody probably meant who wrote a filter that cannot be read: a named mistake with its place and its fix.

It reads the text once more, with a scanner that accepts anything, and asks a list of questions in order of their
certainty. It is never asked about a good filter.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rulesproxy.filters import ast, tilde
from rulesproxy.filters.problem import Problem, error

_SCAN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<text>r(?P<hashes>\#*)"(?:.|\n)*?"(?P=hashes) | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*')
  | (?P<open>["'])
  | (?P<curly>[“”‘’„‚«»])
  | (?P<tilde>~[A-Za-z]\w*)
  | (?P<operator>[=<>]+[~=<>]* | ![=~]+\*? | !~\*? | !(?=\s*=) | ~[*=]? )
  | (?P<join>&+ | \|+)
  | (?P<not>!)
  | (?P<bracket>[()\[\]{}])
  | (?P<comma>[,;])
  | (?P<word>[^\s()\[\]{},;"'=<>!~&|“”‘’„‚«»]+)
  """,
    re.VERBOSE | re.DOTALL,
).match
_BARE = re.compile(r"""(?:(?![|&]+(?:[\s~!()]|\Z))[^()~'"“”‘’\s])+""").match
_RANGE = re.compile(r"(?P<low>\d{1,9})\.\.(?P<high>\d{1,9})|(?P<hundred>[1-5])[xX]{2}").fullmatch

_OPERATORS = frozenset({"==", "!=", "<", "<=", ">", ">=", "~", "!~", "~*", "!~*"})
_WORD_OPERATORS = frozenset({"glob", "like", "contains", "startswith", "endswith", "under", "in"})
_JOINS = frozenset({"and", "or", "not"})
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_MEANT = {
    "=>": ">=", "=<": "<=", "<>": "!=", "===": "==", "!==": "!=", "=~": "~", "~=": "~", "==~": "~", "!=~": "!~",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "is": "==", "equals": "==",
    "matches": "~", "match": "~", "regex": "~", "includes": "contains", "has": "contains",
    "starts_with": "startswith", "startsWith": "startswith", "ends_with": "endswith", "endsWith": "endswith",
    "starts": "startswith", "ends": "endswith", "wildcard": "glob", "xor": "!=",
}  # fmt: skip
"""Operators of other languages."""


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: str
    text: str
    start: int
    end: int


def explain(text: str, at: int) -> Problem:
    """The problem of a text that the parser could not read beyond offset `at`."""
    scan = _Scan(text, at)
    for question in _QUESTIONS:
        problem = question(scan)
        if problem is not None:
            return problem
    here = scan.here
    found = f"`{here.text}`" if here else "the end of the filter"
    start, end = (here.start, here.end) if here else (len(text), len(text))
    return error(
        "RP200", f"{found} cannot stand here", start, end, 'a condition is like `host == "a.test"` or `~d a.test`'
    )


def explain_beside(text: str, items: list[ast.Node]) -> Problem:
    """The problem of conditions that stand side by side where at least one is no `~` filter."""
    for item in items:
        word = _lone_word(item)
        if word is not None and word.lower() in _JOINS:
            return _upper_case(_Piece("word", word, item.start, item.end))
        if word in _MEANT:
            return _foreign(_Piece("word", word, item.start, item.end))
    for before in items:
        if isinstance(before, ast.Tilde) and before.argument and text[before.end : before.end + 1] == "(":
            return _quote_regex(text, before.argument.start, before.end)
    for before, after in itertools.pairwise(items):
        if not (_is_tilde(before) and _is_tilde(after)):
            return _missing_and(text, after)
    return _missing_and(text, items[1])


class _Scan:
    """The pieces of a text, and which of them the parser stopped at."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.pieces = list(_pieces(text))
        behind = [index for index, piece in enumerate(self.pieces) if piece.end > at]
        self.index = behind[0] if behind else len(self.pieces)
        self.here = self.get(self.index)
        self.before = self.get(self.index - 1)

    def get(self, index: int) -> _Piece | None:
        return self.pieces[index] if 0 <= index < len(self.pieces) else None


def _pieces(text: str) -> Iterator[_Piece]:
    at = 0
    while at < len(text):
        match = _SCAN(text, at)
        kind = (match.lastgroup or "word") if match else "word"
        piece = _Piece(
            "text" if kind == "hashes" else kind,
            match.group() if match else text[at],
            at,
            match.end() if match else at + 1,
        )
        at = piece.end
        if kind == "space":
            continue
        yield piece
        if kind == "tilde" and tilde.wants_argument(piece.text[1:]):
            bare = _BARE(text, at + len(text[at:]) - len(text[at:].lstrip()))
            if bare is not None and not (bare.group() == "r" and text[bare.end() : bare.end() + 1] == '"'):
                yield _Piece("bare", bare.group(), bare.start(), bare.end())
                at = bare.end()


# The questions, the most certain first. Each gives a problem, or None.


def _curly(scan: _Scan) -> Problem | None:
    for piece in scan.pieces:
        if piece.kind == "curly":
            title = f"`{piece.text}` is a typographic quote (U+{ord(piece.text):04X})"
            return error("RP208", title, piece.start, piece.end, 'use straight quotes: `"`')
    return None


def _unclosed_text(scan: _Scan) -> Problem | None:
    for piece in scan.pieces:
        if piece.kind == "open":
            help = f"close it with `{piece.text}`; inside a text write `\\{piece.text}`"
            return error("RP203", f"this `{piece.text}` is never closed", piece.start, piece.end, help)
    return None


def _unknown_tilde(scan: _Scan) -> Problem | None:
    for index, piece in enumerate(scan.pieces):
        if piece.kind == "tilde" and not tilde.in_grammar(piece.text[1:]):
            before = scan.get(index - 1)
            if before is not None and before.kind == "bare" and before.end == piece.start:
                return _quote_regex(scan.text, before.start, piece.end)
            return tilde.unknown(piece.text[1:], piece.start, piece.end)
    return None


def _bad_operator(scan: _Scan) -> Problem | None:
    for piece in scan.pieces:
        if piece.kind == "operator" and piece.text not in _OPERATORS:
            return _foreign(piece)
        if piece.kind == "join" and len(piece.text) > 2:
            return _foreign(piece)
    return None


def _brackets(scan: _Scan) -> Problem | None:
    stack: list[_Piece] = []
    for piece in scan.pieces:
        if piece.kind != "bracket":
            continue
        if piece.text in _PAIRS:
            stack.append(piece)
        elif stack and _PAIRS[stack[-1].text] == piece.text:
            stack.pop()
        elif stack:
            title = f"this `{stack[-1].text}` is closed by `{piece.text}`"
            return error("RP203", title, stack[-1].start, stack[-1].end, f"close it with `{_PAIRS[stack[-1].text]}`")
        else:
            return error("RP203", f"this `{piece.text}` closes nothing", piece.start, piece.end, "remove it")
    if stack:
        help = f"close it with `{_PAIRS[stack[-1].text]}`"
        return error("RP203", f"this `{stack[-1].text}` is never closed", stack[-1].start, stack[-1].end, help)
    return None


def _keyword_case(scan: _Scan) -> Problem | None:
    for index, piece in enumerate(scan.pieces):
        lower = piece.text.lower()
        if piece.kind == "word" and piece.text != lower and lower in _JOINS | _WORD_OPERATORS:
            before = scan.get(index - 1)
            if before is None or before.kind != "operator":
                return _upper_case(piece)
    return None


def _set_with_commas(scan: _Scan) -> Problem | None:
    """Commas in `{…}`, and sets in the brackets of other languages."""
    here = scan.here
    opener = next((piece for piece in reversed(scan.pieces[: scan.index]) if piece.kind == "bracket"), None)
    if here is not None and here.kind == "comma" and opener is not None and opener.text == "{":
        return error("RP204", "a set has no commas", here.start, here.end, "use spaces: `{GET POST}`")
    if here is not None and _is_join(here) and opener is not None and opener.text == "{":
        return error("RP204", f"a set has no `{here.text}`", here.start, here.end, "use spaces: `{GET POST}`")
    if scan.before is None or scan.before.text != "in" or here is None:
        return None
    if here.kind in ("text", "word") or here.text in ("[", "("):
        end = here.end
        if here.kind == "bracket":
            closed = [piece for piece in scan.pieces[scan.index :] if piece.text == {"[": "]", "(": ")"}[here.text]]
            end = closed[0].end if closed else here.end
        inside = here.text if here.kind != "bracket" else scan.text[here.end : end - 1].replace(",", " ")
        help = f"write `in {{{' '.join(inside.split())}}}`"
        return error("RP218", "`in` wants a set in braces", here.start, end, help)
    return None


def _chained(scan: _Scan) -> Problem | None:
    here = scan.here
    operators = [
        index for index, piece in enumerate(scan.pieces)
        if piece.kind == "operator" or (piece.kind == "word" and piece.text in _WORD_OPERATORS)
    ]  # fmt: skip
    for first, second in itertools.pairwise(operators):
        between = scan.pieces[first + 1 : second]
        if between and not any(
            piece.kind in ("join", "tilde") or piece.text in _JOINS | set("()") for piece in between
        ):
            piece = scan.pieces[second]
            if here is not None and (here is piece or scan.index <= first):
                help = "join two comparisons with `and`, or use a range: `response.status in {200..299}`"
                return error("RP206", "comparisons cannot be chained", piece.start, piece.end, help)
    return None


def _argument(scan: _Scan) -> Problem | None:
    """A `~` filter without its regex, or with one that brackets or quotes cut in two."""
    before, here = scan.before, scan.here
    if before is None:
        return None
    if before.kind == "bare" and here is not None and here.start == before.end:
        return _quote_regex(scan.text, before.start, before.end)
    if before.kind != "tilde" or not tilde.wants_argument(before.text[1:]):
        return None
    if before.text == "~c":
        found = "" if here is None else f", not `{here.text}`"
        start, end = (before.start, before.end) if here is None else (here.start, here.end)
        return error("RP209", f"`~c` wants a status{found}", start, end, "such as `~c 404`, `~c 4xx` or `~c 200-299`")
    if here is not None and here.text == "(":
        return _quote_regex(scan.text, here.start, here.start)
    return error(
        "RP209", f"`{before.text}` wants a regex after it", before.start, before.end, f'such as `{before.text} "x"`'
    )


def _nothing_there(scan: _Scan) -> Problem | None:
    """Connectives and operators with nothing before or after them, and empty brackets."""
    before, here = scan.before, scan.here
    closing = here is None or here.text in (")", "]", "}")
    if before is not None and before.text == "(" and here is not None and here.text == ")":
        return error("RP209", "nothing stands between these brackets", before.start, here.end, "remove them")
    joined = here is not None and _is_join(here)
    if (
        before is not None
        and (_is_join(before) or before.text in ("!", "not") or _is_operator(before))
        and (closing or joined)
    ):
        return error("RP209", f"`{before.text}` has nothing after it", before.start, before.end)
    if here is not None and (joined or _is_operator(here)) and (before is None or before.text in ("(", "not", "!")):
        return error("RP209", f"`{here.text}` has nothing before it", here.start, here.end)
    if here is not None and _is_operator(here) and before is not None and _is_join(before):
        return error("RP209", f"`{here.text}` has nothing before it", here.start, here.end)
    return None


def _foreign_word(scan: _Scan) -> Problem | None:
    """A word of another language before a literal: `host eq "a"`."""
    before = scan.before
    return _foreign(before) if before is not None and before.kind == "word" and before.text in _MEANT else None


def _unquoted(scan: _Scan) -> Problem | None:
    """Text without quotes on the right of an operator, or as an index."""
    before, here = scan.before, scan.here
    if here is None or before is None or here.kind in ("text", "join"):
        return None
    piece = before
    start = here.start
    if not _is_operator(before) and before.text != "[":
        # The parser may have read the first part of the text as a word or a number.
        piece = scan.get(scan.index - 2) or before
        start = before.start
        if before.end != here.start or not (_is_operator(piece) or piece.text == "[") or before.kind == "text":
            return None
    end = start + len(re.match(r"[^\s()\[\]{}\"']*", scan.text[start:]).group())  # type: ignore[union-attr]
    return (
        error("RP207", "this text needs quotes", start, end, f'write `"{scan.text[start:end]}"`')
        if end > start
        else None
    )


def _range(scan: _Scan) -> Problem | None:
    """A range without a set around it, or a class of statuses: `response.status == 5xx`."""
    here, before = scan.here, scan.before
    found = _RANGE(here.text) if here is not None else None
    if here is None or before is None or found is None:
        return None
    low, high = (found["low"], found["high"]) if found["low"] else (f"{found['hundred']}00", f"{found['hundred']}99")
    fixes = {"==": f"in {{{low}..{high}}}", "!=": f"not in {{{low}..{high}}}", ">": f"> {high}", "<=": f"<= {high}"}
    if _is_operator(before):
        fix = fixes.get(before.text) or f"{before.text} {low}"
        return error("RP218", f"`{here.text}` is many numbers, not one", before.start, here.end, f"write `{fix}`")
    return error("RP218", f"`{here.text}` is not a number", here.start, here.end, f"write `{low}..{high}`")


def _literal_first(scan: _Scan) -> Problem | None:
    """A literal where a condition starts."""
    here, after = scan.here, scan.get(scan.index + 1)
    if here is None or not (here.kind == "text" or here.text[:1].isdigit()):
        return None
    before = scan.before
    if before is not None and not _is_join(before) and before.text not in ("(", "not", "!"):
        title = f"`{here.text}` stands alone behind a condition"
        return error("RP210", title, here.start, here.end, 'several values are a set: `in {"a" "b"}`')
    if after is not None and _is_operator(after):
        return error("RP219", "the field comes first", here.start, here.end, f"such as `host == {here.text}`")
    shown = here.text if here.kind == "text" else f'"{here.text}"'
    first, operator = scan.get(scan.index - 2), scan.get(scan.index - 3)
    if before is not None and before.text in ("or", "|", "||") and operator is not None and operator.text == "==":
        assert first is not None
        help = f"write `in {{{first.text} {shown}}}`"
        return error("RP215", f"`{here.text}` is not a condition", here.start, here.end, help)
    help = f"`~u {shown}` searches the URL; a comparison is like `host == {shown}`"
    return error("RP215", f"`{here.text}` is not a condition", here.start, here.end, help)


_QUESTIONS: tuple[Callable[[_Scan], Problem | None], ...] = (
    _curly, _unclosed_text, _unknown_tilde, _bad_operator, _keyword_case, _set_with_commas, _argument, _brackets,
    _chained, _nothing_there, _foreign_word, _range, _unquoted, _literal_first,
)  # fmt: skip


def _is_join(piece: _Piece) -> bool:
    return piece.kind == "join" or (piece.kind == "word" and piece.text in ("and", "or"))


def _is_operator(piece: _Piece) -> bool:
    return piece.kind == "operator" or (piece.kind == "word" and piece.text in _WORD_OPERATORS)


def _foreign(piece: _Piece) -> Problem:
    code = "RP201" if piece.text == "=" else "RP202"
    if piece.kind == "join":
        meant = piece.text[0] * 2
    else:
        meant = "==" if piece.text == "=" else _MEANT.get(piece.text, "")
    help = f"use `{meant}`" if meant else "the operators are == != < <= > >= ~ !~ ~* !~*"
    return error(code, f"`{piece.text}` is not an operator", piece.start, piece.end, help)


def _upper_case(piece: _Piece) -> Problem:
    title = f"`{piece.text}` is written in lower case"
    return error("RP211", title, piece.start, piece.end, f"use `{piece.text.lower()}`")


def _quote_regex(text: str, start: int, stop: int) -> Problem:
    end = start + len(re.match(r"\S*", text[start:]).group())  # type: ignore[union-attr]
    shown = text[start:end]
    quoted = f'"{shown}"' if '"' not in shown else f"'{shown}'" if "'" not in shown else f'r#"{shown}"#'
    title = "a regex without quotes ends at a bracket, a quote or `~`"
    return error("RP213", title, start, max(end, stop), f"quote it: `{quoted}`")


def _missing_and(text: str, after: ast.Node) -> Problem:
    word = _lone_word(after)
    if word is not None and "." in word and not isinstance(after, ast.Named):
        return error("RP215", f"`{word}` is not a condition", after.start, after.end, f'text needs quotes: `"{word}"`')
    return error(
        "RP210",
        "nothing joins this condition to the one before it",
        after.start,
        after.end,
        "put `and` or `or` between them",
    )


def _lone_word(node: ast.Node) -> str | None:
    if not isinstance(node, ast.Truthy) or node.value.keys:
        return None
    return node.value.name


def _is_tilde(node: ast.Node) -> bool:
    return isinstance(node, ast.Tilde) or (isinstance(node, ast.Not) and _is_tilde(node.item))
