"""`FlowView`: the values of one HTTP flow as filters read them, each made once and kept until it is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rulesproxy.filters.fields import FIELDS, Side
from rulesproxy.filters.normal import normal_address
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPRequest
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.websocket import WebSocketFlow

if TYPE_CHECKING:
    from rulesproxy.filters.fields.document import JSONValues
    from rulesproxy.filters.fields.graphql import Operation
    from rulesproxy.filters.fields.message import HeaderValues
    from rulesproxy.filters.fields.stream import Message

_READERS = {field.slot: field.read for field in FIELDS.values()}


def _slots(side: Side) -> tuple[str, ...]:
    return tuple(field.slot for field in FIELDS.values() if field.side == side)


_REQUEST = _slots("request")
_RESPONSE = _slots("response")
_NEVER_KEPT = frozenset(_slots("flow"))


class FlowView:
    """The fields of `flow`. After an edit of a message its side must be forgotten; nothing notices edits by itself.

    Every field is an attribute, named by its slot. An empty slot is filled by the field's reader on the first read.

    Attributes:
        flow: what is read.
        request: where request fields come from.
        message: the one message that is read, where this is a view of a message of a stream.
        index: the number of that message.
        hosts: the request's host, and the Host header's where that is another one, both in normal form.
    """

    __slots__ = ("_fixed", "flow", "index", "message", "orig", "request", *_READERS)

    flow: HTTPFlow
    request: HTTPRequest
    message: Message | None
    index: int
    orig: FlowView
    host: str
    path: str
    request_body: str | None
    request_header: HeaderValues
    request_json: JSONValues
    response_body: str | None
    tilde_content_request: bytes | None
    tilde_content_response: bytes | None
    tilde_graphql: tuple[Operation, ...]

    def __init__(self, flow: HTTPFlow) -> None:
        self.flow = flow
        self.request = flow.request
        self._fixed = False

    @classmethod
    def of_message(cls, flow: HTTPFlow | WebSocketFlow | TCPFlow, message: Message | None, index: int) -> FlowView:
        """A view of one message of a stream; its other fields are those of the exchange that began it, if any."""
        if isinstance(flow, TCPFlow):
            view = cls.__new__(cls)
            # A filter is only asked where all its fields are readable, and a conversation has none of a request.
            view.flow = cast(HTTPFlow, flow)
            view._fixed = True
        else:
            view = cls(flow.handshake_flow if isinstance(flow, WebSocketFlow) else flow)
        view.message = message
        view.index = index
        return view

    def about(self, message: Message, index: int) -> FlowView:
        """A view of one message in the conversation that this flow has begun."""
        view = FlowView.__new__(FlowView)
        view.flow = self.flow
        view.request = self.request
        view.message = message
        view.index = index
        view._fixed = True
        return view

    def __getattr__(self, name: str) -> object:
        # Only an unset slot comes here: what is kept costs no call.
        read = _READERS.get(name)
        if read is not None:
            value = read(self)
        elif name == "orig":
            if isinstance(self.flow, TCPFlow):
                # Nothing of it can be edited.
                return self
            value = self.at(self.flow.orig)
        elif name == "request":
            value = _tunnel_request(cast(TCPFlow, self.flow))
        elif name == "message":
            value = None
        else:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if name in _NEVER_KEPT:
            return value
        setattr(self, name, value)
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that the request names: one, or two where the Host header differs."""
        return self.tilde_d  # type: ignore[return-value]

    def again(self) -> FlowView:
        """A view of the same that has read nothing yet."""
        view = FlowView.__new__(FlowView)
        for name in ("flow", "request", "message", "index"):
            if hasattr(self, name):
                setattr(view, name, getattr(self, name))
        view._fixed = self._fixed
        return view

    def at(self, request: HTTPRequest) -> FlowView:
        """A view of the same flow whose request fields come from another request head, also after an edit."""
        view = FlowView(self.flow)
        view.request = request
        view.message = self.message
        view.index = 0 if self.message is None else self.index
        view._fixed = True
        return view

    def forget_request(self) -> None:
        """Read the request again: it, or `flow.request`, was changed."""
        if not self._fixed:
            self.request = self.flow.request
        self._forget(_REQUEST)

    def forget_response(self) -> None:
        """Read the response again: it, or `flow.response`, was changed."""
        self._forget(_RESPONSE)

    def _forget(self, slots: tuple[str, ...]) -> None:
        for name in slots:
            try:
                delattr(self, name)
            except AttributeError:
                pass


def _tunnel_request(flow: TCPFlow) -> HTTPRequest:
    """What filters for hosts read of raw TCP: the request that would have asked for the connection.

    Where a client has asked for an address, the name that it asks for in TLS says more.
    """
    (host, port), sni = flow.server_conn.address, flow.client_conn.sni
    if sni and normal_address(host) is not None:
        host = sni
    return HTTPRequest("CONNECT", "https", host, port, "", "HTTP/1.1", Headers())
