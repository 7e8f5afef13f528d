"""The renderer: marks stand under what they mean, whatever the line holds."""

from __future__ import annotations

import pytest

from rulesproxy.diagnostics import Diagnostic, Label, Source, Span, render, render_concise, suggest
from rulesproxy.diagnostics.codes import CODES
from rulesproxy.diagnostics.machine import to_json


def span(text: str, part: str, path: str = "r.yaml") -> Span:
    line = next(number for number, each in enumerate(text.split("\n"), 1) if part in each)
    column = text.split("\n")[line - 1].index(part) + 1
    return Span(Source(path, text), line, column, line, column + len(part))


def marks(text: str, part: str) -> tuple[str, str]:
    """The shown line and the line of marks, without the gutter."""
    lines = render(Diagnostic("RP101", "error", "x", span(text, part))).split("\n")
    return lines[3][5:], lines[4][5:]


LINES = [
    ("    key: value", "value", "    key: value", "         ^^^^^"),
    ("\tkey: value", "value", "    key: value", "         ^^^^^"),
    ("é: ü value", "value", "é: ü value", "     ^^^^^"),
    ("日本: value", "value", "日本: value", "      ^^^^^"),
    ("a: 日本", "日本", "a: 日本", "   ^^^^"),
    ("e\u0301: value", "value", "e\u0301: value", "   ^^^^^"),
    ("a: \x1b[31mred", "red", "a: \ufffd[31mred", "        ^^^"),
    ("a: value\r", "value", "a: value", "   ^^^^^"),
]


@pytest.mark.parametrize(("text", "part", "shown", "under"), LINES)
def test_marks_stand_under_their_text(text: str, part: str, shown: str, under: str) -> None:
    line, mark = marks(text, part)
    assert (line, mark) == (shown, under)


@pytest.mark.parametrize("at", [0, 60, 200, 2_000, 3_990])
def test_a_long_line_is_cut_around_the_mark(at: int) -> None:
    text = "a" * at + "XX" + "b" * (4_000 - at)
    line, mark = marks(text, "XX")
    assert len(line) <= 142
    assert line[mark.index("^") : mark.rindex("^") + 1] == "XX"


def test_labels_of_other_lines_and_files() -> None:
    text = "one: 1\ntwo: 2\nthree: 3\nfour: 4\n"
    labels = (Label(span(text, "one"), "here too"), Label(span(text, "two", "other.yaml"), "and there"))
    diagnostic = Diagnostic("RP110", "error", "title", span(text, "four"), "do it", "wrong", labels, ("a fact",))
    assert render(diagnostic) == (
        "error[RP110]: title\n"
        "  --> r.yaml:4:1\n"
        "   |\n"
        " 1 | one: 1\n"
        "   | --- here too\n"
        "   :\n"
        " 4 | four: 4\n"
        "   | ^^^^ wrong\n"
        "   |\n"
        "  --> other.yaml:2:1\n"
        "   |\n"
        " 2 | two: 2\n"
        "   | --- and there\n"
        "   |\n"
        "   = help: do it\n"
        "   = note: a fact\n"
        "   = see: rulesproxy explain RP110"
    )
    assert render_concise(diagnostic) == "r.yaml:4:1: error[RP110]: title (do it)"
    assert to_json(diagnostic)["labels"][1]["path"] == "other.yaml"  # type: ignore[index]


def test_a_diagnostic_without_a_place() -> None:
    diagnostic = Diagnostic("RP001", "error", "cannot read `x`", help="look")
    expected = "error[RP001]: cannot read `x`\n   = help: look\n   = see: rulesproxy explain RP001"
    assert render(diagnostic) == expected
    assert to_json(diagnostic)["line"] is None


def test_wide_line_numbers_keep_the_gutter_straight() -> None:
    text = "\n" * 998 + "first: 1\nsecond: 2"
    diagnostic = Diagnostic("RP005", "error", "t", span(text, "second"), labels=(Label(span(text, "first"), "f"),))
    assert render(diagnostic).split("\n")[1:7] == [
        "     --> r.yaml:1000:1", "      |", "  999 | first: 1", "      | ----- f", " 1000 | second: 2", "      | ^^^^^^",
    ]  # fmt: skip


def test_the_registry() -> None:
    assert list(CODES) == sorted(CODES)
    for code in CODES.values():
        assert code.explanation.endswith(".")
        assert not code.title.endswith(".")
        assert len(code.title) < 80


@pytest.mark.parametrize(
    ("name", "meant"),
    [("blok", "block"), ("bolck", "block"), ("xyz", None), ("redirct", "redirect"), ("domain", "host"), ("", None)],
)
def test_suggestions_are_near_or_none(name: str, meant: str | None) -> None:
    assert suggest(name, ["block", "redirect", "host"], {"domain": "host"}) == meant
