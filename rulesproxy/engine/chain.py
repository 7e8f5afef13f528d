"""`Chain`: a snapshot of the addon chain, made of `Bound` handlers.

It knows what its addons want. It does not know how they were found (`bind`), when the snapshot changes (`manager`), nor
how handlers are called (`dispatch`).
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Literal, cast

from rulesproxy.engine.failures import failure_text, handle_failure
from rulesproxy.engine.log import logger
from rulesproxy.events import EVENTS, Handler
from rulesproxy.flow.connection import Address, ClientConn
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.route import Route
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.limits import DEFAULT


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


_CONTENTS = (
    *EVENTS, "_begins", "_bodies_request", "_bodies_response", "_every_host", "_hosts", "_messages", "_routes",
    "addons",
)  # fmt: skip


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
        begins: tuple[Bound, ...] = (),
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
        self._begins = begins

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

    def begin_tcp(self, flow: TCPFlow, certain: bool) -> None:
        """A connection begins that is raw TCP, or with `certain` unset may be anything: its server is not dialled yet.

        Who refuses it, or lets it be slow, says so on the plan of the flow.
        """
        for bound in self._begins:
            RUNNING[0] = (bound,)
            try:
                bound.call(flow, certain)
            except Exception as error:
                handle_failure(bound, error, flow)
            finally:
                RUNNING[0] = None

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


RUNNING: list[tuple[Bound] | None] = [None]
"""The handler that has the event loop now. The watchdog reads it from its thread.

A fresh tuple per call: while somebody keeps it, another call cannot be the same object, so no counter and no clock is
needed to tell a long call from many short ones.
"""


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
