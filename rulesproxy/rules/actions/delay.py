"""The action `delay`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from rulesproxy.filters.phases import MESSAGES, NONE, Phase
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.limits import DEFAULT
from rulesproxy.rules.action import ERROR, REQUEST, RESPONSE, Action, Captures, Example, Handler, MessageHandler, Side
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.reading.amounts import Duration, Number, Wait
from rulesproxy.rules.schema import Reader

_LOGNORMAL_KEYS = ("median", "sigma")
_TIME_KEYS = ("time", "request", "response")


@dataclass(frozen=True, slots=True)
class Delay(Action):
    """Let the request wait before it goes to the server, the response before it goes to the client, or a message.

    A rule that is decided on the request delays the request, also where it is answered by a rule. A client that leaves
    meanwhile is noticed, and the flow ends. Behind a message that waits those wait that come from the same side. Under
    a filter such as `host == "db.test"` raw TCP waits once, before its server is dialled; under `~tcp` every message.
    Under `has(error.kind)` the answer to a flow that fails waits, whoever gives it.

    Attributes:
        time: a time such as `200ms`, or any time between two, as in `200ms..2s`.
        request: the same for the request.
        response: the same for the response.
        distribution: `uniform` takes every time of a range alike; `lognormal` looks like a network, most times near the
            median and a few very long.
        median: the median of `lognormal`.
        sigma: its spread, the standard deviation of the logarithm; about 0.4 for a good network, 1 for a bad one.
        on: which of the two waits, where the filter leaves the choice.
        seed: what chance depends on: with a seed the times are the same in every run.
    """

    key: ClassVar = "delay"
    events: ClassVar = REQUEST | RESPONSE | ERROR
    on_messages: ClassVar = MESSAGES
    short: ClassVar = "time"
    needs: ClassVar = (*_TIME_KEYS, "median")
    synonyms: ClassVar = {"ms": "time", "duration": "time", "latency": "time", "side": "on", "type": "distribution"}

    time: Wait | None = None
    request: Wait | None = None
    response: Wait | None = None
    distribution: Literal["uniform", "lognormal"] = "uniform"
    median: Duration | None = None
    sigma: Number | None = None
    on: Side | None = None
    seed: str = ""

    examples: ClassVar = (
        Example("match: path under '/api'\ndelay: 200ms..2s", "GET http://a.test/api/1", "GET http://a.test/api/1"),
        Example(
            "match: ~all\ndelay:\n  request: 50ms\n  response: 1s", "GET http://a.test/", "200", response="200"
        ),
        Example(
            "match: ~all\ndelay:\n  distribution: lognormal\n  median: 120ms\n  sigma: 0.4\n  on: response",
            "GET http://a.test/", "200", response="200",
        ),
    )  # fmt: skip

    def check(self, node: Node, reader: Reader) -> None:
        if isinstance(node, nodes.Mapping):
            self._check_keys(node, reader)
        times = {key: (wait.high, wait.text) for key in _TIME_KEYS if (wait := getattr(self, key)) is not None}
        if self.median is not None:
            times["median"] = (self.median.seconds, self.median.text)
        for key, (seconds, text) in times.items():
            if seconds > DEFAULT.delay:
                where = node.get(key) if isinstance(node, nodes.Mapping) else node
                reader.note(
                    "RP613", where or node, f"a delay of {text} is cut to {DEFAULT.delay:g}s",
                    "hardly any client waits as long; the option `limits_delay` is the bound", severity="warning",
                )  # fmt: skip

    def _check_keys(self, node: nodes.Mapping, reader: Reader) -> None:
        given = [key for key, _ in node.entries]
        lognormal = self.distribution == "lognormal"
        unwanted = _TIME_KEYS if lognormal else _LOGNORMAL_KEYS
        for key in given:
            if key.text in unwanted:
                help = "it is given by `median` and `sigma`" if lognormal else "write `distribution: lognormal` for it"
                reader.note("RP630", key, f"`{key.text}` is no part of a {self.distribution} delay", help)
        if lognormal:
            missing = [key for key in _LOGNORMAL_KEYS if getattr(self, key) is None]
            if missing:
                reader.note("RP103", node, f"a lognormal delay needs `{missing[0]}`", f"add `{missing[0]}: …`")
            return
        if not any(getattr(self, key) for key in _TIME_KEYS) and not any(key.text in unwanted for key in given):
            reader.note("RP106", node, "`delay` without a time", "add `time: 200ms`")
        sides = [key for key in given if key.text in ("request", "response")]
        for key in given:
            if key.text in ("time", "on") and sides:
                reader.note(
                    "RP630", key, f"`{key.text}` beside `{sides[0].text}`: it says already which side waits", "keep one"
                )

    def parts(self) -> tuple[Action, ...]:
        found: list[Action] = []
        if self.request is not None:
            found.append(_OnRequest(self.request, self.seed))
        if self.response is not None:
            found.append(_OnResponse(self.response, self.seed))
        times: Wait | Lognormal | None = self.time
        if self.median is not None and self.sigma is not None:
            times = Lognormal(self.median.seconds, self.sigma.value)
        if times is not None:
            kind = _Pause if self.on is None else _OnRequest if self.on == "request" else _OnResponse
            found.append(kind(times, self.seed))
        return tuple(found) or (self,)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Times whose logarithms are normally distributed.

    Attributes:
        median: in seconds.
        sigma: the standard deviation of the logarithm.
    """

    median: float
    sigma: float

    def at(self, first: float, second: float) -> float:
        """The time for two chances from 0.0 to 1.0, in seconds (Box and Muller)."""
        normal = math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)
        # No float is that large, and no client waits that long.
        return self.median * math.exp(min(self.sigma * normal, 50.0))


@dataclass(frozen=True, slots=True)
class _Pause(Action):
    """The wait itself, where the rule acts first."""

    key: ClassVar = Delay.key
    events: ClassVar = REQUEST | RESPONSE | ERROR
    on_messages: ClassVar = MESSAGES
    begins: ClassVar = Phase.C | Phase.T

    times: Wait | Lognormal
    seed: str

    @property
    def shares(self) -> tuple[str, str] | None:
        varies = isinstance(self.times, Lognormal) or self.times.low != self.times.high
        return ("RP854", "`delay` draws its times from one seed") if self.seed and varies else None

    def bind_for(self, side: Side, memory: Memory) -> Handler:
        def delay(flow: HTTPFlow, captures: Captures) -> None:
            flow.plan.delay += self.seconds(memory)

        return delay

    def bind_message(self, memory: Memory) -> MessageHandler:
        return lambda turn, captures: turn.wait(self.seconds(memory))

    def seconds(self, memory: Memory) -> float:
        """How long it is this time."""
        times, seed = self.times, self.seed
        if isinstance(times, Lognormal):
            return times.at(memory.chance("delay", seed), memory.chance("delay", seed))
        if times.low == times.high:
            return times.low
        return times.between(memory.chance("delay", seed))


@dataclass(frozen=True, slots=True)
class _OnRequest(_Pause):
    """The wait of the request."""

    events: ClassVar = REQUEST
    on_messages: ClassVar = NONE


@dataclass(frozen=True, slots=True)
class _OnResponse(_Pause):
    """The wait of the response."""

    events: ClassVar = RESPONSE | ERROR
    on_messages: ClassVar = NONE
    begins: ClassVar = NONE
