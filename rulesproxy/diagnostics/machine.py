"""Diagnostics for programs: plain data, annotations of GitHub, and SARIF."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from rulesproxy.diagnostics.codes import CODES
from rulesproxy.diagnostics.model import Diagnostic, Severity, Span

GITHUB_LIMIT = 10
"""Annotations of one kind that GitHub shows for one step of a job; it drops the rest without a word."""
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def to_json(diagnostic: Diagnostic) -> dict[str, object]:
    """A diagnostic as plain data for machines."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "title": diagnostic.title,
        "help": diagnostic.help,
        "label": diagnostic.label,
        "notes": list(diagnostic.notes),
        **_place(diagnostic.span),
        "labels": [{"text": label.text, **_place(label.span)} for label in diagnostic.labels],
    }


def _place(span: Span | None) -> dict[str, object]:
    if span is None:
        return {"path": None, "line": None, "column": None, "end_line": None, "end_column": None}
    return {
        "path": span.source.path, "line": span.line, "column": span.column,
        "end_line": span.end_line, "end_column": span.end_column,
    }  # fmt: skip


def to_github(diagnostics: Sequence[Diagnostic]) -> list[str]:
    """Workflow commands that GitHub shows as annotations, errors first, with a last one where some are not shown."""
    lines = []
    left = 0
    for severity, command in _COMMANDS.items():
        some = [diagnostic for diagnostic in diagnostics if diagnostic.severity == severity]
        lines += [_annotation(command, diagnostic) for diagnostic in some[:GITHUB_LIMIT]]
        left += len(some[GITHUB_LIMIT:])
    if left:
        lines.append(f"::notice title=rulesproxy check::and {left} more; use --output-format sarif to see all of them")
    return lines


def to_sarif(diagnostics: Sequence[Diagnostic], version: str) -> dict[str, object]:
    """A SARIF 2.1.0 log, for code scanning and editors. Columns count characters."""
    codes = sorted({diagnostic.code for diagnostic in diagnostics})
    driver = {"name": "rulesproxy", "version": version, "rules": [_sarif_rule(code) for code in codes]}
    results = [_result(diagnostic, codes.index(diagnostic.code)) for diagnostic in diagnostics]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "runs": [run]}


def _annotation(command: str, diagnostic: Diagnostic) -> str:
    fields = {"title": f"{diagnostic.code}: {diagnostic.title}"}
    span = diagnostic.span
    if span is not None:
        fields = {"file": span.source.path, "line": str(span.line), "endLine": str(span.end_line), **fields}
        if span.line == span.end_line:
            # Columns of an annotation are read only where it is on one line; the last one is inside of it.
            fields |= {"col": str(span.column), "endColumn": str(max(span.column, span.end_column - 1))}
    shown = ",".join(f"{name}={_property(value)}" for name, value in fields.items())
    words = [diagnostic.help, *diagnostic.notes, f"see: rulesproxy explain {diagnostic.code}"]
    return f"::{command} {shown}::{_data(chr(10).join(word for word in words if word))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _sarif_rule(code: str) -> dict[str, object]:
    page = CODES[code]
    return {
        "id": code,
        "shortDescription": {"text": page.title},
        "fullDescription": {"text": page.explanation},
        "help": {"text": f"{page.rationale}\n\n{page.resolution}"},
    }


def _result(diagnostic: Diagnostic, rule: int) -> dict[str, object]:
    words = [diagnostic.title, diagnostic.label, diagnostic.help, *diagnostic.notes]
    result: dict[str, object] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": "\n".join(word for word in words if word)},
    }
    if diagnostic.span is not None:
        result["locations"] = [_location(diagnostic.span)]
    if diagnostic.labels:
        result["relatedLocations"] = [
            {**_location(label.span), "message": {"text": label.text}} for label in diagnostic.labels
        ]
    return result


def _location(span: Span) -> dict[str, object]:
    region = {
        "startLine": span.line, "startColumn": span.column, "endLine": span.end_line, "endColumn": span.end_column,
    }  # fmt: skip
    path = span.source.path
    uri = f"{'file://' if path.startswith('/') else ''}{quote(path)}"
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}
