"""Rules that act on some flows, on real sockets: experiments, flaky servers, and bodies that are refused for their size."""

from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from rulesproxy import Proxy, RulesError, load_rules
from tests.e2e.test_scenarios import Names
from tests.support.client import RawClient
from tests.support.origin import Origin, answer
from tests.support.running import client_of, get, running
from tests.support.wire import Request

# on-overflow

READS = """
version: 1
rules:
  - match: request.text contains "secret"
    on-overflow: block
    block: 403
  - match: path == "/r" and response.text contains "secret"
    on-overflow: block
    rewrite: {response: {headers: {x-seen: "1"}}}
"""


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_request_that_is_too_big_to_be_read_is_refused(chunked: bool) -> None:
    async with Origin.http(answer(200, b"ok")) as origin:
        names = Names(origin)
        async with running(names, rules=load_rules(text=READS), limits_body=1000) as proxy:
            async with client_of(proxy) as client:
                assert (await client.request(get("http://a.t/", method="POST", body=b"x" * 1000))).status == 200
                assert (await client.request(get("http://a.t/", method="POST", body=b"a secret"))).status == 403
                request = get("http://a.t/", method="POST", body=b"x" * 1001)
                if chunked:
                    request = get("http://a.t/", "Transfer-Encoding: chunked", method="POST")
                    request += b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"
                response = await client.request(request)
                assert response.status == 413
                assert b"over 1000 bytes" in response.body
        assert [request.method for request in origin.requests] == ["POST"]


@pytest.mark.parametrize("chunks", [[], [b"x" * 500, b"x" * 501]])
async def test_a_response_that_is_too_big_to_be_read_is_refused(chunks: list[bytes]) -> None:
    async with Origin.http(answer(200, b"" if chunks else b"x" * 1001, chunks=chunks or None)) as origin:
        names = Names(origin)
        async with running(names, rules=load_rules(text=READS), limits_body=1000) as proxy:
            async with client_of(proxy) as client:
                # A body that no rule needs passes at any size.
                assert len((await client.request(get("http://a.t/other"))).body) == 1001
                response = await client.request(get("http://a.t/r"))
                assert (response.status, b"over 1000 bytes" in response.body) == (502, True)


# Named state

STEPS = """
version: 1
rules:
  - id: pay
    match: path == "/pay" and response.status == 200
    set-state: {client.step: '${query["step"]}'}
  - id: thanks
    match: path == "/thanks" and state["client.step"] != "paid"
    redirect: /pay
"""


async def test_state_outlives_connections_and_reloads_and_has_limits(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(STEPS)
    async with Origin.http(answer(200, b"ok")) as origin:
        async with running(Names(origin), rules=file, limits_state_value=4, errors=True) as proxy:

            async def ask(path: str) -> int:
                async with client_of(proxy) as client:
                    return (await client.request(get(f"http://shop.t{path}"))).status

            assert await ask("/thanks") == 302
            assert await ask("/pay?step=too-long") == 200
            assert await ask("/thanks") == 302
            assert await ask("/pay?step=paid") == 200
            assert await ask("/thanks") == 200
            file.write_text(STEPS.replace("/pay\n", "/pay?again\n"))
            assert await proxy.reload()
            assert await ask("/thanks") == 200
            assert await ask("/pay?step=too-long") == 200
            assert await ask("/thanks") == 200
            assert await ask("/pay?step=") == 200
            assert await ask("/thanks") == 302


# A6: a header with a token, for one host only

TOKEN = """
version: 1
rules:
  - id: token
    match: host == "api.t"
    rewrite:
      request:
        headers: {default: {authorization: "Bearer ${env:API_TOKEN}"}}
"""


async def test_a6_one_host_gets_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "s3cret")
    rules = load_rules(text=TOKEN)
    assert rules.secrets == {"s3cret"}

    def reply(request: Request) -> bytes:
        if request.target == "/go":
            return answer(302, headers=[("Location", "http://evil.t/next")])
        return answer(200, b"ok")

    async with Origin.http(reply) as origin, running(Names(origin), rules=rules) as proxy, client_of(proxy) as client:
        await client.request(get("http://api.t/a"))
        await client.request(get("http://other.t/a"))
        moved = await client.request(get("http://api.t/go"))
        assert moved.status == 302
        # A client that follows the redirect makes a new request, to another host.
        await client.request(get(moved.get("location") or ""))
        await client.request(get("http://api.t/b", "Authorization: Basic bWluZQ=="))
        told = {(request.get("host"), request.target): request.get("authorization") for request in origin.requests}
        assert told == {
            ("api.t", "/a"): "Bearer s3cret", ("api.t", "/go"): "Bearer s3cret", ("api.t", "/b"): "Basic bWluZQ==",
            ("other.t", "/a"): None, ("evil.t", "/next"): None,
        }  # fmt: skip


async def test_a6_a_token_that_is_missing_is_found_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_TOKEN", raising=False)
    file = tmp_path / "rules.yaml"
    file.write_text(TOKEN)
    with pytest.raises(RulesError) as caught:
        load_rules(file)
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert (found.code, found.span.line, found.span.column) == ("RP605", 8, 52)
    assert "API_TOKEN" in found.title


# A9: an experiment

EXPERIMENT = """
version: 1
rules:
  - id: newcomer
    match: host == "shop.t" and not has(request.cookie["uid"])
    rewrite:
      request:
        cookies: {uid: "${uuid}"}
      response:
        cookies: {uid: "${uuid}; Path=/"}
  - id: variant-b
    match: host == "shop.t"
    sample: 30% by request.cookie["uid"] seed SEED
    rewrite:
      request:
        headers: {x-variant: B}
      response:
        json: {set: {$.exp: B}}
"""
PAGE = answer(200, b'{"exp":"A","n":1}', [("Content-Type", "application/json")])
USERS = 10_000


def experiment(folder: Path, seed: int = 42) -> Path:
    file = folder / "rules.yaml"
    file.write_text(EXPERIMENT.replace("SEED", str(seed)))
    return file


async def variant(client: RawClient, origin: Origin, uid: str) -> bool:
    """Whether a user is in B: server and page say the same."""
    response = await client.request(get("http://shop.t/", f"Cookie: uid={uid}"))
    page = response.body == b'{"exp":"B","n":1}'
    assert page or response.body == b'{"exp":"A","n":1}'
    mine = [request for request in origin.requests if request.get("cookie") == f"uid={uid}"]
    assert {request.get("x-variant") for request in mine} == {"B" if page else None}
    return page


async def ask_all(proxy: Proxy, users: range) -> set[int]:
    """The users in B. Many requests go in one write: this is about which, and not about how fast."""
    found = set()
    async with client_of(proxy) as client:
        for start in range(users.start, users.stop, 100):
            some = range(start, min(start + 100, users.stop))
            client.send(b"".join(get("http://shop.t/", f"Cookie: uid=u{user}") for user in some))
            for user in some:
                if (await client.read_response()).body == b'{"exp":"B","n":1}':
                    found.add(user)
    return found


async def test_a9_a_share_of_the_users_sees_b(tmp_path: Path) -> None:
    file = experiment(tmp_path)
    async with Origin.http(PAGE) as origin:
        async with running(Names(origin), rules=file) as proxy:
            first = await ask_all(proxy, range(USERS))
            assert 0.285 <= len(first) / USERS <= 0.315
            # The server has seen the same users in B.
            told = {request.get("cookie") for request in origin.requests if request.get("x-variant") == "B"}
            assert told == {f"uid=u{user}" for user in first}
            # Another rule in the file, a reload, and the same users.
            file.write_text(file.read_text() + "  - {match: host == 'other.t', tag: x}\n")
            assert await proxy.reload()
            some = range(0, USERS, 1)[:500]
            assert await ask_all(proxy, some) == first & set(some)
        # A restart, and the same users.
        async with running(Names(origin), rules=file) as proxy:
            assert await ask_all(proxy, some) == first & set(some)
            # Another seed, and other users.
            experiment(tmp_path, 43)
            assert await proxy.reload()
            other = await ask_all(proxy, some)
            assert 0.2 <= len(other) / len(some) <= 0.4
            assert 0.15 <= len(other & first) / len(other) <= 0.45


async def test_a9_a_newcomer_gets_a_cookie_and_stays(tmp_path: Path) -> None:
    async with Origin.http(PAGE) as origin, running(Names(origin), rules=experiment(tmp_path)) as proxy:
        seen = set()
        for _ in range(30):
            async with client_of(proxy) as client:
                response = await client.request(get("http://shop.t/"))
                uid = SimpleCookie(response.get("set-cookie") or "")["uid"].value
                assert f"uid={uid}" in [request.get("cookie") for request in origin.requests]
                in_b = response.body == b'{"exp":"B","n":1}'
                assert [await variant(client, origin, uid) for _ in range(2)] == [in_b, in_b]
                seen.add(in_b)
        # 30 newcomers all in one variant: once in 40,000 runs.
        assert seen == {True, False}


# A11: a flaky server

FLAKY = """
version: 1
rules:
  - id: reset
    match: path == "/checkout"
    times: 2
    block: reset
  - id: busy
    match: path == "/checkout"
    times: 1
    block: {status: 503, headers: {retry-after: "1"}}
  - id: never
    match: host == "api.t"
    sample: 0%
    block:
"""


async def test_a11_two_resets_a_503_and_then_it_works() -> None:
    async with Origin.http(answer(200, b"ok")) as origin:
        async with running(Names(origin), rules=load_rules(text=FLAKY)) as proxy:
            for _ in range(2):
                async with client_of(proxy) as client:
                    # Other requests do not count.
                    assert (await client.request(get("http://api.t/other"))).status == 200
                    client.send(get("http://api.t/checkout"))
                    assert (await client.read_to_end(), client.broken) == (b"", True)
            async with client_of(proxy) as client:
                third = await client.request(get("http://api.t/checkout"))
                assert (third.status, third.get("retry-after")) == (503, "1")
                for _ in range(5):
                    assert (await client.request(get("http://api.t/checkout"))).status == 200
            assert [proxy.hits[name] for name in ("reset", "busy", "never")] == [2, 1, 0]


async def test_a11_the_same_by_number() -> None:
    text = FLAKY.replace("times: 2", "nth: [1, 2]").replace("times: 1", "nth: 1")
    async with Origin.http(answer(200, b"ok")) as origin:
        async with running(Names(origin), rules=load_rules(text=text)) as proxy:
            outcomes = []
            for _ in range(4):
                async with client_of(proxy) as client:
                    client.send(get("http://api.t/checkout", "Connection: close"))
                    received = await client.read_to_end()
                    outcomes.append("reset" if client.broken else received[9:12].decode())
            assert outcomes == ["reset", "reset", "503", "200"]


async def test_a11_with_no_probability_nothing_ever_happens() -> None:
    async with Origin.http(answer(200, b"ok")) as origin:
        async with running(Names(origin), rules=load_rules(text=FLAKY)) as proxy, client_of(proxy) as client:
            for _ in range(100):
                client.send(b"".join([get("http://api.t/")] * 100))
                for _ in range(100):
                    assert (await client.read_response()).status == 200
            assert proxy.hits["never"] == 0
