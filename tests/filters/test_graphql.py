"""The scanner of GraphQL documents, and what it reads out of requests."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.filters.fields.graphql import scan
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow


@pytest.mark.parametrize(
    ("document", "operations"),
    [
        ("query A { a }", [("A", "query")]),
        ("mutation  B($x: [Int!]! = {a: 1}) @live { b }", [("B", "mutation")]),
        ("subscription C{c}", [("C", "subscription")]),
        ("{ a }", [("a", "query")]),
        ("{ alias: real(x: 1) { y } other }", [("real", "query")]),
        ("query { a }", [("a", "query")]),
        ("query ($id: ID!) { user(id: $id) { id } }", [("user", "query")]),
        ("query @cached(ttl: 5) { a }", [("a", "query")]),
        ("mutation { save }", [("save", "mutation")]),
        ("query query { query }", [("query", "query")]),
        ("query A { a } mutation B { b }", [("A", "query"), ("B", "mutation")]),
        ("{ a } { b }", [("a", "query"), ("b", "query")]),
        ("fragment F on T { x { y } } query A { ...F }", [("A", "query")]),
        ("fragment query on T { x } { a }", [("a", "query")]),
        ("{ ...F } fragment F on Q { a }", [("F", "query")]),
        ("# query Z { z }\nquery A { a }", [("A", "query")]),
        ('query A { a(text: "} query Z {") }', [("A", "query")]),
        ('query A { a(text: "\\" }") } query B { b }', [("A", "query"), ("B", "query")]),
        ('query A { a(text: """ } " query Z { \\""" """) } query B { b }', [("A", "query"), ("B", "query")]),
        ("query A", []),
        ("query A {", [("A", "query")]),
        ("query {", []),
        ("}}} query A { a }", [("A", "query")]),
        ('query A { a(text: "never closed', [("A", "query")]),
        ("", []),
        ("GetUser", []),
        ("{}", [(None, "query")]),
        ("\ufeffquery A { a }", [("A", "query")]),
    ],
)
def test_documents(document: str, operations: list[tuple[str | None, str | None]]) -> None:
    assert scan(document) == operations


@given(st.lists(st.sampled_from(['{', '}', '(', ')', '"', '"""', "#", "\n", "query", "mutation", "a", ":", "\\", " "])))  # fmt: skip
def test_any_text_is_scanned(parts: list[str]) -> None:
    for name, kind in scan("".join(parts)):
        assert name is None or name
        assert kind in ("query", "mutation", "subscription")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"query": "{" * 5_000_000}),
        json.dumps({"query": '"' * 5_000_000}),
        json.dumps({"query": "query A { a } " * 300_000}),
        json.dumps([{"query": "query A { a }"}] * 200_000),
        json.dumps([{"query": "{ a }" * 10_000}] * 200),
        '{"query": "query A { a }", "variables": ' + "[" * 500_000 + "]" * 500_000 + "}",
    ],
    ids=["braces", "quotes", "operations", "batch", "long batch", "deep"],
)
def test_huge_requests_take_a_moment(body: str) -> None:
    flow = HTTPFlow.make("POST", "http://a.test/", [("Content-Type", "application/json")], body.encode())
    view = FlowView(flow)
    # What the standard library takes to parse it is not ours.
    _ = view.request_json.root()
    started = time.process_time()
    assert len(view.tilde_graphql) <= 10_000
    assert time.process_time() - started < 3
