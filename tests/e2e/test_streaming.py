"""A gigabyte each way, plain and intercepted: the proxy's memory stays where it was."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import pki
from tests.support.command import ROOT, Command, run_command
from tests.support.programs import needs, run

SIZE = 1024**3
ALLOWED = 40 * 1024**2

# No rule wants a body, but every flow passes a rule on its way.
RULES = """
version: 1
rules:
  - id: mark
    match: ~all
    rewrite:
      request:
        headers: {x-seen: "1"}
      response:
        headers: {x-seen: "1"}
"""


@asynccontextmanager
async def bulk_origin(folder: Path, tls: bool) -> AsyncIterator[str]:
    """The URL of an origin in another process."""
    arguments: list[str] = []
    if tls:
        certificate = pki.authority().issue_cert("127.0.0.1")
        (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        arguments = [str(folder / "cert.pem"), str(folder / "key.pem")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.bulk", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


def _memory(command: Command, key: str) -> int:
    """Resident bytes of the proxy: `VmRSS` now, `VmHWM` at its highest."""
    for line in Path(f"/proc/{command.process.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise AssertionError(f"no {key}")


@pytest.mark.e2e
@needs("curl")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read the memory of another process")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "intercepted"])
async def test_a_gigabyte_each_way_in_flat_memory(tls: bool, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(SIZE)
    async with (
        bulk_origin(tmp_path, tls) as url,
        run_command(rules, "--upstream-ca", pki.ca_file()) as proxy,
    ):
        curl = ["curl", "-sS", "-x", proxy.url, "--cacert", proxy.ca_path, "-o", "/dev/null"]
        warm = await run(*curl, "-w", "%{http_code}", f"{url}/1000")
        assert warm.out == b"200", warm.err
        idle = _memory(proxy, "VmRSS")
        down = await run(*curl, "-w", "%{http_code} %{size_download} %header{x-seen}", f"{url}/{SIZE}", timeout=200)
        assert down.out.split() == [b"200", str(SIZE).encode(), b"1"], down.err
        up = await run(*curl, "-w", "%{http_code} %header{x-received}", "-T", str(big), f"{url}/0", timeout=200)
        assert up.out.split() == [b"200", str(SIZE).encode()], up.err
        grown = _memory(proxy, "VmHWM") - idle
        assert grown <= ALLOWED, f"{grown / 1024**2:.1f} MiB over idle"
