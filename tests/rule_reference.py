"""The parts of the rule reference that are made from the actions; `python -m tests.generate --write` writes them.

Every sentence about an action and its keys is its docstring, every example is one that the tests run. Only the words
for the kinds of values are here, and a kind without one is an error.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from rulesproxy.resources import packs
from rulesproxy.rules.action import Action, Example
from rulesproxy.rules.actions import ACTIONS
from rulesproxy.rules.actions.fault import Dribbling
from rulesproxy.rules.actions.record import NewFile
from rulesproxy.rules.actions.respond import Answer
from rulesproxy.rules.actions.run import Function
from rulesproxy.rules.actions.throttle import PROFILES
from rulesproxy.rules.actions.upstream import HostName, HostPort, Identity, Proxy, Version
from rulesproxy.rules.dry.case_messages import Code, ExpectedMessage, MessageList, SentMessage, Target
from rulesproxy.rules.dry.cases import Case, Exchange, Expect, Request, Response
from rulesproxy.rules.dry.expected import BodyText, Ending, HeaderNames, JSONSubset, NameList, Pairs, Status, Upstream
from rulesproxy.rules.edits.bodies import BodyEdits
from rulesproxy.rules.edits.cookies import CookieEdits, SetCookieEdits
from rulesproxy.rules.edits.fields import HeaderEdits, Pattern, QueryEdits
from rulesproxy.rules.edits.html_edits import HTMLEdits, Snippet
from rulesproxy.rules.edits.json_edits import JSONEdits
from rulesproxy.rules.edits.json_value import JSONValue
from rulesproxy.rules.edits.selector import Selector
from rulesproxy.rules.files.packs import names as names_of_pack
from rulesproxy.rules.files.packs import summary as summary_of_pack
from rulesproxy.rules.gates import Sample
from rulesproxy.rules.reading.amounts import Duration, Number, Octets, Size, Speed, Wait
from rulesproxy.rules.reading.json_schema import attributes, facts, moments, paragraphs, summary
from rulesproxy.rules.reading.keys import INCLUDE, RULE, TOP, Key
from rulesproxy.rules.schema import Range, schema_of
from rulesproxy.rules.template import Template
from rulesproxy.rules.templates.paths import AnyFile, FilePath, LocalPath
from rulesproxy.rules.templates.urls import URLTemplate

REQUIRED = ("version", "match", "include")
PAGE = Path(__file__).resolve().parent.parent / "rules" / "README.md"

KINDS: dict[type, str] = {
    Sample: "[share](#counting)", Case: "test", str: "text", bool: "true or false", int: "number", Template: "text with `${…}`", URLTemplate: "URL with `${…}`",
    FilePath: "file", AnyFile: "file", LocalPath: "file or folder", JSONValue: "any value", Answer: "answer", Pattern: "replacement",
    HeaderEdits: "[edits](#edits-by-name)", QueryEdits: "[edits](#edits-by-name)",
    CookieEdits: "[edits](#edits-by-name)", SetCookieEdits: "[edits](#edits-by-name)",
    BodyEdits: "text, or [edits](#edits-of-bodies)", JSONEdits: "[edits](#edits-of-json)",
    Proxy: "URL of a proxy, or `direct`", HostPort: "host:port", HostName: "host",
    Version: "`1.1`, `2`, `auto`",
    Identity: "file, or `{cert: …, key: …}`",
    Octets: "hexadecimal digits",
    Wait: "time, or two: `200ms..2s`", Duration: "time", Speed: "rate", Size: "size", Number: "number",
    Dribbling: "`{chunks, over}`",
    Request: "`METHOD URL`, or keys", Response: "status, or keys", Expect: "keys", Exchange: "keys", Upstream: "`none`, or keys",
    BodyText: "text", Ending: "`close`, `reset`, `timeout`", HeaderNames: "names with values", JSONSubset: "any value", NameList: "names",
    Pairs: "names with values", Status: "number, 200 to 599, or 101",
    Target: "`HOST:PORT`, or keys", SentMessage: "keys", MessageList: "list of keys, or `none`", Code: "number, 1000 to 4999",
    Function: "`file.py:function`", NewFile: "file", HTMLEdits: "[edits](#edits-of-html)", Snippet: "text with `${…}`, or `{file: …}`", Selector: "selector",
}  # fmt: skip


def tables() -> dict[str, str]:
    """The parts that are made, by the name of their place."""
    return {
        "top": _written(TOP),
        "rule": _written(RULE),
        "include": _written(INCLUDE),
        "packs": _packs(),
        "actions": _overview(),
        "reference": "\n\n".join([_section(action) for action in ACTIONS.values()]),
        "bodies": _keys(BodyEdits),
        "tests": _tests(),
        "html": _keys(HTMLEdits),
        "profiles": _profiles(),
    }


def page() -> str:
    """The page with its parts made anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, part in tables().items():
        place = re.compile(rf"(<!-- made: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, found = place.subn(lambda match, part=part: f"{match[1]}\n{part}\n\n{match[2]}", text)  # type: ignore[misc]
        assert found == 1, f"rules/README.md has no place for {name}"
    return text


FRAGMENTS: dict[str, str] = {
    "match": "filter, or [keys](#the-condition-as-keys)", "do": "list of actions", "profile": "name, or a list",
    "vars": "texts by name", "lists": "lists by name", "filters": "filters by name",
    "profiles": "`vars`, `lists` and `filters` by name", "rules": "list of rules", "options": "values by name",
    "addons": "files", "tests": "list of tests", "include": "file, folder, pattern or pack, or a list",
}  # fmt: skip
"""Words for the keys whose kind is no type of a value."""


def _written(table: dict[str, Key]) -> str:
    """The keys of a registry."""
    rows = []
    for key in table.values():
        kind = FRAGMENTS.get(key.name) or _kind(key.kind)
        default = "required" if key.name in REQUIRED else f"`{key.default}`" if key.default else ""
        words = [f"`{word}`: {text[0].lower()}{text[1:].rstrip('.')}." for word, text in key.words.items()]
        rows.append((f"`{key.name}`", kind, default, " ".join([key.doc, *words])))
    return _table(("key", "value", "default", "meaning"), rows)


def _profiles() -> str:
    rows = [
        (f"`{name}`", f"{line.down:,g} kbit/s", f"{line.up:,g} kbit/s", f"{line.latency:g} ms")
        for name, line in PROFILES.items()
    ]
    return _table(("profile", "down", "up", "latency"), rows)


def _tests() -> str:
    """The keys of a test, of what it sends, of what the server answers, and of what is expected."""
    parts = []
    for title, cls in (
        ("A test", Case), ("`request`", Request), ("`tcp`", Target), ("Each of `messages`", SentMessage),
        ("`response`", Response), ("`expect`", Expect), ("Each of `messages` below `expect`", ExpectedMessage),
        ("`upstream`", Upstream),
    ):  # fmt: skip
        parts.append(f"{title} has these keys:\n\n{_keys(cls)}")
    return "\n\n".join(parts)


def _overview() -> str:
    rows = [(f"[`{key}`](#{_anchor(key)})", summary(action), moments(action)) for key, action in ACTIONS.items()]
    return _table(("action", "does", "when"), rows)


def _packs() -> str:
    rows = []
    for name, path in packs().items():
        text = path.read_text(encoding="utf-8")
        sentence = summary_of_pack(text)
        assert sentence.endswith("."), f"{path.name} has no comment that says what it does"
        rows.append((f"[`{name}`]({path.name})", sentence, ", ".join(f"`{value}`" for value in names_of_pack(text))))
    return _table(("pack", "does", "names that `include` may give other values"), rows)


def _anchor(key: str) -> str:
    return key.replace(".", "")


def _section(action: type[Action]) -> str:
    parts = [f"### `{action.key}`", *paragraphs(action), facts(action)]
    if schema_of(action) and action.whole is None:
        parts.append(_keys(action))
    parts += [_example(example) for example in action.examples]
    return "\n\n".join(parts)


def _keys(cls: type) -> str:
    docs = attributes(cls)
    rows = [
        (f"`{key}`", _kind(field.kind), _default(cls, field.attribute), docs[field.attribute])
        for key, field in schema_of(cls).items()
    ]
    return _table(("key", "value", "default", "meaning"), rows)


def _kind(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Annotated:
        _, bounds = get_args(kind)
        assert isinstance(bounds, Range)
        return f"number, {bounds.low} to {bounds.high}"
    if origin in (Union, types.UnionType):
        return _kind(next(arm for arm in get_args(kind) if arm is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if origin is tuple:
        return f"{_kind(get_args(kind)[0])}, or a list"
    assert kind in KINDS, f"the kind {kind} has no word"
    return KINDS[kind]


def _default(cls: type, attribute: str) -> str:
    field = next(field for field in fields(cls) if field.name == attribute)
    if field.default is MISSING:
        return "required"
    value = field.default
    if value is None or value in ("", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _example(example: Example) -> str:
    text = f"```yaml\n- {example.rule.replace(chr(10), chr(10) + '  ')}\n```\n\n"
    return text + "```http\n" + "\n".join(_messages(example)) + "\n```"


def _messages(example: Example) -> Iterator[str]:
    """What comes in and what goes out: `>` is the request, `<` the server's answer, `<>` messages, `=` what becomes of
    it."""
    marked = ((">", example.request), ("<", example.response), ("<>", example.messages), ("=", example.expect))
    for mark, message in marked:
        for line in message.split("\n") if message else ():
            yield f"{mark} {line}".rstrip()


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
