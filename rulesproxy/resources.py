"""Where the shipped data is: the grammar, the schema and the rule packs.

They live at the top of the source tree, and inside the package in a wheel. Nothing else needs to know.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def grammar(name: str) -> Path:
    """The path of a file in `grammar/`.

    Raises:
        FileNotFoundError: there is no such file, in the source tree or in the wheel.
    """
    return _find("_grammar", "grammar", name)


def rules(name: str) -> Path:
    """The path of a file in `rules/`.

    Raises:
        FileNotFoundError: there is no such file, in the source tree or in the wheel.
    """
    return _find("_rules", "rules", name)


@cache
def packs() -> dict[str, Path]:
    """The rule packs by name: the files `rules/NAME.yaml`."""
    folder = rules("README.md").parent
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _find(inside: str, beside: str, name: str) -> Path:
    for folder in (_PACKAGE / inside, _PACKAGE.parent / beside):
        path = folder / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"{beside}/{name} is not part of this installation of rulesproxy; install it again")
