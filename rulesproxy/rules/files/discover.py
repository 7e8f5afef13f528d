"""Which rule files are meant: the arguments, the environment, or what lies in the working folder and above it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rulesproxy.rules.files.top import PROJECT_FILE

NAMES = (PROJECT_FILE, "rules.yaml", "rules")
VARIABLE = "RULESPROXY_RULES"

_SEPARATOR = re.compile(rf"(?<!^pack)(?<!{os.pathsep}pack){os.pathsep}").split


@dataclass(frozen=True, slots=True)
class Found:
    """Rule files to load.

    Attributes:
        paths: files and folders, in order; empty where there is none.
        project: the nearest project file, whose `options` count even where files are named; None without one.
    """

    paths: tuple[Path, ...]
    project: Path | None


def find_rule_files(args: Sequence[str], env: Mapping[str, str], cwd: Path) -> Found:
    """The rule files by the order of precedence: arguments, `$RULESPROXY_RULES`, then the nearest folder upwards.

    Arguments may be packs, as `pack:NAME`. The search goes from the working folder up to the git root; without
    a git root it looks in the working folder only. Paths in the variable are separated as in `PATH`; the colon of
    a pack separates nothing.
    """
    folders = _folders(cwd)
    projects = (_short(folder / PROJECT_FILE, cwd) for folder in folders if (folder / PROJECT_FILE).is_file())
    project = next(projects, None)
    named = list(args) or [part for part in _SEPARATOR(env.get(VARIABLE, "")) if part]
    if named:
        return Found(tuple(Path(name) for name in named), project)
    for folder in folders:
        for name in NAMES:
            path = folder / name
            if path.is_dir() if name == "rules" else path.is_file():
                return Found((_short(path, cwd),), project)
    return Found((), project)


def _folders(cwd: Path) -> list[Path]:
    """The working folder and those above it up to the git root, which is the first with a `.git`."""
    above = [cwd, *cwd.parents]
    for at, folder in enumerate(above):
        if (folder / ".git").exists():
            return above[: at + 1]
    return [cwd]


def _short(path: Path, cwd: Path) -> Path:
    """The path as a user would write it: relative to the working folder where it lies in it."""
    try:
        return path.relative_to(cwd)
    except ValueError:
        return path
