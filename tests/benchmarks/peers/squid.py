"""Squid without cache and log. It intercepts TLS only in the build with OpenSSL."""

import re
from pathlib import Path

from tests.benchmarks.certificates import make_authority
from tests.benchmarks.scenarios import PATH_RULE_PROBE, Scenario, Setup, idle_rule

from .base import Bench, Command, Proxy, find_program, output_of

_CONF = """
{port_line}
cache deny all
cache_mem 0
access_log none
cache_log /dev/null
cache_store_log none
pid_filename {folder}/squid.pid
coredump_dir {folder}
visible_hostname localhost
pinger_enable off
shutdown_lifetime 0 seconds
http_access allow all
"""
_INTERCEPT = """
sslcrtd_program {helper} -s {home}/ssl_db -M 16MB
sslcrtd_children 2 startup=1
ssl_bump bump all
tls_outgoing_options cafile={origin_ca}
"""
_HELPERS = ("/usr/lib/squid/security_file_certgen", "/usr/lib64/squid/security_file_certgen")


class Squid(Proxy):
    """TLS is intercepted as soon as CONNECT came, which lets squid reuse its connections to the origin.

    Its helper `security_file_certgen` may lie beside the binary.
    """

    name = "squid"

    def __init__(self) -> None:
        super().__init__()
        self._program = ""
        self._helper = ""
        self._openssl = False

    def prepare(self, bench: Bench) -> str:
        self._program = bench.squid or find_program("squid", "apt: squid-openssl or squid")
        about = output_of([self._program, "-v"])
        self._openssl = "--with-openssl" in about
        beside = str(Path(self._program).parent / "security_file_certgen")
        self._helper = next((path for path in (beside, *_HELPERS) if Path(path).exists()), "")
        if self._openssl and self._helper:
            self._make_certificates()
        version = re.search(r"Version (\S+)", about)
        return (version[1] if version else "unknown") + ("" if self._openssl else " without OpenSSL")

    def unsupported(self, scenario: Scenario) -> str | None:
        if scenario.message is not None:
            return "it is not set up for WebSockets"
        setup = scenario.setup
        if setup.intercept and not self._openssl:
            return "this build cannot intercept TLS (apt: squid-openssl)"
        if setup.intercept and not self._helper:
            return "its helper security_file_certgen is missing"
        if setup.intercept and scenario.hosts > 1:
            return "it does not accept origin certificates for addresses"
        return None

    def command(self, bench: Bench, setup: Setup, folder: Path, port: int) -> Command:
        # Squid gives up root for another user, who must be able to write its own folder and to read the CA.
        folder.chmod(0o777)
        conf = _CONF.format(port_line=self._port_line(bench, setup, port), folder=folder)
        if setup.intercept:
            conf += _INTERCEPT.format(helper=self._helper, home=self.home, origin_ca=bench.origin.ca)
        (folder / "squid.conf").write_text(conf + _rules(setup))
        return Command([self._program, "-N", "-f", str(folder / "squid.conf")])

    def ca(self) -> Path | None:
        return self.home / "ca.pem"

    def _port_line(self, bench: Bench, setup: Setup, port: int) -> str:
        line = f"http_port 127.0.0.1:{port}"
        if setup.intercept:
            certificate = f"tls-cert={self.home}/ca.pem tls-key={self.home}/ca-key.pem"
            return f"{line} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=16MB {certificate}"
        if setup.mode == "reverse":
            peer = f"cache_peer 127.0.0.1 parent {bench.origin.port} 0 no-query originserver default"
            return f"{line} accel defaultsite=localhost:{bench.origin.port}\n{peer}"
        return line

    def _make_certificates(self) -> None:
        make_authority(self.home, "ca")
        output_of([self._helper, "-c", "-s", str(self.home / "ssl_db"), "-M", "16MB"])
        for path in [self.home, *self.home.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)


def _rules(setup: Setup) -> str:
    if setup.header_rule:
        return "request_header_add x-req 1 all\nreply_header_add x-resp 1 all\n"
    lines = []
    if setup.idle_rules:
        named = [idle_rule(number) for number in range(setup.idle_rules)]
        for number, (host, path) in enumerate([*named, ("localhost", PATH_RULE_PROBE)]):
            lines += [f"acl host{number} dstdomain {host}", f"acl path{number} urlpath_regex ^{path}"]
            lines += [f"request_header_add x-req 1 host{number} path{number}"]
    return "\n".join(lines) + "\n"
