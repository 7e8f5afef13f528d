"""The regex dialect: how it is spelled, what plain text stands for it, and what can take exponential time."""

import re
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rulesproxy.filters import dialect, shape, typed
from rulesproxy.filters.ast import Text
from rulesproxy.filters.compile import predicate
from rulesproxy.filters.fields import FIELDS
from rulesproxy.filters.problem import FilterError
from rulesproxy.filters.regex import regex


def made(source, **more):
    return regex(Text(source, 0, len(source), 0), **more)


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        ("a", "a"),
        ("a$", r"a\Z"),
        (r"a\$", r"a\$"),
        ("[$]", "[$]"),
        ("(a$|b)", r"(a\Z|b)"),
        ("(?m)^a$", "(?m)^a$"),
        ("(?m:a$)b$", r"(?m:a$)b\Z"),
        ("(?m)a$(?-m:b$)", r"(?m)a$(?-m:b\Z)"),
        ("(?i)a", "(?i)a"),
        ("(?i-s:a)", "(?i-s:a)"),
        ("a{,3}", "a{0,3}"),
        ("a{2}", "a{2}"),
        ("a{2,}", "a{2,}"),
        ("a{2,3}?", "a{2,3}?"),
        ("a{x}", r"a\{x}"),
        ("a{}", r"a\{}"),
        ("a{,}", r"a\{,}"),
        ("{", r"\{"),
        ("a*?b+?c??", "a*?b+?c??"),
        ("[[a]", r"[\[a]"),
        ("[a&&b]", r"[a\&\&b]"),
        ("[]a]", r"[\]a]"),
        ("[^]a]", r"[^\]a]"),
        ("[a-]", r"[a\-]"),
        ("[+--]", r"[+-\-]"),
        (r"[\d-]", r"[\d\-]"),
        (r"[\]\-\x41]", r"[\]\-\x41]"),
        (r"\é\/\-", r"é/\-"),
        (r"\u0041\u00e9\u20ac", "\\x41\\xe9€"),
        (r"\U0001F600", "😀"),
        (r"\x2e", r"\x2e"),
        (r"\n\t\.", r"\n\t\."),
        (r"^\A\b\B", r"^\A\b\B"),
    ],
)  # fmt: skip
def test_spelling(source, pattern):
    assert dialect.translate(source).pattern == pattern
    re.compile(pattern)


def test_lines():
    assert dialect.translate("a$", lines=True).pattern == r"a(?=\r?\n|\Z)"
    assert dialect.translate("(?-m:a$)", lines=True).pattern == r"(?-m:a\Z)"


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        ("a$", "a\n", False),
        ("(?m)a$", "a\nb", True),
        (r"\d", "٣", False),
        (r"\w", "é", False),
        (r"\s", "\u00a0", False),
        ("x{,3}y", "y", True),
        ("(?i)K", "k", True),
        ("(?i)k", "\u212a", False),
        (r"^\u002e$", "x", False),
    ],
)
def test_meaning(source, text, found):
    assert (made(source).pattern.search(text) is not None) is found


@pytest.mark.parametrize(
    ("source", "fold", "expected"),
    [
        ("foo", False, ("contains", "foo")),
        ("", False, ("contains", "")),
        ("^foo", False, ("startswith", "foo")),
        (r"\Afoo", False, ("startswith", "foo")),
        ("foo$", False, ("endswith", "foo")),
        ("^foo$", False, ("==", "foo")),
        ("^(?:foo)$", False, ("==", "foo")),
        ("^$", False, ("==", "")),
        ("^", False, ("startswith", "")),
        (r"a\.b\x41\u00e9", False, ("contains", "a.bAé")),
        ("^/v1/(?P<rest>.*)", False, ("startswith", "/v1/")),
        ("foo.*", False, ("contains", "foo")),
        (".*foo", False, ("contains", "foo")),
        ("^.*foo", False, None),
        ("foo.*$", False, None),
        ("foo.+", False, None),
        ("fo*", False, ("contains", "f")),
        ("a|b", False, None),
        ("a[b]c", False, ("contains", "abc")),
        ("a[bc]", False, None),
        ("^/[^a]", False, None),
        ("[^a]$", False, None),
        ("(?i)foo", False, None),
        ("(?i)foo", True, ("contains", "foo")),
        ("(?i)FOO", True, ("contains", "foo")),
        ("FOO", True, None),
        ("(?i)123", False, ("contains", "123")),
        ("(?i:f)oo", False, None),
        ("(?m)^foo", False, None),
        (r"(^|\.)a\.test$", True, ("under", "a.test")),
        (r"(?:^|\.)a\.test$", True, ("under", "a.test")),
        (r"(\.|^)a\.test$", True, ("under", "a.test")),
        (r"(^|-)a\.test$", True, None),
        (r"(^|\.)a\.test", True, None),
        (r"a\b", False, None),
    ],
)
def test_shape(source, fold, expected):
    assert made(source, fold=fold).shape == expected


@pytest.mark.parametrize(
    ("source", "prefix", "suffix"),
    [
        ("^/v1/[0-9]+", "/v1/", ""),
        (r"^/v1/\d+\.js$", "/v1/", ".js"),
        ("/v1/", "", ""),
        ("(?i)^/1a", "/1", ""),
        (r"[0-9]\.js$", "", ".js"),
        ("^/a?b", "/", ""),
        ("^(/a|/b)", "/", ""),
        ("^(a|b/)x", "", ""),
        ("^/(?:a|b)", "/", ""),
        ("(?m)^/v1/[0-9]", "", ""),
        ("^(?i:/V)", "", ""),
        ("^a|b", "", ""),
    ],
)
def test_prefix_and_suffix(source, prefix, suffix):
    found = made(source)
    assert (found.prefix, found.suffix) == (prefix, suffix)


SAFE = [
    "(a|b)*c", r"(\d{1,3}\.){3}\d{1,3}", "(?:[^/]+/)*x", "(?:/[^/]*)*$", "(?:a|ab)*c", "(a{1,64}@)+", "([a-f0-9]{2}:){5,16}",
    r"^(?:.*\.)?example\.com$", r"(?:\w+\.)*example", "(?:ab?)*", "^(?:a|b|cd)+$", "(?:aa)*", "(?:[ab]c|[bd]e)*",
    r'"(?:\\.|[^"\\])*"', "(?i)(?:a[b-z])*", "(?:foo|bar|baz)+", ".*", "a.*b.*c", r"(\w+=\w+&)*", r"(?:(?:ab)+c)*", "(?:a?b)*",
    r"(?:\d\D)*", r"(?:\s\S)+", "(?:é|è)*", "(?:x{2,4}y){1,9}",
]  # fmt: skip

EXPONENTIAL = [
    "(a+)+", "(a*)*", r"^(\w+\s?)*$", r"^(.*\.)+com", "(a*b*)*", "(x+x+)+y", r"([\w.]+,?)+", "(?:(?:a|b)+c?)*", "((ab)*)*",
    "(?:a|a?b?)*", r"(?:\w|\dx?)*", "(?:a|[^b])*", "(?i)(?:a|[^a-z]|A)*", "(?:.|\n|x)*", "(a?){20}", "(a|b?){12}", "(a{0,20}){0,20}",
    "(?:é|[^a])*", r"(?:\S+|x)*", "(.+)+", "(?:(?P<a>a+)|b)+", "(?s)(?:.|a)*",
]  # fmt: skip


@pytest.mark.parametrize("source", SAFE)
def test_safe(source):
    made(source)


@pytest.mark.parametrize("source", EXPONENTIAL)
def test_exponential(source):
    with pytest.raises(FilterError) as caught:
        made(source)
    assert [problem.code for problem in caught.value.problems] == ["RP501"]


HOSTILE = [
    line.split("\t")
    for line in (Path(__file__).parent / "hostile_regexes.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize(("code", "source"), HOSTILE, ids=[source for _, source in HOSTILE])
def test_hostile(code, source):
    """`check` refuses them, and quickly."""
    start = time.process_time()
    with pytest.raises(FilterError) as caught:
        made(source)
    assert time.process_time() - start < 5
    assert [problem.code for problem in caught.value.problems] == [code]


@pytest.mark.parametrize(
    ("source", "searched"),
    [
        (r"\d+x", r"\dx"),
        (r"\w*\d+x", r"\dx"),
        ("[a-z]+?x[0-9]", "[a-z]x[0-9]"),
        (r"[^]\]]*x", r"[^\]\]]*x"),
        (".*[ab]", "[ab]"),
        (".*[a]|b", ".*[a]|b"),
        ("a+[|]b", r"a[\|]b"),
        ("(?i)a+b", "(?i)a+b"),
        ("^a+[b]", "^a+[b]"),
        ("(?P<x>a)b+", "(?P<x>a)b+"),
        ("a+(?P<x>[bc])", "a+(?P<x>[bc])"),
    ],
)
def test_search_begins_behind_repeats(source, searched):
    found = made(source)
    if source.startswith("[^]"):
        assert found.quick.compiled.search("]x")
    else:
        assert found.quick.text == searched
    assert found.pattern.pattern == dialect.translate(source).pattern


ALLOWED = [
    r"\d+-\d+", r"[\w.]+@[\w.]+\.com", r"^/api/.*/users/.*/[0-9]+$", r".*\.(js|css)(\?.*)?$", r"/[^/]+/[^/]+/[^/]+/x$", "a.*b.*c.*d",
    "(?i)foo.*bar.*baz", r"^https?://[^/]+/v\d+/.*\.json$", r"\s*foo\s*=\s*bar", r"^/(?P<a>[^/]+)/(?P<b>[^/]+)/(?P<c>.*)$",
    "foo.*[0-9]bar", "a.*[0-9].*[0-9].*[0-9]x", r"^\w+\w+\w+-", "/api/.*/users/.*/[0-9]+", r"\d{1,64}\d{1,64}\d{1,64}x",
    r"session=.*;\s*path=.*;\s*secure", r"<[^>]*\s[^>]*\son\w+\s*=", "name=(?P<a>[^&]+)&", "n=(?P<a>[^&]+)[&;]x", "x[0-9].*$",
]  # fmt: skip


@pytest.mark.parametrize("source", ALLOWED)
@pytest.mark.parametrize("long", [False, True], ids=["", "body"])
def test_allowed(source, long):
    made(source, long=long)


def test_what_is_refused_is_slow():
    """The premise: these two do take time, and the time doubles."""
    times = []
    for length in (15, 18):
        start = time.process_time()
        assert re.search(r"^(\w+\s?)*$", "a" * length + "!") is None
        times.append(time.process_time() - start)
    assert times[1] > 3 * times[0]


def test_a_large_loop_is_refused_quickly():
    words = "|".join(f"w{number}x{number * 7}" for number in range(120))
    start = time.process_time()
    with pytest.raises(FilterError, match="too large"):
        made(f"(?:{words})*")
    assert time.process_time() - start < 5


def test_deep_nesting_is_refused():
    with pytest.raises(FilterError, match="RP500"):
        made("(" * 1500 + ")" * 1500)


def test_the_tree_of_the_standard_library_is_as_we_know_it():
    """What `shape` and `ambiguity` rely on, on every version of the language."""
    tree = shape.parse(r"^a[^b-c\d](?i:x|yy){2,3}?(?P<n>.)\Z", re.ASCII)
    names = [str(op) for op, _ in tree]
    assert names == ["AT", "LITERAL", "IN", "MIN_REPEAT", "SUBPATTERN", "AT"]
    assert [str(tree[0][1]), str(tree[5][1])] == ["AT_BEGINNING", "AT_END_STRING"]
    assert [str(op) for op, _ in tree[2][1]] == ["NEGATE", "RANGE", "CATEGORY"]
    assert (tree[2][1][1][1], str(tree[2][1][2][1])) == ((98, 99), "CATEGORY_DIGIT")
    low, high, body = tree[3][1]
    group, on, off, inner = body[0][1]
    assert (low, high, group, on, off) == (2, 3, None, re.IGNORECASE, 0)
    assert str(inner[0][0]) == "BRANCH"
    assert len(inner[0][1][1]) == 2
    assert (tree[4][1][0], tree[4][1][1:3], str(tree[4][1][3][0][0])) == (1, (0, 0), "ANY")


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "A",
        "/",
        r"\.",
        ".",
        "^",
        "$",
        "a*",
        "b?",
        "[ab]",
        "(?:a|b)",
        "[^a]",
        "(a)",
        "(?:^|/)",
        "x{0,2}",
        "(?i:a)",
        "(a.*)",
        r"\b",
        ".*",
        "a+",
        "[^a]*",
        ".*?",
    ]
)
TEXTS = st.text("abAB/.x\n", max_size=8)


@given(
    st.sampled_from(["", "(?i)", "(?m)", "(?s)"]),
    st.lists(PIECES, max_size=6).map("".join),
    st.lists(TEXTS, min_size=3, max_size=6),
    st.booleans(),
    st.booleans(),
)
@example("", r"(^|\.)a$", ["a", "x.a", "xa"], False, False)
@example("(?i)", "^a$", ["a", "A", "aa"], False, False)
@example("", "^a.*b$", ["ab", "a\nb", "a", "axb\n"], False, False)
@example("", "a.*b", ["ab", "a\nb", "a\nab"], False, False)
def test_plain_text_stands_for_the_regex(flags, source, texts, fold, ignore_case):
    try:
        found = made(flags + source, fold=fold, ignore_case=ignore_case)
    except FilterError:
        return
    test = predicate(typed.Test(typed.Read(FIELDS["host"]), "~", found, 0, 0))
    for text in texts:
        value = text.lower() if fold else text
        expected = found.pattern.search(value) is not None
        assert test(value) is expected
        assert not expected or (value.startswith(found.prefix) and value.endswith(found.suffix))


CLASS = st.text("ab-^][&~|\\.dwx", max_size=6)


@given(CLASS, st.text("ab-^][&~|\\.dwx9", min_size=1, max_size=1))
@example("+--", ",")
def test_classes_keep_their_meaning(inside, text):
    source = f"[{inside}]"
    try:
        spelled = dialect.translate(source).pattern
    except dialect.Refused:
        return
    with warnings.catch_warnings():
        # That a class could mean something else one day is what our spelling prevents.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            theirs = re.compile(source, re.ASCII)
        except re.error:
            return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = re.compile(spelled, re.ASCII)
    assert (ours.fullmatch(text) is None) == (theirs.fullmatch(text) is None)
