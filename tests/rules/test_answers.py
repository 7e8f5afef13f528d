"""`respond`, `map-remote`, `cors`, `no-cache`, `tag`, `log`: the turns that their examples do not show."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rulesproxy.flow.connection import ClientConn
from rulesproxy.flow.plan import FileBody
from rulesproxy.proto.clienthello import ClientHello
from rulesproxy.rules.actions.map_remote import Origin, moved
from rulesproxy.rules.ruleset import RulesError, load_rules

Exchange = Callable[..., Any]
ALL = "  - match: ~all\n    "


def head(outcome: Any) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in outcome.flow.response.headers.items(multi=True)]


# respond


@pytest.mark.parametrize(
    ("keys", "status", "fields", "body"),
    [
        ("{}", 200, [("content-length", "0")], b""),
        ("404", 404, [("content-length", "0")], b""),
        ("{status: 204}", 204, [], b""),
        ("{status: 304, headers: {etag: '\"1\"'}}", 304, [("etag", '"1"')], b""),
        ("{body: é}", 200, [("content-type", "text/plain; charset=utf-8"), ("content-length", "2")], "é".encode()),
        ("{body: é, headers: {content-type: text/html; charset=latin-1}}", 200,
         [("content-type", "text/html; charset=latin-1"), ("content-length", "1")], b"\xe9"),
        ("{json: [1, 1.0, ~, true, '1', no, {a: []}]}", 200,
         [("content-type", "application/json"), ("content-length", "44")], b'[1, 1.0, null, true, "1", "no", {"a": []}]'),
        ("{json: x, headers: {content-length: '99', transfer-encoding: chunked, x: [a, b]}}", 200,
         [("content-type", "application/json"), ("x", "a"), ("x", "b"), ("content-length", "3")], b'"x"'),
        ("{body: ''}", 200, [("content-type", "text/plain; charset=utf-8"), ("content-length", "0")], b""),
    ],
)  # fmt: skip
def test_respond(exchange: Exchange, keys: str, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
    rule = f"{ALL}respond: {keys}\n"
    outcome = exchange(rule)
    assert outcome.upstream is None
    assert outcome.flow.response.raw_content == body
    fields = [(name, str(len(body)) if name == "content-length" else value) for name, value in fields]
    assert (outcome.status, sorted(head(outcome))) == (status, sorted(fields))
    asked = exchange(rule, method="HEAD")
    assert asked.flow.response.raw_content == b""
    assert head(asked) == head(outcome)


FILE = ALL + "respond: {file: FILE, template: true}\n"


@pytest.mark.parametrize(
    ("name", "text", "kind", "body"),
    [
        ("me.json", '{"q": "${query[\'q\']}", "n": ${query[\'n\'] | int}, "all": ${query[\'q\'] | json}, "no": ${query[\'x\'] | int}}',
         "application/json", rb'{"q": "a\"<b>", "n": 7, "all": "a\"<b>", "no": null}'),
        ("me.html", "<p>${query['q']}</p> $${x}", "text/html; charset=utf-8", b"<p>a&quot;&lt;b&gt;</p> ${x}"),
        ("me.txt", "${query['q']}", "text/plain; charset=utf-8", b'a"<b>'),
        ("plain.json", "{}", "application/json", b"{}"),
    ],
)  # fmt: skip
def test_a_file_that_is_a_template(
    exchange: Exchange, tmp_path: Path, name: str, text: str, kind: str, body: bytes
) -> None:
    (tmp_path / name).write_text(text)
    outcome = exchange(FILE.replace("FILE", str(tmp_path / name)), url='http://a.test/?q=a"<b>&n=7')
    assert outcome.flow.response.raw_content == body
    assert outcome.flow.response.headers["content-type"] == kind


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("me.json", '{\n  "a": ${a}}', "me.json:2:8: error[RP605]: unknown name `${a}`"),
        ("me.json", '{"a": ${path}}', "error[RP615]: with its values filled in this is no JSON"),
        ("me.txt", "a ${ b", "me.txt:1:3: error[RP615]: this `${` is never closed"),
    ],
)
def test_mistakes_in_a_file_that_is_a_template(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RulesError) as caught:
        load_rules(text="version: 1\nrules:\n" + FILE.replace("FILE", str(tmp_path / name)))
    assert says in str(caught.value)


def test_what_cannot_be_a_template(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff")
    (tmp_path / "big.txt").write_text("x" * (1024 * 1024 + 1))
    for name, says in (("bytes.txt", "is not UTF-8"), ("big.txt", "is over 1 MiB")):
        with pytest.raises(RulesError, match=says):
            load_rules(text="version: 1\nrules:\n" + FILE.replace("FILE", str(tmp_path / name)))
    with pytest.raises(RulesError, match="`template` is about `file`"):
        load_rules(text=f"version: 1\nrules:\n{ALL}respond: {{body: x, template: true}}\n")


def test_a_template_is_a_file_of_the_rules(tmp_path: Path) -> None:
    (tmp_path / "me.txt").write_text("one")
    text = "version: 1\nrules:\n" + FILE.replace("FILE", str(tmp_path / "me.txt"))
    first = load_rules(text=text)
    (tmp_path / "me.txt").write_text("two")
    assert tmp_path / "me.txt" in first.watch
    assert load_rules(text=text).digest != first.digest


def test_a_file_is_read_for_every_answer(exchange: Exchange, tmp_path: Path) -> None:
    file = tmp_path / "me.json"
    file.write_text("{}")
    rules = load_rules(text=f"version: 1\nrules:\n{ALL}respond: {{ file: {file}, status: 203 }}\n")
    assert (exchange(rules).status, exchange(rules).text) == (203, "{}")
    file.write_text("[1]")
    outcome = exchange(rules)
    assert isinstance(outcome.flow.response.body_source, FileBody)
    assert (outcome.text, outcome.header("content-length")) == ("[1]", "3")
    file.unlink()
    assert exchange(rules).upstream is not None


def test_in_the_response_pass_the_answer_is_replaced_and_the_pass_goes_on(exchange: Exchange) -> None:
    rules = (
        "  - id: hide\n    match: response.status >= 500\n    respond: {status: 502, json: {was: '${response.status | int}'}}\n"
        "  - id: mark\n    match: response.status == 502\n    rewrite: {response: {headers: {x-a: '1'}}}\n"
    )
    outcome = exchange(rules, status=503, response_headers=[("x-old", "1")], response_body=b"secret")
    assert (outcome.status, outcome.text, outcome.hits) == (502, '{"was": 503}', ["hide", "mark"])
    assert (outcome.header("x-a"), outcome.header("x-old")) == ("1", None)
    assert outcome.read == set()


def test_a_value_of_the_response_moves_the_answer_to_the_response_pass(exchange: Exchange) -> None:
    outcome = exchange(f"{ALL}respond: {{body: 'was ${{response.header[\"x\"]}}'}}\n", response_headers=[("x", "1")])
    assert outcome.upstream is not None
    assert outcome.text == "was 1"


def test_a_body_in_a_template_is_read_first(exchange: Exchange) -> None:
    echo = exchange(f"{ALL}respond: {{json: {{you: '${{request.text}}'}}}}\n", method="POST", body=b'say "hi"')
    assert (echo.text, echo.read) == ('{"you": "say \\"hi\\""}', {"request"})
    shown = exchange(f"{ALL}log: 'got ${{response.text}}'\n", response_body=b"x")
    assert shown.read == {"response"}
    assert exchange(f"{ALL}log: 'got ${{response.status}}'\n", response_body=b"x").read == set()


FIELDS = [
    ('${request.json["user"]["name"]}', "Ann"), ('${request.json["user"]["ids"][1] | int}', "2"),
    ('${request.json["user"] | json}', '{"name": "Ann", "ids": [1, 2]}'), ('${request.json["no"] | default("-")}', "-"),
    ("${path.segments}", "a"), ("${path.segments[1]}", "b"), ("${tls}", "false"), ("${request.size}", "45"),
    ("${client.port}", "0"), ("${orig.port}", "80"), ("${request.content_type}", "application/json"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "text"), FIELDS)
def test_every_field_is_a_value(exchange: Exchange, template: str, text: str) -> None:
    outcome = exchange(
        f"{ALL}respond:\n      body: {template!r}\n", method="POST", url="http://a.test/a/b",
        headers=[("content-type", "application/json"), ("content-length", "45")],
        body=b'{"user": {"name": "Ann", "ids": [1, 2]}}     ',
    )  # fmt: skip
    assert outcome.text == text
    assert outcome.read == ({"request"} if "json[" in template else set())


def test_a_json_value_stays_one_in_json(exchange: Exchange) -> None:
    rule = f"{ALL}rewrite:\n      response:\n        json:\n          set: {{$.copy: '${{response.json[\"a\"] | json}}'}}\n"
    outcome = exchange(rule, response_body=b'{"a": [1, "x"]}')
    assert outcome.text == '{"a": [1, "x"], "copy": [1, "x"]}'


def test_sequences_and_counters_count_per_rule(exchange: Exchange) -> None:
    rules = load_rules(
        text="version: 1\nrules:\n"
        "  - match: path == '/a'\n    respond: {sequence: [201, {status: 202, body: 'n ${counter}'}]}\n"
        "  - match: path == '/b'\n    respond: {body: '${counter} ${counter}'}\n"
        "  - match: path == '/c'\n    rewrite: {request: {headers: {x-n: '${counter}'}}, response: {headers: {x-n: '${counter}'}}}\n"
    )
    assert [exchange(rules, url="http://a.test/a").text for _ in range(3)] == ["", "n 2", "n 3"]
    assert [exchange(rules, url="http://a.test/b").text for _ in range(2)] == ["1 1", "2 2"]
    for number in ("1", "2"):
        outcome = exchange(rules, url="http://a.test/c")
        assert (outcome.upstream.headers["x-n"], outcome.header("x-n")) == (number, number)


def test_a_preflight_takes_nothing_from_a_sequence(exchange: Exchange) -> None:
    rules = load_rules(text=f"version: 1\nrules:\n{ALL}cors: unlock\n    respond: {{sequence: [201, 202]}}\n")
    asked = [("origin", "http://b.test"), ("access-control-request-method", "PUT")]
    assert exchange(rules, method="OPTIONS", headers=asked).status == 204
    assert [exchange(rules, method="PUT", headers=asked[:1]).status for _ in range(3)] == [201, 202, 202]


def test_memory_follows_rules_that_have_not_changed() -> None:
    """Those without an id, too, wherever they stand now."""

    def load(second: str) -> Any:
        rules = f"  - id: one\n    match: ~all\n    respond: 201 # again\n{second}  - match: ~all\n    respond: 203\n"
        return load_rules(text="version: 1\nrules:\n" + rules)

    two = "  - id: two\n    match: ~all\n    respond: {}\n"
    old, new = load(two.format("202")), load("\n" + two.format("'202'"))
    for addon in old.rules:
        addon.compiled.memory.next("x")
    new.follow(old)
    assert [addon.compiled.memory.counts for addon in new.rules] == [{"x": 1}, {}, {"x": 1}]
    # The old set and the new one count together.
    old.rules[0].compiled.memory.next("x")
    assert new.rules[0].compiled.memory.next("x") == 3


# map-remote

OLD, NEW = Origin("https", "stg.t", 8443), Origin("https", "prod.t", 443)
URLS = [
    ("https://stg.t:8443/b", "https://prod.t/b"), ("https://STG.t:8443", "https://prod.t"),
    ("HTTPS://stg.t:8443?a#b", "https://prod.t?a#b"), ("//stg.t:8443/x", "//prod.t/x"),
    ("https://stg.t/b", "https://stg.t/b"), ("http://stg.t:8443/", "http://stg.t:8443/"),
    ("https://stg.t:8443.evil.t/", "https://stg.t:8443.evil.t/"), ("/b", "/b"), ("", ""), ("null", "null"), ("*", "*"),
    ("https://u@stg.t:8443/", "https://u@stg.t:8443/"), ("https://xstg.t:8443/", "https://xstg.t:8443/"),
    ("https://stg.t:8443/%zz \xe9", "https://prod.t/%zz \xe9"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), URLS)
def test_a_url_moves_where_it_names_the_server(before: str, after: str) -> None:
    assert moved(before, OLD, NEW) == after


TARGETS = [
    ("http://b.test", "/a?x=1", "http://b.test/a?x=1"), ("http://b.test/", "/a?x=1", "http://b.test/a?x=1"),
    ("http://b.test/c", "/a?x=1", "http://b.test/c?x=1"), ("http://b.test/c?y", "/a?x=1", "http://b.test/c?y"),
    ("http://b.test?y", "/a?x=1", "http://b.test/?y"), ("wss://b.test:1/", "/a", "https://b.test:1/a"),
    ("http://[::1]:3000", "/a", "http://[::1]:3000/a"), ("http://${host}.b.test", "/a", "http://a.test.b.test/a"),
    ("http://b.test/${query['x']}", "/a?x=..", None), ("http://${query['x']}", "/a?x=b.test%40c", None),
    ("http://b.test:${query['x']}", "/a?x=0", None),
]  # fmt: skip


@pytest.mark.parametrize(("to", "target", "url"), TARGETS)
def test_where_a_request_goes(exchange: Exchange, to: str, target: str, url: str | None) -> None:
    outcome = exchange(f'{ALL}map-remote: "{to}"\n', url=f"http://a.test{target}")
    assert outcome.upstream.url == (url or f"http://a.test{target}")
    assert outcome.upstream.headers["host"] == outcome.upstream.authority


def test_two_moves_come_back_to_what_the_client_has_asked(exchange: Exchange) -> None:
    rules = "  - match: host == 'a.test'\n    map-remote: http://b.test:81\n"
    rules += "  - match: host == 'b.test'\n    map-remote: https://c.b.test/deep\n"
    fields = [
        ("location", "https://c.b.test/x"),
        ("set-cookie", "a=1; Domain=b.test;Path=/"),
        ("set-cookie", "b=2; Domain=x"),
    ]
    outcome = exchange(rules, url="http://a.test/y", response_headers=fields)
    assert outcome.upstream.url == "https://c.b.test/deep"
    assert outcome.flow.response.headers.get_all("location") == ["http://a.test/x"]
    assert outcome.flow.response.headers.get_all("set-cookie") == ["a=1; Domain=a.test;Path=/", "b=2; Domain=x"]


def test_cors_and_map_remote_fit_together(exchange: Exchange) -> None:
    for rules in (
        "  - match: host == 'a.test'\n    cors: unlock\n    map-remote: http://b.test\n",
        "  - match: host == 'a.test'\n    map-remote: http://b.test\n  - match: ~all\n    cors: unlock\n",
    ):
        same = exchange(rules, headers=[("origin", "http://a.test")])
        assert (same.upstream.headers["origin"], same.header("access-control-allow-origin")) == (
            "http://b.test",
            "http://a.test",
        )
        other = exchange(rules, headers=[("origin", "http://page.test")])
        assert other.header("access-control-allow-origin") == "http://page.test"


# no-cache, tag, log


def test_no_cache_and_a_condition_of_a_write(exchange: Exchange) -> None:
    headers = [("if-match", '"1"'), ("if-unmodified-since", "x"), ("Cache-Control", "a"), ("cache-control", "b")]
    outcome = exchange(f"{ALL}no-cache:\n", method="PUT", headers=headers)
    sent = list(outcome.upstream.headers.items(multi=True))[1:]
    assert sent == [*headers[:2], ("Cache-Control", "no-cache"), ("pragma", "no-cache")]


def test_tags(exchange: Exchange) -> None:
    rules = f"{ALL}tag: [a, 'm-${{method}}', a, '${{query[\"no\"]}}']\n  - match: response.status == 200\n    tag: a\n"
    outcome = exchange(rules)
    assert outcome.flow.tags == ["a", "m-GET"]
    assert len(outcome.hits) == 2


def test_a_line_of_the_log_stays_one_line(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rulesproxy"):
        exchange(f"{ALL}log: 'q=${{query[\"q\"]}}'\n", url="http://a.test/?q=a%0AERROR%1b[31m")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "q=a\\nERROR\\x1b[31m")


# passthrough


@pytest.mark.parametrize(
    ("sni", "tunnel", "passes"),
    [
        ("a.test", "a.test", True), ("x.a.test", "x.a.test", True), ("b.test", "b.test", False), (None, "a.test", True),
        ("a.test", "10.0.0.1", True), ("a.test", None, True), ("a.test", "b.test", False), ("b.test", "a.test", False),
        (None, None, False), ("stop.a.test", "stop.a.test", False), ("p.test", "p.test", False),
    ],
)  # fmt: skip
def test_what_is_passed_through(sni: str | None, tunnel: str | None, passes: bool) -> None:
    rules = load_rules(
        text="version: 1\nrules:\n  - match: host == 'stop.a.test'\n    stop: true\n"
        "  - match: path == '/x'\n    stop: true\n"
        "  - id: pinned\n    match: host under 'a.test' or host == 'p.test' and port == 8443\n    passthrough:\n"
        "  - match: host == 'b.test'\n    rewrite: {response: {status: 404}}\n"
    )
    hello = ClientHello(sni, client_conn=ClientConn())
    hello.client_conn.connect_host = tunnel
    rules.clienthello(hello)
    assert hello.passthrough is passes


@pytest.mark.parametrize(
    ("match", "hosts"),
    [
        ("host == 'a.test'", "*.b.test"),
        ("host under 'b.test'", "a.test"),
        ("host == 'b.test'", "a.test, *.b.test"),
        ("host == 'a.test' or host under 'b.test'", "none"),
        ("host == 'a.test' and client.ip == 10.0.0.1", "a.test, *.b.test"),
    ],
)
def test_hosts_that_are_passed_through_are_not_decrypted(match: str, hosts: str) -> None:
    rules = load_rules(
        text="version: 1\nrules:\n  - match: host == 'a.test' or host under 'b.test'\n    no-cache:\n"
        f'  - id: pinned\n    match: "{match}"\n    passthrough:\n'
    )
    assert f"  hosts decrypted: {hosts}\n" in rules.plan()


def test_the_plan_of_a_passthrough() -> None:
    rules = load_rules(text="version: 1\nrules:\n  - id: pinned\n    match: host == 'a.test'\n    passthrough:\n")
    assert not rules.wants_host("a.test")
    assert rules.plan().splitlines()[-2:] == ["  hosts decrypted: none", "  TLS passed through: pinned"]
    assert not hasattr(load_rules(text="version: 1\nrules:\n  - match: ~all\n    block:\n"), "clienthello")
