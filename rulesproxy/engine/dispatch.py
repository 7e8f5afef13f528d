"""Calling handlers: one loop over a tuple, and what happens to a handler that raises, hangs or halts.

It knows the bound handlers of a `Chain`. What becomes of a failure is in `failures`.

    chain = engine.chain
    chain.hold()
    try:
        if chain.request:
            await dispatch(chain.request, flow)
    finally:
        chain.release()
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import cast

from rulesproxy.engine.chain import RUNNING, Bound
from rulesproxy.engine.failures import handle_failure
from rulesproxy.events import LayerLike


class AddonHalt(Exception):
    """Raised by a handler: the addons behind it do not see this event."""


class HandlerTimeout(Exception):
    """An `async` handler took longer than `limits.handler`."""


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
