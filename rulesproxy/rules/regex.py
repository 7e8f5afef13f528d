"""Regular expressions in actions: the same dialect, with the same checks, as in filters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rulesproxy.rules.nodes import Scalar
    from rulesproxy.rules.schema import Reader


def compile_regex(scalar: Scalar, reader: Reader) -> re.Pattern[str]:
    """The compiled pattern; a bad one goes to the reader."""
    try:
        return re.compile(scalar.text, re.ASCII)
    except re.error as error:
        at = min(error.pos or 0, max(len(scalar.text) - 1, 0))
        reader.fail("RP500", scalar.part(at, at + 1), f"this regular expression does not compile: {error.msg}")
