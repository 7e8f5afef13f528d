"""YAML nodes: places in every style of scalar, and files that attack the reader."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rulesproxy.diagnostics import Source
from rulesproxy.rules.files.compose import NodeError, read_nodes
from rulesproxy.rules.files.nodes import Mapping, Scalar


def scalar_at(text: str, *path: str | int) -> Scalar:
    node = read_nodes(Source("r.yaml", text))
    for step in path:
        node = node.get(step) if isinstance(node, Mapping) else node.items[step]  # type: ignore[union-attr, index, assignment]
    assert isinstance(node, Scalar)
    return node


STYLES = [
    pytest.param("match: host == XX and\n", id="plain"),
    pytest.param("é: ü\nmatch: höst == XX and\n", id="plain-not-ascii"),
    pytest.param("match: host\n  ==\n\n  XX and\n", id="plain-folded"),
    pytest.param("match: 'host == ''a'' XX'\n", id="single"),
    pytest.param("match: 'host ==\n   ''b'' XX'\n", id="single-folded"),
    pytest.param('match: "host == \\"a\\" \\x41\\u00e9\\t XX"\n', id="double"),
    pytest.param('match: "host \\\n   == XX"\n', id="double-escaped-break"),
    pytest.param('match: "host\\n\n\n   == XX"\n', id="double-folded"),
    pytest.param("match: |\n  host == 1\n    and XX\n", id="literal"),
    pytest.param("match: |2- # note XX\n   host\n\n   XX\n", id="literal-indented-with-comment"),
    pytest.param("match: >-\n  host ==\n  a\n\n    more\n  XX\nid: a\n", id="folded"),
    pytest.param("match: >\r\n  host ==\r\n  XX\r\n", id="folded-crlf"),
    pytest.param("- {match: host == XX , id: b}\n", id="flow"),
]


@pytest.mark.parametrize("text", STYLES)
def test_a_place_inside_a_scalar_is_exact(text: str) -> None:
    node = scalar_at(text, *([0] if text.startswith("-") else []), "match")
    at = node.text.index("XX")
    span = node.part(at, at + 2)
    expected = text.rindex("XX")
    line = text.count("\n", 0, expected) + 1
    column = expected - (text.rfind("\n", 0, expected) + 1) + 1
    assert (span.line, span.column, span.end_line, span.end_column) == (line, column, line, column + 2)


@pytest.mark.parametrize("text", STYLES)
def test_a_place_behind_the_end_still_exists(text: str) -> None:
    node = scalar_at(text, *([0] if text.startswith("-") else []), "match")
    span = node.part(len(node.text), len(node.text))
    assert node.span.line <= span.line <= text.count("\n") + 1


WORDS = st.text(st.sampled_from("ab'\"\\ \n\té€𝕏#:"), min_size=1, max_size=30)


@settings(max_examples=150)
@given(WORDS, st.sampled_from(["'", '"', "|", ">", None]), st.integers(10, 60))
def test_every_character_maps_to_itself(value: str, style: str | None, width: int) -> None:
    """Whatever style another program writes, what is no white space is found where it stands."""
    import yaml

    text = yaml.dump({"match": value}, default_style=style, width=width, allow_unicode=True)
    node = scalar_at(text, "match")
    assert node.text == value
    for at, char in enumerate(value):
        if char in "abé€𝕏#:":
            span = node.part(at, at + 1)
            # The dumper writes characters beyond the basic plane as escapes in double quotes.
            written = ("\\", char) if char == "𝕏" else (char,)
            assert Source("", text).line(span.line)[span.column - 1] in written


def test_raw_text_is_kept() -> None:
    node = read_nodes(Source("r", "a: no\nb: 1.10\nc: 12:30\nd: 2024-01-01\ne: 0x1F\nf: ~\ng: 1e3\nh: .inf\n"))
    assert isinstance(node, Mapping)
    values = {key.text: value.text for key, value in node.entries if isinstance(value, Scalar)}
    assert values == {
        "a": "no", "b": "1.10", "c": "12:30", "d": "2024-01-01", "e": "0x1F", "f": "~", "g": "1e3", "h": ".inf"
    }  # fmt: skip


def test_aliases_share_their_value() -> None:
    node = read_nodes(Source("r", "a: &x [1, 2]\nb: *x\n"))
    assert isinstance(node, Mapping)
    assert node.get("b") is node.get("a")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

HOSTILE = [
    pytest.param("[" * 100_000, "RP006", id="brackets"),
    pytest.param("[\n" * 100_000, "RP006", id="brackets-over-lines"),
    pytest.param("{" * 100_000, "RP004 RP006", id="braces"),
    pytest.param("- " * 100_000, "RP006", id="dashes"),
    pytest.param("? " * 50_000, "RP004", id="question-marks"),
    pytest.param(BOMB, "RP006", id="billion-laughs"),
    pytest.param("a: &x [*x]", "RP006", id="alias-inside-itself"),
    pytest.param("*a " * 10_000, "RP006", id="aliases-to-nothing"),
    pytest.param("x" * (1024 * 1024 + 1), "RP006", id="size"),
    pytest.param("a: b\0", "RP002", id="nul"),
    pytest.param("a: \ud800", "RP002", id="half-a-surrogate"),
    pytest.param("a: !!python/object/apply:os.system [x]", "RP007", id="tag"),
    pytest.param("a: &a {b: c}\n<<: [*a, *a]\n", "RP008", id="merge"),
    pytest.param("a: 1\n---\nb: 2\n", "RP009", id="documents"),
    pytest.param("a: 1\na: 2\n", "RP005", id="duplicate"),
    pytest.param("{a: b}: c", "RP004", id="mapping-as-key"),
    pytest.param("[a]: c", "RP004", id="list-as-key"),
    pytest.param("%YAML 9.9\n---\na: 1", "RP004", id="directive"),
    pytest.param('"' + "\\" * 100_001, "RP004", id="backslashes"),
    pytest.param('a: "\\q"', "RP004", id="escape"),
]


@pytest.mark.parametrize(("text", "code"), HOSTILE)
def test_a_hostile_file_is_refused_at_once(text: str, code: str) -> None:
    began = time.process_time()
    with pytest.raises(NodeError) as caught:
        read_nodes(Source("r.yaml", text))
    # Versions of the parser differ in which of two limits is met first.
    assert {diagnostic.code for diagnostic in caught.value.diagnostics} & set(code.split())
    assert all(diagnostic.span is not None for diagnostic in caught.value.diagnostics)
    assert time.process_time() - began < 2


def test_a_large_honest_file_is_read() -> None:
    text = "\n".join(f"key{number}: {{a: [1, 2], b: text}}" for number in range(20_000))
    node = read_nodes(Source("r.yaml", text))
    assert isinstance(node, Mapping)
    assert len(node.entries) == 20_000


@settings(max_examples=300)
@given(st.text(st.sampled_from("a:-[]{}!&*#'\"|>\n \t,?%@`\\~<="), max_size=60))
def test_any_text_gives_nodes_or_diagnostics(text: str) -> None:
    with suppress(NodeError):
        read_nodes(Source("r.yaml", text))
