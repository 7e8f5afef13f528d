"""`RuleSet`: rule files as one addon. It knows which events its rules need; the walk over them is in `passes`."""

from __future__ import annotations

from pathlib import Path

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import Side
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.load import RulesError, load_files, load_text
from rulesproxy.rules.model import Loaded, Rule
from rulesproxy.rules.outside import Outside, the_machine
from rulesproxy.rules.passes import Runner


class RuleAddon:
    """One rule as an addon: alone in a chain it does what a rule set of this rule does.

    Attributes:
        name: its id, or `file:line`.
        rule: what the file says.
        events: the events that it needs.
    """

    __slots__ = ("__weakref__", "_alone", "compiled")

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self._alone: Runner | None = None

    @property
    def name(self) -> str:
        return self.compiled.name

    @property
    def rule(self) -> Rule:
        return self.compiled.rule

    @property
    def events(self) -> frozenset[str]:
        return frozenset(self._runner.handlers)

    def wants_host(self, host: str) -> bool:
        """Whether this rule has to see inside TLS to this host."""
        return self._runner.hosts.wants_host(host)

    def wants_body(self, flow: HTTPFlow, side: Side) -> bool:
        """Whether this rule waits for the body of this side."""
        return self._runner.wants_body(flow, side)

    @property
    def _runner(self) -> Runner:
        if self._alone is None:
            self._alone = Runner([Compiled(self.compiled.rule, 0, self.compiled.memory, self.compiled.outside)])
        return self._alone

    def __getattr__(self, event: str) -> object:
        # The runner of one rule is made when the first event is asked for: inside a set nobody asks.
        if event.startswith("_"):
            raise AttributeError(event)
        if event == "route_tunnel" and self._runner.hosts.routes:
            return self._runner.hosts.route_tunnel
        handler = self._runner.handlers.get(event)
        if handler is None:
            raise AttributeError(f"rule {self.name} does not need {event}")
        return handler

    def __repr__(self) -> str:
        return f"<RuleAddon {self.name}>"


class RuleSet:
    """All rules of a proxy, in order. It never changes; a reload makes another.

    The handlers `requestheaders`, `request`, `responseheaders`, `response` and `http_connect` are attributes of an
    instance, and only where some rule needs the event.

    Attributes:
        rules: the rules, each an addon of its own.
        files: the files they come from, for watching.
        digest: a hash over the contents of those files.
        warnings: what is doubtful about them.
        outside: where its rules get time and chance from.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...] = (),
        files: tuple[Path, ...] = (),
        digest: str = "",
        warnings: tuple[Diagnostic, ...] = (),
        outside: Outside | None = None,
    ) -> None:
        self.outside = outside or the_machine()
        compiled = [Compiled(rule, number, outside=self.outside) for number, rule in enumerate(rules)]
        self.rules = tuple(RuleAddon(rule) for rule in compiled)
        self.files = files
        self.digest = digest
        self.warnings = warnings
        # The runner knows nothing of this object: a set that was replaced is gone with its last reference.
        runner = Runner(compiled)
        for event, handler in runner.handlers.items():
            setattr(self, event, handler)
        if runner.hosts.routes:
            self.route_tunnel = runner.hosts.route_tunnel
        self.wants_host = runner.hosts.wants_host
        self.wants_body = runner.wants_body

    @property
    def unverified(self) -> list[str]:
        """The rules that accept any certificate of their servers."""
        return [
            addon.name
            for addon in self.rules
            if any(step.action.route is not None and step.action.route.verify is False for step in addon.rule.steps)
        ]

    @classmethod
    def empty(cls) -> RuleSet:
        """A set without rules: it needs no event, no body and no host."""
        return cls()

    @classmethod
    def of(cls, loaded: Loaded, outside: Outside | None = None) -> RuleSet:
        """The set of what was loaded.

        Raises:
            RulesError: there is an error in it.
        """
        if not loaded.ok:
            raise RulesError(loaded.diagnostics)
        return cls(loaded.rules, loaded.files, loaded.digest, loaded.diagnostics, outside)

    def follow(self, other: RuleSet) -> None:
        """Go on counting where another set is: in every rule whose id and definition have not changed."""
        before = {addon.rule.id: addon for addon in other.rules if addon.rule.id is not None}
        for addon in self.rules:
            old = before.get(addon.rule.id or "")
            if old is not None and old.rule.definition == addon.rule.definition:
                addon.compiled.memory.follow(old.compiled.memory)

    def plan(self) -> str:
        """What these rules make the proxy do: rules per event, bodies that are read, hosts that are decrypted."""
        from rulesproxy.rules.plan import describe_plan

        return describe_plan([addon.compiled for addon in self.rules])

    def __repr__(self) -> str:
        return f"<RuleSet of {len(self.rules)} rules>"


def load_rules(*paths: str | Path, text: str | None = None, outside: Outside | None = None) -> RuleSet:
    """The rules of files and folders, or of a text.

    Relative paths inside a rule file are relative to that file, inside a text to the working folder. Time and chance
    are those of the machine, unless `outside` brings others.

    Raises:
        RulesError: with every diagnostic.
    """
    if text is not None:
        return RuleSet.of(load_text(text), outside)
    return RuleSet.of(load_files([Path(path) for path in paths]), outside)


__all__ = ["RuleAddon", "RuleSet", "RulesError", "load_rules"]
