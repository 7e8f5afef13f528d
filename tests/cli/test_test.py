"""`rulesproxy test`: what is printed, in every format, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rulesproxy.cli import main

RULES = """version: 1
vars: { api: api.test }
rules:
  - id: ads
    match: host == "ads.test"
    block:
  - id: mock
    match: host == $api
    respond: 204
  - id: chaos
    match: path == "/x"
    profile: chaos
    block: 503
tests:
  - name: ads are blocked
    request: GET http://ads.test/
    expect: { rules: [ads] }
  - name: the API is mocked
    request: GET http://api.test/
    expect: { rules: [mock], status: 204 }
"""
BAD = (
    RULES
    + """  - name: the API <is> down
    request: POST http://api.text/
    expect: { rules: [mock], status: 503 }
"""
)
VARIANTS = (
    RULES
    + """  - name: chaos
    profile: chaos
    request: GET http://a.test/x
    expect: { rules: [chaos], status: 503 }
  - name: elsewhere
    vars: { api: other.test }
    request: GET http://other.test/
    expect: { rules: [mock] }
"""
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RULESPROXY_RULES", raising=False)
    for name, text in (
        ("good", RULES),
        ("bad", BAD),
        ("variants", VARIANTS),
        ("none", RULES.partition("tests:")[0]),
        ("broken", "version: 1\nrules: x\n"),
    ):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_what_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "good.yaml"]) == 0
    out, err = capsys.readouterr()
    assert (out.startswith("2 tests passed in 0."), out.count("\n"), err) == (True, 1, "")
    assert main(["test", "-v", "good.yaml"]) == 0
    assert capsys.readouterr().out.startswith("passed  ads are blocked\npassed  the API is mocked\n\n2 tests passed")


def test_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "bad.yaml"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(
        "error[RP910]: test `the API <is> down`: rule `mock` did not match, and 1 more\n"
        "   --> bad.yaml:23:23\n"
        "    |\n"
        "  8 |     match: host == $api\n"
        "    |            ------------ `host` is `api.text`\n"
        "    :\n"
        " 23 |     expect: { rules: [mock], status: 503 }\n"
        "    |                       ^^^^ rule `mock` did not match\n"
        "    |                                      --- the status is 200\n"
        "    |\n"
        "    = note: no rule matched; the nearest is `mock`: `host` is `api.text`\n"
    )
    assert "\n1 of 3 tests failed in 0." in shown
    assert main(["test", "--output-format", "concise", "bad.yaml"]) == 1
    assert capsys.readouterr().out.startswith(
        "bad.yaml:23:23: error[RP910]: test `the API <is> down`: rule `mock` did not match"
    )


def test_profiles_and_variables_of_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "variants.yaml"]) == 0
    assert "4 tests passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["broken.yaml"], 1, ""),
        (["missing.yaml"], 2, ""),
        (["none.yaml"], 4, "there are no tests in none.yaml: write them under `tests:`"),
        (["good.yaml", "-k", "nothing"], 4, "no test has 'nothing' in its name"),
        ([], 2, "no rule file"),
        (["good.yaml", "--junit", "missing/x.xml"], 2, "cannot write missing/x.xml: No such file or directory"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", *arguments]) == code
    out, err = capsys.readouterr()
    assert said in err
    assert bool(out) is (not said)


def test_some_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "bad.yaml", "-k", "BLOCKED", "-k", "mocked"]) == 0
    assert capsys.readouterr().out.startswith("2 tests passed")


def test_files_are_found_as_by_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rules.yaml").write_text(RULES)
    assert main(["test"]) == 0
    assert "2 tests passed" in capsys.readouterr().out


def test_coverage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "variants.yaml", "--profile", "chaos"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert main(["test", "good.yaml", "--profile", "chaos"]) == 0
    assert "no test has a request that matches: chaos\n" in capsys.readouterr().out
    assert main(["test", "good.yaml", "--profile", "chaos", "--strict"]) == 1
    # Some of the tests say nothing about the others.
    assert main(["test", "good.yaml", "--strict", "-k", "blocked"]) == 0


def test_json_is_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "bad.yaml", "--output-format", "json", "--profile", "chaos"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [test["passed"] for test in report["tests"]] == [True, True, False]
    assert report["tests"][0] == {
        "name": "ads are blocked",
        "path": "bad.yaml",
        "line": 15,
        "passed": True,
        "hits": [["ads"]],
    }
    assert [each["code"] for each in report["diagnostics"]] == ["RP910", "RP902"]
    assert main(["test", "broken.yaml", "--output-format", "json"]) == 1
    assert [each["code"] for each in json.loads(capsys.readouterr().out)["diagnostics"]] == ["RP112"]


def test_annotations_and_sarif(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "bad.yaml", "--output-format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error file=bad.yaml,line=23,endLine=23,title=RP910%3A test")
    assert main(["test", "bad.yaml", "--output-format", "sarif"]) == 1
    assert json.loads(capsys.readouterr().out)["runs"][0]["results"][0]["ruleId"] == "RP910"


def test_junit(folder: Path) -> None:
    (folder / "bad.yaml").write_text(BAD.replace("<is>", '<is> "\\x07"').replace("name: the API <", "name: the API <"))
    assert main(["test", "bad.yaml", "--junit", "out.xml"]) == 1
    (suite,) = ElementTree.parse(folder / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert [case.get("name") for case in suite][:2] == ["ads are blocked", "the API is mocked"]
    (failure,) = suite[2]
    assert (suite[2].get("classname"), suite[2].get("line"), failure.get("type")) == ("bad.yaml", "21", "RP910")
    assert "`host` is `api.text`" in (failure.text or "")


def test_rules_that_break_under_a_profile_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        VARIANTS.replace("block: 503", "block: ${env:NOT_SET_ANYWHERE}")
        .replace("block: ${env", "respond: {body: '${env")
        .replace("ANYWHERE}", "ANYWHERE}'}")
    )
    (folder / "env.yaml").write_text(text)
    assert main(["test", "env.yaml"]) == 1
    shown = capsys.readouterr().out
    assert "NOT_SET_ANYWHERE" in shown
    assert "0 of 3 tests failed" in shown


def test_the_example_of_the_reference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "rules" / "README.md").read_text("utf-8")
    for example in page.partition("## Tests\n")[2].split("```yaml\n")[1:3]:
        (folder / "example.yaml").write_text(example.partition("```")[0])
        assert main(["test", "example.yaml"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("3 tests passed")
        assert "no test has" not in shown


MESSAGES = """version: 1
rules:
  - {id: pong, match: ws.text == 'ping', rewrite: {message: {text: pong}}}
  - {id: other, match: tcp.data contains 'x', drop-message: }
  - {id: page, match: path == '/x', block: }
tests:
  - name: pings
    request: wss://feed.test/
    messages: [{from: client, text: ping}]
    expect: {rules: [pong], messages: [{to: server, text: pang}]}
"""


def test_messages_in_all_formats(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "messages.yaml").write_text(MESSAGES)
    assert main(["test", "messages.yaml", "--junit", "out.xml"]) == 1
    shown = capsys.readouterr().out
    assert "the server gets `pong`" in shown
    assert "no test has a message that matches: other\nno test has a request that matches: page\n" in shown
    assert "every message matches: pong\n" in shown
    (suite,) = ElementTree.parse(folder / "out.xml").getroot()
    assert "the server gets `pong`" in (suite[0][0].text or "")
    assert main(["test", "messages.yaml", "--output-format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["tests"][0]["hits"] == [["pong"]]
    assert [each["code"] for each in report["diagnostics"]] == ["RP910", "RP902", "RP902", "RP902"]
    (folder / "messages.yaml").write_text(MESSAGES.replace("pang", "pong"))
    assert main(["test", "messages.yaml"]) == 0
    assert main(["test", "messages.yaml", "--strict"]) == 1
