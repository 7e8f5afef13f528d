"""`RuleSet` and `load_rules`: how rules are loaded, what a set says of itself, and that it dies when it is let go."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.load import RulesError, load_files, load_text
from rulesproxy.rules.ruleset import RuleSet, load_rules

HEAD = "version: 1\nrules:\n"
MANY = HEAD + "".join(
    f'  - id: r{n}\n    match: host == "h{n}.test" and path ~ "^/(?P<x>.*)"\n    rewrite:\n'
    f"      request: {{ headers: {{ x-a: '${{x}}' }} }}\n      response: {{ body: {{ append: x }} }}\n"
    for n in range(50)
)


def test_a_dropped_set_dies_by_its_reference_count() -> None:
    rules = load_rules(text=MANY)
    flow = HTTPFlow.make("GET", "http://h7.test/a")
    rules.requestheaders(flow)  # type: ignore[attr-defined]
    assert flow.hits == ["r7"]
    assert rules.wants_host("h1.test")
    rules.rules[3].requestheaders  # noqa: B018  (a rule that was used alone)
    set_ref = weakref.ref(rules)
    addon_ref = weakref.ref(rules.rules[3])
    gc.disable()
    try:
        del rules, flow
        assert set_ref() is None
        assert addon_ref() is None
    finally:
        gc.enable()


def test_the_empty_set_needs_nothing() -> None:
    empty = RuleSet.empty()
    assert not any(hasattr(empty, event) for event in ("requestheaders", "request", "responseheaders", "http_connect"))
    assert not empty.wants_host("a.test")
    assert not empty.wants_body(HTTPFlow.make("GET", "http://a.test/"), "request")
    assert empty.plan().startswith("0 rules")


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def rule(id: str) -> str:
    return f"{HEAD}  - id: {id}\n    match: ~all\n    stop: true\n"


def test_files_and_folders_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, b_yaml=rule("b"), a_yml=rule("a"), note_txt="not a rule file", z__c_yaml=rule("c"))
    loaded = load_files([tmp_path / "z" / "c.yaml", tmp_path])
    assert [each.name for each in loaded.rules] == ["c", "a", "b"]
    assert [path.name for path in loaded.files] == ["c.yaml", "a.yml", "b.yaml"]


def test_the_digest_covers_everything_that_was_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        r_yaml="version: 1\nlists:\n  l: {file: l.txt}\nrules:\n  - match: host under $l\n    block:\n",
        l_txt="a.test\n# a comment\nb.test # another\n\n",
    )
    first = load_files([tmp_path / "r.yaml"])
    assert first.ok, first.diagnostics
    assert {path.name for path in first.files} == {"r.yaml", "l.txt"}
    assert load_files([tmp_path / "r.yaml"]).digest == first.digest
    rules = RuleSet.of(first)
    assert [rules.wants_host(host) for host in ("x.a.test", "b.test", "c.test")] == [True, True, False]
    (tmp_path / "l.txt").write_text("c.test\n")
    assert load_files([tmp_path / "r.yaml"]).digest != first.digest


def test_paths_are_relative_to_the_rule_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, rules__r_yaml=f"{HEAD}  - match: ~all\n    map-local: ../mocks/a.json\n", mocks__a_json="{}")
    assert load_files([tmp_path / "rules" / "r.yaml"]).ok
    monkeypatch.chdir(tmp_path)
    assert load_text(f"{HEAD}  - match: ~all\n    map-local: mocks/a.json\n").ok
    assert not load_text(f"{HEAD}  - match: ~all\n    map-local: ../mocks/a.json\n").ok


def test_every_mistake_of_every_file_is_reported(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_yaml=f"{HEAD}  - match: hots == 1\n    blok:\n  - match: ~all\n    block: 99\n",
        b_yaml="a: [",
        c_yaml=rule("same") + "  - id: same\n    match: ~all\n    stop: true\n",
    )
    with pytest.raises(RulesError) as caught:
        load_rules(tmp_path, tmp_path / "missing.yaml")
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == [
        "RP301", "RP101", "RP104", "RP004", "RP110", "RP001",
    ]  # fmt: skip
    assert str(caught.value).count("\n") == 5


def test_names(tmp_path: Path) -> None:
    text = f"{HEAD}  - match: ~all\n    stop: true\n  - id: x\n    match: ~all\n    stop: true\n"
    write(tmp_path, a_yaml=text, z__a_yaml=text.replace("id: x", "id: y"))
    names = [each.name for each in load_files([tmp_path / "a.yaml", tmp_path / "z" / "a.yaml"]).rules]
    assert names == ["a.yaml:3", "x", f"{tmp_path / 'z' / 'a.yaml'}:3", "y"]


def test_variables_and_the_environment() -> None:
    text = """version: 1
vars:
  host: api.example.com
  url: https://${vars.host}/x
  token: ${env:TOKEN}
  price: $${x}
rules:
  - match: host == $host
    rewrite:
      request:
        headers: { authorization: "Bearer ${vars.token}", x-url: "${vars.url}", x-price: "${vars.price}", x-no: no }
"""
    loaded = load_text(text, env={"TOKEN": "secret"})
    assert loaded.ok, loaded.diagnostics
    flow = HTTPFlow.make("GET", "http://api.example.com/")
    RuleSet.of(loaded).requestheaders(flow)  # type: ignore[attr-defined]
    sent = flow.request.headers
    assert [sent[name] for name in ("authorization", "x-url", "x-price", "x-no")] == [
        "Bearer secret", "https://api.example.com/x", "${x}", "no",
    ]  # fmt: skip
    assert [problem.code for problem in load_text(text, env={}).diagnostics] == ["RP605"]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbf" + rule("w").replace("\n", "\r\n").encode())
    assert [each.name for each in load_files([tmp_path / "r.yaml"]).rules] == ["w"]


def test_special_files_are_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    loaded = load_files([tmp_path / "pipe.yaml"])
    assert [problem.code for problem in loaded.diagnostics] == ["RP001"]


def test_the_plan_names_what_is_read_and_decrypted() -> None:
    text = f"""{HEAD}
  - id: ads
    match: host under "ads.test"
    block:
  - id: edit
    match: host == "a.test" and response.status == 200
    rewrite: {{ response: {{ body: x }} }}
  - id: sub
    match: host under "b.test" and path == "/x"
    rewrite: {{ request: {{ body: x }} }}
"""
    assert load_rules(text=text).plan().split("\n") == [
        "3 rules",
        "  refused at CONNECT: ads",
        "  in the request pass: ads, sub",
        "  in the response pass: edit",
        "  request body read for: sub (rewrite edits it)",
        "  response body read for: edit (rewrite edits it)",
        "  hosts decrypted: a.test, *.b.test",
        "  when a raw TCP connection begins: ads",
    ]


MAPPINGS = [
    ("match: {method: GET}", ["GET http://a.test/"], ["POST http://a.test/"]),
    ("match: {method: [GET, PUT]}", ["PUT http://a.test/"], ["POST http://a.test/"]),
    ("match: {host: .a.test}", ["GET http://a.test/", "GET http://x.a.test/"], ["GET http://xa.test/"]),
    ("match: {host: '*.a.test'}", ["GET http://x.a.test/"], ["GET http://a.test/"]),
    ("match: {host: a.test, path: /x}", ["GET http://a.test/x"], ["GET http://a.test/y", "GET http://b.test/x"]),
    ("match: {path: '/v1/*'}", ["GET http://a.test/v1/a/b"], ["GET http://a.test/v2"]),
    ("match: {query: {a: '1'}}", ["GET http://a.test/?a=1"], ["GET http://a.test/?a=2", "GET http://a.test/"]),
    ("match: {query: {a: true}}", ["GET http://a.test/?a=2"], ["GET http://a.test/"]),
    ("match: {query: {a: 'true'}}", ["GET http://a.test/?a=true"], ["GET http://a.test/?a=2"]),
    ("match: {port: 8080}", ["GET http://a.test:8080/"], ["GET http://a.test/"]),
    ("match: {port: [80, 8000..8080]}", ["GET http://a.test:8079/", "GET http://a.test/"], ["GET http://a.test:1/"]),
    ("match: {path: 'a\"b\\c'}", [], ["GET http://a.test/"]),
]


@pytest.mark.parametrize(("match", "good", "bad"), MAPPINGS)
def test_match_as_a_mapping(match: str, good: list[str], bad: list[str]) -> None:
    rules = load_rules(text=f"{HEAD}  - {match}\n    block:\n")
    for line in good + bad:
        method, _, url = line.partition(" ")
        flow = HTTPFlow.make(method, url)
        rules.requestheaders(flow)  # type: ignore[attr-defined]
        assert bool(flow.hits) == (line in good), line
