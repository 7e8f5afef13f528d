"""Results of tests as JUnit XML, which every CI can show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rulesproxy.diagnostics import render

if TYPE_CHECKING:
    from rulesproxy.rules.dry.judge import Verdict

# What XML 1.0 cannot hold, not even as a reference (section 2.2).
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(verdicts: Sequence[Verdict], seconds: float) -> str:
    """The results as a document. A test is a `testcase`, its rule file the class."""
    failed = sum(not verdict.passed for verdict in verdicts)
    counts = {"tests": str(len(verdicts)), "failures": str(failed), "errors": "0", "time": f"{seconds:.3f}"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "rulesproxy", **counts})
    for verdict in verdicts:
        span = verdict.case.span
        place = {"classname": _clean(span.source.path), "file": _clean(span.source.path), "line": str(span.line)}
        case = ElementTree.SubElement(suite, "testcase", {"name": _clean(verdict.case.name), **place})
        for failure in verdict.failures:
            node = ElementTree.SubElement(case, "failure", {"message": _clean(failure.title), "type": failure.code})
            node.text = _clean(render(failure))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
