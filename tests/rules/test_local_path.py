"""Paths with `${…}`: nothing outside the folder in front of it is ever opened, whatever a request says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.rules.load import load_files
from rulesproxy.rules.ruleset import RuleSet, load_rules
from tests.rules.test_map_local import CANARY, OUTSIDE, PIECES, root
from tests.support.deciding import complete

__all__ = ["root"]

ACTIONS = (
    "map-local: www/${rest}", "map-local: {dir: 'www/${rest}'}", "map-local: www${path}",
    "map-local: {dir: 'www/${x}', strip: /app}", 'map-local: www/${query["q"]}',
    'map-local: www/${request.header["x"]}.txt', "map-local: {dir: 'www/${x}', spa: true}",
    "respond: {file: 'www/${rest}'}", "respond: {file: 'www/${x}'}",
    "rewrite: {response: {body: {file: 'www/${rest}'}}}",
    "rewrite: {response: {html: {append-body: {file: 'www/${rest}'}}}}",
)  # fmt: skip
MATCH = 'path ~ "^/(?P<x>[^/]*)/(?P<rest>.*)"'


@pytest.fixture(scope="module")
def sets(root: Path) -> list[RuleSet]:
    """A rule set for each action, in a file beside the folder `www`."""
    found = []
    for number, action in enumerate(ACTIONS):
        file = root.parent / f"{number}.yaml"
        file.write_text(f"version: 1\nrules:\n  - match: {MATCH}\n    {action}\n")
        found.append(load_rules(file))
    return found


def ask(rules: RuleSet, target: str, x: str = "") -> HTTPResponse | None:
    """The answer that the rules give, or the server's 200 after them."""
    flow = HTTPFlow.make("GET", "http://a.test/", [("x", x)] if x else [])
    flow.request.path = target
    fire(rules, flow, "requestheaders")
    if flow.response is None:
        flow.response = HTTPResponse.make(200, b"<html><body></body></html>", [("content-type", "text/html")])
        fire(rules, flow, "responseheaders", "response")
    return flow.response


def fire(rules: RuleSet, flow: HTTPFlow, *events: str) -> None:
    for event in events:
        handler = getattr(rules, event, None)
        if handler is not None:
            complete(handler(flow))


def assert_inside(response: HTTPResponse | None, root: Path) -> None:
    assert response is not None
    body = response.body_source
    if isinstance(body, FileBody):
        assert body.path.resolve().is_relative_to(root)
    assert CANARY not in (response.raw_content or b"")


@pytest.mark.parametrize("target", OUTSIDE)
def test_the_corpus_finds_nothing(root: Path, sets: list[RuleSet], target: str) -> None:
    asked = f"/app{target}" if target.startswith("/") else f"/app/{target}"
    for action, rules in zip(ACTIONS, sets, strict=True):
        response = ask(rules, asked, target)
        assert_inside(response, root)
        assert response is not None
        if action.startswith("map-local: www/${rest}") and target.strip("/"):
            assert response.status_code == 404
    # The same rules do find what is there.
    for number in (0, 7):
        found = ask(sets[number], "/app/a.txt")
        assert found is not None
        assert found.raw_content == b"0123456789"


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=9), st.lists(PIECES, max_size=3), st.integers(0, len(ACTIONS) - 1))
@example(["out", "/", "a.txt"], [], 0)
@example(["www-secret", "/", "a.txt"], [".."], 4)
@example(["..", "/", "secret.txt"], [], 7)
def test_no_value_leads_outside(
    root: Path, sets: list[RuleSet], pieces: list[str], first: list[str], number: int
) -> None:
    value = "".join(pieces)
    assert_inside(ask(sets[number], f"/{''.join(first)}/{value}?q={value}", value), root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of rules with files below `mocks`."""
    for name, text in (
        ("mocks/7.json", '{"id": 7}'), ("mocks/a%2Fb.json", "encoded"), ("mocks/a/b.json", "{}"),
        ("site/de/index.html", "de"), ("site/de/a.txt", "a"), ("site/index.html", "top"), ("site/x.y/a.txt", "xy"),
        ("user-7.txt", "seven"), ("mocks/ü.json", '"u"'),
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


ID = 'match: path like "/users/{id}"\n    '
REST = 'match: path ~ "^/app/(?P<rest>.*)"\n    '
QUERY = "match: ~all\n    "
FOUND = [
    (ID + "map-local: mocks/${id}.json", "/users/7", "200 application/json", '{"id": 7}'),
    (ID + "map-local: mocks/${id}.json", "/users/8", "404", None),
    (ID + "map-local: mocks/${id}.json", "/users/%C3%BC", "200", '"u"'),
    (ID + "map-local: mocks/${id}.json", "/users/7%2F8", "404", None),
    (ID + "map-local: {file: 'mocks/${id}.json', fallthrough: true}", "/users/8", "none", None),
    (ID + "map-local: user-${id}.txt", "/users/7", "200 text/plain", "seven"),
    (REST + "map-local: site/${rest}", "/app/de/a.txt", "200", "a"),
    (REST + "map-local: site/${rest}", "/app/de/a.txt/", "404", None),
    (REST + "map-local: site/${rest}", "/app/de/", "200", "de"),
    (REST + "map-local: site/${rest}", "/app/de", "302", None),
    (REST + "map-local: site/${rest}", "/app/", "200", "top"),
    (REST + "map-local: {file: 'site/${rest}', index: a.txt}", "/app/de/", "200", "a"),
    (QUERY + "map-local: site${path}", "/de/a.txt", "200", "a"),
    (QUERY + "map-local: site${path}", "*", "404", None),
    (QUERY + "map-local: {dir: 'site/${host}'}", "/a.txt", "200", "xy"),
    (QUERY + "map-local: {dir: 'site/${host}', spa: true, index: a.txt}", "/some/where", "200", "xy"),
    (QUERY + "map-local: {dir: 'site/${vars.flavour}'}", "/a.txt", "200", "a"),
    (QUERY + "map-local: site/${vars.flavour}", "/a.txt", "200", "a"),
    (QUERY + "map-local: \"mocks/${query['q']}.json\"", "/?q=7", "200", '{"id": 7}'),
    (QUERY + "map-local: \"mocks/${query['q']}.json\"", "/?q=a%2Fb", "404", None),
    (QUERY + "map-local: \"mocks/${query['q']}.json\"", "/?q=a/b", "404", None),
    (QUERY + "map-local: \"mocks/${query['q'] | url}.json\"", "/?q=a/b", "200", "encoded"),
    (QUERY + "map-local: \"site/${query['q']}/index.html\"", "/", "404", None),
    (QUERY + "map-local: \"site/${query['q'] | default('de')}/index.html\"", "/", "200", "de"),
    (ID + "respond: {file: 'mocks/${id}.json', status: 203}", "/users/7", "203 application/json", '{"id": 7}'),
    (ID + "respond:\n      sequence: [{file: 'mocks/${id}.json'}]", "/users/7", "200", '{"id": 7}'),
    (ID + "respond: {file: 'mocks/${id}.json'}", "/users/8", "none", None),
    (ID + "rewrite: {response: {body: {file: 'mocks/${id}.json', append: '!'}}}", "/users/7", "none", '{"id": 7}!'),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "target", "expected", "body"), FOUND)
def test_what_is_found(folder: Path, rule: str, target: str, expected: str, body: str | None) -> None:
    file = folder / "rules.yaml"
    file.write_text(f"version: 1\nvars: {{flavour: de}}\nrules:\n  - {rule}\n")
    flow = HTTPFlow.make("GET", "http://x.y/")
    flow.request.path = target
    rules = load_rules(file)
    fire(rules, flow, "requestheaders")
    status, _, kind = expected.partition(" ")
    if status == "none":
        assert flow.response is None
        flow.response = HTTPResponse.make(200, b"server's")
        fire(rules, flow, "responseheaders", "response")
    else:
        assert flow.response is not None
        assert str(flow.response.status_code) == status
        assert (flow.response.headers.get("content-type") or "").startswith(kind)
    if body is not None:
        assert flow.response.text == body


MISTAKES = [
    ("map-local: nowhere/${path}", "RP601", "nowhere/", "4:16-4:24"),
    ("map-local: '${vars.at}/${path}'", "RP601", "gone/", "4:16-4:36"),
    ("map-local: mocks/${rst}.json", "RP605", "rst", "4:22-4:28"),
    ("map-local: mocks/7.json/${path}", "RP603", "mocks/7.json/", ""),
    ("map-local: mocks/${method}/../x", "RP615", "dot segment", ""),
    ("map-local: mocks/${method}/..", "RP615", "dot segment", ""),
    ("map-local: ${method}.json", "RP602", "rule file", ""),
    ("map-local: ../${method}.json", "RP602", "rule file", ""),
    ("map-local: {dir: 'mocks', file: 'mocks/${method}'}", "RP103", "either", ""),
    ("map-local: mocks/${response.status}.json", "RP401", "response.status", ""),
    ("respond: {file: 'mocks/${method}.json', template: true}", "RP607", "template", ""),
    ("upstream: {client-cert: 'mocks/${host}.pem'}", "RP615", "takes no values", ""),
]


@pytest.mark.parametrize(("action", "code", "words", "place"), MISTAKES)
def test_what_check_says(folder: Path, action: str, code: str, words: str, place: str) -> None:
    file = folder / "rules.yaml"
    file.write_text(f"version: 1\nvars: {{at: gone}}\nrules:\n  - match: ~all\n    {action}\n")
    found = [each for each in load_files([file]).diagnostics if each.code != "RP801"]
    assert [each.code for each in found] == [code]
    assert words in f"{found[0].title} {found[0].label} {[label.text for label in found[0].labels]}"
    span = found[0].span
    assert span is not None
    if place:
        assert place == f"{span.line - 1}:{span.column}-{span.end_line - 1}:{span.end_column}"


def test_a_link_out_of_the_folder_is_a_missing_file(folder: Path) -> None:
    (folder / "mocks" / "out.json").symlink_to(folder / "user-7.txt")
    (folder / "mocks" / "in.json").symlink_to("7.json")
    file = folder / "rules.yaml"
    file.write_text(f"version: 1\nrules:\n  - {ID}map-local: mocks/${{id}}.json\n")
    rules = load_rules(file)
    for name, status in (("out", 404), ("in", 200)):
        flow = HTTPFlow.make("GET", f"http://a.test/users/{name}")
        fire(rules, flow, "requestheaders")
        assert flow.response is not None
        assert flow.response.status_code == status


def test_the_folder_may_be_a_link_itself(folder: Path) -> None:
    os.symlink(folder / "mocks", folder / "link")
    file = folder / "rules.yaml"
    file.write_text(f"version: 1\nrules:\n  - {ID}map-local: link/${{id}}.json\n")
    flow = HTTPFlow.make("GET", "http://a.test/users/7")
    fire(load_rules(file), flow, "requestheaders")
    assert flow.response is not None
    assert flow.response.text == '{"id": 7}'
