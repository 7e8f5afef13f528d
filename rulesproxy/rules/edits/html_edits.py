"""The edits of HTML bodies that a rule may name: text at the end of the head or body, and elements cut out.

A page is spliced as bytes: what is not edited stays exactly as it was, in whatever charset it is written.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rulesproxy.flow.forms import header_parameter
from rulesproxy.flow.http import HTTPFlow, HTTPMessage, HTTPResponse
from rulesproxy.rules.edits import html_scan
from rulesproxy.rules.edits.bodies import body_changed, is_part, media_type
from rulesproxy.rules.edits.selector import Selector
from rulesproxy.rules.files import nodes
from rulesproxy.rules.template import Captures, Template
from rulesproxy.rules.templates.paths import AnyFile

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node
    from rulesproxy.rules.schema import Reader

_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_\-]+={0,2})'", re.IGNORECASE)
_DIRECTIVES = {
    "script": ("script-src-elem", "script-src", "default-src"),
    "style": ("style-src-elem", "style-src", "default-src"),
}  # fmt: skip
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_\-:.]+)""", re.IGNORECASE)
_META_BYTES = 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
# Charsets in which a byte below 0x80 may be a part of something else than ASCII, so that tags cannot be seen in bytes.
_WIDE = re.compile(r"utf-?(?:16|32|7)|iso2022|iso-2022|hz", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Snippet:
    """HTML that is put into a page: text of the rule, or a file."""

    needs: ClassVar = ("text", "file")

    text: Template | None = None
    file: AnyFile | None = None

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        return {"anyOf": [Template.json_schema(), record_schema(cls)]}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Snippet:
        if isinstance(node, nodes.Mapping):
            snippet = reader.record(cls, node, name)
            if (snippet.text is None) == (snippet.file is None):
                reader.fail("RP103", node, f"`{name}` is text or `{{file: …}}`")
            return snippet
        return cls(text=Template.read(node, reader, name))

    def fill(self, flow: HTTPFlow, captures: Captures) -> str:
        """The text for one flow.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not UTF-8.
        """
        if self.file is not None:
            return self.file.at(flow, captures).read_text("utf-8-sig")
        assert self.text is not None
        return self.text.fill(flow, captures)


@dataclass(frozen=True, slots=True)
class HTMLEdits:
    """Edits of a page.

    Attributes:
        append_head: HTML at the end of the head.
        append_body: HTML at the end of the body.
        remove: selectors of the elements that are cut out.
    """

    needs: ClassVar = ("*",)

    append_head: Snippet | None = None
    append_body: Snippet | None = None
    remove: tuple[Selector, ...] = ()

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        return record_schema(cls)

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> HTMLEdits:
        mapping = reader.mapping(node, name, f"`{name}: {{append-head: <script src=…></script>}}`")
        if not mapping.entries:
            reader.fail("RP106", node, f"`{name}` changes nothing", "add append-head, append-body or remove")
        return reader.record(cls, mapping, name)

    def apply(self, response: HTTPResponse, flow: HTTPFlow, captures: Captures) -> None:
        """Edit the body where it is HTML; anything else stays untouched.

        Raises:
            ValueError: it has a coding that cannot be undone.
            OSError: a file cannot be read.
        """
        if not may_be_html(response):
            return
        content = response.get_content(strict=True)
        if not content:
            return
        page = Page(content, response.headers.get("content-type", ""))
        if not html_scan.looks_like_html(page.text):
            return
        edited = self._edited(page, response, flow, captures)
        if edited != page.text:
            response.content = page.encode(edited)
            body_changed(response)

    def _edited(self, page: Page, response: HTTPResponse, flow: HTTPFlow, captures: Captures) -> str:
        text = page.text
        selectors = self.remove
        if selectors:
            found = [
                (element.tag.start, element.end)
                for element in html_scan.elements(text)
                if any(selector.matches(element.tag) for selector in selectors)
            ]
            text = _without(text, found)
        # The body comes first: it lies behind the head, whose place must not move.
        for snippet, place in ((self.append_body, html_scan.body_end), (self.append_head, html_scan.head_end)):
            if snippet is not None:
                new = page.as_text(with_nonces(snippet.fill(flow, captures), nonces(response, page.text)))
                at = place(text)
                text = f"{text[:at]}{new}{text[at:]}"
        return text


def may_be_html(message: HTTPMessage) -> bool:
    """Whether a body may be a page, by its type."""
    return media_type(message) in _TYPES and not is_part(message)


class Page:
    """A page as text in which every character stands for one place in its bytes.

    In the charsets that extend ASCII a tag is found in the bytes themselves, so they are taken as Latin-1 and nothing
    of the page is ever decoded. Only what is put in is encoded, with references for what the charset lacks.

    Attributes:
        text: the page.
    """

    __slots__ = ("_charset", "_direct", "text")

    def __init__(self, content: bytes, content_type: str) -> None:
        self._charset = charset_of(content, content_type)
        self._direct = _WIDE.match(self._charset) is None
        self.text = content.decode("latin-1" if self._direct else self._charset)

    def as_text(self, snippet: str) -> str:
        """A snippet in the form that this page's text has."""
        encoded = snippet.encode(self._charset, "xmlcharrefreplace")
        return encoded.decode("latin-1" if self._direct else self._charset)

    def encode(self, text: str) -> bytes:
        """The bytes of an edited text."""
        return text.encode("latin-1" if self._direct else self._charset)


def charset_of(content: bytes, content_type: str) -> str:
    """The charset of a page: by its byte order mark, its header, its meta element, else by looking at it."""
    for mark, marked in _MARKS:
        if content.startswith(mark):
            return marked
    named = _META_CHARSET.search(content, 0, _META_BYTES)
    for name in (header_parameter(content_type, "charset"), named[1].decode() if named else ""):
        try:
            known = codecs.lookup(name).name
            "".encode(known)
        except (LookupError, ValueError):
            continue
        return known
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"


def nonces(response: HTTPResponse, page: str) -> dict[str, str]:
    """The nonces that the page's policies ask of scripts and styles, by element."""
    policies = response.headers.get_all("content-security-policy")
    for tag in html_scan.tags(page):
        if tag.name == "body":
            break
        if tag.name == "meta" and (html_scan.attribute(tag, "http-equiv") or "").lower() == "content-security-policy":
            policies.append(html_scan.attribute(tag, "content") or "")
    found: dict[str, str] = {}
    for policy in ",".join(policies).split(","):
        directives = {part.split(None, 1)[0].lower(): part for part in policy.split(";") if part.strip()}
        for element, names in _DIRECTIVES.items():
            directive = next((directives[name] for name in names if name in directives), "")
            nonce = _NONCE.search(directive)
            if nonce is not None:
                found.setdefault(element, nonce[1])
    return found


def with_nonces(snippet: str, found: dict[str, str]) -> str:
    """The snippet with the page's nonces on its scripts and styles, unless they have one."""
    if not found:
        return snippet
    out, at = [], 0
    for tag in html_scan.tags(snippet):
        kind = "style" if tag.name == "link" and "stylesheet" in tag.attributes.get("rel", "").lower() else tag.name
        nonce = found.get(kind)
        if nonce is not None and not tag.closing and "nonce" not in tag.attributes:
            place = tag.start + 1 + len(tag.name)
            out += [snippet[at:place], f' nonce="{nonce}"']
            at = place
    return "".join([*out, snippet[at:]])


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    out, at = [], 0
    for start, end in sorted(spans):
        if end > at:
            out.append(text[at : max(start, at)])
            at = end
    return "".join([*out, text[at:]])
