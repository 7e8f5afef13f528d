"""Filters that are refused: places, several mistakes at once, limits. The conformance tables have the single ones."""

import pytest

from rulesproxy.filters.check import check as check_filter
from rulesproxy.filters.parse import FilterError, parse


def check(text, code, marked, help=""):
    """`marked` is the marked part of the text; at the end of the text it is empty."""
    with pytest.raises(FilterError) as caught:
        check_filter(parse(text))
    problem = caught.value.problems[0]
    assert (problem.code, text[problem.start : problem.end]) == (code, marked)
    assert problem.severity == "error"
    assert 0 <= problem.start <= problem.end <= len(text)
    assert help in problem.help
    assert problem.title
    assert not problem.title.endswith(".")


@pytest.mark.parametrize("text", ["", "  \n "])
def test_empty(text):
    check(text, "RP209", "", "~all")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('host == "a" and host = "b"', 21),
        ("tls and tls and", 12),
        ("host in {\n  'a',\n  'b'}", 15),
        ('path ~ "ab(?=c)"', 10),
        (r'path ~ "\\\\(?=c)"', 12),
        ('~u "a" & ~d "\\"[x"', 15),
    ],
)
def test_place(text, start):
    with pytest.raises(FilterError) as caught:
        check_filter(parse(text))
    assert caught.value.problems[0].start == start


def test_every_problem_of_meaning_is_found():
    with pytest.raises(FilterError) as caught:
        check_filter(parse('domain == "a" or path ~ "(" and (response.status == "2" or not $x)'))
    assert [problem.code for problem in caught.value.problems] == ["RP301", "RP500", "RP303", "RP312"]
    assert str(caught.value).startswith("RP301 at 0: unknown field `domain`; RP500 at ")


@pytest.mark.parametrize(
    "text",
    [
        "~u " + "a" * 4100,
        "(" * 65 + "~q" + ")" * 65,
        "not " * 65 + "~q",
        "!" * 65 + "~q",
        "!(" * 40 + "~q" + ")" * 40,
        " or ".join(f'path ~ "a{number}"' for number in range(33)),
        " & ".join(f"~u a{number}" for number in range(33)),
    ],
)
def test_limits(text):
    with pytest.raises(FilterError) as caught:
        check_filter(parse(text))
    assert [problem.code for problem in caught.value.problems] == ["RP217"]


@pytest.mark.parametrize(
    "text",
    [
        "~u " + "a" * 4093,
        "(" * 64 + "~q" + ")" * 64,
        "!" * 64 + "~q",
        " or ".join(f'path ~ "a{number}"' for number in range(32)),
        " or ".join(f'(host == "({number}" and path != "!")' for number in range(70)),
        " & ".join(f"!~u a{number}" for number in range(32)) + " & ~q" * 500,
    ],
)
def test_within_limits(text):
    check_filter(parse(text))
