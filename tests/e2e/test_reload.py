"""Saved files while the proxy runs: every way in which editors and tools save, and what must never be lost by it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rulesproxy import OptionsError
from rulesproxy.net import watch
from tests.support.client import RawClient
from tests.support.origin import LIMIT, Origin, answer
from tests.support.running import get, running
from tests.support.saved import RULES, TWO, Told, live, logged


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than people save."""
    monkeypatch.setattr(watch, "INTERVAL", 0.05)


# Every way to save


def _write(file: Path) -> None:
    file.write_text(TWO)


def _rename(file: Path) -> None:
    draft = file.with_name("draft")
    draft.write_text(TWO)
    draft.replace(file)


def _truncate_and_wait(file: Path) -> None:
    """An editor that empties the file first."""
    with file.open("w") as open_file:
        open_file.flush()
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.4)"], check=True)
        open_file.write(TWO)


def _half_and_half(file: Path) -> None:
    """An editor that writes twice."""
    with file.open("w") as open_file:
        open_file.write(TWO[:40])
        open_file.flush()
        open_file.write(TWO[40:])


def _older(file: Path) -> None:
    old = file.with_name("backup")
    old.write_text(TWO)
    os.utime(old, (1_000_000_000, 1_000_000_000))
    shutil.move(old, file)


def _copy_with_its_date(file: Path) -> None:
    old = file.with_name("backup")
    old.write_text(TWO)
    os.utime(old, (1_000_000_000, 1_000_000_000))
    subprocess.run(["cp", "-p", old, file], check=True)


def _sed(file: Path) -> None:
    subprocess.run(["sed", "-i", "s,/one,/two,", file], check=True)


def _vim(*settings: str) -> Callable[[Path], None]:
    def save(file: Path) -> None:
        vim = shutil.which("vim") or shutil.which("vi")
        if vim is None:
            pytest.skip("not installed: vim")
        commands = [*settings, "%s,/one,/two,", "wq"]
        asked = [part for command in commands for part in ("-c", command)]
        subprocess.run([vim, "-u", "NONE", "-es", *asked, str(file)], check=True, stdin=subprocess.DEVNULL)

    return save


def _git_checkout(file: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("not installed: git")

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@x.test"]
        subprocess.run(["git", *who, *arguments], cwd=file.parent, check=True, capture_output=True)

    git("init", "-q", "-b", "first")
    git("add", "rules.yaml")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "second")
    file.write_text(TWO)
    git("commit", "-qam", "two")


SAVES = {
    "write": _write, "rename": _rename, "truncate, wait, write": _truncate_and_wait, "write twice": _half_and_half,
    "an older file": _older, "cp -p": _copy_with_its_date, "sed -i": _sed,
    "vim": _vim(), "vim, backupcopy=no": _vim("set backup backupcopy=no"), "vim, backupcopy=yes": _vim("set backupcopy=yes"),
    "git checkout": _git_checkout,
}  # fmt: skip


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
async def test_every_way_to_save(save: Callable[[Path], None], tmp_path: Path) -> None:
    async with live(tmp_path) as it:
        assert (await it.status("/one"), await it.status("/two")) == (451, 200)
        await asyncio.get_running_loop().run_in_executor(None, save, it.file)
        await it.told.more()
        assert (await it.status("/one"), await it.status("/two")) == (200, 451)
        assert it.told.updates == [{"rules"}], "one configure for one reload"
        assert it.proxy.revision == 2


async def test_the_same_contents_are_no_change(tmp_path: Path) -> None:
    async with live(tmp_path) as it:
        it.file.write_text(RULES)
        os.utime(it.file)
        _rename(it.file)
        await it.told.more()
        assert it.told.updates == [{"rules"}]


async def test_mounted_configuration_that_is_swapped(tmp_path: Path) -> None:
    """Kubernetes changes a ConfigMap with a link to a folder: `..data` is renamed onto."""
    for name, text in (("v1", RULES), ("v2", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(text)
        (tmp_path / name / "words.txt").write_text("bad\n")
    (tmp_path / "..data").symlink_to("v1")
    for name in ("rules.yaml", "words.txt"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    async with live(tmp_path) as it:
        (tmp_path / "..data_tmp").symlink_to("v2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        shutil.rmtree(tmp_path / "v1")
        await it.told.more()
        assert (await it.status("/one"), await it.status("/two")) == (200, 451)


async def test_deleted_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with live(tmp_path, errors=True) as it:
        it.file.unlink()
        # In force until there are others: a file that is gone is no file without rules.
        await logged(caplog, "cannot read")
        assert await it.status("/one") == 451
        it.file.write_text(TWO)
        await it.told.more()
        assert (await it.status("/one"), await it.status("/two")) == (200, 451)


async def test_a_list_alone(tmp_path: Path) -> None:
    async with live(tmp_path) as it:
        assert (await it.status("/?word=bad"), await it.status("/?word=worse")) == (451, 200)
        (tmp_path / "words.txt").write_text("worse\n")
        await it.told.more()
        assert (await it.status("/?word=bad"), await it.status("/?word=worse")) == (200, 451)


async def test_good_bad_good(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with live(tmp_path, errors=True) as it:
        it.file.write_text(RULES.replace("match:", "mach:"))
        await logged(caplog, "rules.yaml:6:5")
        assert "unknown key `mach`" in caplog.text
        assert "rules" in it.proxy.live.problems
        assert (await it.status("/one"), it.proxy.revision) == (451, 1)
        it.file.write_text(TWO)
        await it.told.more()
        assert (await it.status("/two"), it.proxy.revision, it.proxy.live.problems.get("rules")) == (451, 2, None)
        it.file.write_text(RULES.replace('"/one"', '"/one'))
        await logged(caplog, "RP203")
        assert (await it.status("/two"), it.proxy.revision) == (451, 2)
        # Back to what is in force: nothing is swapped, and the error is over.
        it.file.write_text(TWO)
        await logged(caplog, "again what is in force")
        assert (it.proxy.revision, it.proxy.live.problems.get("rules")) == (2, None)


async def test_what_is_other_is_said_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    two = "  - id: more\n    match: path == '/more'\n    block:\n  - match: path == '/anonymous'\n    block:\n"
    async with live(tmp_path) as it:
        it.file.write_text(RULES + two)
        await it.told.more()
        await logged(caplog, "rev 2: +2 ~0 -0 rules, ")
        it.file.write_text((TWO + "\n\n" + two).replace("  - id: more\n    match: path == '/more'\n    block:\n", ""))
        await it.told.more()
        await logged(caplog, "rev 3: +0 ~1 -1 rules, ")


async def test_what_a_rule_counts_goes_on(tmp_path: Path) -> None:
    counting = "version: 1\nrules:\n  - id: count\n    match: path == '/count'\n    respond: {body: '${counter}'}\n"
    (tmp_path / "rules.yaml").write_text(counting)
    async with live(tmp_path) as it:
        async with await RawClient.connect(it.proxy.port) as client:
            for wanted in (b"1", b"2"):
                assert (await client.request(get("http://a.test/count"))).body == wanted
            it.file.write_text(counting + "  - match: path == '/other'\n    block:\n")
            await it.told.more()
            assert (await client.request(get("http://a.test/count"))).body == b"3"
            it.file.write_text(counting.replace("${counter}", "no ${counter}"))
            await it.told.more()
            assert (await client.request(get("http://a.test/count"))).body == b"no 1"


# Python addons

ADDON = """
import helper

def request(flow):
    flow.request.headers["x-addon"] = "ONE " + helper.WORD

def done():
    print("done")
"""


def _saw(origin: Origin) -> str | None:
    return origin.requests[-1].get("x-addon")


async def test_an_addon_and_what_it_imports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    script, helper = tmp_path / "addon.py", tmp_path / "helper.py"
    script.write_text(ADDON)
    helper.write_text("WORD = 'first'\n")
    async with (
        Origin.http(answer()) as origin,
        running(script, watch=True, errors=True) as proxy,
        await RawClient.connect(proxy.port) as client,
    ):

        async def sees(word: str) -> None:
            async with asyncio.timeout(LIMIT):
                while True:
                    assert (await client.request(get(origin.url))).status == 200
                    if _saw(origin) == word:
                        return
                    await asyncio.sleep(0.05)

        await sees("ONE first")
        helper.write_text("WORD = 'again'\n")
        await sees("ONE again")
        script.write_text(ADDON.replace("ONE", "TWO"))
        await sees("TWO again")
        # What cannot be loaded leaves the old one in its place, with the module that it imported.
        helper.write_text("WORD = 'three'\nraise RuntimeError('not so')\n")
        await logged(caplog, "helper.py:2: RuntimeError: not so; what was loaded before goes on")
        await sees("TWO again")
        helper.write_text("WORD = 'four'\n")
        await sees("TWO four")
        script.write_text(ADDON.replace("import helper", "import helper, nothing_like_it"))
        await logged(caplog, "addon.py:2: ModuleNotFoundError: No module named 'nothing_like_it'")
        await sees("TWO four")
        (tmp_path / "nothing_like_it.py").write_text("")
        await sees("ONE four")


async def test_options_of_the_project_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from rulesproxy.engine.options import Options
    from rulesproxy.options import declare_options
    from rulesproxy.rules.files.project import read_project

    project = tmp_path / "rulesproxy.yaml"
    text = RULES.replace("lists:", "options:\n  intercept: all\n  limits: {body: 5MB}\nlists:")
    project.write_text(text)
    (tmp_path / "words.txt").write_text("bad\n")
    options = Options()
    declare_options(options)
    found = read_project(project)
    options.set_values(found.options, "project file")
    options.set_text("limits_header_count=50")
    told = Told()
    async with running(told, rules=project, project=found, watch=True, configured=options, errors=True):
        assert (options.intercept, options.limits.body) == ("all", 5_000_000)
        project.write_text(text.replace("intercept: all", "intercept: none").replace("limits: {body: 5MB}", ""))
        await told.more()
        assert (options.intercept, options.limits.body, options.limits.header_count) == ("none", 10_485_760, 50)
        assert told.updates[0] == {"intercept", "limits_body"}
        project.write_text(text.replace("intercept: all", "intercept: sometimes"))
        await logged(caplog, "it must be one of auto, all, none, not `sometimes`")
        assert options.intercept == "none"


class Refuses:
    """An addon that does not want other rules."""

    def configure(self, options: object, updated: set[str]) -> None:
        if updated == {"rules"}:
            raise OptionsError("not these")


async def test_an_addon_that_refuses_the_rules(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with live(tmp_path, Refuses(), errors=True) as it:
        it.file.write_text(TWO)
        await logged(caplog, "the new rules are refused, the last good ones stay in force: addon Refuses: not these")
        assert (await it.status("/one"), it.proxy.revision) == (451, 1)
