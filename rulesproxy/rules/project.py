"""The project file: the options and addons in `rulesproxy.yaml`. Its rules are read like those of any rule file.

It knows which keys may stand there. What an option means, and whether there is one, is the engine's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rulesproxy.diagnostics import Source
from rulesproxy.rules import nodes
from rulesproxy.rules.load import RulesError
from rulesproxy.rules.nodes import Node, NodeError, Scalar, read_nodes
from rulesproxy.rules.schema import Bad, Reader

RULES = "rules"
"""The word that stands for the place of the rules in a list of addons."""


@dataclass(frozen=True, slots=True)
class Project:
    """What a project file says besides rules.

    Attributes:
        options: values by name, as text, lists of text, or mappings of both.
        addons: files of Python addons, in order; the word `rules` marks where the rules stand among them.
    """

    options: dict[str, object]
    addons: tuple[str, ...]


def read_project(path: Path) -> Project:
    """Read the `options` and `addons` of a project file.

    Raises:
        RulesError: the file cannot be read, or one of the two is not what it should be.
    """
    try:
        root = read_nodes(Source(str(path), path.read_text(encoding="utf-8")))
    except NodeError as error:
        raise RulesError(error.diagnostics) from None
    except (OSError, UnicodeDecodeError):
        # Reading its rules says what is wrong with the file as a whole.
        return Project({}, ())
    reader = Reader(path.parent)
    options: dict[str, object] = {}
    addons: tuple[str, ...] = ()
    if isinstance(root, nodes.Mapping):
        for key, read in (("options", _options), ("addons", _addons)):
            node = root.get(key)
            if node is None or (isinstance(node, Scalar) and node.empty):
                continue
            try:
                found = read(node, reader)
            except Bad:
                continue
            if isinstance(found, dict):
                options = found
            else:
                addons = found
    if reader.problems:
        raise RulesError(reader.problems)
    return Project(options, addons)


def _options(node: Node, reader: Reader) -> dict[str, object]:
    mapping = reader.mapping(node, "options", "`options: {name: value}`")
    return {key.text: _value(child, reader, key.text) for key, child in mapping.entries}


def _value(node: Node, reader: Reader, name: str) -> object:
    if isinstance(node, nodes.Mapping):
        return _options(node, reader)
    if isinstance(node, nodes.Sequence):
        return [reader.scalar(item, name, "a text").text for item in node.items]
    return node.text


def _addons(node: Node, reader: Reader) -> tuple[str, ...]:
    found = []
    for item in reader.items(node):
        scalar = reader.scalar(item, "addons", "a Python file")
        if scalar.text == RULES:
            found.append(RULES)
            continue
        path = reader.folder / scalar.text
        if not path.is_file():
            reader.note("RP601", scalar, f"`{scalar.text}` does not exist", f"paths are relative to {reader.folder}")
        found.append(str(path))
    if found.count(RULES) > 1:
        reader.fail("RP103", node, "`rules` stands twice among the addons", "name the place of the rules once")
    return tuple(found)
