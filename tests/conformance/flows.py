"""The flows that the rows of `filters/*.txt` name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow

Pairs = list[tuple[str, str]]

URL = "https://api.example.com/v1/users/7?q=a&q=b&e=&plus=a+b%20c"
HEADERS = [("Accept", "text/html"), ("X-Multi", "one"), ("x-multi", "two")]


def get(method: str = "GET", url: str = URL, headers: Pairs | None = None, **more: object) -> HTTPFlow:
    return HTTPFlow.make(method, url, HEADERS if headers is None else headers, **more)  # type: ignore[arg-type]


def post(kind: str, body: bytes | str, *headers: tuple[str, str], url: str = "http://shop.test/cart") -> HTTPFlow:
    data = body.encode() if isinstance(body, str) else body
    fields = [("Content-Type", kind)] if kind else []
    return HTTPFlow.make("POST", url, [*fields, ("Content-Length", str(len(data))), *headers], data)


def answered(status: int, kind: str = "", body: bytes | str = b"", *headers: tuple[str, str]) -> HTTPFlow:
    data = body.encode() if isinstance(body, str) else body
    fields = [("Content-Type", kind)] if kind else []
    return get(status=status, response_headers=[*fields, *headers], response_body=data)


def graphql(*items: object, url: str = "http://shop.test/graphql") -> HTTPFlow:
    return post("application/json", json.dumps(items[0] if len(items) == 1 else list(items)), url=url)


def multipart(**fields: str) -> HTTPFlow:
    parts = "".join(
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    return post("multipart/form-data; boundary=xyz", parts + "--xyz--\r\n")


def browser() -> HTTPFlow:
    return get(
        headers=[
            ("Cookie", "uid=7; theme=dark"), ("Cookie", "uid=8; Q=\"x\""), ("Sec-Fetch-Dest", "Document"),
            ("Sec-Fetch-Site", "cross-site"),
        ]
    )  # fmt: skip


def secure() -> HTTPFlow:
    flow = get(status=200)
    client, server = flow.client_conn, flow.server_conn
    client.peername, client.sockname, client.tls, client.sni = ("192.0.2.7", 51000), ("10.0.0.1", 8080), True, "A.test"
    client.tls_version, client.alpn, client.alpn_offers, client.mode = (
        "TLSv1.3",
        "http/1.1",
        ("h2", "http/1.1"),
        "reverse",
    )
    server.peername, server.tls_version = ("2001:db8::5", 8443), "TLSv1.2"
    flow.request.timestamp_start = flow.request.timestamp_end = 100.0
    assert flow.response is not None
    flow.response.timestamp_start = 100.25
    return flow


def replayed(side: str) -> HTTPFlow:
    flow = get(status=200)
    flow.is_replay = side
    return flow


def tagged() -> HTTPFlow:
    flow = get()
    flow.tags += ["Slow", "key: value"]
    flow.metadata["state"] = {"flow.step": "paid"}
    return flow


def failed() -> HTTPFlow:
    flow = get()
    flow.error = FlowError("api.example.com:443 did not answer in 10 s", "timeout")
    return flow


def socket() -> HTTPFlow:
    flow = get(headers=[("Upgrade", "websocket"), ("Connection", "upgrade")])
    flow.websocket = True
    return flow


def streamed(flow: HTTPFlow) -> HTTPFlow:
    flow.request.body_source = None
    if flow.response is not None:
        flow.response.body_source = None
    return flow


def http2() -> HTTPFlow:
    flow = get()
    flow.request.http_version = "HTTP/2.0"
    return flow


ORDER = {
    "user": {"id": 42, "name": "Ann", "vip": True, "note": None, "tags": ["a", "b"]},
    "items": [{"sku": "x1", "price": 5}, {"sku": "x2", "price": 7.5}],
    "total": 12.5, "code": "42", "empty": [], "zero": 0, "no": False,
}  # fmt: skip

FLOWS: dict[str, Callable[[], HTTPFlow]] = {
    "get": get,
    "browser": browser,
    "order": lambda: post("application/json", json.dumps(ORDER)),
    "zipped": lambda: post("application/json", gzip.compress(json.dumps(ORDER).encode()), ("Content-Encoding", "gzip")),
    "notgzip": lambda: post("text/plain", b"plain text", ("Content-Encoding", "gzip")),
    "badjson": lambda: post("application/json", b'{"user": {"id": 42'),
    "array": lambda: post("application/json", b'[1, "two", [3], {"four": 4}]'),
    "scalar": lambda: post("application/json", b'"GET"'),
    "nan": lambda: post("application/json", b'{"a": NaN}'),
    "deep": lambda: post("application/json", b"[" * 100_000 + b"]" * 100_000),
    "form": lambda: post("application/x-www-form-urlencoded", b"name=Ann+B&item=1&item=2&e=&%C3%A4=%C3%B6"),
    "upload": lambda: multipart(name="Ann B", note="two\r\nlines"),
    "text": lambda: post("text/plain", "first line\nSecond LINE café"),
    "latin": lambda: post("text/plain; charset=iso-8859-1", "café".encode("latin-1")),
    "badcharset": lambda: post("text/plain; charset=klingon", "café"),
    "binary": lambda: post("application/octet-stream", b"\x89PNG\r\n\x1a\n\x00\xff\xfe"),
    "chunked": lambda: get("POST", headers=[("Transfer-Encoding", "chunked")]),
    "empty": lambda: post("text/plain", b""),
    "big": lambda: streamed(post("application/json", b"", ("X-Real", "1"))),
    "query": lambda: graphql({"query": "query GetUser($id: ID!) { user(id: $id) { name } }", "variables": {"id": 1}}),
    "queryx": lambda: graphql({"query": "query GetUserX { user { name } }"}),
    "mutation": lambda: graphql({"operationName": "Save", "query": "mutation Save { save } query Other { other }"}),
    "anonymous": lambda: graphql({"query": "# a comment {\n{ me: user(where: {name: \"}\"}) { name } }"}),
    "fragments": lambda: graphql({"query": "fragment F on User { id } subscription OnUser { user { ...F } }"}),
    "batch": lambda: graphql({"query": "query GetUser { user }"}, {"query": "mutation Other { other }"}),
    "hash": lambda: graphql({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ecf4ab"}}}),
    "persisted": lambda: graphql({"operationName": "GetUser", "extensions": {"persistedQuery": {"sha256Hash": "e"}}}),
    "gqlget": lambda: get(url="http://shop.test/graphql?operationName=GetUser&variables=%7B%7D", headers=[]),
    "gqltext": lambda: get(url="http://shop.test/graphql?query=query+GetCart%7Bcart%7D", headers=[]),
    "gqlraw": lambda: post("application/graphql", "query GetCart { cart }"),
    "gqlupload": lambda: multipart(operations='{"query": "mutation Upload($f: F!) { upload(f: $f) }"}', map="{}"),
    "notgql": lambda: graphql({"query": 5, "operationName": ["GetUser"]}),
    "search": lambda: get(url="http://shop.test/?query=shoes", headers=[]),
    "json": lambda: answered(
        200, "Application/JSON; charset=utf-8", '{"error": "db password wrong", "list": [1, 2]}',
        ("Content-Length", "47"), ("Set-Cookie", "sid=abc; Path=/"), ("set-cookie", "lang=de"), ("ETag", '"1"'),
    ),
    "html": lambda: answered(200, "text/html; charset=iso-8859-1", "<html>\n<p>café</p>\n</html>".encode("latin-1")),
    "gzip": lambda: answered(200, "text/html", gzip.compress(b"<p>hello</p>"), ("Content-Encoding", "gzip")),
    "css": lambda: answered(200, "text/css", "p {}"),
    "script": lambda: answered(200, "Text/JavaScript; charset=utf-8", "x()"),
    "image": lambda: answered(200, "image/png", b"\x89PNG"),
    "oddtype": lambda: answered(200, "text/html; x=image/png"),
    "nothing": lambda: answered(204),
    "created": lambda: answered(201, "text/plain", "made"),
    "moved": lambda: answered(302, "", b"", ("Location", "/new")),
    "missing": lambda: answered(404, "text/plain", "not found"),
    "broken": lambda: answered(503, "text/html", "<h1>oh</h1>", ("Retry-After", "5")),
    "endless": lambda: answered(200, "text/event-stream", "data: x\n\n"),
    "large": lambda: streamed(answered(200, "text/html", b"", ("Content-Length", "20000000"))),
    "secure": secure,
    "socket": socket,
    "http2": http2,
    "tagged": tagged,
    "failed": failed,
    "replayq": lambda: replayed("request"),
    "replays": lambda: replayed("response"),
}  # fmt: skip
