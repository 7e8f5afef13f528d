"""The filter reference is true: its tables are those of the registries, and every example on it does what it says."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from rulesproxy.filters.check import check
from rulesproxy.filters.compile import compile_filter
from rulesproxy.filters.parse import parse
from rulesproxy.filters.reference import matches
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from tests.generate import GRAMMAR, outputs

PAGE = (GRAMMAR / "README.md").read_text(encoding="utf-8")


class Example(NamedTuple):
    text: str
    sign: str
    flow: str


def flow(line: str) -> HTTPFlow:
    """`METHOD URL; header: value -> STATUS; header: value`; `from` is the client's address, `body` a body."""
    request, _, response = line.partition(" -> ")
    (method, url), headers = parts(request)
    (status, *_), answered = parts(response) if response else (("0",), [])
    made = HTTPFlow.make(method, url, own(headers), body(headers), int(status) or None, own(answered), body(answered))
    made.client_conn.peername = (dict(headers).get("from", "127.0.0.1"), 50_000)
    made.client_conn.tls = url.startswith("https")
    return made


def parts(line: str) -> tuple[list[str], list[tuple[str, str]]]:
    head, *headers = re.split(r";\s+(?=[\w-]+:\s)", line)
    return head.split(), [(name, value) for name, _, value in (each.partition(": ") for each in headers)]


def own(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [each for each in headers if each[0] not in ("from", "body")]


def body(headers: list[tuple[str, str]]) -> bytes:
    return dict(headers).get("body", "").encode()


def examples() -> list[Example]:
    found = []
    for block in re.findall(r"^```filter\n(.*?)^```$", PAGE, re.M | re.S):
        text, *lines = block.rstrip("\n").split("\n")
        found += [Example(text, line[0], line[2:]) for line in lines]
    return found


EXAMPLES = examples()


def test_there_are_enough_examples() -> None:
    assert len({example.text for example in EXAMPLES}) >= 25
    assert {example.sign for example in EXAMPLES} == {"+", "-"}
    both = {(example.text, example.sign) for example in EXAMPLES}
    assert [text for text, _ in both if not {(text, "+"), (text, "-")} <= both] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{each.text} {each.sign} {each.flow}" for each in EXAMPLES])
def test_the_example_is_true(example: Example) -> None:
    checked = check(parse(example.text))
    assert checked.warnings == ()
    made = flow(example.flow)
    assert compile_filter(checked)(FlowView(made)) is (example.sign == "+")
    assert matches(checked, made) is (example.sign == "+")


def test_what_is_made_is_up_to_date() -> None:
    """After a change of a registry run `python -m tests.generate --write`."""
    stale = [path.name for path, text in outputs().items() if path.read_text(encoding="utf-8") != text]
    assert stale == []
