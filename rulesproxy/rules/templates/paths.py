"""Paths of files on this machine: fixed ones, and ones that take values of requests and never leave a fixed folder.

It knows what a request may say about a path. What is done with the file is known by the actions.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote_to_bytes

from rulesproxy.diagnostics import suggest
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.template import Captures, Place, Template, TemplateError
from rulesproxy.rules.templates.urls import WHOLE_PATHS

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node, Scalar
    from rulesproxy.rules.schema import Reader

_DRIVE = re.compile(r"[A-Za-z]:").match
_ENCODED_SEPARATOR = re.compile(r"%(?:2[fF]|5[cC]|00)").search


@dataclass(frozen=True, slots=True)
class Below:
    """The part of a path that is made for each flow, below a folder that it cannot leave.

    A piece of the path of the request is decoded once, and its slashes lead into folders. Any other value is one name:
    an encoded slash in a query is no way into another folder.

    Attributes:
        template: the part, without the folder.
        rooted: it begins with a whole path, such as `${path}`.
    """

    template: Template
    rooted: bool = False

    def segments(self, flow: HTTPFlow, captures: Captures) -> tuple[list[str], bool] | None:
        """The names on the way down, and whether a slash is behind them; None for a path that no file may have."""
        try:
            text = self.template.fill(flow, captures, _safe)
        except TemplateError:
            return None
        if self.rooted and not text.startswith("/"):
            return None
        segments = safe_segments(text)
        return None if segments is None else (segments, text.endswith("/"))


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A path that a rule names.

    Attributes:
        path: the file or folder, every link in its own path resolved; for a template the folder in front of the first
            `${…}`.
        folder: `path` is a folder.
        shown: as it is written.
        below: what flows add to it; None where it is fixed.
    """

    path: Path
    folder: bool
    shown: str = ""
    below: Below | None = None

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> LocalPath:
        """The path in a scalar; what it names has to be there.

        Raises:
            Bad: it is not; its diagnostic has been recorded.
        """
        scalar = reader.raw(node, name, "a file or a folder")
        template = Template.read(scalar, reader, name)
        fixed, below = template.constant, None
        if fixed is None:
            fixed, below = _divided(template, scalar, reader, name)
        path = reader.folder / fixed
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            missing_file(scalar, path, reader, name, fixed)
        if below is not None and not stat.S_ISDIR(mode):
            reader.fail("RP603", scalar, f"`{fixed}` in front of the first `${{` is no folder")
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            reader.fail("RP603", scalar, f"{name} `{scalar.text}` is neither a file nor a folder")
        return cls(path.resolve(), stat.S_ISDIR(mode), scalar.text, below)


@dataclass(frozen=True, slots=True)
class FilePath:
    """A file that is the same for every flow, resolved against the folder of the rule file."""

    path: Path
    shown: str

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> FilePath:
        found = LocalPath.read(node, reader, name)
        if found.below is not None:
            title = f"`{name}` is one file, which takes no values of requests"
            reader.fail("RP615", node, title, "`${vars.name}` and `${env:NAME}` are known when the rules are loaded")
        if found.folder:
            reader.fail("RP603", node, f"{name} `{found.shown}` is a folder, a file is wanted here")
        return cls(found.path, found.shown)


@dataclass(frozen=True, slots=True)
class AnyFile:
    """A file whose path may take values of the flow."""

    where: LocalPath

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> AnyFile:
        found = LocalPath.read(node, reader, name)
        if found.below is None and found.folder:
            reader.fail("RP603", node, f"{name} `{found.shown}` is a folder, a file is wanted here")
        return cls(found)

    def at(self, flow: HTTPFlow, captures: Captures) -> Path:
        """The file for one flow.

        Raises:
            FileNotFoundError: the path leads to no file below its folder.
        """
        if self.where.below is None:
            return self.where.path
        asked = self.where.below.segments(flow, captures)
        path = None if asked is None or asked[1] else inside(self.where.path, asked[0])
        if path is None or not path.is_file():
            raise FileNotFoundError(f"`{self.where.shown}` leads to no file for this request")
        return path


def request_segments(target: str, strip: str) -> list[str] | None:
    """The segments of a request target below `strip`, decoded once; None for a path that no file may have."""
    path = decoded(target.partition("?")[0].partition("#")[0])
    if path is None or not path.startswith("/"):
        return None
    prefix = "/" + strip.strip("/")
    if prefix != "/":
        if path != prefix and not path.startswith(prefix + "/"):
            return None
        path = path[len(prefix) :]
    return safe_segments(path)


def decoded(raw: str) -> str | None:
    """A piece of a path of a URL, decoded once.

    None for encoded separators and NUL, and for bytes that are not UTF-8, overlong forms among them.
    """
    if _ENCODED_SEPARATOR(raw):
        return None
    try:
        return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeDecodeError:
        return None


def safe_segments(path: str) -> list[str] | None:
    """The names between the slashes of a path.

    None if one of them is a dot segment or a drive letter, or holds a backslash or a control character.
    """
    if "\\" in path or any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in path):
        return None
    segments = [segment for segment in path.split("/") if segment]
    return None if any(_is_bad(segment) for segment in segments) else segments


def inside(root: Path, segments: list[str]) -> Path | None:
    """The file or folder below `root`, every link resolved; None where it is missing or lies outside."""
    try:
        path = root.joinpath(*segments).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if path == root or root in path.parents else None


def missing_file(scalar: Scalar, path: Path, reader: Reader, name: str, text: str | None = None) -> NoReturn:
    """Record that a file does not exist, with the nearest name in its folder.

    `text` is its name where it is only a part of the scalar, which begins with it.
    """
    place = scalar if text is None or not scalar.text.startswith(text) else scalar.part(0, len(text))
    text = scalar.text if text is None else text
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        beside = []
    meant = suggest(path.name, beside)
    help = "the path is relative to the rule file"
    if meant:
        help = f"did you mean `{text.rstrip('/').removesuffix(path.name)}{meant}`?"
    reader.fail("RP601", place, f"{name} `{text}` does not exist", help)


def _divided(template: Template, scalar: Scalar, reader: Reader, name: str) -> tuple[str, Below]:
    """The fixed folder in front of the first place, and what is behind it."""
    first, *rest = template.parts
    head = ""
    if isinstance(first, str):
        head = first
    else:
        rest = [first, *rest]
    # A whole path brings its own slash, so that all that stands in front of it is the folder.
    rooted = isinstance(rest[0], Place) and rest[0].text in WHOLE_PATHS and not head.endswith("/")
    start = "" if rooted else os.path.split(head)[1]
    folder = head.removesuffix(start)
    sample = start + "".join([part if isinstance(part, str) else "x" for part in rest])
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", sample)):
        title = f"`{name}` has a dot segment behind its first `${{`"
        reader.fail("RP615", scalar, title, "no path goes up again: write the folder in front of the `${`")
    parts = (start, *rest) if start else tuple(rest)
    return folder, Below(Template(template.text, parts, None), rooted)


def _safe(value: str, from_path: bool) -> str:
    """A value in a path.

    Raises:
        TemplateError: no file may have it in its path, or there is none.
    """
    if not from_path:
        if not value or "/" in value:
            raise TemplateError(f"{value[:80]!r} cannot be the name of a file")
        return value
    path = decoded(value)
    if path is None:
        raise TemplateError(f"{value[:80]!r} cannot be part of a path")
    return path


def _is_bad(segment: str) -> bool:
    # `..;` is a parent folder to some servers behind which such a path may have been made.
    if segment.partition(";")[0].strip(" ") in (".", "..") or _DRIVE(segment):
        return True
    return os.name == "nt" and (":" in segment or segment[-1] in ". ")
