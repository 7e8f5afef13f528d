"""`RuleSet`: rule files as one addon. It knows which events its rules need; the walk over them is in `passes`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import Diagnostic
from rulesproxy.engine.secrets import hide
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import Side
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.load import RulesError, load_files, load_text
from rulesproxy.rules.model import Loaded, Rule
from rulesproxy.rules.outside import Outside, the_machine
from rulesproxy.rules.runner import Runner
from rulesproxy.rules.state import Store

if TYPE_CHECKING:
    from rulesproxy.engine.options import Options
    from rulesproxy.rules.dry.dry_run import DryRun
    from rulesproxy.rules.dry.trace import Result


class RuleAddon:
    """One rule as an addon: alone in a chain it does what a rule set of this rule does.

    Attributes:
        name: its id, or `file:line`.
        rule: what the file says.
        events: the events that it needs.
    """

    __slots__ = ("__weakref__", "_alone", "_store", "compiled")

    def __init__(self, compiled: Compiled, store: Store) -> None:
        self.compiled = compiled
        self._store = store
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

    def wants_messages(self, flow: HTTPFlow) -> bool:
        """Whether this rule may act on the messages of the WebSocket that this request asks for."""
        return self._runner.wants_messages(flow)

    @property
    def _runner(self) -> Runner:
        if self._alone is None:
            alone = Compiled(self.compiled.rule, 0, self.compiled.memory, self.compiled.outside)
            self._alone = Runner([alone], self._store)
        return self._alone

    def __getattr__(self, event: str) -> object:
        # The runner of one rule is made when the first event is asked for: inside a set nobody asks.
        if event.startswith("_"):
            raise AttributeError(event)
        if event == "route_tunnel" and self._runner.hosts.routes:
            return self._runner.hosts.route_tunnel
        if event == "begin_tcp" and self._runner.begin_tcp is not None:
            return self._runner.begin_tcp
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
        files: the files they come from.
        watch: what to watch for changes of them: see `Loaded`.
        digest: a hash over the contents of those files.
        warnings: what is doubtful about them.
        store: what its rules remember under a name.
        outside: where its rules get time and chance from.
        secrets: values of the environment that they use; logs and records hide them.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...] = (),
        files: tuple[Path, ...] = (),
        watch: tuple[Path, ...] = (),
        digest: str = "",
        warnings: tuple[Diagnostic, ...] = (),
        outside: Outside | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self.secrets = secrets
        self.outside = outside or the_machine()
        self.store = Store()
        compiled = [Compiled(rule, number, outside=self.outside) for number, rule in enumerate(rules)]
        self.rules = tuple(RuleAddon(rule, self.store) for rule in compiled)
        self.files = files
        self.watch = watch
        self.digest = digest
        self.warnings = warnings
        # The runner knows nothing of this object: a set that was replaced is gone with its last reference.
        runner = Runner(compiled, self.store)
        for event, handler in runner.handlers.items():
            setattr(self, event, handler)
        if runner.hosts.routes:
            self.route_tunnel = runner.hosts.route_tunnel
        if runner.begin_tcp is not None:
            self.begin_tcp = runner.begin_tcp
        self._dry: DryRun | None = None
        self._running = threading.Lock()
        self.wants_host = runner.hosts.wants_host
        self.wants_body = runner.wants_body
        self.wants_messages = runner.wants_messages

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
            raise RulesError(loaded.diagnostics, loaded.watch)
        hide(loaded.secrets)
        return cls(
            loaded.rules, loaded.files, loaded.watch, loaded.digest, loaded.diagnostics, outside, loaded.secrets
        )  # fmt: skip

    def run(self, flow: HTTPFlow) -> Result:
        """What these rules do with a flow, without a network: hits, the flow behind them, and why.

        The flow is left as it is, and so is everything that live traffic counts: time stands still, and every run
        begins with fresh counters. Its response is what the server would answer. For several flows on one state there
        is `DryRun`.
        """
        with self._running:
            if self._dry is None:
                from rulesproxy.rules.dry.dry_run import DryRun

                self._dry = DryRun([addon.rule for addon in self.rules])
            self._dry.reset()
            return self._dry.run(flow)

    def configure(self, options: Options, updated: set[str]) -> None:
        """Take the limits over: called by the engine at start, and when options change."""
        self.store.limits = options.limits

    def follow(self, other: RuleSet) -> None:
        """Go on where another set is: with the named state, and the counters of rules that have not changed."""
        self.store.follow(other.store)
        before = dict(zip(_identities(other.rules), other.rules, strict=True))
        for identity, addon in zip(_identities(self.rules), self.rules, strict=True):
            old = before.get(identity)
            if old is not None:
                addon.compiled.memory.follow(old.compiled.memory)

    def without(self, names: AbstractSet[str]) -> RuleSet:
        """The same rules except those of these names."""
        kept = tuple([addon.rule for addon in self.rules if addon.name not in names])
        if len(kept) == len(self.rules):
            return self
        return RuleSet(kept, self.files, self.watch, self.digest, self.warnings, self.outside, self.secrets)

    def changes(self, other: RuleSet) -> str:
        """What is other here than in an earlier set, counted: `+1 ~2 -0` for added, changed and removed rules.

        A rule without an id has changed when its definition has: it counts as removed and added.
        """
        now, before = set(_identities(self.rules)), set(_identities(other.rules))
        new, gone = now - before, before - now
        changed = len({id for id, _, _ in new if id} & {id for id, _, _ in gone})
        return f"+{len(new) - changed} ~{changed} -{len(gone) - changed}"

    def plan(self) -> str:
        """What these rules make the proxy do: rules per event, bodies that are read, hosts that are decrypted."""
        from rulesproxy.rules.plan import describe_plan

        return describe_plan([addon.compiled for addon in self.rules])

    def __repr__(self) -> str:
        return f"<RuleSet of {len(self.rules)} rules>"


def load_rules(
    *paths: str | Path, text: str | None = None, profiles: Sequence[str] = (), outside: Outside | None = None
) -> RuleSet:
    """The rules of files, folders and packs (`pack:NAME`), or of a text.

    Relative paths inside a rule file are relative to that file, inside a text to the working folder. `profiles` are
    those that are switched on; a later one wins. Time and chance are those of the machine, unless `outside` brings
    others.

    Raises:
        RulesError: with every diagnostic.
    """
    if text is not None:
        return RuleSet.of(load_text(text, profiles=profiles), outside)
    return RuleSet.of(load_files([Path(path) for path in paths], profiles=profiles), outside)


def _identities(rules: tuple[RuleAddon, ...]) -> list[tuple[str, str, int]]:
    """What tells the rules of a set apart, over a reload too: id, definition, and a number for those that are alike."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for addon in rules:
        key = (addon.rule.id or "", addon.rule.definition)
        found.append((*key, seen[key]))
        seen[key] += 1
    return found


__all__ = ["RuleAddon", "RuleSet", "RulesError", "load_rules"]
