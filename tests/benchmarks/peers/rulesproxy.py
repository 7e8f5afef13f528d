"""This project, from this checkout or from another one."""

import sys
from pathlib import Path

from tests.benchmarks.errors import Unavailable
from tests.benchmarks.scenarios import MESSAGE_CHANGED, MESSAGE_PROBE, PATH_RULE_PROBE, Scenario, Setup, idle_rule

from .base import Bench, Command, Proxy, output_of

_HEADER_RULE = """
  - match: ~all
    rewrite:
      request:
        headers:
          x-req: "1"
      response:
        headers:
          x-resp: "1"
"""
_IDLE_RULE = """
  - match: host == "{host}" and path under "{path}"
    rewrite:
      request:
        headers:
          x-req: "1"
"""
_SCRIPT = f"""
def websocket_message(flow):
    message = flow.messages[-1]
    if not message.from_client and "{MESSAGE_PROBE}" in message.content:
        message.content = "{MESSAGE_CHANGED}"
"""
_RULES_PER_FILE = 2_000


class RulesProxy(Proxy):
    """`folder` is the checkout to run; the one that holds this file if none is given."""

    name = "rulesproxy"

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self._checkout = Path(folder).resolve() if folder else Path(__file__).resolve().parents[3]
        if folder:
            self.name = f"rulesproxy@{self._checkout.name}"

    def prepare(self, bench: Bench) -> str:
        if not (self._checkout / "rulesproxy" / "__main__.py").exists():
            raise Unavailable(f"{self._checkout} has no rulesproxy/__main__.py")
        commit = output_of(["git", "-C", str(self._checkout), "describe", "--always", "--dirty"])
        return f"{commit} on Python {sys.version.split()[0]}"

    def unsupported(self, scenario: Scenario) -> str | None:
        return None

    def command(self, bench: Bench, setup: Setup, folder: Path, port: int) -> Command:
        files = _write(_rules(setup), folder)
        argv = [sys.executable, "-m", "rulesproxy", "run", *files, "--listen", f"127.0.0.1:{port}"]
        argv += ["--quiet", "--ready-file", str(folder / "ready.json"), "--upstream-ca", str(bench.origin.ca)]
        if setup.intercept:
            argv += ["--intercept", "all"]
        if setup.mode == "reverse":
            argv += ["--mode", f"reverse:http://localhost:{bench.origin.port}"]
        if setup.message_rule:
            (folder / "messages.py").write_text(_SCRIPT)
            argv += ["--addon", str(folder / "messages.py")]
        return Command(argv, {"RULESPROXY_HOME": str(self.home), "PYTHONPATH": str(self._checkout)})

    def ca(self) -> Path | None:
        return self.home / "ca.pem"


def _rules(setup: Setup) -> list[str]:
    rules = [_HEADER_RULE] if setup.header_rule else []
    if setup.idle_rules:
        named = [idle_rule(number) for number in range(setup.idle_rules)]
        rules += [_IDLE_RULE.format(host=host, path=path) for host, path in [*named, ("localhost", PATH_RULE_PROBE)]]
    return rules


def _write(rules: list[str], folder: Path) -> list[str]:
    """Writes the rules in their order to as many files as they need: one file may not be larger than 1 MiB."""
    parts = [rules[start : start + _RULES_PER_FILE] for start in range(0, len(rules), _RULES_PER_FILE)] or [[" []\n"]]
    files = [folder / f"rules-{number:03}.yaml" for number in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        file.write_text("version: 1\nrules:" + "".join(part))
    return [str(file) for file in files]
