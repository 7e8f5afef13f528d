"""Commands: declaration, typed arguments, errors with suggestions."""

from collections.abc import Sequence
from types import ModuleType

import pytest

from rulesproxy.engine.commands import CommandError, Commands, command, decorated


def plain(name: str, times: int = 1, loud: bool = False, ratio: float = 1.0) -> tuple:
    """Say something.

    More of it.
    """
    return name, times, loud, ratio


def variadic(first: int, *rest: float, key: str = "", **others: object) -> tuple:
    return first, rest


def lists(names: Sequence[str], other: str | None = None) -> tuple:
    return names, other


class Callable:
    def __call__(self, x: int) -> int:
        return x


@pytest.fixture
def commands():
    commands = Commands()
    for path, func in [("say", plain), ("a.many", variadic), ("a.list-of", lists), ("obj", Callable())]:
        commands.add(path, func)
    return commands


@pytest.mark.parametrize(("path", "arguments", "result"), [
    ("say",    ("x",),                       ("x", 1, False, 1.0)),
    ("say",    ("x", "2", "yes", "3"),       ("x", 2, True, 3.0)),
    ("say",    ("x", 2, True, 3),            ("x", 2, True, 3.0)),
    ("a.many", ("1",),                       (1, ())),
    ("a.many", (1, "2", 3.5),                (1, (2.0, 3.5))),
    ("a.list-of", ("a,b",),                  (("a", "b"), None)),
    ("a.list-of", (["a", "b"], "c"),         (("a", "b"), "c")),
    ("obj",    ("5",),                       5),
])  # fmt: skip
def test_calls(commands, path, arguments, result):
    assert commands.call(path, *arguments) == result


@pytest.mark.parametrize(("path", "arguments", "message"), [
    ("sya",    (),                 "no command `sya`; did you mean `say`?"),
    ("nothing\x1b", (),            "no command `nothing\\x1b`"),
    ("say",    (),                 "wrong number of arguments: say name [times] [loud] [ratio]"),
    ("say",    tuple("12345"),     "wrong number of arguments: say name [times] [loud] [ratio]"),
    ("a.many", (),                 "wrong number of arguments: a.many first …"),
    ("say",    ("x", "two"),       "say: argument `times`: it must be a whole number, not 'two'"),
    ("say",    (5,),               "say: argument `name`: it must be a text, not 5"),
    ("a.many", (1, "x"),           "a.many: argument `…`: it must be a number, not 'x'"),
])  # fmt: skip
def test_bad_calls(commands, path, arguments, message):
    with pytest.raises(CommandError) as caught:
        commands.call(path, *arguments)
    assert str(caught.value) == message


BAD_TYPE = "command `x`: parameter `x`: its type must be str, int, float, bool or Sequence[str], or one of them | None"


def bytes_(x: bytes): ...
def unannotated(x): ...
def by_name(*, x: int): ...
def unknown_name(x: "Nonsense"): ...  # noqa: F821


@pytest.mark.parametrize(("path", "func", "message"), [
    ("Upper",   plain,        "`Upper` cannot be the path of a command: use lower-case words with dots"),
    ("a..b",    plain,        "`a..b` cannot be the path of a command: use lower-case words with dots"),
    ("say",     lists,        "command `say` exists already"),
    ("x",       bytes_,       BAD_TYPE),
    ("x",       unannotated,  BAD_TYPE),
    ("x",       by_name,      "command `x`: parameter `x` can only be given by name"),
    ("x",       unknown_name, "command `x`: its parameters cannot be read: name 'Nonsense' is not defined"),
])  # fmt: skip
def test_bad_declarations(commands, path, func, message):
    with pytest.raises(CommandError) as caught:
        commands.add(path, func)
    assert str(caught.value) == message
    assert "x" not in commands


def test_looking(commands):
    commands.add("say", plain)
    assert [entry.path for entry in commands] == ["a.list-of", "a.many", "obj", "say"]
    assert [entry.help for entry in commands] == ["", "", "", "Say something."]
    assert "say" in commands
    state = commands.state()
    commands.remove({"say", "unknown"})
    assert "say" not in commands
    commands.restore(state)
    assert "say" in commands


async def test_async_commands(commands):
    async def later(x: int) -> int:
        return x

    commands.add("later", later)
    assert await commands.call("later", "3") == 3


class Base:
    @command("base.one")
    def one(self) -> str:
        return "base"

    @command("base.two")
    def two(self) -> str:
        return "two"


class Addon(Base):
    @command.command("addon.one")
    def one(self) -> str:
        return "addon"

    @property
    def never(self):
        raise AssertionError("looking for commands reads no property")


def test_decorated():
    addon = Addon()
    assert [(path, func()) for path, func in decorated(addon)] == [("addon.one", "addon"), ("base.two", "two")]
    module = ModuleType("m")

    @command("m.f")
    def function() -> int:
        return 7

    module.function, module.other = function, 5
    assert [(path, func()) for path, func in decorated(module)] == [("m.f", 7)]
