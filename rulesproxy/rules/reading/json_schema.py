"""What keys and values accept, as JSON Schema, and what their docstrings say: made from types and dataclasses.

It knows single types, keys and actions. The schema of a whole file is in `file_schema`.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from rulesproxy.filters.phases import Phase
from rulesproxy.flow.http import reason_phrase
from rulesproxy.rules.edits.json_value import core_scalar
from rulesproxy.rules.reading.fragments import BARE, BOOLEAN, CONSTANT, TEXT, integer
from rulesproxy.rules.reading.fragments import Fragment as Fragment
from rulesproxy.rules.reading.keys import Key
from rulesproxy.rules.schema import Range, schema_of

if TYPE_CHECKING:
    from rulesproxy.rules.action import Action

_OWN = frozenset({"type", "pattern", "enum", "minimum", "maximum", "properties", "additionalProperties", "required"})
"""Keys of a schema that belong to one alternative, and not to what is said of all of them."""
_MOMENTS = {
    "http_connect": "at CONNECT", "clienthello": "before TLS is decrypted", "requestheaders": "on the request",
    "request": "on the request", "responseheaders": "on the response", "response": "on the response",
    "error": "when a flow fails",
}  # fmt: skip
_MESSAGES = {Phase.W: "WebSockets", Phase.X: "TCP", Phase.V: "event streams"}


class NoSchemaError(TypeError):
    """A type that reads itself and does not say what it accepts."""


def key_schema(key: Key) -> Fragment:
    """The schema of a key of a rule file or of a rule."""
    fragment = dict(key.kind) if isinstance(key.kind, Mapping) else kind_schema(key.kind)
    if key.filled:
        fragment = _filled(fragment)
    fragment["description"] = plain(key.doc)
    fragment["markdownDescription"] = key.doc + (f"\n\nDefault: `{key.default}`" if key.default else "")
    if key.default:
        fragment["default"] = json.loads(core_scalar(key.default) or json.dumps(key.default))
    if key.words:
        # They belong beside the words, which stand beside a constant.
        words = {"enumDescriptions": [key.words[str(word)] for word in _choices(key.kind)]}
        fragment["anyOf"] = [{**arm, **words} if "enum" in arm else arm for arm in _arms(fragment)]
    return fragment


def action_schema(action: type[Action], *scalars: Mapping[str, object]) -> Fragment:
    """What an action accepts: its keys, the short form, nothing where it may be bare, and the `scalars` that it reads
    in a way of its own."""
    arms: list[Mapping[str, object]] = []
    known = schema_of(action)
    if action.bare:
        arms.append(BARE)
    arms.extend(map(_widened, scalars))
    if action.short is not None:
        arms.append(_field_schema(action, action.short))
    if action.whole is not None:
        arms.append(kind_schema(known[action.whole].kind))
    elif known:
        arms.append(record_schema(action))
    return dict(arms[0]) if len(arms) == 1 else {"anyOf": _flat(arms)}


def record_schema(cls: type) -> Fragment:
    """A mapping whose keys are the fields of a dataclass; their sentences are in its docstring."""
    known = schema_of(cls)
    docs = attributes(cls)
    defaults = {field.name: field.default for field in fields(cls)}
    properties: dict[str, object] = {}
    for key, field in known.items():
        fragment = _field_schema(cls, key)
        if field.attribute in docs:
            fragment["description"] = plain(docs[field.attribute])
            fragment["markdownDescription"] = docs[field.attribute]
        default = defaults[field.attribute]
        if default is not MISSING and isinstance(default, (bool, int, str)) and default != "":
            fragment["default"] = default
        properties[key] = fragment
    schema: Fragment = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [key for key, field in known.items() if field.required]
    if required:
        schema["required"] = required
    needs: tuple[str, ...] = getattr(cls, "needs", ())
    if needs == ("*",):
        schema["minProperties"] = 1
    elif needs:
        schema["anyOf"] = [{"required": [key]} for key in needs]
    return schema


def _field_schema(cls: type, key: str) -> Fragment:
    fragment = kind_schema(schema_of(cls)[key].kind)
    return _filled(fragment) if key in getattr(cls, "filled", ()) else fragment


def _filled(fragment: Fragment) -> Fragment:
    """The same without empty lists."""
    arms = [{**arm, "minItems": 1} if arm.get("type") == "array" else arm for arm in _arms(fragment)]
    return {**fragment, "anyOf": arms}


def kind_schema(kind: Any) -> Fragment:
    """What `Reader.value` accepts for a type.

    Raises:
        NoSchemaError: the type reads itself and has no `json_schema`.
    """
    return _widened(_kind_schema(kind))


def _widened(fragment: Mapping[str, object]) -> Fragment:
    """What a scalar accepts besides: text however it is written, and everywhere else a constant for the whole value."""
    arms = _arms(fragment)
    if "type" in fragment and fragment["type"] == "string" and "pattern" not in fragment:
        return {**fragment, **TEXT}
    if any("enum" in arm or "pattern" in arm or arm.get("type") == "number" for arm in arms) and CONSTANT not in arms:
        about = {key: value for key, value in fragment.items() if key not in ("anyOf", *_OWN)}
        return {**about, "anyOf": [*({key: arm[key] for key in arm if key != "description"} for arm in arms), CONSTANT]}
    return dict(fragment)


def _kind_schema(kind: Any) -> Fragment:
    origin = get_origin(kind)
    if origin is Annotated:
        inner, bounds = get_args(kind)[:2]
        if inner is int and isinstance(bounds, Range):
            return integer(bounds.low, bounds.high) if bounds.low >= 0 else integer()
        return kind_schema(inner)
    if origin in (Union, types.UnionType):
        return kind_schema(next(arm for arm in get_args(kind) if arm is not type(None)))
    if origin is Literal:
        return _enum(_choices(kind))
    if origin is tuple:
        item = kind_schema(get_args(kind)[0])
        return {"anyOf": _flat([item, {"type": "array", "items": item}])}
    if origin is list:
        return {"type": ["array", "null"], "items": kind_schema(get_args(kind)[0])}
    if kind is str:
        return dict(TEXT)
    if kind is bool:
        return dict(BOOLEAN)
    if kind is int:
        return integer()
    say = getattr(kind, "json_schema", None)
    if say is None and isinstance(kind, type) and is_dataclass(kind):
        return record_schema(kind)
    if say is None:
        raise NoSchemaError(f"{kind.__module__}.{kind.__qualname__} has no json_schema()")
    fragment: Fragment = say()
    return fragment


def summary(cls: type) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def attributes(cls: type) -> dict[str, str]:
    """The sentences of a docstring about attributes, each beginning with a capital."""
    # Python 3.13 takes the indentation of docstrings away by itself.
    _, _, text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2].strip()
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: f"{text[0].upper()}{text[1:]}" for name, text in found.items()}


def moments(action: type[Action]) -> str:
    """When an action can act, in words."""
    assert action.events <= set(_MOMENTS), f"no words for {sorted(action.events - set(_MOMENTS))}"
    found = [text for event, text in _MOMENTS.items() if event in action.events]
    kinds = [text for phase, text in _MESSAGES.items() if action.on_messages & phase]
    return ", ".join(dict.fromkeys(found + ([f"on messages of {' and '.join(kinds)}"] if kinds else [])))


def facts(action: type[Action]) -> str:
    """What holds for an action as a whole, in sentences."""
    found = [f"Acts {moments(action)}."]
    if action.answers:
        found.append("Ends the request pass, and runs last in its rule.")
    if action.bare:
        found.append("May stand without a value.")
    if action.short is not None:
        found.append(f"A value without keys is `{action.short.replace('_', '-')}`.")
    return " ".join(found)


def paragraphs(action: type[Action]) -> list[str]:
    """The docstring of an action without its list of attributes."""
    parts = [" ".join(part.split()) for part in (action.__doc__ or "").split("\n\n")]
    return [part for part in parts if part and not part.startswith("Attributes:")]


def plain(text: str) -> str:
    """A sentence without its marks for code."""
    return text.replace("`", "")


def _arms(fragment: Mapping[str, object]) -> list[Mapping[str, object]]:
    arms = fragment.get("anyOf", [fragment])
    return arms if isinstance(arms, list) else []


def _enum(choices: tuple[Any, ...]) -> Fragment:
    # A number may stand in quotes.
    fragment: Fragment = {"enum": [*choices, *(str(choice) for choice in choices if not isinstance(choice, str))]}
    if all(isinstance(choice, int) and 100 <= choice < 600 for choice in choices):
        fragment["enumDescriptions"] = [reason_phrase(choice) for choice in choices] * 2
    return fragment


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind)


def _flat(arms: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Arms without arms of their own, each once."""
    found: list[Mapping[str, object]] = []
    for arm in arms:
        inner = arm.get("anyOf") if set(arm) == {"anyOf"} else None
        for each in inner if isinstance(inner, list) else [arm]:
            if each not in found:
                found.append(each)
    return found
