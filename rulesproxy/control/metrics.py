"""The figures of a proxy in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rulesproxy.app import Figures
    from rulesproxy.control.feed import Feed
    from rulesproxy.live import Live

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics(live: Live, figures: Figures, feed: Feed) -> str:
    """All figures, one a line."""
    hits = figures.hits
    names = [addon.name for addon in live.rules.rules] if live.rules is not None else []
    lines: list[str] = []

    def add(name: str, kind: str, help: str, values: Iterable[tuple[Mapping[str, str], float]]) -> None:
        lines.append(f"# HELP rulesproxy_{name} {help}")
        lines.append(f"# TYPE rulesproxy_{name} {kind}")
        lines.extend([f"rulesproxy_{name}{_labels(labels)} {value:g}" for labels, value in values])

    add("requests_total", "counter", "Exchanges that are over.", [({}, feed.requests + figures.requests)])
    add("errors_total", "counter", "Exchanges that ended with an error.", [({}, feed.errors + figures.errors)])
    add("rule_hits_total", "counter", "Flows that a rule acted on.", [({"rule": n}, hits.get(n, 0)) for n in names])
    add("rules", "gauge", "Rules in force.", [({}, len(names))])
    add("revision", "gauge", "The revision of the rules in force.", [({}, live.revision)])
    add("reloads_total", "counter", "Reloads of the rule files by result.",
        [({"result": result}, count) for result, count in live.reloads.items()])  # fmt: skip
    add("reload_success", "gauge", "Whether the rule files as they are now are in force.",
        [({}, "rules" not in live.problems)])  # fmt: skip
    add("flows_in_flight", "gauge", "Flows that are not over, by the revision of their rules.",
        [({"revision": str(revision)}, count) for revision, count in figures.in_flight.items()])  # fmt: skip
    add("connections", "gauge", "Open sockets to clients and servers.", [({}, figures.connections)])
    add("upstream_connections", "gauge", "Connections to servers by state.",
        [({"state": "active"}, figures.active), ({"state": "idle"}, figures.idle)])  # fmt: skip
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{_escape(value)}"' for name, value in labels.items()]) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
