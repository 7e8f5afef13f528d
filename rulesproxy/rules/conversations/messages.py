"""The ordered pass over the rules for one message of a conversation: of a WebSocket, of raw TCP, of an event stream.

It knows which rules a conversation concerns, what they count in it, and their order. What carries a message is known
by its `Turn`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TypeAlias

from rulesproxy.engine.chain import Bound
from rulesproxy.engine.dispatch import dispatch, run_guarded
from rulesproxy.filters.phases import NONE, Phase
from rulesproxy.filters.view import FlowView
from rulesproxy.rules.action import Captures
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.conversations.look_behind import Look, LookBehind, looked_for
from rulesproxy.rules.conversations.turn import Turn
from rulesproxy.rules.hosts import hit
from rulesproxy.rules.index import Numbers
from rulesproxy.rules.memory import Memory

Rest: TypeAlias = Coroutine[object, object, None] | None
"""The rest of a pass that has to wait for an `async` function."""

Behind: TypeAlias = tuple[LookBehind | None, LookBehind | None]
_NOTHING: Behind = (None, None)
_KINDS_OF_TALK = 64
"""Choices of rules that conversations differ in, and of which it is kept what they look for: few sets have ten."""


class Talk:
    """What the rules of one set know of one conversation.

    Attributes:
        owner: the identity of the rule set that it is for.
        numbers: the rules that may act on its messages.
        openers: those that act before the first one.
        counts: what `nth`, `every` and `times` have counted in it, by the number of the rule.
        base: what filters see of it beside the message; None where that is not kept.
        index: how many messages have come.
        behind: what its rules look for in bytes that may be cut anywhere, in those of the server and of the client.
    """

    __slots__ = ("base", "behind", "counts", "index", "numbers", "openers", "owner")

    def __init__(self, owner: object, numbers: Numbers, openers: Numbers, base: FlowView | None = None) -> None:
        self.owner = owner
        self.numbers = numbers
        self.openers = openers
        self.base = base
        self.counts: dict[int, Memory] = {}
        self.index = 0
        self.behind: Behind = _NOTHING


class Messages:
    """The rules of a set that are about messages.

    Attributes:
        kinds: the kinds of messages that some rule acts on.
        opens: the kinds of conversations that some rule acts on before their first message.
    """

    __slots__ = ("_behind", "_rules", "kinds", "opens")

    def __init__(self, rules: Sequence[Compiled]) -> None:
        self._rules = tuple(rules)
        self._behind: dict[Numbers, Behind] = {}
        self.kinds = self.opens = NONE
        for rule in self._rules:
            self.kinds |= rule.messages
            self.opens |= rule.opens

    def concerned(self, phase: Phase, numbers: Numbers, view: Callable[[int], FlowView]) -> Numbers:
        """Those of some rules that may act on messages of a conversation, as far as its beginning tells."""
        rules = self._rules
        about = [number for number in numbers if rules[number].messages & phase]
        return tuple([number for number in about if rules[number].near(view(number))])

    def openers(self, phase: Phase, numbers: Numbers) -> Numbers:
        """Those of some rules that act on a conversation before its first message."""
        return tuple([number for number in numbers if self._rules[number].opens & phase])

    def look_behind(self, numbers: Numbers, bound: int) -> Behind:
        """What some rules look for in bytes that may be cut anywhere, as in `Talk`. `bound` is that of `LookBehind`."""
        behind = self._behind.get(numbers)
        if behind is None:
            if len(self._behind) >= _KINDS_OF_TALK:
                self._behind.clear()
            server, client = (LookBehind(self._looks(numbers, side), bound) or None for side in (False, True))
            behind = self._behind[numbers] = server, client
        return behind

    def _looks(self, numbers: Numbers, from_client: bool) -> Iterator[Look]:
        for number in numbers:
            rule = self._rules[number].rule
            yield from looked_for(rule.filter.node, [step.action for step in rule.steps], from_client)

    def open(self, talk: Talk, turn: Turn) -> None:
        """A conversation begins."""
        for number in talk.openers:
            rule = self._rules[number]
            view = turn.view(number)
            if not rule.matches(view) or (rule.gate is not None and not rule.gate.opens(view)):
                continue
            hit(turn.flow, rule)
            captures = turn.acts(rule, view)
            run_guarded(rule.on_open(turn.phase), turn.subject, turn, captures)

    def run(self, talk: Talk, turn: Turn, at: int = 0) -> Rest:
        """One message, from the rule at a place in `talk.numbers` on."""
        numbers = talk.numbers
        while at < len(numbers):
            number = numbers[at]
            at += 1
            rule = self._rules[number]
            view = turn.view(number)
            if not rule.matches(view) or (rule.gate is not None and not rule.gate.opens(view, _counts(talk, rule))):
                continue
            hit(turn.flow, rule)
            captures = turn.acts(rule, view)
            bound = rule.on_message(turn.phase)
            if rule.awaits_messages:
                return self._wait(talk, turn, rule, bound, captures, at)
            if run_guarded(bound, turn.subject, turn, captures) is None and bound.closed:
                turn.drop()
            turn.refresh()
            if rule.stop or turn.over:
                break
        return None

    async def _wait(self, talk: Talk, turn: Turn, rule: Compiled, bound: Bound, captures: Captures, at: int) -> None:
        """Act with a rule whose function is `async`, and go on behind it."""
        await dispatch((bound,), turn.subject, turn, captures)
        turn.refresh()
        if rule.stop or turn.over:
            return
        rest = self.run(talk, turn, at)
        if rest is not None:
            await rest


def _counts(talk: Talk, rule: Compiled) -> Memory:
    """What the gates of a rule count in one conversation."""
    memory = talk.counts.get(rule.number)
    if memory is None:
        memory = talk.counts[rule.number] = Memory()
    return memory
