"""Which rule files are found: arguments, the variable, then the nearest folder up to the git root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rulesproxy.rules.files.discover import Found, find_rule_files


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text("")


CASES = [
    ((), "", [], None, None),
    ((".git/", "rules.yaml"), "", ["rules.yaml"], None, "work/"),
    ((".git/", "rules.yaml", "work/rules/"), "work", ["rules"], None, None),
    ((".git/", "rules.yaml", "rules/", "rulesproxy.yaml"), "", ["rulesproxy.yaml"], "rulesproxy.yaml", None),
    ((".git/", "rules/"), "", ["rules"], None, None),
    (("rules.yaml", "work/a.txt"), "work", [], None, None),
    (("work/.git/", "rules.yaml"), "work", [], None, None),
    ((".git", "rules.yaml", "work/x/y/"), "work/x/y", ["../../../rules.yaml"], None, None),
    ((".git/", "rulesproxy.yaml", "work/rules.yaml"), "work", ["rules.yaml"], "rulesproxy.yaml", None),
]  # fmt: skip


@pytest.mark.parametrize(("names", "cwd", "paths", "project", "more"), CASES)
def test_the_nearest_counts(
    tmp_path: Path, names: tuple[str, ...], cwd: str, paths: list[str], project: str | None, more: str | None
) -> None:
    tree(tmp_path, *names, *([more] if more else []))
    folder = tmp_path / cwd
    folder.mkdir(parents=True, exist_ok=True)
    found = find_rule_files([], {}, folder)
    assert [(folder / path).resolve() for path in found.paths] == [(folder / path).resolve() for path in paths]
    assert (found.project and (folder / found.project).resolve()) == (tmp_path / project if project else None)


def test_arguments_win_over_the_variable_over_folders(tmp_path: Path) -> None:
    tree(tmp_path, ".git/", "rules.yaml", "rulesproxy.yaml")
    env = {"RULESPROXY_RULES": os.pathsep.join(["one.yaml", "two"])}
    project = Path("rulesproxy.yaml")
    assert find_rule_files(["x.yaml"], env, tmp_path) == Found((Path("x.yaml"),), project)
    assert find_rule_files([], env, tmp_path) == Found((Path("one.yaml"), Path("two")), project)
    several = ["pack:cors", "a", "backpack", "pack:no-cache", "pack"]
    found = find_rule_files([], {"RULESPROXY_RULES": os.pathsep.join(several)}, tmp_path).paths
    assert list(map(str, found)) == several
    assert find_rule_files([], {"RULESPROXY_RULES": ""}, tmp_path) == Found((Path("rulesproxy.yaml"),), project)
