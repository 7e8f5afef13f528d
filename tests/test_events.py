"""The table of events agrees with the contract: names, groups, parameters, order."""

from __future__ import annotations

import inspect

import pytest

from rulesproxy import events
from rulesproxy.events import EVENTS

TABLE = """
General: start load configure running tick log update done
Connections: clientconnect clientdisconnect serverconnect serverconnected serverdisconnect next_layer clienthello
HTTP: http_connect requestheaders request responseheaders response error
WebSocket: websocket_handshake websocket_start websocket_message websocket_error websocket_end
TCP: tcp_start tcp_message tcp_error tcp_end
"""


def test_the_table() -> None:
    groups: dict[str, list[str]] = {}
    for event in EVENTS.values():
        groups.setdefault(event.group, []).append(event.name)
    assert "\n".join(f"{group}: {' '.join(names)}" for group, names in groups.items()) == TABLE.strip()
    assert len(EVENTS) == 30


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_each_event(event: events.Event) -> None:
    declared = getattr(getattr(events, event.group), event.name)
    assert event.parameters == tuple(inspect.signature(declared).parameters)[1:]
    assert event.doc == inspect.cleandoc(declared.__doc__)
    assert event.doc.endswith(".")
    assert event.returns == (event.name in ("start", "next_layer"))
    assert event.plain == (event.name in ("start", "load", "configure"))
    parameters = [None] * len(event.parameters)
    assert declared(None, *parameters) is None, "a declaration does nothing"


def test_the_groups() -> None:
    assert {name for name, event in EVENTS.items() if event.group == "General"} == events.LIFECYCLE
    assert {name for name, event in EVENTS.items() if event.group == "HTTP"} == events.HTTP_EVENTS


def test_the_table_is_read_only() -> None:
    with pytest.raises(TypeError):
        EVENTS["new"] = EVENTS["request"]  # type: ignore[index]
