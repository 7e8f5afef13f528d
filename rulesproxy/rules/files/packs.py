"""Packs: the rule files that come with the program, by name, and what each says of itself."""

from __future__ import annotations

from pathlib import Path

from rulesproxy import resources
from rulesproxy.diagnostics import Source, suggest
from rulesproxy.rules.files.compose import read_nodes
from rulesproxy.rules.files.nodes import Mapping

PACK = "pack:"
"""What the name of a pack begins with, where a file could stand too."""


def pack(name: str) -> Path:
    """The file of a pack, named with or without `pack:`.

    Raises:
        FileNotFoundError: there is no such pack; the text says which there are.
    """
    word = name.removeprefix(PACK)
    found = resources.packs().get(word)
    if found is None:
        meant = suggest(word, resources.packs())
        raise FileNotFoundError(f"did you mean `{PACK}{meant}`?" if meant else f"the packs are {known()}")
    return found


def known() -> str:
    """The names of all packs, as they stand in a sentence."""
    return ", ".join(resources.packs())


def summary(text: str) -> str:
    """What a pack does: the first paragraph of the comment at its head."""
    head = text.partition("\n#\n")[0]
    return " ".join(line.removeprefix("#").strip() for line in head.split("\n"))


def names(text: str) -> list[str]:
    """The variables, lists and filters of a pack, which an including file may give other values."""
    root = read_nodes(Source("pack", text))
    sections = [root.get(name) for name in ("vars", "lists", "filters")] if isinstance(root, Mapping) else []
    return [key.text for section in sections if isinstance(section, Mapping) for key, _ in section.entries]
