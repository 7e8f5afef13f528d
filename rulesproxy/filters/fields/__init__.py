"""The fields of the filter language: one file per group, each with the readers and a `FIELDS` table."""

from __future__ import annotations

from rulesproxy.filters.fields import connection, request, response
from rulesproxy.filters.fields.base import OPERATORS, TEXTUAL, Field, Kind, Side

__all__ = ["FIELDS", "OPERATORS", "SYNONYMS", "TEXTUAL", "Field", "Kind", "Side", "public_names"]

FIELDS: dict[str, Field] = {
    field.name: field for group in (connection.FIELDS, request.FIELDS, response.FIELDS) for field in group
}
"""Every field by name, those of `~` filters included."""

SYNONYMS: dict[str, str] = {
    "address": "client.ip",
    "authority": "host",
    "client": "client.ip",
    "client_ip": "client.ip",
    "code": "response.status",
    "content_type": "response.content_type",
    "domain": "host",
    "fullpath": "path",
    "header": "request.header",
    "headers": "request.header",
    "hostname": "host",
    "http.host": "host",
    "http.method": "method",
    "http.path": "path",
    "http.request.method": "method",
    "http.request.uri.path": "path",
    "http.status": "response.status",
    "https": "tls",
    "ip": "client.ip",
    "ip.src": "client.ip",
    "param": "query",
    "params": "query",
    "pathname": "path",
    "peer": "client.ip",
    "protocol": "scheme",
    "querystring": "query",
    "query_string": "query",
    "raw_path": "path.raw",
    "remote_addr": "client.ip",
    "req.header": "request.header",
    "req.headers": "request.header",
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
    "response.headers": "response.header",
    "response.status_code": "response.status",
    "response.type": "response.content_type",
    "server_name": "sni",
    "source.ip": "client.ip",
    "src.ip": "client.ip",
    "ssl": "tls",
    "status": "response.status",
    "status_code": "response.status",
    "statuscode": "response.status",
    "tls.sni": "sni",
    "uri": "url",
    "verb": "method",
}
"""What other tools call a field."""


def public_names() -> list[str]:
    """The names that may stand in a filter, in the order of the tables, `orig.` ones last."""
    names = [name for name in FIELDS if not name.startswith("~")]
    return names + [f"orig.{name}" for name in names if FIELDS[name].original]
