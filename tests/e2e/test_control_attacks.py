"""Who should not, and what should not, get through to the control API: pages, other users, other machines, bad input."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from rulesproxy.control import api, feed, server
from rulesproxy.control.client import Client, NotReached
from rulesproxy.control.server import Control, ControlError
from rulesproxy.limits import CONTROL_BODY
from tests.support.client import RawClient
from tests.support.controlled import RULES, controlled
from tests.support.origin import LIMIT
from tests.support.running import get, running

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        # DNS rebinding: the name of a page that now points here.
        ("GET /status HTTP/1.1\r\nHost: rebound.test:PORT\r\nAuthorization: Bearer TOKEN", 403),
        ("GET /status HTTP/1.1\r\nHost: 127.0.0.1.rebound.test:PORT\r\nAuthorization: Bearer TOKEN", 403),
        ("GET /status HTTP/1.1\r\nHost: localhost.:PORT\r\nAuthorization: Bearer TOKEN", 403),
        ("GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer TOKEN", 403),
        ("GET http://rebound.test/status HTTP/1.1\r\nHost: rebound.test\r\nAuthorization: Bearer TOKEN", 403),
        ("GET /status HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nHost: rebound.test\r\nAuthorization: Bearer TOKEN", 400),
        ("GET /status HTTP/1.1\r\nAuthorization: Bearer TOKEN", 400),
        # A form or a picture of a page: no token; and what asks whether it may send one.
        ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 0", 401),
        ("POST /reload?token=TOKEN HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 0", 401),
        ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nCookie: token=TOKEN\r\nContent-Length: 0", 401),
        ("OPTIONS /reload HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://evil.test\r\n"
         "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization", 403),
        ("GET /status HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:1\r\nAuthorization: Bearer TOKEN", 403),
        ("GET /status HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nAuthorization: Bearer TOKEN\r\nAuthorization: Bearer x", 401),
        ("GET /status HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nAuthorization: Bearer \xe9", 401),
        ("GET /../status HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nAuthorization: Bearer TOKEN", 404),
    ],
)  # fmt: skip
async def test_who_is_refused(head: str, wanted: int, tmp_path: Path) -> None:
    async with running(rules=_rules(tmp_path)) as proxy, _control(tmp_path, proxy) as control:
        port = control.url.rpartition(":")[2]
        text = head.replace("PORT", port).replace("TOKEN", control.token)
        async with await RawClient.connect(int(port)) as client:
            client.send(text.encode("latin-1") + b"\r\n\r\n")
            response = await client.read_response(head.partition(" ")[0])
        assert response.status == wanted
        assert "access-control-allow-origin" not in str(response.fields).lower()


class _control:
    """The control API of a proxy in this process."""

    def __init__(self, home: Path, proxy: object) -> None:
        self.control, self.proxy = Control("127.0.0.1:0", home), proxy

    async def __aenter__(self) -> Control:
        await self.control.start(self.proxy)  # type: ignore[arg-type]
        return self.control

    async def __aexit__(self, *_: object) -> None:
        await self.control.stop()


def _rules(folder: Path) -> Path:
    file = folder / "rules.yaml"
    file.write_text(RULES)
    return file


# Its file


async def test_links_in_the_place_of_its_file(tmp_path: Path) -> None:
    """They are replaced, and what they point to is not touched."""
    target = tmp_path / "precious"
    target.write_text("precious")
    async with running(rules=_rules(tmp_path)) as proxy:
        control = Control("127.0.0.1:0", tmp_path)
        control.file.parent.mkdir(mode=0o700)
        control.file.symlink_to(target)
        control.file.with_suffix(".draft").symlink_to(target)
        await control.start(proxy)
        try:
            assert not control.file.is_symlink()
            assert stat.S_IMODE(control.file.stat().st_mode) == 0o600
        finally:
            await control.stop()
        assert (target.read_text(), list(control.file.parent.iterdir())) == ("precious", [])


async def test_a_folder_that_others_can_write_to(tmp_path: Path) -> None:
    async with running(rules=_rules(tmp_path)) as proxy:
        control = Control("127.0.0.1:0", tmp_path)
        control.file.parent.mkdir()
        control.file.parent.chmod(0o777)
        with pytest.raises(ControlError, match="others can write to"):
            await control.start(proxy)
        assert list(control.file.parent.iterdir()) == []


def test_a_file_that_others_have_written_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "control"
    folder.mkdir()
    file = folder / f"{os.getpid()}.json"
    file.write_text(json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:1", "token": "x"}))
    file.chmod(0o600)
    Client.find(tmp_path)
    file.chmod(0o666)
    with pytest.raises(NotReached, match="no proxy runs"):
        Client.find(tmp_path)


# Whoever is slow


async def test_who_does_not_finish_a_request_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONTROL_PATIENCE", 0.1)
    monkeypatch.setattr(api, "CONTROL_PATIENCE", 0.1)
    async with running(rules=_rules(tmp_path)) as proxy, _control(tmp_path, proxy) as control:
        port = int(control.url.rpartition(":")[2])
        ask = f"Host: localhost:{port}\r\nAuthorization: Bearer {control.token}\r\n"
        for begun in ("", "GET /status HT", f"GET /rules HTTP/1.1\r\n{ask}\r\nGET /status HT"):
            async with await RawClient.connect(port) as client:
                client.send(begun.encode())
                if begun.startswith("GET /rules"):
                    assert (await client.read_response()).status == 200
                assert await client.read_to_end() == b""
        async with await RawClient.connect(port) as client:
            client.send(f"POST /check HTTP/1.1\r\n{ask}Content-Length: 100\r\n\r\nversion".encode())
            assert (await client.read_response()).status == 408


async def test_more_connections_than_it_has_place_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONTROL_CONNECTIONS", 3)
    async with running(rules=_rules(tmp_path)) as proxy, _control(tmp_path, proxy) as control:
        port = int(control.url.rpartition(":")[2])
        ask = f"GET /rules HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {control.token}\r\n\r\n".encode()
        clients = [await RawClient.connect(port) for _ in range(3)]
        for client in clients:
            assert (await client.request(ask)).status == 200
        async with await RawClient.connect(port) as client:
            assert await client.read_to_end() == b""
        await clients.pop().close()
        async with asyncio.timeout(LIMIT):
            while True:
                async with await RawClient.connect(port) as client:
                    client.send(ask)
                    if await client.read():
                        break
        for client in clients:
            await client.close()


async def test_who_does_not_read_the_feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It misses what it has no place for; nobody waits for it, and nothing grows."""
    monkeypatch.setattr(feed, "FEED_BACKLOG", 10)
    control = Control("127.0.0.1:0", tmp_path)
    async with running(control.feed, rules=_rules(tmp_path), limits_header_block="64KB") as proxy:
        await control.start(proxy)
        port = int(control.url.rpartition(":")[2])
        async with await RawClient.connect(port) as reader, await RawClient.connect(proxy.port) as client:
            reader.send(f"GET /events HTTP/1.1\r\nHost: localhost:{port}\r\n".encode())
            reader.send(f"Authorization: Bearer {control.token}\r\n\r\n".encode())
            await reader.read_until(b"from now on")
            long = "x" * 14_000
            for number in range(1200):
                response = await client.request(get(f"http://a.test/one?{number}&{long}"))
                assert response.status == 451
            (subscriber,) = control.feed.subscribers
            assert len(subscriber._entries) == 10
            assert subscriber.missed > 0
            await reader.read_until(b"event: missed")
        async with asyncio.timeout(LIMIT):
            while control.feed.subscribers:
                await client_gone(proxy.port)
        await control.stop()


async def client_gone(port: int) -> None:
    """One more exchange: the next entry finds out that its reader has gone."""
    async with await RawClient.connect(port) as client:
        await client.request(get("http://a.test/one", "Connection: close"))


# Bad input


async def test_bad_input(tmp_path: Path) -> None:
    """Every answer is JSON and says what is wrong; nothing is a bug of ours."""
    bodies: list[tuple[str, str, bytes, int]] = [
        (
            "POST",
            "/explain",
            rb'{"url": "http://a.test/\ud800", "headers": {"\ud800": "\udfff"}, "body": "\ud800"}',
            200,
        ),
        ("POST", "/explain", b'{"url": "", "method": ""}', 200),
        ("POST", "/explain", b'{"url": "http://[::1", "response": {"status": 99}}', 400),
        ("POST", "/explain", b'{"url": "http://a.test/", "headers": [1]}', 400),
        ("POST", "/explain", b'{"url": "http://a.test/", "headers": 5}', 400),
        ("POST", "/explain", b'{"url": "http://a.test/", "response": {"status": true}}', 400),
        ("POST", "/explain", b"[" * 100_000, 400),
        ("POST", "/explain", b"9" * 5000, 400),
        ("POST", "/check", b"\xff\xfe\x00", 200),
        ("POST", "/check", b"[" * 100_000, 200),
        ("PATCH", "/options", b'{"limits_body": NaN}', 422),
        ("PATCH", "/options", b'{"shutdown_grace": Infinity}', 422),
        ("PATCH", "/options", b'{"shutdown_grace": -1}', 422),
        ("PATCH", "/options", b'{"word": "\\ud800"}', 200),
        ("PATCH", "/options", b'{"word": {"deep": 1}}', 422),
        ("PATCH", "/options", b'{"auth": "nocolon"}', 422),
        ("PATCH", "/options", b'{"upstream_ca": ["/nowhere.pem"]}', 422),
        ("PATCH", "/options", b'{"host_mismatch": "sometimes"}', 422),
        ("PATCH", "/options", b'{"intercept": null}', 422),
        ("PATCH", "/options", b"[]", 400),
        ("PATCH", "/rules/%00", b'{"enabled": true}', 404),
        ("POST", "/commands/words.say", b"[1e999]", 422),
        ("POST", "/commands/words.odd", b"", 200),
        ("POST", "/commands/..%2f", b"", 404),
        ("DELETE", "/status", b"", 405),
        ("GET", "/nothing", b"", 404),
    ]
    async with controlled(tmp_path) as it:
        before = (await it.ask("GET", "/options"))[1]
        for method, path, body, wanted in bodies:
            status, told = await it.ask(method, path, body)
            assert (status, type(told)) == (wanted, dict), (path, body[:60], told)
            assert "bug" not in str(told.get("error"))
        after = (await it.ask("GET", "/options"))[1]
        assert {name for name in after if after[name] != before[name]} == {"word"}
        status, told = await it.ask("POST", "/check", b"x" * (CONTROL_BODY + 1))
        assert status == 413
        assert it.token not in it.proxy.log
