"""`LiveAddons`: the addons of one proxy, in order: of the project file, of the caller, and the rules in their place.

Those that are files are loaded, again when they change, and ended when nobody lists them any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.engine.bind import AddonError
from rulesproxy.engine.manager import Engine
from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.script import ScriptError, Scripts

if TYPE_CHECKING:
    from rulesproxy.rules.files.project import Project
    from rulesproxy.rules.ruleset import RuleSet

_log = logging.getLogger("rulesproxy")


class LiveAddons:
    """The addons of one proxy.

    Args:
        engine: runs them.
        addons: those that the caller gives, behind those of the project file: objects, files, and the word `rules`
            for the place of the rules, which else come first. None where all are in other processes.
    """

    def __init__(self, engine: Engine, addons: Iterable[object] | None) -> None:
        self._engine = engine
        self._given = None if addons is None else list(addons)
        self._scripts = Scripts(())

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of addons, and the modules beside them that they have imported."""
        return self._scripts.files

    def load(self, project: Project | None, rules: RuleSet | None) -> list[object]:
        """Load the files for the first time; the addons in order, with the rules in their place.

        Raises:
            ScriptError: a file cannot be loaded.
        """
        addons = self._listed(project)
        self._scripts = Scripts([addon for addon in addons if isinstance(addon, Path)])
        return self._in_place(addons, rules)

    async def rearrange(self, known: Project | None, project: Project, rules: RuleSet | None) -> None:
        """Load the addons that the project file has gained, and end those that it has lost.

        Raises:
            ScriptError: the file of a new one cannot be loaded.
            AddonError: a new one cannot be used.
            OptionsError: a new one refuses its options.
        """
        before, after = self._listed(known), self._listed(project)
        old = self._in_place(before, rules)
        added = [addon for addon in after if isinstance(addon, Path) and addon not in before]
        self._scripts.add(added)
        try:
            await self._engine.rearrange(old, self._in_place(after, rules))
        except (AddonError, OptionsError):
            self._scripts.remove(added)
            raise
        gone = [addon for addon in before if isinstance(addon, Path) and addon not in after]
        self._scripts.remove(gone)
        _log.info("addons: +%d -%d", len(added), len(gone))

    async def reload(self, changed: frozenset[Path] | None) -> Exception | None:
        """Import again what is made of `changed`, all for None, each in its own place of the chain; what went wrong."""
        try:
            modules = self._scripts.again(changed)
        except ScriptError as exc:
            _log.error("%s; what was loaded before goes on", exc)
            return exc
        error: Exception | None = None
        for path, module in modules.items():
            try:
                await self._engine.replace(self._scripts.modules[path], module)
            except (AddonError, OptionsError) as exc:
                _log.error("%s; what was loaded before goes on", exc)
                self._scripts.refuse(module)
                error = exc
            else:
                self._scripts.take(path, module)
                _log.info("addon %s was loaded again", path)
        return error

    def _listed(self, project: Project | None) -> list[object]:
        if self._given is None:
            return []
        listed = () if project is None else project.addons
        return [*[name if name == "rules" else Path(name) for name in listed], *self._given]

    def _in_place(self, addons: list[object], ruleset: RuleSet | None) -> list[object]:
        """The addons themselves for what is listed, with the rules in their place."""
        rules: list[object] = [] if ruleset is None else [ruleset]
        found = [self._scripts.modules[addon] if isinstance(addon, Path) else addon for addon in addons]
        if "rules" not in found:
            return [*rules, *found]
        at = found.index("rules")
        return [*found[:at], *rules, *found[at + 1 :]]
