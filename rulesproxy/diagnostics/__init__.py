"""A user's mistake: how it is said (`model`), shown (`show`, `machine`) and explained (`codes`).

Nothing here knows rules or filters. The pages of the codes are read when the first one is asked for.
"""

from rulesproxy.diagnostics.codes import CODES as CODES
from rulesproxy.diagnostics.codes import Code as Code
from rulesproxy.diagnostics.machine import to_github as to_github
from rulesproxy.diagnostics.machine import to_json as to_json
from rulesproxy.diagnostics.machine import to_sarif as to_sarif
from rulesproxy.diagnostics.model import Diagnostic as Diagnostic
from rulesproxy.diagnostics.model import DiagnosticError as DiagnosticError
from rulesproxy.diagnostics.model import Label as Label
from rulesproxy.diagnostics.model import Severity as Severity
from rulesproxy.diagnostics.model import Source as Source
from rulesproxy.diagnostics.model import Span as Span
from rulesproxy.diagnostics.show import render as render
from rulesproxy.diagnostics.show import render_concise as render_concise
from rulesproxy.diagnostics.suggest import edit_distance as edit_distance
from rulesproxy.diagnostics.suggest import suggest as suggest
