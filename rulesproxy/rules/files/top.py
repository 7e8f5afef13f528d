"""The keys at the top of a rule file: which there are, what its version is, and where its rules stand.

It knows one file, and nothing of files on disk or of what rules mean.
"""

from __future__ import annotations

from pathlib import Path

from rulesproxy.filters import ast
from rulesproxy.filters.problem import FilterError
from rulesproxy.rules.files.nodes import Mapping, Node, Scalar, Sequence
from rulesproxy.rules.reading.keys import TOP
from rulesproxy.rules.reading.match import filter_text
from rulesproxy.rules.reading.names import parse_filter
from rulesproxy.rules.schema import Bad, Reader

VERSION = 1
TOP_KEYS = tuple(key.name for key in TOP.values() if not key.project)
PROJECT_FILE = "rulesproxy.yaml"
PROJECT_KEYS = tuple(key.name for key in TOP.values() if key.project)
"""Further keys, for the project file only; `project` reads them."""

_SYNONYMS = {"rule": "rules", "variables": "vars", "list": "lists", "profile": "profiles", "test": "tests"}


def read_top(root: Node, reader: Reader) -> Mapping:
    """The top of a rule file, its keys and its version checked.

    Raises:
        Bad: it is something else; its diagnostic has been recorded.
    """
    if isinstance(root, Scalar) and root.empty:
        reader.fail("RP108", root, "this file is empty", "begin with `version: 1` and a list of `rules:`")
    if isinstance(root, Sequence):
        reader.fail(
            "RP103", root, "a rule file is made of keys, got a list", "put `version: 1` and `rules:` in front of it"
        )
    top = reader.mapping(root, "a rule file", "`version: 1` and `rules:`")
    project = Path(top.span.source.path).name == PROJECT_FILE
    for key, _ in top.entries:
        if key.text in PROJECT_KEYS:
            if not project:
                reader.note("RP102", key, f"`{key.text}` is for the project file only", f"move it to {PROJECT_FILE}")
        elif key.text in ("include", "includes", "import"):
            help = "it stands in the list of rules, as `- include: FILE`"
            reader.note("RP101", key, f"`{key.text}` is no key of a rule file", help)
        elif key.text not in TOP_KEYS:
            reader.unknown(key, TOP_KEYS, "in a rule file", _SYNONYMS)
    _version(top, reader)
    return top


def rule_nodes(top: Mapping, reader: Reader) -> list[Node]:
    """The entries of the list `rules`."""
    node = top.get("rules")
    if node is None or (isinstance(node, Scalar) and node.null):
        return []
    if isinstance(node, Sequence):
        return node.items
    help = "start every rule with `- `"
    if not isinstance(node, Mapping):
        help += " on a line of its own"
    reader.note("RP112", node, "`rules` must be a list", help)
    return []


def filter_trees(top: Mapping, items: list[Node], reader: Reader) -> list[ast.Node]:
    """The filters of a file as far as they can be parsed. Their mistakes are found when they are read."""
    silent = Reader(reader.folder, {})
    found = []
    named = top.get("filters")
    written = [child for _, child in named.entries] if isinstance(named, Mapping) else []
    written += [item.get("match") for item in items if isinstance(item, Mapping)]  # type: ignore[misc]
    for node in written:
        if node is not None:
            try:
                found.append(parse_filter(filter_text(node, silent).text))
            except (Bad, FilterError):
                continue
    return found


def _version(top: Mapping, reader: Reader) -> None:
    node = top.get("version")
    if node is None:
        reader.note("RP108", top, "this file has no `version`", "add `version: 1` as its first line")
        return
    text = node.text if isinstance(node, Scalar) else ""
    if text == str(VERSION):
        return
    if text.isdigit():
        reader.note("RP108", node, f"version {text} is not supported", f"this rulesproxy reads version {VERSION}")
    else:
        reader.note("RP108", node, "`version` is a whole number", f"write `version: {VERSION}`")
