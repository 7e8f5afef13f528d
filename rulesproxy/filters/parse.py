"""`parse`: the text of a filter to its tree.

The grammar is `grammar/filter.lark`; this module makes the nodes. What an unreadable text probably means is the matter
of `mistakes`. The parser generator is imported, and the parser built, when the first filter is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from rulesproxy.filters import ast, mistakes
from rulesproxy.filters.literals import number, quoted
from rulesproxy.filters.problem import FilterError, Problem, error
from rulesproxy.resources import grammar

if TYPE_CHECKING:
    from lark import Lark

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "FilterError", "Problem", "build", "parse"]

MAX_LENGTH = 4096
"""Characters of a filter. What is longer is a list, and lists have a place of their own."""
MAX_DEPTH = 64
"""Levels of brackets, `not` and connectives: it bounds every recursion over a tree."""

_STRINGS = re.compile(r"""r(#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL).sub
_NESTING = re.compile(r"[()]|!(?!=|~[^A-Za-z])|\bnot\b|[^\s()!]+").finditer
_REGEX_OPERATORS = frozenset({"~", "!~", "~*", "!~*"})


def parse(text: str) -> ast.Node:
    """The tree of a filter.

    Raises:
        FilterError: it cannot be read; the problems name the mistake and its place.
    """
    if len(text) > MAX_LENGTH:
        title = f"the filter has {len(text):,} characters; {MAX_LENGTH:,} is the limit"
        help = "move parts of it into `filters:` and use them as `$name`, or values into `lists:`"
        raise FilterError([error("RP217", title, MAX_LENGTH, len(text), help)])
    if not text.strip():
        raise FilterError([error("RP209", "the filter is empty", 0, 0, "to match everything write `~all`")])
    _check_nesting(text)
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

    try:
        return cast(ast.Node, _parser().parse(text))
    except UnexpectedCharacters as exc:
        raise FilterError([mistakes.explain(text, exc.pos_in_stream or 0)]) from None
    except UnexpectedToken as exc:
        at = len(text) if exc.token.type == "$END" else exc.token.start_pos or 0
        raise FilterError([mistakes.explain(text, at)]) from None
    except UnexpectedInput as exc:
        raise FilterError([mistakes.explain(text, exc.pos_in_stream or 0)]) from None
    except _Beside as exc:
        raise FilterError([mistakes.explain_beside(text, exc.items)]) from None


def build(debug: bool = False) -> Lark:
    """A new parser; with `debug` its construction logs every conflict of the grammar."""
    from lark import Lark

    return Lark(
        grammar("filter.lark").read_text(encoding="utf-8"),
        parser="lalr",
        lexer="contextual",
        transformer=_Build(),
        maybe_placeholders=False,
        debug=debug,
    )


@cache
def _parser() -> Lark:
    return build()


class _Token(str):
    """What the parser's tokens look like, for the type checker: text with its place."""

    type: str
    start_pos: int
    end_pos: int


_Right: TypeAlias = "ast.Operand | _Token"


class _Beside(Exception):
    """Conditions side by side that are not all `~` filters."""

    def __init__(self, items: list[ast.Node]) -> None:
        super().__init__()
        self.items = items


class _Build:
    """One method per rule of the grammar: from the children to the node."""

    def beside(self, items: list[ast.Node]) -> ast.Node:
        if not all(_only_tilde(item) for item in items):
            raise _Beside(items)
        doubtful = any(isinstance(item, ast.Or) and not item.group for item in items)
        return ast.And(tuple(items), items[0].start, items[-1].end, implicit=True, doubtful=doubtful)

    def or_(self, items: list[ast.Node]) -> ast.Node:
        return ast.Or(tuple(items), items[0].start, items[-1].end)

    def and_(self, items: list[ast.Node]) -> ast.Node:
        return ast.And(tuple(items), items[0].start, items[-1].end)

    def not_(self, children: tuple[_Token, ast.Node]) -> ast.Node:
        token, item = children
        return ast.Not(item, token.start_pos, item.end)

    def group(self, children: tuple[_Token, ast.Node, _Token]) -> ast.Node:
        opened, node, closed = children
        start, end = opened.start_pos, closed.end_pos
        if isinstance(node, ast.Or):
            return ast.Or(node.items, start, end, group=True)
        return replace(node, start=start, end=end) if isinstance(node, ast.And) else node

    def has(self, children: tuple[_Token, ast.Value, _Token]) -> ast.Node:
        token, value, closed = children
        return ast.Has(value, token.start_pos, closed.end_pos)

    def quantified(self, children: tuple[_Token, ast.Node, _Token]) -> ast.Node:
        token, item, closed = children
        kind: Literal["any", "all"] = "any" if token.startswith("any") else "all"
        return ast.Quantified(kind, item, token.start_pos, closed.end_pos)

    def truthy(self, children: tuple[ast.Value]) -> ast.Node:
        (value,) = children
        return ast.Truthy(value, value.start, value.end)

    def named(self, children: tuple[_Token]) -> ast.Named:
        return self.ref(children)

    def compare(self, children: tuple[ast.Value, _Token, _Right]) -> ast.Node:
        value, token, right = children
        operator = "not in" if token.startswith("not") else str(token)
        operand = _text(right, operator in _REGEX_OPERATORS)
        return ast.Compare(value, operator, operand, value.start, operand.end, token.start_pos)

    match = compare

    def field(self, children: list[_Token | tuple[ast.Key, int]]) -> ast.Value:
        name = cast(_Token, children[0])
        keys, end = _keys(children[1:], name.end_pos)
        return ast.Field(str(name), keys, name.start_pos, end)

    def call(self, children: list[object]) -> ast.Value:
        token = cast(_Token, children[0])
        keys = [child for child in children if isinstance(child, tuple)]
        *args, closed = [child for child in children[1:] if not isinstance(child, tuple)]
        found, end = _keys(keys, cast(_Token, closed).end_pos)
        return ast.Call(str(token[:-1]), tuple([_text(arg) for arg in args]), found, token.start_pos, end)

    def key(self, children: tuple[_Token]) -> tuple[ast.Key, int]:
        (token,) = children
        key: ast.Key
        if token.type == "STAR":
            key = ast.STAR
        elif token.type == "INT":
            key = int(token)
        else:
            key = quoted(token, token.start_pos).value
        return key, token.end_pos + 1

    def set(self, children: list[_Token | ast.Item]) -> ast.Set:
        brace, *items, end = children
        texts = tuple([cast(ast.Item, _text(item)) for item in items])
        return ast.Set(texts, cast(_Token, brace).start_pos, cast(_Token, end).end_pos)

    def range(self, children: tuple[ast.Number | ast.Address, ast.Number | ast.Address]) -> ast.Range:
        low, high = children
        return ast.Range(low, high, low.start, high.end)

    def word(self, children: tuple[_Token]) -> ast.Word:
        (token,) = children
        return ast.Word(str(token), token.start_pos, token.end_pos)

    def number(self, children: tuple[_Token]) -> ast.Number:
        (token,) = children
        return number(token, token.start_pos)

    def address(self, children: tuple[_Token]) -> ast.Address:
        (token,) = children
        return ast.Address(str(token), token.start_pos, token.end_pos)

    def bool_(self, children: tuple[_Token]) -> ast.Bool:
        (token,) = children
        return ast.Bool(token == "true", token.start_pos, token.end_pos)

    def ref(self, children: tuple[_Token]) -> ast.Named:
        (token,) = children
        return ast.Named(str(token[1:]), token.start_pos, token.end_pos)

    def tilde(self, children: list[_Token]) -> ast.Node:
        token, *rest = children
        name = str(token[1:])
        if not rest:
            return ast.Tilde(name, None, token.start_pos, token.end_pos)
        argument = rest[0]
        text = (
            ast.Text(str(argument), argument.start_pos, argument.end_pos, argument.start_pos)
            if argument.type in ("BAREWORD", "STATUS")
            else quoted(argument, argument.start_pos, regex=True)
        )
        return ast.Tilde(name, text, token.start_pos, argument.end_pos)


def _text(right: object, regex: bool = False) -> ast.Operand:
    """An operand: a text token becomes its node here, where it is known whether a regex is wanted."""
    if isinstance(right, str):
        token = cast(_Token, right)
        return quoted(token, token.start_pos, regex)
    return cast(ast.Operand, right)


def _keys(keys: Sequence[object], end: int) -> tuple[tuple[ast.Key, ...], int]:
    pairs = cast("list[tuple[ast.Key, int]]", keys)
    return tuple([key for key, _ in pairs]), pairs[-1][1] if pairs else end


def _only_tilde(node: ast.Node) -> bool:
    """Whether a condition is made of `~` filters alone. The parser's own limit on brackets bounds the recursion."""
    if isinstance(node, (ast.And, ast.Or)):
        return all(_only_tilde(item) for item in node.items)
    if isinstance(node, ast.Not):
        return _only_tilde(node.item)
    return isinstance(node, ast.Tilde)


def _check_nesting(text: str) -> None:
    """Refuse deep nesting before the parser sees it; most filters are let through by one count."""
    if text.count("(") + text.count("!") + text.count("not") <= MAX_DEPTH:
        return
    levels: list[int] = []
    negations = 0
    for match in _NESTING(_STRINGS(lambda found: "s" * len(found.group()), text)):
        mark = match.group()
        if mark in ("!", "not"):
            negations += 1
        elif mark == ")":
            del levels[-1:]
        else:
            if mark == "(":
                levels.append(negations + 1)
            negations = 0
        if sum(levels) + negations > MAX_DEPTH:
            title = f"the filter is nested more than {MAX_DEPTH} levels deep"
            help = "move parts of it into `filters:` and use them as `$name`"
            raise FilterError([error("RP217", title, match.start(), match.end(), help)])
