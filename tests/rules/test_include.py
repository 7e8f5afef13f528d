"""`include`: whose rules stand where, what is handed down, and what becomes of files that cannot be read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.limits import INCLUDE_DEPTH, RULE_FILES, SEARCHED_FOLDERS
from rulesproxy.rules.load import load_files, load_text
from rulesproxy.rules.model import Loaded
from rulesproxy.rules.ruleset import RuleSet, load_rules


def rule(id: str, match: str = "~all") -> str:
    return f"  - id: {id}\n    match: {match}\n    tag: {id}\n"


def write(folder: Path, **files: str) -> Path:
    """Write rule files: `a__b` is `a/b.yaml`; a text that does not start with `version` is a list of rules."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text.startswith("version") else f"version: 1\nrules:\n{text}")
    return folder / "main.yaml"


def ids(loaded: Loaded) -> list[str]:
    assert [str(each) for each in loaded.diagnostics if each.severity == "error"] == []
    return [each.name for each in loaded.rules]


def codes(loaded: Loaded) -> list[str]:
    return [each.code for each in loaded.diagnostics]


def hits(rules: RuleSet, url: str, method: str = "GET") -> list[str]:
    return list(rules.run(HTTPFlow.make(method, url)).hits)


# Where rules stand


def test_included_rules_stand_exactly_there(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main=rule("first") + "  - include: [b.yaml, more/a.yaml]\n" + rule("last"),
        b=rule("b1") + rule("b2"),
        more__a="  - include: ../c.yaml\n" + rule("a"),
        c=rule("c"),
    )
    assert ids(load_files([main])) == ["first", "b1", "b2", "c", "a", "last"]


@pytest.mark.parametrize(
    ("include", "found"),
    [
        ("sub", ["sub-a", "sub-b"]),
        ("sub/", ["sub-a", "sub-b"]),
        ("sub/*.yaml", ["sub-a", "sub-b"]),
        ("sub/[b-z].yaml", ["sub-b"]),
        ("sub/?.yaml", ["sub-a", "sub-b"]),
        ("sub/**/*.yaml", ["sub-a", "sub-b", "deep"]),
        ("sub/**", ["sub-a", "sub-b", "deep"]),
        ("'*/deep/c.yaml'", ["deep"]),
        ("'*.yaml'", ["other"]),
        ("./other.yaml", ["other"]),
    ],
)
def test_what_an_include_means(tmp_path: Path, include: str, found: list[str]) -> None:
    main = write(
        tmp_path,
        main=f"  - include: {include}\n",
        sub__a=rule("sub-a"),
        sub__b=rule("sub-b"),
        sub__deep__c=rule("deep"),
        other=rule("other"),
    )
    (tmp_path / "sub" / ".hidden.yaml").write_text("no: yaml: at: all")
    (tmp_path / "sub" / "folder.yaml").mkdir()
    assert ids(load_files([main])) == found


def test_an_absolute_path_is_one(tmp_path: Path) -> None:
    main = write(tmp_path, main=f"  - include: {tmp_path}/other.yaml\n", other=rule("other"))
    assert ids(load_files([main])) == ["other"]


def test_a_text_includes_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, other=rule("other"))
    monkeypatch.chdir(tmp_path)
    assert ids(load_text("version: 1\nrules:\n  - include: other.yaml\n")) == ["other"]


def test_a_file_may_be_included_twice_but_ids_are_unique(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: [a.yaml, b.yaml, b.yaml]\n", a="  - include: b.yaml\n", b=rule("b"))
    loaded = load_files([main])
    assert codes(loaded) == ["RP110"]
    assert "`id` beside one `include`" in loaded.diagnostics[0].help
    assert not loaded.diagnostics[0].labels


def test_a_name_in_front_of_ids_tells_them_apart(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="  - include: a.yaml\n    id: one\n  - include: a.yaml\n    id: two\n  - include: a.yaml\n",
        a="  - include: b.yaml\n    id: in\n" + rule("a"),
        b=rule("b") + "  - match: tls\n    tag: x\n",
    )
    assert ids(load_files([main])) == [
        "one/in/b", "one/in/b.yaml:6", "one/a", "two/in/b", "two/in/b.yaml:6", "two/a", "in/b", "in/b.yaml:6", "a",
    ]  # fmt: skip


def test_rules_without_ids_have_names_of_their_own(tmp_path: Path) -> None:
    text = "  - match: ~all\n    tag: x\n"
    main = write(tmp_path, main="  - include: [a.yaml, sub/a.yaml]\n" + text, a=text, sub__a=text)
    names = ids(load_files([main]))
    assert len(set(names)) == 3
    assert names[0] == "a.yaml:3"


# What is handed down

PACK = """version: 1
vars:
  host: "*"
  target: www.${vars.host}
lists:
  hosts: [none.test]
filters:
  scope: host glob $host
rules:
  - id: p
    match: $scope or host in $hosts
    tag: ${vars.target}
"""


def including(tmp_path: Path, beside: str, head: str = "") -> RuleSet:
    main = write(tmp_path, main=f"version: 1\n{head}rules:\n  - include: pack.yaml\n{beside}", pack=PACK)
    return load_rules(main)


@pytest.mark.parametrize(
    ("beside", "head", "good", "bad"),
    [
        ("", "", "http://x.test/", ""),
        ("    vars: {host: a.test}\n", "", "http://a.test/", "http://b.test/"),
        ("    vars: {host: '${vars.api}'}\n", "vars: {api: a.test}\n", "http://a.test/", "http://b.test/"),
        ("    filters: {scope: path == '/x'}\n", "", "http://b.test/x", "http://b.test/"),
        ("    lists: {hosts: [b.test]}\n    vars: {host: a.test}\n", "", "http://b.test/", "http://c.test/"),
        ("    filters: {scope: host == $host}\n", "vars: {host: mine.test}\n", "http://mine.test/", "http://x.test/"),
        (
            "    filters: {scope: $mine and path == '/x'}\n",
            "lists: {scope: [a.test]}\nfilters: {hosts: host in $scope, mine: not $hosts}\n",
            "http://b.test/x", "http://a.test/x",
        ),
    ],
)  # fmt: skip
def test_values_beside_an_include(tmp_path: Path, beside: str, head: str, good: str, bad: str) -> None:
    rules = including(tmp_path, beside, head)
    assert rules.warnings == ()
    assert hits(rules, good) == ["p"]
    assert not bad or hits(rules, bad) == []


def test_a_handed_variable_counts_for_those_made_of_it(tmp_path: Path) -> None:
    flow = HTTPFlow.make("GET", "http://a.test/")
    assert including(tmp_path, "    vars: {host: a.test}\n").run(flow).flow.tags == ["www.a.test"]


def test_a_file_sees_its_own_names_only(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="version: 1\nvars: {api: a.test}\nrules:\n  - include: other.yaml\n" + rule("m", "host == $api"),
        other=rule("o", "host == $api"),
    )
    assert codes(load_files([main])) == ["RP312"]


def test_filters_are_handed_through_several_files(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="version: 1\nvars: {x: a.test}\nrules:\n  - include: b.yaml\n    filters: {scope: host == $x}\n",
        b="version: 1\nvars: {x: /b}\nfilters: {scope: ~all}\nrules:\n"
        "  - include: c.yaml\n    filters: {scope: $scope and path == $x}\n",
        c="version: 1\nvars: {x: GET}\nfilters: {scope: ~all}\nrules:\n" + rule("c", "$scope and method == $x"),
    )
    rules = load_rules(main)
    assert rules.warnings == ()
    assert hits(rules, "http://a.test/b") == ["c"]
    assert [hits(rules, "http://a.test/x"), hits(rules, "http://b.test/b")] == [[], []]
    assert hits(rules, "http://a.test/b", "PUT") == []


@pytest.mark.parametrize(
    ("beside", "code"),
    [
        ("    vars: {hots: a.test}\n", "RP808"),
        ("    vars: {scope: a.test}\n", "RP808"),
        ("    vars: {host: '${method}'}\n", "RP605"),
        ("    vars: {host: [a, b]}\n", "RP109"),
        ("    lists: {hosts: a.test}\n", "RP103"),
        ("    lists: {hosts: ['http://a.test']}\n", "RP806"),
        ("    filters: {scope: hots == 1}\n", "RP301"),
        ("    filters: {scope: host ==}\n", "RP209"),
        ("    match: ~all\n", "RP101"),
        ("    block:\n", "RP101"),
        ("    enabled: maybe\n", "RP103"),
        ("    id: [a]\n", "RP109"),
    ],
)
def test_what_is_wrong_beside_an_include(tmp_path: Path, beside: str, code: str) -> None:
    main = write(tmp_path, main=f"  - include: pack.yaml\n{beside}", pack=PACK)
    loaded = load_files([main])
    assert codes(loaded) == [code]
    span = loaded.diagnostics[0].span
    assert span is not None
    assert span.source.path == str(main)
    assert span.line == 4


def test_a_name_must_be_in_one_of_several_files(tmp_path: Path) -> None:
    files = {"pack": PACK, "other": rule("o")}
    main = write(tmp_path, main="  - include: [other.yaml, pack.yaml]\n    vars: {host: a.test}\n", **files)
    assert codes(load_files([main])) == []
    write(tmp_path, main="  - include: [other.yaml, pack.yaml]\n    vars: {hst: a.test}\n")
    assert codes(load_files([main])) == ["RP808"]


def test_an_include_may_be_switched_off(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: a.yaml\n    enabled: false\n  - include: b.yaml\n    profile: chaos\n",
                 a=rule("a"), b=rule("b"))  # fmt: skip
    assert ids(load_files([main])) == []
    assert ids(load_files([main], profiles=["chaos"])) == ["b"]
    # They are checked all the same.
    write(tmp_path, b=rule("b", "hots == 1"))
    assert codes(load_files([main])) == ["RP301"]


def test_the_mistakes_of_a_file_are_said_once(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: [a.yaml, a.yaml]\n", a="  - match: hots == 1\n    block:\n")
    assert codes(load_files([main])) == ["RP301"]


# What cannot be read


def test_a_cycle_is_shown_as_a_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, main="  - include: a.yaml\n", a="  - include: b.yaml\n", b="  - include: a.yaml\n" + rule("b"))
    monkeypatch.chdir(tmp_path)
    loaded = load_files([Path("main.yaml")])
    assert [(each.code, str(each.span)) for each in loaded.diagnostics] == [("RP802", "b.yaml:3:14")]
    assert loaded.diagnostics[0].title.endswith("a.yaml → b.yaml → a.yaml")


def test_a_link_to_oneself_is_a_cycle(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: link.yaml\n")
    (tmp_path / "link.yaml").symlink_to(main)
    assert codes(load_files([main])) == ["RP802"]


def test_files_that_mean_each_other_by_pattern_are_no_cycle(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: '*.yaml'\n" + rule("m"), a="  - include: '*.yaml'\n" + rule("a"))
    assert codes(load_files([main])) == ["RP803"]
    assert ids(load_files([main])) == ["a", "m"]


def test_a_link_to_a_folder_above_is_not_searched_for_ever(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: sub/**/*.yaml\n", sub__a=rule("a"))
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert ids(load_files([main])) == ["a"]


@pytest.mark.parametrize("include", ["x.yaml", "sub", "'sub/*.yaml'"])
def test_pipes_are_not_waited_for(tmp_path: Path, include: str) -> None:
    main = write(tmp_path, main=f"  - include: {include}\n")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "x.yaml")
    os.mkfifo(tmp_path / "sub" / "x.yaml")
    loaded = load_files([main])
    assert codes(loaded) == ["RP001"]
    assert "no regular file" in loaded.diagnostics[0].title


def test_a_link_to_nothing_is_said(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: sub\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").symlink_to("gone")
    assert codes(load_files([main])) == ["RP001"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: a.yaml\n  - include: sub\n", a=rule("a"), sub__a=rule("s"))
    (tmp_path / "a.yaml").chmod(0)
    (tmp_path / "sub").chmod(0)
    try:
        loaded = load_files([main])
    finally:
        (tmp_path / "sub").chmod(0o700)
    assert codes(loaded) == ["RP001", "RP001"]
    assert all("permission denied" in each.title for each in loaded.diagnostics)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("include:", "RP103"),
        ("include: []", "RP103"),
        ("include: [[a.yaml]]", "RP109"),
        ("include: {file: a.yaml}", "RP103"),
        ('include: ""', "RP802"),
        ('include: "a\\0b"', "RP001"),
        ("include: /dev/zero", "RP001"),
        ("include: gone.yaml", "RP001"),
        ("include: gone/gone.yaml", "RP001"),
        ("include: gone/*.yaml", "RP803"),
        ("include: https://example.com/a.yaml", "RP001"),
        ("include: pack:nothing", "RP811"),
        ("include: ../../../../../../../../../../../../../../../../../etc/hostname", "RP1"),
    ],
)
def test_what_cannot_be_included(tmp_path: Path, text: str, code: str) -> None:
    main = write(tmp_path, main=f"  - {text}\n" + rule("m"))
    loaded = load_files([main])
    if text != 'include: ""':
        assert [each[: len(code)] for each in codes(loaded)] == [code]
    assert [each.name for each in loaded.rules] == ["m"]
    assert all(each.span is not None for each in loaded.diagnostics)


def test_a_chain_that_is_too_long(tmp_path: Path) -> None:
    for number in range(INCLUDE_DEPTH + 1):
        write(tmp_path, **{f"f{number}": f"  - include: f{number + 1}.yaml\n" + rule(f"r{number}")})
    write(tmp_path, **{f"f{INCLUDE_DEPTH}": rule("end")})
    loaded = load_files([tmp_path / "f1.yaml"])
    assert ids(loaded)[0] == "end"
    assert codes(load_files([tmp_path / "f0.yaml"])) == ["RP809"]


def test_files_that_double_at_every_level(tmp_path: Path) -> None:
    for number in range(INCLUDE_DEPTH - 1):
        write(tmp_path, **{f"f{number}": f"  - include: [f{number + 1}.yaml, f{number + 1}.yaml]\n"})
    write(tmp_path, **{f"f{INCLUDE_DEPTH - 1}": "  []\n"})
    loaded = load_files([tmp_path / "f0.yaml"])
    assert set(codes(loaded)) == {"RP809"}


def test_a_pattern_over_ten_thousand_files(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: many/*.yaml\n" + rule("m"))
    (tmp_path / "many").mkdir()
    for number in range(10_000):
        (tmp_path / "many" / f"{number:05}.yaml").write_text("version: 1\n")
    loaded = load_files([main])
    assert codes(loaded) == ["RP809"]
    assert f"{RULE_FILES:,}" in loaded.diagnostics[0].title


def test_a_pattern_over_too_many_folders(tmp_path: Path) -> None:
    main = write(tmp_path, main="  - include: many/**/*.yaml\n")
    for number in range(SEARCHED_FOLDERS + 1):
        (tmp_path / "many" / str(number)).mkdir(parents=True)
    assert codes(load_files([main])) == ["RP809"]


GRAPHS = st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=5, max_size=5)


@settings(max_examples=60)
@given(GRAPHS)
def test_any_files_that_include_one_another(graph: list[list[int]]) -> None:
    """The rules are those of a walk that goes down at every include; a cycle is an error, and nothing else is."""
    with tempfile.TemporaryDirectory() as folder:
        for number, targets in enumerate(graph):
            includes = "".join(f"  - include: f{target}.yaml\n" for target in targets)
            write(Path(folder), **{f"f{number}": f"{includes}  - match: ~all\n    tag: t{number}\n"})
        loaded = load_files([Path(folder) / "f0.yaml"])
    cycles = False

    def walk(number: int, chain: tuple[int, ...]) -> list[str]:
        nonlocal cycles
        found = []
        for target in graph[number]:
            if target in chain:
                cycles = True
            else:
                found += walk(target, (*chain, target))
        return [*found, f"t{number}"]

    expected = walk(0, (0,))
    assert [rule.definition.partition("'tag':")[2].rstrip("}") for rule in loaded.rules] == expected
    assert set(codes(loaded)) == ({"RP802"} if cycles else set())


# What is watched


def seen(loaded: Loaded, folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in loaded.watch}


def test_files_are_those_that_were_read_and_watch_is_more(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="version: 1\nlists: {l: {file: l.txt}, m: {file: m.txt}}\nrules:\n"
        "  - include: [sub, '*.d/**/*.yaml', gone.yaml]\n" + rule("m", "host in $l or host in $m"),
        sub__a=rule("a"),
        x__d__y="  []",
    )
    (tmp_path / "x.d" / "deep").mkdir(parents=True)
    (tmp_path / "l.txt").write_text("a.test\n")
    loaded = load_files([main])
    assert {path.name for path in loaded.files} == {"main.yaml", "a.yaml", "l.txt"}
    assert seen(loaded, tmp_path) == {
        "main.yaml", "l.txt", "m.txt", "sub", "sub/a.yaml", ".", "x.d", "x.d/deep", "gone.yaml",
    }  # fmt: skip


@pytest.mark.parametrize("change", ["sub/b.yaml", "x.d/deep/new.yaml", "l.txt", "sub/a.yaml"])
def test_every_change_changes_the_digest(tmp_path: Path, change: str) -> None:
    main = write(
        tmp_path,
        main="version: 1\nlists: {l: {file: l.txt}}\nrules:\n  - include: [sub, 'x.d/**/*.yaml']\n"
        + rule("m", "host in $l"),
        sub__a=rule("a"),
    )
    (tmp_path / "x.d" / "deep").mkdir(parents=True)
    (tmp_path / "l.txt").write_text("a.test\n")
    before = load_files([main])
    assert load_files([main]).digest == before.digest
    (tmp_path / change).write_text("version: 1\n" if change.endswith("yaml") else "b.test\n")
    assert load_files([main]).digest != before.digest
