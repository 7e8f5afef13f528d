"""Commands: functions of addons that people and other addons call by a path such as `counter.reset`.

Arguments are typed by the annotations of the function: str, int, float, bool, Sequence[str]. It knows no addon.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rulesproxy.diagnostics import suggest
from rulesproxy.engine.log import escape
from rulesproxy.engine.option_types import OptionType, option_type

F = TypeVar("F", bound=Callable[..., object])


class CommandError(Exception):
    """A command cannot be declared or called: `str()` is one line that names it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        path: its name.
        func: what it calls.
        parameters: the names and types of its arguments, in order.
        required: how many of them have no default.
        more: the type of any further arguments (`*args`); None where there are none.
        help: the first line of the function's documentation.
    """

    path: str
    func: Callable[..., object]
    parameters: tuple[tuple[str, OptionType], ...]
    required: int
    more: OptionType | None
    help: str

    @property
    def usage(self) -> str:
        """The command with its arguments, as in `counter.reset name [times]`."""
        words = [name if i < self.required else f"[{name}]" for i, (name, _) in enumerate(self.parameters)]
        return " ".join([self.path, *words, *(["…"] if self.more else [])])


class Commands:
    """The commands of one engine."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}

    def add(self, path: str, func: Callable[..., object]) -> None:
        """Declare a command.

        Raises:
            CommandError: the path or a parameter does not do, or another function has this path.
        """
        if not _PATH.fullmatch(path):
            raise CommandError(f"`{escape(path)}` cannot be the path of a command: use lower-case words with dots")
        known = self._commands.get(path)
        if known is not None and known.func != func:
            raise CommandError(f"command `{path}` exists already")
        self._commands[path] = _command(path, func)

    def call(self, path: str, *args: object) -> object:
        """Call a command. A text given for another type is read as it would be on the command line.

        Returns what the function returns, so for an `async` one a coroutine.

        Raises:
            CommandError: no such command, or arguments that do not fit it. What the function raises passes.
        """
        command = self._commands.get(path)
        if command is None:
            meant = suggest(path, self._commands)
            raise CommandError(f"no command `{escape(path)}`{f'; did you mean `{meant}`?' if meant else ''}")
        if len(args) < command.required or (len(args) > len(command.parameters) and command.more is None):
            raise CommandError(f"wrong number of arguments: {command.usage}")
        values: list[object] = []
        for i, argument in enumerate(args):
            inside = i < len(command.parameters)
            name, kind = command.parameters[i] if inside else ("…", typing.cast(OptionType, command.more))
            try:
                values.append(kind.parse(argument) if isinstance(argument, str) else kind.check(argument))
            except ValueError as error:
                raise CommandError(f"{path}: argument `{name}`: {error}, not {escape(repr(argument))}") from None
        return command.func(*values)

    def remove(self, paths: set[str]) -> None:
        """Forget these commands."""
        for path in paths:
            self._commands.pop(path, None)

    def state(self) -> dict[str, Command]:
        """What `restore` can go back to."""
        return dict(self._commands)

    def restore(self, state: dict[str, Command]) -> None:
        """Go back to a state."""
        self._commands = dict(state)

    def __contains__(self, path: object) -> bool:
        return path in self._commands

    def __iter__(self) -> Iterator[Command]:
        return iter([self._commands[path] for path in sorted(self._commands)])


class _Decorator:
    """`@command("counter.reset")` makes a command of a function or method of an addon."""

    def __call__(self, path: str) -> Callable[[F], F]:
        def mark(func: F) -> F:
            setattr(func, _MARK, path)
            return func

        return mark

    # So that `@command.command("counter.reset")` works as it does in mitmproxy.
    command = __call__


command = _Decorator()


def decorated(addon: object) -> list[tuple[str, Callable[..., object]]]:
    """The commands that an addon has declared with `@command`, each with its function or bound method."""
    found = []
    places = [vars(addon)] if isinstance(addon, types.ModuleType) else [vars(kind) for kind in type(addon).__mro__]
    for name in dict.fromkeys([name for place in places for name in place]):
        path = getattr(inspect.getattr_static(addon, name, None), _MARK, None)
        if isinstance(path, str):
            found.append((path, typing.cast(Callable[..., object], getattr(addon, name))))
    return found


_MARK = "_rulesproxy_command"
_PATH = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*")


def _command(path: str, func: Callable[..., object]) -> Command:
    try:
        signature = inspect.signature(func)
        hints = typing.get_type_hints(func if hasattr(func, "__annotations__") else type(func).__call__)
    except (TypeError, ValueError, NameError) as error:
        raise CommandError(f"command `{path}`: its parameters cannot be read: {escape(str(error))}") from None
    parameters: list[tuple[str, OptionType]] = []
    required = 0
    more = None
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            if parameter.kind == parameter.VAR_KEYWORD or parameter.default is not parameter.empty:
                continue
            raise CommandError(f"command `{path}`: parameter `{parameter.name}` can only be given by name")
        try:
            kind = option_type(hints.get(parameter.name))
        except ValueError as error:
            raise CommandError(f"command `{path}`: parameter `{parameter.name}`: {error}") from None
        if parameter.kind == parameter.VAR_POSITIONAL:
            more = kind
            continue
        required += parameter.default is parameter.empty
        parameters.append((parameter.name, kind))
    doc = inspect.getdoc(func) or ""
    return Command(path, func, tuple(parameters), required, more, doc.partition("\n")[0])
