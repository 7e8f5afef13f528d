"""Rule files are the same at the other end, whatever has become of them on disk meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rulesproxy.rules.files.packed import pack, unpack
from rulesproxy.rules.load import RulesError
from rulesproxy.workers.bundle import Loader, unpack_rules

MAIN = """version: 1
lists:
  words: {file: lists/words.txt}
rules:
  - include: more.yaml
  - include: parts/*.yaml
  - include: pack:cors
  - include: folder
  - match: query["word"] in $words
    block:
  - match: path == "/page"
    respond: {file: page.html, template: true}
"""
RULE = "version: 1\nrules:\n  - match: path == '/NAME'\n    block:\n"
FILES = {
    "rules.yaml": MAIN,
    "more.yaml": RULE.replace("NAME", "more"),
    "parts/a.yaml": RULE.replace("NAME", "a"),
    "parts/b.yaml": RULE.replace("NAME", "b"),
    "parts/none.txt": "",
    "folder/c.yml": RULE.replace("NAME", "c"),
    "lists/words.txt": "bad # not good\n\xff\n",
    "page.html": "<p>${path}</p>\n",
    "named/z.yaml": RULE.replace("NAME", "z"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def _gone(folder: Path) -> None:
    for name in FILES:
        if name != "page.html":
            (folder / name).unlink(missing_ok=True)
    for name in ("parts", "folder", "lists", "named"):
        shutil.rmtree(folder / name)


def _other(folder: Path) -> None:
    for name in FILES:
        (folder / name).write_text("no rules")
    (folder / "parts" / "c.yaml").write_text(RULE)
    (folder / "folder" / "d.yaml").write_text(RULE)


@pytest.mark.parametrize("change", [_gone, _other])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_disk_is_not_asked_again(folder: Path, change: object, absolute: bool) -> None:
    files = [folder / name if absolute else Path(name) for name in ("rules.yaml", "named")]
    load = Loader(files, (), 2)
    rules = load()
    data = pack(load.contents(rules.digest))
    assert callable(change)
    change(folder)
    again = unpack_rules(data, files, ())
    assert again.digest == rules.digest
    assert [addon.rule.definition for addon in again.rules] == [addon.rule.definition for addon in rules.rules]
    assert [addon.name for addon in again.rules] == [addon.name for addon in rules.rules]
    assert len(rules.rules) > 6


def test_contents_survive_the_way(folder: Path) -> None:
    load = Loader([Path("rules.yaml"), Path("named")], (), 2)
    contents = load.contents(load().digest)
    assert unpack(pack(contents)) == contents
    assert contents.files["parts/a.yaml"] == FILES["parts/a.yaml"].encode()


def test_the_last_two_versions_are_kept(folder: Path) -> None:
    load = Loader([Path("more.yaml")], (), 2)
    digests = []
    for name in ("one", "two", "three"):
        (folder / "more.yaml").write_text(RULE.replace("NAME", name))
        digests.append(load().digest)
    assert b"/three" in load.contents(digests[2]).files["more.yaml"]
    assert b"/two" in load.contents(digests[1]).files["more.yaml"]
    with pytest.raises(KeyError):
        load.contents(digests[0])


def test_what_several_cannot_share_is_an_error_for_several(folder: Path) -> None:
    (folder / "more.yaml").write_text(RULE.replace("    block", "    times: 1\n    block"))
    with pytest.raises(RulesError) as caught:
        Loader([Path("more.yaml")], (), 2)()
    assert [each.code for each in caught.value.diagnostics] == ["RP850"]
    assert caught.value.watch == (Path("more.yaml"),)
    assert Loader([Path("more.yaml")], (), 1)().rules
