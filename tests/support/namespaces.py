"""Two network namespaces, a client's and a router's, joined by a cable: what transparent mode needs, and no other machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

_NEWNET = 0x40000000
ROUTER, CLIENT, SERVER = "10.9.0.1", "10.9.0.2", "10.9.9.9"
FAR = "10.9.8.8"
"""An address behind the client, where nobody is."""
ROUTER6, CLIENT6, SERVER6 = "fd09::1", "fd09::2", "fd09:9::9"


@dataclass(frozen=True)
class Namespaces:
    """The names of both."""

    router: str
    client: str

    def redirect(self, port: int, chain: str = "PREROUTING") -> None:
        """Redirect what goes to the server's addresses to a port of the router."""
        for program, server in (("iptables", SERVER), ("iptables", FAR), ("ip6tables", SERVER6)):
            rule = ["-p", "tcp", "-d", server, "-j", "REDIRECT", "--to-ports", str(port)]
            _run("ip", "netns", "exec", self.router, program, "-w", "-t", "nat", "-A", chain, *rule)


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    """Make both, and be in the router's until the end; the server's addresses are the router's own.

    Skips the test where the machine cannot.
    """
    missing = [program for program in ("ip", "iptables", "ip6tables", "curl") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    names = Namespaces(f"rp-r-{os.getpid()}", f"rp-c-{os.getpid()}")
    try:
        _run("ip", "netns", "add", names.router)
        _run("ip", "netns", "add", names.client)
        _join(names)
        _run("ip", "netns", "exec", names.router, "iptables", "-w", "-t", "nat", "-L", "-n")
        _run("ip", "netns", "exec", names.router, "ip6tables", "-w", "-t", "nat", "-L", "-n")
    except subprocess.CalledProcessError as exc:
        _remove(names)
        pytest.skip(f"no network namespaces here: {' '.join(exc.cmd[:4])}: {exc.stderr.strip()}")
    try:
        with _inside(names.router):
            yield names
    finally:
        _remove(names)


def _join(names: Namespaces) -> None:
    router, client = names.router, names.client
    _run("ip", "link", "add", "rpr", "netns", router, "type", "veth", "peer", "name", "rpc", "netns", client)
    for namespace, link, addresses in (
        (router, "rpr", (f"{ROUTER}/24", f"{ROUTER6}/64")),
        (client, "rpc", (f"{CLIENT}/24", f"{CLIENT6}/64")),
        (router, "lo", (f"{SERVER}/32", f"{SERVER6}/128")),
    ):
        for address in addresses:
            # An address that is checked for duplicates first could not be used at once.
            now = ["nodad"] if ":" in address else []
            _run("ip", "-n", namespace, "address", "add", address, "dev", link, *now)
        _run("ip", "-n", namespace, "link", "set", link, "up")
    _run("ip", "-n", client, "link", "set", "lo", "up")
    _run("ip", "-n", client, "route", "add", "default", "via", ROUTER)
    _run("ip", "-n", router, "route", "add", FAR, "via", CLIENT)
    _run("ip", "-n", client, "-6", "route", "add", "default", "via", ROUTER6)


def _remove(names: Namespaces) -> None:
    for name in (names.client, names.router):
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@contextmanager
def _inside(name: str) -> Iterator[None]:
    """Sockets that this thread makes belong to the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as here, open(f"/run/netns/{name}") as there:
        if libc.setns(there.fileno(), _NEWNET):
            pytest.skip(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            libc.setns(here.fileno(), _NEWNET)


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True, text=True)
