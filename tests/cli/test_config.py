"""`rulesproxy config`: values, and where they came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rulesproxy.cli import main
from rulesproxy.engine.options import Options
from rulesproxy.options import declare_options


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RULESPROXY_RULES", raising=False)
    return tmp_path


def rows(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, dict[str, object]]:
    assert main(["config", "--output-format", "json", *args]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_every_option_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    options = Options()
    declare_options(options)
    found = rows(capsys)
    assert set(found) == set(options.keys())
    assert all(row["help"] for row in found.values())


def test_where_values_come_from(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rulesproxy.yaml").write_text(
        "version: 1\noptions:\n  intercept: all\n  keep-host: true\n  limits: {body: 5MB}\nrules: []\n"
    )
    monkeypatch.setenv("RULESPROXY_INTERCEPT", "none")
    found = rows(capsys, "--set", "http1_codec=h11")
    assert {name: (row["value"], row["source"]) for name, row in found.items() if row["source"] != "default"} == {
        "intercept": ("none", "environment"), "keep_host": (True, "project file"),
        "limits_body": (5_000_000, "project file"), "http1_codec": ("h11", "command line"),
    }  # fmt: skip
    assert set(rows(capsys, "--changed")) == {"intercept", "keep_host", "limits_body"}


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "keep-host", "--set", "keep_host", "-v"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["keep_host", "true", "command", "line"]
    assert "reverse mode" in second


def test_a_password_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--set", "auth=ann:secret", "auth"]) == 0
    assert "secret" not in capsys.readouterr().out
    assert rows(capsys, "--set", "auth=ann:secret")["auth"]["value"] == "***"


def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "nothing"]) == 2
    assert "no option begins with `nothing`" in capsys.readouterr().err
    assert main(["config", "--set", "intercept=some"]) == 1
    assert "intercept" in capsys.readouterr().err
    (folder / "rulesproxy.yaml").write_text("version: 1\noptions:\n  intercept: some\nrules: []\n")
    assert main(["config"]) == 1
    assert "error[RP113]" in capsys.readouterr().err


ADDON = """
from rulesproxy import ctx

class Words:
    def load(self, entry):
        entry.add_option("word", str, "tea", "a word")
        assert ctx.options.word == "coffee"

    def done(self):
        with open("ended", "w"):
            pass

addons = [Words()]
"""


def test_options_of_addons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rulesproxy.yaml").write_text(
        "version: 1\noptions: {word: coffee, number: 3}\naddons: [broken.py, words.py, rules, gone.py, bad.py, more.py]\n"
        "rules: []\n"
    )
    (folder / "words.py").write_text(ADDON)
    (folder / "broken.py").write_text("import a_module_that_is_not_there\n")
    (folder / "bad.py").write_text("def load(entry):\n    raise ValueError('no luck')\ndef request(flow): pass\n")
    (folder / "more.py").write_text(
        "def load(entry):\n    entry.add_option('number', int, 1, 'a number')\ndef request(flow): pass\n"
    )
    assert main(["config", "word", "number", "--output-format", "json"]) == 1
    out, err = capsys.readouterr()
    found = {row["name"]: (row["value"], row["default"], row["source"], row["addon"]) for row in json.loads(out)}
    assert found == {
        "word": ("coffee", "tea", "project file", "words.py"), "number": (3, 1, "project file", "more.py"),
    }  # fmt: skip
    for said in (
        "broken.py:1: ModuleNotFoundError",
        "`gone.py` does not exist",
        "addon bad.py: load: ValueError: no luck",
    ):
        assert said in err
    assert (folder / "ended").exists()
    assert main(["config", "word", "-v"]) == 1
    assert "a word (text; default tea; of words.py)" in capsys.readouterr().out
