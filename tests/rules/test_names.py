"""`vars`, `lists`, `filters` and profiles: which value is in force, and which items of lists are good."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.limits import LIST_FILE, LIST_PROBLEMS
from rulesproxy.rules.load import RulesError, load_files, load_text
from rulesproxy.rules.model import Loaded
from rulesproxy.rules.ruleset import load_rules

HEAD = "version: 1\n"


def codes(text: str, *profiles: str, env: dict[str, str] | None = None) -> list[str]:
    return [each.code for each in load_text(HEAD + text, env=env or {}, profiles=profiles).diagnostics]


def tags(text: str, url: str, *profiles: str) -> list[str]:
    return list(load_rules(text=HEAD + text, profiles=profiles).run(HTTPFlow.make("GET", url)).flow.tags)


# Profiles

PROFILES = """vars:
  domain: example.test
  api: api.${vars.domain}
lists:
  hosts: [a.test]
filters:
  mine: host == $api or host in $hosts
profiles:
  staging:
    vars: {domain: staging.test}
  local:
    vars: {domain: local.test}
    lists: {hosts: [b.test]}
  narrow:
    filters: {mine: host == $api and path == "/x"}
  empty:
rules:
  - match: $mine
    tag: ${vars.api}
"""


@pytest.mark.parametrize(
    ("profiles", "url", "tag"),
    [
        ((), "http://api.example.test/", "api.example.test"),
        (("staging",), "http://api.staging.test/", "api.staging.test"),
        (("staging", "local"), "http://api.local.test/", "api.local.test"),
        (("local", "staging"), "http://api.staging.test/", "api.staging.test"),
        (("local", "staging"), "http://b.test/", "api.staging.test"),
        (("staging",), "http://a.test/", "api.staging.test"),
        (("local",), "http://a.test/", None),
        (("narrow",), "http://a.test/", None),
        (("narrow", "staging"), "http://api.staging.test/x", "api.staging.test"),
        (("empty",), "http://a.test/", "api.example.test"),
    ],
)
def test_values_of_profiles(profiles: tuple[str, ...], url: str, tag: str | None) -> None:
    assert tags(PROFILES, url, *profiles) == ([tag] if tag else [])


RULES = """rules:
  - match: ~all
    tag: always
  - match: ~all
    profile: chaos
    tag: chaos
  - match: ~all
    profile: [chaos, slow]
    tag: both
"""


@pytest.mark.parametrize(
    ("profiles", "found"),
    [
        ((), ["always"]),
        (("slow",), ["always", "both"]),
        (("chaos",), ["always", "chaos", "both"]),
        (("slow", "chaos", "slow"), ["always", "chaos", "both"]),
    ],
)
def test_rules_of_profiles(profiles: tuple[str, ...], found: list[str]) -> None:
    assert tags(RULES, "http://a.test/", *profiles) == found


@pytest.mark.parametrize(
    ("text", "profiles", "found"),
    [
        (RULES, ("chaso",), ["RP810"]),
        (PROFILES, ("stagin", "loca"), ["RP810", "RP810"]),
        ("rules: []\n", ("x",), ["RP810"]),
        (PROFILES + "    profile: stagng\n", (), ["RP810"]),
        (PROFILES + "    profile: other\n", (), []),
        (PROFILES + "    profile: []\n", (), ["RP103"]),
        (PROFILES + "    profile: {a: b}\n", (), ["RP103"]),
        # What is off is checked.
        ("rules:\n  - match: hots == 1\n    profile: x\n    block:\n", (), ["RP301"]),
        ("vars: {a: x}\nprofiles: {p: {vars: {a: '${method}'}}}\nrules:\n  - match: host == $a\n    block:\n", (), ["RP605"]),
        ("filters: {f: tls}\nprofiles: {p: {filters: {f: tsl}}}\nrules:\n  - match: $f\n    block:\n", (), ["RP215"]),
        ("filters: {f: tls}\nprofiles: {p: {filters: {f: 'host =='}}}\nrules:\n  - match: $f\n    block:\n", (), ["RP209"]),
        ("lists: {l: [a]}\nprofiles: {p: {lists: {l: a}}}\nrules:\n  - match: host in $l\n    block:\n", (), ["RP103"]),
        ("profiles: {p: {vars: {b: x}}}\n", (), ["RP808"]),
        ("profiles: {p: {rules: []}}\n", (), ["RP101"]),
        ("profiles: {p: {vras: {}}}\n", (), ["RP101"]),
        ("profiles: {p: x}\n", (), ["RP103"]),
        ("profiles: [p]\n", (), ["RP103"]),
        ("profiles:\n", (), []),
        ("profiles: {p: {vars: [a]}}\n", (), ["RP103"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_profiles(text: str, profiles: tuple[str, ...], found: list[str]) -> None:
    assert codes(text, *profiles) == found


def test_an_unknown_profile_says_which_there_are() -> None:
    def help(*profiles: str) -> str:
        return load_text(HEAD + PROFILES, profiles=profiles).diagnostics[0].help

    assert help("stagin") == "did you mean `staging`?"
    assert help("nothing-like-it") == "the profiles are empty, local, narrow, staging"
    with pytest.raises(RulesError, match="there is no profile `x`"):
        load_rules(text=HEAD, profiles=["x"])


def test_only_what_is_in_force_needs_the_environment() -> None:
    text = (
        "vars: {token: '${env:PROD}'}\nprofiles: {ci: {vars: {token: '${env:CI}'}}}\nrules:\n"
        "  - match: ~all\n    tag: ${vars.token}\n"
        "  - match: ~all\n    profile: chaos\n    tag: ${env:CHAOS}\n"
    )
    assert codes(text, env={"PROD": "1"}) == []
    assert codes(text, "ci", env={"CI": "1"}) == []
    assert codes(text, "ci", env={"PROD": "1"}) == ["RP605"]
    assert codes(text, env={"CI": "1"}) == ["RP605"]
    assert codes(text, "chaos", env={"PROD": "1"}) == ["RP605"]


# Names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("vars: {a: x}\n", ["RP801"]),
        ("lists: {a: [x]}\nfilters: {b: tls}\n", ["RP801", "RP801"]),
        ("vars: {a: x, b: '${vars.a}'}\nrules:\n  - match: path == $b\n    block:\n", ["RP315"]),
        ("vars: {a: x}\nfilters: {b: host == $a}\nrules:\n  - match: $b\n    block:\n", []),
        ("vars: {a: x}\nrules:\n  - match: ~all\n    log: ${vars.a}\n", []),
        ("vars: {a: x}\nrules:\n  - match: ~all\n    enabled: false\n    log: ${vars.a}\n", []),
        ("vars: {a: x}\nrules:\n  - match: ~all\n    profile: off\n    log: ${vars.a}\n", []),
        ("vars: {a: x}\nrules:\n  - match: {host: $a}\n    block:\n", []),
        ("filters: {f: host in $f}\n", ["RP313", "RP801"][:1]),
        # A rule with an error may be the one that uses it.
        ("vars: {a: x}\nrules:\n  - match: hots == $a\n    block:\n", ["RP301"]),
        ("vars: {a: x, b: $a}\nrules:\n  - match: host in {$a $b}\n    block:\n", ["RP605"]),
        ("vars: {a: x, b: '$a'}\nrules:\n  - match: host in {$a $b}\n    block:\n", []),
        ("vars: {b: $a}\nrules:\n  - match: host in {$b}\n    block:\n", []),
        ("rules:\n  - match: path like '/{host}'\n    redirect: /${host}\n", ["RP805"]),
        ("rules:\n  - match: path like '/{host}'\n    redirect: /x\n", []),
    ],
)
def test_names_are_used(text: str, found: list[str]) -> None:
    assert codes(text) == found


# Lists


def with_list(items: str, filter: str) -> Loaded:
    return load_text(f"{HEAD}lists:\n  l: {items}\nrules:\n  - match: {filter}\n    block:\n")


@pytest.mark.parametrize(
    ("items", "filter", "found"),
    [
        ("[a.test, b.test]", "host in $l", []),
        ("[a.test, A.test]", "host in $l", ["RP804"]),
        ("[münchen.test, xn--mnchen-3ya.test]", "host in $l", ["RP804"]),
        ("[a.test, b.a.test]", "host in $l", []),
        ("[a.test, b.a.test]", "host under $l", ["RP804"]),
        ("[.a.test, b.a.test]", "host under $l", ["RP804"]),
        ("[a.test, ba.test]", "host under $l", []),
        ("[a, A]", 'request.header["x"] in $l', []),
        ("[a, a]", 'request.header["x"] in $l', ["RP804"]),
        ("['a:1', b]", "host in $l", ["RP806"]),
        ("['a/', 'b c', 'http://c']", "host in $l", ["RP806"] * 3),
        ("['::1', '[::1]']", "host in $l", ["RP804"]),
        ("[10.0.0.1, 10.0.0.0/8]", "client.ip in $l", ["RP804"]),
        ("[10.0.0.0/8, 11.0.0.0/8, '::/0', 10.9.0.0/16, 'fe80::1']", "client.ip in $l", ["RP804", "RP804"]),
        ("[10.0.0.1..10.0.0.9, 10.0.0.5]", "client.ip in $l", []),
        ("[10.0.0.1, nobody, 10.0.0.0/99]", "client.ip in $l", ["RP806", "RP806"]),
        ("[a, b]", "client.ip in $l", ["RP313"]),
        ("[10.0.0.1, x]", "~all or client.ip in {1.1.1.1 $l}", ["RP806"]),
        ("['404', 5xx]", "response.status in $l", ["RP313"]),
        ("[]", "host in $l", []),
    ],
)
def test_items_are_what_the_filter_wants(items: str, filter: str, found: list[str]) -> None:
    assert [each.code for each in with_list(items, filter).diagnostics] == found


def test_a_bad_item_is_no_mistake_of_the_filter() -> None:
    loaded = with_list("[a.test, 'http://b.test']", "host under $l")
    assert [str(each.span) for each in loaded.diagnostics] == ["<text>:3:15"]
    assert loaded.diagnostics[0].help == "keep the host alone: `b.test`"


def listed(folder: Path, data: bytes, filter: str = "host in $l") -> Loaded:
    (folder / "l.txt").write_bytes(data)
    path = folder / "r.yaml"
    path.write_text(f"{HEAD}lists: {{l: {{file: l.txt}}}}\nrules:\n  - id: r\n    match: {filter}\n    block:\n")
    return load_files([path])


def test_a_list_file_has_comments_and_empty_lines(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf# hosts\r\n\r\n  a.test\t# one\r\nb.test\n#c.test\nd.test #\n"
    assert listed(tmp_path, data).diagnostics == ()
    rules = load_rules(tmp_path / "r.yaml")
    hosts = [host for host in "abcd" if rules.run(HTTPFlow.make("GET", f"http://{host}.test/")).hits]
    assert hosts == ["a", "b", "d"]


def test_a_hash_inside_a_word_is_part_of_it(tmp_path: Path) -> None:
    assert listed(tmp_path, b"a#b\n", 'query["x"] in $l').diagnostics == ()
    rules = load_rules(tmp_path / "r.yaml")
    assert rules.run(HTTPFlow.make("GET", "http://a.test/?x=a%23b")).hits


def test_a_bad_line_has_its_place(tmp_path: Path) -> None:
    loaded = listed(tmp_path, b"a.test\n\n   http://b.test/x # no\n0.0.0.0 ads.test\n")
    places = [(each.code, str(each.span).rpartition("/")[2], each.help) for each in loaded.diagnostics]
    assert places == [
        ("RP806", "l.txt:3:4", "keep the host alone: `b.test`"),
        ("RP806", "l.txt:4:1", "keep the name alone: `ads.test`"),
    ]


@pytest.mark.parametrize(
    ("data", "title"),
    [
        (b"a.test\nb\xff\n", "is not UTF-8: byte 0xFF in line 2"),
        (b"a.test\nb\x00c\n", "U+0000 in a list: this is no text file"),
        (b"x" * (LIST_FILE + 1), "is over 16 MiB"),
    ],
)
def test_a_file_that_is_no_list(tmp_path: Path, data: bytes, title: str) -> None:
    loaded = listed(tmp_path, data)
    assert [each.code for each in loaded.diagnostics] == ["RP806"]
    assert title in loaded.diagnostics[0].title


def test_thousands_of_duplicates_are_counted(tmp_path: Path) -> None:
    loaded = listed(tmp_path, b"a.test\nb.test\n" * 5000)
    assert [each.code for each in loaded.diagnostics] == ["RP804"] * (LIST_PROBLEMS + 1)
    assert loaded.diagnostics[-1].title == "9,988 more of this kind in the list `l`"
    assert loaded.ok


def test_a_long_list_is_read_in_time_that_grows_with_it(tmp_path: Path) -> None:
    """Looking for what covers what must not compare all with all: 20,000 networks would take minutes."""
    lines = "".join(f"10.{n >> 12 & 255}.{n >> 4 & 255}.{(n & 15) << 4}/28\n" for n in range(20_000))
    assert listed(tmp_path, lines.encode(), "client.ip in $l").diagnostics == ()


# Values in the place of numbers and words


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("block: ${vars.status}", []),
        ("respond: {status: '${vars.status}'}", []),
        ("respond: {status: '${env:STATUS}'}", []),
        ("sample: ${vars.share}\n    block:", []),
        ("nth: ['${vars.number}', 3]\n    block:", []),
        ("enabled: ${env:ON}\n    block:", []),
        ("delay: ${vars.time}", []),
        ("throttle: {profile: '${vars.line}'}", []),
        ("on-error: ${vars.word}\n    block:", ["RP104"]),
        ("block: ${vars.statsu}", ["RP605"]),
        ("block: ${env:NONE}", ["RP605"]),
        ("block: ${vars.word}", ["RP104"]),
        ("respond: {status: '5${vars.number}'}", ["RP103"]),
        ("respond: {status: '${method}'}", ["RP103"]),
    ],
)
def test_a_whole_value_may_be_a_variable(rule: str, found: list[str]) -> None:
    head = "vars: {status: '451', share: 5%, number: '2', time: 20ms, line: 3g, word: sometimes}\n"
    names = "".join(
        f"  - match: host == ${name}\n    block:\n" for name in ("status", "share", "number", "time", "line", "word")
    )
    text = f"{head}rules:\n{names}  - match: tls\n    {rule}\n"
    assert codes(text, env={"STATUS": "404", "ON": "false"}) == found


def test_a_variable_is_no_template_of_its_own() -> None:
    """A value that looks like a template, from the environment, is the text that it is."""
    text = "version: 1\nvars: {a: '${env:A}'}\nrules:\n  - match: ~all\n    tag: ['${vars.a}', '${env:A}']\n"
    loaded = load_text(text, env={"A": "${method}"})
    assert loaded.ok
    from rulesproxy.rules.ruleset import RuleSet

    assert RuleSet.of(loaded).run(HTTPFlow.make("GET", "http://a.test/")).flow.tags == ["${method}"]


def test_variables_in_conditions_and_lists() -> None:
    text = (
        "vars: {api: a.test, way: /x}\nlists: {l: ['${vars.api}', b.test]}\nrules:\n"
        "  - match: {host: '${vars.api}', path: '${vars.way}'}\n    tag: one\n"
        "  - match: {host: $l}\n    tag: two\n"
    )
    assert tags(text, "http://a.test/x") == ["one", "two"]
    assert tags(text, "http://b.test/x") == ["two"]
