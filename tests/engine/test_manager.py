"""The chain's life: start-up, replacement, configuration, shutdown."""

import asyncio
import gc
import logging
import threading
import weakref
from types import SimpleNamespace

import pytest

from rulesproxy.engine import manager
from rulesproxy.engine.bind import AddonError
from rulesproxy.engine.commands import command
from rulesproxy.engine.context import ctx
from rulesproxy.engine.dispatch import AddonHalt, dispatch
from rulesproxy.engine.manager import Engine
from rulesproxy.engine.option import OptionsError
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.limits import DEFAULT


class Traced:
    """An addon that writes down its life as `name.event`, and can be told to raise in an event."""

    def __init__(self, trace, name, *addons, fail=None, error=None, start=None):
        self.trace, self.name, self.addons = trace, name, list(addons)
        self.fail, self.error_to_raise, self.returned = fail, error or ValueError("boom"), start
        self.updated = []

    def note(self, event):
        self.trace.append(f"{self.name}.{event}")
        if event == self.fail:
            raise self.error_to_raise

    def start(self):
        self.note("start")
        return self.returned

    def load(self, entry):
        self.note("load")

    def configure(self, updated):
        self.updated.append(updated)
        self.note("configure")

    def running(self):
        self.note("running")

    def request(self, flow):
        self.note("request")

    async def done(self):
        await asyncio.sleep(0)
        self.note("done")


@pytest.fixture
async def engine():
    engine = Engine()
    yield engine
    await engine.shutdown()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (what is waited for knows nothing of the test)
            await asyncio.sleep(0.001)


def life(name, *events):
    return [f"{name}.{event}" for event in events]


# Start-up


async def test_order_of_a_whole_life(engine):
    trace = []
    await engine.startup([Traced(trace, "a", Traced(trace, "b")), Traced(trace, "c")])
    assert trace == [*life("a", "start", "load"), *life("b", "start", "load"), *life("c", "start", "load"),
                     "a.configure", "b.configure", "c.configure"]  # fmt: skip
    trace.clear()
    await engine.running()
    await dispatch(engine.chain.request, HTTPFlow.make("GET", "http://a.test/"))
    assert trace == ["a.running", "b.running", "c.running", "a.request", "b.request", "c.request"]
    trace.clear()
    await engine.shutdown()
    assert trace == ["a.done", "b.done", "c.done"]
    await engine.shutdown()
    assert trace == ["a.done", "b.done", "c.done"]
    assert engine.chain.request == ()


async def test_children_may_be_made_in_load(engine):
    trace = []
    parent = Traced(trace, "parent")
    parent.load = lambda entry: setattr(parent, "addons", [Traced(trace, "late")])
    await engine.startup([parent])
    assert [addon.name for addon in engine.chain.addons] == ["parent", "late"]


async def test_start_replaces_until_nothing_new_comes(engine):
    trace = []
    last = Traced(trace, "last")
    last.returned = last
    middle = Traced(trace, "middle", start=last)
    first = Traced(trace, "first", start=middle)
    await engine.startup([first])
    assert trace == ["first.start", "middle.start", *life("last", "start", "load", "configure")]
    assert engine.chain.addons == (last,)
    await engine.shutdown()
    assert trace[-1] == "last.done"
    assert "first.done" not in trace


async def test_a_replaced_child(engine):
    trace = []
    child = Traced(trace, "child", start=Traced(trace, "grown"))
    parent = Traced(trace, "parent", child)
    await engine.startup([parent])
    assert [addon.name for addon in engine.chain.addons] == ["parent", "grown"]


class Endless:
    def start(self):
        return Endless()


async def check_refused(engine, addons, message, kind=AddonError):
    with pytest.raises(kind) as caught:
        await engine.startup(addons)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_endless_replacement(engine):
    await check_refused(engine, [Endless()], "addon Endless: `start` always returns yet another addon")


async def test_an_addon_twice(engine):
    trace = []
    one = Traced(trace, "one")
    await check_refused(engine, [one, one], "addon one is in the chain twice")
    assert trace == life("one", "start", "load", "done")


async def test_a_replacement_that_is_in_the_chain_already(engine):
    trace = []
    one = Traced(trace, "one")
    await check_refused(engine, [one, Traced(trace, "two", start=one)], "addon one is in the chain twice")
    assert trace.count("one.done") == 1


@pytest.mark.parametrize("event", ["start", "load", "configure"])
async def test_a_failed_start_ends_exactly_those_that_began(engine, event):
    trace = []
    addons = [Traced(trace, "a", Traced(trace, "b", fail=event)), Traced(trace, "c")]
    await check_refused(engine, addons, f"addon b: {event}: ValueError: boom ({__file__}:")
    begun = {entry.partition(".")[0] for entry in trace}
    assert [entry for entry in trace if entry.endswith("done")] == [f"{name}.done" for name in sorted(begun)]
    assert ("c.start" in trace) == (event == "configure")
    await engine.shutdown()
    assert trace.count("b.done") == 1
    with pytest.raises(RuntimeError, match="starts once"):
        await engine.startup([])


async def test_a_failed_done_is_logged_and_the_next_still_ends(engine, caplog):
    trace = []
    addons = [Traced(trace, "a", fail="done"), Traced(trace, "b", fail="done", error=AddonHalt()), Traced(trace, "c")]
    await engine.startup(addons)
    addons[2].done = "not callable"
    await engine.shutdown()
    assert trace[-2:] == ["a.done", "b.done"]
    assert "addon a: done: ValueError: boom" in caplog.text
    assert "addon c: `done` is the name of an event" in caplog.text


async def test_refused_at_start(engine):
    await check_refused(
        engine, [Traced([], "a", fail="configure", error=OptionsError("speed is needed"))], "speed", OptionsError
    )


async def test_bad_handlers_are_found_before_load(engine):
    trace = []
    bad = Traced(trace, "bad")
    bad.request = 5
    await check_refused(engine, [bad], "addon bad: `request` is the name of an event")
    assert trace == ["bad.start", "bad.done"]


async def test_misspelt_handlers_of_a_class_are_told(engine, caplog):
    class Base:
        def requets(self, flow): ...

    class Misspelt(Base):
        def requets(self, flow): ...
        def respons(self, flow): ...
        def tock(self, with_another): ...
        def _requestt(self, flow): ...
        def helper(self): ...

    await engine.startup([Misspelt()])
    assert [record.getMessage() for record in caplog.records] == [
        "addon Misspelt: no event is called `requets`; did you mean `request`?",
        "addon Misspelt: no event is called `respons`; did you mean `response`?",
    ]


async def test_a_bad_command_is_told_with_its_addon(engine):
    class Bad:
        @command("bad")
        def call(self, x):
            return x

    await check_refused(engine, [Bad()], "addon Bad: command `bad`: parameter `x`: its type must be")


async def test_calls_out_of_order(engine):
    with pytest.raises(RuntimeError, match="after its startup"):
        await engine.running()
    await engine.shutdown()
    await engine.startup([])
    await engine.running()
    with pytest.raises(RuntimeError, match="runs once"):
        await engine.running()
    await engine.shutdown()
    with pytest.raises(AddonError, match="not in the chain"):
        await engine.replace(object(), object())


# Options and commands of addons


class Both:
    def configure(self, options, updated):
        self.seen = options, updated


class Watches:
    """Writes down how it was configured, with the value of `speed`, and refuses one value of it."""

    def __init__(self, default=1, name="declares"):
        self.default, self.name, self.updates, self.refuse = default, name, [], None

    def configure(self, updated):
        self.updates.append((updated, ctx.options.speed))
        if ctx.options.speed == self.refuse:
            raise OptionsError(f"speed {self.refuse} is too much")


class Declares(Watches):
    """Declares an option `speed` and commands."""

    def load(self, entry):
        entry.add_option("speed", int, self.default, "How fast.")
        entry.add_command("speed.reset", self.reset)

    def reset(self, to: int = 0) -> int:
        return to + self.default

    @command("speed.get")
    def get(self) -> int:
        return ctx.options.speed


async def test_options_and_commands(engine):
    addon, both = Declares(), Both()
    engine.options.set_text("speed=5", later=True)
    await engine.startup([addon, both])
    names = set(engine.options.keys())
    assert {"speed", "on_error", "limits_body"} <= names
    assert addon.updates == [(names, 5)]
    assert both.seen == (engine.options, names)
    assert engine.commands.call("speed.reset", "4") == 5
    assert engine.commands.call("speed.get") == 5

    engine.options.update(speed=7, on_error="open")
    assert addon.updates[1:] == [({"speed"}, 7)]
    engine.options.update(speed=7)
    assert len(addon.updates) == 2
    await engine.configure({"rules"})
    assert addon.updates[2:] == [({"rules"}, 7)]
    assert both.seen == (engine.options, {"rules"})


async def test_unknown_options_are_told_at_start(engine):
    engine.options.set_text("sped=5", later=True)
    await check_refused(engine, [Declares()], "no option `sped`; did you mean `speed`?", OptionsError)


async def test_an_addon_that_refuses_at_start_is_named(engine):
    watches = Watches(name="second")
    watches.refuse = 5
    engine.options.set_text("speed=5", later=True)
    await check_refused(engine, [Declares(), watches], "addon second: speed 5 is too much", OptionsError)


async def test_roll_back(engine, caplog):
    first, second, third = Declares(), Watches(name="second"), Watches(name="third")
    third.load = lambda entry: entry.add_option("speed", int, 1, "How fast.")
    await engine.startup([first, second, third])
    for addon in (first, second, third):
        addon.updates.clear()
    second.refuse = 9
    with pytest.raises(OptionsError, match="speed 9 is too much"):
        engine.options.update(speed=9)
    assert engine.options.speed == 1
    assert first.updates == second.updates == [({"speed"}, 9), ({"speed"}, 1)]
    assert third.updates == [({"speed"}, 1)]
    assert caplog.text == ""


async def test_who_cannot_go_back_is_named_and_the_others_still_hear(engine, caplog):
    trace = []
    addons = [Traced(trace, name) for name in "abcd"]
    await engine.startup(addons)
    trace.clear()
    addons[1].fail, addons[1].error_to_raise = "configure", OptionsError("never")
    addons[2].fail = "configure"
    with pytest.raises(OptionsError, match="never"):
        await engine.configure({"rules"})
    assert trace == ["a.configure", "b.configure", "a.configure", "b.configure", "c.configure", "d.configure"]
    assert "the old options are refused too: addon b: never" in caplog.text
    assert "the old options are refused too: addon c: configure: ValueError: boom" in caplog.text


async def test_a_failing_configure_is_isolated_and_a_halt_stops(engine, caplog):
    trace = []
    addons = [Traced(trace, name) for name in "abc"]
    await engine.startup(addons)
    trace.clear()
    addons[0].fail = "configure"
    addons[1].fail, addons[1].error_to_raise = "configure", AddonHalt()
    await engine.configure({"rules"})
    assert trace == ["a.configure", "b.configure"]
    assert "addon a: configure: ValueError: boom" in caplog.text

    addons[2].fail, addons[2].error_to_raise = "configure", OptionsError("late")
    addons[1].fail = None
    trace.clear()
    addons[0].configure = None
    with pytest.raises(OptionsError):
        await engine.configure({"rules"})
    assert trace == ["b.configure", "c.configure", "b.configure", "c.configure"]


async def test_a_halt_in_the_first_configure_stops_nobody(engine):
    trace = []
    await engine.startup([Traced(trace, "a", fail="configure", error=AddonHalt()), Traced(trace, "b")])
    assert trace[-2:] == ["a.configure", "b.configure"]


async def test_a_halt_while_going_back(engine):
    trace = []
    addons = [Traced(trace, "a"), Traced(trace, "b", error=OptionsError("no"))]
    await engine.startup(addons)
    calls = []

    def configure(updated):
        calls.append(updated)
        if len(calls) == 2:
            raise AddonHalt

    addons[0].configure = configure
    addons[1].fail = "configure"
    trace.clear()
    with pytest.raises(OptionsError):
        await engine.configure({"rules"})
    assert calls == [{"rules"}, {"rules"}]
    assert trace == ["b.configure"]


async def test_every_addon_has_its_own_set(engine):
    class Greedy(Traced):
        def configure(self, updated):
            updated.clear()

    last = Traced([], "last")
    await engine.startup([Greedy([], "greedy"), last])
    await engine.configure({"rules"})
    assert last.updated[1] == {"rules"}


async def test_an_update_inside_the_first_configure_is_told_after_it(engine):
    first, second = Declares(), Watches(name="second")
    seen = first.configure

    def configure(updated):
        seen(updated)
        if len(first.updates) == 1:
            engine.options.update(speed=3)

    first.configure = configure
    await engine.startup([first, second])
    names = set(engine.options.keys())
    assert first.updates == [(names, 1), ({"speed"}, 3)]
    assert second.updates == [(names, 3), ({"speed"}, 3)]


async def test_a_nested_update_is_undone_with_the_outer_one(engine):
    first, second = Declares(), Watches(name="second")
    second.load = lambda entry: entry.add_option("gear", int, 1, "Which.")
    await engine.startup([first, second])

    def configure(updated):
        if "speed" in updated and engine.options.speed == 9:
            engine.options.update(gear=4)
            raise OptionsError("no")

    second.configure = configure
    first.updates.clear()
    with pytest.raises(OptionsError):
        engine.options.update(speed=9)
    assert (engine.options.speed, engine.options.gear) == (1, 1)
    assert first.updates == [({"speed"}, 9), ({"gear"}, 9), ({"speed", "gear"}, 1)]


async def test_limits_and_on_error_reach_the_handlers(engine):
    addon = Traced([], "a", fail="request")
    await engine.startup([addon])
    before = engine.chain
    engine.options.update(limits_handler=3.0, on_error="closed")
    (bound,) = engine.chain.request
    assert (bound.timeout, bound.closed) == (3.0, True)
    assert before.request[0].timeout == DEFAULT.handler
    flow = HTTPFlow.make("GET", "http://a.test/")
    await dispatch(engine.chain.request, flow)
    assert flow.response.status_code == 502
    same = engine.chain
    engine.options.update(limits_idle=3.0)
    assert engine.chain is same


async def test_handlers_may_depend_on_options(engine, caplog):
    addon = Declares()

    def configure(updated):
        addon.request = {0: None, 1: lambda flow: None, 2: "bad"}[engine.options.speed]

    addon.configure = configure
    engine.options.set_text("speed=0", later=True)
    await engine.startup([addon])
    assert engine.chain.request == ()
    engine.options.update(speed=1)
    assert len(engine.chain.request) == 1
    engine.options.update(speed=2)
    assert len(engine.chain.request) == 1
    assert "addon declares: `request` is the name of an event, but here it is of type str" in caplog.text


async def test_options_are_free_before_and_after(engine):
    engine.options.update(limits_body=5)
    addon = Traced([], "a")
    await engine.startup([addon])
    await engine.shutdown()
    engine.options.update(limits_body=6)
    assert len(addon.updated) == 1


# Replacement


async def test_replacement_without_flows(engine):
    trace = []
    a, b, c = [Traced(trace, name) for name in "abc"]
    await engine.startup([a, b, c])
    await engine.running()
    trace.clear()
    new = Traced(trace, "B", Traced(trace, "child"))
    await engine.replace(b, new)
    assert trace == ["B.start", "B.load", "child.start", "child.load", "B.configure", "child.configure",
                     "B.running", "child.running", "b.done"]  # fmt: skip
    assert [addon.name for addon in engine.chain.addons] == ["a", "B", "child", "c"]
    assert new.updated == [set(engine.options.keys())]
    await engine.shutdown()
    assert trace[-4:] == ["a.done", "B.done", "child.done", "c.done"]
    assert trace.count("b.done") == 1


async def test_replacing_before_running(engine):
    trace = []
    a = Traced(trace, "a")
    await engine.startup([a])
    await engine.replace(a, Traced(trace, "b"))
    assert "b.running" not in trace
    await engine.running()
    assert trace[-1] == "b.running"


async def test_the_module_that_booted_into_an_object_names_it(engine):
    trace = []
    booted = Traced(trace, "booted")
    module = SimpleNamespace(start=lambda: booted)
    await engine.startup([module])
    other = SimpleNamespace(start=lambda: Traced(trace, "again"))
    await engine.replace(module, other)
    assert trace[-1] == "booted.done"
    await engine.replace(engine.chain.addons[0], Traced(trace, "third"))
    assert trace[-1] == "again.done"


async def test_done_waits_for_the_last_flow(engine):
    trace = []
    old = Traced(trace, "old")
    await engine.startup([old])
    await engine.running()
    first, second = engine.chain, engine.chain
    first.hold()
    second.hold()
    await engine.replace(old, Traced(trace, "new"))
    assert "old.done" not in trace
    trace.clear()
    await dispatch(first.request, None)
    await dispatch(engine.chain.request, None)
    assert trace == ["old.request", "new.request"]
    first.release()
    await asyncio.sleep(0.01)
    assert "old.done" not in trace
    second.release()
    await until(lambda: "old.done" in trace)
    assert trace.count("old.done") == 1


async def test_done_waits_for_every_snapshot_with_the_addon(engine):
    trace = []
    a, b = Traced(trace, "a"), Traced(trace, "b")
    await engine.startup([a, b])
    oldest = engine.chain
    oldest.hold()
    await engine.replace(b, Traced(trace, "B"))
    middle = engine.chain
    middle.hold()
    await engine.replace(a, Traced(trace, "A"))
    middle.release()
    await asyncio.sleep(0.01)
    assert "a.done" not in trace
    assert "b.done" not in trace
    oldest.release()
    await until(lambda: {"a.done", "b.done"} <= set(trace))


async def test_flows_that_last_too_long_go_on_with_the_new_chain(engine):
    trace = []
    old = Traced(trace, "old")
    await engine.startup([old])
    engine.options.update(limits_replaced_addon=0.02)
    held = engine.chain
    held.hold()
    new = Traced(trace, "new")
    await engine.replace(old, new)
    await until(lambda: "old.done" in trace)
    trace.clear()
    await dispatch(held.request, None)
    assert trace == ["new.request"]
    # The snapshot now keeps the new one alive in its turn.
    await engine.replace(new, Traced(trace, "newest"))
    held.release()
    await until(lambda: "new.done" in trace)


async def test_only_what_waits_for_its_end_makes_place(engine):
    """Rules have no `done`: a flow that lasts keeps those that it began with, whatever happens to the addons beside."""
    trace = []

    def rules(name):
        return SimpleNamespace(name=name, request=lambda flow: trace.append(name))

    first, old = rules("first rules"), Traced(trace, "old", Traced(trace, "child"))
    await engine.startup([first, old, rules("last")])
    engine.options.update(limits_replaced_addon=0.02)
    held = engine.chain
    held.hold()
    second = rules("second rules")
    await engine.replace(first, second)
    new = Traced(trace, "new")
    await engine.replace(old, new)
    await engine.replace(new, Traced(trace, "newest"))
    await until(lambda: "old.done" in trace)
    trace.clear()
    await dispatch(held.request, None)
    assert trace == ["first rules", "newest.request", "last"]
    trace.clear()
    await dispatch(engine.chain.request, None)
    assert trace == ["second rules", "newest.request", "last"]
    held.release()


async def test_shutdown_ends_what_still_waits(engine):
    trace = []
    old = Traced(trace, "old")
    await engine.startup([old])
    chain = engine.chain
    chain.hold()
    await engine.replace(old, Traced(trace, "new"))
    await engine.shutdown()
    assert trace[-2:] == ["old.done", "new.done"]
    chain.release()


async def test_a_replaced_addon_dies(engine):
    old = Traced([], "old")
    dead = weakref.ref(old)
    await engine.startup([old, Traced([], "next")])
    await engine.running()
    held = engine.chain
    held.hold()
    await engine.replace(old, Traced([], "new"))
    del old
    assert dead() is not None
    held.release()
    del held
    await until(lambda: not engine._departures.leaving)
    gc.collect()
    assert dead() is None


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("event", "error"), [
    ("start", ValueError("boom")), ("load", ValueError("boom")), ("configure", ValueError("boom")),
    ("configure", OptionsError("boom")),
])  # fmt: skip
async def test_a_failed_replacement_changes_nothing(engine, event, error, held):
    trace = []
    old, other = Declares(default=1), Traced(trace, "other")
    await engine.startup([old, other])
    await engine.running()
    chain = engine.chain
    if held:
        chain.hold()
    trace.clear()
    new = Watches(default=2)
    failing = Traced(trace, "failing", fail=event, error=error)
    new.addons = [failing]
    new.load = lambda entry: (
        entry.add_option("speed", str, "fast", "Another type."), entry.add_option("gear", int, 1, "New."),
        entry.add_command("speed.other", lambda: None), engine.options.update(limits_body=7),
    )  # fmt: skip
    new.configure = None
    with pytest.raises((AddonError, OptionsError), match="boom"):
        await engine.replace(old, new)
    assert engine.chain is chain
    assert engine.options.speed == 1
    assert engine.options.limits_body == DEFAULT.body
    assert engine.options.limits.body == DEFAULT.body
    assert "gear" not in engine.options
    assert "speed.reset" in engine.commands
    assert "speed.other" not in engine.commands
    assert engine.commands.call("speed.get") == 1
    assert trace.count("failing.done") == 1
    assert "old.done" not in trace
    assert other.updated[-2:] == [{"limits_body"}, {"limits_body"}]
    await engine.replace(old, Traced(trace, "works"))


async def test_a_new_version_may_declare_its_options_otherwise(engine):
    old = Declares(default=1)
    engine.options.set_text("speed=5", later=True)
    await engine.startup([old])
    new = Declares(default=2)
    new.load = lambda entry: entry.add_option("speed", str, "fast", "Another type.")
    await engine.replace(old, new)
    assert engine.options.speed == "5"
    assert "speed.reset" not in engine.commands
    assert "speed.get" in engine.commands


async def test_replacement_tells_the_others_and_they_may_refuse(engine):
    trace = []
    old, other = Traced(trace, "old"), Traced(trace, "other")
    await engine.startup([old, other])
    chain = engine.chain
    other.fail, other.error_to_raise = "configure", OptionsError("not these rules")
    trace.clear()
    with pytest.raises(OptionsError, match="not these rules"):
        await engine.replace(old, Traced(trace, "new"), {"rules"})
    assert engine.chain is chain
    assert trace == [*life("new", "start", "load", "configure"), "other.configure", "other.configure", "new.done"]
    other.fail = None
    trace.clear()
    await engine.replace(old, Traced(trace, "new"), {"rules"})
    assert trace == [*life("new", "start", "load", "configure"), "other.configure", "old.done"]
    assert other.updated[-1] == {"rules"}


async def test_replacing_by_one_that_is_there(engine):
    trace = []
    a, b = Traced(trace, "a"), Traced(trace, "b")
    await engine.startup([a, b])
    trace.clear()
    for new in (a, b):
        with pytest.raises(AddonError, match="is in the chain twice"):
            await engine.replace(a, new)
    with pytest.raises(AddonError, match="addon c is not in the chain"):
        await engine.replace(Traced(trace, "c"), Traced(trace, "d"))
    assert trace == []


async def test_a_cancelled_replacement_still_lets_the_old_one_go(engine):
    trace = []
    old, new = Traced(trace, "old"), Traced(trace, "new")
    new.running = lambda: asyncio.sleep(30)
    await engine.startup([old])
    await engine.running()
    task = asyncio.create_task(engine.replace(old, new))
    await until(lambda: "new.configure" in trace)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trace[-1] == "old.done"


# tick, update, log


async def test_tick_exists_only_while_it_is_wanted(engine, monkeypatch):
    monkeypatch.setattr(manager, "TICK", 0.001)
    ticks = []

    async def tick():
        ticks.append(1)
        await asyncio.sleep(0)

    ticking = SimpleNamespace(tick=tick)
    await engine.startup([ticking])
    assert engine._ticker is None
    await engine.running()
    await until(lambda: len(ticks) > 2)
    quiet = SimpleNamespace()
    await engine.replace(ticking, quiet)
    assert engine._ticker is None
    await engine.replace(quiet, ticking)
    task = engine._ticker
    await engine.replace(ticking, SimpleNamespace(tick=tick))
    assert engine._ticker is task
    await engine.shutdown()
    assert task.done()


async def test_update(engine):
    seen = []

    async def asynchronous(flows):
        await asyncio.sleep(0)
        seen.append(("async", flows))

    await engine.startup([SimpleNamespace(update=lambda flows: seen.append(("plain", flows))),
                          SimpleNamespace(update=asynchronous)])  # fmt: skip
    engine.update(iter(["f1", "f2"]))
    ctx.update(("f3",))
    assert seen == []
    await until(lambda: len(seen) == 4)
    assert seen == [("plain", ["f1", "f2"]), ("async", ["f1", "f2"]), ("plain", ["f3"]), ("async", ["f3"])]
    thread = threading.Thread(target=engine.update, args=(["f4"],))
    thread.start()
    thread.join()
    await until(lambda: len(seen) == 6)
    engine.update(["last"])
    await engine.shutdown()
    assert seen[-1] == ("async", ["last"])
    engine.update(["late"])
    assert seen[-1] == ("async", ["last"])


class Logs:
    """Keeps the entries it sees, and logs itself."""

    def __init__(self):
        self.entries = []

    async def log(self, entry):
        self.entries.append((entry.level, entry.msg))
        logging.getLogger("rulesproxy.addon").warning("inside %s", entry.msg)
        await asyncio.sleep(0)
        logging.getLogger("rulesproxy.addon").warning("later")
        if entry.msg == "fail":
            raise ValueError(entry.msg)


async def test_log_entries(engine, caplog):
    addon = Logs()
    await engine.startup([addon])
    logging.getLogger("rulesproxy").warning("one \x1b[0m %d", 1)
    logging.getLogger("rulesproxy.child").error("two")
    await until(lambda: len(addon.entries) == 2)
    thread = threading.Thread(target=logging.getLogger("rulesproxy").error, args=("fail",))
    thread.start()
    thread.join()
    await until(lambda: "addon Logs: log: ValueError: fail" in caplog.text)
    await asyncio.sleep(0.01)
    assert addon.entries == [("warn", "one \\x1b[0m 1"), ("error", "two"), ("error", "fail")]
    assert "inside two" in caplog.text
    logging.getLogger("rulesproxy").error("last")
    addon.done = lambda: logging.getLogger("rulesproxy").error("after the end")
    await engine.shutdown()
    assert addon.entries[3:] == [("error", "last")]


async def test_our_log_is_listened_to_only_while_wanted(engine):
    ours = logging.getLogger("rulesproxy")
    before = list(ours.handlers)
    quiet, logs = SimpleNamespace(), Logs()
    await engine.startup([quiet])
    assert ours.handlers == before
    await engine.replace(quiet, logs)
    assert len(ours.handlers) == len(before) + 1
    await engine.shutdown()
    assert ours.handlers == before


async def test_a_log_handler_that_hangs_does_not_stop_the_end(engine):
    engine.options.update(limits_replaced_addon=0.01)
    trace = []

    async def hang(entry):
        trace.append(entry.msg)
        await asyncio.Event().wait()

    await engine.startup([SimpleNamespace(log=hang)])
    logging.getLogger("rulesproxy").error("x")
    logging.getLogger("rulesproxy").error("y")
    await engine.shutdown()
    assert trace == ["x"]


# The view of the addons


async def test_addons_by_name(engine):
    a, b = Traced([], "a"), Traced([], "b")
    await engine.startup([Traced([], "parent", a), b])
    assert engine.addons.get("a") is a
    assert engine.addons.get("b") is b
    assert engine.addons.get("c") is None
    assert "a" in engine.addons
    assert a not in engine.addons
    assert [addon.name for addon in engine.addons] == ["parent", "a", "b"]


async def test_shutdown_is_asked_for(engine):
    await engine.startup([])
    threading.Thread(target=engine.request_shutdown).start()
    async with asyncio.timeout(5):
        await engine.stop_requested.wait()
