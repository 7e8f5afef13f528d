"""Every good rule file that the project has: examples, documentation, pages of diagnostics, examples of actions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rulesproxy.diagnostics import Source
from rulesproxy.diagnostics.codes import CODES
from rulesproxy.rules.actions import ACTIONS
from rulesproxy.rules.edits.json_value import core_scalar
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.compose import read_nodes
from rulesproxy.rules.files.nodes import Node
from tests.diagnostics.test_pages import rule_file

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def good_files() -> dict[str, str]:
    """The text of each good rule file by a name for it."""
    found = {}
    for folder in ("examples", "rules"):
        for path in sorted((ROOT / folder).rglob("*.yaml")):
            if re.search(r"^version:", path.read_text("utf-8"), re.M):
                found[str(path.relative_to(ROOT))] = path.read_text("utf-8")
    for page in ("README.md", "rules/README.md", "grammar/README.md"):
        for number, block in enumerate(BLOCK.findall((ROOT / page).read_text("utf-8"))):
            if block.startswith("version:"):
                found[f"{page} {number}"] = block
    for code in CODES.values():
        if code.instead:
            found[f"instead of {code.code}"] = rule_file(code.instead)
    for action in ACTIONS.values():
        for number, example in enumerate(action.examples):
            rule = "\n    ".join(example.rule.split("\n"))
            found[f"{action.key} {number}"] = f"version: 1\nrules:\n  - {rule}\n"
    return found


def plain(node: Node) -> Any:
    """A node as plain values, as YAML 1.2 readers have them."""
    if isinstance(node, nodes.Mapping):
        return {key.text: plain(child) for key, child in node.entries}
    if isinstance(node, nodes.Sequence):
        return [plain(item) for item in node.items]
    core = core_scalar(node.text) if node.plain else None
    import json

    return node.text if core is None else json.loads(core)


def values(text: str) -> Any:
    """What a YAML text says."""
    return plain(read_nodes(Source("<text>", text)))
