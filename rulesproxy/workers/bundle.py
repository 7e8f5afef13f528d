"""Rule files on their way to the workers: read and checked here, compiled there, from the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.rules.files.closure import Closure, Contents
from rulesproxy.rules.files.packed import unpack
from rulesproxy.rules.load import load_files
from rulesproxy.rules.shared import check_shared

if TYPE_CHECKING:
    from rulesproxy.rules.ruleset import RuleSet

_VERSIONS = 2


@dataclass(slots=True)
class Loader:
    """Loads rule files for so many workers, and keeps what it has read of the last versions.

    Attributes:
        files: the rule files as they were named.
        profiles: the profiles that are switched on.
        workers: how many processes are to serve by them.
    """

    files: Sequence[Path]
    profiles: Sequence[str]
    workers: int
    _kept: dict[str, Contents] = field(default_factory=dict)

    def __call__(self) -> RuleSet:
        """The rules of the files as they are now.

        Raises:
            RulesError: they are not valid, or several processes cannot serve by them.
        """
        from rulesproxy.rules.ruleset import RuleSet

        contents = Contents()
        loaded = load_files(self.files, profiles=self.profiles, closure=Closure(keep=contents))
        shared = check_shared(loaded.rules, self.workers)
        rules = RuleSet.of(replace(loaded, diagnostics=(*loaded.diagnostics, *shared)))
        self._kept.pop(rules.digest, None)
        self._kept[rules.digest] = contents
        # The version in force, and one that may come into force.
        for digest in list(self._kept)[:-_VERSIONS]:
            del self._kept[digest]
        return rules

    def contents(self, digest: str) -> Contents:
        """What was read for the version with this digest, one of the last two."""
        return self._kept[digest]


def unpack_rules(data: bytes, files: Sequence[Path], profiles: Sequence[str]) -> RuleSet:
    """The rules of files whose bytes were sent.

    Raises:
        RulesError: something that is not sent along, such as a file of Python code, is not what it was.
    """
    from rulesproxy.rules.ruleset import RuleSet

    return RuleSet.of(load_files(files, profiles=profiles, closure=Closure(given=unpack(data))))
