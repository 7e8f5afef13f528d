"""The action `map-local`: answers from files, of which none outside the named folder is ever reached."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import quote

from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.flow.plan import FileBody
from rulesproxy.rules.action import REQUEST, Action, Captures, Example, Handler
from rulesproxy.rules.edits.fields import HeaderEdits
from rulesproxy.rules.edits.media import content_type
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node, Scalar
from rulesproxy.rules.schema import Range, Reader
from rulesproxy.rules.templates.paths import LocalPath, inside, request_segments

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})").fullmatch


@dataclass(frozen=True, slots=True)
class MapLocal(Action):
    """Answer from a file, or from a folder by the path of the request.

    A `${…}` in a path never leaves the folder in front of the first of them. What is captured from the path of the
    request may hold slashes, which lead into folders; any other value is one name. Where there is no such file, the
    answer is that for a missing one.

    Attributes:
        file: one file, for every path and every method; where `${…}` leads to a folder, its index.
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
    needs: ClassVar = ("file", "dir")
    synonyms: ClassVar = {"path": "file", "folder": "dir", "root": "dir", "directory": "dir", "prefix": "strip"}

    file: LocalPath | None = None
    dir: LocalPath | None = None
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
            'match: path like "/users/{id}"\nmap-local: mocks/${id}.json', "GET http://a.test/users/me",
            "200\ncontent-type: application/json\n\n{}",
        ),
        Example(
            "match: path under '/app'\nmap-local: {dir: mocks, strip: /app}", "GET http://a.test/app/../me.json", "404"
        ),
    )  # fmt: skip

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import action_schema

        return action_schema(cls, {"type": "string"})

    @classmethod
    def from_node(cls, node: Node, reader: Reader) -> MapLocal:
        if isinstance(node, Scalar):
            root = LocalPath.read(node, reader, cls.key)
            return cls(dir=root) if root.folder and root.below is None else cls(file=root)
        return super(MapLocal, cls).from_node(node, reader)

    def check(self, node: Node, reader: Reader) -> None:
        own = reader.folder.resolve()
        for key, root in (("dir", self.dir), ("file", self.file)):
            if root is None or not root.folder or not (root.path == own or root.path in own.parents):
                continue
            where = node.get(key) if isinstance(node, nodes.Mapping) else node
            reader.note(
                "RP602", where or node, "this folder holds the rule file too, which every client can read then",
                "put what is to be served into a folder of its own", severity="warning",
            )  # fmt: skip
        if not isinstance(node, nodes.Mapping):
            return
        if (self.file is None) == (self.dir is None):
            reader.note("RP103", node, "`map-local` needs either `file` or `dir`", "add `dir: …` for a folder")
        for name, root, folder in (("file", self.file, False), ("dir", self.dir, True)):
            if root is not None and root.below is None and root.folder != folder:
                kind = "a folder" if root.folder else "a file"
                where = node.get(name) or node
                reader.note("RP603", where, f"`{name}` names {kind}", f"write `{'dir' if root.folder else 'file'}`")

    def bind(self) -> Handler:
        edit = self.headers.bind() if self.headers is not None else None

        def answer(flow: HTTPFlow, captures: Captures) -> None:
            response = self.answer(flow, captures)
            if response is None:
                return
            if edit is not None:
                edit(response, flow, captures)
            flow.response = response

        return answer

    def answer(self, flow: HTTPFlow, captures: Captures) -> HTTPResponse | None:
        """The answer for one flow; None where the flow shall go on to the server."""
        head = flow.request.method == "HEAD"
        root = self.file or self.dir
        assert root is not None
        if self.file is not None and root.below is None:
            return self._send(root.path, flow) or self._missing(head)
        if self.dir is not None and flow.request.method not in ("GET", "HEAD"):
            if self.fallthrough:
                return None
            return _page(405, "only GET and HEAD are answered from a folder\n", head, [("allow", "GET, HEAD")])
        top, slash = ([], False) if root.below is None else root.below.segments(flow, captures) or (None, False)
        if top is None:
            return self._missing(head)
        if self.file is not None:
            return self._find(root.path, top, slash, flow) or self._missing(head)
        segments = request_segments(flow.request.path, self.strip)
        if segments is None:
            return self._missing(head)
        answer = self._find(root.path, [*top, *segments], _has_slash(flow), flow)
        if answer is None and self.spa:
            answer = self._find(root.path, [*top, self.index], False, flow)
        return answer or self._missing(head)

    def _find(self, root: Path, segments: list[str], slash: bool, flow: HTTPFlow) -> HTTPResponse | None:
        """The answer with what lies below a folder; None where it is missing. Only a folder has a slash behind it."""
        path = inside(root, segments)
        if path is not None and path.is_dir():
            found = inside(root, [*segments, self.index])
            if found is not None and not _has_slash(flow) and found.is_file():
                head = flow.request.method == "HEAD"
                return _page(302, "", head, [("location", _with_slash(flow.request.path))])
            path = found
        elif slash:
            return None
        return self._send(path, flow) if path is not None else None

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


def _has_slash(flow: HTTPFlow) -> bool:
    return flow.request.path.partition("?")[0].endswith("/")


def _with_slash(target: str) -> str:
    """The target with a slash behind its path. It never begins with two, which would name another host."""
    path, mark, query = target.partition("?")
    return "/" + quote(path.strip("/"), safe="/%:@!$&'()*+,;=-._~") + f"/{mark}{query}"
