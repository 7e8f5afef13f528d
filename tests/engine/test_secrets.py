"""What logs and records do not show."""

from __future__ import annotations

import json
import logging

import pytest

from rulesproxy.engine import secrets
from rulesproxy.engine.log import EntryHandler, JSONFormatter, LogEntry, TextFormatter
from rulesproxy.rules.load import load_text
from rulesproxy.rules.ruleset import load_rules


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_hidden", secrets._Hidden())


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer abc.def", "Bearer ***"),
        ("authorization", "Basic  dXNlcg==", "Basic ***"),
        ("Authorization", "justatoken", "***"),
        ("Authorization", "", "***"),
        ("Proxy-Authorization", 'Digest username="u", response="x"', "Digest ***"),
        ("Cookie", "a=1; b=2;c", "a=***; b=***; ***"),
        ("Cookie", "=x", "***"),
        ("Set-Cookie", "sid=1=2; Path=/; HttpOnly", "sid=***; Path=/; HttpOnly"),
        ("Set-Cookie", "nameless", "***"),
        ("X-Token", "plain", "plain"),
    ],
)
def test_fields(name: str, value: str, shown: str) -> None:
    assert secrets.masked_field(name, value) == shown


def test_values_are_hidden_as_they_are_and_in_urls() -> None:
    assert secrets.masked("s3cret/v&lue") == "s3cret/v&lue"
    secrets.hide(["s3cret/v&lue", "s3cret", "short"])
    assert secrets.masked("a s3cret/v&lue, s3cret; short") == "a ***, ***; short"
    assert secrets.masked("/?t=s3cret/v%26lue&u=s3cret%2Fv%26lue") == "/?t=***&u=***"
    assert secrets.masked_field("X-Token", "v=s3cret") == "v=***"
    secrets.hide([])


def test_no_line_of_the_log_shows_them() -> None:
    secrets.hide(["hunter2hunter2"])
    record = logging.LogRecord("rulesproxy", logging.INFO, "", 0, "GET %s", ("/?k=hunter2hunter2",), None)
    record.fields = {"url": "/?k=hunter2hunter2", "status": 200}
    record.lines = ["more: hunter2hunter2"]
    for formatter in (TextFormatter(), JSONFormatter()):
        line = formatter.format(record)
        assert "hunter2" not in line
        assert line.count("***") >= 2
    assert json.loads(JSONFormatter().format(record))["status"] == 200
    seen: list[LogEntry] = []
    EntryHandler(seen.append).emit(record)
    assert seen[0].msg == "GET /?k=***"


def test_rules_hide_what_they_take_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TOKEN_OF_A6", "tok-1234567"), ("NOT_USED", "other-1234567")):
        monkeypatch.setenv(name, value)
    rules = "version: 1\nrules:\n  - match: ~all\n    rewrite:\n      request:\n        headers: {x: 'a ${env:TOKEN_OF_A6}'}\n"
    assert load_text(rules).secrets == {"tok-1234567"}
    assert secrets.masked("tok-1234567") == "tok-1234567"
    load_rules(text=rules)
    assert secrets.masked("tok-1234567 other-1234567") == "*** other-1234567"
