"""What rules remember under a name: for one flow, for one client, or for everybody. Filters read it as `state["…"]`.

`Store` is what outlives a flow; `FlowState` is all that one flow sees, under `metadata["state"]` of the flow. Neither
knows rules. A client is an IP address, since connections come and go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TypeAlias

from rulesproxy.filters.fields.marks import SCOPES, STATE
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.limits import DEFAULT, Limits

Values: TypeAlias = dict[str, str]

_NAME = re.compile(rf"(?:{'|'.join(SCOPES)})\.[A-Za-z0-9_][A-Za-z0-9_.-]*").fullmatch


def is_name(text: str) -> bool:
    """Whether a text is a scope and a name in it, such as `client.step`."""
    return _NAME(text) is not None


def is_shared(name: str) -> bool:
    """Whether other flows see the value of this name too."""
    return not name.startswith("flow.")


class StateError(ValueError):
    """A value cannot be remembered."""


class Store:
    """What the rules of a proxy remember from flow to flow. A restart forgets it, a reload does not.

    Attributes:
        limits: for how many clients it remembers something, and how long a value may be. Beyond that the client goes
            for whom nothing was set for the longest time.
    """

    __slots__ = ("_clients", "_everybody", "limits")

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.limits = limits
        self._everybody: Values = {}
        self._clients: dict[str, Values] = {}

    def attach(self, flow: HTTPFlow | WebSocketFlow | TCPFlow) -> None:
        """Let a flow see the state. A flow that brings state of its own, as in a dry run, keeps it."""
        if STATE not in flow.metadata:
            conn = flow.handshake_flow.client_conn if isinstance(flow, WebSocketFlow) else flow.client_conn
            flow.metadata[STATE] = FlowState(self, (conn.peername or conn.address)[0])

    def follow(self, other: Store) -> None:
        """Go on where another store is: both remember the same from now on."""
        self._everybody = other._everybody
        self._clients = other._clients

    def clear(self) -> None:
        """Forget everything."""
        self._everybody.clear()
        self._clients.clear()

    def values(self, scope: str, client: str) -> Mapping[str, str]:
        """The values by name of a scope, `client` or `global`."""
        return self._everybody if scope == "global" else self._clients.get(client, _NONE)

    def put(self, scope: str, client: str, name: str, value: str) -> None:
        """Remember a value, or with an empty one forget it."""
        if scope == "global":
            _put(self._everybody, name, value)
            return
        # Taken out and put back, it is the youngest: dictionaries keep the order of insertion.
        values = self._clients.pop(client, {})
        _put(values, name, value)
        if values:
            self._clients[client] = values
            if len(self._clients) > self.limits.state_clients:
                del self._clients[next(iter(self._clients))]


_NONE: Values = {}


class FlowState(MutableMapping[str, object]):
    """The state as one flow sees it: values by name, such as `client.step`."""

    __slots__ = ("_client", "_own", "_store")

    def __init__(self, store: Store, client: str) -> None:
        self._store = store
        self._client = client
        self._own: Values = {}

    def _scope(self, scope: str) -> Mapping[str, str]:
        return self._own if scope == "flow" else self._store.values(scope, self._client)

    def __getitem__(self, name: str) -> str:
        scope, _, rest = name.partition(".")
        if scope not in SCOPES:
            raise KeyError(name)
        return self._scope(scope)[rest]

    def __setitem__(self, name: str, value: object) -> None:
        text = str(value)
        if not is_name(name):
            raise StateError(f"{name!r} is no name of a state: it is {', '.join(f'{scope}.name' for scope in SCOPES)}")
        longest = self._store.limits.state_value
        if len(text) > longest:
            raise StateError(
                f"the value of {name} has {len(text)} characters, more than {longest} (limits_state_value)"
            )
        scope, _, rest = name.partition(".")
        if scope == "flow":
            _put(self._own, rest, text)
        else:
            self._store.put(scope, self._client, rest, text)

    def __delitem__(self, name: str) -> None:
        self[name]
        self[name] = ""

    def __iter__(self) -> Iterator[str]:
        for scope in SCOPES:
            yield from [f"{scope}.{name}" for name in self._scope(scope)]

    def __len__(self) -> int:
        return sum(len(self._scope(scope)) for scope in SCOPES)


def state_of(flow: HTTPFlow) -> MutableMapping[str, object]:
    """The state that a flow sees; one of its own where nobody has given it any."""
    kept = flow.metadata.get(STATE)
    if isinstance(kept, MutableMapping):
        return kept
    made: MutableMapping[str, object] = FlowState(Store(), "")
    flow.metadata[STATE] = made
    return made


def _put(values: Values, name: str, value: str) -> None:
    if value:
        values[name] = value
    else:
        values.pop(name, None)
