"""nginx as a reverse proxy: it neither intercepts nor forwards, but shows what a reverse proxy in C does."""

from pathlib import Path

from tests.benchmarks.scenarios import Scenario, Setup

from .base import Bench, Command, Proxy, find_program, output_of

_CONF = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream origin {{
    server 127.0.0.1:{origin_port};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


class Nginx(Proxy):
    name = "nginx"

    def __init__(self) -> None:
        super().__init__()
        self._program = ""

    def prepare(self, bench: Bench) -> str:
        self._program = find_program("nginx", "apt: nginx-light")
        return output_of([self._program, "-v"]).rpartition("/")[2]

    def unsupported(self, scenario: Scenario) -> str | None:
        if scenario.message is not None:
            return "it is not set up for WebSockets"
        return None if scenario.setup.mode == "reverse" else "it is measured as a reverse proxy only"

    def command(self, bench: Bench, setup: Setup, folder: Path, port: int) -> Command:
        conf = folder / "nginx.conf"
        conf.write_text(_CONF.format(folder=folder, port=port, origin_port=bench.origin.port))
        return Command([self._program, "-p", str(folder), "-c", str(conf)])
