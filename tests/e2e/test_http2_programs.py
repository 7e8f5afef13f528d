"""HTTP/2 with servers of other people, nginx and nghttpd, and with curl: requests, bodies, many at once, flat memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.test_streaming import ALLOWED, SIZE, _memory
from tests.support import pki
from tests.support.command import run_command
from tests.support.origin import LIMIT
from tests.support.programs import needs, run

pytestmark = [pytest.mark.e2e, needs("curl")]
RULES = """version: 1
rules:
  - match: ~all
    upstream:
      http-version: 2
  - match: ~all
    rewrite: {response: {headers: {x-seen: "1"}}}
"""
NGINX = """
{user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{tls} ssl http2; listen 127.0.0.1:{plain} http2;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    root {folder}; client_max_body_size 0; http2_max_concurrent_streams 8; keepalive_requests 20;
    location /echo {{ return 200 "$server_protocol $request_method $http_x_a"; }}
    location /up {{ dav_methods PUT; }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def certificate(folder: Path) -> None:
    made = pki.authority().issue_cert("localhost", "127.0.0.1")
    (folder / "key.pem").write_bytes(made.private_key_pem.bytes())
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))


@asynccontextmanager
async def program(port: int, *command: str) -> AsyncIterator[None]:
    """A server that listens on a port."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(LIMIT):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except ConnectionRefusedError:
                    assert process.returncode is None, "it did not start"
                    await asyncio.sleep(0.02)
        yield
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def nginx(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """The URLs of nginx with TLS and without."""
    certificate(folder)
    tls, plain = free_port(), free_port()
    # Its workers would give up being root, and could not get at the files then.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, tls=tls, plain=plain, user=user))
    async with program(
        tls, shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")
    ):
        yield f"https://localhost:{tls}", f"http://localhost:{plain}"


@asynccontextmanager
async def nghttpd(folder: Path) -> AsyncIterator[str]:
    """The URL of nghttpd."""
    certificate(folder)
    port = free_port()
    arguments = [str(port), str(folder / "key.pem"), str(folder / "cert.pem"), "-d", str(folder), "--echo-upload"]
    arguments += ["--trailer", "x-trailer: end", "-m", "50"]
    async with program(port, "nghttpd", *arguments):
        yield f"https://localhost:{port}"


def rules(folder: Path) -> Path:
    file = folder / "rules.yaml"
    file.write_text(RULES)
    return file


@needs("nginx")
async def test_nginx(tmp_path: Path) -> None:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "file").write_bytes(content := bytes(range(256)) * 5000)
    async with nginx(folder) as urls, run_command(rules(tmp_path), "--upstream-ca", pki.ca_file()) as proxy:
        curl = ["curl", "-sS", "-x", proxy.url, "--cacert", proxy.ca_path]
        for url in urls:
            said = await run(
                *curl, "-H", "X-A: hi", "-w", " %{http_code} %{http_version} %header{x-seen}", f"{url}/echo"
            )
            assert said.out == b"HTTP/2.0 GET hi 200 1.1 1", said.err
            said = await run(*curl, f"{url}/file")
            assert hashlib.sha256(said.out).digest() == hashlib.sha256(content).digest()
            said = await run(*curl, "-r", "10-19", f"{url}/file")
            assert said.out == content[10:20]
            said = await run(*curl, "-I", f"{url}/file")
            assert b"content-length: 1280000" in said.out
            said = await run(*curl, "-o", "/dev/null", "-w", "%{http_code}", f"{url}/none")
            assert said.out == b"404"


@needs("nginx")
async def test_nginx_ends_connections_and_refuses_streams(tmp_path: Path) -> None:
    """It lets 20 requests pass on a connection, then says GOAWAY, and 8 at once: nobody notices."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(300_000))
    async with nginx(folder) as (url, _), run_command(rules(tmp_path), "--upstream-ca", pki.ca_file()) as proxy:
        curl = ["curl", "-sS", "-x", proxy.url, "--cacert", proxy.ca_path, "--parallel", "--parallel-max", "40"]
        many = [part for number in range(150) for part in ("-o", "/dev/null", f"{url}/file?{number}")]
        said = await run(*curl, "-w", "%{http_code} %{size_download}\n", *many, timeout=60)
        assert said.out.decode().split("\n").count("200 300000") == 150, said.err


@needs("nghttpd")
async def test_nghttpd(tmp_path: Path) -> None:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(300_000))
    async with nghttpd(folder) as url, run_command(rules(tmp_path), "--upstream-ca", pki.ca_file()) as proxy:
        curl = ["curl", "-sS", "-x", proxy.url, "--cacert", proxy.ca_path]
        said = await run(*curl, f"{url}/file")
        assert said.out == bytes(300_000)
        body = bytes(range(256)) * 8000
        (folder / "up").write_bytes(body)
        for field in ("Content-Type: x/y", "Transfer-Encoding: chunked", "Expect: 100-continue"):
            heads = folder / "heads"
            said = await run(*curl, "-D", heads, "-H", field, "--data-binary", f"@{folder}/up", f"{url}/echo")
            assert said.out == body, said.err
            assert heads.read_bytes().endswith(b"x-trailer: end\r\n"), "it comes behind the body"
        many = [part for number in range(200) for part in ("-o", "/dev/null", f"{url}/file?{number}")]
        said = await run(*curl, "--parallel", "--parallel-max", "60", "-w", "%{http_code}\n", *many, timeout=60)
        assert said.out.decode().split() == ["200"] * 200, said.err


@needs("nginx")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read the memory of another process")
@pytest.mark.timeout(300)
async def test_a_gigabyte_each_way_in_flat_memory(tmp_path: Path) -> None:
    folder = tmp_path / "www"
    folder.mkdir()
    for name, size in (("big", SIZE), ("small", 1000)):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    (folder / "up").mkdir()
    async with nginx(folder) as (url, _), run_command(rules(tmp_path), "--upstream-ca", pki.ca_file()) as proxy:
        curl = ["curl", "-sS", "-x", proxy.url, "--cacert", proxy.ca_path, "-o", "/dev/null"]
        warm = await run(*curl, "-w", "%{http_code}", f"{url}/small")
        assert warm.out == b"200", warm.err
        idle = _memory(proxy, "VmRSS")
        down = await run(*curl, "-w", "%{http_code} %{size_download}", f"{url}/big", timeout=200)
        assert down.out.split() == [b"200", str(SIZE).encode()], down.err
        up = await run(
            *curl, "-w", "%{http_code} %{size_upload}", "-T", str(folder / "big"), f"{url}/up/big", timeout=200
        )
        assert up.out.split() == [b"201", str(SIZE).encode()], up.err
        assert (folder / "up" / "big").stat().st_size == SIZE
        grown = _memory(proxy, "VmHWM") - idle
        assert grown <= ALLOWED, f"{grown / 1024**2:.1f} MiB over idle"
