"""`include` in a list of rules: what it names, what it hands down, and the files that are meant.

It knows the keys of the entry and the ways to name files. Reading them is the business of `load`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import suggest
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.closure import ENDINGS, Closure, is_glob
from rulesproxy.rules.files.nodes import Mapping, Node, Scalar
from rulesproxy.rules.files.packs import PACK, pack
from rulesproxy.rules.reading.keys import INCLUDE
from rulesproxy.rules.reading.names import Handed, Scope, read_handed
from rulesproxy.rules.schema import Bad, Reader

if TYPE_CHECKING:
    from rulesproxy.rules.files.profiles import Profiles

INCLUDE_KEYS = tuple(INCLUDE)
_WORDS = dict.fromkeys(("import", "imports", "includes", "file", "files", "use", "load", "extends", "pack"), "include")
_SYNONYMS = {"with": "vars", "variables": "vars", "args": "vars", "params": "vars", "profiles": "profile"}


@dataclass(frozen=True, slots=True)
class Include:
    """One entry.

    Attributes:
        key: the word `include`, for its place.
        targets: what it names, in order.
        handed: values for names of the included files.
        on: whether its rules are there: not `enabled: false`, and its profile is on.
    """

    key: Scalar
    targets: tuple[Scalar, ...]
    handed: Handed
    on: bool


def is_include(node: Node) -> bool:
    """Whether an entry of `rules` is an `include`."""
    return isinstance(node, Mapping) and node.key("include") is not None


def slip(node: Node) -> Scalar | None:
    """The key of an entry that is no rule, and was probably meant to be an `include`."""
    if not isinstance(node, Mapping) or node.key("match") is not None:
        return None
    return next((key for key, _ in node.entries if suggest(key.text, ("include",), _WORDS) == "include"), None)


def read_include(node: Mapping, reader: Reader, scope: Scope, closure: Closure, profiles: Profiles) -> Include:
    """Read an entry; its mistakes are recorded."""
    key, value = node.key("include"), node.get("include")
    assert key is not None
    assert value is not None
    for other, _ in node.entries:
        if other.text == "match":
            help = "give a filter of the included file another value: `filters: {name: …}`"
            reader.note("RP101", other, "an `include` has no filter of its own", help)
        elif other.text not in INCLUDE_KEYS:
            reader.unknown(other, INCLUDE_KEYS, "beside `include`", _SYNONYMS)
    targets = []
    for item in reader.items(value):
        try:
            targets.append(reader.scalar(item, "include", "a file, a folder, a pattern or `pack:NAME`"))
        except Bad:
            continue
    if isinstance(value, nodes.Sequence) and not value.items:
        reader.note("RP103", value, "`include` names nothing", "name at least one file, or remove the entry")
    enabled = node.get("enabled")
    on = profiles.allow(node, reader)
    try:
        on = on and (enabled is None or reader.boolean(enabled, "enabled"))
    except Bad:
        pass
    return Include(key, tuple(targets), read_handed(node, reader, scope, closure), on)


def included_files(target: Scalar, reader: Reader, closure: Closure) -> tuple[list[Path], bool]:
    """The files that a target means, and whether it names one: then it must be there.

    Raises:
        Bad: it cannot be searched, or is nothing that can be included; this has been recorded.
        TooMany: the search went over a limit.
    """
    text = target.text
    if text.startswith(PACK):
        try:
            return [pack(text)], True
        except FileNotFoundError as error:
            reader.fail("RP811", target, f"there is no pack `{text.removeprefix(PACK)}`", str(error))
    if "://" in text:
        help = "save the file, and include it from there"
        reader.fail("RP001", target, "rules are read from files only, not from the network", help)
    path = reader.folder / text
    if not closure.exists(path) and is_glob(text):
        return closure.glob(path), False
    if not closure.is_folder(path):
        return [path], True
    try:
        return closure.folder(path), False
    except OSError as error:
        reader.fail("RP001", target, f"cannot read `{path}`: {(error.strerror or str(error)).lower()}")


def no_match(target: Scalar, reader: Reader) -> None:
    """Record that a pattern or a folder has no file (RP803)."""
    path = reader.folder / target.text
    folder = path if path.is_dir() else path.parent
    others = []
    try:
        others = [entry.name for entry in folder.iterdir() if entry.name.endswith(ENDINGS)]
    except OSError:
        pass
    if not folder.is_dir() and not is_glob(str(folder)):
        help = f"there is no folder `{folder}`"
    elif others and path != folder:
        rest = f" and {len(others) - 3} more" if len(others) > 3 else ""
        help = f"`{folder}` has {', '.join(sorted(others)[:3])}{rest}"
    else:
        help = f"rule files end in .yaml or .yml; they are looked for in `{folder}`"
    reader.note("RP803", target, f"`{target.text}` has no rule files", help, severity="warning")
