"""Finding the handlers of addons, and making a `Chain` of them.

Handlers are found by attribute: an addon that sets attributes on itself only for the events it needs costs nothing at
the others. Everything wrong with a handler is said here, before it is called for the first time.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import cast

from rulesproxy.diagnostics import suggest
from rulesproxy.engine.chain import Bound, Chain
from rulesproxy.engine.failures import code_file
from rulesproxy.engine.log import escape
from rulesproxy.events import EVENTS, HTTP_EVENTS, Event, Handler
from rulesproxy.limits import DEFAULT


class AddonError(Exception):
    """An addon cannot be used. `str()` is one line that names it and says what to do."""


def chain_of(addons: Iterable[object], timeout: float = DEFAULT.handler, closed: bool = False) -> Chain:
    """The chain of these addons and of their `addons`, each parent before its children; their life is not touched.

    `timeout` is that of an `async` handler; `closed` counts for addons without an `on_error` of their own.

    Raises:
        AddonError: a handler cannot be used.
    """
    return bind(tuple(flatten(addons)), timeout, closed)


def bind(everyone: tuple[object, ...], timeout: float = DEFAULT.handler, closed: bool = False) -> Chain:
    """The chain of exactly these addons, whatever children they have; see `chain_of`."""
    handlers: list[Bound] = []
    hosts: list[Bound] = []
    request_bodies: list[Bound] = []
    response_bodies: list[Bound] = []
    routes: list[Bound] = []
    messages: list[Bound] = []
    begins: list[Bound] = []
    every_host = every_request = every_response = False
    for addon in everyone:
        name = addon_name(addon)
        fails_closed = _fails_closed(addon, name, closed)
        found = {
            event: Bound(call, addon, name, event, fails_closed, timeout=timeout)
            for event, call in handlers_of(addon).items()
        }
        handlers += found.values()
        routing = _question(addon, name, "route_tunnel", "(client_conn, address)")
        if routing:
            routes.append(routing)
        beginning = _question(addon, name, "begin_tcp", "(flow, certain)")
        if beginning:
            beginning.closed = fails_closed
            begins.append(beginning)
        if getattr(addon, "observes", False) is True:
            continue
        decrypts = any(event in _DECRYPTED for event in found)
        if "websocket_message" in found:
            messages.append(_question(addon, name, "wants_messages", "(flow)") or _ALWAYS)
        asks_host = _question(addon, name, "wants_host", "(host)") if decrypts else None
        asks_body = _question(addon, name, "wants_body", "(flow, side)") if decrypts else None
        if asks_host:
            hosts.append(asks_host)
        every_host |= decrypts and asks_host is None
        if asks_body:
            request_bodies.append(asks_body)
            response_bodies.append(asks_body)
        else:
            # A response handler may look at the body of its request too, as it could in mitmproxy.
            every_response |= "response" in found
            every_request |= "response" in found or "request" in found
    return Chain(
        tuple(handlers),
        everyone,
        every_host,
        tuple(hosts),
        (_ALWAYS,) if every_request else tuple(request_bodies),
        (_ALWAYS,) if every_response else tuple(response_bodies),
        tuple(routes),
        tuple(messages),
        tuple(begins),
    )


def flatten(addons: Iterable[object]) -> Iterable[object]:
    """Every addon, a parent before its children.

    Raises:
        AddonError: an addon is there twice.
    """
    seen: set[int] = set()

    def walk(entries: Iterable[object]) -> Iterable[object]:
        for addon in entries:
            if id(addon) in seen:
                raise AddonError(f"addon {addon_name(addon)} is in the chain twice; make another one of its kind")
            seen.add(id(addon))
            yield addon
            yield from walk(children_of(addon))

    return walk(addons)


def children_of(addon: object) -> Sequence[object]:
    """The addons that this one is the parent of.

    Raises:
        AddonError: `addons` is not a list.
    """
    children = getattr(addon, "addons", None)
    if children is None or isinstance(children, ModuleType):
        return ()
    if not isinstance(children, (list, tuple)):
        raise AddonError(f"addon {addon_name(addon)}: `addons` must be a list of addons, not {_kind(children)}")
    return children


def handlers_of(addon: object) -> dict[str, Handler]:
    """The handlers of one addon by event.

    None counts as absent, and so does what a script merely imported: a module, a class, or a function of the libraries.

    Raises:
        AddonError: an attribute named like an event cannot handle it.
    """
    found = {}
    for event in EVENTS.values():
        call = handler_of(addon, event)
        if call is not None:
            found[event.name] = call
    return found


def handler_of(addon: object, event: Event) -> Handler | None:
    """The handler of one event, checked.

    Raises:
        AddonError: see `handlers_of`.
    """
    call = getattr(addon, event.name, None)
    if call is None or isinstance(call, ModuleType):
        return None
    if isinstance(addon, ModuleType) and callable(call) and _is_imported(addon, call):
        return None
    where = f"addon {addon_name(addon)}: `{event.name}`"
    if not callable(call) or isinstance(call, type):
        raise AddonError(f"{where} is the name of an event, but here it is {_kind(call)}; rename it")
    if event.plain and inspect.iscoroutinefunction(call):
        raise AddonError(f"{where} must be a plain function: write `def`, not `async def`")
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise AddonError(f"{where} has a `yield` in it, so calling it would do nothing")
    _check_parameters(where, event, call)
    return cast(Handler, call)


def takes(call: Handler, count: int) -> bool:
    """Whether `call` can be called with so many positional arguments; True where Python cannot tell."""
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def addon_name(addon: object) -> str:
    """What messages call an addon: its `name`, a script's file name, or its class."""
    if isinstance(addon, ModuleType):
        return escape(os.path.basename(getattr(addon, "__file__", None) or addon.__name__))
    name = getattr(addon, "name", None)
    return escape(name if isinstance(name, str) and name else type(addon).__name__)


def misspelt(addon: object) -> list[tuple[str, str]]:
    """The functions of an addon that were probably meant to handle an event: their names, each with that event."""
    kinds = [] if isinstance(addon, ModuleType) else type(addon).__mro__
    names = own_functions(vars(addon), addon.__name__) if isinstance(addon, ModuleType) else []
    for kind in kinds:
        if not kind.__module__.startswith("rulesproxy."):
            names += own_functions(vars(kind), kind.__module__)
    return [
        (name, event)
        for name, event in near_misses(dict.fromkeys(names))
        if takes(getattr(addon, name), len(EVENTS[event].parameters))
    ]


def own_functions(names: Mapping[str, object], module: str) -> list[str]:
    """The public functions among these that were written in this module."""
    return [
        name
        for name, value in names.items()
        if isinstance(value, FunctionType) and value.__module__ == module and not name.startswith("_")
    ]


def near_misses(names: Iterable[str]) -> list[tuple[str, str]]:
    """Those names that were probably meant to be an event, each with that event."""
    pairs = []
    for name in names:
        meant = None if name in EVENTS else suggest(name, EVENTS, _SYNONYMS)
        if meant:
            pairs.append((name, meant))
    return pairs


# Events that this proxy sees only where it decrypts. WebSocket events stand beside the HTTP events: no handler of a
# `wss:` conversation could ever run otherwise.
_DECRYPTED = HTTP_EVENTS | {event.name for event in EVENTS.values() if event.group == "WebSocket"}

# The names of other versions of mitmproxy, and of other events in other words.
_SYNONYMS = {
    "add_log": "log", "client_connected": "clientconnect", "client_disconnected": "clientdisconnect",
    "client_connect": "clientconnect", "client_disconnect": "clientdisconnect", "server_connect": "serverconnect",
    "server_connected": "serverconnected", "server_disconnected": "serverdisconnect", "tls_clienthello": "clienthello",
    "tcp_open": "tcp_start", "tcp_close": "tcp_end", "websocket_opened": "websocket_start",
}  # fmt: skip


def _check_parameters(where: str, event: Event, call: Handler) -> None:
    if event.name == "configure":
        if not takes(call, 2) and not takes(call, 1):
            raise AddonError(f"{where} takes (options, updated) or (updated)")
    elif not takes(call, len(event.parameters)):
        raise AddonError(f"{where} takes ({', '.join(event.parameters)}); this one does not")


def _fails_closed(addon: object, name: str, default: bool) -> bool:
    policy = getattr(addon, "on_error", None)
    if policy is None:
        return default
    if policy not in ("open", "closed"):
        raise AddonError(f'addon {name}: `on_error` is "open" or "closed", not {escape(repr(policy))}')
    return bool(policy == "closed")


def _question(addon: object, name: str, question: str, parameters: str) -> Bound | None:
    call = getattr(addon, question, None)
    if call is None:
        return None
    if not callable(call) or inspect.iscoroutinefunction(call) or not takes(call, parameters.count(",") + 1):
        raise AddonError(f"addon {name}: `{question}` must be a plain function that takes {parameters}")
    return Bound(call, addon, name, question)


def _is_imported(module: ModuleType, call: Callable[..., object]) -> bool:
    """Whether a script got this from a library: it stands in no file beside the script."""
    if isinstance(call, type):
        return True
    if getattr(call, "__module__", None) == module.__name__:
        return False
    file = code_file(call)
    if isinstance(call, FunctionType) or file is None:
        folder = os.path.dirname(getattr(module, "__file__", None) or "")
        return file is None or os.path.dirname(file) != folder
    return False


def _always(*args: object) -> bool:
    return True


_ALWAYS = Bound(_always, None, "", "wants_body")


def _kind(value: object) -> str:
    return f"a class ({value.__name__})" if isinstance(value, type) else f"of type {type(value).__name__}"
