"""What is kept back of TCP, and that it changes nothing: bytes in any pieces become what they become in one."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rulesproxy.filters import partial, shape
from rulesproxy.filters.ast import Text
from rulesproxy.filters.automaton import Costly
from rulesproxy.filters.regex import replacing
from rulesproxy.filters.shape import Pattern
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.rules.conversations.look_behind import Look, LookBehind
from rulesproxy.rules.ruleset import RulesError, RuleSet, load_rules

BOUND = 256


def behind(*looks: bytes | str, bound: int = BOUND, utf8: bool = False) -> LookBehind:
    """Texts are bytes, regexes are `str`."""
    found: list[Look] = []
    for look in looks:
        if isinstance(look, bytes):
            found.append(look)
        else:
            # A `$` of the dialect is the very end.
            spelled = look if "(?m)" in look else look.replace("$", r"\Z")
            found.append((Pattern.of(spelled, re.ASCII), utf8))
    return LookBehind(found, bound)


TEXTS = [
    (b"a sec", 3), (b"secret", 0), (b"secrets", 1), (b"", 0), (b"secretsecre", 5), (b"xaa", 0), (b"xa", 1), (b"xaaa", 1),
]  # fmt: skip


@pytest.mark.parametrize(("data", "size"), TEXTS)
def test_how_much_of_a_text_is_kept(data: bytes, size: int) -> None:
    assert behind(b"secret", b"aa", b"x").cut(data) == size


REGEXES = [
    (r"secret=\w+", b"a sec", 3), (r"secret=\w+", b"a secret=ab", 9), (r"secret=\w+", b"a secret=ab\r\n", 0),
    (r"secret=\w+", b"secrets\n", 0), (r"secret=\w+", b"", 0), (r"secret=\w+?", b"secret=a", 0),
    # What `re` would take first decides, not what else there could be.
    (r"<.*?>", b"x<ab>cd", 0), (r"<.*?>", b"x<ab>c<d", 2), (r"<.*>", b"x<ab>cd", 6), (r"ab|abc", b"ab", 0),
    (r"abc|ab", b"ab", 2), (r"(?:a|ab)(?:c|bcd)", b"ab", 2), (r"ab?", b"aa", 1), (r"a{2,3}", b"aaaa", 1),
    # A beginning inside of a match is none.
    ("aba", b"aba", 0), ("abab?", b"xabab", 0), ("(?i)SECRET", b"x sEc", 3), ("[0-9]{4}", b"12345", 1),
    # Where it begins and where it ends: at the edges of what has arrived together.
    ("^hel+o", b"hell", 4), ("^hel+o", b"a hell", 0), ("quit$", b"quit", 0), ("quit$", b"qui", 3), ("quit$", b"quit\n", 0),
    (r"foo\b", b"a foo", 3), (r"foo\b", b"foo ", 0), (r"\bfoo", b"xfo", 0), (r"\bfoo", b"-fo", 2), (r"o\Bx", b"foo", 1),
    ("(?m)^a.c", b"x\nab", 2), ("(?m)^a.c", b"xab", 0), ("(?m)a$\nb", b"a\n", 2), ("(?m)a$\nb", b"ab", 0),
    # Everything fits: only the bound remains.
    (r"\w+@", b"x" * 1000, 256), (r"(?s)x.*", b"x" * 200, 200), (r"(?s)x.*", b"x" * 1000, 0), (r"[^z]{300}z", b"y" * 1000, 256),
    # Nothing is everywhere.
    ("a*", b"aaa", 0), ("(?:ab)?", b"a", 0),
]  # fmt: skip


@pytest.mark.parametrize(("regex", "data", "size"), REGEXES)
def test_how_much_of_a_match_is_kept(regex: str, data: bytes, size: int) -> None:
    assert behind(regex).cut(data) == size


def test_a_cut_neither_hides_nor_makes_a_match_of_something_else() -> None:
    # The beginning of `ac` is inside of a match, and waits together with it.
    assert behind(b"aba", b"ac").cut(b"xaba") == 3
    assert behind(r"foo\b", "ba+r").cut(b"fooba") == 5
    assert behind("foo$", "ba+r").cut(b"fooba") == 5
    # So far back that it is let go instead.
    assert behind("x[ab]{300}", b"ac").cut(b"x" + b"ba" * 150) == 0


def test_half_a_character_waits_where_a_match_can_begin_with_it() -> None:
    euro = "€".encode()
    assert behind("€ uro", utf8=True).cut(b"a " + euro[:2]) == 2
    assert behind("€ uro", utf8=True).cut(b"a " + euro + b" u") == 5
    assert behind("a.c", utf8=True).cut(b"xa" + euro[:1]) == 2
    assert behind("secret", utf8=True).cut(b"a " + euro[:2]) == 0
    assert behind("secret€").cut(b"secret" + "€".encode("latin-1", "ignore")) == 6


def test_what_is_kept_is_bounded() -> None:
    assert behind(b"x" * 2000).cut(b"x" * 1999) == 256
    assert behind("x{500}").cut(b"x" * 499) == 256
    assert not behind(b"x")
    assert not behind("x*")
    assert not behind(b"secret", "se+cret", bound=0)
    # Too large for our automaton.
    assert not behind("[ab]{2000}")


def test_many_texts_are_looked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "REGEX_STEPS", 40)
    many = behind(*[b"word-%d-end" % number for number in range(1000)], r"(?i)other-\d+-end")
    assert many.cut(b"a word-999-e") == 10
    assert many.cut(b"a word-1000-e") == 0
    # More states than are remembered: it begins anew, and says the same.
    for number in range(0, 2000, 9):
        assert many.cut(b"word-%d-" % number) == (len(b"word-%d-" % number) if number < 1000 else 0)
        assert many.cut(b"a OTHER-%d" % number) == len(b"OTHER-%d" % number)


def test_hostile_text_takes_no_quadratic_time() -> None:
    slow = behind(r"a.*b.*c|a.*d|a", "(?:a.*z|a)")
    slow.cut(b"a" * 100_000)
    slow.cut(b"ab" * 50_000)


def test_what_one_text_may_cost_is_bounded() -> None:
    # Nearly every character of such a text leads to a state of 300 threads that nobody has seen before.
    dice = random.Random(1)
    text = "".join(dice.choices("ab", k=65536))
    sought = partial.Matches(Pattern.of("(?s)a.{0,300}b", 0))
    automaton, most = sought._starts, 20 * len(text)
    assert automaton is not None
    for _ in range(4):
        before = automaton.spent
        with pytest.raises(Costly):
            list(sought.spans(text))
        assert automaton.spent - before < most
        # The states are made for once; behind that it is given up soon.
        most = 2 * len(text)
    assert behind("(?s)a.{0,300}b", b"secret").cut(text.encode()) == 0
    assert behind("(?s)a.{0,300}b").cut(text[:100].encode() + b"cab") > 0
    # Each cut would make a match: not all of them are tried in a long text.
    assert behind(r"a\b").cut(b"b" + b" a" * 8 + b"a" * 200) == 201
    assert behind(r"a\b", r"b\b", r"c\b").cut(b"a" * 65536) == 0


# The same in any pieces


def conversation() -> TCPFlow:
    return TCPFlow(ClientConn(("127.0.0.1", 1)), ServerConn(("127.0.0.1", 2)))


def stream(
    rules: RuleSet,
    pieces: Iterable[bytes],
    from_client: bool = False,
    late: frozenset[int] = frozenset(),
    flow: TCPFlow | None = None,
) -> bytes:
    """What goes on of bytes that come in pieces, the way `TCPLayer` handles them; behind the `late` ones comes a pause."""
    flow = flow or conversation()
    sent, held = b"", b""

    def show(data: bytes, whole: bool) -> None:
        nonlocal sent, held
        message = TCPMessage(from_client, data)
        message.whole = whole
        flow.messages.append(message)
        assert rules.tcp_message(flow) is None
        sent += message.content
        held = message.held
        assert len(held) <= BOUND
        assert not (whole and held)

    for number, piece in enumerate(pieces):
        show(held + piece, False)
        if number in late and held:
            show(held, True)
    if held:
        show(held, True)
    return sent


def rule_set(*replaced: str) -> RuleSet:
    return load_rules(
        text="version: 1\nrules:\n"
        + "".join(
            f"  - match: ~tcp # rulesproxy: ignore\n    rewrite: {{message: {{replace: [{one}]}}}}\n"
            for one in replaced
        )
    )


def as_regex(source: str) -> str:
    return f"{{regex: '{source}', with: '[\\g<0>]'}}"


ATOMS = [
    "a", "b", "ab", "abc", "c", ".", "[ab]", "[^a]", r"\w", "(?:a|b)", "(?:ab|c)", "(?:b|bc|a)", "é", "[^é]", r"\n",
]  # fmt: skip
REPEATS = ["", "", "", "+", "?", "*", "+?", "*?", "{2}", "{1,3}", "{0,2}?"]
SOURCES = st.lists(
    st.tuples(st.sampled_from(ATOMS), st.sampled_from(REPEATS)).map("".join), min_size=1, max_size=4
).map("".join)
ALPHABET = st.sampled_from([b"a", b"b", b"c", "é".encode(), b"\n", b"ab", b"\xc3", b" "])
PIECES = st.lists(st.lists(ALPHABET, max_size=6).map(b"".join), max_size=6)


def usable(source: str) -> bool:
    try:
        replacing(Text(source, 0, len(source), 0))
    except Exception:
        return False
    return shape.width(shape.parse(source, re.ASCII)) > 0


@settings(max_examples=400, deadline=None)
@given(SOURCES.filter(usable), PIECES, st.binary(max_size=4))
def test_a_regex_in_any_pieces_is_the_same_as_in_one(source: str, pieces: list[bytes], end: bytes) -> None:
    rules = rule_set(as_regex(source))
    whole = b"".join([*pieces, end])
    expected = re.sub(source, r"[\g<0>]", whole.decode("utf-8", "surrogateescape"), flags=re.ASCII)
    assert stream(rules, [whole]) == expected.encode("utf-8", "surrogateescape")
    assert stream(rules, [*pieces, end]) == stream(rules, [whole])
    assert stream(rules, [whole[at : at + 1] for at in range(len(whole))]) == stream(rules, [whole])


@settings(max_examples=200, deadline=None)
@given(st.lists(SOURCES.filter(usable), min_size=1, max_size=3), PIECES, st.frozensets(st.integers(0, 6)))
def test_pauses_lose_nothing_and_keep_the_order(sources: list[str], pieces: list[bytes], late: frozenset[int]) -> None:
    rules = rule_set(*[as_regex(source) for source in sources])
    marked = stream(rules, pieces, late=late)
    assert marked.replace(b"[", b"").replace(b"]", b"") == b"".join(pieces)


@settings(max_examples=200, deadline=None)
@given(SOURCES.filter(usable), PIECES, st.booleans())
def test_a_filter_finds_in_any_pieces_what_it_finds_in_one(source: str, pieces: list[bytes], from_client: bool) -> None:
    # A letter beyond ASCII makes a filter read text instead of bytes.
    text = f"version: 1\nrules:\n  - id: r\n    match: 'tcp.data ~ r\"{source}\"'\n    tag: x\n"
    try:
        rules = load_rules(text=text)
    except RulesError:
        return

    def found(pieces: Iterable[bytes]) -> bool:
        flow = conversation()
        stream(rules, pieces, from_client, flow=flow)
        return flow.hits == ["r"]

    whole = b"".join(pieces)
    assert found(pieces) == found([whole]) == found([whole[at : at + 1] for at in range(len(whole))])


RULES = {
    'tcp.data contains "secret"': (True, True), 'tcp.from_client and tcp.data ~ "sec+ret"': (False, True),
    'not tcp.from_client and (tcp.data ~ "sec+ret" or tcp.index == 1)': (True, False), '~bq "SECRET"': (False, True),
    '~bs "SECRET"': (True, False), '~b "SECRET"': (True, True), '~tcp and tcp.data ~* "SE.RET"': (True, True),
    'tcp.data startswith "secret"': (True, True), 'tcp.data == "secret"': (True, True),
    'tcp.data endswith "secret"': (True, True), 'not tcp.data ~ "secret"': (True, True), 'len(tcp.data) > 3': (False, False),
    'lower(tcp.data) contains "secret"': (False, False), 'tcp.from_client and not tcp.from_client and ~b "secret"': (False, False),
    'tcp.data in {"secret" "sec"}': (False, False),
}  # fmt: skip


@pytest.mark.parametrize("match", RULES)
def test_each_side_keeps_back_what_its_own_rules_look_for(match: str) -> None:
    rules = load_rules(text=f"version: 1\nrules:\n  - match: '{match}' # rulesproxy: ignore\n    drop-message:\n")
    flow = conversation()
    kept = []
    for from_client in (False, True):
        flow.messages.append(TCPMessage(from_client, b"sec"))
        assert rules.tcp_message(flow) is None
        kept.append(flow.messages[-1].held == b"sec")
    assert tuple(kept) == RULES[match]


def test_bytes_are_not_cut_where_that_cuts_a_character_that_a_regex_of_text_has_found() -> None:
    kelvin = "\u212a".encode()
    looks: list[Look] = [(Pattern.of(".aa.", re.ASCII), False), (Pattern.of(".aa.", re.ASCII), True)]
    # The last byte of the character may be the first of a match of bytes.
    assert LookBehind(looks, BOUND).cut(b"aaa" + kelvin) == 6
