"""The fields of the filter language: one file per group, each with the readers and a `FIELDS` table."""

from __future__ import annotations

from rulesproxy.filters.fields import connection, graphql, marks, request, response, stream
from rulesproxy.filters.fields.base import NUMBERS, OPERATORS, TEXTUAL, Field, Kind, Side

__all__ = ["FIELDS", "NUMBERS", "OPERATORS", "SYNONYMS", "TEXTUAL", "Field", "Kind", "Side", "public_names"]

FIELDS: dict[str, Field] = {
    field.name: field for module in (connection, request, graphql, response, stream, marks) for field in module.FIELDS
}
"""Every field by name, those of `~` filters included."""

SYNONYMS: dict[str, str] = {
    "address": "client.ip",
    "alpn": "tls.alpn",
    "authority": "host",
    "body": "request.body",
    "body.json": "request.json",
    "client": "client.ip",
    "client_ip": "client.ip",
    "code": "response.status",
    "content_type": "response.content_type",
    "cookie": "request.cookie",
    "cookies": "request.cookie",
    "dest": "request.destination",
    "domain": "host",
    "duration": "response.ttfb",
    "error": "error.kind",
    "form": "request.form",
    "fullpath": "path",
    "header": "request.header",
    "headers": "request.header",
    "graphql": "graphql.operation",
    "hostname": "host",
    "http.host": "host",
    "http.method": "method",
    "http.path": "path",
    "http.request.method": "method",
    "http.request.uri.path": "path",
    "http.status": "response.status",
    "https": "tls",
    "http.request.version": "http.version",
    "ip": "client.ip",
    "ip.src": "client.ip",
    "json": "request.json",
    "operation": "graphql.operation",
    "operationName": "graphql.operation",
    "param": "query",
    "params": "query",
    "pathname": "path",
    "peer": "client.ip",
    "querystring": "query",
    "query_string": "query",
    "raw_path": "path.raw",
    "remote_addr": "client.ip",
    "req.header": "request.header",
    "req.headers": "request.header",
    "request.cookies": "request.cookie",
    "request.content": "request.body",
    "request.data": "request.body",
    "request.headers": "request.header",
    "request.host": "host",
    "request.hosts": "host",
    "request.method": "method",
    "request.path": "path",
    "request.port": "port",
    "request.query": "query",
    "request.scheme": "scheme",
    "request.type": "request.content_type",
    "request.uri": "url",
    "request.url": "url",
    "res.header": "response.header",
    "resp.header": "response.header",
    "response.code": "response.status",
    "response.content": "response.body",
    "response.cookies": "response.cookie",
    "response.headers": "response.header",
    "response.time": "response.ttfb",
    "response.status_code": "response.status",
    "response.type": "response.content_type",
    "server_name": "sni",
    "source.ip": "client.ip",
    "segments": "path.segments",
    "size": "request.size",
    "src.ip": "client.ip",
    "ssl": "tls",
    "status": "response.status",
    "status_code": "response.status",
    "statuscode": "response.status",
    "tags": "flow.tags",
    "text": "request.text",
    "tls.sni": "sni",
    "uri": "url",
    "verb": "method",
    "version": "http.version",
    "websocket.text": "ws.text",
}
"""What other tools call a field."""


def public_names() -> list[str]:
    """The names that may stand in a filter, in the order of the tables, `orig.` ones last."""
    names = [name for name in FIELDS if not name.startswith("~")]
    return names + [f"orig.{name}" for name in names if FIELDS[name].original]
