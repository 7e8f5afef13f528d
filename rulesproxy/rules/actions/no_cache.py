"""The action `no-cache`: every answer is fresh, and none is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import REQUEST, RESPONSE, Action, Captures, Example, Handler

CONDITIONS = ("if-none-match", "if-modified-since", "if-range")
"""What makes a server answer 304, or a part. The conditions of writes stay: they prevent lost updates."""
VALIDATORS = ("etag", "last-modified", "expires", "age")


@dataclass(frozen=True, slots=True)
class NoCache(Action):
    """Keep caches out of the way: no conditions go to the server, and no validators and lifetimes to the client."""

    key: ClassVar = "no-cache"
    events: ClassVar = REQUEST | RESPONSE
    bare: ClassVar = True
    edits_request: ClassVar = True

    examples: ClassVar = (
        Example(
            "match: host == 'a.test'\nno-cache:",
            'GET http://a.test/\nif-none-match: "1"\nif-modified-since: x\ncache-control: max-age=0\nrange: bytes=0-1',
            "GET http://a.test/\ncache-control: no-cache\npragma: no-cache\nrange: bytes=0-1\n"
            "!if-none-match\n!if-modified-since",
        ),
        Example(
            "match: host == 'a.test'\nno-cache:", "GET http://a.test/",
            "200\ncache-control: no-store\nx: y\n!etag\n!last-modified\n!expires\n!age",
            response='200\netag: "1"\nlast-modified: x\nexpires: y\nage: 5\ncache-control: public, max-age=9\nx: y',
        ),
    )  # fmt: skip

    def parts(self) -> tuple[Action, ...]:
        return _Requests(), _Responses()


@dataclass(frozen=True, slots=True)
class _Requests(Action):
    """On the way to the server."""

    key: ClassVar = NoCache.key
    events: ClassVar = REQUEST
    edits_request: ClassVar = True

    def bind(self) -> Handler:
        def edit(flow: HTTPFlow, captures: Captures) -> None:
            headers = flow.request.headers
            for name in CONDITIONS:
                headers.pop(name, None)
            headers["cache-control"] = "no-cache"
            headers["pragma"] = "no-cache"

        return edit


@dataclass(frozen=True, slots=True)
class _Responses(Action):
    """On the way to the client."""

    key: ClassVar = NoCache.key
    events: ClassVar = RESPONSE

    def bind(self) -> Handler:
        def edit(flow: HTTPFlow, captures: Captures) -> None:
            response = flow.response
            if response is None:
                return
            for name in VALIDATORS:
                response.headers.pop(name, None)
            response.headers["cache-control"] = "no-store"

        return edit
