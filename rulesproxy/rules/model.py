"""What a rule file says, once it has been read and checked: immutable, with places, and without any flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from rulesproxy.diagnostics import Diagnostic, Span
from rulesproxy.diagnostics.ignore import Ignore
from rulesproxy.filters.check import Checked
from rulesproxy.rules.action import Action
from rulesproxy.rules.gates import Gates
from rulesproxy.rules.reading.match import FilterText

if TYPE_CHECKING:
    from rulesproxy.rules.dry.cases import Case

OnError: TypeAlias = Literal["open", "closed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a rule, and where it stands."""

    action: Action
    span: Span


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `rules:`.

    Attributes:
        name: its id, or `file:line` where it has none.
        id: the id as written.
        description: free text.
        tags: free words.
        filter: the filter, typed.
        steps: the actions, in order, an answering one last.
        stop: no rule below applies to a flow that this one matches.
        on_error: whether a flow goes on when an action fails (`open`), or is answered with 502 (`closed`).
        gates: which of the flows that the filter matches it acts on; None for all.
        refuses_overflow: a body that it needs and that is over the limit is refused, instead of passing by the rule.
        negated: the opposite of the filter, for rules that let flows pass: what it leaves must still be looked at.
        span: where the rule begins.
        definition: what it says, in a form that is the same as long as the rule says the same.
        text: the filter as written, which knows the place of each of its terms.
    """

    name: str
    id: str | None
    description: str
    tags: tuple[str, ...]
    filter: Checked
    steps: tuple[Step, ...]
    stop: bool
    on_error: OnError
    negated: Checked | None
    span: Span
    definition: str = ""
    gates: Gates | None = None
    refuses_overflow: bool = False
    text: FilterText | None = field(default=None, compare=False, repr=False)

    @property
    def identity(self) -> str:
        """What stays the same as long as the rule is the same one: its id, or what it says."""
        return self.id or self.definition


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rule files as they were read.

    Attributes:
        rules: the enabled rules that are free of errors, in order.
        diagnostics: everything that was found, in order of place; with an error among it the rules must not be used.
        files: every file that was read.
        watch: what a change of may change these rules: those files, files that were looked for and are missing, and
            folders that were searched, whose entries count.
        digest: a hash over the contents of those files, and over what the searches have found.
        tests: the tests that are free of errors, in order; those of included files are left out.
        ignores: the comments in them that silence a warning.
        ignored: what these have silenced.
        secrets: values of the environment that the rules use; logs and records hide them.
    """

    rules: tuple[Rule, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[Path, ...]
    watch: tuple[Path, ...]
    digest: str
    tests: tuple[Case, ...] = ()
    ignores: tuple[Ignore, ...] = ()
    ignored: tuple[Diagnostic, ...] = ()
    secrets: frozenset[str] = frozenset()

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(diagnostic.severity != "error" for diagnostic in self.diagnostics)
