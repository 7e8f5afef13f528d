"""The action `run`: calls a Python function with the flow."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

from rulesproxy.diagnostics import suggest
from rulesproxy.engine.bind import takes
from rulesproxy.engine.script import ScriptError, code_files, load_code
from rulesproxy.filters.phases import MESSAGES, NONE, Phase
from rulesproxy.rules.action import REQUEST, RESPONSE, Action, ActionError, Example, Handler, MessageHandler, Side
from rulesproxy.rules.files.nodes import Node, Scalar
from rulesproxy.rules.memory import Memory
from rulesproxy.rules.schema import Reader
from rulesproxy.rules.templates.paths import missing_file


@dataclass(frozen=True, slots=True)
class Function:
    """A function in a Python file of the user's.

    Attributes:
        call: the function.
        text: as it is written.
    """

    call: Callable[..., object]
    text: str

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        return {"type": "string", "pattern": r"^.+:[A-Za-z_]\w*$", "description": "file.py:function"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Function:
        """The function that a scalar names. Its file is imported, and watched from then on.

        Raises:
            Bad: there is none; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "a function such as `helpers.py:sign`")
        file, colon, function = scalar.text.rpartition(":")
        if not colon or not file or not function.isidentifier():
            reader.fail(
                "RP104", scalar, f"`{name}` is a file and a function, got `{scalar.text}`",
                "write it like `helpers.py:sign`",
            )  # fmt: skip
        path = reader.folder / file
        if reader.closure is not None:
            reader.closure.watch([path])
        if not path.is_file():
            if path.is_dir():
                reader.fail("RP603", scalar, f"`{file}` is a folder, a Python file is wanted here")
            missing_file(scalar, path, reader, name, file)
        return cls(_find(scalar, path, function, reader), scalar.text)


def _find(scalar: Scalar, path: Path, name: str, reader: Reader) -> Callable[..., object]:
    try:
        module = load_code(path)
    except (ScriptError, OSError) as error:
        reader.fail(
            "RP633", scalar, f"this file cannot be imported: {error}", "every import and every line of it is run"
        )
    finally:
        if reader.closure is not None:
            reader.closure.watch(code_files(path))
    place = scalar.part(len(scalar.text) - len(name), len(scalar.text))
    found = vars(module).get(name)
    if found is None:
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
        meant = suggest(name, functions)
        help = f"did you mean `{meant}`?" if meant else f"it has {', '.join(functions) or 'none'}"
        reader.fail("RP632", place, f"`{path.name}` has no function `{name}`", help)
    if not callable(found):
        reader.fail("RP632", place, f"`{name}` in `{path.name}` is no function")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        reader.fail("RP632", place, f"`{name}` in `{path.name}` has a `yield`, so that calling it does nothing")
    if not takes(found, 1):
        reader.fail(
            "RP632", place, f"`{name}` in `{path.name}` cannot be called with a flow", f"write `def {name}(flow):`"
        )
    return cast(Callable[..., object], found)


@dataclass(frozen=True, slots=True)
class Run(Action):
    """Call a Python function with the flow: `run: helpers.py:sign` calls `sign(flow)` in a file beside the rules.

    The function may be `async`; the pass waits for it, and rules below see what it has changed. It may change
    `flow.request` and `flow.response`, answer by setting `flow.response`, end the flow with `flow.kill()`, leave words
    in `flow.tags`, and ask for effects on `flow.plan`. What it raises is the business of the rule's `on-error`. The
    file is imported when the rules are loaded, also by `rulesproxy check`, and again when it, or a module beside it,
    has changed.

    Of a rule about messages it is called with the `WebSocketFlow` or `TCPFlow`, whose `messages[-1]` is the message: it
    may change its `content`, let it wait (`delay`) and drop it with `kill()`, send others with
    `flow.inject(to_client, content)`, end the conversation with `flow.close()` or `flow.kill()`, and ask for effects on
    `flow.plan`. Of an event of an event stream it gets the same in an `EventFlow`; there it must be a plain function.

    Attributes:
        function: the file, relative to the rule file, a colon, and the name of the function.
        on: when it is called, where the filter leaves the choice.
        body: `true` reads the body before, so that the function finds it in `content` and `text`; on the response the
            server is asked for one that is whole and readable.
    """

    key: ClassVar = "run"
    events: ClassVar = REQUEST | RESPONSE
    on_messages: ClassVar = MESSAGES
    short: ClassVar = "function"
    synonyms: ClassVar = {"call": "function", "file": "function", "script": "function", "side": "on"}

    function: Function
    on: Side | None = None
    body: bool = False

    examples: ClassVar = (
        Example(
            "match: host == 'api.test'\nrun: helpers.py:sign", "GET http://api.test/x",
            "GET http://api.test/x\nx-signature: 4a2b",
        ),
        Example(
            "match: path == '/shout'\nrun:\n  function: helpers.py:shout\n  on: response\n  body: true",
            "GET http://a.test/shout", "200\ncontent-length: 2\n\nHI", response="200\n\nhi",
        ),
    )  # fmt: skip

    def parts(self) -> tuple[Action, ...]:
        kinds: dict[Side | None, type[_Call]] = {None: _Call, "request": _OnRequest, "response": _OnResponse}
        return (kinds[self.on](self.function, self.body),)


@dataclass(frozen=True, slots=True)
class _Call(Action):
    """The call itself, where the rule acts first."""

    key: ClassVar = Run.key
    events: ClassVar = REQUEST | RESPONSE
    on_messages: ClassVar = MESSAGES
    may_answer: ClassVar = True
    edits_request: ClassVar = True

    function: Function
    body: bool

    @property
    def awaits(self) -> bool:
        # A callable object may give something to be awaited without saying so.
        return not inspect.isfunction(self.function.call) or inspect.iscoroutinefunction(self.function.call)

    @property
    def legal_messages(self) -> Phase:
        # Events pass while a body is being read, which nothing may hold up.
        return self.on_messages & ~Phase.V if self.awaits else self.on_messages

    @property
    def reads_body(self) -> frozenset[Side]:
        return frozenset({"request", "response"} if self.body else ())

    @property
    def edits_body(self) -> Side | None:
        return "response" if self.body else None

    def bind_for(self, side: Side, memory: object) -> Handler:
        return lambda flow, captures: self.called(flow)

    def bind_message(self, memory: Memory) -> MessageHandler:
        return lambda turn, captures: self.called(turn.shown)

    def called(self, flow: object) -> Awaitable[object] | None:
        """Call it; what is to be awaited, if anything."""
        result = self.function.call(flow)
        if not hasattr(result, "__await__"):
            return None
        if self.awaits:
            return cast(Awaitable[object], result)
        if inspect.iscoroutine(result):
            result.close()
        raise ActionError(f"{self.function.text} gave something to be awaited: write `async def`")


@dataclass(frozen=True, slots=True)
class _OnRequest(_Call):
    """The call in the request pass."""

    events: ClassVar = REQUEST
    on_messages: ClassVar = NONE


@dataclass(frozen=True, slots=True)
class _OnResponse(_Call):
    """The call in the response pass."""

    events: ClassVar = RESPONSE
    on_messages: ClassVar = NONE
    edits_request: ClassVar = False
