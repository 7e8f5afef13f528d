"""`ctx`: which engine it means, also where several run in one process."""

import asyncio
import contextvars
import logging
import threading

import pytest

from rulesproxy.engine.bind import AddonError
from rulesproxy.engine.context import ctx
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.engine.manager import Engine
from rulesproxy.flow.http import HTTPFlow


class Asks:
    """Writes down which engine it sees in each event."""

    def __init__(self):
        self.seen = {}

    def see(self, event):
        self.seen[event] = ctx.options

    def load(self, entry):
        self.see("load")

    def configure(self, updated):
        self.see("configure")

    def running(self):
        self.see("running")

    async def request(self, flow):
        await asyncio.sleep(0)
        self.see("request")

    def update(self, flows):
        self.see("update")

    def log(self, entry):
        self.see("log")

    def done(self):
        self.see("done")


def in_thread(call):
    result = []
    thread = threading.Thread(target=lambda: result.append(call()))
    thread.start()
    thread.join()
    return result[0]


async def test_outside_of_any_engine():
    with pytest.raises(RuntimeError, match="only while a proxy runs"):
        _ = ctx.options


async def test_one_engine():
    engine = Engine()
    await engine.startup([])
    assert ctx.options is engine.options
    assert ctx.commands is engine.commands
    assert ctx.addons is engine.addons
    assert in_thread(lambda: ctx.options) is engine.options
    ctx.shutdown()
    await asyncio.wait_for(engine.stop_requested.wait(), 5)
    await engine.shutdown()
    with pytest.raises(RuntimeError):
        _ = ctx.options


async def live(engine, addon, rendezvous):
    """A whole life, in a context of its own, with another engine at the same time."""
    await engine.startup([addon])
    await rendezvous.wait()
    await engine.running()
    await asyncio.create_task(dispatch(engine.chain.request, HTTPFlow.make("GET", "http://a.test/")))
    ctx.update([])
    logging.getLogger("rulesproxy").error("from %s", id(engine))
    await asyncio.sleep(0.01)
    await rendezvous.wait()


async def test_two_engines_do_not_meet():
    engines, addons = [Engine(), Engine()], [Asks(), Asks()]
    rendezvous = asyncio.Barrier(2)
    tasks = [live(engine, addon, rendezvous) for engine, addon in zip(engines, addons, strict=True)]
    await asyncio.gather(*tasks)
    outside = contextvars.copy_context()

    def ask():
        return ctx.options

    with pytest.raises(RuntimeError, match="several proxies run in this process"):
        outside.run(ask)
    # Here the context belongs to none of them: every call of an engine brings its own.
    for engine in engines:
        engine.options.update(limits_body=5)
        await engine.configure({"rules"})
    new = Asks()
    await engines[0].replace(addons[0], new)
    for engine in engines:
        await engine.shutdown()
    for engine, addon in zip(engines, addons, strict=True):
        assert set(addon.seen) == {"load", "configure", "running", "request", "update", "log", "done"}
        assert set(addon.seen.values()) == {engine.options}
    assert set(new.seen.values()) == {engines[0].options}


async def test_entries_of_another_engine_are_not_ours():
    class Keeps:
        def __init__(self):
            self.entries = []

        def log(self, entry):
            self.entries.append(entry.msg)

    engines, addons = [Engine(), Engine()], [Keeps(), Keeps()]
    rendezvous = asyncio.Barrier(2)
    await asyncio.gather(*[live(engine, addon, rendezvous) for engine, addon in zip(engines, addons, strict=True)])
    logging.getLogger("rulesproxy").error("from nobody")
    await asyncio.sleep(0.01)
    for engine, addon in zip(engines, addons, strict=True):
        assert addon.entries == [f"from {id(engine)}", "from nobody"]
        await engine.shutdown()


async def test_the_inner_of_two_ends():
    outer, inner = Engine(), Engine()
    await outer.startup([])
    await inner.startup([])
    assert ctx.options is inner.options
    await inner.shutdown()
    assert ctx.options is outer.options
    await outer.shutdown()


async def test_a_failed_start_leaves_nothing_behind():
    class Bad:
        def start(self):
            raise ValueError

    with pytest.raises(AddonError):
        await Engine().startup([Bad()])
    with pytest.raises(RuntimeError, match="only while a proxy runs"):
        _ = ctx.options


def test_ctx_log(caplog):
    with caplog.at_level(logging.DEBUG, logger="rulesproxy"):
        for level in ("debug", "info", "alert", "warn", "warning", "error"):
            getattr(ctx.log, level)(f"100 % {level}")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (10, "100 % debug"), (20, "100 % info"), (21, "100 % alert"), (30, "100 % warn"), (30, "100 % warning"),
        (40, "100 % error"),
    ]  # fmt: skip
    assert {record.name for record in caplog.records} == {"rulesproxy.addon"}
