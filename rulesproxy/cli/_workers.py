"""What `run --workers N` and `check --workers N` have in common, and the program of a worker."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.limits import WORKERS

if TYPE_CHECKING:
    from rulesproxy.app import Proxy
    from rulesproxy.rules.files.project import Project
    from rulesproxy.workers.supervisor import Supervisor

# The working folder must not be where modules come from, as it would be with `-m`.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from rulesproxy.cli._worker import main; "
    "sys.exit(main([int(each) for each in sys.argv[2:]]))"
)


def worker_count(text: str) -> int:
    """The N of `--workers N`."""
    if not text.isdecimal() or not 1 <= int(text) <= WORKERS:
        raise argparse.ArgumentTypeError(f"a number of processes from 1 to {WORKERS}, not {text!r}")
    return int(text)


def make_supervisor(model: Proxy, args: argparse.Namespace, files: tuple[Path, ...], project: Project) -> Supervisor:
    """The supervisor of workers that are each what `model` would be."""
    import rulesproxy
    from rulesproxy.workers.supervisor import Supervisor

    command = [sys.executable, "-P", "-c", _PROGRAM, str(Path(rulesproxy.__file__).parents[1])]
    asks = {
        "arguments": {name: value for name, value in vars(args).items() if name != "run"},
        "files": [str(path) for path in files],
    }
    return Supervisor(model, args.workers, command, asks, files, args.profile, project)
