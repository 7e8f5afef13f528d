"""Calling handlers: order, isolation, halting, failing closed, timeouts."""

import asyncio
import functools
import json
import logging
from types import SimpleNamespace

import pytest

from rulesproxy.engine.bind import chain_of
from rulesproxy.engine.chain import RUNNING, Bound, Chain
from rulesproxy.engine.dispatch import AddonHalt, dispatch, dispatch_layer, run_guarded
from rulesproxy.engine.failures import place  # fmt: skip
from rulesproxy.events import EVENTS
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow, TCPMessage
from rulesproxy.flow.websocket import WebSocketFlow, WebSocketMessage


def flow() -> HTTPFlow:
    return HTTPFlow.make("GET", "http://a.test/")


class Say:
    """An addon whose `request` does `action` and leaves its name on the flow."""

    def __init__(self, name, action=None, on_error=None, asynchronous=False):
        self.name = name
        self.on_error = on_error

        def plain(flow):
            flow.tags.append(name)
            return action(flow) if action else None

        async def suspended(flow):
            await asyncio.sleep(0)
            plain(flow)

        self.request = suspended if asynchronous else plain


def raising(error):
    def action(flow):
        raise error

    return action


async def run(*addons, timeout=60.0, subject=None, event="request"):
    subject = subject or flow()
    await dispatch(getattr(chain_of(addons, timeout), event), subject)
    assert RUNNING[0] is None
    return subject


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_order_and_mixture(asynchronous):
    done = await run(Say("a"), Say("b", asynchronous=asynchronous), Say("c"))
    assert done.tags == ["a", "b", "c"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_halt_stops_those_behind(asynchronous):
    done = await run(Say("a"), Say("b", raising(AddonHalt()), asynchronous=asynchronous), Say("c"))
    assert done.tags == ["a", "b"]
    assert done.response is None


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_failure_is_named_and_isolated(asynchronous, caplog):
    addon = Say("bad", raising(KeyError("x\x1b[2J\ny")), asynchronous=asynchronous)
    done = await run(Say("a"), addon, Say("c"))
    assert done.tags == ["a", "bad", "c"]
    assert done.response is None
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("addon bad: request: KeyError: ")
    assert f"({__file__}:" in line
    assert "\n" not in line
    assert "\x1b" not in line
    assert record.fields == {"addon": "bad", "event": "request"}
    assert record.exc_info is None


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
async def test_a_handler_cannot_end_the_proxy_or_the_task(error, asynchronous, caplog):
    done = await run(Say("bad", raising(error), asynchronous=asynchronous), Say("next"))
    assert done.tags == ["bad", "next"]
    assert f"addon bad: request: {type(error).__name__}" in caplog.text


async def test_a_task_that_is_cancelled_in_a_handler_ends(caplog):
    async def wait(flow):
        await asyncio.Event().wait()

    task = asyncio.create_task(run(SimpleNamespace(name="waits", request=wait)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not caplog.records


async def test_traceback_only_at_debug_level(caplog):
    with caplog.at_level(logging.DEBUG, logger="rulesproxy"):
        await run(Say("bad", raising(ValueError())))
    assert [record.levelname for record in caplog.records] == ["ERROR", "DEBUG"]
    assert caplog.records[0].getMessage().startswith("addon bad: request: ValueError (")
    assert caplog.records[1].exc_info[0] is ValueError


async def test_siblings_of_one_parent_are_isolated():
    parent = SimpleNamespace(addons=[Say("one", raising(ValueError())), Say("two")])
    assert (await run(parent, Say("three"))).tags == ["one", "two", "three"]


class Waits:
    """Awaitable, but not a coroutine."""

    def __init__(self, then):
        self.then = then

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        self.then()


async def test_what_a_plain_function_returns():
    seen = []
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)

    async def later(flow):
        await asyncio.sleep(0)
        seen.append("coroutine")

    returns = [lambda f: "ignored", later, lambda f: Waits(lambda: seen.append("awaitable")), lambda f: future]
    await dispatch(tuple([Bound(call, None, "x", "request") for call in returns]), flow())
    assert seen == ["coroutine", "awaitable"]


async def test_an_async_handler_hands_values_and_errors_through():
    loop = asyncio.get_running_loop()
    trace = []

    async def handler(flow):
        trace.append(await asyncio.sleep(0, "value"))
        failed = loop.create_future()
        loop.call_soon(failed.set_exception, LookupError("inside"))
        try:
            await failed
        except LookupError as error:
            trace.append(str(error))
        async with asyncio.timeout(1):
            await asyncio.sleep(0)
        trace.append("end")

    await dispatch((Bound(handler, None, "x", "request"),), flow())
    assert trace == ["value", "inside", "end"]


async def test_a_hanging_handler_counts_as_raised(caplog):
    async def hang(flow):
        await asyncio.Event().wait()

    bad = SimpleNamespace(name="slow", request=hang, on_error="closed")
    done = await run(bad, Say("next"), timeout=0.02)
    assert done.tags == ["next"]
    assert done.response.status_code == 502
    assert "addon slow: request: HandlerTimeout: took longer than 0.02 s" in caplog.text
    assert f"{__file__}:{hang.__code__.co_firstlineno + 1}" in caplog.text


async def test_a_timeout_of_its_own_is_an_ordinary_failure(caplog):
    async def own(flow):
        await asyncio.sleep(0)
        raise TimeoutError("mine")

    await run(SimpleNamespace(name="own", request=own))
    assert "addon own: request: TimeoutError: mine" in caplog.text


async def test_a_handler_that_never_waits_needs_no_task():
    ran = []

    async def quick(flow):
        ran.append(1)

    # Outside of a task there is nothing that asyncio.timeout could cancel: this shows that none was made.
    coroutine = dispatch((Bound(quick, None, "x", "request"),), flow())
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert ran == [1]


async def test_what_is_no_failure_passes():
    with pytest.raises(KeyboardInterrupt):
        await run(Say("a", raising(KeyboardInterrupt())))
    assert RUNNING[0] is None
    with pytest.raises(KeyboardInterrupt):
        await dispatch_layer((Bound(raising(KeyboardInterrupt()), None, "x", "next_layer"),), SimpleNamespace())
    assert RUNNING[0] is None


async def test_cancelling_reaches_the_handler():
    trace = []

    async def handler(flow):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            trace.append("cancelled")
            raise

    task = asyncio.create_task(run(SimpleNamespace(request=handler)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trace == ["cancelled"]


async def test_nobody_is_named_while_an_async_handler_waits():
    seen = []

    async def handler(flow):
        seen.append(RUNNING[0][0].name)
        await asyncio.sleep(0)
        seen.append(RUNNING[0][0].name)

    task = asyncio.create_task(run(SimpleNamespace(name="waits", request=handler)))
    await asyncio.sleep(0)
    assert RUNNING[0] is None
    await task
    assert seen == ["waits", "waits"]


# Fail closed


def closed(call, event):
    return (Bound(call, None, "gate", event, closed=True),)


async def fail(subject, event):
    await dispatch(closed(raising(ValueError("no")), event), subject)
    return subject


@pytest.mark.parametrize("event", ["http_connect", "requestheaders", "request", "response", "error"])
async def test_closed_answers_502(event):
    done = await fail(flow(), event)
    assert done.response.status_code == 502
    assert b"the addon gate failed" in done.response.content
    assert done.response.headers["content-type"] == "text/plain; charset=utf-8"


async def test_closed_stops_nothing_else():
    done = await run(Say("a", raising(ValueError()), on_error="closed"), Say("b"))
    assert done.tags == ["a", "b"]
    assert done.response.status_code == 502


async def test_closed_elsewhere():
    websocket = WebSocketFlow(flow())
    websocket.messages.append(WebSocketMessage(True, "x"))
    assert (await fail(websocket, "websocket_message")).messages[-1].dropped
    websocket.messages.append(WebSocketMessage(True, "y"))
    assert not (await fail(websocket, "websocket_start")).messages[-1].dropped

    tcp = TCPFlow(ClientConn(), ServerConn(("a.test", 1)))
    tcp.messages.append(TCPMessage(True, b"x"))
    assert (await fail(tcp, "tcp_message")).messages[-1].content == b""

    assert "gate" in (await fail(ServerConn(("a.test", 1)), "serverconnect")).error
    assert (await fail(ServerConn(("a.test", 1)), "serverconnected")).error is None

    for event in ("clientconnect", "next_layer"):
        killed = []
        await fail(SimpleNamespace(kill=lambda killed=killed: killed.append(1)), event)
        assert killed == [1]
    await dispatch(closed(raising(ValueError()), "tick"))


# next_layer


class Layer:
    context = "the stack"

    def __init__(self, name):
        self.name = name


async def test_layers_are_replaced_in_turn(caplog):
    seen = []

    def returning(layer):
        def handler(given):
            seen.append(given.name)
            return layer

        return handler

    async def asynchronous(given):
        await asyncio.sleep(0)
        seen.append(given.name)
        return Layer("async")

    calls = [returning(None), returning(Layer("b")), asynchronous, raising(ValueError()), returning(True),
             returning(Layer("last")), raising(AddonHalt()), returning(Layer("never"))]  # fmt: skip
    handlers = tuple([Bound(call, None, f"addon{i}", "next_layer") for i, call in enumerate(calls)])
    result = await dispatch_layer(handlers, Layer("a"))
    assert result.name == "last"
    assert seen == ["a", "a", "b", "async", "async"]
    assert "addon addon3: next_layer: ValueError" in caplog.text
    assert (
        "addon addon4: next_layer: TypeError: a handler of next_layer returns a layer or None, not bool" in caplog.text
    )
    assert RUNNING[0] is None
    assert (await dispatch_layer(handlers[:2], Layer("a"))).name == "b"
    assert (await dispatch_layer((), Layer("a"))).name == "a"


# run_guarded


def test_guarded(caplog):
    outer = (Bound(print, None, "set", "request"),)
    RUNNING[0] = outer
    try:
        seen = []
        rule = Bound(lambda f, x: seen.append((RUNNING[0][0].name, x)) or "value", None, "r1", "request", kind="rule")
        assert run_guarded(rule, flow(), 7) == "value"
        assert seen == [("r1", 7)]
        assert RUNNING[0] is outer

        failing = Bound(raising(ValueError("boom")), None, "r2", "request", closed=True, kind="rule")
        subject = flow()
        assert run_guarded(failing, subject) is None
        assert subject.response.status_code == 502
        assert "rule r2: request: ValueError: boom" in caplog.text
        assert RUNNING[0] is outer

        with pytest.raises(AddonHalt):
            run_guarded(Bound(raising(AddonHalt()), None, "r3", "request"), flow())
        assert RUNNING[0] is outer
    finally:
        RUNNING[0] = None


# Chains


def test_an_empty_chain_has_every_event():
    chain = Chain()
    assert all(getattr(chain, event) == () for event in EVENTS)
    assert not chain.wants_host("a.test")
    assert not chain.wants_body(flow(), "request")
    assert not chain.wants_body(flow(), "response")


def test_idle_is_told_once_at_the_last_release():
    chain = Chain()
    idle = []
    chain.hold()
    chain.release()
    chain.on_idle = idle.append
    chain.hold()
    chain.hold()
    chain.release()
    assert idle == []
    chain.release()
    assert idle == [chain]


def test_follow_and_alike():
    addon = Say("a")
    one, two = chain_of([addon]), chain_of([addon])
    assert one.alike(two)
    assert not one.alike(chain_of([addon], timeout=1))
    assert not one.alike(chain_of([addon], closed=True))
    assert not one.alike(Chain())
    one.hold()
    one.follow(Chain())
    assert one.request == ()
    assert one.addons == ()
    assert one.users == 1
    assert not one.wants_host("a.test")


def test_places():
    def local():
        raise ValueError

    def caught(call):
        try:
            call()
        except ValueError as error:
            return error

    error = caught(local)
    line = f"{__file__}:{local.__code__.co_firstlineno + 1}"
    assert place(local, error) == line
    assert place(functools.partial(local), error) == line
    assert place(Waits(None), error).startswith(__file__)
    assert place(print, error) == line
    assert place(local, ValueError()) == ""
    # Raised below a library function: the line of the handler that called it is the one to look at.
    deep = caught(lambda: json.loads("{"))
    assert place(local, deep).startswith(f"{__file__}:")
    assert "json" in place(print, deep)


def test_repr():
    assert repr(Bound(print, None, "r", "request", kind="rule")) == "<Bound rule r request>"


@pytest.mark.parametrize("moment", ["plain", "first step", "later"])
async def test_a_handler_that_raises_generator_exit_is_logged(moment, caplog):
    async def at_once(flow):
        raise GeneratorExit

    actions = {"plain": raising(GeneratorExit()), "later": raising(GeneratorExit())}
    bad = Say("bad", actions.get(moment), asynchronous=moment == "later")
    if moment == "first step":
        bad.request = at_once
    seen = flow()
    await run(bad, Say("next"), subject=seen)
    assert seen.tags[-1] == "next"
    assert "addon bad: request: " in caplog.text
    assert "GeneratorExit" in caplog.text


async def test_a_dispatch_that_is_closed_ends(caplog):
    async def waits(flow):
        await asyncio.sleep(0)
        await asyncio.sleep(3600)

    bad, seen = Say("bad"), flow()
    bad.request = waits
    running = run(bad, Say("next"), subject=seen)
    running.send(None)
    running.close()
    assert seen.tags == []
    assert caplog.text == ""


async def test_run_guarded_survives_generator_exit(caplog):
    bound = Bound(raising(GeneratorExit()), None, "mine", "request", kind="rule")
    assert run_guarded(bound, flow()) is None
    assert "rule mine: request: GeneratorExit" in caplog.text
