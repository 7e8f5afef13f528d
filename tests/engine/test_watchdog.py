"""The watchdog: who blocks the loop is named, who waits is not. The only tests that let time pass."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from rulesproxy.addons.access_log import AccessLog
from rulesproxy.engine import watchdog
from rulesproxy.engine.bind import chain_of
from rulesproxy.engine.chain import RUNNING, Bound
from rulesproxy.engine.dispatch import dispatch, run_guarded
from rulesproxy.engine.manager import Engine
from rulesproxy.flow.http import HTTPFlow

BLOCKS = 0.02


@pytest.fixture
def watched():
    user = object()
    watchdog.watch(user, BLOCKS)
    yield
    watchdog.unwatch(user)
    assert not threads()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "rulesproxy-watchdog"]


def block(flow, caplog=None):
    """Hold the loop until the watchdog has said so; give up after a while."""
    limit = time.monotonic() + 5
    while time.monotonic() < limit and "blocks the proxy" not in caplog.text:
        time.sleep(BLOCKS / 4)


def named(caplog):
    return [record.getMessage() for record in caplog.records if "blocks the proxy" in record.getMessage()]


async def test_a_blocking_handler_is_named_while_it_blocks(watched, caplog):
    def request(flow):
        block(flow, caplog)

    await dispatch(chain_of([SimpleNamespace(name="greedy\x1b", request=request)]).request, None)
    (line,) = named(caplog)
    assert line.startswith("addon greedy\\x1b: request blocks the proxy for more than 20 ms, now at " + __file__ + ":")
    assert line.endswith("; use an async handler and await what takes long")
    # The same one again so soon is not worth a second line.
    await dispatch(
        chain_of([SimpleNamespace(name="greedy\x1b", request=lambda f: time.sleep(4 * BLOCKS))]).request, None
    )
    assert len(named(caplog)) == 1


async def test_the_rule_inside_the_rule_set_is_named(watched, caplog):
    rule = Bound(lambda flow: block(flow, caplog), None, "slow-rule", "request", kind="rule")
    rules = SimpleNamespace(name="rules", request=lambda flow: run_guarded(rule, flow))
    await dispatch(chain_of([rules]).request, None)
    (line,) = named(caplog)
    assert line.startswith("rule slow-rule: request blocks the proxy")


async def test_the_blocking_step_of_an_async_handler_is_named(watched, caplog):
    async def request(flow):
        await asyncio.sleep(0)
        block(flow, caplog)

    await dispatch(chain_of([SimpleNamespace(name="late", request=request)]).request, None)
    (line,) = named(caplog)
    assert line.startswith("addon late: request blocks")


async def test_who_waits_or_is_quick_is_not_named(watched, caplog):
    async def waits(flow):
        await asyncio.sleep(6 * BLOCKS)

    quick = chain_of([SimpleNamespace(name="quick", request=lambda flow: None)]).request
    waiting = asyncio.create_task(dispatch(chain_of([SimpleNamespace(name="w", request=waits)]).request, None))
    until = time.monotonic() + 4 * BLOCKS
    while time.monotonic() < until:
        await dispatch(quick, None)
    await waiting
    assert named(caplog) == []


async def test_a_stale_name_is_not_blamed(watched, caplog):
    """The slot says that a handler runs, but no thread is inside one: engines in two threads can cause it."""
    RUNNING[0] = (Bound(print, None, "stale", "request"),)
    await asyncio.sleep(5 * BLOCKS)
    RUNNING[0] = None
    assert named(caplog) == []


async def test_a_handler_that_is_not_python_is_placed_nowhere(watched, caplog):
    def sleep(flow):
        time.sleep(5 * BLOCKS)

    # The file of the handler is unknown to the watchdog, so the innermost line counts.
    call = type("Call", (), {"__call__": staticmethod(sleep)})()
    await dispatch((Bound(call, None, "odd", "request"),), None)
    (line,) = named(caplog)
    assert f"now at {__file__}:" in line


def test_one_thread_for_all_users():
    first, second = object(), object()
    watchdog.unwatch(first)
    assert not threads()
    watchdog.watch(first, 1.0)
    watchdog.watch(second, 1.0)
    assert len(threads()) == 1
    assert threads()[0].daemon
    watchdog.watch(first, 2.0)
    watchdog.unwatch(first)
    assert len(threads()) == 1
    watchdog.unwatch(second)
    assert not threads()


@pytest.mark.parametrize(("addon", "needed"), [
    (SimpleNamespace(request=lambda flow: None), True),
    (SimpleNamespace(tcp_message=lambda flow: None), True),
    (SimpleNamespace(tick=lambda: None, log=lambda entry: None), False),
    (AccessLog(), False),
])  # fmt: skip
async def test_the_thread_exists_only_where_it_is_needed(addon, needed):
    engine = Engine()
    await engine.startup([addon])
    assert len(threads()) == needed
    quiet = SimpleNamespace()
    await engine.replace(addon, quiet)
    assert not threads()
    await engine.replace(quiet, addon)
    assert len(threads()) == needed
    await engine.shutdown()
    assert not threads()


async def test_the_engine_names_a_blocking_handler(caplog):
    engine = Engine()
    engine.options.update(limits_handler_blocks=BLOCKS)
    await engine.startup([SimpleNamespace(name="greedy", request=lambda flow: block(flow, caplog))])
    await dispatch(engine.chain.request, HTTPFlow.make("GET", "http://a.test/"))
    await engine.shutdown()
    assert len(named(caplog)) == 1
