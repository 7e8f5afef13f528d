"""The actions: their own examples, the edits in detail, and that no value breaks out of its place."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rulesproxy.events import EVENTS
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPResponse
from rulesproxy.rules.action import Action, Example
from rulesproxy.rules.actions import ACTIONS
from rulesproxy.rules.edits.bodies import body_changed
from rulesproxy.rules.schema import schema_of
from tests.support.talking import Conversation

Exchange = Callable[..., Any]

HELPERS = """\
def sign(flow):
    flow.request.headers["x-signature"] = "4a2b"


async def shout(flow):
    flow.response.text = flow.response.text.upper()
"""

EXAMPLES = [
    pytest.param(action, example, id=f"{action.key}-{number}")
    for action in ACTIONS.values()
    for number, example in enumerate(action.examples)
]


def parts(message: str) -> tuple[str, list[tuple[str, str]], list[str], str | None]:
    """First line, headers, headers that must be missing, and body of a message of an example."""
    head, blank, body = message.partition("\n\n")
    first, *lines = head.split("\n")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line[0] != "!")]
    return first, fields, [line[1:] for line in lines if line[0] == "!"], body if blank else None


@pytest.mark.parametrize(("action", "example"), EXAMPLES)
def test_an_example_does_what_it_says(
    exchange: Exchange, action: type[Action], example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mocks").mkdir()
    (tmp_path / "mocks" / "me.json").write_text("{}")
    (tmp_path / "helpers.py").write_text(HELPERS)
    monkeypatch.chdir(tmp_path)
    first, fields, _, body = parts(example.request)
    method, _, url = first.partition(" ")
    sent: dict[str, Any] = {"method": method, "url": url, "headers": fields, "body": (body or "").encode()}
    if example.response:
        status, response_fields, _, response_body = parts(example.response)
        sent |= {"status": int(status), "response_headers": response_fields}
        sent |= {"response_body": (response_body or "").encode()}
    rule = "  - " + example.rule.replace("\n", "\n    ") + "\n"
    if example.messages:
        assert talk(rule, url, example.messages.split("\n")) == example.expect.split("\n")
        return
    outcome = exchange(rule, **sent)
    first, fields, missing, body = parts(example.expect)
    message = outcome.flow.response if first[0].isdigit() else outcome.upstream
    assert first == (str(outcome.status) if first[0].isdigit() else f"{message.method} {message.url}")
    for name, value in fields:
        assert message.headers[name] == value
    for name in missing:
        assert name not in message.headers
    if body is not None:
        assert message.text == body


def talk(rule: str, url: str, messages: list[str]) -> list[str]:
    """What comes out of a WebSocket whose messages pass a rule, one at a time."""
    conversation = Conversation("version: 1\nrules:\n" + rule, url)
    for message in messages:
        side, _, content = message.partition(": ")
        conversation.send(side == "client", content)
    return conversation.shown


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_an_action_presents_itself(action: type[Action]) -> None:
    assert action.__doc__
    summary = action.__doc__.split("\n")[0]
    assert summary.endswith(".")
    assert action.events <= set(EVENTS)
    assert action.examples
    for key in schema_of(action):
        assert f"{key.replace('-', '_')}:" in action.__doc__, f"{key} is not documented"


REQUEST_HEADERS = [("a", "1"), ("B", "2"), ("b", "3"), ("cookie", "x=y"), ("x-one", "1"), ("x-two", "2")]
HEADER_EDITS = [
    ("{a: '9'}", [("a", "9"), ("B", "2"), ("b", "3"), ("cookie", "x=y"), ("x-one", "1"), ("x-two", "2")]),
    ("{b: '9'}", [("a", "1"), ("B", "9"), ("cookie", "x=y"), ("x-one", "1"), ("x-two", "2")]),
    ("{set: {b: [8, 9]}}", [("a", "1"), ("B", "8"), ("b", "9"), ("cookie", "x=y"), ("x-one", "1"), ("x-two", "2")]),
    ("{add: {b: '4'}}", [*REQUEST_HEADERS, ("b", "4")]),
    ("{default: {b: '4', new: n}}", [*REQUEST_HEADERS, ("new", "n")]),
    ("{remove: [X-*, b]}", [("a", "1"), ("cookie", "x=y")]),
    ("{remove: cookie, replace: {a: {text: '1', with: '1!'}}}",
     [("a", "1!"), ("B", "2"), ("b", "3"), ("x-one", "1"), ("x-two", "2")]),
    ("{replace: {b: {regex: '(\\d)', with: 'n\\1'}}}",
     [("a", "1"), ("B", "n2"), ("b", "n3"), ("cookie", "x=y"), ("x-one", "1"), ("x-two", "2")]),
    # What a value holds is no reference to a group.
    ("{replace: {cookie: {regex: '(?P<k>x)(=)', with: '\\g<k>\\2${request.header[\"a\"]}\\1$${k}'}}}",
     [("a", "1"), ("B", "2"), ("b", "3"), ("cookie", "x=1x${k}y"), ("x-one", "1"), ("x-two", "2")]),
    ("{new: '${method} ${request.header[\"a\"]} ${query[\"q\"] | default(\"none\")}'}",
     [*REQUEST_HEADERS, ("new", "GET 1 none")]),
    ("{accept-language: no, x-version: 1.10}", [*REQUEST_HEADERS, ("accept-language", "no"), ("x-version", "1.10")]),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "expected"), HEADER_EDITS)
def test_header_edits(exchange: Exchange, edits: str, expected: list[tuple[str, str]]) -> None:
    rule = f"  - match: ~all\n    rewrite:\n      request:\n        headers: {edits}\n"
    outcome = exchange(rule, headers=REQUEST_HEADERS)
    assert list(outcome.upstream.headers.items(multi=True))[1:] == expected


QUERY_EDITS = [
    ("{a: '1'}", "/?x=%20&x=b+c", "/?x=%20&x=b+c&a=1"),
    ("{x: new}", "/?x=%20&y=1&x=b", "/?x=new&y=1"),
    ("{remove: [utm_*]}", "/?utm_a=1&q=a%2Fb&utm_b", "/?q=a%2Fb"),
    ("{remove: ['*']}", "/a?b=c", "/a"),
    ("{add: {x: '2'}}", "/?x=1", "/?x=1&x=2"),
    ("{default: {x: '2', y: '3'}}", "/?x=1", "/?x=1&y=3"),
    ("{replace: {x: {text: a, with: '&b=c'}}}", "/?x=a", "/?x=%26b%3Dc"),
    ("{x: '${path}'}", "/p", "/p?x=%2Fp"),
]


@pytest.mark.parametrize(("edits", "before", "after"), QUERY_EDITS)
def test_query_edits_leave_the_rest_as_it_was_written(exchange: Exchange, edits: str, before: str, after: str) -> None:
    rule = f"  - match: ~all\n    rewrite:\n      request:\n        query: {edits}\n"
    assert exchange(rule, url=f"http://a.test{before}").upstream.path == after


@pytest.mark.parametrize("coding", ["", "gzip", "deflate", "br", "zstd"])
def test_a_coded_body_is_edited_and_coded_again(exchange: Exchange, coding: str) -> None:
    import brotli
    import zstandard

    encode: dict[str, Callable[[bytes], bytes]] = {
        "": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress,
    }  # fmt: skip
    body = encode[coding](b"hello world")
    headers = [("content-type", "text/plain"), ("content-length", str(len(body))), ("etag", '"1"'), ("digest", "x")]
    headers += [("content-encoding", coding)] if coding else []
    rule = "  - match: ~all\n    rewrite:\n      response:\n"
    rule += "        body: {replace: [{regex: w(or)ld, with: 'you'}], append: '!'}\n"
    outcome = exchange(rule, response_headers=headers, response_body=body)
    assert outcome.text == "hello you!"
    assert outcome.header("content-encoding") == (coding or None)
    assert outcome.header("content-length") == str(len(outcome.flow.response.raw_content))
    assert (outcome.header("etag"), outcome.header("digest")) == (None, None)


def test_an_unknown_coding_fails_the_rule_and_leaves_the_body_alone(exchange: Exchange) -> None:
    rule = "  - match: ~all\n    rewrite:\n      response:\n        body: {append: '!'}\n"
    outcome = exchange(rule, response_headers=[("content-encoding", "magic")], response_body=b"\x00raw")
    assert (outcome.flow.response.raw_content, outcome.header("content-encoding")) == (b"\x00raw", "magic")
    replaced = exchange(
        rule.replace("{append: '!'}", "new"), response_headers=[("content-encoding", "magic")], response_body=b"r"
    )
    assert (replaced.flow.response.raw_content, replaced.header("content-encoding")) == (b"new", None)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_without_a_body_gets_none(exchange: Exchange, method: str, status: int) -> None:
    rule = "  - match: ~all\n    rewrite:\n      response:\n        body: new\n        headers: {x-a: b}\n"
    outcome = exchange(rule, method=method, status=status, response_headers=[("etag", '"1"')])
    assert (outcome.flow.response.raw_content, outcome.header("x-a")) == (b"", "b")
    # What HEAD says must be true of the answer to GET, whose body is another one.
    assert outcome.header("etag") == (None if method == "HEAD" else '"1"')


def test_the_server_is_asked_for_a_whole_readable_body(exchange: Exchange) -> None:
    headers = [("if-none-match", '"1"'), ("if-modified-since", "x"), ("accept-encoding", "gzip, magic, br;q=0.5")]
    rule = "  - match: host == 'a.test' and response.status == 200\n    rewrite: {response: {body: x}}\n"
    asked = exchange(rule, headers=headers).upstream.headers
    assert [name in asked for name in ("if-none-match", "if-modified-since")] == [False, False]
    assert asked["accept-encoding"] == "gzip, br;q=0.5"
    for late in ("~s & ~d a.test", "~h x-only-in-the-response"):
        late_rule = f"  - match: {late}\n    rewrite: {{response: {{body: x}}}}\n"
        assert "if-none-match" not in exchange(late_rule, headers=headers).upstream.headers
    for other in (rule.replace("a.test", "b.test"), rule.replace("{body: x}", "{status: 404}")):
        assert exchange(other, headers=headers).upstream.headers["accept-encoding"] == "gzip, magic, br;q=0.5"


def test_a_body_from_a_file_is_streamed_from_it(exchange: Exchange, tmp_path: Path) -> None:
    (tmp_path / "new.bin").write_bytes(b"\x00\xff" * 10)
    rule = f"  - match: ~all\n    rewrite:\n      response:\n        body: {{ file: {tmp_path / 'new.bin'} }}\n"
    outcome = exchange(rule, response_body=b"old", response_headers=[("content-encoding", "gzip")])
    assert outcome.flow.response.raw_content == b"\x00\xff" * 10
    assert (outcome.header("content-length"), outcome.header("content-encoding")) == ("20", None)


URLS = [
    ("https://new.test/${rest}", "/old/a/b%20c", "https://new.test/a/b%20c"),
    ("https://new.test/${rest}", "/old//evil.test", "https://new.test//evil.test"),
    ("/${rest}", "/old//evil.test/x", "/evil.test/x"),
    ("/${rest}", "/old/\\evil.test", "/%5Cevil.test"),
    ("https://new.test/${rest}", '/old/a\tb\xe9<"', "https://new.test/a%09b%C3%A9%3C%22"),
    ("https://${rest}.new.test/", "/old/sub", "https://sub.new.test/"),
    ("https://${rest}.new.test/", "/old/evil.test/", None),
    ("https://new.test${path}", "/old//x/y", "https://new.test/old//x/y"),
    ("https://${host}${path}?a", "/old/@evil.test", "https://a.test/old/@evil.test?a"),
    ("https://new.test${rest}", "/old/@evil.test", None),
    ("https://${rest}.new.test/", "/old/evil.test@x", None),
    ("https://new.test/${rest}", "/old/../../x", None),
    ("https://new.test/${rest}", "/old/a/../x", "https://new.test/a/../x"),
    ("https://new.test/${rest}", "/old/%2e%2e/x", None),
    ("https://new.test/?to=${url}", "/old/a?b", "https://new.test/?to=http%3A%2F%2Fa.test%2Fold%2Fa%3Fb"),
    ("https://new.test/${query['n']}", "/old/a?n=../x/y", None),
    ("https://new.test/${query['n']}?a=b", "/old/a?n=x/y?z%23", "https://new.test/x%2Fy%3Fz%23?a=b"),
    ("https://new.test/${query['n']}?a=b", "/old/a?n=%0d%0aset-cookie:x", "https://new.test/%0D%0Aset-cookie%3Ax?a=b"),
]


@pytest.mark.parametrize(("to", "path", "location"), URLS)
def test_values_stay_in_their_part_of_a_url(exchange: Exchange, to: str, path: str, location: str | None) -> None:
    rule = f'  - match: path ~ r"^/old/(?P<rest>.*)"\n    redirect: {{to: "{to}", keep-query: false}}\n'
    outcome = exchange(rule, url=f"http://a.test{path}")
    assert outcome.header("location") == location
    assert outcome.status == (302 if location else 200)


@pytest.mark.parametrize(
    ("to", "keep", "location"),
    [
        ("/new", "", "/new?a=b"), ("/new?c", "", "/new?c"), ("/new?c", ", keep-query: true", "/new?c&a=b"),
        ("/new", ", keep-query: false", "/new"), ("/new#top", "", "/new?a=b#top"),
    ],
)  # fmt: skip
def test_the_query_is_kept_unless_the_target_has_one(exchange: Exchange, to: str, keep: str, location: str) -> None:
    rule = f"  - match: ~all\n    redirect: {{to: '{to}'{keep}}}\n"
    assert exchange(rule, url="http://a.test/x?a=b").header("location") == location


def test_a_url_moves_server_and_host_together(exchange: Exchange) -> None:
    rule = "  - match: ~all\n    rewrite: {request: {url: 'https://b.test:8443/x', method: PUT}}\n"
    sent = exchange(rule, url="http://a.test/y?z").upstream
    assert (sent.method, sent.url, sent.headers["host"]) == ("PUT", "https://b.test:8443/x", "b.test:8443")


def test_block_by_itself(exchange: Exchange) -> None:
    rule = "  - match: ~all\n    block: {{status: {}, body: 'no ${{path}}', headers: {{x-a: [b, c]}}}}\n"
    outcome = exchange(rule.format(418), url="http://a.test/x")
    assert (outcome.status, outcome.text, outcome.header("x-a")) == (418, "no /x", "b, c")
    assert exchange(rule.format(204)).flow.response.raw_content == b""
    assert exchange(rule.format(403), method="HEAD").flow.response.raw_content == b""


def test_head_says_of_an_edited_body_only_what_is_known(exchange: Exchange) -> None:
    json_only = "  - match: ~all\n    rewrite:\n      response:\n        json: {set: {$.a: 1}}\n"
    for kind, kept in (("application/json", False), ("image/png", True)):
        fields = [("content-type", kind), ("content-length", "99"), ("etag", '"1"'), ("x", "y")]
        outcome = exchange(json_only, method="HEAD", response_headers=fields)
        assert outcome.header("x") == "y"
        assert (outcome.header("content-length"), outcome.header("etag")) == (("99", '"1"') if kept else (None, None))


@pytest.mark.parametrize("block", ["404", "{status: 403, body: é}"])
def test_a_block_answers_head_as_it_would_get(exchange: Exchange, block: str) -> None:
    rule = f"  - match: ~all\n    block: {block}\n"
    asked, got = exchange(rule, method="HEAD"), exchange(rule)
    assert asked.flow.response.raw_content == b""
    assert len(got.flow.response.raw_content) > 0
    assert list(asked.flow.response.headers.items(multi=True)) == list(got.flow.response.headers.items(multi=True))


def test_trailers_that_go_are_announced_no_more() -> None:
    for announced, trailers, left in (
        ("Digest", {"digest": "x"}, None),
        ("X-Sum, Digest", {"digest": "x", "x-sum": "1"}, "X-Sum"),
        ("X-Sum", {"x-sum": "1"}, "X-Sum"),
    ):
        response = HTTPResponse.make(200, b"a", {"Trailer": announced})
        response.trailers = Headers(trailers)
        body_changed(response)
        assert response.headers.get("trailer") == left
        assert (response.trailers is None) is (left is None)
