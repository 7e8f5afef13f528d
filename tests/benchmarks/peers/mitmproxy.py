"""mitmproxy, as its command `mitmdump` with its own options; only what reads messages is a script."""

import json
import re
from pathlib import Path

from tests.benchmarks.scenarios import MESSAGE_CHANGED, MESSAGE_PROBE, PATH_RULE_PROBE, Scenario, Setup, idle_rule

from .base import Bench, Command, Proxy, install, installed_version

_MOST_RULES = 1_000
_SCRIPT = f"""
def websocket_message(flow):
    message = flow.websocket.messages[-1]
    if not message.from_client and b"{MESSAGE_PROBE}" in message.content:
        message.content = b"{MESSAGE_CHANGED}"
"""


class Mitmproxy(Proxy):
    name = "mitmproxy"

    def __init__(self) -> None:
        super().__init__()
        self._program = Path()

    def prepare(self, bench: Bench) -> str:
        binaries = install(bench, "mitmproxy")
        self._program = binaries / "mitmdump"
        return installed_version(binaries, "mitmproxy")

    def unsupported(self, scenario: Scenario) -> str | None:
        if scenario.setup.idle_rules > _MOST_RULES:
            return f"it tries every rule and beyond {_MOST_RULES:,} answers a few requests a second"
        return None

    def command(self, bench: Bench, setup: Setup, folder: Path, port: int) -> Command:
        options = {
            "listen_host": "127.0.0.1",
            "listen_port": port,
            "ssl_verify_upstream_trusted_ca": str(bench.origin.ca),
            "modify_headers": _modify_headers(setup),
        }
        if setup.mode == "reverse":
            options["mode"] = [f"reverse:http://localhost:{bench.origin.port}"]
        if setup.message_rule:
            (folder / "messages.py").write_text(_SCRIPT)
            options["scripts"] = [str(folder / "messages.py")]
        # JSON is YAML. The options live beside the CA, in the one folder that mitmproxy reads.
        (self.home / "config.yaml").write_text(json.dumps(options))
        return Command([str(self._program), "--quiet", "--set", f"confdir={self.home}"])

    def ca(self) -> Path | None:
        return self.home / "mitmproxy-ca-cert.pem"


def _modify_headers(setup: Setup) -> list[str]:
    rules = ["/~q/x-req/1", "/~s/x-resp/1"] if setup.header_rule else []
    if setup.idle_rules:
        named = [idle_rule(number) for number in range(setup.idle_rules)]
        for host, path in [*named, ("localhost", PATH_RULE_PROBE)]:
            rules.append(f"|~q & ~d ^{re.escape(host)}$ & ~u ^http://[^/]*{path}|x-req|1")
    return rules
