"""`Options`: the configuration, typed, with the source of every value.

Values change in transactions: the engine tells every addon, and one `OptionsError` takes the whole change back. It
reads no files: values come from the caller, as text or typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from rulesproxy import limits
from rulesproxy.engine.log import escape
from rulesproxy.engine.option import (
    ENVIRONMENT,
    SOURCES,
    Given,
    Option,
    OptionsError,
    Source,
    check_value,
    did_you_mean,
    unknown_option,
)
from rulesproxy.engine.option_types import Unit, Value, limit_helps, option_type
from rulesproxy.limits import Limits

NOT_OPTIONS = frozenset({"RULESPROXY_HOME", "RULESPROXY_RULES"})


@dataclass(frozen=True, slots=True)
class Described:
    """A row of `Options.describe()`."""

    name: str
    type: str
    default: Value
    value: Value
    source: Source
    help: str
    choices: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class State:
    """Everything that `Options` holds at one moment, to go back to."""

    options: Mapping[str, Option]
    given: Mapping[str, Mapping[Source, Given]]


Undo: TypeAlias = Callable[[], set[str]]
"""Goes back to the values before a change; gives the names whose values are now others."""


class Options:
    """The configuration. Values are attributes, as in `options.listen`; they change through the methods only.

    Attributes:
        limits: the `Limits` that the options `limits_…` make.
        guard: asked about every change before anybody else hears of it, with the names; raising `OptionsError` takes it
            back.
        on_change: told of every change with the names and a way back; raising `OptionsError` refuses it, after it went
            back.
    """

    limits: Limits
    guard: Callable[[set[str]], None] | None
    on_change: Callable[[set[str], Undo], None] | None
    _options: dict[str, Option]
    _given: dict[str, dict[Source, Given]]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    else:

        def __getattr__(self, name: str) -> object:
            if name.startswith("_"):
                raise AttributeError(name)
            raise AttributeError(f"no option `{name}`{did_you_mean(name, self._options)}")

    def __init__(self) -> None:
        # Values live in the instance's dictionary: reading one is a plain attribute access.
        vars(self).update(guard=None, on_change=None, _options={}, _given={})
        for field in fields(Limits):
            name, default = f"{_LIMITS}{field.name}", getattr(limits.DEFAULT, field.name)
            kind = option_type(type(default), _unit(field.name, default), field.name not in limits.MAY_BE_ZERO)
            self._options[name] = Option(name, kind, default, "")
        self._derive(self._options)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("guard", "on_change"):
            raise AttributeError(f"options are read-only here; write options.update({name}=…)")
        vars(self)[name] = value

    # Declaring

    def add(
        self, name: str, typespec: object, default: object, help: str, choices: Iterable[str] | None = None
    ) -> None:
        """Declare an option. The same declaration again changes nothing.

        `typespec` is str, int, float, bool, Sequence[str], or one of them `| None`. A value that was given for this
        name before is taken now.

        Raises:
            OptionsError: the name, type, default or a value given for it does not do, or it is declared otherwise.
        """
        if not _NAME.fullmatch(name) or hasattr(Options, name) or name in ("limits", "guard", "on_change"):
            raise OptionsError(f"`{escape(name)}` cannot be the name of an option: use lower-case words with _")
        allowed = None if choices is None else tuple(choices)
        try:
            kind = option_type(typespec)
            option = Option(name, kind, kind.check(default), help, allowed)
        except ValueError as error:
            raise OptionsError(f"option `{name}`: {error}") from None
        known = self._options.get(name)
        if known is not None:
            if known != option:
                raise OptionsError(f"option `{name}` exists already, with another type, default or help")
            return
        self._options[name] = option
        try:
            self._derive([name])
        except OptionsError:
            del self._options[name]
            raise

    def remove(self, names: Iterable[str]) -> None:
        """Forget these options. Values given for them stay, in case they are declared again."""
        for name in names:
            if self._options.pop(name, None):
                del vars(self)[name]

    # Changing

    def update(self, /, **values: object) -> None:
        """Change options at run time, all or none.

        Raises:
            OptionsError: an unknown name, a value of another type, or an addon refused; nothing has changed.
        """
        given: dict[str, Given] = {}
        for name, value in values.items():
            option = self._options.get(name)
            if option is None:
                raise OptionsError(unknown_option(name, "run time", self._options))
            given[name] = Given(check_value(option, "run time", value), ())
        self._commit(given, "run time")

    def set_text(self, text: str, source: Source = "command line", later: bool = False) -> None:
        """Set one option as `name=value`; `name` alone switches one on. See `set_texts`."""
        self.set_texts([text], source, later)

    def set_texts(self, texts: Iterable[str], source: Source = "command line", later: bool = False) -> None:
        """Set options as `name=value`, all or none. Items of a list that is set several times add up.

        With `later` an unknown name waits for an addon to declare it; `check_unknown` tells of what is left.

        Raises:
            OptionsError: an unknown name or a bad value, or an addon refused; nothing has changed.
        """
        given: dict[str, Given] = {}
        for text in texts:
            written, equals, value = text.partition("=")
            name = _normal(written)
            parts = given[name].parts if name in given else ()
            given[name] = Given(None, (*parts, value if equals else None))
        self._set(given, source, later)

    def set_values(self, values: Mapping[str, object], source: Source = "project file", later: bool = False) -> None:
        """Set options to values as a YAML file gives them, all or none: a text is read by the option's type.

        A mapping inside stands for the names that begin with its own: `limits: {body: 5MB}` is `limits_body`. For
        `later` and errors see `set_texts`.
        """
        given: dict[str, Given] = {}
        _flatten("", values, given)
        self._set(given, source, later)

    def replace_values(self, values: Mapping[str, object], source: Source = "project file") -> None:
        """Set options to values as `set_values` does, and forget what this source gave for others, all or none.

        Raises:
            OptionsError: an unknown name or a bad value, or an addon refused; nothing has changed.
        """
        given: dict[str, Given] = {}
        _flatten("", values, given)
        gone = [name for name, by in self._given.items() if source in by and name not in given]
        self._set(given, source, False, gone)

    def set_environment(self, environment: Mapping[str, str], later: bool = False) -> None:
        """Set options from the variables `RULESPROXY_<NAME>`, all or none. For `later` and errors see `set_texts`."""
        given = {
            _normal(variable.removeprefix(ENVIRONMENT)): Given(None, (value,))
            for variable, value in environment.items()
            if variable.startswith(ENVIRONMENT) and variable not in NOT_OPTIONS
        }
        self._set(given, "environment", later)

    def check_unknown(self) -> None:
        """Refuse values that nobody has declared an option for.

        Raises:
            OptionsError: there are some; one line for each.
        """
        unknown = [(name, source) for name, by in self._given.items() if name not in self._options for source in by]
        if unknown:
            raise OptionsError(
                "\n".join([unknown_option(name, source, self._options) for name, source in unknown]), unknown
            )

    # Looking

    def __contains__(self, name: object) -> bool:
        return name in self._options

    def keys(self) -> list[str]:
        """The names of all options, in the order in which they were declared."""
        return list(self._options)

    def items(self) -> list[tuple[str, Value]]:
        """Names and values."""
        return [(name, vars(self)[name]) for name in self._options]

    def source(self, name: str) -> Source:
        """Where the value of an option came from.

        Raises:
            KeyError: there is no such option.
        """
        return self._resolve(self._options[name])[1]

    def describe(self) -> list[Described]:
        """Everything about every option, by name."""
        rows = []
        helps = limit_helps()
        for name, option in sorted(self._options.items()):
            value, source = self._resolve(option)
            words = option.help or helps.get(name.removeprefix(_LIMITS), "")
            rows.append(Described(name, str(option.type), option.default, value, source, words, option.choices))
        return rows

    def state(self) -> State:
        """What `restore` can go back to."""
        return State(dict(self._options), {name: dict(by) for name, by in self._given.items()})

    def restore(self, state: State) -> set[str]:
        """Go back to a state; gives the names whose values are now others. Nobody is told."""
        before = dict(self.items())
        self.remove(set(self._options) - set(state.options))
        vars(self).update(_options=dict(state.options), _given={name: dict(by) for name, by in state.given.items()})
        self._derive(self._options)
        return {name for name, value in self.items() if name not in before or before[name] != value}

    # Inside

    def _set(self, given: dict[str, Given], source: Source, later: bool, gone: Iterable[str] = ()) -> None:
        unknown = [name for name in given if name not in self._options]
        if unknown and not later:
            lines = [unknown_option(name, source, self._options) for name in unknown]
            raise OptionsError("\n".join(lines), [(name, source) for name in unknown])
        for name, value in given.items():
            if name in self._options:
                value.read(self._options[name], source)
        self._commit(given, source, gone)

    def _commit(self, given: Mapping[str, Given], source: Source, gone: Iterable[str] = ()) -> None:
        state = self.state()
        for name in gone:
            del self._given[name][source]
        for name, value in given.items():
            self._given.setdefault(name, {})[source] = value
        changed = self._derive([name for name in (*given, *gone) if name in self._options])
        if changed and self.guard is not None:
            try:
                self.guard(changed)
            except OptionsError:
                self.restore(state)
                raise
        if changed and self.on_change is not None:
            self.on_change(changed, lambda: self.restore(state))

    def _derive(self, names: Iterable[str]) -> set[str]:
        """Make the values of `names` what was given; tell which changed."""
        values = {name: self._resolve(self._options[name])[0] for name in names}
        mine = vars(self)
        changed = {name for name, value in values.items() if name not in mine or mine[name] != value}
        mine.update(values)
        if any(name.startswith(_LIMITS) for name in changed):
            mine["limits"] = Limits(**{field.name: mine[_LIMITS + field.name] for field in fields(Limits)})
        return changed

    def _resolve(self, option: Option) -> tuple[Value, Source]:
        given = self._given.get(option.name, {})
        for source in reversed(SOURCES):
            if source in given:
                return given[source].read(option, source), source
        return option.default, "default"


_LIMITS = "limits_"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_COUNTS = {
    "header_count", "decoded_ratio", "messages_kept", "client_hello_records", "client_connections", "idle_per_key",
    "contexts", "trusts", "http2_streams", "http2_control_frames", "http2_empty_frames", "http2_interim",
}  # fmt: skip


def _unit(field: str, default: object) -> Unit:
    if isinstance(default, float):
        return "duration"
    return "count" if field in _COUNTS else "size"


def _normal(written: str) -> str:
    return written.strip().lower().replace("-", "_").replace(".", "_")


def _flatten(prefix: str, values: Mapping[str, object], into: dict[str, Given]) -> None:
    for written, value in values.items():
        name = prefix + _normal(str(written))
        if isinstance(value, Mapping):
            _flatten(f"{name}_", value, into)
        else:
            into[name] = Given(None, (value,)) if isinstance(value, str) else Given(value, ())
