"""`FlowView`: the values of one HTTP flow as filters read them, each made once and kept until it is forgotten."""

from __future__ import annotations

from rulesproxy.filters.fields import FIELDS, Side
from rulesproxy.flow.http import HTTPFlow, HTTPRequest

_READERS = {field.slot: field.read for field in FIELDS.values()}


def _slots(side: Side) -> tuple[str, ...]:
    return tuple(field.slot for field in FIELDS.values() if field.side == side)


_REQUEST = _slots("request")
_RESPONSE = _slots("response")


class FlowView:
    """The fields of `flow`. After an edit of a message its side must be forgotten; nothing notices edits by itself.

    Every field is an attribute, named by its slot. An empty slot is filled by the field's reader on the first read.

    Attributes:
        flow: what is read.
        request: where request fields come from.
        hosts: the request's host, and the Host header's where that is another one, both in normal form.
    """

    __slots__ = ("_fixed", "flow", "orig", "request", *_READERS)

    flow: HTTPFlow
    request: HTTPRequest
    orig: FlowView
    host: str
    path: str

    def __init__(self, flow: HTTPFlow) -> None:
        self.flow = flow
        self.request = flow.request
        self._fixed = False

    def __getattr__(self, name: str) -> object:
        # Only an unset slot comes here: what is kept costs no call.
        read = _READERS.get(name)
        if read is not None:
            value = read(self)
        elif name == "orig":
            value = self.at(self.flow.orig)
        else:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        setattr(self, name, value)
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that the request names: one, or two where the Host header differs."""
        return self.tilde_d  # type: ignore[return-value]

    def at(self, request: HTTPRequest) -> FlowView:
        """A view of the same flow whose request fields come from another request head, also after an edit."""
        view = FlowView(self.flow)
        view.request = request
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
