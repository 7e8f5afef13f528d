"""Real clients through the proxy: curl, requests, httpx, wget; plain and through TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rulesproxy import Proxy
from tests.support import pki
from tests.support.origin import Origin, answer
from tests.support.programs import needs, run
from tests.support.recorder import Recorder
from tests.support.running import running
from tests.support.wire import Request

pytestmark = pytest.mark.e2e

BODY = b"hello " * 10_000


def reply(request: Request) -> bytes:
    return answer(200, request.body or BODY, [("Content-Type", "text/plain"), ("X-Method", request.method)])


def origins() -> tuple[Origin, Origin]:
    return Origin.http(reply), Origin.http(reply, tls="good")


async def saw(recorder: Recorder, count: int) -> None:
    """The traffic went through the proxy: a client that bypasses it would pass every other check."""
    await recorder.wait(*["response"] * count)
    assert recorder.count("response") == count


@needs("curl")
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--http1.0"],
        ["--http1.1", "--compressed"],
        ["--data", "a=b"],
        ["--data-binary", "@BIG", "--header", "Expect: 100-continue"],
        ["--header", "Transfer-Encoding: chunked", "--data-binary", "@BIG"],
        ["--upload-file", "BIG"],
    ],
)
async def test_curl(arguments: list[str], tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(BODY * 20)
    options = [argument.replace("BIG", str(big)) for argument in arguments]
    sent = BODY * 20 if any("BIG" in argument for argument in arguments) else b"a=b" if "--data" in arguments else b""
    plain, secure = origins()
    recorder = Recorder()
    async with plain, secure, running(recorder) as proxy:
        for url in (f"{plain.url}/x", f"https://localhost:{secure.port}/x"):
            ran = await run(
                "curl", "--silent", "--show-error", "--fail", "--proxy", proxy.url, "--cacert", proxy.ca_path,
                *options, url,
            )  # fmt: skip
            assert (ran.code, ran.err) == (0, "")
            assert ran.out == (sent or BODY)
        await saw(recorder, 2)
        assert [request.body for request in plain.requests + secure.requests] == [sent] * 2


@needs("curl")
async def test_curl_passed_through() -> None:
    async with origins()[1] as secure, running(intercept="none") as proxy:
        url = f"https://localhost:{secure.port}/x"
        ran = await run("curl", "-sS", "--proxy", proxy.url, "--cacert", pki.ca_file(), url)
        assert (ran.code, ran.out) == (0, BODY)


@needs("curl")
async def test_curl_sees_why(tmp_path: Path) -> None:
    async with Origin(tls="expired") as expired, running(intercept="all") as proxy:
        url = f"https://localhost:{expired.port}/x"
        ran = await run("curl", "-sS", "-w", "%{http_code}", "--proxy", proxy.url, "--cacert", proxy.ca_path, url)
        assert ran.out.endswith(b"502")
        assert b"expired" in ran.out
        ran = await run("curl", "-sS", "--proxy", proxy.url, "--cacert", pki.ca_file(), url)
        assert ran.code == 60, "our authority has to be trusted explicitly"


@needs("wget")
async def test_wget(tmp_path: Path) -> None:
    plain, secure = origins()
    recorder = Recorder()
    async with plain, secure, running(recorder) as proxy:
        for url in (f"{plain.url}/x", f"https://localhost:{secure.port}/x"):
            ran = await run(
                "wget", "-q", "-O", "-", "-e", "use_proxy=yes", "-e", f"http_proxy={proxy.url}",
                "-e", f"https_proxy={proxy.url}", f"--ca-certificate={proxy.ca_path}", url,
            )  # fmt: skip
            assert (ran.code, ran.out) == (0, BODY), ran.err
        await saw(recorder, 2)


async def test_requests() -> None:
    import requests

    def work(proxy: Proxy, urls: list[str]) -> list[bytes]:
        got = []
        with requests.Session() as session:
            session.trust_env = False
            session.proxies = {"http": proxy.url, "https": proxy.url}
            session.verify = str(proxy.ca_path)
            for url in urls:
                got.append(session.get(url, timeout=10).content)
                got.append(session.post(url, data=b"posted", timeout=10).content)
                got.append(session.post(url, data=iter([b"in ", b"chunks"]), timeout=10).content)
        return got

    plain, secure = origins()
    recorder = Recorder()
    async with plain, secure, running(recorder) as proxy:
        urls = [f"{plain.url}/x", f"https://localhost:{secure.port}/x"]
        assert await asyncio.to_thread(work, proxy, urls) == [BODY, b"posted", b"in chunks"] * 2
        await saw(recorder, 6)


async def test_httpx() -> None:
    import httpx

    plain, secure = origins()
    recorder = Recorder()
    async with plain, secure, running(recorder) as proxy:
        context = pki.client_context(proxy.ca_path)
        async with httpx.AsyncClient(proxy=proxy.url, verify=context, trust_env=False, timeout=10) as client:
            for url in (f"{plain.url}/x", f"https://localhost:{secure.port}/x"):
                assert (await client.get(url)).content == BODY
                responses = await asyncio.gather(*[client.post(url, content=b"%d" % n) for n in range(20)])
                assert [response.content for response in responses] == [b"%d" % n for n in range(20)]
        await saw(recorder, 42)
