"""`Live`: what is loaded from files and may be loaded again: rules, Python addons, the options of the project file.

A new version is made aside and swapped in one turn of the loop; one with an error leaves the last good one in force. It
knows no sockets: who serves with it says what is to happen behind a swap.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from rulesproxy.aside import aside
from rulesproxy.engine.bind import AddonError
from rulesproxy.engine.manager import Engine
from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.script import ScriptError
from rulesproxy.live_addons import LiveAddons
from rulesproxy.net.watch import Watch, changed_at

if TYPE_CHECKING:
    from rulesproxy.engine.chain import Chain
    from rulesproxy.rules.files.project import Project
    from rulesproxy.rules.load import RulesError
    from rulesproxy.rules.outside import Outside
    from rulesproxy.rules.ruleset import RuleSet

_log = logging.getLogger("rulesproxy")

Part: TypeAlias = Literal["project", "rules", "addons"]

_REMIND = 60.0
"""Seconds between two reminders that something is wrong with the files."""
_COARSE = 0.02
"""Seconds by which the date of a file may be older than the moment of its change: kernels count in ticks."""


class _Clock(Protocol):
    def now(self) -> float: ...
    def wall(self) -> float: ...


class Server(Protocol):
    """Who serves by the rules: an engine, or several processes with one each."""

    @property
    def chains(self) -> Sequence[Chain]:
        """See `Engine`; none where flows are in other processes."""

    async def replace(self, old: object, new: object, updated: AbstractSet[str] = ...) -> None:
        """Put `new` in the place of `old`, everywhere or nowhere. See `Engine`."""


class Live:
    """The rules and addons of one proxy.

    Attributes:
        rule_files: the rule files as they were named; empty where the rules come from elsewhere.
        rules: the rule set in force; None where there is none.
        revision: how many sets have been in force; 0 before the start.
        first_revision: the revision of the set that is in force from the start.
        problems: why the project file, the rules or the addons as they are now are not in force; empty where they are.
        on_rules_error: told of every problem that has diagnostics.
        disabled: names of rules that were switched off at run time; they stay off over reloads.
        reloads: how many reloads of the rule files have been `ok`, `failed`, or found them `unchanged`.
        on_swap: called when another set has come into force.
    """

    def __init__(
        self,
        engine: Engine,
        clock: _Clock,
        rules: RuleSet | str | Path | Sequence[str | Path] | None,
        addons: Iterable[object] | None,
        profiles: Sequence[str],
        project: Project | None,
        outside: Outside | None,
        loader: Callable[[], RuleSet] | None = None,
        server: Server | None = None,
    ) -> None:
        """
        Args:
            engine: whose addons and options they are.
            clock: the time.
            rules: see `Proxy`, as for all up to `outside`.
            addons: None where they are in other processes, those of the project file too.
            loader: loads the rule files, in any thread; by default `load_rules` does.
            server: who serves by the rules, where it is not this engine.
        """
        self.rule_files: tuple[Path, ...] = ()
        self.rules: RuleSet | None = None
        self.revision = 0
        self.first_revision = 1
        self.problems: dict[Part, Exception] = {}
        self.on_rules_error: Callable[[RulesError], None] = _log_rules_error
        self.on_swap: Callable[[], Awaitable[None]] | None = None
        if isinstance(rules, (str, Path)):
            rules = (rules,)
        if isinstance(rules, Sequence):
            self.rule_files = tuple(map(Path, rules))
        else:
            self.rules = rules
        self.disabled: set[str] = set()
        self.reloads = {"ok": 0, "failed": 0, "unchanged": 0}
        self._revisions: WeakKeyDictionary[RuleSet, int] = WeakKeyDictionary()
        self._addons = LiveAddons(engine, addons)
        self._profiles = tuple(profiles)
        self._project = project
        self._outside = outside
        self._load = loader or self._load_files
        self._loaded = self.rules
        self._engine = engine
        self._server: Server = server or engine
        self._clock = clock
        self._watcher: Watch | None = None
        self._began = 0.0
        self._postponed = False
        # One version at a time: files may change, and be asked for, while an earlier one is being loaded.
        self._turn = asyncio.Lock()

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles that are switched on."""
        return self._profiles

    def load(self) -> list[object]:
        """Load everything for the first time; the addons in order, with the rules in their place.

        Raises:
            RulesError: the rule files are not valid.
            ScriptError: the file of an addon cannot be loaded.
        """
        self._began = self._clock.wall()
        if self.rule_files:
            self.rules = self._load()
        if self.rules is not None:
            self._loaded = self.rules
            self.rules = self._loaded.without(self.disabled)
            self._revisions[self.rules] = self.first_revision
        return self._addons.load(self._project, self.rules)

    # Watching

    def watch(self) -> None:
        """What the files say now is what is in force; `follow` goes on from here."""
        self._watcher = Watch(self._watched)
        self._watcher.start()
        # Who was saved while it was read: nobody knows which version that was. Addons are loaded again only where that
        # is certain, since it shows; for rules a second look costs nothing.
        doubtful = [path for path in self._rule_closure() if changed_at(path) >= self._began - _COARSE]
        doubtful += [path for path in self._addons.files if changed_at(path) > self._began]
        self._watcher.doubt(doubtful)

    async def follow(self) -> None:
        """Load again what changes, until cancelled."""
        watcher = self._watcher
        assert watcher is not None
        while True:
            try:
                async with asyncio.timeout(_REMIND if self.problems else None):
                    changed = await watcher.changed()
            except TimeoutError:
                what = "the files of the %s still have errors: revision %d is in force"
                _log.warning(what, " and ".join(self.problems), self.revision)
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
        for source in (self.rules, self.problems.get("rules")):
            files.update(dict.fromkeys(getattr(source, "watch", ())))
        return files

    def _watched(self) -> Iterable[Path]:
        return dict.fromkeys([*self._project_files(), *self._rule_closure(), *self._addons.files])

    def _project_files(self) -> list[Path]:
        if self._project is None or self._project.path is None:
            return []
        return [self._project.path, *getattr(self.problems.get("project"), "watch", ())]

    # Loading again

    async def reload(self, changed: Iterable[Path] | None = None) -> bool:
        """Load rule files and addons again, those that are made of `changed`, all of them for None.

        What has an error stays as it is. Whether there was none.
        """
        async with self._turn:
            if changed is None and self._watcher is not None:
                await self._watcher.take()
            return await self._reload(None if changed is None else frozenset(changed))

    async def _reload(self, files: frozenset[Path] | None) -> bool:
        good, began = True, self._clock.wall()
        if self._project is not None and (files is None or not files.isdisjoint(self._project_files())):
            good = await self._reload_project(self._project)
        if self.rule_files and (files is None or not files.isdisjoint(self._rule_closure())):
            good = await self._reload_rules(files is None) and good
        if files is None or not files.isdisjoint(self._addons.files):
            good = await self._reload_addons(files) and good
        if self._watcher is not None:
            # An addon that was read for the first time is no change of it.
            await self._watcher.learn([path for path in self._addons.files if changed_at(path) < began])
        return good

    async def _reload_project(self, known: Project) -> bool:
        from rulesproxy.rules.files.project import read_project
        from rulesproxy.rules.load import RulesError

        path = known.path
        if path is None:
            return True
        try:
            found = await aside(lambda: read_project(path))
            await self._take_project(found)
        except RulesError as exc:
            return self._failed("project", exc)
        except (ScriptError, AddonError) as exc:
            _log.error("%s: %s; the addons stay as they are", path, exc)
            return self._failed("project", exc)
        except OptionsError as exc:
            explained = found.explain(exc)
            if explained:
                return self._failed("project", RulesError(explained))
            _log.error("%s: %s; the options stay as they are", path, exc)
            return self._failed("project", exc)
        self.problems.pop("project", None)
        return True

    async def _take_project(self, project: Project) -> None:
        if self._project is None or project.addons != self._project.addons:
            await self._addons.rearrange(self._project, project, self.rules)
        self._project = project
        self._engine.options.replace_values(project.options)

    async def _reload_rules(self, forced: bool) -> bool:
        from rulesproxy.rules.load import RulesError

        started = self._clock.now()
        try:
            rules = await aside(self._load)
        except RulesError as exc:
            if not forced and await self._is_being_written() and not self._postponed:
                # It was read while it was written, and will be read again: once, for who never stops writing.
                self._postponed = True
                return False
            self._postponed = False
            self.reloads["failed"] += 1
            return self._failed("rules", exc)
        self._postponed = False
        await self._is_being_written()
        if not forced and self.rules is not None and rules.digest == self.rules.digest:
            self.reloads["unchanged"] += 1
            if self.problems.pop("rules", None):
                _log.info("revision %d: the rule files are again what is in force", self.revision)
            return True
        changes = rules.changes(self._loaded or rules)
        try:
            await self._use(rules)
        except OptionsError as exc:
            self.reloads["failed"] += 1
            _log.error("the new rules are refused, the last good ones stay in force: %s", exc)
            return self._failed("rules", exc)
        self.problems.pop("rules", None)
        self.reloads["ok"] += 1
        _log.info("rev %d: %s rules, %.0f ms", self.revision, changes, (self._clock.now() - started) * 1000)
        return True

    async def _is_being_written(self) -> bool:
        """Whether a rule file has been touched since its change was reported. Then it is reported once more."""
        if self._watcher is None or not await self._watcher.moving():
            return False
        self._watcher.doubt(self._rule_closure())
        return True

    def _failed(self, part: Part, error: Exception) -> Literal[False]:
        from rulesproxy.rules.load import RulesError

        self.problems[part] = error
        if isinstance(error, RulesError):
            self.on_rules_error(error)
        return False

    def _load_files(self) -> RuleSet:
        from rulesproxy.rules.ruleset import load_rules

        return load_rules(*self.rule_files, profiles=self._profiles, outside=self._outside)

    async def _reload_addons(self, files: frozenset[Path] | None) -> bool:
        error = await self._addons.reload(files)
        if error is not None:
            return self._failed("addons", error)
        self.problems.pop("addons", None)
        return True

    async def use(self, rules: RuleSet) -> None:
        """Put another rule set in force for every flow that begins from now on; `configure` tells the addons.

        Raises:
            OptionsError: an addon refuses; the old rules stay in force.
        """
        async with self._turn:
            await self._use(rules)

    async def _use(self, rules: RuleSet) -> None:
        if self.rules is None:
            raise RuntimeError("the proxy was started without rules: there is nothing to replace")
        if self._loaded is not None and rules is not self._loaded:
            rules.follow(self._loaded)
        new = rules.without(self.disabled)
        if new is not rules:
            # What a rule counts stays with the whole set, so that it is there when the rule is switched on again.
            new.follow(rules)
        await self._server.replace(self.rules, new, {"rules"})
        self._loaded, self.rules = rules, new
        self.revision += 1
        self._revisions[new] = self.revision
        if self.on_swap is not None:
            await self.on_swap()

    async def take(self, rules: RuleSet, disabled: AbstractSet[str], revision: int) -> None:
        """Put a rule set in force that somebody else has loaded, without the rules of these names, as this revision.

        Raises:
            AddonError: the engine cannot use it; the old rules stay in force.
            OptionsError: an addon refuses, likewise.
        """
        async with self._turn:
            before = self.disabled, self.revision
            self.disabled, self.revision = set(disabled), revision - 1
            try:
                await self._use(rules)
            except (AddonError, OptionsError):
                self.disabled, self.revision = before
                raise

    async def take_project(self, project: Project) -> None:
        """Take over the addons and options of a project file that somebody else has read.

        Raises:
            ScriptError: the file of an addon cannot be loaded.
            AddonError: an addon cannot be used.
            OptionsError: an option is bad, or an addon refuses.
        """
        async with self._turn:
            await self._take_project(project)

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
                await self._use(self._loaded)
            except OptionsError:
                self.disabled = before
                raise
            _log.info("rev %d: rule `%s` was switched %s", self.revision, name, "on" if on else "off")

    @property
    def names(self) -> list[str]:
        """The rules of the files in force, those among them that are switched off."""
        return [addon.name for addon in self._loaded.rules] if self._loaded is not None else []

    def in_flight(self) -> dict[int, int]:
        """How many flows are not over, by the revision of their rules."""
        found: dict[int, int] = {}
        for chain in self._server.chains:
            for rules, revision in self._revisions.items():
                if any(addon is rules for addon in chain.addons):
                    found[revision] = found.get(revision, 0) + chain.users
        return found


def _log_rules_error(error: RulesError) -> None:
    for line in (*error.diagnostics, "the rules have errors: the last good ones stay in force"):
        _log.error("%s", line)
