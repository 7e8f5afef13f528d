"""`FlowView`: the values of one HTTP flow as filters read them, each made once and kept until it is forgotten."""

from __future__ import annotations

from rulesproxy.flow.http import HTTPFlow, HTTPRequest


class FlowView:
    """The fields of `flow`. After an edit of a message its side must be forgotten; nothing notices edits by itself."""

    __slots__ = ("flow", "request")

    def __init__(self, flow: HTTPFlow) -> None:
        self.flow = flow
        self.request = flow.request

    def at(self, request: HTTPRequest) -> FlowView:
        """A view of the same flow whose request fields come from another request head."""
        raise NotImplementedError

    def forget_request(self) -> None:
        """Read the request again: it, or `flow.request`, was changed."""
        raise NotImplementedError

    def forget_response(self) -> None:
        """Read the response again: it, or `flow.response`, was changed."""
        raise NotImplementedError
