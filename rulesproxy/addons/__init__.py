"""Built-in addons: one file each, on public events only, in the order in which they stand in the chain."""

from __future__ import annotations

from rulesproxy.addons.access_log import AccessLog


def default_addons() -> list[object]:
    """New ones of every built-in addon, in order."""
    return [AccessLog()]
