"""The one layout of rule files: it says what the file said, and a second time changes nothing."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from rulesproxy.diagnostics import Source
from rulesproxy.rules.files.compose import NodeError, read_nodes
from rulesproxy.rules.files.fmt import FormatError, format_text
from tests.support.rule_files import ROOT, good_files, plain

CORPUS = {
    **good_files(),
    **{path.stem: path.read_bytes().decode("utf-8", "replace") for path in sorted((ROOT / "tests" / "diagnostics").glob("*.yaml"))},
}  # fmt: skip


def fmt(text: str) -> str:
    return format_text(Source("<text>", text))


CASES = [
    ("a: 1", "a: 1\n"),
    ("", ""),
    ("\n\n  \n", ""),
    ("\n\na:   1   \n\n\n\nb: 2\n\n\n", "a: 1\n\nb: 2\n"),
    ("a: 1\r\nb:\r\n- c\r\n", "a: 1\nb:\n  - c\n"),
    ("\ufeffa: 1\n", "a: 1\n"),
    ("a:\n- b\n-   c\n- - d\n  - e\n", "a:\n  - b\n  - c\n  - - d\n    - e\n"),
    ("a:\n    - b:  1\n      c: 2\n", "a:\n  - b: 1\n    c: 2\n"),
    ("-\n  a: 1\n-\n  # c\n  b: 2\n-\n- d\n", "- a: 1\n-\n  # c\n  b: 2\n-\n- d\n"),
    ("a:\n  -\nb: 1\n", "a:\n  -\nb: 1\n"),
    ("a: {  b : 1,c: [ 1,2 ] }\n", "a: { b: 1, c: [1, 2] }\n"),
    ("a: {b: }\nc: {d: , e: 1}\n", "a: { b: }\nc: { d: , e: 1 }\n"),
    ("a: []\nb: { }\nc: [ ]\n", "a: []\nb: {}\nc: []\n"),
    ("a: [{b: {c: [{}]}}]\n", "a: [{ b: { c: [{}] } }]\n"),
    ("a: [1,\n 2,\n     3]\n", "a: [1,\n  2,\n  3]\n"),
    ("a:\n  b: [\n    1\n  ]\n", "a:\n  b: [\n    1\n    ]\n"),
    ("'a': 'b'\n", '"a": "b"\n'),
    ("a: 'say \"x\"'\nb: 'it''s'\nc: '\\d'\n", "a: 'say \"x\"'\nb: 'it''s'\nc: '\\d'\n"),
    ("a: >-\n     x\n       y\n\n     z\n", "a: >-\n  x\n    y\n\n  z\n"),
    ("a: |2\n    x\n   y\n", "a: |2\n    x\n   y\n"),
    ("a:\n    b: |+\n        x\n\n\nc: 1\n", "a:\n  b: |+\n    x\n\n\nc: 1\n"),
    ("a: |   # why\n    x\n", "a: | # why\n  x\n"),
    ("a: x\n    y\n     z\nb: 'x\n\n   y'\n", "a: x\n  y\n  z\nb: 'x\n\n  y'\n"),
    ("a: 1  # one\nb: 2\t# two\n", "a: 1  # one\nb: 2 # two\n"),
    ("# top\n\n\n# more\na: 1\n# end", "# top\n\n# more\na: 1\n# end\n"),
    ("rules:\n- a: 1\n# next\n- b: 2\n# vars\nvars: 1\n", "rules:\n  - a: 1\n  # next\n  - b: 2\n# vars\nvars: 1\n"),
    ("a:\n    b: 1\n    # b2: 2\nc: 1\n", "a:\n  b: 1\n  # b2: 2\nc: 1\n"),
    ("--- # start\na: 1\n", "--- # start\na: 1\n"),
    ("a: &x {b: 1}\nc:   *x\n", "a: &x { b: 1 }\nc: *x\n"),
    ("a: b #c\nd: 'e # f'\n", 'a: b #c\nd: "e # f"\n'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES, ids=range(len(CASES)))
def test_layout(text: str, expected: str) -> None:
    assert fmt(text) == expected
    assert fmt(expected) == expected


@pytest.mark.parametrize("name", CORPUS)
def test_files_say_the_same_and_stay(name: str) -> None:
    text = CORPUS[name]
    try:
        before = plain(read_nodes(Source(name, text)))
    except NodeError:
        with pytest.raises(NodeError):
            fmt(text)
        return
    made = fmt(text)
    assert plain(read_nodes(Source(name, made))) == before
    assert fmt(made) == made
    assert re.findall("(?m)(?:^|[ \t])(# .*?) *$", made) == re.findall("(?m)(?:^|[ \t])(# .*?) *\r?$", text)


def test_shipped_files_are_in_the_layout() -> None:
    files = [*(ROOT / "examples").rglob("*.yaml"), *(ROOT / "rules").glob("*.yaml")]
    assert files
    assert [str(file) for file in files if fmt(file.read_text("utf-8")) != file.read_text("utf-8")] == []


def test_what_has_no_layout_is_refused() -> None:
    with pytest.raises(FormatError, match=r"behind `\?`"):
        fmt("? a\n: b\n")
    with pytest.raises(NodeError):
        fmt("a: [1\n")


WORDS = [
    "a",
    "b1",
    "~all",
    "host == 1",
    "x y",
    "it",
    "12",
    "true",
    "${x}",
    "a-b",
    "*.test",
    "",
    " x ",
    "a: b",
    "c #d",
    "'",
    '"',
    "\\d",
    "é",
]


class Writer:
    """Writes a value as YAML in a layout of its own."""

    def __init__(self, chance: random.Random, notes: bool) -> None:
        self.chance = chance
        self.notes = notes
        self.step = chance.choice([1, 2, 3, 4, 7])
        self.numbered = 0

    def note(self, indent: int) -> str:
        """Now and then a comment or blank lines in front of a line."""
        if not self.notes or self.chance.random() > 0.25:
            return ""
        self.numbered += 1
        return self.chance.choice(
            [
                "\n",
                "\n\n\n",
                f"{' ' * indent}# {self.numbered}\n",
                f"\n{' ' * indent}#{self.numbered}\n",
                f"# {self.numbered}\n",
            ]
        )

    def tail(self) -> str:
        if not self.notes or self.chance.random() > 0.1:
            return self.chance.choice(["", "", "", "  "])
        self.numbered += 1
        return f"{self.chance.choice([' ', '    '])}# t{self.numbered}"

    def scalar(self, text: str) -> str:
        if (
            re.fullmatch(r"[A-Za-z0-9~$][A-Za-z0-9 =~${}.-]*", text)
            and not text.endswith(" ")
            and self.chance.random() < 0.7
        ):
            return text
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return self.chance.choice([f'"{escaped}"', "'" + text.replace("'", "''") + "'"])

    def name(self, key: str) -> str:
        return self.scalar(key) if key else '""'

    def flow(self, value: Any) -> str:
        blank = self.chance.choice(["", " ", "  "])
        if isinstance(value, dict):
            return "{" + blank + ", ".join(f"{self.flow(k)}: {self.flow(v)}" for k, v in value.items()) + blank + "}"
        if isinstance(value, list):
            return "[" + blank + f",{blank}".join(self.flow(item) for item in value) + blank + "]"
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    def below(self, value: Any, indent: int) -> str:
        """A value behind `key:` or a dash, with its line end."""
        if isinstance(value, str):
            lines = value.split("\n")
            if self.chance.random() < 0.15 and value.strip() and not any(line != line.strip() for line in lines):
                inner = " " * (indent + self.step)
                return " |-" + self.tail() + "\n" + "".join(f"{inner}{line}".rstrip() + "\n" for line in lines)
            return f"{self.chance.choice([' ', '   '])}{self.scalar(value)}{self.tail()}\n"
        if not value or self.chance.random() < 0.15:
            return f" {self.flow(value)}{self.tail()}\n"
        return f"{self.tail()}\n{self.block(value, indent)}"

    def block(self, value: Any, indent: int) -> str:
        inner = indent + self.step
        if isinstance(value, list):
            if self.chance.random() < 0.3:
                inner = indent
            return "".join(self.note(inner) + self.item(item, inner) for item in value)
        return "".join(
            f"{self.note(inner)}{' ' * inner}{self.name(k)}:{self.below(v, inner)}" for k, v in value.items()
        )

    def item(self, item: Any, indent: int) -> str:
        if isinstance(item, dict) and item and self.chance.random() < 0.7:
            gap = self.chance.choice([1, 1, 3])
            text = "".join(
                f"{' ' * (indent + 1 + gap)}{self.name(k)}:{self.below(v, indent + 1 + gap)}" for k, v in item.items()
            )
            return " " * indent + "-" + text[indent + 1 :]
        if isinstance(item, list) and item:
            return f"{' ' * indent}- {self.flow(item)}{self.tail()}\n"
        return f"{' ' * indent}-{self.below(item, indent)}"

    def document(self, value: dict[str, Any]) -> str:
        return self.block(value, -self.step)


def some_value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth > 3 or kind < 0.4:
        return chance.choice(WORDS)
    if kind < 0.7:
        return [some_value(chance, depth + 1) for _ in range(chance.randint(0, 3))]
    return {key: some_value(chance, depth + 1) for key in chance.sample(WORDS, chance.randint(0, 4))}


@pytest.mark.parametrize("seed", range(5))
def test_any_layout_says_the_same_and_stays(seed: int) -> None:
    chance = random.Random(seed)
    made_of = 0
    for _ in range(300):
        value = {key: some_value(chance) for key in chance.sample(WORDS, 3)}
        text = Writer(chance, True).document(value)
        before = plain(read_nodes(Source("x", text)))
        made = fmt(text)
        assert plain(read_nodes(Source("x", made))) == before, text
        assert fmt(made) == made, text
        assert sorted(re.findall(r"# ?t?\d+", made)) == sorted(re.findall(r"# ?t?\d+", text))
        made_of += made != text
    assert made_of > 200


def test_one_value_has_one_layout() -> None:
    """Whatever the indentation was: the same words in the same style come out alike."""
    chance = random.Random(7)
    for _ in range(300):
        value = {key: some_value(chance) for key in chance.sample(WORDS, 3)}
        seed = chance.random()
        texts = set()
        for step in (1, 2, 4, 7):
            writer = Writer(random.Random(seed), False)
            writer.step = step
            texts.add(fmt(writer.document(value)))
        assert len(texts) == 1, texts
