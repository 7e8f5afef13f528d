"""One addon's life: `start`, `load`, its children, `configure`, and `done` exactly once.

Here a failure is raised, named and placed; whether it is fatal is for the manager to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from rulesproxy.engine.bind import AddonError, addon_name, children_of, handler_of, handlers_of, misspelt, takes
from rulesproxy.engine.chain import Bound
from rulesproxy.engine.commands import CommandError, Commands, decorated
from rulesproxy.engine.dispatch import AddonHalt, dispatch
from rulesproxy.engine.failures import failure_text
from rulesproxy.engine.log import logger
from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.options import Options
from rulesproxy.events import EVENTS, Handler
from rulesproxy.limits import DEFAULT

_REPLACEMENTS = 16


class Entry:
    """What `load` receives: the way to add options and commands."""

    def __init__(self, node: Node, options: Options, commands: Commands) -> None:
        self._node = node
        self._options = options
        self._commands = commands

    def add_option(
        self, name: str, typespec: object, default: object, help: str, choices: Iterable[str] | None = None
    ) -> None:
        """Declare an option.

        Raises:
            OptionsError: see `Options.add`.
        """
        known = name in self._options
        self._options.add(name, typespec, default, help, choices)
        if not known:
            self._node.options.add(name)

    def add_command(self, path: str, func: Callable[..., object]) -> None:
        """Declare a command.

        Raises:
            CommandError: see `Commands.add`.
        """
        self._commands.add(path, func)
        self._node.commands.add(path)


class Node:
    """An addon in the tree of the chain.

    Attributes:
        given: what the caller gave.
        addon: what runs: the same, or what its `start` returned.
        children: the nodes of its `addons`.
        options: the names of the options that it declared.
        commands: the paths of its commands.
        ended: whether `done` was called.
        successor: the node that has replaced this one; None where none has.
    """

    __slots__ = ("addon", "children", "commands", "ended", "given", "options", "successor")

    def __init__(self, given: object) -> None:
        self.given = given
        self.addon = given
        self.children: list[Node] = []
        self.options: set[str] = set()
        self.commands: set[str] = set()
        self.ended = False
        self.successor: Node | None = None

    @property
    def latest(self) -> Node:
        """The node that stands in this one's place today."""
        node = self
        while node.successor is not None:
            node = node.successor
        return node

    @property
    def has_done(self) -> bool:
        """Whether an addon of this node wants to be told of its end."""
        return any(getattr(part.addon, "done", None) is not None for part in self.walk())

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in the order of the chain."""
        yield self
        for child in self.children:
            yield from child.walk()

    def begin(self, options: Options, commands: Commands, seen: dict[int, object]) -> None:
        """Run `start` and `load` of this addon, then of its children. `seen` has the chain's addons by id.

        Raises:
            AddonError: something is wrong with it; `done` is still owed to every node below.
        """
        self._meet(seen)
        for _ in range(_REPLACEMENTS):
            replacement = self.call("start")
            if replacement is None or replacement is self.addon:
                break
            self.addon = replacement
            self._meet(seen)
        else:
            raise AddonError(f"addon {addon_name(self.addon)}: `start` always returns yet another addon")
        handlers_of(self.addon)
        for name, meant in misspelt(self.addon):
            logger.warning("addon %s: no event is called `%s`; did you mean `%s`?", addon_name(self.addon), name, meant)
        self._load(options, commands)
        for given in children_of(self.addon):
            child = Node(given)
            self.children.append(child)
            child.begin(options, commands, seen)

    def _meet(self, seen: dict[int, object]) -> None:
        if id(self.addon) in seen:
            # The other one is alive: it must not be ended with this one.
            self.ended = True
            raise AddonError(f"addon {addon_name(self.addon)} is in the chain twice; make another one of its kind")
        seen[id(self.addon)] = self.addon

    def _load(self, options: Options, commands: Commands) -> None:
        entry = Entry(self, options, commands)
        try:
            for path, func in decorated(self.addon):
                entry.add_command(path, func)
        except CommandError as error:
            raise AddonError(f"addon {addon_name(self.addon)}: {error}") from None
        self.call("load", entry)

    def configure(self, options: Options, updated: set[str]) -> None:
        """Tell the addon of a change; with its own set, which it may keep.

        Raises:
            OptionsError: it refuses.
            AddonHalt: the addons behind shall not be told.
            AddonError: it failed.
        """
        handler = handler_of(self.addon, EVENTS["configure"])
        if handler is None:
            return
        arguments = (options, set(updated)) if takes(handler, 2) else (set(updated),)
        try:
            handler(*arguments)
        except AddonHalt:
            raise
        except OptionsError as error:
            raise OptionsError(f"addon {addon_name(self.addon)}: {error}") from error
        except Exception as error:
            raise AddonError(self._failure(handler, "configure", error)) from error

    async def end(self, timeout: float = DEFAULT.handler) -> None:
        """Call `done` of this addon, unless it was called before. What it raises is logged."""
        if self.ended:
            return
        self.ended = True
        try:
            handler = handler_of(self.addon, EVENTS["done"])
        except AddonError as error:
            logger.error("%s", error)
            return
        if handler is not None:
            await dispatch((Bound(handler, self.addon, addon_name(self.addon), "done", timeout=timeout),))

    def call(self, event: str, *args: object) -> object:
        """Call a handler that must be plain, if the addon has it.

        Raises:
            AddonError: it cannot be called, or it failed.
        """
        handler = handler_of(self.addon, EVENTS[event])
        if handler is None:
            return None
        try:
            return handler(*args)
        except Exception as error:
            raise AddonError(self._failure(handler, event, error)) from error

    def _failure(self, handler: Handler, event: str, error: Exception) -> str:
        return failure_text(Bound(handler, self.addon, addon_name(self.addon), event), error)


def parts(nodes: Iterable[Node]) -> Iterator[Node]:
    """Every addon of these nodes, in the order of the chain."""
    for node in nodes:
        yield from node.walk()


async def end(node: Node, timeout: float) -> None:
    """End an addon and its children. `timeout` is that of an `async` handler, in seconds."""
    for part in list(node.walk()):
        await part.end(timeout)
