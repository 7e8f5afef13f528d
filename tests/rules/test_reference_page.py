"""The rule reference is current, complete, and every rule file in it is good."""

from __future__ import annotations

import re

import pytest

from rulesproxy.rules.actions import ACTIONS
from rulesproxy.rules.load import load_text
from rulesproxy.rules.reading.json_schema import attributes
from rulesproxy.rules.reading.written import RULE_KEYS
from tests.rule_reference import PAGE, page

TEXT = PAGE.read_text(encoding="utf-8")
FILES = [block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if block.startswith("version:")]


def test_the_page_is_current() -> None:
    """After a change of an action run `python -m tests.generate --write`."""
    assert page() == TEXT


def test_every_key_of_a_rule_is_on_it() -> None:
    table = TEXT.partition("## Keys of a rule")[2].partition("##")[0]
    assert set(re.findall(r"`([a-z-]+)`(?=[^|]*\|)", table)) >= set(RULE_KEYS)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_every_action_has_a_section(action: type) -> None:
    assert f"\n### `{action.key}`\n" in TEXT
    assert all(sentence.endswith(".") for sentence in attributes(action).values())


@pytest.mark.parametrize("text", FILES)
def test_every_rule_file_on_it_is_good(text: str) -> None:
    loaded = load_text(text)
    assert loaded.diagnostics == ()
    assert loaded.rules
