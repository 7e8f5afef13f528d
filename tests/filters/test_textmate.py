"""The grammars for editors: they know what the registries know, and mark the right words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from rulesproxy.filters.fields import OPERATORS, public_names
from rulesproxy.filters.functions import FUNCTIONS
from rulesproxy.filters.tilde import TILDE
from tests.generate import GRAMMAR

FILTER: dict[str, Any] = json.loads((GRAMMAR / "filter.tmLanguage.json").read_text("utf-8"))
INJECTION: dict[str, Any] = json.loads((GRAMMAR / "filter.injection.tmLanguage.json").read_text("utf-8"))
NOT_COMMON = re.compile(r"\(\?<?[A-Za-z_'>(]|\(\?[imsx-]|\\[hHRKXgkGzZA]|[*+?}]\+|\[\[:|&&\[")
"""What Oniguruma and `re` read in different ways."""


def rules(node: object) -> Iterator[dict[str, Any]]:
    """Every object of a grammar."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from rules(child)


def patterns(grammar: dict[str, Any]) -> list[str]:
    return [rule[key] for rule in rules(grammar) for key in ("match", "begin", "end") if isinstance(rule.get(key), str)]


@pytest.mark.parametrize("pattern", [*patterns(FILTER), *patterns(INJECTION)])
def test_regexes_are_common_to_both_engines(pattern: str) -> None:
    re.compile(pattern)
    assert not NOT_COMMON.search(pattern)


def test_every_include_is_there() -> None:
    for grammar in (FILTER, INJECTION):
        names = [rule["include"] for rule in rules(grammar) if isinstance(rule.get("include"), str)]
        assert names
        assert [name for name in names if name[0] == "#" and name[1:] not in grammar["repository"]] == []
        assert [name for name in names if name[0] != "#" and name != FILTER["scopeName"]] == []


def flat(patterns: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for pattern in patterns:
        if "include" in pattern:
            yield from flat([FILTER["repository"][pattern["include"][1:]]])
        elif "match" in pattern or "begin" in pattern:
            yield pattern
        else:
            yield from flat(pattern["patterns"])


def tokens(text: str) -> list[tuple[str, str]]:
    """The words of a filter with the kind that an editor gives them: at each place the first rule that fits."""
    found, at = [], 0
    while at < len(text):
        best = None
        for rule in flat(FILTER["patterns"]):
            match = re.compile(rule.get("match") or rule["begin"]).search(text, at)
            if match and match.group() and (best is None or match.start() < best[0].start()):
                best = (match, rule)
        if best is None:
            return found
        match, rule = best
        if "begin" in rule:
            end = re.compile(rf"(?:\\.|(?!{rule['end']}).)*{rule['end']}").match(text, match.end())
            at = end.end() if end else len(text)
            found.append((text[match.start() : at], kind(rule)))
        elif "captures" in rule:
            found += [(match[int(number)], kind(part)) for number, part in rule["captures"].items()]
            at = match.end()
        else:
            found.append((match.group(), kind(rule)))
            at = match.end()
    return found


def kind(rule: dict[str, Any]) -> str:
    return str(rule["name"].removesuffix(".rulesproxy-filter"))


@pytest.mark.parametrize("name", public_names())
def test_every_field_is_known(name: str) -> None:
    assert tokens(f"{name} ==")[0] == (name, "variable.language")


@pytest.mark.parametrize("op", sorted(set().union(*OPERATORS.values())))
def test_every_operator_is_known(op: str) -> None:
    found = tokens(f"path {op} x")[1:]
    assert " ".join(text for text, _ in found) == op
    assert all(name.startswith("keyword.operator") for _, name in found)


@pytest.mark.parametrize("name", list(TILDE))
def test_every_tilde_filter_is_known(name: str) -> None:
    assert tokens(f"not ~{name}")[1] == (f"~{name}", "keyword.other.tilde")


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_every_function_is_known(name: str) -> None:
    assert tokens(f"{name}(path)")[0] == (name, "support.function")


TEXTS = [
    (
        'host == "a\\"b" and path.raw ~ r"c\\d"',
        ["host variable.language", "== keyword.operator", '"a\\"b" string.quoted.double', "and keyword.operator.logical",
         "path.raw variable.language", "~ keyword.operator", 'r"c\\d" string.quoted.other.raw'],
    ),
    (
        "~d a.test & !~c 4xx | ~q",
        ["~d keyword.other.tilde", "a.test string.regexp", "& keyword.operator.logical", "! keyword.operator.logical",
         "~c keyword.other.tilde", "4xx constant.numeric", "| keyword.operator.logical", "~q keyword.other.tilde"],
    ),
    (
        "response.status not in {200..299 404} or has(sni)",
        ["response.status variable.language", "not keyword.operator.logical", "in keyword.operator.word", "{ punctuation.section",
         "200 constant.numeric", ".. keyword.operator.range", "299 constant.numeric", "404 constant.numeric", "} punctuation.section",
         "or keyword.operator.logical", "has keyword.control", "( punctuation.section", "sni variable.language", ") punctuation.section"],
    ),
    ("client.ip in {10.0.0.0/8} and $is-api", ["client.ip variable.language", "in keyword.operator.word", "{ punctuation.section",
     "10.0.0.0/8 constant.numeric.address", "} punctuation.section", "and keyword.operator.logical", "$is-api variable.other"]),
    ("hostname pathology xhost", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_words_get_their_kind(text: str, expected: list[str]) -> None:
    assert [f"{word} {name}" for word, name in tokens(text)] == expected


STARTS = [
    ("  - match: host == \"a\"", 2),
    ("    match: '~d a'", 1),
    ("  - match: >-", 0),
    ("  - match: |", 0),
    ("  - { match: ~all, block: 403 }", 2),
    ("    # match is a key", None),
    ("    rematch: x", None),
    ("  - match:", None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "which"), STARTS)
def test_filters_are_found_in_yaml(line: str, which: int | None) -> None:
    found = [index for index, rule in enumerate(INJECTION["patterns"]) if re.search(rule["begin"], line)]
    assert found == ([] if which is None else [which])


@pytest.mark.parametrize(
    ("line", "ends"), [("    block: 403", True), ("  - id: x", True), ("      and path == \"/a: b\"", False), ("      ~hq \"a: b\"", False)]
)  # fmt: skip
def test_a_block_ends_at_the_next_key(line: str, ends: bool) -> None:
    assert bool(re.search(INJECTION["patterns"][0]["end"], line)) is ends
