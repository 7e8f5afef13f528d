"""The conversations of a rule set: WebSockets, raw TCP and event streams, each from its first moment on.

It knows which rules a conversation concerns and keeps that with the flow. The pass over them for one message is in
`messages`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence

from rulesproxy.filters.phases import Phase
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.conversations.beginning import begin, refuse_tunnel
from rulesproxy.rules.conversations.event_streams import has_events, watch
from rulesproxy.rules.conversations.messages import Messages, Talk
from rulesproxy.rules.conversations.turn import TCPTurn, WebSocketTurn
from rulesproxy.rules.hosts import Hosts, ended
from rulesproxy.rules.index import Numbers
from rulesproxy.rules.passes import Passes, Rest
from rulesproxy.rules.position import Pass
from rulesproxy.rules.state import Store


class Conversations:
    """What to do at each event of a conversation.

    Args:
        rules: the rules, in order.
        passes: their passes over the exchange that begins it.
        hosts: what they say of a host alone.
        store: what rules remember under a name, and the limits.
    """

    __slots__ = ("_hosts", "_messages", "_numbers", "_passes", "_rules", "_store", "_uses_state")

    def __init__(self, rules: Sequence[Compiled], passes: Passes, hosts: Hosts, store: Store) -> None:
        self._rules = tuple(rules)
        self._hosts = hosts
        self._messages = Messages(rules)
        self._numbers: Numbers = tuple(range(len(rules)))
        self._passes = passes
        self._store = store
        self._uses_state = any(rule.uses_state for rule in rules)

    @property
    def handlers(self) -> dict[str, object]:
        """The events that some rule needs, each with its handler."""
        found: dict[str, object] = {}
        kinds, opens = self._messages.kinds, self._messages.opens
        if (kinds | opens) & Phase.V:
            found["responseheaders"] = self.responseheaders
        if kinds & Phase.W:
            found["websocket_message"] = self.websocket_message
        if opens & Phase.W:
            found["websocket_start"] = self.websocket_start
        if kinds & Phase.X:
            found["tcp_message"] = self.tcp_message
        if opens & Phase.X:
            found["tcp_start"] = self.tcp_start
        return found

    def wants_messages(self, flow: HTTPFlow) -> bool:
        """Whether some rule may act on the messages of the WebSocket that this request asks for."""
        if not self._messages.kinds & Phase.W:
            return False
        state = self._passes.pass_of(flow)
        base = FlowView(flow)
        return bool(self._messages.concerned(Phase.W, state.numbers, lambda number: state.view(base, number)))

    # Event streams

    def responseheaders(self, flow: HTTPFlow) -> Rest:
        """The response pass, behind which the events of a stream pass the rules that may act on them."""
        rest = self._passes.responseheaders(flow)
        if rest is not None:
            return self._then_watch(rest, flow)
        self._watch(flow)
        return None

    def _watch(self, flow: HTTPFlow) -> None:
        if not has_events(flow) or ended(flow) or self._passes.pass_of(flow).waits is not None:
            return
        state = self._talking(flow, Phase.V)
        talk = state.talk
        if talk is not None and (talk.numbers or talk.openers):
            watch(self._messages, flow, state, talk, self._store.limits.event)

    async def _then_watch(self, rest: Coroutine[object, object, None], flow: HTTPFlow) -> None:
        await rest
        self._watch(flow)

    # WebSockets

    def websocket_start(self, flow: WebSocketFlow) -> None:
        state = self._talking(flow.handshake_flow, Phase.W)
        if state.talk is not None and state.talk.base is not None and state.talk.openers:
            self._messages.open(state.talk, WebSocketTurn(flow, state.talk.base, state, at_open=True))

    def websocket_message(self, flow: WebSocketFlow) -> Rest:
        state = self._talking(flow.handshake_flow, Phase.W)
        talk = state.talk
        if talk is None or talk.base is None or not talk.numbers:
            return None
        return self._messages.run(talk, WebSocketTurn(flow, talk.base, state))

    def _talking(self, flow: HTTPFlow, phase: Phase) -> Pass:
        """The pass of a flow, with the conversation that it has begun."""
        state = self._passes.pass_of(flow)
        if state.talk is None and state is not self._passes.nothing:
            base = state.base_view(flow)
            numbers = self._messages.concerned(phase, state.numbers, lambda number: state.view(base, number))
            openers = self._messages.openers(phase, state.numbers)
            if flow.request.body_source is None:
                numbers, openers = (
                    tuple([number for number in those if not self._passes.lacks_request(number, flow)])
                    for those in (numbers, openers)
                )
            state.talk = Talk(self._passes.owner, numbers, openers, base)
        return state

    # Raw TCP

    def begin_tcp(self, flow: TCPFlow, certain: bool) -> None:
        """A connection begins that is raw TCP, or may be anything: see `Chain.begin_tcp`."""
        if certain:
            begin(self._rules, self._hosts, flow, self._tcp_talk(flow))
            return
        if self._uses_state:
            self._store.attach(flow)
        refuse_tunnel(self._hosts, flow)

    def tcp_start(self, flow: TCPFlow) -> None:
        talk = self._tcp_talk(flow)
        if talk.openers:
            self._messages.open(talk, TCPTurn(flow, 0, at_open=True))

    def tcp_message(self, flow: TCPFlow) -> Rest:
        talk = self._tcp_talk(flow)
        if not talk.numbers:
            return None
        message = flow.messages[-1]
        behind = talk.behind[message.from_client]
        if behind is not None and not message.whole and (size := behind.cut(message.content)):
            message.held = message.content[-size:]
            message.content = message.content[:-size]
            if not message.content:
                return None
        index = talk.index
        talk.index += 1
        turn = TCPTurn(flow, index)
        rest = self._messages.run(talk, turn)
        if rest is None:
            turn.settle()
            return None
        return _then(rest, turn)

    def _tcp_talk(self, flow: TCPFlow) -> Talk:
        talk = flow.rules
        if type(talk) is not Talk or talk.owner is not self._passes.owner:
            view = FlowView.of_message(flow, None, 0)
            numbers = self._messages.concerned(Phase.X, self._numbers, lambda number: view)
            talk = flow.rules = Talk(self._passes.owner, numbers, self._messages.openers(Phase.X, self._numbers))
            talk.behind = self._messages.look_behind(numbers, self._store.limits.tcp_look_behind)
            if self._uses_state:
                self._store.attach(flow)
        return talk


async def _then(rest: Coroutine[object, object, None], turn: TCPTurn) -> None:
    await rest
    turn.settle()
