"""The action `map-local`: answers from files, of which none outside the named folder is ever reached."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import quote, unquote_to_bytes

from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.rules import nodes
from rulesproxy.rules.action import REQUEST, Action, Captures, Example, Handler
from rulesproxy.rules.bodies import missing_file
from rulesproxy.rules.edits import HeaderEdits
from rulesproxy.rules.media import content_type
from rulesproxy.rules.nodes import Node, Scalar
from rulesproxy.rules.schema import Range, Reader

_DRIVE = re.compile(r"[A-Za-z]:").match
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})").fullmatch
_ENCODED_SEPARATOR = re.compile(r"%(?:2[fF]|5[cC]|00)").search


@dataclass(frozen=True, slots=True)
class Root:
    """A file or folder of the user's, with every link in its own path resolved."""

    path: Path
    folder: bool

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Root:
        scalar = reader.scalar(node, name, "a file or a folder")
        path = reader.folder / scalar.text
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            missing_file(scalar, path, reader, name)
            raise
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            reader.fail("RP603", scalar, f"{name} `{scalar.text}` is neither a file nor a folder")
        return cls(path.resolve(), stat.S_ISDIR(mode))


@dataclass(frozen=True, slots=True)
class MapLocal(Action):
    """Answer from a file, or from a folder by the path of the request.

    Attributes:
        file: one file, for every path and every method.
        dir: a folder; only GET and HEAD.
        strip: what is cut off the front of the path before it is looked up in the folder.
        index: the file that stands for a folder.
        spa: answer with the index of the top folder where a path names no file, as single-page applications want it.
        fallthrough: let the server answer what is not there, instead of 404.
        headers: header fields of the answer.
        status: the status of the answer, instead of 200.
    """

    key: ClassVar = "map-local"
    events: ClassVar = REQUEST
    answers: ClassVar = True
    synonyms: ClassVar = {"path": "file", "folder": "dir", "root": "dir", "directory": "dir", "prefix": "strip"}

    file: Root | None = None
    dir: Root | None = None
    strip: str = ""
    index: str = "index.html"
    spa: bool = False
    fallthrough: bool = False
    headers: HeaderEdits | None = None
    status: Annotated[int, Range(200, 599)] = 200

    examples: ClassVar = (
        Example(
            "match: path == '/me'\nmap-local: mocks/me.json", "GET http://a.test/me",
            "200\ncontent-type: application/json\n\n{}",
        ),
        Example(
            "match: path under '/app'\nmap-local: {dir: mocks, strip: /app}", "GET http://a.test/app/../me.json", "404"
        ),
    )  # fmt: skip

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.json_schema import action_schema

        return action_schema(cls, {"type": "string"})

    @classmethod
    def from_node(cls, node: Node, reader: Reader) -> MapLocal:
        if isinstance(node, Scalar):
            root = Root.read(node, reader, cls.key)
            return cls(dir=root) if root.folder else cls(file=root)
        return super(MapLocal, cls).from_node(node, reader)

    def check(self, node: Node, reader: Reader) -> None:
        own = reader.folder.resolve()
        if self.dir is not None and (self.dir.path == own or self.dir.path in own.parents):
            where = node.get("dir") if isinstance(node, nodes.Mapping) else node
            reader.note(
                "RP602", where or node, "this folder holds the rule file too, which every client can read then",
                "put what is to be served into a folder of its own", severity="warning",
            )  # fmt: skip
        if not isinstance(node, nodes.Mapping):
            return
        if (self.file is None) == (self.dir is None):
            reader.note("RP103", node, "`map-local` needs either `file` or `dir`", "add `dir: …` for a folder")
        for name, root, folder in (("file", self.file, False), ("dir", self.dir, True)):
            if root is not None and root.folder != folder:
                kind = "a folder" if root.folder else "a file"
                where = node.get(name) or node
                reader.note("RP603", where, f"`{name}` names {kind}", f"write `{'dir' if root.folder else 'file'}`")

    def bind(self) -> Handler:
        edit = self.headers.bind() if self.headers is not None else None

        def answer(flow: HTTPFlow, captures: Captures) -> None:
            response = self.answer(flow)
            if response is None:
                return
            if edit is not None:
                edit(response, flow, captures)
            flow.response = response

        return answer

    def answer(self, flow: HTTPFlow) -> HTTPResponse | None:
        """The answer for one flow; None where the flow shall go on to the server."""
        head = flow.request.method == "HEAD"
        if self.file is not None:
            return self._send(self.file.path, flow) or self._missing(head)
        assert self.dir is not None
        if flow.request.method not in ("GET", "HEAD"):
            if self.fallthrough:
                return None
            return _page(405, "only GET and HEAD are answered from a folder\n", head, [("allow", "GET, HEAD")])
        segments = path_segments(flow.request.path, self.strip)
        if segments is None:
            return self._missing(head)
        path = inside(self.dir.path, segments)
        if path is not None and path.is_dir():
            raw = flow.request.path.partition("?")[0]
            found = inside(self.dir.path, [*segments, self.index])
            if found is not None and not raw.endswith("/") and found.is_file():
                return _page(302, "", head, [("location", _with_slash(flow.request.path))])
            path = found
        answer = self._send(path, flow) if path is not None else None
        if answer is None and self.spa:
            path = inside(self.dir.path, [self.index])
            answer = self._send(path, flow) if path is not None else None
        return answer or self._missing(head)

    def _missing(self, head: bool) -> HTTPResponse | None:
        return None if self.fallthrough else _page(404, "there is no such file in the folder of this rule\n", head)

    def _send(self, path: Path, flow: HTTPFlow) -> HTTPResponse | None:
        """The answer with one file; None where it is no regular file any more."""
        try:
            info = path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(info.st_mode) or not os.access(path, os.R_OK):
            return None
        tag = f'"{info.st_mtime_ns:x}-{info.st_size:x}"'
        fields = [("content-type", content_type(path.name)), ("etag", tag)]
        request = flow.request
        if self.status != 200 or request.method not in ("GET", "HEAD"):
            return _file(self.status, path, 0, info.st_size, fields, request.method == "HEAD")
        fields.append(("accept-ranges", "bytes"))
        if _matches(request.headers.get("if-none-match"), tag):
            return HTTPResponse.make(304, b"", fields[1:2])
        asked = request.headers.get("range") if request.method == "GET" else None
        condition = request.headers.get("if-range")
        part = byte_range(asked, info.st_size) if asked and condition in (None, tag) else None
        if part == UNSATISFIABLE:
            return _page(416, "", False, [("content-range", f"bytes */{info.st_size}")])
        if part is not None:
            start, end = part
            fields.append(("content-range", f"bytes {start}-{end}/{info.st_size}"))
            return _file(206, path, start, end - start + 1, fields, False)
        return _file(200, path, 0, info.st_size, fields, request.method == "HEAD")


UNSATISFIABLE = (-1, -1)
"""What `byte_range` gives for a range that lies behind the end of the file."""


def path_segments(target: str, strip: str) -> list[str] | None:
    """The segments of a request target below `strip`, decoded once; None for a path that no file may be found by.

    Refused are dot segments, encoded separators and NUL, backslashes, control characters, drive letters, and bytes that
    are not UTF-8, overlong forms among them.
    """
    raw = target.partition("?")[0].partition("#")[0]
    if _ENCODED_SEPARATOR(raw):
        return None
    try:
        path = unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not path.startswith("/") or "\\" in path or any(char < " " or char == "\x7f" for char in path):
        return None
    prefix = "/" + strip.strip("/")
    if prefix != "/":
        if path != prefix and not path.startswith(prefix + "/"):
            return None
        path = path[len(prefix) :]
    segments = [segment for segment in path.split("/") if segment]
    return None if any(_is_bad(segment) for segment in segments) else segments


def _is_bad(segment: str) -> bool:
    # `..;` is a parent folder to some servers behind which such a path may have been made.
    if segment.partition(";")[0].strip(" ") in (".", "..") or _DRIVE(segment):
        return True
    return os.name == "nt" and (":" in segment or segment[-1] in ". ")


def inside(root: Path, segments: list[str]) -> Path | None:
    """The file or folder below `root`, every link resolved; None where it is missing or lies outside."""
    try:
        path = root.joinpath(*segments).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if path == root or root in path.parents else None


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The first and last byte that a Range header asks for (RFC 9110 section 14.1.2).

    None means the whole file: several ranges, another unit, or bad syntax, which all may be ignored.
    """
    found = _RANGE(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        return (size - length, size - 1) if length else UNSATISFIABLE
    start, end = int(found[1]), int(found[2]) if found[2] else size - 1
    if found[2] and end < start:
        return None
    return (start, min(end, size - 1)) if start < size else UNSATISFIABLE


def _matches(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names this tag (RFC 9110 section 13.1.2: the weak comparison)."""
    if header is None:
        return False
    return header.strip() == "*" or tag in [part.strip().removeprefix("W/") for part in header.split(",")]


def _file(status: int, path: Path, start: int, length: int, fields: list[tuple[str, str]], head: bool) -> HTTPResponse:
    response = HTTPResponse.make(status, b"", fields)
    if status == 204 or status == 304:
        return response
    response.headers["content-length"] = str(length)
    if not head:
        response.body_source = FileBody(path, start, length)
    return response


def _page(status: int, text: str, head: bool, fields: list[tuple[str, str]] | None = None) -> HTTPResponse:
    response = HTTPResponse.make(status, text, [("content-type", "text/plain; charset=utf-8"), *(fields or ())])
    if head:
        response.body_source = b""
    return response


def _with_slash(target: str) -> str:
    """The target with a slash behind its path. It never begins with two, which would name another host."""
    path, mark, query = target.partition("?")
    return "/" + quote(path.strip("/"), safe="/%:@!$&'()*+,;=-._~") + f"/{mark}{query}"
