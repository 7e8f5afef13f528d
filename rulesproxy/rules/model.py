"""What a rule file says, once it has been read and checked: immutable, with places, and without any flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from rulesproxy.diagnostics import Diagnostic, Span
from rulesproxy.diagnostics.ignore import Ignore
from rulesproxy.filters.check import Checked
from rulesproxy.rules.action import Action
from rulesproxy.rules.match import FilterText

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
        negated: the opposite of the filter, for rules that let flows pass: what it leaves must still be looked at.
        span: where the rule begins.
        definition: what it says, in a form that is the same as long as the rule says the same.
        text: the filter as written, with its places.
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
    text: FilterText | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rule files as they were read.

    Attributes:
        rules: the enabled rules that are free of errors, in order.
        diagnostics: everything that was found, in order of place; with an error among it the rules must not be used.
        files: every file that was read, for watching.
        digest: a hash over the contents of those files.
        ignores: the comments in them that silence a warning.
        ignored: what these have silenced.
    """

    rules: tuple[Rule, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[Path, ...]
    digest: str
    ignores: tuple[Ignore, ...] = ()
    ignored: tuple[Diagnostic, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(diagnostic.severity != "error" for diagnostic in self.diagnostics)
