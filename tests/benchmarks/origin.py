"""The origin: one nginx process with a plain and a TLS port, an echo of WebSockets, and their counts of what came."""

import http.client
import random
import shutil
import socket
import time
from pathlib import Path

from . import scenarios
from .certificates import make_authority, make_leaf
from .errors import Unavailable
from .processes import Program

_CONF = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nodelay on;
  open_file_cache max=16;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
{listens}
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location = {small} {{ return 200 "{body}"; }}
    location = {marked} {{ if ($http_x_req != "1") {{ return 417; }} return 200 "{body}"; }}
    location = {probe} {{ if ($http_x_req != "1") {{ return 417; }} return 200 "{body}"; }}
    location = {unmarked} {{ if ($http_x_req) {{ return 417; }} return 200 "{body}"; }}
    location = {large} {{ root {folder}; }}
    location = /status {{ stub_status; }}
  }}
}}
"""


class Origin:
    """A running origin.

    `port` and `tls_port` listen on all addresses of localhost; the TLS port also on 127.0.1.1 to 127.0.1.100, which
    stand for a hundred hosts; `ca` is the file of the authority that signed its certificate.
    """

    def __init__(self, folder: Path, core: int, echo: Path) -> None:
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if nginx is None:
            raise Unavailable("no origin: nginx is not installed (apt: nginx-light)")
        folder.mkdir()
        self.port, self.tls_port, self.echo_port = free_port(), free_port(), free_port()
        authority = make_authority(folder, "origin-ca")
        self.ca = authority.certificate_file
        certificate, key = make_leaf(authority, folder, ["localhost", "127.0.0.1", *_many_hosts()])
        (folder / scenarios.PATH_LARGE[1:]).write_bytes(b"\0" * scenarios.LARGE_BODY)
        conf = folder / "nginx.conf"
        conf.write_text(
            _CONF.format(
                folder=folder,
                certificate=certificate,
                key=key,
                listens="\n".join(f"    listen {listen};" for listen in self._listens()),
                body="x" * scenarios.SMALL_BODY,
                small=scenarios.PATH_SMALL,
                marked=scenarios.PATH_MARKED,
                unmarked=scenarios.PATH_UNMARKED,
                probe=scenarios.PATH_RULE_PROBE,
                large=scenarios.PATH_LARGE,
            )
        )
        self._echo: Program | None = None
        self._program = Program([nginx, "-p", str(folder), "-c", str(conf)], core, folder / "log", {}, folder)
        if not wait_for_port(self._program, self.port, 10):
            words = self._program.last_words()
            self.close()
            raise Unavailable(f"the origin does not start: {words}")
        self._echo = Program([str(echo), str(self.echo_port)], core, folder / "echo-log", {}, folder)
        if not wait_for_port(self._echo, self.echo_port, 10):
            self.close()
            raise Unavailable("the WebSocket origin does not start")

    def authority(self, scenario: scenarios.Scenario) -> str:
        """Host and port to ask for; `%d` stands for the number of the host."""
        if scenario.message is not None:
            return f"127.0.0.1:{self.echo_port}"
        host = "127.0.1.%d" if scenario.hosts > 1 else "localhost"
        return f"{host}:{self.tls_port if scenario.tls else self.port}"

    def counts(self, scenario: scenarios.Scenario) -> tuple[int, int]:
        """Connections accepted and requests or messages received since the start, this question included."""
        if scenario.message is not None:
            opened, frames = _ask(self.echo_port, "/counts").split()
            return int(opened), int(frames) + 1
        accepted, _, requests = _ask(self.port, "/status").splitlines()[2].split()
        return int(accepted), int(requests)

    def cpu_seconds(self) -> float:
        """Processor time used since the start."""
        return sum(program.cpu_seconds() for program in (self._program, self._echo) if program is not None)

    def close(self) -> None:
        self._program.stop()
        if self._echo is not None:
            self._echo.stop()

    def _listens(self) -> list[str]:
        found = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        hosts = [f"[{host}]" if ":" in host else host for host in sorted({str(host) for host in found} | {"127.0.0.1"})]
        listens = [f"{host}:{self.port} backlog=4096" for host in hosts]
        return listens + [f"{host}:{self.tls_port} ssl backlog=4096" for host in [*hosts, *_many_hosts()]]


def _ask(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody holds at this moment.

    It lies below the ports that outgoing connections get: a connection attempt to a free port of that range can meet
    itself, and would look like a proxy that accepts.
    """
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for_port(program: Program, port: int, timeout: float) -> float:
    """Seconds from the start of the program to the first accepted connection; 0 if there was none in time."""
    end = program.started + timeout
    while time.perf_counter() < end and program.alive:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return time.perf_counter() - program.started
        time.sleep(0.002)
    return 0.0


def _many_hosts() -> list[str]:
    return [f"127.0.1.{number}" for number in range(1, scenarios.HOST_NAMES + 1)]
