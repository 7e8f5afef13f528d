"""Finding handlers: which attributes count, what is refused, and what addons are interested in."""

import asyncio
import functools
import logging
import math
from types import ModuleType, SimpleNamespace

import pytest

from rulesproxy.engine.bind import AddonError, addon_name, chain_of, flatten, handlers_of, near_misses, takes
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.events import EVENTS
from rulesproxy.flow.http import HTTPFlow


def addon(**attributes):
    return SimpleNamespace(name="it", **attributes)


def anything(*args):
    return None


def test_every_event_of_the_table_is_bound():
    chain = chain_of([addon(**dict.fromkeys(EVENTS, anything))])
    for event in EVENTS:
        (bound,) = getattr(chain, event)
        assert (bound.event, bound.name, bound.closed, bound.is_async) == (event, "it", False, False)


def test_order_of_parents_and_children():
    tree = [
        addon(request=anything, n=0, addons=[addon(n=1), addon(n=2, addons=(addon(n=3),))]),
        addon(n=4, addons=None),
        addon(n=5, addons=asyncio),
    ]
    assert [entry.n for entry in flatten(tree)] == [0, 1, 2, 3, 4, 5]
    assert [entry.n for entry in chain_of(tree).addons] == [0, 1, 2, 3, 4, 5]


class Method:
    def request(self, flow): ...

    @staticmethod
    def response(flow): ...

    @classmethod
    def error(cls, flow): ...

    done = None


class Callable:
    def __call__(self, flow): ...


async def coroutine_function(flow): ...


def test_what_counts_as_a_handler():
    assert set(handlers_of(Method())) == {"request", "response", "error"}
    assert set(handlers_of(addon(request=Callable(), error=functools.partial(max, 1), log=math.log))) == {
        "request", "error", "log",
    }  # fmt: skip
    (bound,) = chain_of([addon(request=coroutine_function)]).request
    assert bound.is_async


def two(a, b): ...
def none(): ...
def many(*args): ...
def with_default(a, b=None): ...
def keyword(a, *, b): ...
def generator(flow):
    yield


async def asynchronous_generator(flow):
    yield


@pytest.mark.parametrize(("attributes", "message"), [
    ({"request": 5},              "addon it: `request` is the name of an event, but here it is of type int; rename it"),
    ({"error": ValueError},
     "addon it: `error` is the name of an event, but here it is a class (ValueError); rename it"),
    ({"request": two},            "addon it: `request` takes (flow); this one does not"),
    ({"request": keyword},        "addon it: `request` takes (flow); this one does not"),
    ({"done": two},               "addon it: `done` takes (); this one does not"),
    ({"running": coroutine_function}, "addon it: `running` takes (); this one does not"),
    ({"configure": none},         "addon it: `configure` takes (options, updated) or (updated)"),
    ({"start": coroutine_function}, "addon it: `start` must be a plain function: write `def`, not `async def`"),
    ({"load": coroutine_function}, "addon it: `load` must be a plain function: write `def`, not `async def`"),
    ({"configure": coroutine_function}, "addon it: `configure` must be a plain function: write `def`, not `async def`"),
    ({"request": generator},      "addon it: `request` has a `yield` in it, so calling it would do nothing"),
    ({"request": asynchronous_generator}, "addon it: `request` has a `yield` in it, so calling it would do nothing"),
    ({"on_error": "close"},       "addon it: `on_error` is \"open\" or \"closed\", not 'close'"),
    ({"addons": "x"},             "addon it: `addons` must be a list of addons, not of type str"),
    ({"request": anything, "wants_host": 1},   "addon it: `wants_host` must be a plain function that takes (host)"),
    ({"request": anything, "wants_host": none}, "addon it: `wants_host` must be a plain function that takes (host)"),
    ({"request": anything, "wants_body": coroutine_function},
     "addon it: `wants_body` must be a plain function that takes (flow, side)"),
])  # fmt: skip
def test_what_is_refused(attributes, message):
    with pytest.raises(AddonError) as caught:
        chain_of([addon(**attributes)])
    assert str(caught.value) == message


@pytest.mark.parametrize("handler", [anything, many, with_default])
def test_parameters_that_do(handler):
    chain_of([addon(request=handler, configure=handler)])


def test_takes_without_a_signature():
    assert takes(dict.fromkeys, 1)
    assert takes(type("Odd", (), {"__signature__": "none", "__call__": anything})(), 7)


def test_an_addon_twice():
    one = addon()
    with pytest.raises(AddonError, match="addon it is in the chain twice"):
        chain_of([one, addon(addons=[one])])
    loop = addon()
    loop.addons = [loop]
    with pytest.raises(AddonError, match="twice"):
        chain_of([loop])


def test_names():
    module = ModuleType("some.module")
    assert addon_name(module) == "some.module"
    module.__file__ = "/x/y/counter.py"
    module.name = "ignored"
    assert addon_name(module) == "counter.py"
    assert addon_name(addon()) == "it"
    assert addon_name(Method()) == "Method"
    assert addon_name(SimpleNamespace(name=7)) == "SimpleNamespace"
    assert addon_name(SimpleNamespace(name="a\x1bb\n")) == "a\\x1bb\\n"


def test_near_misses():
    names = ["requets", "response", "client_connected", "helper", "tick"]
    assert near_misses(names) == [("requets", "request"), ("client_connected", "clientconnect")]


# Interest


@pytest.mark.parametrize(("attributes", "host", "request_body", "response_body"), [
    ({},                                             False, False, False),
    ({"clientconnect": anything, "tick": anything, "tcp_message": anything}, False, False, False),
    ({"request": anything},                          True,  True,  False),
    ({"response": anything},                         True,  True,  True),
    ({"requestheaders": anything},                   True,  False, False),
    ({"responseheaders": anything},                  True,  False, False),
    ({"error": anything},                            True,  False, False),
    ({"http_connect": anything},                     True,  False, False),
    ({"websocket_message": anything},                True,  False, False),
    ({"request": anything, "response": anything, "observes": True}, False, False, False),
    ({"request": anything, "response": anything, "observes": True, "wants_host": lambda host: True,
      "wants_body": lambda flow, side: True},        False, False, False),
    ({"response": anything, "wants_host": lambda host: host == "a.test"}, True, True, True),
    ({"response": anything, "wants_host": lambda host: host == "b.test"}, False, True, True),
    ({"response": anything, "wants_body": lambda flow, side: side == "response"}, True, False, True),
    ({"response": anything, "wants_body": lambda flow, side: side == "request"},  True, True, False),
    ({"requestheaders": anything, "wants_body": lambda flow, side: True}, True, True, True),
    ({"tick": anything, "wants_body": lambda flow, side: True, "wants_host": lambda host: True}, False, False, False),
    ({"response": anything, "wants_body": lambda flow, side: 1, "wants_host": lambda host: 0}, False, True, True),
])  # fmt: skip
@pytest.mark.parametrize("beside", [False, True])
def test_interest(attributes, host, request_body, response_body, beside):
    quiet = addon(response=anything, wants_host=lambda host: False, wants_body=lambda flow, side: False)
    chain = chain_of([quiet, addon(**attributes)] if beside else [addon(**attributes)])
    flow = HTTPFlow.make("GET", "http://a.test/")
    answers = chain.wants_host("a.test"), chain.wants_body(flow, "request"), chain.wants_body(flow, "response")
    assert answers == (host, request_body, response_body)
    assert all(type(answer) is bool for answer in answers)


def test_interest_of_several_ends_at_the_first_that_wants():
    asked = []

    def wants(answer, name):
        return addon(
            response=anything,
            wants_body=lambda flow, side: asked.append(name) or answer,
            wants_host=lambda host: asked.append(name) or answer,
        )

    chain = chain_of([wants(False, "a"), wants(True, "b"), wants(True, "c")])
    assert chain.wants_host("a.test")
    assert asked == ["a", "b"]
    assert chain.wants_body(HTTPFlow.make("GET", "http://a.test/"), "request")
    assert asked == ["a", "b", "a", "b"]


def test_a_failing_answer_counts_as_yes(caplog):
    def fails(*args):
        raise ValueError("dunno")

    chain = chain_of([addon(response=anything, wants_host=fails, wants_body=fails)])
    assert chain.wants_host("a.test")
    assert chain.wants_body(HTTPFlow.make("GET", "http://a.test/"), "request")
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.partition(" (")[0] for line in lines] == [
        "addon it: wants_host: ValueError: dunno", "addon it: wants_body: ValueError: dunno",
    ]  # fmt: skip


# Scripts: what was imported is no handler


def script(tmp_path, **attributes):
    module = ModuleType("script_under_test")
    module.__file__ = str(tmp_path / "s.py")
    vars(module).update(attributes)
    return module


def compiled(file, module, text="def request(flow): pass"):
    space = {"__name__": module}
    exec(compile(text, file, "exec"), space)
    return space["request"]


def test_imported_names_of_a_script_are_ignored(tmp_path):
    helper = compiled(str(tmp_path / "helper.py"), "helper")
    own = compiled(str(tmp_path / "s.py"), "script_under_test")
    library = compiled("/usr/lib/python3/library.py", "library")
    module = script(
        tmp_path, request=own, response=helper, log=math.log, error=OSError, update=logging, done=library,
        tick=functools.partial(print), http_connect=Method().request, requestheaders=functools.partial(library),
    )  # fmt: skip
    assert set(handlers_of(module)) == {"request", "response", "http_connect", "requestheaders"}
    with pytest.raises(
        AddonError, match=r"addon s\.py: `log` is the name of an event, .* of type RootLogger; rename it"
    ):
        handlers_of(script(tmp_path, log=logging.getLogger()))


async def test_nothing_is_called_while_binding():
    called = []
    chain = chain_of([addon(request=lambda flow: called.append(flow), done=lambda: called.append("done"))])
    assert called == []
    await dispatch(chain.request, "flow")
    assert called == ["flow"]
