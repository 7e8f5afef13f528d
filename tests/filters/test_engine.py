"""The engines: all say the same as `re`, and what runs on `re` takes linear time there."""

import re
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rulesproxy.filters import automaton, engine, shape, typed
from rulesproxy.filters.ambiguity import slowness
from rulesproxy.filters.ast import Text
from rulesproxy.filters.automaton import Automaton
from rulesproxy.filters.charset import characters, holds
from rulesproxy.filters.compile import predicate
from rulesproxy.filters.fields import FIELDS
from rulesproxy.filters.problem import FilterError
from rulesproxy.filters.regex import regex, replacing
from tests.support.engines import STATES, state


def made(source, **more):
    return regex(Text(source, 0, len(source), 0), **more)


def finds(found, text):
    return predicate(typed.Test(typed.Read(FIELDS["url"]), "~", found, 0, 0))(text)


PIECES = st.sampled_from([
    "a", "b", "A", "/", r"\.", ".", "^", r"\Z", "a*", "b?", "[ab]", "(?:a|b)", "[^a]", "(a)", "(?:^|/)", "x{0,2}", "(?i:a)", "(a.*)",
    r"\b", r"\B", ".*", "a+", "[^a]*", ".*?", "\n", "é", "[é-ü]", "[^é]", r"\w+", r"\W", r"\d", r"\s*", "(?:ab|)", "(?m:^)", "(?m:$)",
    "(?:a|é)+", "k", "K", "(?i:k)", "(?i:[^k])", "(?i:[j-L])", "(?s:.)", "a{2,5}?", "[^\x00-\U0010ffff]", "(?:a*b)*", "(?:a+?|b)*c",
])  # fmt: skip
PATTERNS = st.lists(PIECES, min_size=1, max_size=6).map("".join)
FLAGS = st.sampled_from([0, re.IGNORECASE, re.DOTALL, re.MULTILINE])
TEXTS = st.lists(st.text("abABkK/.x\né\u212a\udcff \u0663_\r\x00", max_size=9), min_size=6, max_size=6)


def compiled(source, flags):
    try:
        return re.compile(source, flags | re.ASCII)
    except re.error:
        return None


@settings(max_examples=400)
@given(PATTERNS, FLAGS, TEXTS)
@example("a$", 0, ["a\n"])
@example(r"\B", 0, ["", "aé"])
def test_the_automaton_and_re_agree(source, flags, texts):
    pattern = compiled(source, flags)
    if pattern is None:
        return
    tree = shape.parse(source, pattern.flags)
    forward, reverse = Automaton(tree, pattern.flags), Automaton(tree, pattern.flags, reverse=True)
    for text in texts:
        starts = [at for at in range(len(text) + 1) if pattern.match(text, at)]
        assert forward.search(text) is bool(starts)
        assert reverse.first(text) == (starts[0] if starts else -1)
        assert [at for at, here in enumerate(reverse.starts(text)) if here] == starts


@pytest.mark.parametrize("kept", [1, 2, 3, 7])
@settings(max_examples=60)
@given(source=PATTERNS, text=st.text("ab/\né", min_size=1, max_size=30))
def test_what_is_forgotten_is_worked_out_again(kept, source, text):
    pattern = compiled(source, 0)
    if pattern is None:
        return
    tree = shape.parse(source, pattern.flags)
    before, automaton.REGEX_STEPS = automaton.REGEX_STEPS, kept
    try:
        forward, reverse = Automaton(tree, pattern.flags), Automaton(tree, pattern.flags, reverse=True)
        for _ in range(2):
            found = pattern.search(text)
            assert forward.search(text) is (found is not None)
            assert reverse.first(text) == (found.start() if found else -1)
            assert len(forward._rows) <= kept + 4
    finally:
        automaton.REGEX_STEPS = before


@settings(max_examples=400)
@given(PATTERNS, FLAGS, TEXTS)
@example(r"a\B", 0, ["aé"])
@example("(?i)k", 0, ["\u212a"])
@example("[^a]", 0, ["\x00", "\udcff", "\U0010ffff"])
def test_re2_and_re_agree(source, flags, texts):
    pytest.importorskip("re2")
    pattern = compiled(source, flags)
    search = engine.re2_search(shape.parse(source, pattern.flags), pattern.flags) if pattern else None
    if search is None:
        return
    for text in texts:
        if not any("\ud800" <= char <= "\udfff" for char in text):
            assert search(text) is (pattern.search(text) is not None), text


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from(["a", "^", "$", r"\r", r"\n", ".*", ".", r"\s*", "[^a]", "b", ":", "a$\r\nb", r"\w+"]), min_size=1, max_size=6).map("".join),
    TEXTS | st.lists(st.text("ab:\r\n", max_size=12), min_size=6),
)  # fmt: skip
def test_lines_of_header_sections(source, texts):
    try:
        found = made(source, lines=True, ignore_case=True)
    except FilterError:
        return
    tree = shape.parse(found.pattern.pattern, found.pattern.flags)
    forward = Automaton(tree, found.pattern.flags, lines=True)
    reverse = Automaton(tree, found.pattern.flags, reverse=True, lines=True)
    for text in texts:
        match = found.pattern.search(text)
        assert forward.search(text) is (match is not None)
        assert reverse.first(text) == (match.start() if match else -1)


DIALECT = st.sampled_from([
    "a", "B", "/", r"\.", ".", "^", "$", "a*", "b?", "[ab]", "(?:a|b)", "[^a]", "(?P<x>a)", "(?P<y>b+)", "(?P<z>.*)", "(?:^|/)", "x{0,3}",
    "x{9,}", "(?i:a)", r"\b", r"\B", ".*", "a+", "[^/]*", ".*?", "é", r"\w+", r"\d+", r"\s*", "(?:ab|)", "(?:a.*)?", "k", "[a-c]{1,12}",
])  # fmt: skip


@pytest.mark.parametrize("re2", STATES)
@settings(max_examples=300)
@given(
    source=st.tuples(st.sampled_from(["", "(?i)", "(?m)", "(?s)"]), st.lists(DIALECT, min_size=1, max_size=7)).map(lambda parts: parts[0] + "".join(parts[1])),
    texts=TEXTS, options=st.fixed_dictionaries({}, optional={"ignore_case": st.booleans(), "fold": st.booleans(), "long": st.booleans(), "dot_all": st.booleans()}),
)  # fmt: skip
def test_no_engine_changes_a_result(re2, source, texts, options):
    with state(re2):
        try:
            found = made(source, **options)
        except FilterError:
            return
        for text in texts:
            value = text.lower() if options.get("fold") else text
            match = found.pattern.search(value)
            assert finds(found, value) is (match is not None), value
            assert (
                found.pattern.search(value) is None
                or not found.texts
                or any(each in value.lower() for each in found.texts)
                or not value.isascii()
            )
            assert found.captures(value) == (match.groupdict() if match else None)


@settings(max_examples=300)
@given(st.lists(DIALECT, min_size=1, max_size=6).map("".join), TEXTS, st.sampled_from(["", "-", r"<\g<0>>"]))
@example("a.*?b", ["axb aaxb\nab", "aab"], r"<\g<0>>")
@example("a[^b]*b", ["axb aab\nab", "aaa"], "-")
@example("[^/]+/x", ["a/xb/x"], "-")
def test_all_matches_are_replaced_alike(source, texts, new):
    with state("no re2"):
        try:
            pattern, replacer = replacing(Text(source, 0, len(source), 0))
        except FilterError:
            return
        for text in texts:
            assert replacer.sub(new, text) == pattern.sub(new, text)
            assert replacer.sub(lambda match: match[0] * 2, text) == pattern.sub(lambda match: match[0] * 2, text)


# Which engine


@pytest.mark.parametrize(
    ("source", "runs"),
    [
        ("foo", "plain"), ("^/api/.*/users$", "plain"), ("foo.*bar", "plain"), ("(?i)foo.*bar.*baz", "plain"), ("(?i)password", "plain"),
        (r"\d+", "re"), (r"^/v\d+/users/\d+", "re"), (r"\d+x", "re"), ("token=[a-f0-9]+&", "re"), (r"\.(?:png|jpe?g)(?:\?|$)", "re"),
        (r"^https?://[^/]+/v\d+/.*\.json$", "re"), (r"^(?:[^/]+\.)?a\.test$", "re"), ("a|b", "re"),
        (r"\d+-\d+", "re"), (r"[\w.]+@[\w.]+\.com", "re"), (r"x\d+-", "re"), (r"[\w]\w+-", "linear"), ("foo.*[0-9]bar", "linear"), (r"/api/.*/users/[0-9]+", "linear"),
        (r"^/api/.*/users/.*/[0-9]+$", "linear"), (r"^\w+\w+\w+-", "linear"), (r"\s+x", "re"), ("name=(?P<a>[^&]+)&", "linear"),
        (r"\d{1,64}\d{1,64}\d{1,64}x", "linear"), ("<[^>]*\\s[^>]*\\son\\w+\\s*=", "linear"), ("x[0-9].*$", "linear"),
    ],
)  # fmt: skip
def test_what_runs_a_regex(source, runs):
    found = made(source)
    plain = found.shape is not None or found.pieces is not None
    assert ("plain" if plain else "linear" if found.test is not None else "re") == runs


@pytest.mark.parametrize("source", [
    "(?P<a>.*)-(?P<b>.*)x", "^(?P<a>.*)-(?P<b>.*)-(?P<c>.*)x", r"(?P<a>\w+)\w+-",
])  # fmt: skip
def test_captures_that_could_take_quadratic_time_are_refused(source):
    """On bodies, which can be long; elsewhere they are found by walking."""
    with pytest.raises(FilterError, match="captures of this regex can take quadratic time"):
        made(source, long=True)
    assert made(source).groups_in is not None


@pytest.mark.parametrize("source", ["a(.*b)?", "a.*[bc].*d", r"(\d+-)?", "b(?:[ab]*x)*", "(?:a.*b|c)"])
def test_replacements_that_could_take_quadratic_time_are_refused(source):
    with pytest.raises(FilterError, match="replacing with this regex can take quadratic time"):
        replacing(Text(source, 0, len(source), 0))


@pytest.mark.parametrize(
    "source",
    [
        "<script>.*?</script>",
        r"id=[^&]+&",
        r"\d+-\d+",
        '"[^"]*"',
        r"\w+",
        "a.*b",
        "https?://[^/]+/",
        ".*",
        ".*b",
        "a(?:,[0-9]+x)*y?",
    ],
)
def test_replacements_that_are_allowed(source):
    replacing(Text(source, 0, len(source), 0))


def test_captures_inside_rounds_that_may_be_empty_are_refused():
    with pytest.raises(FilterError, match="captures of this regex can take quadratic time"):
        made(r"^.*/.*(?:(?P<a>x)?){2}y")


@pytest.mark.parametrize(
    ("source", "text", "groups"),
    [
        ("^/(?P<a>.*)/(?P<b>.*)[.]html", "/x/y/z.html/w", {"a": "x/y", "b": "z"}),
        ("^/(?P<a>.*?)/(?P<b>.*)[.]html", "/x/y/z.html/w", {"a": "x", "b": "y/z"}),
        ("(?P<a>[0-9]+)(?P<b>[0-9]*)-(?P<c>x)?", "a12-12-x", {"a": "12", "b": "", "c": None}),
        (r"(?P<a>\w+)\w+-", "ab abcd-", {"a": "abc"}),
    ],
)
def test_captures_are_those_of_re(source, text, groups):
    with state("no re2"):
        found = made(source)
        assert found.groups_in is not None
        assert found.captures(text) == groups
        assert found.captures("/" * 300) is None
        assert found.captures(text + "/" * 300) == found.pattern.search(text + "/" * 300).groupdict()


def test_a_large_regex_that_re_is_slow_for_is_refused():
    with pytest.raises(FilterError, match="too large"):
        made(r"\d{1,900}\d{1,900}x")


@pytest.mark.parametrize("re2", STATES)
def test_bytes_that_are_no_text(re2):
    """They are kept as lone surrogates, which RE2's texts cannot hold."""
    with state(re2):
        found = made(r"[\w.]+@[^a]\.com", long=True)
        assert finds(found, "\udcff" * 10 + "me@\udce9.com")
        assert not finds(found, "\udcff" * 10 + "me@a.com")


# Linear time


class Steps:
    """A backtracking matcher that does what `re` does, and counts the characters that it looks at."""

    def __init__(self, tree, flags):
        self.tree, self.flags = list(tree), flags

    def search(self, text):
        self.text, self.count = text, 0
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(20_000)
        try:
            for start in range(len(text) + 1):
                if self.run(self.tree, self.flags, start, lambda at: True):
                    break
        finally:
            sys.setrecursionlimit(limit)
        return self.count

    def run(self, items, flags, at, then):
        if not items:
            return then(at)
        (op, argument), rest = items[0], items[1:]
        name = str(op)

        def go_on(end):
            return self.run(rest, flags, end, then)

        if name == "SUBPATTERN":
            return self.run(list(argument[3]), (flags | argument[1]) & ~argument[2], at, go_on)
        if name == "BRANCH":
            return any(self.run(list(arm), flags, at, go_on) for arm in argument[1])
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            return self.rounds(
                name, low, float("inf") if str(high) == "MAXREPEAT" else high, list(body), flags, at, 0, go_on
            )
        if name == "AT":
            return (at == (0 if str(argument) == "AT_BEGINNING" else len(self.text))) and go_on(at)
        self.count += 1
        if at < len(self.text) and holds(characters(name, argument, flags), ord(self.text[at])):
            return go_on(at + 1)
        return False

    def rounds(self, name, low, high, body, flags, at, done, then):
        def again():
            return done < high and self.run(
                body, flags, at,
                lambda end: (end > at or done < low) and self.rounds(name, low, high, body, flags, end, done + 1, then),
            )  # fmt: skip

        if done < low:
            return again()
        return again() or then(at) if name == "MAX_REPEAT" else then(at) or again()


SIMPLE = st.sampled_from(
    ["a", "b", "c", "[ab]", "[^a]", ".", "a*", "b+", "[ab]*", "[^c]*", ".*", "c?", "(?:a|bc)", "(?:ab)*", "(?:a|b)+", "a*?", ".+?", "(?:a[bc]*)?", "(?:,a)*", "(?:b*c)*", "b{9,}"]
)  # fmt: skip
WORDS = st.text("abc,", min_size=1, max_size=4)


@settings(max_examples=400)
@given(
    st.booleans(),
    st.lists(SIMPLE, min_size=1, max_size=5).map("".join),
    st.booleans(),
    st.text("abc,", max_size=3),
    WORDS,
    st.text("abcx,", max_size=3),
)
@example(False, "a*b", False, "", "a", "")
@example(True, "[ab]*a[ab]*c", False, "", "ab", "")
def test_what_is_called_linear_is_linear(anchored, source, ended, head, word, tail):
    source = "^" * anchored + source + r"\Z" * ended
    tree = shape.parse(source, re.ASCII)
    if slowness(tree, re.ASCII) > 1:
        return
    steps = Steps(tree, re.ASCII)
    costs = [steps.search(head + word * times + tail) for times in (20, 40, 80)]
    # Quadratic time would grow by three times as much in the second step as in the first, and linear time by twice.
    assert costs[2] - costs[1] <= 2.2 * (costs[1] - costs[0]) + 40, costs


def test_the_count_of_steps_sees_quadratic_time():
    """The premise of the test above."""
    for source in ("a*b", "^[ab]*a[ab]*c", "a.*[bc]x"):
        steps = Steps(shape.parse(source, re.ASCII), re.ASCII)
        word = "ab" if "[ab]" in source else "a"
        costs = [steps.search(word * times) for times in (20, 40, 80)]
        assert costs[2] - costs[1] > 3 * (costs[1] - costs[0])
        assert slowness(shape.parse(source, re.ASCII), re.ASCII) > 1


def test_short_matches_need_no_automaton() -> None:
    for source in ("[0-9a-f]{32}", "(?s)user.{0,100}pass", "a(?:.{50}b)?"):
        assert slowness(shape.parse(source, re.ASCII), re.ASCII, all_matches=True) == 1
    # Longer ones do, and those in which two repeats share a text.
    for source in ("[0-9a-f]{300}", "a.{0,300}b", "a.*b", "a.{0,100}b.{0,100}c"):
        assert slowness(shape.parse(source, re.ASCII), re.ASCII, all_matches=True) > 1
