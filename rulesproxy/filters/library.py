"""`compile_filter`: a filter as a function of a flow, for those who use the package as a library."""

from __future__ import annotations

from rulesproxy.diagnostics import Diagnostic, DiagnosticError, Source, Span
from rulesproxy.filters.check import check
from rulesproxy.filters.compile import compile_filter as compile_checked
from rulesproxy.filters.parse import parse
from rulesproxy.filters.phases import Phase
from rulesproxy.filters.problem import FilterError as Problems
from rulesproxy.filters.problem import Problem
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow

_EVENTS = {
    Phase.C: ("http_connect",),
    Phase.T: ("clienthello",),
    Phase.Q: ("requestheaders",),
    Phase.B: ("request",),
    Phase.R: ("responseheaders",),
    Phase.S: ("response",),
    Phase.W: ("websocket_message",),
    Phase.X: ("tcp_message",),
    Phase.E: ("error",),
}


class FilterError(DiagnosticError):
    """A filter that cannot be used; `diagnostics` says what is wrong with it, and where."""


class Filter:
    """A compiled filter: call it with a flow.

    Attributes:
        text: what it was made from.
        events: the names of the events at which it can be decided.
        warnings: what is doubtful about it.
    """

    __slots__ = ("_test", "events", "text", "warnings")

    def __init__(self, text: str) -> None:
        """Compile `text`; see `compile_filter`."""
        source = Source("<filter>", text)
        try:
            checked = check(parse(text))
        except Problems as error:
            raise FilterError([_diagnostic(problem, source) for problem in error.problems]) from None
        self.text = text
        self.events = frozenset(name for phase, names in _EVENTS.items() if phase in checked.phases for name in names)
        self.warnings = tuple(_diagnostic(problem, source) for problem in checked.warnings)
        self._test = compile_checked(checked)

    def __call__(self, flow: HTTPFlow) -> bool:
        """Whether the filter matches this flow as it is now. Never raises."""
        return self._test(FlowView(flow))

    def __repr__(self) -> str:
        return f"<Filter {self.text}>"


def compile_filter(text: str) -> Filter:
    """The filter that `text` means.

    Raises:
        FilterError: it is no valid filter.
    """
    return Filter(text)


def _diagnostic(problem: Problem, source: Source) -> Diagnostic:
    line, column = _place(source.text, problem.start)
    end_line, end_column = _place(source.text, max(problem.end, problem.start + 1))
    span = Span(source, line, column, end_line, end_column)
    return Diagnostic(problem.code, problem.severity, problem.title, span, problem.help, problem.label)


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")
