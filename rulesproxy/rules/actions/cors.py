"""The action `cors`: lets pages of any origin read the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rulesproxy.flow.headers import to_str
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.rules.action import REQUEST, RESPONSE, Action, Captures, Example, Handler

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MAX_AGE = "600"
_SAFE = frozenset({
    b"cache-control", b"content-language", b"content-length", b"content-type", b"expires", b"last-modified", b"pragma",
})  # fmt: skip
"""Response headers that scripts may read without being told (Fetch, CORS-safelisted response-header name)."""
_NEVER = frozenset({
    b"set-cookie", b"set-cookie2", b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"trailer", b"te",
    b"proxy-connection",
})  # fmt: skip
"""Response headers that scripts can never read, or that end at the proxy."""


@dataclass(frozen=True, slots=True)
class Cors(Action):
    """Allow pages of every origin: answer preflights, echo the Origin, expose the headers; without Origin do nothing.

    Attributes:
        mode: `unlock`.
    """

    key: ClassVar = "cors"
    events: ClassVar = REQUEST | RESPONSE
    short: ClassVar = "mode"
    may_answer: ClassVar = True

    mode: Literal["unlock"] = "unlock"

    examples: ClassVar = (
        Example(
            "match: host == 'api.test'\ncors: unlock",
            "OPTIONS http://api.test/d\norigin: http://app.test\naccess-control-request-method: PUT\n"
            "access-control-request-headers: x-a, content-type",
            "204\naccess-control-allow-origin: http://app.test\naccess-control-allow-credentials: true\n"
            "access-control-allow-headers: x-a, content-type\naccess-control-max-age: 600",
        ),
        Example(
            "match: host == 'api.test'\ncors: unlock", "GET http://api.test/d\norigin: http://app.test",
            "500\naccess-control-allow-origin: http://app.test\naccess-control-expose-headers: x-id\nvary: Origin",
            response="500\naccess-control-allow-origin: https://other\nx-id: 1",
        ),
        Example(
            "match: host == 'api.test'\ncors: unlock", "GET http://api.test/d",
            "200\naccess-control-allow-origin: https://other\n!vary",
            response="200\naccess-control-allow-origin: https://other",
        ),
    )  # fmt: skip

    def parts(self) -> tuple[Action, ...]:
        return _Preflights(), _Answers()


@dataclass(frozen=True, slots=True)
class _Preflights(Action):
    """The request pass: a preflight never reaches the server."""

    key: ClassVar = Cors.key
    events: ClassVar = REQUEST
    may_answer: ClassVar = True

    def bind(self) -> Handler:
        def answer(flow: HTTPFlow, captures: Captures) -> None:
            if is_preflight(flow):
                flow.response = preflight_answer(flow)

        return answer


@dataclass(frozen=True, slots=True)
class _Answers(Action):
    """The response pass: also an answer that another rule has made is unlocked."""

    key: ClassVar = Cors.key
    events: ClassVar = RESPONSE

    def bind(self) -> Handler:
        def unlock(flow: HTTPFlow, captures: Captures) -> None:
            # What the client has sent counts: another rule may have made the server see another Origin.
            origin = flow.orig.headers.first(b"origin")
            response = flow.response
            if response is None or origin is None:
                return
            if not is_preflight(flow):
                _unlock(response, to_str(origin))
            elif response.headers.get("access-control-allow-methods") != ", ".join(_methods(flow)):
                # A rule above has answered the preflight: what it says would not let the request through.
                flow.response = preflight_answer(flow)

        return unlock


def is_preflight(flow: HTTPFlow) -> bool:
    """Whether the request asks for permission (Fetch, CORS-preflight request)."""
    headers = flow.orig.headers
    return (
        flow.request.method == "OPTIONS"
        and headers.first(b"origin") is not None
        and headers.first(b"access-control-request-method") is not None
    )


def preflight_answer(flow: HTTPFlow) -> HTTPResponse:
    """The answer that permits what a preflight asks for."""
    headers = flow.orig.headers
    fields = [
        ("access-control-allow-origin", headers["origin"]),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", ", ".join(_methods(flow))),
    ]
    wanted = headers.get("access-control-request-headers")
    if wanted:
        fields.append(("access-control-allow-headers", wanted))
    if headers.get("access-control-request-private-network") == "true":
        fields.append(("access-control-allow-private-network", "true"))
    fields += [
        ("access-control-max-age", _MAX_AGE),
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    return HTTPResponse.make(204, b"", fields)


def _methods(flow: HTTPFlow) -> tuple[str, ...]:
    asked = flow.orig.headers.get("access-control-request-method", "").strip()
    return _METHODS if asked in _METHODS or not asked else (*_METHODS, asked)


def _unlock(response: HTTPResponse, origin: str) -> None:
    headers = response.headers
    exposed: dict[bytes, str] = {}
    for key, name, _ in headers.raw:
        if key not in _SAFE and key not in _NEVER and key != b"vary" and not key.startswith(b"access-control-"):
            exposed.setdefault(key, to_str(name))
    headers["access-control-allow-origin"] = origin
    headers["access-control-allow-credentials"] = "true"
    if exposed:
        headers["access-control-expose-headers"] = ", ".join(exposed.values())
    else:
        headers.pop("access-control-expose-headers", None)
    varies = [part.strip().lower() for value in headers.get_all("vary") for part in value.split(",")]
    if "origin" not in varies and "*" not in varies:
        headers.add("vary", "Origin")
