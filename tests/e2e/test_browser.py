"""A real browser through the proxy: it trusts our CA, and loads an HTTPS page that a rule has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import pki
from tests.support.command import run_command
from tests.support.origin import Origin, answer
from tests.support.programs import needs, run
from tests.support.wire import Request

PAGE = b"<!doctype html><title>from the origin</title><p id=who>origin</p><script src=/app.js></script>"
SCRIPT = b"document.body.append('script of the origin')"

RULES = """
version: 1
rules:
  - id: page
    match: path == "/" and response.header["content-type"] contains "html"
    rewrite:
      response:
        headers:
          x-edited: "yes"
        body:
          replace:
            - text: <p id=who>origin</p>
              with: <p id=who>a rule</p>
  - id: script
    match: path == "/app.js"
    map-local: app.js
"""


def _origin(request: Request) -> bytes:
    if request.target == "/":
        return answer(200, PAGE, [("Content-Type", "text/html; charset=utf-8")])
    return answer(200, SCRIPT, [("Content-Type", "text/javascript")])


@pytest.mark.e2e
@needs("chromium", "certutil")
async def test_chromium_loads_a_page_that_a_rule_changed(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    (tmp_path / "app.js").write_text("document.body.append('script of a rule')")
    async with (
        Origin.http(_origin, tls="good") as origin,
        run_command(rules, "--upstream-ca", pki.ca_file()) as proxy,
    ):
        profile = tmp_path / "home"
        database = profile / ".pki" / "nssdb"
        database.mkdir(parents=True)
        for arguments in (
            ["-N", "--empty-password"],
            ["-A", "-t", "C,,", "-n", "rulesproxy", "-i", proxy.ca_path],
        ):
            made = await run("certutil", "-d", f"sql:{database}", *arguments)
            assert made.code == 0, made.err
        page = await run(
            "env",
            f"HOME={profile}",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'chromium'}",
            f"--proxy-server={proxy.url}",
            "--proxy-bypass-list=<-loopback>",
            "--virtual-time-budget=5000",
            "--dump-dom",
            f"{origin.url}/",
            timeout=90,
        )
        dom = page.out.decode()
        assert '<p id="who">a rule</p>' in dom, f"{dom}\n{page.err[-2000:]}\n{proxy.log}"
        assert "script of a rule" in dom
        assert "does not trust" not in proxy.log
        # The page came through the proxy, and the script never asked the origin.
        targets = [request.target for request in origin.requests]
        assert "/" in targets
        assert "/app.js" not in targets
