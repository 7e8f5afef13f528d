"""One option: what it may be, and how what somebody gives for it is read.

It knows sources, since messages name them. It does not know the other options (`options`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rulesproxy.diagnostics import suggest
from rulesproxy.engine.log import escape
from rulesproxy.engine.option_types import OptionType, Value

Source: TypeAlias = Literal["default", "project file", "environment", "command line", "run time"]

SOURCES: tuple[Source, ...] = ("default", "project file", "environment", "command line", "run time")
"""Where values come from. A later source wins over an earlier one, in whatever order they are read."""

ENVIRONMENT = "RULESPROXY_"


class OptionsError(Exception):
    """An option cannot be set: `str()` names it and says what it must be. Raised in `configure`, it undoes a change.

    Attributes:
        about: the options that it is about, in the order of its lines, each with the source of its value; empty where
            that is not known.
    """

    def __init__(self, text: str = "", about: Iterable[tuple[str, Source]] = ()) -> None:
        super().__init__(text)
        self.about = tuple(about)


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one option.

    Attributes:
        name: lower-case words with `_`.
        type: what it holds.
        default: its value where nobody sets it.
        help: one sentence.
        choices: the values it may have; None for all of its type.
    """

    name: str
    type: OptionType
    default: Value
    help: str
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody gave for a name: a value, or texts to be read once the type is known; None is a bare name."""

    value: object
    parts: tuple[str | None, ...]

    def read(self, option: Option, source: Source) -> Value:
        """The value for this option.

        Raises:
            OptionsError: it may not have it.
        """
        if not self.parts:
            return check_value(option, source, self.value)
        items: list[str] = []
        value: Value = None
        for part in self.parts:
            if part is None and option.type.base is not bool:
                text = f"{_label(option.name, source)}: write {option.name}=VALUE"
                raise OptionsError(text, [(option.name, source)])
            try:
                value = option.type.parse("true" if part is None else part)
            except ValueError as error:
                text = f"{_label(option.name, source)}: {error}, not `{escape(str(part))}`"
                raise OptionsError(text, [(option.name, source)]) from None
            if isinstance(value, tuple):
                items += value
                value = tuple(items)
        return check_value(option, source, value)


def unknown_option(name: str, source: Source, known: Iterable[str]) -> str:
    """What is said of a value for a name that is no option."""
    if source != "environment":
        return f"no option `{escape(name)}`{did_you_mean(name, known)}"
    meant = suggest(name, known)
    hint = f"; did you mean {ENVIRONMENT}{meant.upper()}?" if meant else ""
    return f"{ENVIRONMENT}{escape(name).upper()} is set, but there is no option `{escape(name)}`{hint}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that nobody knows: the one that was probably meant."""
    meant = suggest(name, known)
    return f"; did you mean `{meant}`?" if meant else ""


def check_value(option: Option, source: Source, value: object) -> Value:
    """A value that the option may have.

    Raises:
        OptionsError: it may not have this one.
    """
    try:
        checked = option.type.check(value)
    except ValueError as error:
        text = f"{_label(option.name, source)}: {error}, not {escape(repr(value))}"
        raise OptionsError(text, [(option.name, source)]) from None
    if option.choices is not None and checked is not None:
        chosen: Sequence[object] = checked if isinstance(checked, tuple) else (checked,)
        for item in chosen:
            if item not in option.choices:
                hint = did_you_mean(str(item), option.choices)
                known = ", ".join(option.choices)
                text = f"{_label(option.name, source)}: it must be one of {known}, not `{escape(str(item))}`{hint}"
                raise OptionsError(text, [(option.name, source)])
    return checked


def _label(name: str, source: Source) -> str:
    return f"{ENVIRONMENT}{name.upper()}" if source == "environment" else f"option `{escape(name)}`"
