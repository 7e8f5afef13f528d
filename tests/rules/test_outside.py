"""Chance that comes from outside is reproducible, even, and not the same for two questions."""

from __future__ import annotations

from rulesproxy.rules.outside import Outside, fraction, the_machine
from rulesproxy.rules.ruleset import RuleSet, load_rules


def fixed(seed: str) -> Outside:
    return Outside(lambda: 0.0, lambda: 0.0, lambda: "u", seed)


def test_fractions_are_fixed_for_ever() -> None:
    """These numbers are what users' experiments rest on: a release that changes them reshuffles everybody."""
    assert [round(fraction("42", "ab", user), 6) for user in ("1", "2", "é")] == FIXED
    assert fraction("a", "bc") != fraction("ab", "c") != fraction("abc")


FIXED = [0.222312, 0.555613, 0.316693]


def test_fractions_are_evenly_spread() -> None:
    drawn = [fraction("seed", number) for number in range(10_000)]
    assert all(0 <= value < 1 for value in drawn)
    for tenth in range(10):
        assert 900 <= sum(tenth <= value * 10 < tenth + 1 for value in drawn) <= 1100


def test_a_seed_decides_what_chance_says() -> None:
    assert fixed("1").chance("rule", 1) == fixed("1").chance("rule", 1)
    assert fixed("1").chance("rule", 1) != fixed("2").chance("rule", 1)


def test_rules_take_the_machine_unless_they_are_given_another_world() -> None:
    assert RuleSet().outside is the_machine()
    other = fixed("1")
    assert load_rules(text="version: 1\nrules: []", outside=other).outside is other
