"""The documents are true: commands exist, rule files pass the check, Python compiles, names and links resolve."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        ".github/*.md",
        "rulesproxy/**/*.md",
        "rules/**/*.md",
        "grammar/**/*.md",
        "examples/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
MAP = ROOT / "rulesproxy" / "README.md"


class Block(NamedTuple):
    """A fenced block of a document."""

    name: str
    language: str
    text: str


def blocks(path: Path, *languages: str) -> Iterator[Block]:
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S):
        if match[1] in languages:
            line = path.read_text("utf-8").count("\n", 0, match.start()) + 1
            yield Block(f"{path.relative_to(ROOT)}:{line}", match[1], match[2])


def every(*languages: str, start: str = "") -> list[object]:
    found = [block for path in DOCUMENTS for block in blocks(path, *languages)]
    return [pytest.param(block, id=block.name) for block in found if block.text.startswith(start)]


def test_the_documents_are_found() -> None:
    assert {"README.md", "CHANGELOG.md"} <= {path.name for path in DOCUMENTS}
    assert every("yaml", start="version:")
    assert every("sh")
    assert every("python")


# Parts of rule files are tested with the reference that shows them.
@pytest.mark.parametrize("block", every("yaml", start="version:"))
def test_rule_files_pass_the_check(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rulesproxy.rules.load import load_text

    for name in re.findall(r"^    map-local: (\S+)$", block.text, re.M):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert [str(diagnostic) for diagnostic in load_text(block.text).diagnostics] == []


@pytest.mark.parametrize("block", every("python"))
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.name, "exec")


def test_the_addon_answers(tmp_path: Path) -> None:
    from rulesproxy import HTTPFlow
    from rulesproxy.engine.script import load_script

    (block,) = blocks(ROOT / "README.md", "python")
    file = tmp_path / "ping.py"
    file.write_text(block.text)
    (addon,) = load_script(file).addons
    for path, answer in (("/ping", "pong\n"), ("/", None)):
        flow = HTTPFlow.make("GET", f"http://a.test{path}")
        addon.request(flow)
        assert (flow.response and flow.response.text) == answer


@pytest.mark.parametrize("block", every("sh"))
def test_our_commands_exist(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    """Every `rulesproxy COMMAND` has that command, with those options; every script of ours is there."""
    from rulesproxy.cli import main

    text = block.text.replace("\\\n", " ")
    for call in re.findall(r"(?<![\w.-])(?:\S*/)?rulesproxy ([a-z][^)&|;\"\n]*)", text):
        words = shlex.split(call)
        with pytest.raises(SystemExit) as end:
            main([word for word in words[:2] if word.isalpha()] + ["--help"])
        shown = capsys.readouterr().out
        assert end.value.code == 0, f"{block.name}: rulesproxy {call}"
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, f"{block.name}: rulesproxy {call}: no option {option}"
    for script in re.findall(r"(?<!\S)(\.ci/\S+|examples/\S+)", text):
        assert (ROOT / script).is_file(), f"{block.name}: {script}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        linked = (path.parent / file) if file else path
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_tilde_filters_are_all_of_them() -> None:
    from rulesproxy.filters.tilde import TILDE

    (listed,) = re.findall(r"`(~all [^`]*)`", (ROOT / "CHANGELOG.md").read_text("utf-8"))
    assert listed.split() == [f"~{each}" for each in TILDE]


def test_the_gate_finds_the_test_command() -> None:
    """`.ci/run` takes the first line of a block that names pytest; it must make its own environment."""
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.text.splitlines() if "pytest" in line]
    assert len(lines) == 1
    assert re.match(r"python3 -m venv .*\.venv && .*--group test && \.venv/bin/pytest$", lines[0])


def quoted(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text)


def test_the_map_names_only_what_exists() -> None:
    """Files, classes (`Name` or `Name.method`) and functions (`name_of`) that stand in backticks."""
    source = "\n".join(path.read_text("utf-8") for path in MAP.parent.rglob("*.py"))
    missing = []
    for name in quoted(MAP):
        if re.fullmatch(r"[a-z_0-9./]+(/|\.py|\.lark)", name):
            found = (MAP.parent / name).exists() or (ROOT / name).exists()
        elif re.fullmatch(r"[A-Z]\w+(\.\w+)?", name):
            owner, _, method = name.partition(".")
            found = re.search(rf"^class {owner}\b", source, re.M) is not None or owner == "Exception"
            found = found and (not method or re.search(rf"def {method}\b", source) is not None)
        elif re.fullmatch(r"[a-z]\w+_\w+|serve|peek|obey|dispatch|check", name):
            found = re.search(rf"def {name}\b", source) is not None
        else:
            continue
        if not found:
            missing.append(name)
    assert missing == []


def test_the_map_has_every_part() -> None:
    package = MAP.parent
    parts = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    parts |= {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    named = {name.partition("/")[0] + "/" if "/" in name else name for name in quoted(MAP)}
    assert parts - named == set()
