"""Colours for a terminal, and none for anything else."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {"good": "32", "bad": "31", "doubt": "33", "faint": "2", "strong": "1"}


class Paint:
    """Colours text where a person reads it: on a terminal, without `NO_COLOR` in the environment."""

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stdout
        self.on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def __call__(self, kind: str, text: str) -> str:
        """The text in the colour of a kind: good, bad, doubt, faint or strong."""
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self.on and text else text
