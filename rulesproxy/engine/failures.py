"""What becomes of a handler that has failed: the line in the log, its place in the user's code, and failing closed.

It does not know how handlers are called (`dispatch`).
"""

from __future__ import annotations

import logging
import types
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from rulesproxy.engine.log import escape, logger
from rulesproxy.events import Handler, LayerLike
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow

if TYPE_CHECKING:
    from rulesproxy.engine.chain import Bound

SCRIPT = "_rulesproxy_script_"
"""What the names of modules begin with that are loaded from files of the user's."""

_CALLERS = frozenset({"rulesproxy.engine.dispatch", "rulesproxy.engine.chain"})
"""The modules that call handlers: where a handler was called is no place of its failure."""


def handle_failure(bound: Bound, error: BaseException, *args: object) -> None:
    """Log what a handler raised, in one line; where it fails closed, stop what it was asked about.

    Closed means: a 502 for an HTTP flow; a WebSocket or TCP message is dropped; a client or a layer is refused; a
    server is not dialled. In other events there is nothing to stop.
    """
    logger.error("%s", failure_text(bound, error), extra={"fields": {bound.kind: bound.name, "event": bound.event}})
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("the traceback of that error:", exc_info=error)
    if bound.closed and args:
        _close(bound, args[0])


def failure_text(bound: Bound, error: BaseException) -> str:
    """`addon NAME: EVENT: TYPE: MESSAGE (FILE:LINE)`, in one line.

    The place is one in the user's code. A rule that calls none has no place: where its actions are written is ours.
    """
    message = str(error)
    words = f"{type(error).__name__}: {message}" if message else type(error).__name__
    where = place(bound.call, error) if bound.kind == "addon" else script_place(error)
    return escape(f"{bound.kind} {bound.name}: {bound.event}: {words}{f' ({where})' if where else ''}")


def place(call: Handler, error: BaseException) -> str:
    """`FILE:LINE` of an exception: the last line inside the file of `call`, else the last line of all."""
    file = code_file(call)
    last = own = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if trace.tb_frame.f_globals.get("__name__") not in _CALLERS:
            last = f"{name}:{trace.tb_lineno}"
            if name == file:
                own = last
        trace = trace.tb_next
    return own or last


def script_place(error: BaseException) -> str:
    """`FILE:LINE` of the last line of an exception that is in a script of the user's; empty where there is none."""
    last = ""
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith(SCRIPT):
            last = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return last


def code_file(call: Handler) -> str | None:
    """The file that a function, method, partial or callable object is written in; None where it is not Python."""
    while isinstance(call, partial):
        call = call.func
    function = getattr(call, "__func__", call)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(type(call).__dict__.get("__call__"), "__code__", None)
    return code.co_filename if isinstance(code, types.CodeType) else None


def _close(bound: Bound, subject: object) -> None:
    setting = "on-error" if bound.kind == "rule" else "on_error"
    reason = f"the {bound.kind} {escape(bound.name)} failed, and it is set to fail closed ({setting}: closed)"
    if isinstance(subject, HTTPFlow):
        page = f"502 Bad Gateway: {reason}.\n"
        subject.response = HTTPResponse.make(502, page, [("Content-Type", "text/plain; charset=utf-8")])
    elif bound.event == "websocket_message" and isinstance(subject, WebSocketFlow):
        if subject.messages:
            subject.messages[-1].kill()
        else:
            subject.kill()
    elif bound.event in ("tcp_message", "begin_tcp") and isinstance(subject, TCPFlow):
        if subject.messages:
            subject.messages[-1].content = b""
        else:
            subject.kill()
    elif bound.event == "serverconnect":
        cast("_Refusable", subject).error = reason
    elif bound.event in ("clientconnect", "next_layer"):
        cast(LayerLike, subject).kill()


class _Refusable(Protocol):
    error: str | None
