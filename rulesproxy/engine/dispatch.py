"""Calling handlers: one loop over a tuple, and what happens to a handler that raises, hangs or halts.

It knows bound handlers and the snapshot of them that a flow uses. It does not know how they were found (`bind`) nor
when the snapshot changes (`manager`).

    chain = engine.chain
    chain.hold()
    try:
        if chain.request:
            await dispatch(chain.request, flow)
    finally:
        chain.release()
"""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Literal, cast

from rulesproxy.engine.log import escape, logger
from rulesproxy.events import EVENTS, Handler, LayerLike
from rulesproxy.flow.connection import Address, ClientConn
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.route import Route
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.limits import DEFAULT

SCRIPT = "_rulesproxy_script_"
"""What the names of modules begin with that are loaded from files of the user's."""


class AddonHalt(Exception):
    """Raised by a handler: the addons behind it do not see this event."""


class HandlerTimeout(Exception):
    """An `async` handler took longer than `limits.handler`."""


class Bound:
    """One handler of one addon.

    Attributes:
        call: the function or bound method.
        owner: the addon.
        name: what messages call the owner.
        event: the event it handles.
        is_async: whether calling it gives a coroutine.
        closed: whether it fails closed (`on_error: closed`).
        kind: `addon` or `rule`, for messages.
        timeout: how long an `async` handler may take, in seconds.
    """

    __slots__ = ("call", "closed", "event", "is_async", "kind", "name", "owner", "timeout")

    def __init__(
        self,
        call: Handler,
        owner: object,
        name: str,
        event: str,
        closed: bool = False,
        kind: Literal["addon", "rule"] = "addon",
        timeout: float = DEFAULT.handler,
    ) -> None:
        self.call = call
        self.owner = owner
        self.name = name
        self.event = event
        self.is_async = iscoroutinefunction(call)
        self.closed = closed
        self.kind = kind
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"<Bound {self.kind} {self.name} {self.event}>"


_CONTENTS = (*EVENTS, "_bodies_request", "_bodies_response", "_every_host", "_hosts", "_messages", "_routes", "addons")


class Chain:
    """A snapshot of the addon chain: for every event of `events.EVENTS` an attribute with its handlers, in order.

    It never changes while its flows run, except that an addon with a `done` that was replaced longer ago than
    `limits.replaced_addon` makes place for the one that replaced it. Made by `bind.chain_of`; `Chain()` has no handler.

    Attributes:
        addons: every addon in it, in order.
        users: the flows and connections that hold it.
        on_idle: called when the last of them lets go; set by the engine once the chain is no longer the current one.
    """

    __slots__ = (*_CONTENTS, "on_idle", "users")

    if TYPE_CHECKING:
        # The slots are made from the table of events, which is the only place that lists them.
        def __getattr__(self, event: str) -> tuple[Bound, ...]: ...

    def __init__(
        self,
        handlers: tuple[Bound, ...] = (),
        addons: tuple[object, ...] = (),
        every_host: bool = False,
        hosts: tuple[Bound, ...] = (),
        request_bodies: tuple[Bound, ...] = (),
        response_bodies: tuple[Bound, ...] = (),
        routes: tuple[Bound, ...] = (),
        messages: tuple[Bound, ...] = (),
    ) -> None:
        for event in EVENTS:
            setattr(self, event, tuple([bound for bound in handlers if bound.event == event]))
        self.addons = addons
        self.users = 0
        self.on_idle: Callable[[Chain], None] | None = None
        self._every_host = every_host
        self._hosts = hosts
        self._bodies_request = request_bodies
        self._bodies_response = response_bodies
        self._routes = routes
        self._messages = messages

    def wants_host(self, host: str) -> bool:
        """Whether some addon may want to see inside TLS to this host (`--intercept auto`)."""
        return self._every_host or any(_wants(bound, host) for bound in self._hosts)

    def wants_body(self, flow: HTTPFlow, side: Literal["request", "response"]) -> bool:
        """Whether some addon wants the whole body of this side before its event."""
        asked = self._bodies_request if side == "request" else self._bodies_response
        for bound in asked:  # noqa: SIM110  (a generator would cost more than the loop)
            if _wants(bound, flow, side):
                return True
        return False

    def wants_messages(self, flow: HTTPFlow) -> bool:
        """Whether some addon wants the messages of the WebSocket that this request asks for."""
        return any(_wants(bound, flow) for bound in self._messages)

    def route_tunnel(self, client_conn: ClientConn, address: Address) -> Route | None:
        """How the server of a connection is reached of which we see no request. A later addon has the last word."""
        route = None
        for bound in self._routes:
            RUNNING[0] = (bound,)
            try:
                chosen = bound.call(client_conn, address)
                if chosen is not None:
                    route = cast(Route, chosen).over(route)
            except Exception as error:
                logger.error("%s", failure_text(bound, error))
            finally:
                RUNNING[0] = None
        return route

    def hold(self) -> None:
        """A flow or a connection begins with this snapshot."""
        self.users += 1

    def release(self) -> None:
        """It has ended."""
        self.users -= 1
        if not self.users and self.on_idle is not None:
            self.on_idle(self)

    def alike(self, other: Chain) -> bool:
        """Whether both would call the same handlers in the same way."""
        return all(_key(getattr(self, name)) == _key(getattr(other, name)) for name in _CONTENTS)

    def follow(self, other: Chain) -> None:
        """Become what `other` is, users apart: the flows that still hold this one go on with it."""
        for name in _CONTENTS:
            setattr(self, name, getattr(other, name))


async def dispatch(handlers: tuple[Bound, ...], *args: object) -> None:
    """Call every handler in order. A plain function is called, a coroutine awaited.

    What a handler raises is logged and the next one still runs, except `AddonHalt`, which stops the event.
    """
    for bound in handlers:
        RUNNING[0] = (bound,)
        called = False
        try:
            result = bound.call(*args)
            called = True
            if result is not None and (bound.is_async or hasattr(result, "__await__")):
                await _finish(bound, result)
        except AddonHalt:
            break
        except GeneratorExit as error:
            if called:
                # Not the handler's doing: whoever waits for us has let go.
                raise
            handle_failure(bound, error, *args)
        except _raised() as error:
            _check_ours(error)
            handle_failure(bound, error, *args)
        finally:
            RUNNING[0] = None


async def dispatch_layer(handlers: tuple[Bound, ...], layer: LayerLike) -> LayerLike:
    """`next_layer`: call every handler in order with the layer that the one before has returned; give the last."""
    for bound in handlers:
        RUNNING[0] = (bound,)
        called = False
        try:
            result = bound.call(layer)
            called = True
            if hasattr(result, "__await__"):
                result = await _finish(bound, result)
            if result is not None:
                if not hasattr(result, "context"):
                    raise TypeError(f"a handler of next_layer returns a layer or None, not {type(result).__name__}")
                layer = cast(LayerLike, result)
        except AddonHalt:
            break
        except GeneratorExit as error:
            if called:
                raise
            handle_failure(bound, error, layer)
        except _raised() as error:
            _check_ours(error)
            handle_failure(bound, error, layer)
        finally:
            RUNNING[0] = None
    return layer


def run_guarded(bound: Bound, *args: object) -> object:
    """Call one handler inside another one, as the rule set does with its rules, and return what it returns.

    What it raises is logged under its own name, and its own `closed` applies; then None is returned. `AddonHalt`
    passes. It costs one Python call and two stores. An `async` handler goes through `dispatch((bound,), …)` instead.
    """
    outer = RUNNING[0]
    RUNNING[0] = (bound,)
    try:
        return bound.call(*args)
    except AddonHalt:
        raise
    except (*_raised(), GeneratorExit) as error:
        _check_ours(error)
        handle_failure(bound, error, *args)
        return None
    finally:
        RUNNING[0] = outer


RUNNING: list[tuple[Bound] | None] = [None]
"""The handler that has the event loop now. The watchdog reads it from its thread.

A fresh tuple per call: while somebody keeps it, another call cannot be the same object, so no counter and no clock is
needed to tell a long call from many short ones.
"""


def _raised() -> tuple[type[Exception], type[SystemExit], type[BaseException]]:
    """What a handler may raise without an end of more than itself.

    `sys.exit()` in a handler would end the proxy with everybody's flows, and a `CancelledError` that nobody has asked
    for would end the connection without a word.
    """
    # Only what runs needs asyncio: commands that read rules do not wait for it to be imported.
    from asyncio import CancelledError

    return Exception, SystemExit, CancelledError


def _check_ours(error: BaseException) -> None:
    """Raise it again if it is the end of this task and not the handler's doing."""
    from asyncio import CancelledError, current_task

    if isinstance(error, CancelledError):
        task = current_task()
        if task is None or task.cancelling():
            raise error


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
        if name != __file__:
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


def _key(contents: object) -> object:
    if not isinstance(contents, tuple):
        return contents
    return [(part.call, part.closed, part.timeout) if isinstance(part, Bound) else id(part) for part in contents]


def _wants(bound: Bound, *args: object) -> bool:
    try:
        return bool(bound.call(*args))
    except Exception as error:
        # Who cannot say what it wants gets everything: too much work is safer than a rule that is passed by.
        logger.error("%s", failure_text(bound, error))
        return True


async def _finish(bound: Bound, awaitable: object) -> object:
    coroutine = cast("Coroutine[object, object, object]", awaitable)
    if type(awaitable) is not types.CoroutineType:
        coroutine = _as_coroutine(awaitable)
    # The first step runs before a timer exists: a handler that never waits costs none.
    try:
        waiting = coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    except GeneratorExit:
        raise _left() from None
    RUNNING[0] = None
    from asyncio import timeout

    limit = timeout(bound.timeout)
    try:
        async with limit:
            return await _steps(bound, coroutine, waiting)
    except TimeoutError as error:
        if not limit.expired():
            raise
        late = HandlerTimeout(f"took longer than {bound.timeout:g} s")
        raise late.with_traceback(error.__cause__.__traceback__ if error.__cause__ else None) from None


async def _as_coroutine(awaitable: object) -> object:
    return await cast("Coroutine[object, object, object]", awaitable)


@types.coroutine
def _steps(
    bound: Bound, coroutine: Coroutine[object, object, object], waiting: object
) -> Generator[object, object, object]:
    """Run the rest of a coroutine; between its steps nobody is blamed for a blocked loop."""
    while True:
        step: Callable[..., object] = coroutine.send
        closing = False
        try:
            given = yield waiting
        except BaseException as error:
            step, given = coroutine.throw, error
            closing = isinstance(error, GeneratorExit)
        outer = RUNNING[0]
        RUNNING[0] = (bound,)
        try:
            waiting = step(given)
        except StopIteration as stop:
            return stop.value
        except GeneratorExit:
            if closing:
                raise
            raise _left() from None
        finally:
            RUNNING[0] = outer


def _left() -> RuntimeError:
    """What stands for a `GeneratorExit` that a coroutine has raised by itself, which would look like its end."""
    return RuntimeError("the handler raised GeneratorExit")


def _close(bound: Bound, subject: object) -> None:
    setting = "on-error" if bound.kind == "rule" else "on_error"
    reason = f"the {bound.kind} {escape(bound.name)} failed, and it is set to fail closed ({setting}: closed)"
    if isinstance(subject, HTTPFlow):
        page = f"502 Bad Gateway: {reason}.\n"
        subject.response = HTTPResponse.make(502, page, [("Content-Type", "text/plain; charset=utf-8")])
    elif bound.event == "websocket_message" and isinstance(subject, WebSocketFlow):
        subject.messages[-1].kill()
    elif bound.event == "tcp_message" and isinstance(subject, TCPFlow):
        subject.messages[-1].content = b""
    elif bound.event == "serverconnect":
        cast("_Refusable", subject).error = reason
    elif bound.event in ("clientconnect", "next_layer"):
        cast(LayerLike, subject).kill()


class _Refusable:
    error: str | None
