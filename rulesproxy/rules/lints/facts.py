"""What has to be known of one rule before rules are compared: when it ends a pass, what it reads, what it edits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from functools import cached_property

from rulesproxy.filters.analysis import reads
from rulesproxy.filters.phases import Phase
from rulesproxy.rules.action import Action
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.lints.terms import Term, all_terms
from rulesproxy.rules.model import Rule, Step
from rulesproxy.rules.moments import REQUEST_SIDE, on_request

_HTTP = frozenset({"http_connect", "requestheaders", "request", "responseheaders", "response", "error"})
_PLAIN = frozenset({
    "name", "id", "description", "tags", "filter", "steps", "stop", "on_error", "negated", "span", "definition", "text",
})  # fmt: skip
"""What a rule says besides the conditions under which it is skipped now and then, which have defaults."""
_WHERE = frozenset({"scheme", "host", "port", "url", "~u", "~d", "~dst"})
_PATH = frozenset({"path", "path.raw", "path.segments", "query", "url", "~u"})
_CONNECTION = frozenset({
    "client.ip", "client.port", "listen.port", "mode", "tls", "sni", "tls.version", "tls.alpn", "~src", "~http", "~tcp",
})  # fmt: skip
_EDITS: dict[str, frozenset[str]] = {
    "block": frozenset(), "redirect": frozenset(), "map-local": frozenset(), "respond": frozenset(),
    "log": frozenset(), "passthrough": frozenset(), "rewrite.response": frozenset(), "cors": frozenset(),
    "tag": frozenset({"tags"}), "no-cache": frozenset({"headers"}),
    "map-remote": frozenset({"host", "path", "headers"}),
    "delay": frozenset(), "throttle": frozenset(), "fault": frozenset(), "set-state": frozenset({"state"}),
    "record": frozenset(),
}  # fmt: skip
"""The parts of a flow that an action changes for the filters of rules below; of others everything is supposed."""
_PARTS: dict[str, tuple[str, ...]] = {
    "method": ("method",), "url": ("host", "path"), "scheme": ("host",), "host": ("host",), "port": ("host",),
    "path": ("path",), "query": ("path",), "headers": ("headers",), "cookies": ("headers",),
    "form": ("body",), "body": ("body",), "text": ("body",), "json": ("body",),
}  # fmt: skip
EVERYTHING = "everything"
_RUNNABLE = frozenset({*_EDITS, "rewrite.request"} - {"set-state", "record"})
"""Actions that may be carried out to see what they do: they change the flow and nothing else."""


class Facts:
    """One rule.

    Attributes:
        rule: the rule.
        number: its place among all.
    """

    def __init__(self, rule: Rule, number: int) -> None:
        self.rule = rule
        self.number = number

    @cached_property
    def all_terms(self) -> tuple[Term, ...] | None:
        """The alternatives of its filter, impossible ones too; None for too many."""
        return all_terms(self.rule.filter.node)

    @cached_property
    def terms(self) -> tuple[Term, ...] | None:
        """The alternatives that are possible; None for too many."""
        return None if self.all_terms is None else tuple([term for term in self.all_terms if not term.impossible])

    @cached_property
    def compiled(self) -> Compiled:
        """The rule as it runs."""
        return Compiled(self.rule, self.number)

    @cached_property
    def always(self) -> bool:
        """Whether it acts whenever its filter is true: no other condition of the rule skips it now and then."""
        for field in fields(self.rule):
            if field.name in _PLAIN:
                continue
            default = field.default if field.default_factory is MISSING else field.default_factory()
            if getattr(self.rule, field.name) != default:
                return False
        return True

    @cached_property
    def ends(self) -> str:
        """`stop` where no rule below it applies, `answer` where it ends the request pass, empty where it does not."""
        checked = self.rule.filter
        decided = bool(checked.phases & REQUEST_SIDE) and not (checked.uses_response or checked.either_side)
        if not decided or not self.always or checked.needs_body & Phase.S or "state" in self.read:
            # What is remembered may be changed by other flows between two rules.
            return ""
        if self.rule.stop:
            return "stop"
        return "answer" if self.answering is not None else ""

    @cached_property
    def answering(self) -> Step | None:
        """The step that answers every request of this rule."""
        for step in self.rule.steps:
            action = step.action
            if action.answers and not getattr(action, "fallthrough", False) and on_request(action, self.rule.filter):
                return step
        return None

    @cached_property
    def is_http(self) -> bool:
        """Whether everything that it does, it does to requests and responses."""
        return all(step.action.events <= _HTTP for step in self.rule.steps)

    @cached_property
    def runnable(self) -> bool:
        """Whether it may be carried out on an example."""
        return all(step.action.key in _RUNNABLE for step in self.rule.steps)

    @cached_property
    def edited(self) -> frozenset[str]:
        """The parts of a flow that its actions may change for the filters of rules below."""
        found = frozenset[str]()
        for step in self.rule.steps:
            found |= _edited(step.action)
        return found

    @cached_property
    def read(self) -> frozenset[str]:
        """The parts of a flow that its filter reads, as far as they can be changed."""
        found = frozenset[str]()
        for read in reads(self.rule.filter.node):
            found |= _part_of(read.field.name, read.original)
        return found

    @cached_property
    def may_answer(self) -> bool:
        """Whether it answers some requests, so that the request pass does not get to the rules below."""
        return any(step.action.answers or step.action.may_answer for step in self.rule.steps)

    def hides(self, other: Facts, reached: bool) -> bool:
        """Whether a rule below never runs for flows that this one matches, if this one matches first.

        `reached` says that no rule above this one answers: a rule that the request pass does not get to stops nothing.
        """
        if not other.is_http or other.compiled.passes or other.compiled.acts_on_error:
            return False
        if self.rule.filter.needs_body & ~other.rule.filter.needs_body:
            # Without a body this one would not apply, and the other one would.
            return False
        if self.ends == "stop" and reached:
            return True
        return bool(self.ends) and not other.compiled.acts_on_response


class Changes:
    """Which parts of a flow some rule may change, by the places of the rules."""

    def __init__(self, rules: Iterable[Facts]) -> None:
        self._last: dict[str, list[int]] = {}
        for facts in rules:
            for part in facts.edited:
                self._last.setdefault(part, []).append(facts.number)

    def between(self, first: int, last: int, parts: frozenset[str]) -> bool:
        """Whether a rule from place `first` up to, not including, `last` may change one of these parts."""
        wanted = [*parts, EVERYTHING] if parts else ()
        return any(first <= number < last for part in wanted for number in self._last.get(part, ()))


def _edited(action: Action) -> frozenset[str]:
    if not action.events:
        # What acts on messages alone comes after all that filters of requests are about.
        return frozenset()
    if action.key == "rewrite.request":
        named = [part for name, parts in _PARTS.items() for part in parts if getattr(action, name, None) is not None]
        # The Host header follows the URL, and the length of the body is a header.
        return frozenset([*named, "headers"]) if named else frozenset({EVERYTHING})
    return _EDITS.get(action.key, frozenset({EVERYTHING}))


def _part_of(field: str, original: bool) -> frozenset[str]:
    if original or field in _CONNECTION:
        return frozenset()
    if field in _WHERE or field in _PATH:
        found = {part for part, names in (("host", _WHERE), ("path", _PATH)) if field in names}
        # `~d` and `~u` look at the Host header too.
        return frozenset({*found, "headers"} if field in ("~d", "~u") else found)
    if field == "method":
        return frozenset({"method"})
    if field == "flow.tags":
        return frozenset({"tags"})
    if field == "state":
        return frozenset({"state"})
    if field.startswith(("request.header", "request.cookie")) or field in ("~hq", "~tq", "request.content_type"):
        return frozenset({"headers"})
    if field.startswith("response."):
        return frozenset()
    return frozenset({"method", "host", "path", "headers", "body", "tags", "state"})
