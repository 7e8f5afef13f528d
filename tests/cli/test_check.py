"""`rulesproxy check`: what is printed, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rulesproxy.cli import main

GOOD = 'version: 1\nrules:\n  - id: ads\n    match: host == "ads.test"\n    block:\n'
WARNING = GOOD.replace("id: ads", "id: my ads")
BAD = GOOD.replace("block:", "blok:")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RULESPROXY_RULES", raising=False)
    for name, text in (("good", GOOD), ("warning", WARNING), ("bad", BAD)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


CASES = [
    (["good.yaml"], 0, "1 rule\n  refused at CONNECT: ads\n"),
    (["warning.yaml"], 0, "warning[RP111]: the id `my ads` is hard to type\n  --> warning.yaml:3:9\n"),
    (["--strict", "warning.yaml"], 1, "1 warning in 1 file\n"),
    (["bad.yaml"], 1, "error[RP101]: unknown key `blok` in a rule\n  --> bad.yaml:5:5\n"),
    (["bad.yaml", "good.yaml"], 1, "2 errors in 2 files\n"),
    (["missing.yaml"], 2, "error[RP001]: cannot read `missing.yaml`: no such file or directory\n"),
    (["goof.yaml"], 2, "did you mean `good.yaml`?"),
    (
        ["--output-format", "concise", "bad.yaml"],
        1,
        "bad.yaml:5:5: error[RP101]: unknown key `blok` in a rule (did you",
    ),
]


@pytest.mark.parametrize(("args", "code", "shown"), CASES)
def test_check(folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, shown: str) -> None:
    assert main(["check", *args]) == code
    out, err = capsys.readouterr()
    assert shown in out
    assert err == ""


def test_without_a_file_it_looks_for_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "no rule file" in capsys.readouterr().err
    (folder / "rules.yaml").write_text(GOOD)
    assert main(["check"]) == 0


def test_json_is_for_machines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--output-format", "json", "bad.yaml"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["rules"], report["files"]) == (False, 0, ["bad.yaml"])
    assert [diagnostic["code"] for diagnostic in report["diagnostics"]] == ["RP101"]
    assert report["diagnostics"][0]["line"] == 5
    assert main(["check", "--output-format", "json", "good.yaml"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["rules"], report["plan"]["connect"]) == (True, 1, ["ads"])


def test_many_mistakes_are_cut(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = "".join("  - match: ~all\n    blok:\n" for _ in range(60))
    (folder / "many.yaml").write_text(f"version: 1\nrules:\n{rules}")
    assert main(["check", "--output-format", "concise", "many.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[-2:]) == (52, ["and 10 more", "60 errors in 1 file"])


def test_errors_come_first_where_not_all_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = "".join(f"  - match: ~all\n    id: {number} x\n    block:\n" for number in range(60))
    (folder / "many.yaml").write_text(f"version: 1\nrules:\n{rules}  - match: ~all\n    blok:\n")
    assert main(["check", "--output-format", "concise", "many.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "error[RP101]" in lines[0]
    assert lines[-2:] == ["and 11 more", "1 error, 60 warnings in 1 file"]


def test_github_annotates_errors_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "both.yaml").write_text(WARNING + BAD.partition("rules:\n")[2].replace("- id: ads", "- id: other"))
    assert main(["check", "--output-format", "github", "both.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "::error file=both.yaml,line=8,endLine=8,title=RP101%3A unknown key `blok` in a rule,col=5,endColumn=8"
        "::did you mean `block`?%0Asee: rulesproxy explain RP101",
        "::warning file=both.yaml,line=3,endLine=3,title=RP111%3A the id `my ads` is hard to type,col=9,endColumn=14"
        "::use letters, digits, `.`, `_`, `/` and `-`%0Asee: rulesproxy explain RP111",
        "1 error, 1 warning in 1 file",
    ]  # fmt: skip


def test_github_says_how_many_are_not_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = "".join("  - match: ~all\n    blok:\n" for _ in range(25))
    (folder / "many.yaml").write_text(f"version: 1\nrules:\n{rules}")
    assert main(["check", "--output-format", "github", "many.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), sum(line.startswith("::error ") for line in lines)) == (12, 10)
    assert lines[-2:] == [
        "::notice title=rulesproxy check::and 15 more; use --output-format sarif to see all of them",
        "25 errors in 1 file",
    ]


def test_github_keeps_special_characters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a,b:c%.yaml").write_text(BAD)
    main(["check", "--output-format", "github", "a,b:c%.yaml"])
    assert capsys.readouterr().out.startswith("::error file=a%2Cb%3Ac%25.yaml,line=5,")


def test_sarif_is_a_log_with_rules(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "two files.yaml").write_text(GOOD)
    assert main(["check", "--output-format", "sarif", "bad.yaml", "warning.yaml", "two files.yaml", "good.yaml"]) == 1
    log = json.loads(capsys.readouterr().out)
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["RP101", "RP110", "RP111"]
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    first = run["results"][0]
    assert (first["level"], first["message"]["text"]) == (
        "error",
        "unknown key `blok` in a rule\ndid you mean `block`?",
    )
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "bad.yaml"
    assert place["region"] == {"startLine": 5, "startColumn": 5, "endLine": 5, "endColumn": 9}
    twice = next(result for result in run["results"] if result["ruleId"] == "RP110")
    assert twice["relatedLocations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert {result["level"] for result in run["results"]} == {"error", "warning"}
    assert "two%20files.yaml" in json.dumps(log)


def test_sarif_without_a_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--output-format", "sarif", str(folder / "good.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["results"] == []
    assert main(["check", "--output-format", "github", "good.yaml"]) == 0
    assert capsys.readouterr().out == "good in 1 file\n"


HIDDEN = (
    'version: 1\nrules:\n  - id: first\n    match: host under "a.test"\n    block:\n'
    '  - id: second\n    match: host == "x.a.test"\n    redirect: https://b.test/\n'
)


def test_rules_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "hidden.yaml").write_text(HIDDEN)
    assert main(["check", "hidden.yaml"]) == 0
    out = capsys.readouterr().out
    assert "warning[RP701]: rule `second` can never run\n  --> hidden.yaml:6:5\n" in out
    assert "= note: for example `GET https://x.a.test/` ends at `first`" in out
    assert main(["check", "--strict", "hidden.yaml"]) == 1


def test_a_comment_silences_a_warning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "hidden.yaml").write_text(
        HIDDEN.replace("  - id: second", "  # rulesproxy: ignore[RP701] kept\n  - id: second")
    )
    assert main(["check", "--strict", "hidden.yaml"]) == 0
    assert "warning" not in capsys.readouterr().out
    (folder / "hidden.yaml").write_text(GOOD.replace("block:", "block: # rulesproxy: ignore[RP701]"))
    assert main(["check", "--strict", "--output-format", "concise", "hidden.yaml"]) == 1
    assert (
        "hidden.yaml:5:33: warning[RP990]: `ignore[RP701]` silences nothing here (remove it)" in capsys.readouterr().out
    )


def test_rules_are_not_compared_beside_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "hidden.yaml").write_text(HIDDEN + "  - match: tls # rulesproxy: ignore[RP701]\n    blok:\n")
    assert main(["check", "--output-format", "json", "hidden.yaml"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [diagnostic["code"] for diagnostic in report["diagnostics"]] == ["RP101"]
    assert report["plan"] is None


def test_the_plan_says_why_bodies_are_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        'version: 1\nrules:\n  - id: a\n    match: host == "a.test" and request.json["x"] == 1\n    block:\n'
        '  - id: b\n    match: host == "b.test"\n    respond:\n      body: x${request.text}\n'
        '  - id: c\n    match: host == "c.test"\n    rewrite:\n      response:\n        text: x\n'
    )
    (folder / "bodies.yaml").write_text(text)
    assert main(["check", "--output-format", "json", "bodies.yaml"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["request_bodies"] == {"a": "match reads request.json", "b": "respond uses it"}
    assert plan["response_bodies"] == {"c": "rewrite edits it"}
    assert plan["hosts"] == ["a.test", "b.test", "c.test"]
    assert main(["check", "bodies.yaml"]) == 0
    assert "request body read for: a (match reads request.json), b (respond uses it)" in capsys.readouterr().out


def test_strict_wants_an_id_of_every_rule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = "  - match: host under 'ads.test'\n    block:\n" * 2 + "  - match: ~d ^x.test$\n    stop: true\n"
    (folder / "nameless.yaml").write_text(f"version: 1\nrules:\n{rules.replace('block:', 'block: 403', 1)}")
    assert main(["check", "--output-format", "concise", "nameless.yaml"]) == 0
    assert "RP111" not in capsys.readouterr().out
    assert main(["check", "--strict", "--output-format", "concise", "nameless.yaml"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "RP111" in line]
    assert lines[0].startswith(
        "nameless.yaml:3:5: warning[RP111]: this rule has no `id`: reports call it `nameless.yaml:3`"
    )
    assert [line.partition("id: ")[2].partition("`")[0] for line in lines] == [
        "block-ads.test", "block-ads.test-2", "stop-x.test",
    ]  # fmt: skip


def test_what_a_comment_silences_is_no_news_without_strict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("  - id: ads\n    match", "  # rulesproxy: ignore[RP111] nobody asks for it\n  - match")
    (folder / "silent.yaml").write_text(text)
    for words in ([], ["--strict"]):
        assert main(["check", *words, "silent.yaml"]) == 0
        assert "warning" not in capsys.readouterr().out
