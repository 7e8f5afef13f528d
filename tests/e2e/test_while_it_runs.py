"""What reloads meet besides good files: files that are no files, addons that refuse, flows that last, other changes."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from rulesproxy import OptionsError, RulesError
from rulesproxy.engine.options import Options
from rulesproxy.net import watch
from rulesproxy.options import declare_options
from rulesproxy.rules.files.project import Project, read_project
from rulesproxy.rules.ruleset import load_rules
from tests.support.client import RawClient
from tests.support.origin import LIMIT, Origin, OriginConnection, answer
from tests.support.running import get, running
from tests.support.saved import RULES, TWO, Told, live, logged


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than people save."""
    monkeypatch.setattr(watch, "INTERVAL", 0.05)


# Flows that last


async def test_a_flow_keeps_its_rules_however_long_it_lasts(tmp_path: Path) -> None:
    """Even where an addon beside them has been replaced and has to leave."""
    rules, addon = tmp_path / "rules.yaml", tmp_path / "addon.py"
    text = "version: 1\nrules:\n  - match: path == '/'\n    rewrite: {response: {headers: {x-rules: WORD}}}\n"
    code = "def request(flow):\n    pass\n\ndef done():\n    pass\n"
    rules.write_text(text.replace("WORD", "first"))
    addon.write_text(code)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(connection: OriginConnection) -> None:
        await connection.read_request()
        asked.set()
        await go_on.wait()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await connection.wait_end()

    async with Origin(slowly) as origin, running(addon, rules=rules, limits_replaced_addon=0.01) as proxy:
        async with await RawClient.connect(proxy.port) as client:
            client.send(get(origin.url))
            async with asyncio.timeout(LIMIT):
                await asked.wait()
            rules.write_text(text.replace("WORD", "second"))
            addon.write_text(code + "\nTWO = 2\n")
            assert await proxy.reload([rules, addon])
            assert proxy.live.in_flight() == {1: 1, 2: 0}
            while proxy.engine._departures.leaving:  # noqa: ASYNC110  (it is the time-out that is waited for)
                await asyncio.sleep(0.01)
            go_on.set()
            assert (await client.read_response()).get("x-rules") == "first"
            assert proxy.live.in_flight() == {2: 0}


# Files that are no files


@pytest.mark.parametrize("what", ["pipe", "folder", "nothing"])
async def test_a_rule_file_is_something_else_for_a_moment(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "_PATIENCE", 0.2)
    async with live(tmp_path, errors=True) as it:
        it.file.unlink()
        if what == "pipe":
            os.mkfifo(it.file)
        elif what == "folder":
            it.file.mkdir()
        says = {"pipe": "it is no regular file", "folder": "has no rule files", "nothing": "no such file"}
        async with asyncio.timeout(LIMIT):
            while not it.proxy.live.problems:  # noqa: ASYNC110  (nothing tells of it)
                await asyncio.sleep(0.02)
        assert says[what] in caplog.text.lower()
        assert (await it.status("/one"), it.proxy.revision) == (451, 1)
        if what == "folder":
            it.file.rmdir()
        elif what == "pipe":
            it.file.unlink()
        it.file.write_text(TWO)
        await it.told.more()
        assert (await it.status("/two"), it.proxy.live.problems) == (451, {})


async def test_a_project_file_is_a_pipe_for_a_moment(tmp_path: Path) -> None:
    """Whoever opens it to read would wait, and the proxy with it."""
    project = tmp_path / "rulesproxy.yaml"
    project.write_text(RULES)
    (tmp_path / "words.txt").write_text("bad\n")
    async with running(rules=project, project=read_project(project), errors=True, configured=_options()) as proxy:
        project.unlink()
        os.mkfifo(project)
        async with asyncio.timeout(LIMIT):
            assert not await proxy.reload([project])
        assert "it is no regular file" in str(proxy.live.problems["rules"])
        project.unlink()
        project.write_text(RULES)
        assert await proxy.reload([project])
        assert proxy.live.problems == {}


class SavesAtStart:
    """An addon that, while the proxy starts, puts an older version of the rules in their place."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def load(self, entry: object) -> None:
        backup = self.file.with_name("backup")
        backup.write_text(TWO)
        os.utime(backup, (1_000_000_000, 1_000_000_000))
        backup.replace(self.file)


async def test_a_save_in_the_moment_of_start(tmp_path: Path) -> None:
    async with live(tmp_path, SavesAtStart(tmp_path / "rules.yaml")) as it:
        await it.told.more()
        assert (await it.status("/one"), await it.status("/two")) == (200, 451)


async def test_an_error_is_told_of_files_that_are_written_again_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They move while they are read, and their contents are what was read: nothing more would be reported."""
    async with live(tmp_path, errors=True) as it:
        broken = RULES.replace("match:", "mach:")
        load = it.proxy.live._load

        def read_and_save_again() -> object:
            monkeypatch.setattr(it.proxy.live, "_load", load)
            try:
                return load()
            finally:
                it.file.write_text(broken)

        monkeypatch.setattr(it.proxy.live, "_load", read_and_save_again)
        it.file.write_text(broken)
        await logged(caplog, "unknown key `mach`")
        assert "rules" in it.proxy.live.problems


# Addons


class Refuses:
    """An addon that does not want other rules, as long as it is told so."""

    def __init__(self) -> None:
        self.refuses = True

    def configure(self, options: object, updated: set[str]) -> None:
        if updated == {"rules"} and self.refuses:
            raise OptionsError("not these")


async def test_refused_rules_are_shown_until_it_is_mended(tmp_path: Path) -> None:
    addon = Refuses()
    async with live(tmp_path, addon, errors=True) as it:
        it.file.write_text(TWO)
        assert not await it.proxy.reload()
        assert str(it.proxy.live.problems["rules"]) == "addon Refuses: not these"
        assert (await it.status("/one"), it.proxy.revision) == (451, 1)
        addon.refuses = False
        assert await it.proxy.reload()
        assert (await it.status("/two"), it.proxy.live.problems) == (451, {})


ADDON = "def request(flow):\n    flow.request.headers['x-addon'] = 'WORD'\n"


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("def configure(updated):\n    raise RuntimeError('not so')\n", "configure: RuntimeError: not so"),
        ("def running(:\n", "invalid syntax"),
    ],
)
async def test_an_addon_that_fails_is_shown_until_it_is_mended(broken: str, says: str, tmp_path: Path) -> None:
    import sys

    script = tmp_path / "addon.py"
    script.write_text(ADDON.replace("WORD", "one"))
    async with Origin.http(answer()) as origin, running(script, errors=True) as proxy:
        async with await RawClient.connect(proxy.port) as client:

            async def sees() -> str | None:
                await client.request(get(origin.url))
                return origin.requests[-1].get("x-addon")

            known = set(sys.modules)
            for _ in range(3):
                script.write_text(ADDON.replace("WORD", "two") + broken)
                assert not await proxy.reload([script])
                assert says in str(proxy.live.problems["addons"])
                assert await sees() == "one"
            assert set(sys.modules) == known, "what was refused is forgotten"
            script.write_text(ADDON.replace("WORD", "three"))
            assert await proxy.reload([script])
            assert (await sees(), proxy.live.problems) == ("three", {})


async def test_the_function_of_a_rule_and_what_it_imports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rules, code, beside = tmp_path / "rules.yaml", tmp_path / "code_of_rules.py", tmp_path / "words_of_rules.py"
    rules.write_text("version: 1\nrules:\n  - match: path == '/'\n    run: code_of_rules.py:mark\n")
    code.write_text("import words_of_rules as w\n\ndef mark(flow):\n    flow.request.headers['x-word'] = w.WORD\n")
    beside.write_text("WORD = 'one'\n")
    told = Told()
    async with (
        Origin.http(answer()) as origin,
        running(told, rules=rules, watch=True, errors=True) as proxy,
        await RawClient.connect(proxy.port) as client,
    ):

        async def sees() -> str | None:
            await client.request(get(origin.url))
            return origin.requests[-1].get("x-word")

        assert await sees() == "one"
        beside.write_text("WORD = 'two'\n")
        await told.more()
        assert await sees() == "two"
        beside.write_text("WORD = \n")
        await logged(caplog, "invalid syntax")
        assert (await sees(), list(proxy.live.problems)) == ("two", ["rules"])
        beside.write_text("WORD = 'three'\n")
        await told.more()
        assert (await sees(), proxy.live.problems) == ("three", {})
        code.write_text(code.read_text().replace("w.WORD", "w.WORD + '!'"))
        await told.more()
        assert await sees() == "three!"


def _options(project: Project | None = None) -> Options:
    options = Options()
    declare_options(options)
    if project is not None:
        options.set_values(project.options, "project file", later=True)
    return options


LIFE = """
import helper_of_NAME

def load(entry):
    entry.add_option("NAME_word", str, "none", "a word")

def request(flow):
    flow.request.headers.add("x-chain", "NAME")

def done():
    open(__file__ + ".done", "a").write("done ")
"""


async def test_addons_come_and_go_with_the_project_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name in ("a", "b", "last"):
        (tmp_path / f"{name}.py").write_text(LIFE.replace("NAME", name))
        (tmp_path / f"helper_of_{name}.py").write_text("")
    project = tmp_path / "rulesproxy.yaml"

    def save(addons: str, options: str) -> None:
        project.write_text(f"version: 1\noptions: {{{options}}}\naddons: [{addons}]\n")

    save("a.py", "a_word: one")
    found = read_project(project)
    options, told = _options(found), Told()
    async with (
        Origin.http(answer()) as origin,
        running(
            tmp_path / "last.py", told, rules=project, project=found, configured=options, watch=True, errors=True
        ) as proxy,
        await RawClient.connect(proxy.port) as client,
    ):

        async def chain() -> list[str]:
            await client.request(get(origin.url))
            return origin.requests[-1].get_all("x-chain")

        assert (await chain(), options.a_word) == (["a", "last"], "one")
        save("b.py, a.py", "a_word: two, b_word: three")
        await logged(caplog, "addons: +1 -0")
        await told.more()
        assert (await chain(), options.a_word, options.b_word) == (["b", "a", "last"], "two", "three")
        save("rules, b.py", "b_word: three")
        await logged(caplog, "addons: +0 -1")
        assert await chain() == ["b", "last"]
        assert (tmp_path / "a.py.done").read_text() == "done ", "it has ended, once"
        assert not (tmp_path / "b.py.done").exists(), "it stays as it is"
        assert "a_word" not in options
        save("b.py, c.py", "b_word: three")
        await logged(caplog, "`c.py` does not exist")
        assert (await chain(), list(proxy.live.problems)) == (["b", "last"], ["project"])
        caplog.clear()
        # The file that was missing is watched.
        (tmp_path / "helper_of_c.py").write_text("")
        (tmp_path / "c.py").write_text(LIFE.replace("NAME", "c"))
        await logged(caplog, "addons: +1 -0")
        assert (await chain(), proxy.live.problems) == (["b", "c", "last"], {})
        (tmp_path / "d.py").write_text("def request(:\n")
        save("b.py, d.py", "b_word: three")
        await logged(caplog, "d.py:1: ")
        assert (await chain(), list(proxy.live.problems)) == (["b", "c", "last"], ["project"])


# Options


async def test_an_option_may_not_become_what_it_may_not_be(tmp_path: Path) -> None:
    told = Told()
    async with running(told, auth="me:secret", listen="0.0.0.0:0", errors=True) as proxy:
        options = proxy.options
        refused = {"auth": ["", "nocolon", ":x"], "upstream_ca": [["/nowhere.pem"], [__file__]], "host_mismatch": ["x"]}
        for name, values in refused.items():
            before = getattr(options, name)
            for value in values:
                with pytest.raises(OptionsError):
                    options.set_values({name: value}, "run time")
                assert getattr(options, name) == before
        assert told.updates == [], "nobody hears of what is refused"
        options.set_values({"auth": "you:other"}, "run time")
        assert told.updates == [{"auth"}]


# Several things at once


async def test_reloads_switches_and_other_rules_at_once(tmp_path: Path) -> None:
    async with live(tmp_path) as it:
        proxy = it.proxy
        other = load_rules(text=TWO.replace("{file: words.txt}", "[bad]"))

        async def reload() -> None:
            for number in range(10):
                it.file.write_text(TWO if number % 2 else RULES)
                await proxy.reload()

        async def switch() -> None:
            for number in range(10):
                await proxy.live.switch("word", bool(number % 2))

        async def use() -> None:
            for _ in range(10):
                await proxy.use(other)

        async with asyncio.TaskGroup() as group:
            for work in (reload, switch, use):
                group.create_task(work())
        it.file.write_text(TWO)
        assert await proxy.reload()
        assert (await it.status("/one"), await it.status("/two")) == (200, 451)
        assert proxy.revision <= 1 + 11 + 10 + 10
        assert sum(addon is proxy.rules for addon in proxy.engine.addons) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_editors_do_what_is_on_disk_wins(seed: int, tmp_path: Path) -> None:
    """Files of a folder are written, renamed onto, emptied, broken, replaced by pipes, and reloads are asked for."""
    chance = random.Random(seed)
    rules, folder = tmp_path / "rules.yaml", tmp_path / "more"
    folder.mkdir()
    rules.write_text("version: 1\nrules:\n  - include: more/*.yaml\n")

    def rule() -> str:
        return f"version: 1\nrules:\n  - match: path == '/{chance.randrange(5)}'\n    block:\n"

    async def empty_first(file: Path) -> None:
        file.write_text("")
        await asyncio.sleep(chance.random() / 5)
        file.write_text(rule())

    async def pipe(file: Path) -> None:
        file.unlink(missing_ok=True)
        os.mkfifo(file)
        await asyncio.sleep(chance.random() / 5)
        file.unlink()

    def rename(file: Path) -> None:
        draft = file.with_suffix(".draft")
        draft.write_text(rule())
        os.utime(draft, (1, 1))
        draft.replace(file)

    (folder / "0.yaml").write_text(rule())
    async with live(tmp_path, errors=True) as it, asyncio.TaskGroup() as group:
        saves: list[Callable[[Path], object]] = [
            lambda file: file.write_text(rule()), rename, lambda file: file.unlink(missing_ok=True),
            lambda file: file.write_text("broken: ["), empty_first, pipe,
            lambda file: group.create_task(it.proxy.reload()),
        ]  # fmt: skip
        for _ in range(30):
            done = chance.choice(saves)(folder / f"{chance.randrange(3)}.yaml")
            if asyncio.iscoroutine(done):
                await done
            await asyncio.sleep(chance.choice((0, 0, 0.1)))
        for number in range(3):
            (folder / f"{number}.yaml").write_text(rule())
        wanted = load_rules(rules).digest
        async with asyncio.timeout(LIMIT):
            while it.proxy.live.problems or it.proxy.rules is None or it.proxy.rules.digest != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_what_was_asked_for_is_not_loaded_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with live(tmp_path, errors=True) as it:
        it.file.write_text(RULES.replace("match:", "mach:"))
        assert not await it.proxy.reload()
        # The next version comes through the watch, which by then would have found the broken one, too.
        await asyncio.sleep(0.3)
        it.file.write_text(TWO)
        await it.told.more()
        assert caplog.text.count("unknown key `mach`") == 1
        assert (it.proxy.live.reloads["ok"], it.proxy.live.reloads["failed"]) == (1, 1)


async def test_a_bad_version_does_not_change_what_is_reported_of_it(tmp_path: Path) -> None:
    async with live(tmp_path, errors=True) as it:
        it.file.write_text(RULES.replace("match:", "mach:"))
        assert not await it.proxy.reload()
        with pytest.raises(RulesError) as checked:
            load_rules(it.file)
        error = it.proxy.live.problems.get("rules")
        assert isinstance(error, RulesError)
        assert error.diagnostics == checked.value.diagnostics
