"""HTML cut into tags, and where its elements begin and end: enough to splice a page without touching the rest of it.

It follows the tokenizer of the HTML standard (section 13.2.5) as far as places go: comments, scripts, styles and quoted
attributes never look like tags. It builds no tree; implied ends are known for the elements that have them in practice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
})  # fmt: skip
"""Elements without an end tag."""

_RAW = frozenset({
    "script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "noscript",
})  # fmt: skip
"""Elements whose contents are text up to their own end tag, in a browser that runs scripts."""

_HEAD = frozenset({
    "html", "head", "base", "link", "meta", "title", "script", "style", "noscript", "template", "basefont", "bgsound",
    "noframes",
})  # fmt: skip
"""Elements that do not end the head."""

_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "details", "dialog", "div", "dl", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "main", "menu", "nav", "ol", "p",
    "pre", "section", "table", "ul",
})  # fmt: skip
_CLOSES: dict[str, frozenset[str]] = {
    "li": frozenset({"li"}), "dt": frozenset({"dt", "dd"}), "dd": frozenset({"dt", "dd"}),
    "option": frozenset({"option"}), "optgroup": frozenset({"option", "optgroup"}),
    "td": frozenset({"td", "th"}), "th": frozenset({"td", "th"}), "tr": frozenset({"td", "th", "tr"}),
    "tbody": frozenset({"td", "th", "tr", "thead", "tbody"}), "tfoot": frozenset({"td", "th", "tr", "thead", "tbody"}),
    "body": frozenset({"head"}),
    **{block: frozenset({"p"}) for block in _BLOCKS},
}  # fmt: skip
"""The open elements that a start tag closes, as long as they are the innermost ones."""

_NAME = re.compile(r"[^\t\n\f\r />\x00]*")
_ATTRIBUTE = re.compile(
    r"""[\s/]*(?P<name>[^\s/>=][^\s/>=]*|=[^\s/>=]*)(?:\s*=\s*(?:"(?P<d>[^"]*)"|'(?P<s>[^']*)'|(?P<u>[^\s>"'][^\s>]*)|(?=>)))?"""
)
_OPEN_QUOTE = re.compile(r"""\s*=\s*["']""").match
_BETWEEN = re.compile(r"[\s/]*")
_LOOKS = re.compile(r"(?:\xef\xbb\xbf|\ufeff)?\s*<[A-Za-z!?]")


@dataclass(slots=True)
class Tag:
    """A start or end tag: where it stands, and its name in lower case."""

    name: str
    start: int
    end: int
    closing: bool = False
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Element:
    """An element: its start tag and the offset behind it."""

    tag: Tag
    end: int


def looks_like_html(text: str) -> bool:
    """Whether a text begins as HTML does, which JSON and plain text with the wrong label do not."""
    return _LOOKS.match(text) is not None


def tags(text: str) -> Iterator[Tag]:
    """The tags of a page in order, those inside comments, scripts and other raw text left out."""
    at = 0
    while (at := text.find("<", at)) >= 0:
        follows = text[at + 1 : at + 2]
        if follows.isascii() and follows.isalpha():
            tag = _start_tag(text, at)
            if tag is None:
                return
            yield tag
            at = tag.end
            if tag.name in _RAW:
                at = _raw_end(text, at, tag.name)
            elif tag.name == "plaintext":
                return
        elif follows == "/" and text[at + 2 : at + 3].isascii() and text[at + 2 : at + 3].isalpha():
            tag = _start_tag(text, at, closing=True)
            if tag is None:
                return
            yield tag
            at = tag.end
        elif follows in ("!", "?", "/"):
            at = _markup_end(text, at)
        else:
            at += 1


def elements(text: str) -> Iterator[Element]:
    """The elements of a page, each when it ends."""
    stack: list[Tag] = []
    # How many of each name are open: hostile pages are deep, so nothing may look through the stack.
    is_open: Counter[str] = Counter()

    def pop() -> Tag:
        is_open[stack[-1].name] -= 1
        return stack.pop()

    for tag in tags(text):
        if tag.closing:
            if is_open[tag.name]:
                while stack[-1].name != tag.name:
                    yield Element(pop(), tag.start)
                yield Element(pop(), tag.end)
            continue
        closes = _CLOSES.get(tag.name, frozenset())
        while stack and stack[-1].name in closes:
            yield Element(pop(), tag.start)
        empty = text[tag.end - 2 : tag.end] == "/>" and (is_open["svg"] or is_open["math"])
        if tag.name in VOID or empty:
            yield Element(tag, tag.end)
        else:
            stack.append(tag)
            is_open[tag.name] += 1
    for tag in reversed(stack):
        yield Element(tag, len(text))


def head_end(text: str) -> int:
    """Where the head ends: before its end tag, or before the first thing that cannot be in a head."""
    at, inside = 0, 0
    for tag in tags(text):
        if not inside and _has_text(text, at, tag.start):
            break
        if tag.name == "template":
            inside += -1 if tag.closing and inside else 0 if tag.closing else 1
        elif not inside and ((tag.closing and tag.name in ("head", "body", "html")) or tag.name not in _HEAD):
            return tag.start
        at = _raw_end(text, tag.end, tag.name) if tag.name in _RAW and not tag.closing else tag.end
    return _first_text(text, at)


def body_end(text: str) -> int:
    """Where the body ends: before its last end tag, else before that of the page, else behind everything."""
    ends = {tag.name: tag.start for tag in tags(text) if tag.closing and tag.name in ("body", "html")}
    return ends.get("body", ends.get("html", len(text)))


def _start_tag(text: str, at: int, closing: bool = False) -> Tag | None:
    """The tag that begins at `at`; None where the page ends inside it."""
    found = _NAME.match(text, at + (2 if closing else 1))
    assert found is not None
    tag = Tag(found[0].lower(), at, 0, closing)
    at = found.end()
    while True:
        at = _end_of(_BETWEEN, text, at)
        if at >= len(text):
            return None
        if text[at] == ">":
            tag.end = at + 1
            return tag
        attribute = _ATTRIBUTE.match(text, at)
        if attribute is None or attribute.end() == at:
            at += 1
            continue
        value = next((group for group in (attribute["d"], attribute["s"], attribute["u"]) if group is not None), "")
        if _OPEN_QUOTE(text, attribute.end()):
            # A quote that is never closed takes the rest of the page.
            return None
        tag.attributes.setdefault(attribute["name"].lower(), value)
        at = attribute.end()


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found is not None else at


def _raw_end(text: str, at: int, name: str) -> int:
    """Where the end tag of an element with raw text begins."""
    pattern = re.compile(rf"</{re.escape(name)}(?=[\s/>])", re.IGNORECASE)
    found = pattern.search(text, at)
    return found.start() if found is not None else len(text)


def _markup_end(text: str, at: int) -> int:
    """The offset behind a comment, a doctype, or what is read as a comment."""
    if text.startswith("<!--", at):
        if text.startswith((">", "->"), at + 4):
            return text.index(">", at) + 1
        found = re.compile(r"--!?>").search(text, at + 4)
        return found.end() if found is not None else len(text)
    close = "]]>" if text.startswith("<![CDATA[", at) else ">"
    end = text.find(close, at)
    return end + len(close) if end >= 0 else len(text)


def _has_text(text: str, start: int, end: int) -> bool:
    return _first_text(text, start, end) < end


def _first_text(text: str, start: int, end: int | None = None) -> int:
    """Where the first character stands that is neither blank nor inside a comment or doctype."""
    limit = len(text) if end is None else end
    at = start
    while at < limit:
        if text[at].isspace() or text[at] == "\ufeff":
            at += 1
        elif text.startswith("\xef\xbb\xbf", at):
            at += 3
        elif text[at] == "<" and text[at + 1 : at + 2] in ("!", "?", "/"):
            at = _markup_end(text, at)
        else:
            return at
    return limit


def attribute(tag: Tag, name: str) -> str | None:
    """The value of an attribute with its character references resolved; None where it is missing."""
    value = tag.attributes.get(name)
    if value is None:
        return None
    # Its table of two thousand entities is for those who read HTML.
    from html import unescape

    return unescape(value)
