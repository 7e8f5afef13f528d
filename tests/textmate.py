"""The TextMate grammars for editors, made from the registries: `source.rulesproxy-filter`, and its place inside YAML.

Their regexes keep to what Oniguruma and `re` read alike.
"""

from __future__ import annotations

from rulesproxy.filters.fields import OPERATORS, public_names
from rulesproxy.filters.functions import FUNCTIONS
from rulesproxy.filters.tilde import TILDE, wants_argument

SCOPE = "source.rulesproxy-filter"
JOINS = ("and", "or", "not")
QUANTIFIERS = ("any", "all", "has")
_END = r"(?![\w.])"


def words(names: list[str]) -> str:
    """An alternative of names, the longest first, so that none hides another."""
    ordered = sorted(names, key=lambda name: (-len(name), name))
    return "|".join(name.replace(".", r"\.").replace("*", r"\*").replace("|", r"\|") for name in ordered)


def word_operators() -> list[str]:
    """The operators that are words; `not in` is `not` and `in`."""
    every = set().union(*OPERATORS.values())
    return sorted(op for op in every if op.isalpha())


def sign_operators() -> list[str]:
    """The operators that are signs."""
    return sorted(op for op in set().union(*OPERATORS.values()) if not op[0].isalpha())


def filter_grammar() -> dict[str, object]:
    """The grammar of a filter alone."""
    with_regex = [name for name in TILDE if wants_argument(name) and name != "c"]
    alone = [name for name in TILDE if not wants_argument(name)]
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "rulesproxy filter",
        "scopeName": SCOPE,
        "fileTypes": [],
        "patterns": [{"include": "#filter"}],
        "repository": {
            "filter": {
                "patterns": [
                    {"include": f"#{name}"}
                    for name in ("raw", "text", "tilde", "function", "field", "operator", "value", "name", "bracket")
                ]
            },
            "raw": {
                "patterns": [
                    _quoted("string.quoted.other.raw", 'r"', '"', []),
                    _quoted("string.quoted.other.raw", 'r#"', '"#', []),
                ]
            },
            "text": {"patterns": [_quoted(f"string.quoted.{name}", mark, mark, ["#escape"]) for name, mark in QUOTES]},
            "escape": {
                "name": f"constant.character.escape.{SCOPE[7:]}",
                "match": r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)",
            },
            "tilde": {
                "patterns": [
                    {
                        "match": rf"(~(?:{words(with_regex)}){_END})\s+([^()~'\"\s]+)",
                        "captures": {
                            "1": {"name": f"keyword.other.tilde.{SCOPE[7:]}"},
                            "2": {"name": f"string.regexp.{SCOPE[7:]}"},
                        },
                    },
                    {
                        "match": rf"(~c{_END})\s+([1-5]xx|\d+(?:-\d+)?)",
                        "captures": {
                            "1": {"name": f"keyword.other.tilde.{SCOPE[7:]}"},
                            "2": {"name": f"constant.numeric.{SCOPE[7:]}"},
                        },
                    },
                    {
                        "name": f"keyword.other.tilde.{SCOPE[7:]}",
                        "match": rf"~(?:{words([*alone, *with_regex, 'c'])}){_END}",
                    },
                ]
            },
            "function": {
                "patterns": [
                    {"name": f"support.function.{SCOPE[7:]}", "match": rf"\b(?:{words(list(FUNCTIONS))})(?=\()"},
                    {"name": f"keyword.control.{SCOPE[7:]}", "match": rf"\b(?:{words(list(QUANTIFIERS))})(?=\s*\()"},
                ]
            },
            "field": {
                "name": f"variable.language.{SCOPE[7:]}",
                "match": rf"(?<![\w.~$])(?:{words(public_names())}){_END}",
            },
            "operator": {
                "patterns": [
                    {
                        "name": f"keyword.operator.word.{SCOPE[7:]}",
                        "match": rf"(?<![\w.$])(?:{words(word_operators())}){_END}",
                    },
                    {
                        "name": f"keyword.operator.logical.{SCOPE[7:]}",
                        "match": rf"(?<![\w.$])(?:{words(list(JOINS))}){_END}|&&?|\|\|?",
                    },
                    {
                        "name": f"keyword.operator.{SCOPE[7:]}",
                        "match": rf"(?:{words(sign_operators())})(?!(?<=~)[A-Za-z])",
                    },
                    {"name": f"keyword.operator.logical.{SCOPE[7:]}", "match": "!"},
                ]
            },
            "value": {
                "patterns": [
                    {"name": f"constant.language.{SCOPE[7:]}", "match": rf"(?<![\w.$])(?:true|false){_END}"},
                    {
                        "name": f"constant.numeric.address.{SCOPE[7:]}",
                        "match": r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?",
                    },
                    {
                        "name": f"constant.numeric.{SCOPE[7:]}",
                        "match": r"(?<!\w)(?<!\w\.)-?\d+(?:\.\d+)?(?:us|ms|s|m|h|B|KB|MB|GB|KiB|MiB|GiB)?(?!\w)",
                    },
                    {"name": f"keyword.operator.range.{SCOPE[7:]}", "match": r"\.\."},
                ]
            },
            "name": {"name": f"variable.other.{SCOPE[7:]}", "match": r"\$[A-Za-z_][\w-]*"},
            "bracket": {"name": f"punctuation.section.{SCOPE[7:]}", "match": r"[(){}\[\]]"},
        },
    }


def injection() -> dict[str, object]:
    """The grammar that finds filters in YAML: the value of `match:`, plain, quoted, or below `>-` and `|`."""
    key = {
        "1": {"name": "entity.name.tag.yaml"},
        "2": {"name": "punctuation.separator.key-value.mapping.yaml"},
    }
    inside = [{"include": SCOPE}]
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "rulesproxy filter in YAML",
        "scopeName": "inject.rulesproxy-filter.yaml",
        "injectionSelector": "L:source.yaml -comment -string",
        "fileTypes": [],
        "patterns": [
            {
                "begin": r"\b(match)(:)[ \t]+([>|][-+0-9]*)[ \t]*$",
                "beginCaptures": {**key, "3": {"name": "keyword.control.flow.block-scalar.yaml"}},
                "end": r"^(?=[ \t]*(?:-[ \t]|[A-Za-z][\w-]*:(?:[ \t]|$)))",
                "contentName": f"meta.embedded.{SCOPE[7:]}",
                "patterns": inside,
            },
            {
                "begin": r"\b(match)(:)[ \t]+(')",
                "beginCaptures": {**key, "3": {"name": "punctuation.definition.string.begin.yaml"}},
                "end": r"'(?!')",
                "endCaptures": {"0": {"name": "punctuation.definition.string.end.yaml"}},
                "contentName": f"meta.embedded.{SCOPE[7:]}",
                "patterns": inside,
            },
            {
                "begin": r"\b(match)(:)[ \t]+(?=[^\s'>|#])",
                "beginCaptures": key,
                "end": r"(?=[ \t]#)|$",
                "contentName": f"meta.embedded.{SCOPE[7:]}",
                "patterns": inside,
            },
        ],
    }


QUOTES = (("double", '"'), ("single", "'"))


def _quoted(name: str, begin: str, end: str, inside: list[str]) -> dict[str, object]:
    return {
        "name": f"{name}.{SCOPE[7:]}",
        "begin": begin,
        "end": end,
        "patterns": [{"include": each} for each in inside],
    }
