"""proxy.py: it has no rules, so a plugin of a few lines stands for the header rule."""

from pathlib import Path

from tests.benchmarks.certificates import make_authority
from tests.benchmarks.scenarios import LARGE_BODY, Scenario, Setup

from .base import Bench, Command, Proxy, install, installed_version

_PLUGIN_FILE = "bench_plugin.py"
_HEADERS_PLUGIN = """
from proxy.http.proxy import HttpProxyBasePlugin


class HeaderRule(HttpProxyBasePlugin):
    def handle_client_request(self, request):
        request.add_header(b"x-req", b"1")
        return request

    def handle_upstream_chunk(self, chunk):
        if chunk[:7] == b"HTTP/1.":
            return memoryview(bytes(chunk).replace(b"\\r\\n", b"\\r\\nx-resp: 1\\r\\n", 1))
        return chunk
"""


class ProxyPy(Proxy):
    name = "proxy.py"

    def __init__(self) -> None:
        super().__init__()
        self._program = Path()

    def prepare(self, bench: Bench) -> str:
        binaries = install(bench, "proxy.py")
        self._program = binaries / "proxy"
        make_authority(self.home, "ca")
        return installed_version(binaries, "proxy.py")

    def unsupported(self, scenario: Scenario) -> str | None:
        if scenario.message is not None:
            return "it is not set up for WebSockets"
        setup = scenario.setup
        if setup.intercept and scenario.body >= LARGE_BODY:
            return "it needs seconds for each large intercepted body"
        if setup.idle_rules:
            return "it has no rules"
        if setup.mode == "reverse":
            return "its reverse proxy opens a connection to the origin for every request"
        return None

    def command(self, bench: Bench, setup: Setup, folder: Path, port: int) -> Command:
        argv = [str(self._program), "--hostname", "127.0.0.1", "--port", str(port), "--log-level", "ERROR"]
        argv += ["--num-workers", "1", "--num-acceptors", "1", "--data-dir", str(self.home)]
        if setup.intercept:
            argv += ["--ca-cert-file", str(self.home / "ca.pem"), "--ca-key-file", str(self.home / "ca-key.pem")]
            argv += ["--ca-signing-key-file", str(self.home / "ca-key.pem")]
            argv += ["--ca-cert-dir", str(self.home / "certificates"), "--ca-file", str(bench.origin.ca)]
        if setup.header_rule:
            (folder / _PLUGIN_FILE).write_text(_HEADERS_PLUGIN)
            argv += ["--plugins", f"{Path(_PLUGIN_FILE).stem}.HeaderRule"]
        return Command(argv, {"PYTHONPATH": str(folder)})

    def ca(self) -> Path | None:
        return self.home / "ca.pem"
