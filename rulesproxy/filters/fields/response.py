"""Fields of the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from rulesproxy.filters.fields import message, stream
from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.fields.document import JSONValues
from rulesproxy.filters.phases import ALL, FROM_BODY, FROM_REQUEST, FROM_RESPONSE, Phase
from rulesproxy.flow.error import Kind as FlowErrorKind
from rulesproxy.flow.forms import Pair
from rulesproxy.flow.headers import Headers

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

_NO_HEADERS = Headers()
_WITH_ERROR = Phase.R | Phase.S | Phase.E
_EITHER = Phase.B | Phase.S | Phase.W | Phase.X | Phase.E | Phase.V
_KINDS = get_args(FlowErrorKind)


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


def cookie(view: FlowView) -> message.PairValues:
    """The value of a cookie that the response sets."""
    response = view.flow.response
    pairs: list[Pair] = [] if response is None else response.cookies
    return message.PairValues(pairs)


def size(view: FlowView) -> int | None:
    """The size of the response body in bytes as its Content-Length says; missing where it comes in chunks."""
    response = view.flow.response
    return None if response is None else message.size(response)


def ttfb(view: FlowView) -> float | None:
    """The time from the end of the request to the head of the response; missing where no server was asked."""
    request, response = view.flow.request, view.flow.response
    asked = request.timestamp_end or request.timestamp_start
    if response is None or not response.timestamp_start or not asked:
        return None
    return max(0.0, response.timestamp_start - asked)


def content(view: FlowView) -> bytes | None:
    """The response body without its content codings, as bytes."""
    return message.content(view.flow.response)


def body(view: FlowView) -> str | None:
    """The bytes of the response body, without its content codings."""
    data = view.tilde_content_response
    return None if data is None else data.decode("latin-1")


def text(view: FlowView) -> str | None:
    """The response body as text, decoded by the charset of its Content-Type."""
    return message.text(view.flow.response, view.tilde_content_response)


def json(view: FlowView) -> JSONValues:
    """The values in a JSON response body: members by name, items by position, `[*]` for each."""
    return JSONValues(view.tilde_content_response)


def kept(view: FlowView) -> bool:
    """Whether the response body is there: not over the limit, not streamed, no event stream; or none is expected."""
    return view.message is not None or view.flow.response is None or view.tilde_content_response is not None


def sent(view: FlowView) -> str | None:
    """The bytes of the response body, or of the message where the server sends it."""
    return stream.sent(view, False) if view.message is not None else view.response_body


def content_types(view: FlowView) -> tuple[str, ...]:
    """The values of the response's Content-Type headers."""
    response = view.flow.response
    return () if response is None else message.content_types(response.headers)


def error_kind(view: FlowView) -> str | None:
    """What went wrong, in one word; missing unless the flow failed."""
    error = view.flow.error
    return None if error is None else error.kind


def error_message(view: FlowView) -> str | None:
    """What went wrong, as a sentence; missing unless the flow failed."""
    error = view.flow.error
    return None if error is None else error.msg


def failed(view: FlowView) -> bool:
    """Whether the flow failed."""
    return view.flow.error is not None


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
    Field("response.cookie", Kind.TEXT, FROM_RESPONSE, cookie, "response", keyed=True),
    Field("response.size", Kind.SIZE, FROM_RESPONSE, size, "response", optional=True),
    Field("response.ttfb", Kind.DURATION, FROM_RESPONSE, ttfb, "response", optional=True),
    Field("response.body", Kind.BYTES, Phase.S, body, "response", body=Phase.S, optional=True),
    Field("response.text", Kind.TEXT, Phase.S, text, "response", body=Phase.S, optional=True),
    Field("response.json", Kind.JSON, Phase.S, json, "response", body=Phase.S, keyed=True),
    Field(
        "error.kind",
        Kind.ENUM,
        _WITH_ERROR,
        error_kind,
        "response",
        fold=True,
        normal=str.lower,
        words=_KINDS,
        holds=Phase.E,
        optional=True,
    ),
    Field("error.message", Kind.TEXT, _WITH_ERROR, error_message, "response", holds=Phase.E, optional=True),
    Field("~e", Kind.BOOL, ALL, failed, "flow", holds=Phase.E, fails=ALL & ~Phase.E),
    Field("~content.response", Kind.BYTES, FROM_BODY, content, "response", body=Phase.S, optional=True),
    Field("~kept.response", Kind.BOOL, _EITHER, kept, "response", body=Phase.S),
    Field("~bs", Kind.BYTES, Phase.S | Phase.W | Phase.X | Phase.V, sent, "response", body=Phase.S, optional=True),
    Field("~b", Kind.BYTES, _EITHER, sent, "response", body=Phase.S, flexible=True, optional=True),
    Field("~ts", Kind.TEXT, FROM_RESPONSE, content_types, "response", many=True),
    Field("~t", Kind.TEXT, FROM_REQUEST, content_types, "response", many=True, flexible=True),
    Field("~hs", Kind.TEXT, FROM_RESPONSE, header_block, "response", optional=True),
    Field("~h", Kind.TEXT, FROM_REQUEST, header_block, "response", flexible=True, optional=True),
    Field(
        "~s",
        Kind.BOOL,
        ALL & ~Phase.X,
        present,
        "response",
        holds=FROM_RESPONSE,
        fails=ALL & ~FROM_RESPONSE & ~Phase.X,
    ),
)
