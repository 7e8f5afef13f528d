"""Fields of GraphQL requests (GraphQL over HTTP): in a JSON body, a batch, a multipart upload, or a query.

The scanner knows as much of the language as it takes to find operations at the top level of a document: comments,
texts and brackets. Bad documents give what can be found in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.filters.fields.base import Field, Kind
from rulesproxy.filters.fields.document import Document, parse
from rulesproxy.filters.fields.message import form
from rulesproxy.filters.phases import FROM_BODY, Phase
from rulesproxy.flow.forms import parse_query

if TYPE_CHECKING:
    from rulesproxy.filters.view import FlowView

Operation: TypeAlias = tuple[str | None, str | None]
"""Name and type. The name is that of the root field where the operation has none; None where it is not known."""

BATCH = 1000
"""Operations of one request. Servers allow far fewer."""
_SCANNED = 64 * 1024
"""Characters of documents that are scanned for one request. The largest that people write have a tenth of it."""

_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*(?:"""|\Z)|"(?:[^"\\\n]|\\.)*(?:"|\n|\Z)|#[^\n\r]*|(?P<name>[A-Za-z_][A-Za-z0-9_]*)'
    r"|(?P<mark>[{}()\[\]:@$])",
    re.DOTALL,
).finditer
_TYPES = frozenset({"query", "mutation", "subscription"})


def operation(view: FlowView) -> tuple[str, ...]:
    """The names of the GraphQL operations: one, or those of a batch. An operation without a name has that of its first
    field; a persisted one that is known by its hash alone has the hash."""
    return tuple(dict.fromkeys([name for name, _ in view.tilde_graphql if name is not None]))


def operation_type(view: FlowView) -> tuple[str, ...]:
    """The types of the GraphQL operations: `query`, `mutation`, `subscription`."""
    return tuple(dict.fromkeys([kind for _, kind in view.tilde_graphql if kind is not None]))


def operations(view: FlowView) -> tuple[Operation, ...]:
    """The GraphQL operations of the request."""
    budget = _SCANNED
    found: list[Operation] = []
    for name, query, extensions in _requests(view):
        known = scan(query[:budget]) if query else []
        budget = max(0, budget - len(query or ""))
        if name:
            kinds = [kind for each, kind in known if each == name]
            found.append((name, kinds[0] if kinds else known[0][1] if len(known) == 1 else None))
        elif known:
            found.extend(known)
        else:
            found.append((_hash(extensions), None))
        if len(found) >= BATCH:
            break
    return tuple(found)


def scan(document: str) -> list[Operation]:
    """The operations of a GraphQL document, in order."""
    found: list[Operation] = []
    depth = 0
    kind: str | None = None
    name: str | None = None
    wanted = False
    tokens = list(_TOKEN(document))
    for at, token in enumerate(tokens):
        mark, word = token["mark"], token["name"]
        if mark is not None and mark in "{([":
            if mark == "{" and depth == 0 and kind != "fragment":
                kind = kind or "query"
                wanted = name is None
                if not wanted:
                    found.append((name, kind))
            depth += 1
        elif mark is not None and mark in "})]":
            depth = max(0, depth - 1)
            if depth == 0 and mark == "}":
                if wanted:
                    found.append((None, kind))
                kind = name = None
                wanted = False
        elif word is not None and depth == 0:
            if kind is None and (word in _TYPES or word == "fragment"):
                kind = word
            elif kind in _TYPES and name is None and _follows(tokens, at):
                name = word
        elif word is not None and wanted and depth == 1:
            following = tokens[at + 1]["mark"] if at + 1 < len(tokens) else None
            if following != ":":
                found.append((word, kind))
                wanted = False
    return found


def _follows(tokens: list[re.Match[str]], at: int) -> bool:
    """Whether the name at a place stands right behind the word that begins an operation."""
    before = tokens[at - 1] if at else None
    return before is not None and before["name"] in _TYPES


def _requests(view: FlowView) -> Iterator[tuple[str | None, str | None, Document]]:
    """Operation name, document and extensions of every request in the message."""
    pairs = dict(parse_query(view.request.path))
    if pairs.keys() & {"operationName", "query", "extensions"} and (
        "operationName" in pairs or "extensions" in pairs or "{" in pairs["query"]
    ):
        yield pairs.get("operationName"), pairs.get("query"), parse(pairs.get("extensions"))
    content = view.tilde_content_request
    if not content:
        return
    headers = view.request.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        document = parse(dict(form(headers, content)).get("operations"))
    elif kind == "application/graphql":
        yield None, content.decode("utf-8", "surrogateescape"), None
        return
    else:
        document = view.request_json.root()
    for item in document if isinstance(document, list) else (document,):
        if not isinstance(item, dict):
            continue
        name, query, extensions = item.get("operationName"), item.get("query"), item.get("extensions")
        if isinstance(name, str) or isinstance(query, str) or _hash(extensions) is not None:
            yield name if isinstance(name, str) else None, query if isinstance(query, str) else None, extensions


def _hash(extensions: Document) -> str | None:
    """The hash of a persisted query."""
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    value = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    return value if isinstance(value, str) else None


FIELDS = (
    Field("graphql.operation", Kind.TEXT, FROM_BODY, operation, "request", many=True, body=Phase.B),
    Field(
        "graphql.type",
        Kind.ENUM,
        FROM_BODY,
        operation_type,
        "request",
        many=True,
        fold=True,
        normal=str.lower,
        words=("query", "mutation", "subscription"),
        body=Phase.B,
    ),
    Field("~graphql", Kind.TEXT, FROM_BODY, operations, "request", many=True, body=Phase.B),
)
