"""What the harness needs to know of a proxy, and the virtual environments that peers are installed into."""

import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.errors import Unavailable
from tests.benchmarks.origin import Origin
from tests.benchmarks.scenarios import Scenario, Setup


@dataclass(frozen=True)
class Bench:
    """Where things are: `cache` survives the run, `work` does not.

    `python` makes the peers' environments; `squid` is a squid binary other than the installed one.
    """

    cache: Path
    work: Path
    python: str
    origin: Origin
    squid: str | None = None


@dataclass(frozen=True)
class Command:
    """How to start a proxy."""

    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Proxy(ABC):
    """One kind of proxy.

    `name` is its row in the tables; `home` is a folder that is kept over all starts of one run, so that a CA is made
    once.
    """

    name: str
    start_timeout = 60.0

    def __init__(self) -> None:
        self.home = Path()

    @abstractmethod
    def prepare(self, bench: Bench) -> str:
        """Installs or finds the program and returns its version; Unavailable says why it cannot be had."""

    @abstractmethod
    def unsupported(self, scenario: Scenario) -> str | None:
        """Why this proxy cannot be measured so, or None."""

    @abstractmethod
    def command(self, bench: Bench, setup: Setup, folder: Path, port: int) -> Command:
        """Writes configuration into the folder and returns how to start the proxy on 127.0.0.1 and this port."""

    def ca(self) -> Path | None:
        """The file of the authority that signs intercepted connections, after the first start."""
        return None


def install(bench: Bench, package: str) -> Path:
    """Installs the newest release of a package that the Python can have, once, apart from all else; returns `bin`."""
    tag = subprocess.run(
        [bench.python, "-c", "import sys; print(sys.implementation.cache_tag)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tag.returncode:
        raise Unavailable(f"{bench.python} does not run")
    folder = bench.cache / f"{package}-{tag.stdout.strip()}"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ]
        for step in ([bench.python, "-m", "venv", str(folder)], pip):
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "ERROR" in line] or [done.stderr.strip()]
                raise Unavailable(f"{package} cannot be installed: {errors[-1][:200]}")
        (folder / "installed").touch()
    return folder / "bin"


def installed_version(binaries: Path, package: str) -> str:
    """The version of a package in an environment, and that of its Python."""
    code = (
        f"import importlib.metadata as m, platform as p; print(m.version({package!r}), 'on Python', p.python_version())"
    )
    return output_of([str(binaries / "python"), "-c", code])


def find_program(name: str, hint: str) -> str:
    """The path of a system program; Unavailable with the hint if there is none."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Unavailable(f"{name} is not installed ({hint})")
    return found


def output_of(argv: list[str]) -> str:
    """What a program prints, both streams."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip()
