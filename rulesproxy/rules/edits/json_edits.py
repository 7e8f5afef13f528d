"""The edits of JSON bodies that a rule may name: `set`, `delete`, `append`, `merge`, `patch`, in the order written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.edits.json_path import JSONPath, PathError, parse_pointer
from rulesproxy.rules.edits.json_value import JSONValue
from rulesproxy.rules.files import nodes
from rulesproxy.rules.schema import Bad
from rulesproxy.rules.template import Captures

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node
    from rulesproxy.rules.schema import Reader

Verb: TypeAlias = Literal["set", "delete", "append", "merge", "patch"]
VERBS: tuple[Verb, ...] = ("set", "delete", "append", "merge", "patch")
Op: TypeAlias = Literal["add", "remove", "replace", "move", "copy", "test"]
_OPS: tuple[Op, ...] = ("add", "remove", "replace", "move", "copy", "test")
_SYNONYMS = {"remove": "delete", "add": "set", "replace": "set", "push": "append", "update": "merge"}


@dataclass(frozen=True, slots=True)
class Pointer:
    """A JSON Pointer (RFC 6901)."""

    parts: tuple[str, ...]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string", "pattern": "^(/|$)"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Pointer:
        # An empty pointer is the whole document, and this is the only place where that is meant.
        whole = isinstance(node, nodes.Scalar) and node.style != "" and node.text == ""
        scalar = node if isinstance(node, nodes.Scalar) and whole else reader.scalar(node, name, "a pointer")
        try:
            return cls(parse_pointer(scalar.text))
        except PathError as error:
            help = "write it like `/a/b/0`; `$.a.b` is for `set`, `delete` and `append`"
            return reader.fail("RP615", scalar, f"`{scalar.text}` is no JSON Pointer: {error}", help)


@dataclass(frozen=True, slots=True)
class PatchOp:
    """One operation of a patch."""

    op: Op
    path: Pointer
    value: JSONValue | None = None
    from_: Pointer | None = None

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import kind_schema

        pointer = kind_schema(Pointer)
        return {
            "type": "object",
            "properties": {"op": {"enum": list(_OPS)}, "path": pointer, "value": {}, "from": pointer},
            "required": ["op", "path"],
            "additionalProperties": False,
        }

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> PatchOp:
        mapping = reader.mapping(node, name, "`{op: replace, path: /a/0, value: 1}`")
        found: dict[str, Node] = {}
        for key, child in mapping.entries:
            if key.text not in ("op", "path", "value", "from"):
                reader.unknown(key, ("op", "path", "value", "from"), "in an operation of `patch`")
                raise Bad
            found[key.text] = child
        needed = ["op", "path"]
        op: Op = reader.choice(found["op"], "op", _OPS) if "op" in found else "add"
        needed += {"move": ["from"], "copy": ["from"], "remove": []}.get(op, ["value"]) if "op" in found else []
        for key_name in needed:
            if key_name not in found:
                reader.fail("RP103", node, f"this operation of `patch` needs `{key_name}`", f"add `{key_name}: …`")
        value = JSONValue.read(found["value"], reader, "value") if "value" in found else None
        source = Pointer.read(found["from"], reader, "from") if "from" in found else None
        return cls(op, Pointer.read(found["path"], reader, "path"), value, source)

    def apply(self, text: str, flow: HTTPFlow, captures: Captures, compact: bool) -> str:
        """The text after this operation."""
        from rulesproxy.rules.edits import json_patch as patch

        path = self.path.parts
        value = self.value.fill(flow, captures, compact) if self.value is not None else "null"
        source = self.from_.parts if self.from_ is not None else ()
        calls: dict[str, Callable[[], str]] = {
            "add": lambda: patch.patch_add(text, path, value),
            "remove": lambda: patch.patch_remove(text, path),
            "replace": lambda: patch.patch_replace(text, path, value),
            "move": lambda: patch.patch_move(text, path, source),
            "copy": lambda: patch.patch_add(text, path, patch.patch_get(text, source)),
            "test": lambda: patch.patch_test(text, path, value),
        }
        return calls[self.op]()


@dataclass(frozen=True, slots=True)
class JSONOp:
    """One edit."""

    verb: Verb
    path: JSONPath | None = None
    value: JSONValue | None = None
    patch: tuple[PatchOp, ...] = ()

    def apply(self, text: str, flow: HTTPFlow, captures: Captures) -> str:
        """The text after this edit."""
        from rulesproxy.rules.edits import json_text
        from rulesproxy.rules.edits.json_patch import merge_patch

        compact = json_text.is_compact(text)
        steps = self.path.steps if self.path is not None else ()
        value = self.value.fill(flow, captures, compact) if self.value is not None else ""
        if self.verb == "set":
            return json_text.set_value(text, steps, value)
        if self.verb == "append":
            return json_text.append_value(text, steps, value)
        if self.verb == "delete":
            return json_text.delete_value(text, steps)
        if self.verb == "merge":
            return merge_patch(text, value)
        for operation in self.patch:
            text = operation.apply(text, flow, captures, compact)
        return text


@dataclass(frozen=True, slots=True)
class JSONEdits:
    """Edits of a JSON body, in the order written; the bytes of what they do not name stay as they are."""

    ops: tuple[JSONOp, ...]

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import kind_schema

        path = kind_schema(JSONPath)
        by_path = {"type": "object", "propertyNames": JSONPath.json_schema()}
        operations = {"type": "array", "items": PatchOp.json_schema()}
        return {
            "type": "object",
            "properties": {
                "set": {**by_path, "description": "The value at each path, such as $.user.name."},
                "delete": {"anyOf": [path, {"type": "array", "items": path}], "description": "Paths of what goes."},
                "append": {**by_path, "description": "One more value at the end of the list at each path."},
                "merge": {"description": "A merge patch (RFC 7396)."},
                "patch": {**operations, "description": "Operations of a JSON Patch (RFC 6902)."},
            },
            "additionalProperties": False,
            "minProperties": 1,
        }

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> JSONEdits:
        mapping = reader.mapping(node, name, "`json: {set: {$.a: 1}}`")
        ops: list[JSONOp] = []
        failed = not mapping.entries
        if failed:
            reader.note("RP106", node, f"`{name}` changes nothing", f"add one of {', '.join(VERBS)}")
        for key, child in mapping.entries:
            try:
                if key.text.startswith("$"):
                    reader.fail("RP101", key, f"`{key.text}` stands in `{name}` without a verb", "put it below `set:`")
                if key.text not in VERBS:
                    reader.unknown(key, VERBS, f"in `{name}`", _SYNONYMS)
                    raise Bad
                ops += _read(key.text, child, reader)
            except Bad:
                failed = True
        if failed:
            raise Bad
        return cls(tuple(ops))

    def apply(self, text: str, flow: HTTPFlow, captures: Captures) -> str:
        """The text after all edits.

        Raises:
            JSONError: the text is not JSON, or an edit does not fit it; nothing is changed then.
            TemplateError: a value cannot be made.
        """
        for op in self.ops:
            text = op.apply(text, flow, captures)
        return text


def _read(verb: Verb, node: Node, reader: Reader) -> list[JSONOp]:
    if verb == "merge":
        return [JSONOp(verb, value=JSONValue.read(node, reader, verb))]
    if verb == "delete":
        paths = [JSONPath.read(item, reader, verb) for item in reader.items(node)]
        for path, item in zip(paths, reader.items(node), strict=True):
            if not path.steps:
                reader.fail("RP615", item, "the whole document cannot be deleted", "name a part of it: $.a")
        return [JSONOp(verb, path=path) for path in paths]
    if verb == "patch":
        return [JSONOp(verb, patch=tuple([PatchOp.read(item, reader, verb) for item in reader.items(node)]))]
    mapping = reader.mapping(node, verb, f"`{verb}: {{$.a: 1}}`")
    return [
        JSONOp(verb, JSONPath.read(key, reader, verb), JSONValue.read(child, reader, verb))
        for key, child in mapping.entries
    ]
