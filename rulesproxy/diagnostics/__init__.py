"""A user's mistake: how it is said (`model`), shown (`show`, `machine`) and explained (`codes`).

Nothing here knows rules or filters. What only some commands need, `machine` and `codes`, is imported by its own name.
"""

from rulesproxy.diagnostics.model import Diagnostic as Diagnostic
from rulesproxy.diagnostics.model import DiagnosticError as DiagnosticError
from rulesproxy.diagnostics.model import Label as Label
from rulesproxy.diagnostics.model import Severity as Severity
from rulesproxy.diagnostics.model import Source as Source
from rulesproxy.diagnostics.model import Span as Span
from rulesproxy.diagnostics.show import excerpt as excerpt
from rulesproxy.diagnostics.show import render as render
from rulesproxy.diagnostics.show import render_concise as render_concise
from rulesproxy.diagnostics.suggest import edit_distance as edit_distance
from rulesproxy.diagnostics.suggest import suggest as suggest
