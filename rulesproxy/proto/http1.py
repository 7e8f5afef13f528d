"""HTTP/1.1 (RFC 9112) without I/O: readers of requests and responses, and one writer for both.

There are two implementations of the readers with the same interface and the same language. `RequestReader` and
`ResponseReader` are the fast ones. `StrictRequestReader` and `StrictResponseReader` ask h11 about every byte as well,
and refuse whatever the two do not read alike. What HTTP means is for the caller: flows, pools, answers.
"""

from __future__ import annotations

from typing import Final

from rulesproxy.proto.fields import end_to_end
from rulesproxy.proto.http1_h11 import StrictRequestReader, StrictResponseReader
from rulesproxy.proto.http1_messages import (
    CHUNKED,
    END,
    NEED_DATA,
    NO_BODY,
    UNTIL_CLOSE,
    End,
    Message,
    NeedData,
    RequestHead,
    ResponseHead,
)
from rulesproxy.proto.http1_read import RequestReader, ResponseReader
from rulesproxy.proto.http1_write import encode_chunk, encode_last_chunk, encode_request_head, encode_response_head

CODECS: Final = {
    "native": (RequestReader, ResponseReader),
    "h11": (StrictRequestReader, StrictResponseReader),
}
"""The readers by the name of their implementation; the first is the default."""

__all__ = [
    "CHUNKED", "CODECS", "END", "NEED_DATA", "NO_BODY", "UNTIL_CLOSE", "End", "Message", "NeedData", "RequestHead",
    "RequestReader", "ResponseHead", "ResponseReader", "StrictRequestReader", "StrictResponseReader", "encode_chunk",
    "encode_last_chunk", "encode_request_head", "encode_response_head", "end_to_end",
]  # fmt: skip
