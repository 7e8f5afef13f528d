"""`DryRun`: what rules do with a flow, without a network. `test`, `try` and `explain` are made of it.

It fires the events of an exchange or of a conversation in their order at the handlers of a rule set, the same ones that
live traffic calls, and plays the two peers: the request is the client's, the response that the flow brings is the
server's. It waits for nothing. Why a rule did nothing is said by `trace`, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace

from rulesproxy.engine.chain import Bound
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.rules.action import Action, Captures, Side
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.conversations.turn import Subject, Turn
from rulesproxy.rules.dry.changes import Moment
from rulesproxy.rules.dry.dry_exchange import DryExchange
from rulesproxy.rules.dry.dry_talk import talk_tcp
from rulesproxy.rules.dry.heard import Heard, Marks, MessageAct, Said, Showing
from rulesproxy.rules.dry.trace import Act, Result, TCPResult
from rulesproxy.rules.gates import Gate
from rulesproxy.rules.model import Rule
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.passes import Rest
from rulesproxy.rules.position import Pass
from rulesproxy.rules.runner import Runner
from rulesproxy.rules.state import Store

WALL = 1767225600.0
"""The time of a dry run: the first second of 2026, UTC."""
_NO_WAITING = "it waits for something, which a dry run cannot"
_WAITS = 1000
"""How often the functions of one pass are told that they cannot wait; one that does not listen is left alone then."""


class DryRun:
    """Runs flows through rules, one after the other, on one clock that stands still and with counters of its own.

    It is not for several threads at once.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._recorder = _Recorder()
        self._uuids = 0
        outside = Outside(lambda: WALL, lambda: 0.0, self._uuid, "0")
        self._rules = [_Recorded(rule, number, outside, self._recorder) for number, rule in enumerate(rules)]
        self._store = Store()
        self._gates = {
            sampled: [
                (rule, Gate(rule.rule.gates, rule.rule.identity, rule.memory, replace(outside, sampled=sampled)))
                for rule in self._rules
                if rule.rule.gates is not None
            ]
            for sampled in (True, False)
        }
        self._runner = Runner(self._rules, self._store)
        self._handlers: dict[str, Callable[..., Rest]] = self._runner.handlers  # type: ignore[assignment]

    def reset(self) -> None:
        """Forget what the flows so far have left: counters, sequences, identifiers, named state."""
        self._uuids = 0
        self._store.clear()
        # Of thousands of rules few have counted: those that have acted, and those whose gates were asked.
        for number in self._recorder.acted:
            self._rules[number].memory.counts = {}
        self._recorder.acted.clear()
        for rule, _ in self._gates[True]:
            rule.memory.counts = {}

    def run(self, flow: HTTPFlow, sampled: bool = True, messages: Iterable[Said] = ()) -> Result:
        """What the rules do with a flow, which is left as it is.

        Its request is what the client sends. Its response is what the server would answer; without one the run ends
        where the server would be asked, and with an `error` instead of it, the server is asked in vain. `sampled` is
        whether it is one of those that rules with a `sample` act on. `messages` pass where it is the handshake of a
        WebSocket and is answered with 101: for each whether the client sends it, and what it says. Never raises.
        """
        self._begin(sampled)
        result = DryExchange(self, flow, WALL).run(messages)
        state = result.flow.rules
        if isinstance(state, Pass) and state.matched is not None:
            # Their captures were made, which may count, although no action has followed.
            self._recorder.acted.update(state.matched)
        return result

    def connect(self, flow: TCPFlow, messages: Iterable[Said] = (), sampled: bool = True) -> TCPResult:
        """What the rules do with a raw TCP connection that has not begun, and with what passes on it. Never raises."""
        self._begin(sampled)
        return TCPResult(self._rules, flow, talk_tcp(self, flow, messages, WALL))

    def _begin(self, sampled: bool) -> None:
        self._recorder.acts, self._recorder.showing = [], None
        for rule, gate in self._gates[sampled]:
            rule.gate = gate

    # What those ask who play the layers

    def begin_tcp(self, flow: TCPFlow) -> None:
        """A connection begins that is raw TCP."""
        if self._runner.begin_tcp is not None:
            self._runner.begin_tcp(flow, True)

    def show(self, heard: Heard, showing: Showing) -> None:
        """What the rules do from here on is about this message."""
        heard.showings.append(showing)
        self._recorder.showing = showing

    def wants_messages(self, flow: HTTPFlow) -> bool:
        """Whether some rule may act on the messages of the WebSocket that this request asks for."""
        return self._runner.wants_messages(flow)

    def fire(self, event: str, subject: object) -> None:
        """Call the handler of an event, if the rules need it."""
        handler = self._handlers.get(event)
        if handler is not None:
            rest = handler(subject)
            if rest is not None:
                _complete(rest)

    def remember(self, flow: HTTPFlow) -> None:
        """Let a flow see what the flows before it have left."""
        self._store.attach(flow)

    def wants_body(self, flow: HTTPFlow, side: Side) -> bool:
        """Whether some rule waits for the body of this side."""
        return self._runner.wants_body(flow, side)

    @property
    def rules(self) -> Sequence[Compiled]:
        """The rules, ready to run."""
        return self._rules

    @property
    def acts(self) -> list[Act]:
        """What the rules have done with the present flow."""
        return self._recorder.acts

    def _uuid(self) -> str:
        self._uuids += 1
        return f"00000000-0000-4000-8000-{self._uuids:012x}"


class _Recorder:
    """Where the rules of a dry run write what they do: with the present flow, and who has acted since the start."""

    __slots__ = ("acted", "acts", "showing")

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.acted: set[int] = set()
        self.showing: Showing | None = None

    def note(self, number: int, turn: Turn) -> None:
        """A rule has acted on a message."""
        self.acted.add(number)
        # Events of a response have a turn too, and nobody asks for them one by one.
        if self.showing is not None:
            self.showing.acts.append(MessageAct(number, turn.content, Marks.of(turn.flow), turn.over))


class _Recorded(Compiled):
    """A rule whose actions leave a record of what they changed. Everything else is as in live traffic."""

    __slots__ = ("_recorder",)

    def __init__(self, rule: Rule, number: int, outside: Outside, recorder: _Recorder) -> None:
        super().__init__(rule, number, outside=outside)
        self._recorder = recorder

    def bound(self, event: str) -> Bound:
        bound = self._bounds.get(event)
        if bound is None:
            bound = super().bound(event)
            bound.call = self._recording(event, bound.call)
        return bound

    def _recording(self, event: str, call: Callable[..., object]) -> Callable[..., object]:
        def record(flow: HTTPFlow, captures: Captures) -> object:
            act = Act(self.number, event, Moment(flow), dict(captures))
            self._recorder.acts.append(act)
            self._recorder.acted.add(self.number)
            try:
                result = call(flow, captures)
            except Exception as error:
                act.fail(error)
                raise
            finally:
                act.after = Moment(flow)
            return result if not hasattr(result, "__await__") else finish(act, flow, result)

        async def finish(act: Act, flow: HTTPFlow, waiting: Awaitable[object]) -> None:
            try:
                await _without_a_loop(waiting)
            except Exception as error:
                act.fail(error)
                raise
            finally:
                act.after = Moment(flow)

        return record

    def _talk(self, event: str, actions: Sequence[Action], awaits: bool = False) -> Bound:
        bound = super()._talk(event, actions, awaits)
        bound.call = self._noting(bound.call)
        return bound

    def _noting(self, call: Callable[..., object]) -> Callable[..., object]:
        recorder = self._recorder

        def note(subject: Subject, turn: Turn, captures: Captures) -> object:
            result: object = None
            try:
                result = call(subject, turn, captures)
            finally:
                if not hasattr(result, "__await__"):
                    recorder.note(self.number, turn)
            return result if not hasattr(result, "__await__") else finish(turn, result)

        async def finish(turn: Turn, waiting: Awaitable[object]) -> None:
            try:
                await _without_a_loop(waiting)
            finally:
                recorder.note(self.number, turn)

        return note


async def _without_a_loop(waiting: Awaitable[object]) -> None:
    """Wait for something; what asyncio says to those who wait without a loop is said in plainer words."""
    try:
        await waiting
    except RuntimeError as error:
        if "event loop" not in str(error):
            raise
        raise WaitsError(_NO_WAITING) from None


class WaitsError(Exception):
    """A function of a rule waits for something; a dry run has no event loop, and no network to wait for."""


def _complete(rest: Coroutine[object, object, None]) -> None:
    """Run the rest of a pass, in which every function that waits for something fails."""
    try:
        rest.send(None)
        for _ in range(_WAITS):
            rest.throw(WaitsError(_NO_WAITING))
    except StopIteration:
        return
    rest.close()
