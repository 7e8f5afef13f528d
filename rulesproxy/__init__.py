"""rulesproxy: an intercepting HTTP(S) proxy that people program by writing rules in YAML.

The same engine is a library; everything below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rulesproxy.version import __version__ as __version__

if TYPE_CHECKING:
    from rulesproxy.app import Proxy as Proxy
    from rulesproxy.diagnostics import Diagnostic as Diagnostic
    from rulesproxy.engine.commands import command as command
    from rulesproxy.engine.context import ctx as ctx
    from rulesproxy.engine.dispatch import AddonHalt as AddonHalt
    from rulesproxy.engine.option import OptionsError as OptionsError
    from rulesproxy.filters.library import FilterError as FilterError
    from rulesproxy.filters.library import compile_filter as compile_filter
    from rulesproxy.flow.headers import Headers as Headers
    from rulesproxy.flow.http import HTTPFlow as HTTPFlow
    from rulesproxy.flow.http import HTTPRequest as HTTPRequest
    from rulesproxy.flow.http import HTTPResponse as HTTPResponse
    from rulesproxy.flow.route import Route as Route
    from rulesproxy.flow.route import Via as Via
    from rulesproxy.flow.tcp import TCPFlow as TCPFlow
    from rulesproxy.flow.websocket import WebSocketFlow as WebSocketFlow
    from rulesproxy.flow.websocket import WebSocketMessage as WebSocketMessage
    from rulesproxy.layers.http import HTTPLayer as HTTPLayer
    from rulesproxy.layers.layer import Layer as Layer
    from rulesproxy.layers.tcp import TCPLayer as TCPLayer
    from rulesproxy.layers.tls import TLSLayer as TLSLayer
    from rulesproxy.layers.websocket import WebSocketLayer as WebSocketLayer
    from rulesproxy.rules.dry.changes import Change as Change
    from rulesproxy.rules.dry.dry_run import DryRun as DryRun
    from rulesproxy.rules.dry.trace import Result as Result
    from rulesproxy.rules.dry.trace import RuleTrace as RuleTrace
    from rulesproxy.rules.load import RulesError as RulesError
    from rulesproxy.rules.ruleset import load_rules as load_rules


_WHERE = {
    "AddonHalt": "engine.dispatch",
    "Change": "rules.dry.changes",
    "Diagnostic": "diagnostics",
    "DryRun": "rules.dry.dry_run",
    "FilterError": "filters.library",
    "HTTPFlow": "flow.http",
    "HTTPLayer": "layers.http",
    "HTTPRequest": "flow.http",
    "HTTPResponse": "flow.http",
    "Headers": "flow.headers",
    "Layer": "layers.layer",
    "OptionsError": "engine.option",
    "Proxy": "app",
    "Result": "rules.dry.trace",
    "Route": "flow.route",
    "RuleTrace": "rules.dry.trace",
    "RulesError": "rules.load",
    "TCPFlow": "flow.tcp",
    "TCPLayer": "layers.tcp",
    "TLSLayer": "layers.tls",
    "Via": "flow.route",
    "WebSocketFlow": "flow.websocket",
    "WebSocketLayer": "layers.websocket",
    "WebSocketMessage": "flow.websocket",
    "command": "engine.commands",
    "compile_filter": "filters.library",
    "ctx": "engine.context",
    "load_rules": "rules.ruleset",
}

__all__ = [*sorted(_WHERE), "__version__"]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'rulesproxy' has no attribute {name!r}")
    value = getattr(import_module(f"rulesproxy.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
