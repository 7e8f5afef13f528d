"""Rule files as bytes on their way to another process, which reads them there without the disk."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.rules.files.closure import Closure, Contents
from rulesproxy.rules.load import load_bytes, load_files
from rulesproxy.rules.shared import check_shared

if TYPE_CHECKING:
    from rulesproxy.diagnostics import Diagnostic
    from rulesproxy.rules.model import Loaded

_LENGTH = struct.Struct("!I")


def check_sent(data: bytes, files: Sequence[str], profiles: Sequence[str], workers: int) -> Loaded:
    """What was sent to be checked, with everything that is to be said of it.

    Args:
        data: what `pack` has made of the files, or the text of one where none is named.
        files: the files, as they are called there.
        profiles: the profiles that are switched on; the files need not have them.
        workers: how many processes are to serve by the rules.

    Raises:
        ValueError: the data is neither.
    """
    from rulesproxy.rules.lints import diagnose

    if files:
        closure = Closure(given=unpack(data))
        loaded = load_files([Path(file) for file in files], profiles=profiles, closure=closure)
    else:
        loaded = load_bytes(data, "<text>", profiles=profiles)
    loaded = replace(loaded, diagnostics=tuple([each for each in loaded.diagnostics if not _about_profiles(each)]))
    return replace(loaded, diagnostics=(*diagnose(loaded), *check_shared(loaded.rules, workers)))


def _about_profiles(diagnostic: Diagnostic) -> bool:
    return diagnostic.code == "RP810" and diagnostic.span is None


def pack(contents: Contents) -> bytes:
    """Contents as bytes."""
    sizes = {path: len(data) for path, data in contents.files.items()}
    head = json.dumps({"files": sizes, "folders": contents.folders, "patterns": contents.patterns}).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *contents.files.values()])


def unpack(data: bytes) -> Contents:
    """What `pack` has packed.

    Raises:
        ValueError: it was something else.
    """
    try:
        at = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        head = json.loads(data[_LENGTH.size : at])
        contents = Contents(folders=_names(head["folders"]), patterns=_names(head["patterns"]))
        for path, size in head["files"].items():
            contents.files[path] = data[at : at + int(size)]
            at += int(size)
    except (struct.error, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"these are no packed rule files: {error}") from None
    return contents


def _names(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {str(path): [str(name) for name in names] for path, names in found.items()}
