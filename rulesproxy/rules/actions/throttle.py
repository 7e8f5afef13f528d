"""The action `throttle`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple
from weakref import WeakValueDictionary

from rulesproxy.filters.phases import CONNECTING, MESSAGES
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import Rate
from rulesproxy.flow.plan import Throttle as Slow
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action, Captures, Example, Handler, MessageHandler, Side
from rulesproxy.rules.conversations.turn import Turn
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.reading.amounts import Speed, Wait
from rulesproxy.rules.schema import Reader


class Line(NamedTuple):
    """A kind of line: rates in kbit/s, and the time of a round trip in milliseconds."""

    down: float
    up: float
    latency: float


PROFILES: dict[str, Line] = {
    "dial": Line(49, 30, 120),
    "2g": Line(280, 256, 800),
    "edge": Line(240, 200, 840),
    "3g-slow": Line(400, 400, 400),
    "3g": Line(1600, 768, 300),
    "3g-fast": Line(1600, 768, 150),
    "4g": Line(9000, 9000, 170),
    "lte": Line(12000, 12000, 70),
    "dsl": Line(1500, 384, 50),
    "cable": Line(5000, 1000, 28),
    "fios": Line(20000, 5000, 4),
    "devtools-3g": Line(400, 400, 2000),
    "devtools-slow-4g": Line(1440, 675, 562.5),
    "devtools-fast-4g": Line(8100, 1350, 165),
}
"""The lines of WebPageTest, and those of Chrome's DevTools, whose latencies are longer than a line's: they are for
requests as a whole."""

Profile = Literal[
    "dial", "2g", "edge", "3g-slow", "3g", "3g-fast", "4g", "lte", "dsl", "cable", "fios", "devtools-3g",
    "devtools-slow-4g", "devtools-fast-4g",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Throttle(Action):
    """Slow the line to the client down: bytes move at a rate, in small pieces, and the server is held back.

    Rates are in bytes (`50KB/s`) or bits (`400kbit/s`, `1.6Mbps`). A rule that is decided on the response slows only
    the response. A line that becomes a WebSocket stays slow. Raw TCP is slow from its beginning where the filter is
    about the connection, such as `host == "db.test"` or `~tcp`. A rule that is decided by a message or an event slows
    the line from this one on, for the rest of its conversation.

    Attributes:
        down: the rate of responses.
        up: the rate of request bodies.
        latency: a time such as `200ms`, or any time between two, that passes before a response begins, and in a stream
            before what comes after a silence.
        profile: a line with its rates and latency; keys beside it change single figures.
        scope: who shares the rate: every `flow` has its own, all flows of a `client` address have one, or all flows of
            the `rule`.
        seed: what the chance of a latency between two times depends on.
    """

    key: ClassVar = "throttle"
    events: ClassVar = REQUEST | RESPONSE | ERROR
    on_messages: ClassVar = MESSAGES
    begins: ClassVar = CONNECTING
    short: ClassVar = "down"
    needs: ClassVar = ("down", "up", "latency", "profile")
    synonyms: ClassVar = {
        "download": "down", "upload": "up", "rate": "down", "speed": "down", "bandwidth": "down", "delay": "latency",
        "rtt": "latency", "preset": "profile", "network": "profile", "per": "scope",
    }  # fmt: skip

    down: Speed | None = None
    up: Speed | None = None
    latency: Wait | None = None
    profile: Profile | None = None
    scope: Literal["flow", "client", "rule"] = "flow"
    seed: str = ""

    examples: ClassVar = (
        Example("match: path under '/video'\nthrottle: 50KB/s", "GET http://a.test/video", "GET http://a.test/video"),
        Example(
            "match: ~all\nthrottle:\n  profile: 3g\n  latency: 200ms..400ms\n  scope: client",
            "GET http://a.test/", "GET http://a.test/",
        ),
        Example(
            "match: response.content_type startswith 'image/'\nthrottle:\n  down: 400kbit/s\n  scope: rule",
            "GET http://a.test/a.png", "200", response="200\ncontent-type: image/png",
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        if self.down is None and self.up is None and self.latency is None and self.profile is None:
            reader.note("RP106", node, "`throttle` slows nothing down", "add `down: 50KB/s`, or `profile: 3g`")

    @property
    def shares(self) -> tuple[str, str] | None:
        if self.scope != "flow":
            return "RP852", f"`throttle` with `scope: {self.scope}` has one line for many flows"
        varies = self.latency is not None and self.latency.low != self.latency.high
        return ("RP854", "`throttle` draws its latencies from one seed") if self.seed and varies else None

    def bind_for(self, side: Side, memory: Memory) -> Handler:
        slow = self._slowing(memory)
        return lambda flow, captures: flow.plan.throttles.append(slow(flow))

    def bind_message(self, memory: Memory) -> MessageHandler:
        slow, marker = self._slowing(memory), object()

        def throttle(turn: Turn, captures: Captures) -> None:
            if turn.once(marker):
                turn.throttle(slow(turn.flow))

        return throttle

    def _slowing(self, memory: Memory) -> Callable[[HTTPFlow | TCPFlow], Slow]:
        """What gives the line of one flow."""
        line = PROFILES[self.profile] if self.profile is not None else None
        down = _rate(self.down, None if line is None else line.down)
        up = _rate(self.up, None if line is None else line.up)
        latency = self.latency
        fixed = 0.0 if line is None else line.latency / 1000

        def line_of(flow: HTTPFlow | TCPFlow) -> Slow:
            if self.scope == "flow":
                slow = Slow(_rate_of(down), _rate_of(up), fixed)
            else:
                # Exchanges and conversations of one rule have one line. A reload hands it on: it is asked for late.
                downs, ups = memory.share(self, lambda: (_Rates(down, self.scope), _Rates(up, self.scope)))
                slow = Slow(downs.of(flow), ups.of(flow), fixed)
            if latency is not None:
                chance = memory.chance("latency", self.seed) if latency.low != latency.high else 0.0
                slow = Slow(slow.down, slow.up, latency.between(chance))
            return slow

        return line_of

    def bind(self) -> Handler:
        return self.bind_for("request", Memory())


def _rate_of(speed: float | None) -> Rate | None:
    return None if speed is None else Rate(speed)


class _Rates:
    """The rates of one direction that a rule, or each of its clients, has for all its flows."""

    __slots__ = ("_clients", "_shared", "_speed")

    def __init__(self, speed: float | None, scope: str) -> None:
        self._speed = speed
        self._shared = _rate_of(speed) if scope == "rule" else None
        # A client's rate lives as long as a flow of it does.
        self._clients: WeakValueDictionary[str, Rate] = WeakValueDictionary()

    def of(self, flow: HTTPFlow | TCPFlow) -> Rate | None:
        """The rate that a flow is bound to."""
        if self._speed is None or self._shared is not None:
            return self._shared
        host = flow.client_conn.address[0]
        rate = self._clients.get(host)
        if rate is None:
            rate = self._clients[host] = Rate(self._speed)
        return rate


def _rate(given: Speed | None, kbits: float | None) -> float | None:
    """Bytes a second."""
    if given is not None:
        return given.bytes_per_second
    return None if kbits is None else kbits * 125
