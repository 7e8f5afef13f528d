"""`Live`: what is loaded from files and may be loaded again: rules, Python addons, the options of the project file.

A new version is made aside and swapped in one turn of the loop; one with an error leaves the last good one in force. It
knows no sockets: who serves with it says what is to happen behind a swap.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from rulesproxy.engine.bind import AddonError
from rulesproxy.engine.options import OptionsError
from rulesproxy.engine.script import ScriptError, Scripts
from rulesproxy.net.watch import Watch

if TYPE_CHECKING:
    from rulesproxy.engine.dispatch import Chain
    from rulesproxy.rules.load import RulesError
    from rulesproxy.rules.outside import Outside
    from rulesproxy.rules.ruleset import RuleSet

_log = logging.getLogger("rulesproxy")

_SWITCH = 0.0005
"""While rules are loaded in a thread, the loop gets its turn after this long, instead of the interpreter's 5 ms."""
_REMIND = 60.0
"""Seconds between two reminders that the rule files have errors."""


class _Clock(Protocol):
    def now(self) -> float: ...
    def wall(self) -> float: ...


class Server(Protocol):
    """Who serves with what is loaded: an engine, or several processes with one each."""

    @property
    def chains(self) -> Sequence[Chain]:
        """See `Engine`; none where flows are in other processes."""

    async def replace(self, old: object, new: object, updated: AbstractSet[str] = ...) -> None:
        """Put `new` in the place of `old`, everywhere or nowhere. See `Engine`."""

    async def replace_options(self, values: Mapping[str, object]) -> None:
        """Take over the options of the project file, all or none, everywhere or nowhere. See `Engine`."""


class Live:
    """The rules and addons of one proxy.

    Attributes:
        rule_files: the rule files as they were named; empty where the rules come from elsewhere.
        rules: the rule set in force; None where there is none.
        revision: how many sets have been in force; 0 before the start.
        first_revision: the revision of the set that is in force from the start.
        rules_error: why the rule files as they are now are not in force; None where they are.
        on_rules_error: told of it.
        disabled: names of rules that were switched off at run time; they stay off over reloads.
        reloads: how many reloads of the rule files have been `ok`, `failed`, or found them `unchanged`.
        on_swap: called when another set has come into force.
    """

    def __init__(
        self,
        engine: Server,
        clock: _Clock,
        rules: RuleSet | str | Path | Sequence[str | Path] | None,
        addons: Iterable[object],
        profiles: Sequence[str],
        project: Path | None,
        outside: Outside | None,
        loader: Callable[[], RuleSet] | None = None,
    ) -> None:
        """
        Args:
            engine: who serves.
            clock: the time, to tell how long things take.
            rules: see `Proxy`, as all up to `outside`.
            loader: loads the rule files, in any thread; by default `load_rules` does.
        """
        self.rule_files: tuple[Path, ...] = ()
        self.rules: RuleSet | None = None
        self.revision = 0
        self.first_revision = 1
        self.rules_error: RulesError | None = None
        self.on_rules_error: Callable[[RulesError], None] = _log_rules_error
        self.on_swap: Callable[[], Awaitable[None]] | None = None
        if isinstance(rules, (str, Path)):
            self.rule_files = (Path(rules),)
        elif isinstance(rules, Sequence):
            self.rule_files = tuple(Path(path) for path in rules)
        else:
            self.rules = rules
        self.disabled: set[str] = set()
        self.reloads = {"ok": 0, "failed": 0, "unchanged": 0}
        self._revisions: WeakKeyDictionary[RuleSet, int] = WeakKeyDictionary()
        self._addons = list(addons)
        self._profiles = tuple(profiles)
        self._project = project
        self._outside = outside
        self._loader = loader or self._load_files
        self._loaded = self.rules
        self._engine = engine
        self._clock = clock
        self._scripts = Scripts(())
        self._watcher: Watch | None = None
        self._began = 0.0
        # One version at a time: files may change, and be asked for, while an earlier one is being loaded.
        self._turn = asyncio.Lock()

    def load(self) -> list[object]:
        """Load everything for the first time; the addons in order, with the rules in their place.

        Raises:
            RulesError: the rule files are not valid.
            ScriptError: the file of an addon cannot be loaded.
        """
        self._began = self._clock.wall()
        if self.rule_files:
            self.rules = self._loader()
        if self.rules is not None:
            self._loaded = self.rules
            self.rules = self._loaded.without(self.disabled)
            self._revisions[self.rules] = self.first_revision
        self._scripts = Scripts([addon for addon in self._addons if isinstance(addon, Path)])
        rules: list[object] = [] if self.rules is None else [self.rules]
        addons = [self._scripts.modules[addon] if isinstance(addon, Path) else addon for addon in self._addons]
        if "rules" not in addons:
            return [*rules, *addons]
        at = addons.index("rules")
        return [*addons[:at], *rules, *addons[at + 1 :]]

    # Watching

    def watch(self) -> None:
        """What the files say now is what is in force; `follow` goes on from here."""
        self._watcher = Watch(self._watched)
        self._watcher.start()
        if any(map(_younger_than(self._began), self._watched())):
            # It was saved while it was read: nobody knows which version that was.
            self._watcher.trigger()

    async def follow(self) -> None:
        """Load again what changes, until cancelled."""
        watcher = self._watcher
        assert watcher is not None
        while True:
            try:
                async with asyncio.timeout(None if self.rules_error is None else _REMIND):
                    changed = await watcher.changed()
            except TimeoutError:
                _log.warning("the rule files still have errors: revision %d is in force", self.revision)
            else:
                try:
                    await self.reload(changed)
                except Exception:
                    # A bug of ours must not be the end of watching: the next version may not meet it.
                    _log.exception("the rules could not be loaded again: revision %d is in force", self.revision)

    def request_reload(self) -> None:
        """Load the rule files again soon, whether they have changed or not."""
        if self._watcher is not None:
            self._watcher.trigger()

    def _rule_closure(self) -> dict[Path, None]:
        """What the rules are made of, and what the version with errors is made of: a fix may be in either."""
        if not self.rule_files:
            return {}
        files = dict.fromkeys(self.rule_files)
        for source in (self.rules, self.rules_error):
            if source is not None:
                files.update(dict.fromkeys(source.watch))
        return files

    def _watched(self) -> Iterable[Path]:
        project = [] if self._project is None else [self._project]
        return dict.fromkeys([*project, *self._rule_closure(), *self._scripts.files])

    # Loading again

    async def reload(self, changed: Iterable[Path] | None = None) -> bool:
        """Load rule files and addons again, those that are made of `changed`, all of them for None.

        What has an error stays as it is. Whether there was none.
        """
        async with self._turn:
            return await self._reload(None if changed is None else frozenset(changed))

    async def _reload(self, files: frozenset[Path] | None) -> bool:
        good = True
        if self._project is not None and (files is None or self._project in files):
            good = await self._reload_options(self._project)
        if self.rule_files and (files is None or not files.isdisjoint(self._rule_closure())):
            good = await self._reload_rules(files is None) and good
        if files is None or not files.isdisjoint(self._scripts.files):
            good = await self._reload_scripts(files) and good
        return good

    async def _reload_options(self, project: Path) -> bool:
        from rulesproxy.rules.load import RulesError
        from rulesproxy.rules.project import read_project

        try:
            found = read_project(project)
        except RulesError as exc:
            self.on_rules_error(exc)
            return False
        try:
            await self._engine.replace_options(found.options)
        except OptionsError as exc:
            explained = found.explain(exc)
            if explained:
                self.on_rules_error(RulesError(explained))
            else:
                _log.error("%s: %s; the options stay as they are", project, exc)
            return False
        return True

    async def _reload_rules(self, forced: bool) -> bool:
        from rulesproxy.rules.load import RulesError

        started = self._clock.now()
        try:
            rules = await load_aside(self._loader)
        except RulesError as exc:
            if forced or self._watcher is None or not self._watcher.moving:
                # Else it was read while it was written, and will be read again.
                self.rules_error = exc
                self.reloads["failed"] += 1
                self.on_rules_error(exc)
            return False
        mended, self.rules_error = self.rules_error is not None, None
        if not forced and self.rules is not None and rules.digest == self.rules.digest:
            self.reloads["unchanged"] += 1
            if mended:
                _log.info("revision %d: the rule files are again what is in force", self.revision)
            return True
        changes = rules.changes(self._loaded or rules)
        try:
            await self.use(rules)
        except OptionsError as exc:
            self.reloads["failed"] += 1
            _log.error("the new rules are refused, the last good ones stay in force: %s", exc)
            return False
        self.reloads["ok"] += 1
        _log.info("rev %d: %s rules, %.0f ms", self.revision, changes, (self._clock.now() - started) * 1000)
        return True

    def _load_files(self) -> RuleSet:
        from rulesproxy.rules.ruleset import load_rules

        return load_rules(*self.rule_files, profiles=self._profiles, outside=self._outside)

    async def _reload_scripts(self, changed: frozenset[Path] | None) -> bool:
        """Import addons again, each in its own place of the chain."""
        good = True
        try:
            modules = self._scripts.again(changed)
        except ScriptError as exc:
            _log.error("%s; what was loaded before goes on", exc)
            return False
        for path, module in modules.items():
            try:
                await self._engine.replace(self._scripts.modules[path], module)
            except (AddonError, OptionsError) as exc:
                _log.error("%s; what was loaded before goes on", exc)
                good = False
            else:
                self._scripts.take(path, module)
                _log.info("addon %s was loaded again", path)
        return good

    async def use(self, rules: RuleSet) -> None:
        """Put another rule set in force for every flow that begins from now on; `configure` tells the addons.

        Raises:
            OptionsError: an addon refuses; the old rules stay in force.
        """
        if self.rules is None:
            raise RuntimeError("the proxy was started without rules: there is nothing to replace")
        if self._loaded is not None and rules is not self._loaded:
            rules.follow(self._loaded)
        new = rules.without(self.disabled)
        if new is not rules:
            # What a rule counts stays with the whole set, so that it is there when the rule is switched on again.
            new.follow(rules)
        await self._engine.replace(self.rules, new, {"rules"})
        self._loaded, self.rules = rules, new
        self.revision += 1
        self._revisions[new] = self.revision
        if self.on_swap is not None:
            await self.on_swap()

    async def take(self, rules: RuleSet, disabled: AbstractSet[str], revision: int) -> None:
        """Put a rule set in force that somebody else has loaded, without the rules of these names, as this revision.

        Raises:
            OptionsError: an addon refuses; the old rules stay in force.
        """
        async with self._turn:
            before = self.disabled, self.revision
            self.disabled, self.revision = set(disabled), revision - 1
            try:
                await self.use(rules)
            except OptionsError:
                self.disabled, self.revision = before
                raise

    async def switch(self, name: str, on: bool) -> None:
        """Switch a rule on or off until the end of the proxy, whatever its file says of other things.

        Raises:
            KeyError: there is no rule of this name.
            OptionsError: an addon refuses; nothing has changed.
        """
        async with self._turn:
            if self._loaded is None or name not in {addon.name for addon in self._loaded.rules}:
                raise KeyError(name)
            before = set(self.disabled)
            (self.disabled.discard if on else self.disabled.add)(name)
            if self.disabled == before:
                return
            try:
                await self.use(self._loaded)
            except OptionsError:
                self.disabled = before
                raise

    @property
    def names(self) -> list[str]:
        """The rules of the files in force, those among them that are switched off."""
        return [addon.name for addon in self._loaded.rules] if self._loaded is not None else []

    def in_flight(self) -> dict[int, int]:
        """How many flows are not over, by the revision of their rules."""
        found: dict[int, int] = {}
        for chain in self._engine.chains:
            for rules, revision in self._revisions.items():
                if any(addon is rules for addon in chain.addons):
                    found[revision] = found.get(revision, 0) + chain.users
        return found


async def load_aside(loader: Callable[[], RuleSet]) -> RuleSet:
    """Load rules in a thread of its own, in small turns: the loop must not wait for it."""

    def load() -> RuleSet:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH)
        try:
            return loader()
        finally:
            sys.setswitchinterval(interval)

    return await asyncio.get_running_loop().run_in_executor(None, load)


def _younger_than(moment: float) -> Callable[[Path], bool]:
    def younger(path: Path) -> bool:
        try:
            return path.stat().st_mtime > moment
        except OSError:
            return False

    return younger


def _log_rules_error(error: RulesError) -> None:
    for diagnostic in error.diagnostics:
        _log.error("%s", diagnostic)
    _log.error("the rules have errors: the last good ones stay in force")
