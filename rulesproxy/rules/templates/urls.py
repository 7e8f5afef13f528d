"""Templates of URLs and paths: no value can leave the part of the URL that it enters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.url import split_url
from rulesproxy.rules.template import Captures, Place, Template, TemplateError

if TYPE_CHECKING:
    from rulesproxy.rules.files.nodes import Node
    from rulesproxy.rules.schema import Reader

WHOLE_PATHS = frozenset({"path", "path.raw", "orig.path"})
"""Values that begin with a slash, so that they can stand right behind a host."""
_PATH_SAFE = "/:@!$&'()*+,;=-._~%"


def for_path(value: str, from_path: bool) -> str:
    """A value that enters a path or a query: a piece of a path as it is, anything else percent-encoded.

    Raises:
        TemplateError: its dot segments would leave the place where it stands.
    """
    if leaves_root(value):
        raise TemplateError(f"{value[:80]!r} would leave its folder")
    if not from_path:
        return quote(value, safe="", errors="surrogateescape")
    # Only what no URL may hold is encoded, such as a blank, a control character or a backslash.
    return quote(value, safe=_PATH_SAFE, errors="surrogateescape")


def for_host(value: str, from_path: bool) -> str:
    """A value that enters the host of a URL.

    Raises:
        TemplateError: it holds more than letters, digits, dots and hyphens.
    """
    if re.fullmatch(r"[A-Za-z0-9.\-]+", value) is None:
        raise TemplateError(f"{value[:80]!r} cannot be part of a host name")
    return value


def leaves_root(value: str) -> bool:
    """Whether a piece of a path goes up more than it went down, in any spelling of its dots and slashes."""
    if "." not in value and "%" not in value:
        return False
    depth = 0
    for segment in re.split(r"[/\\]", unquote(unquote(value))):
        bare = segment.partition(";")[0]
        if bare == "..":
            depth -= 1
            if depth < 0:
                return True
        elif bare not in ("", "."):
            depth += 1
    return False


@dataclass(frozen=True, slots=True)
class URLTemplate:
    """The template of a URL or of the path of one: values are escaped by the part of the URL that they enter.

    Attributes:
        template: the text.
        hosts: how many places stand before the path begins.
        local: whether the URL has no host of its own.
        rooted: whether a whole path, as in `https://a.test${path}`, stands right behind the host.
    """

    template: Template
    hosts: int
    local: bool
    rooted: bool = False

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return {"type": "string"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> URLTemplate:
        template = Template.read(node, reader, name)
        hosts, seen = 0, ""
        literal = "".join(part for part in template.parts if isinstance(part, str))
        local = "://" not in literal and not literal.startswith("//")
        for part in template.parts:
            if isinstance(part, str):
                seen += part
            elif not local and "/" not in seen.partition("//")[2]:
                if part.text in WHOLE_PATHS and (hosts or seen.partition("//")[2]):
                    return cls(template, hosts, local, rooted=True)
                hosts += 1
        return cls(template, hosts, local)

    @property
    def has_query(self) -> bool:
        """Whether the URL brings a query of its own."""
        return any("?" in part for part in self.template.parts if isinstance(part, str))

    def check(self, where: Node, reader: Reader, relative: bool = False) -> None:
        """Record that it can be no URL, whatever its values are. A `relative` one may begin with a path or a query."""
        text = self._sample()
        if relative and text.startswith(("/", "?")) and not text.startswith("//"):
            return
        url = f"https:{text}" if relative and text.startswith("//") else text
        if "://" not in url:
            if not isinstance(self.template.parts[0], Place):
                help = "start it with https://, http:// or a slash" if relative else "start it with https:// or http://"
                reader.note("RP615", where, f"`{self.template.text}` is not a URL", help)
            return
        try:
            split_url(url)
        except ValueError as error:
            reader.note("RP615", where, f"this is not a URL: {error}", "write it like https://host:port")

    def _sample(self) -> str:
        """The URL with values that are possible wherever they stand: a digit in hosts, ports and paths."""
        found = ""
        for number, part in enumerate(self.template.parts):
            if isinstance(part, str):
                found += part
            elif not number:
                # What comes first may be a scheme, or a whole URL.
                found += "http" if self.template.parts[1:2] and str(self.template.parts[1]).startswith("://") else ""
            else:
                found += "/" if self.rooted and part.text in WHOLE_PATHS else "1"
        return found

    def fill(self, flow: HTTPFlow, captures: Captures) -> str:
        """The URL for one flow.

        Raises:
            TemplateError: a value would change another part of the URL than its own.
        """
        if self.template.constant is not None:
            return self.template.constant
        places = 0

        def escape(value: str, from_path: bool) -> str:
            nonlocal places
            places += 1
            if self.rooted and places == self.hosts + 1 and not value.startswith("/"):
                raise TemplateError(f"{value[:80]!r} cannot follow a host name")
            return (for_host if places <= self.hosts else for_path)(value, from_path)

        url = self.template.fill(flow, captures, escape)
        if self.local and url[:2] in ("//", "/\\"):
            # Two slashes at the start would be another host: the classic open redirect.
            url = "/" + url.lstrip("/\\")
        return url
