"""The control API of the real command, over real sockets: who may speak to it, what it says, what it does."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.command import ROOT
from tests.support.controlled import RULES, controlled
from tests.support.origin import LIMIT, Origin, answer
from tests.support.running import get

pytestmark = pytest.mark.e2e


async def test_who_may_speak(tmp_path: Path) -> None:
    async with controlled(tmp_path) as it:
        assert stat.S_IMODE(it.file.stat().st_mode) == 0o600
        refused = [
            (401, {"Authorization": "Bearer wrong"}),
            (401, {"Authorization": it.token}),
            (401, {"Authorization": ""}),
            (403, {"Host": "evil.test"}),
            (403, {"Host": f"evil.test:{it.port}"}),
            (403, {"Origin": "http://evil.test"}),
            (403, {"Origin": "null"}),
        ]
        for wanted, headers in refused:
            status, body = await it.ask("GET", "/status", **headers)
            assert (status, list(body)) == (wanted, ["error"]), headers
        assert (await it.ask("GET", "/status", Origin=it.url))[0] == 200
        assert (await it.ask("GET", "/status", Host=f"localhost:{it.port}"))[0] == 200
        # Through the proxy nobody comes here, whatever he knows.
        async with await RawClient.connect(it.proxy.port) as client:
            response = await client.request(get(f"{it.url}/status", f"Authorization: Bearer {it.token}"))
        assert response.status == 502
        assert it.token not in it.proxy.log
    assert not it.file.exists(), "it is gone with its proxy"


async def test_status_and_rules(tmp_path: Path) -> None:
    async with controlled(tmp_path) as it:
        assert [await it.status("/one") for _ in range(3)] == [451] * 3
        _, status = await it.ask("GET", "/status")
        assert (status["revision"], status["error"]) == (1, None)
        assert status["rules"] == [
            {"name": "one", "enabled": True, "hits": 3}, {"name": "counts", "enabled": True, "hits": 0},
        ]  # fmt: skip
        assert status["listeners"][0]["port"] == it.proxy.port
        it.rules.write_text(RULES.replace("block: 451", "blok: 451"))
        status_code, body = await it.ask("POST", "/reload")
        assert (status_code, body["ok"], body["revision"]) == (422, False, 1)
        assert (body["error"][0]["code"], body["error"][0]["line"]) == ("RP101", 5)
        assert (await it.ask("GET", "/status"))[1]["error"] == body["error"], "until it is mended"
        it.rules.write_text(RULES.replace("451", "410"))
        assert await it.ask("POST", "/reload") == (200, {"revision": 2, "ok": True, "error": None, "problems": {}})
        assert await it.status("/one") == 410
        assert (await it.ask("GET", "/status"))[1]["reloads"]["ok"] >= 1


async def test_a_rule_is_switched_off_and_on(tmp_path: Path) -> None:
    async with controlled(tmp_path) as it:
        async with await RawClient.connect(it.proxy.port) as client:
            assert (await client.request(get("http://a.test/count"))).body == b"1"
        assert (await it.ask("PATCH", "/rules/counts", {"enabled": False}))[1] == {
            "name": "counts", "enabled": False, "revision": 2,
        }  # fmt: skip
        await it.proxy.wait_log("rev 2: rule `counts` was switched off")
        assert await it.status("/count") == 502, "nobody answers for a.test now"
        it.rules.write_text(RULES + "  - id: more\n    match: path == '/more'\n    block:\n")
        await it.ask("POST", "/reload")
        rules = {rule["name"]: rule["enabled"] for rule in (await it.ask("GET", "/rules"))[1]}
        assert rules == {"one": True, "counts": False, "more": True}, "over a reload too"
        await it.ask("PATCH", "/rules/counts", {"enabled": True})
        async with await RawClient.connect(it.proxy.port) as client:
            assert (await client.request(get("http://a.test/count"))).body == b"2", "it goes on counting"
        assert (await it.ask("PATCH", "/rules/nothing", {"enabled": True}))[0] == 404
        for bad in ({}, {"enabled": "yes"}, [], b"{"):
            assert (await it.ask("PATCH", "/rules/one", bad))[0] == 400


async def test_check_and_explain(tmp_path: Path) -> None:
    async with controlled(tmp_path) as it:
        _, found = await it.ask("POST", "/check", RULES.replace("path", "paht").encode())
        assert (found["ok"], {each["code"] for each in found["diagnostics"]}) == (False, {"RP301"})
        assert (await it.ask("POST", "/check", RULES.encode()))[1] == {"ok": True, "rules": 2, "diagnostics": []}
        _, told = await it.ask("POST", "/explain", {"url": "http://a.test/one"})
        assert (told["hits"], told["status"], told["upstream"]) == (["one"], 451, None)
        assert [rule["hit"] for rule in told["rules"]] == [True, False]
        _, told = await it.ask("POST", "/explain", {"url": "http://a.test/count"})
        assert told["log"] == ["asked for /count"]
        assert await it.status("/count") == 200
        await it.proxy.wait_log("asked for /count")
        assert it.proxy.log.count("asked for /count") == 1, "a dry run is no traffic"
        assert (await it.ask("POST", "/explain", {"method": "GET"}))[0] == 400
        assert (await it.ask("POST", "/check", b"x" * (3 * 1024 * 1024)))[0] == 413


async def test_files_are_checked_as_the_sender_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Includes and lists come from the folder of whoever asks; environment and profiles are those of the proxy."""
    monkeypatch.setenv("WORD_OF_THE_PROXY", "tea")
    async with controlled(tmp_path, "--profile", "chaos", profiles="chaos: {}") as it:
        monkeypatch.delenv("WORD_OF_THE_PROXY")
        work = tmp_path / "work"
        for name, text in (
            ("main.yaml", "version: 1\nlists:\n  ads: {file: ads.txt}\nrules:\n  - include: parts/*.yaml\n"
             "  - match: host in $ads\n    respond: {body: '${env:WORD_OF_THE_PROXY}'}\n"),
            ("parts/a.yaml", "version: 1\nrules:\n  - id: all\n    match: ~all\n    block:\n"),
            ("ads.txt", "ads.test\n"), ("bad.yaml", "version: 1\nrules:\n  - include: ../work/parts/b.yml\n"),
            ("parts/b.yml", "version: 1\nrules:\n  - match: ~all\n    blok:\n"),
            ("chaos.yaml", "version: 1\nrules:\n  - match: ~all\n    profile: chaos\n    block:\n"),
        ):  # fmt: skip
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        monkeypatch.chdir(work)
        assert await it.ctl("check", "main.yaml") == (
            0, "parts/a.yaml:3:5: warning[RP710]: rule `all` takes everything: the rule below never runs\n",
        )  # fmt: skip
        assert await it.ctl("check", "bad.yaml") == (
            1, "../work/parts/b.yml:4:5: error[RP101]: unknown key `blok` in a rule\n",
        )  # fmt: skip
        assert await it.ctl("check", "-", stdin="version: 1\nrules:\n  - include: parts/b.yml\n") == (
            1, "parts/b.yml:4:5: error[RP101]: unknown key `blok` in a rule\n",
        )  # fmt: skip
        assert await it.ctl("check", "chaos.yaml", "parts/a.yaml") == (
            0, "parts/a.yaml:3:5: warning[RP707]: rule `all` has the same filter and actions as `chaos.yaml:3`\n",
        )  # fmt: skip
        for data in (b"", b"\xff\xff\xff\xff", b"\0\0\0\2{}", b"\0\0\0\2[]", b'\0\0\0\5"abc"'):
            status, answer = await it.ask("POST", "/check?file=/a.yaml", data)
            assert (status, "no packed rule files" in answer["error"]) == (400, True)


async def test_options_and_commands(tmp_path: Path) -> None:
    async with controlled(tmp_path, "--auth", "me:secret") as it:
        _, options = await it.ask("GET", "/options")
        assert (options["word"]["value"], options["auth"]["value"]) == ("tea", "***")
        _, options = await it.ask("PATCH", "/options", {"word": "coffee"})
        assert (options["word"]["value"], options["word"]["source"]) == ("coffee", "run time")
        for bad in ({"wrod": "x"}, {"limits_body": "many"}):
            status, body = await it.ask("PATCH", "/options", bad)
            assert (status, "error" in body) == (422, True)
        assert await it.ask("POST", "/commands/words.say", [2]) == (200, {"result": "coffee coffee"})
        assert (await it.ask("POST", "/commands/words.say", ["many"]))[0] == 422
        assert await it.ask("POST", "/commands/words.sya") == (
            404, {"error": "no command `words.sya`; did you mean `words.say`?"},
        )  # fmt: skip
        assert await it.ask("POST", "/commands/words.fail") == (
            500, {"error": "command `words.fail` failed: RuntimeError: it broke"},
        )  # fmt: skip
        await it.ask("PATCH", "/options", {"limits_handler": "50ms"})
        assert await it.ask("POST", "/commands/words.hang") == (
            504, {"error": "command `words.hang` took longer than 0.05 s (limits_handler)"},
        )  # fmt: skip


async def test_events_and_metrics(tmp_path: Path) -> None:
    async with Origin.http(answer()) as origin, controlled(tmp_path) as it:
        async with await RawClient.connect(it.port) as reader:
            reader.send(
                f"GET /events HTTP/1.1\r\nHost: localhost:{it.port}\r\nAuthorization: Bearer {it.token}\r\n\r\n".encode()
            )
            await reader.read_until(b"from now on")
            async with await RawClient.connect(it.proxy.port) as client:
                await client.request(get(f"{origin.url}/one"))
                await client.request(get(f"{origin.url}/x"))
            told = await reader.read_until(b"/x")
            assert b'"hits": ["one"]' in told
        _, figures = await it.ask("GET", "/metrics")
        for line in ('rulesproxy_rule_hits_total{rule="one"} 1', "rulesproxy_revision 1", "rulesproxy_requests_total 2",
                     "rulesproxy_reload_success 1"):  # fmt: skip
            assert line in figures.splitlines()
        for name in {line.split()[2] for line in figures.splitlines() if line.startswith("# TYPE")}:
            assert f"# HELP {name} " in figures


async def test_ctl(tmp_path: Path) -> None:
    async with controlled(tmp_path, control=f"unix:{tmp_path / 'control.sock'}") as it:
        await it.status("/one")
        code, out = await it.ctl("status")
        assert code == 0
        assert "revision 1, 2 rules" in out
        assert "1  one" in out
        assert await it.ctl("disable", "one") == (0, "one is off (revision 2)\n")
        assert "0  counts\n" in (await it.ctl("rules"))[1]
        assert await it.status("/one") == 502
        assert await it.ctl("enable", "none") == (1, "rulesproxy: no rule `none` in the files that are in force\n")
        assert await it.ctl("words.say", "3") == (0, "tea tea tea\n")
        assert (await it.ctl("set", "word=water"))[1] == 'word = "water"  (run time)\n'
        code, out = await it.ctl("explain", "GET http://a.test/one")
        assert "miss  counts" in out
        assert await it.ctl("check", str(it.rules)) == (0, "2 rules, nothing wrong\n")
        bad = it.rules.with_name("bad.yaml")
        bad.write_text("version: 1\nrules:\n  - mach: x\n")
        assert f"{bad}:3:5: error[RP101]" in (await it.ctl("check", str(bad)))[1]
        code, out = await it.ctl("check", "-", stdin="version: 1\nrules:\n  - mach: x\n")
        assert (code, "error[RP101]" in out) == (1, True)
        it.rules.write_text(RULES.replace("match:", "mach:"))
        code, out = await it.ctl("reload")
        assert (code, "error[RP101]" in out) == (1, True)
        assert json.loads((await it.ctl("status", "--json"))[1])["revision"] == 2
        assert (await it.ctl("enable"))[0] == 2
        assert (await it.ctl("check", "gone.yaml"))[0] == 2
        assert (await it.ctl("status", "--pid", "1"))[0] == 2
    code, out = await it.ctl("status")
    assert (code, "no proxy runs with --control" in out) == (2, True)


@pytest.mark.parametrize(
    ("control", "says"),
    [
        ("0.0.0.0:0", "other machines could reach it"),
        ("here:x", "write host:port, a port, or unix:PATH"),
        ("unix:/nowhere/at/all", "no such file or directory"),
    ],
)
async def test_where_it_does_not_listen(tmp_path: Path, control: str, says: str) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rulesproxy", "run", str(rules), "--listen", "127.0.0.1:0", "--control", control,
        env={**os.environ, "RULESPROXY_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(2 * LIMIT):
        _, said = await process.communicate()
    assert process.returncode == 3
    assert says in said.decode()
    assert "Traceback" not in said.decode()
