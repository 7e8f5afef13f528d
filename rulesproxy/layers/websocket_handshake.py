"""The opening handshake of a WebSocket (RFC 6455 section 4), as far as it is not HTTP: what extensions each side uses.

The client's key and the server's answer to it pass through: the two check each other. Extensions are agreed on with
each side on its own, by what addons leave of the offer and of the answer.
"""

from __future__ import annotations

from typing import NamedTuple

from rulesproxy.engine.chain import Chain
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.layers.outcome import FlowFailed
from rulesproxy.proto.http1 import ResponseHead
from rulesproxy.proto.websocket import Deflate, agreed, only_deflate

_EXTENSIONS = "sec-websocket-extensions"


class Terms(NamedTuple):
    """What the two sides have agreed on with the proxy.

    Attributes:
        client: how messages are compressed between the client and us; None: not at all.
        server: the same between us and the server.
        unknown: whether there is an extension that is not known here, so that messages cannot be read.
    """

    client: Deflate | None = None
    server: Deflate | None = None
    unknown: bool = False


def limit_offer(flow: HTTPFlow, chain: Chain) -> None:
    """Offer the server only what can be read here, where an addon wants the messages."""
    headers = flow.request.headers
    offer = headers.get(_EXTENSIONS)
    if offer is None or not chain.wants_messages(flow):
        return
    kept = only_deflate(offer)
    if not kept:
        del headers[_EXTENSIONS]
    elif kept.count(",") != offer.count(","):
        headers[_EXTENSIONS] = kept


def server_terms(flow: HTTPFlow, head: ResponseHead, chain: Chain) -> Terms | None:
    """What the server has agreed on; None where this is not the WebSocket of RFC 6455.

    Raises:
        FlowFailed: addons want the messages, and the server has chosen something that makes them unreadable.
    """
    if head.upgrade != "websocket" or flow.request.headers.get("sec-websocket-version") != "13":
        return None
    try:
        server = agreed(_list(flow.request.headers), _list(Headers.of(head.fields)))
    except ValueError as exc:
        if chain.wants_messages(flow):
            raise FlowFailed("protocol", str(exc)) from None
        return Terms(unknown=True)
    return Terms(server, server)


def client_terms(flow: HTTPFlow, terms: Terms) -> Terms:
    """What the client is answered: what stands in the response now, and nothing where that does not fit its offer."""
    assert flow.response is not None
    headers = flow.response.headers
    if terms.unknown:
        return terms
    try:
        client = agreed(_list(flow.orig.headers), _list(headers))
    except ValueError:
        client = None
        del headers[_EXTENSIONS]
    return Terms(client, terms.server)


def _list(headers: Headers) -> str:
    return headers.get(_EXTENSIONS) or ""
