"""The project file: the options and addons in `rulesproxy.yaml`. Its rules are read like those of any rule file.

It knows which keys may stand there, and where each value stands. What an option means, and whether there is one, is the
engine's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rulesproxy.diagnostics import Diagnostic, Source, Span
from rulesproxy.engine.option import OptionsError
from rulesproxy.engine.options import Options
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.closure import read_regular
from rulesproxy.rules.files.compose import NodeError, read_nodes
from rulesproxy.rules.files.nodes import Node, Scalar
from rulesproxy.rules.load import RulesError
from rulesproxy.rules.schema import Bad, Reader

RULES = "rules"
"""The word that stands for the place of the rules in a list of addons."""


@dataclass(frozen=True, slots=True)
class Project:
    """What a project file says besides rules.

    Attributes:
        options: values by name, as text, lists of text, or mappings of both.
        addons: files of Python addons, in order; the word `rules` marks where the rules stand among them.
        places: where the key and the value of each option stand, by its name as `Options` spells it.
        path: the file itself; None where there is none.
    """

    options: dict[str, object]
    addons: tuple[str, ...]
    places: dict[str, tuple[Span, Span]] = field(default_factory=dict, compare=False)
    path: Path | None = None

    def set_options(self, options: Options) -> None:
        """Set the options. Names that are not known yet are kept for addons to declare.

        Raises:
            RulesError: values that do not do, all of them.
        """
        problems: list[Diagnostic] = []
        for name, value in self._flat("", self.options):
            try:
                options.set_values({name: value}, "project file", later=True)
            except OptionsError as error:
                problems += self.explain(error)
        if problems:
            raise RulesError(problems)

    def explain(self, error: OptionsError) -> list[Diagnostic]:
        """The lines of an error that are about this file, at their places."""
        found = []
        for line, (name, source) in zip(str(error).split("\n"), error.about, strict=False):
            if source == "project file" and name in self.places:
                key, value = self.places[name]
                title, _, help = line.partition("; ")
                unknown = title.startswith("no option")
                found.append(Diagnostic("RP113", "error", title, key if unknown else value, help))
        return found

    def _flat(self, prefix: str, values: Mapping[str, object]) -> list[tuple[str, object]]:
        flat: list[tuple[str, object]] = []
        for name, value in values.items():
            flat += self._flat(f"{prefix}{name}_", value) if isinstance(value, Mapping) else [(prefix + name, value)]
        return flat


def read_project(path: Path) -> Project:
    """Read the `options` and `addons` of a project file.

    Raises:
        RulesError: one of the two is not what it should be; its `watch` are the addons that are not there.
    """
    project, error = look_at_project(path)
    if error is not None:
        raise error
    return project


def look_at_project(path: Path) -> tuple[Project, RulesError | None]:
    """The same as far as it can be read, and what is wrong with the rest."""
    try:
        root = read_nodes(Source(str(path), read_regular(path).decode("utf-8")))
    except NodeError as error:
        return Project({}, (), path=path), RulesError(error.diagnostics)
    except (OSError, UnicodeDecodeError):
        # Reading its rules says what is wrong with the file as a whole.
        return Project({}, (), path=path), None
    reader = Reader(path.parent)
    options: dict[str, object] = {}
    addons: tuple[str, ...] = ()
    missing: list[Path] = []
    places: dict[str, tuple[Span, Span]] = {}
    if isinstance(root, nodes.Mapping):
        for key in ("options", "addons"):
            node = root.get(key)
            if node is None or (isinstance(node, Scalar) and node.null):
                continue
            try:
                if key == "options":
                    options = _options(node, reader, "", places)
                else:
                    addons = _addons(node, reader, missing)
            except Bad:
                continue
    project = Project(options, addons, places, path)
    return project, RulesError(reader.problems, missing) if reader.problems else None


def _options(node: Node, reader: Reader, prefix: str, places: dict[str, tuple[Span, Span]]) -> dict[str, object]:
    mapping = reader.mapping(node, "options", "`options: {name: value}`")
    found: dict[str, object] = {}
    for key, child in mapping.entries:
        name = prefix + key.text.strip().lower().replace("-", "_").replace(".", "_")
        places[name] = key.span, child.span
        found[key.text] = _value(child, reader, key.text, name, places)
    return found


def _value(node: Node, reader: Reader, key: str, name: str, places: dict[str, tuple[Span, Span]]) -> object:
    if isinstance(node, nodes.Mapping):
        return _options(node, reader, f"{name}_", places)
    if isinstance(node, nodes.Sequence):
        return [reader.scalar(item, key, "a text").text for item in node.items]
    return node.text


def _addons(node: Node, reader: Reader, missing: list[Path]) -> tuple[str, ...]:
    found = []
    for item in reader.items(node):
        scalar = reader.scalar(item, "addons", "a Python file")
        if scalar.text == RULES:
            found.append(RULES)
            continue
        path = reader.folder / scalar.text
        if not path.is_file():
            missing.append(path)
            reader.note("RP601", scalar, f"`{scalar.text}` does not exist", f"paths are relative to {reader.folder}")
        found.append(str(path))
    if found.count(RULES) > 1:
        reader.fail("RP103", node, "`rules` stands twice among the addons", "name the place of the rules once")
    return tuple(found)
