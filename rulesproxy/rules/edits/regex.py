"""Regular expressions in actions: the same dialect, with the same checks, as in filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rulesproxy.filters.engine import Searching
    from rulesproxy.rules.files.nodes import Scalar
    from rulesproxy.rules.schema import Reader


def compile_regex(scalar: Scalar, reader: Reader) -> Searching:
    """What replaces its matches; a bad one goes to the reader."""
    from rulesproxy.filters.ast import Text
    from rulesproxy.filters.problem import FilterError
    from rulesproxy.filters.regex import replacing
    from rulesproxy.rules.schema import Bad

    try:
        return replacing(Text(scalar.text, 0, len(scalar.text), 0))[1]
    except FilterError as error:
        for problem in error.problems:
            span = scalar.part(problem.start, problem.end)
            reader.note(problem.code, span, problem.title, problem.help, problem.label, severity=problem.severity)
        raise Bad from None
