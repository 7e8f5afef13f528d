"""Fields of the response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rulesproxy.filters.fields import message
from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.phases import ALL, FROM_REQUEST, FROM_RESPONSE
from rulesproxy.flow.headers import Headers

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

_NO_HEADERS = Headers()


def status(view: FlowView) -> int | None:
    """The status code."""
    response = view.flow.response
    return None if response is None else response.status_code


def header(view: FlowView) -> message.HeaderValues:
    """The values of a response header."""
    response = view.flow.response
    return message.HeaderValues((_NO_HEADERS if response is None else response.headers).raw)


def content_type(view: FlowView) -> str | None:
    """The media type of the response body, lower-case, without parameters."""
    response = view.flow.response
    return None if response is None else message.content_type(response.headers)


def header_block(view: FlowView) -> str | None:
    """The response's header section."""
    response = view.flow.response
    return None if response is None else message.block(response.headers)


def present(view: FlowView) -> bool:
    """Whether there is a response."""
    return view.flow.response is not None


FIELDS = (
    Field("response.status", Kind.INT, FROM_RESPONSE, status, "response", bounds=(0, 999), optional=True),
    Field("response.header", Kind.TEXT, FROM_RESPONSE, header, "response", keyed=True, names=True),
    Field(
        "response.content_type",
        Kind.TEXT,
        FROM_RESPONSE,
        content_type,
        "response",
        fold=True,
        normal=str.lower,
        optional=True,
    ),
    Field("~hs", Kind.TEXT, FROM_RESPONSE, header_block, "response", optional=True),
    Field("~h", Kind.TEXT, FROM_REQUEST, header_block, "response", flexible=True, optional=True),
    Field("~s", Kind.BOOL, ALL, present, "response"),
)
