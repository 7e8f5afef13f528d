"""How an exchange can end other than by an answer: what is raised inside it, and where it is turned into events."""

from __future__ import annotations

from rulesproxy.flow.connection import Address
from rulesproxy.flow.error import Kind
from rulesproxy.flow.headers import Field, to_str
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse
from rulesproxy.flow.plan import Break
from rulesproxy.flow.url import split_authority


class FlowFailed(Exception):
    """The flow ends with `error`. `status` is what the client gets if no answer has begun."""

    def __init__(self, kind: Kind, why: str, status: int = 502) -> None:
        super().__init__(why)
        self.kind: Kind = kind
        self.status = status


class FlowEnded(Exception):
    """The flow was killed, or its plan ends the connection. `how` is the plan's word, or `kill`."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class BrokenOff(Exception):
    """A body that streams breaks off on purpose."""

    def __init__(self, how: Break) -> None:
        super().__init__(how)
        self.how: Break = how


class Unanswered(Exception):
    """A server's connection is gone, and nothing of an answer has come."""


class Refused(Unanswered):
    """The server has said that it did nothing with the request, which can be sent again (RFC 9113 section 8.7)."""


class NeedsHTTP1(Exception):
    """The server does not take this request over HTTP/2 (RFC 9113 section 7, HTTP_1_1_REQUIRED)."""


def taken() -> FlowFailed:
    """A handler has left a flow without the response that it had."""
    return FlowFailed("handler", "an addon broke this flow: it took the response away")


def spoiled(flow: HTTPFlow) -> str | None:
    """What a handler has put on this flow that no exchange can go on with; None where there is nothing like that.

    It is asked when something has failed, so that flows pay nothing for it.
    """
    request, response = flow.request, flow.response
    if not isinstance(request, HTTPRequest):
        return f"the request of a flow is an HTTPRequest, not {type(request).__name__}"
    if response is None:
        return None
    if not isinstance(response, HTTPResponse):
        return f"the response of a flow is an HTTPResponse, not {type(response).__name__}"
    if not isinstance(response.status_code, int):
        return f"a status is a number, not {type(response.status_code).__name__}"
    return None


def where(address: Address) -> str:
    """A server as messages name it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_host(fields: list[Field], received: str) -> bytes:
    """The one Host of a request that a handler has edited (RFC 9112 section 3.2); `received` has been found good.

    Raises:
        ValueError: it is missing, there are several, or it is no host.
    """
    hosts = [field[2] for field in fields if field[0] == b"host"]
    if len(hosts) != 1:
        raise ValueError(f"it has {len(hosts)} Host fields instead of one")
    host = to_str(hosts[0])
    if host != received:
        split_authority(host, 0)
    return hosts[0]
