"""The texts that a regex cannot do without."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rulesproxy.filters.ast import Text
from rulesproxy.filters.parse import FilterError
from rulesproxy.filters.regex import regex


def made(source):
    return regex(Text(source, 0, len(source), 0))


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("abcd", ["abcd"]),
        ("a?bc", ["bc", "abc"]),
        ("(ab|cd)e", ["abe", "cde"]),
        ("x{0,3}y", ["y", "xy", "xxy", "xxxy"]),
        ("x{2}y", ["xxy"]),
        ("x{2,}y", ["xx"]),
        ("x{6}y", ["xxxx"]),
        ("(?:abc){1,2}", ["abc", "abcabc"]),
        ("(?i)AbC", ["abc"]),
        ("(?i:AbC)D", ["abcd"]),
        ("^abc$", ["abc"]),
        (r"\babc\b", ["abc"]),
        ("(?m)^abc$", ["abc"]),
        ("(|abc)", []),
        ("(|abc)defg", ["defg", "abcdefg"]),
        ("", []),
        ("a*", []),
        (".*", []),
        ("[ab]c", ["ac", "bc"]),
        ("[a-z]cd", ["cd"]),
        ("[^a]cd", ["cd"]),
        (r"\d+/items/\d+", ["/items/"]),
        ("short.*muchlonger.*mid", ["muchlonger"]),
        ("abc(?:x+)def", ["abc"]),
        ("(?:foo.*bar|baz+q)", ["foo", "ba"]),
        ("(?:foo.*|.*)x", ["x"]),
        ("é", []),
        ("aéb", ["a"]),
        ("(?i)É", []),
        ("(?P<a>abc)(?:de)?", ["abc", "abcde"]),
        ("a.c", ["a"]),
        ("(?s)ab.cde", ["cde"]),
        ("[é]ab", ["ab"]),
        ("[aA]b", ["ab"]),
        ("(a|b)(c|d)(e|f)(g|h)", None),
        ("[abcd][abcdefgh]xyz", [f"{each}xyz" for each in "abcdefgh"]),
    ],
)
def test_texts(source, texts):
    found = made(source).texts
    if texts is None:
        assert len(found) == 16
    else:
        assert found == frozenset(texts)


PIECES = st.sampled_from(
    ["a", "B", "ab", "/", r"\.", ".", "^", "$", "a*", "b?", "[ab]", "(?:a|b)", "(?:ab|)", "[^a]", "(a+)", "x{0,3}", "(?i:aB)", "a{2}",
     "b{2,}", "(?:a.*|b)", "é", "[éa]", "K", r"\b", r"\d", "(?:^|/)", "(?:a|é)", "(?:ab){1,3}", "(?:ab?){2}"]
)  # fmt: skip


@given(
    st.sampled_from(["", "(?i)", "(?m)", "(?s)"]),
    st.lists(PIECES, max_size=6).map("".join),
    st.lists(st.text("abABxK/.1é\u212a\n", max_size=10), min_size=4, max_size=8),
)
@example("(?i)", "K", ["\u212a", "k"])
def test_one_of_them_is_in_everything_that_is_found(flags, source, texts):
    try:
        found = made(flags + source)
    except FilterError:
        return
    for text in texts:
        if found.texts and found.pattern.search(text):
            folded = "".join(char.lower() if char.isascii() else char for char in text)
            assert any(needed in folded for needed in found.texts), found.texts
