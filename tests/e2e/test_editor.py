"""The schema in an editor: yaml-language-server itself completes, explains and checks rule files with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rulesproxy.resources import grammar
from tests.support.language_server import LanguageServer, Unavailable, install
from tests.support.rule_files import good_files

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    try:
        program = install(tmp_path_factory.mktemp("node"))
    except Unavailable as reason:
        pytest.skip(str(reason))
    server = LanguageServer(program, grammar("rules.schema.json"))
    yield server
    server.close()


HEAD = "version: 1\nrules:\n"
COMPLETIONS = [
    ("ver|", {"version", "rules", "vars", "lists", "filters"}),
    (HEAD + "  - |", {"match", "block", "redirect", "rewrite", "on-error", "do", "rule: block"}),
    (HEAD + "  - match: ~all\n    |", {"id", "block", "respond", "map-local", "stop"}),
    (HEAD + "  - match: ~all\n    rewrite:\n      |", {"request", "response"}),
    (HEAD + "  - match: ~all\n    rewrite:\n      request:\n        |", {"method", "path", "headers", "json"}),
    (HEAD + "  - match: ~all\n    redirect:\n      to: /x\n      |", {"status", "keep-query"}),
    (HEAD + "  - match: ~all\n    redirect:\n      to: /x\n      status: |", {"301", "302", "308"}),
    (HEAD + "  - match: ~all\n    block:\n    on-error: |", {"open", "closed"}),
    (HEAD + "  - match:\n      |\n    block:", {"host", "method", "status"}),
    (HEAD + "  - match: ~all\n    do:\n      - |", {"block", "rewrite"}),
]
HOVERS = [
    ("ver|sion: 1\n", "The version of the file format."),
    (HEAD + "  - ma|tch: ~all\n    block:\n", "which traffic the rule is about"),
    (HEAD + "  - match: ~all\n    bl|ock: 451\n", "Refuse: answer with a status"),
    (HEAD + "  - match: ~all\n    redirect:\n      t|o: /x\n", "absolute or beginning with a slash"),
    (HEAD + "  - match: ~all\n    rewrite:\n      request:\n        pa|th: /x\n", "The new path"),
    (HEAD + "  - match: ~all\n    block:\n    on-error: clo|sed\n", "The client gets 502"),
]
BAD = [
    (HEAD + "  - match: ~all\n    blok:\n", "blok"),
    (HEAD + "  - match: ~all\n    block: 9000\n", ""),
    (HEAD + "  - match: ~all\n    rewrite:\n      request:\n        hedders: {}\n", "hedders"),
    (HEAD + "  - block:\n", 'Missing property "match"'),
    ("rules: []\n", 'Missing property "version"'),
]


@pytest.mark.parametrize(("text", "labels"), COMPLETIONS)
def test_it_completes(server: LanguageServer, text: str, labels: set[str]) -> None:
    assert labels - set(server.complete(text)) == set()


@pytest.mark.parametrize(("text", "words"), HOVERS)
def test_it_explains(server: LanguageServer, text: str, words: str) -> None:
    assert words in server.hover(text)


@pytest.mark.parametrize(("text", "words"), BAD)
def test_it_says_what_is_wrong(server: LanguageServer, text: str, words: str) -> None:
    (found,) = server.problems(text)
    assert any(words in each for each in found), found
    assert found


def test_a_snippet_is_a_rule(server: LanguageServer) -> None:
    """What is special in a snippet is escaped: the editor must not take a template for a place of its own."""
    item = server.complete(HEAD + "  - |")["rule: redirect"]
    text = (item.get("textEdit") or {}).get("newText") or item["insertText"]
    assert "\\${rest\\}" in text
    assert text.startswith("match: ")


def test_good_files_show_no_problem(server: LanguageServer) -> None:
    files = good_files()
    assert len(files) > 50
    *problems, last = server.problems(*files.values(), BAD[0][0])
    assert {name: found for name, found in zip(files, problems, strict=True) if found} == {}
    assert last
