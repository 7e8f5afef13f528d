"""Templates: what names and filters give, what is known when the file is loaded, and what never leaves its place."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from rulesproxy.flow.error import FlowError
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.load import load_text
from rulesproxy.rules.outside import Outside
from rulesproxy.rules.ruleset import RuleSet, load_rules
from tests.support.deciding import complete

Exchange = Callable[..., Any]


class World:
    """A clock that moves when it is told to, and identifiers that count."""

    def __init__(self) -> None:
        self.time = 1767225600.9
        self.made = 0

    def outside(self) -> Outside:
        return Outside(lambda: self.time, lambda: 0.0, self.uuid, "0")

    def uuid(self) -> str:
        self.made += 1
        return f"uuid-{self.made}"


def load(rules: str, world: World | None = None) -> RuleSet:
    return load_rules(text="version: 1\nrules:\n" + rules, outside=(world or World()).outside())


def respond(template: str, match: str = "~all") -> str:
    quoted = template.replace("'", "''")
    return f"  - id: it\n    match: '{match}'\n    respond:\n      body: '{quoted}'\n"


VALUES = [
    ("${now}", "2026-01-01T00:00:00Z"),
    ("${now | unix}", "1767225600"),
    ("${now | http}", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ("${now | json}", '"2026-01-01T00:00:00Z"'),
    ("${now | lower}", "2026-01-01t00:00:00z"),
    ("${uuid} ${uuid | upper}", "uuid-1 UUID-1"),
    ("${counter}", "1"),
    ("${method | lower}", "post"),
    ("${query['q']}", 'a"<&b'),
    ("${query['q'] | json}", '"a\\"<&b"'),
    ("${query['q'] | url}", "a%22%3C%26b"),
    ("${query['q'] | html}", "a&quot;&lt;&amp;b"),
    ("${query['q'] | base64}", "YSI8JmI="),
    ("${query['q'] | upper | json}", '"A\\"<&B"'),
    ("${request.header['x-pad'] | trim}", "é x"),
    ("${query['none']}", ""),
    ("${query['none'] | json}", ""),
    ("${query['none'] | default('a|b}')}", "a|b}"),
    ("${query['none'] | upper | default('x')}", "x"),
    ("${query['n'] | int}", "7"),
    ("${query['m'] | trim | int}", "-12"),
    ("${state['flow.none'] | default('nothing')}", "nothing"),
    ("$${now} $$ $ {x} ${method}$", "${now} $$ $ {x} POST$"),
    ("$${${method}}", "${POST}"),
    ("${vars.who} ${vars.who | upper}", "ann ANN"),
    ("${env:SET} ${env:SET | lower} ${env:UNSET | default('d')}", "Value value d"),
]


@pytest.mark.parametrize("value", ["1_0", "%D9%A3", "0x1", "1.0", "", "+", "1" * 21])
def test_what_is_no_number_is_none(exchange: Exchange, value: str) -> None:
    rule = respond("${query['n'] | int}") + "    on-error: closed\n"
    outcome = exchange(load(rule), method="POST", url=f"http://a.test/?n={value}")
    assert outcome.status == 502
    assert "(on-error: closed)" in outcome.flow.response.text


@pytest.mark.parametrize("half", ["\\ud800", "\\udc80", "é\\udfff"])
def test_json_is_json_whatever_is_in_it(exchange: Exchange, half: str) -> None:
    rule = """
  - match: ~all
    respond:
      json:
        "${request.json['a']}": "${request.json['a']}"
        typed: "${request.json['a'] | json}"
        whole: "${request.json | json}"
        byte: "${query['b']}"
"""
    body = f'{{"a": "{half}"}}'.encode()
    outcome = exchange(load(rule), method="POST", url="http://a.test/?b=%E9", body=body)
    value = json.loads(body)["a"]
    assert json.loads(outcome.flow.response.content.decode()) == {
        value: value, "typed": value, "whole": {"a": value}, "byte": "\udce9",
    }  # fmt: skip


@pytest.mark.parametrize(("template", "text"), VALUES)
def test_what_a_template_gives(exchange: Exchange, monkeypatch: pytest.MonkeyPatch, template: str, text: str) -> None:
    monkeypatch.setenv("SET", "Value")
    monkeypatch.delenv("UNSET", raising=False)
    rules = load_rules(text=f"version: 1\nvars: {{who: ann}}\nrules:\n{respond(template)}", outside=World().outside())
    sent = exchange(
        rules, method="POST", url="http://a.test/?q=a%22%3C%26b&n=007&m=+-12", headers=[("x-pad", "  é x ")]
    )
    assert sent.text == text


def test_the_time_is_that_of_the_moment_and_the_identifier_that_of_the_flow(exchange: Exchange) -> None:
    world = World()
    rules = load(
        "  - id: one\n    match: ~all\n    rewrite:\n"
        "      request: {headers: {x-t: '${now | unix}', x-u: '${uuid}'}}\n"
        "      response: {headers: {x-t: '${now | unix}', x-u: '${uuid}'}}\n"
        "  - id: two\n    match: ~all\n    rewrite: {response: {headers: {x-v: '${uuid}'}}}\n",
        world,
    )

    def wait(flow: HTTPFlow) -> None:
        world.time += 10

    first = exchange(rules, between=wait)
    assert (first.upstream.headers["x-t"], first.header("x-t")) == ("1767225600", "1767225610")
    assert first.upstream.headers["x-u"] == first.header("x-u") == first.header("x-v") == "uuid-1"
    assert exchange(rules).header("x-v") == "uuid-2"


def test_error_fields(exchange: Exchange) -> None:
    assert (
        exchange(load("  - match: ~all\n    rewrite: {response: {headers: {x: 'e${error.kind}'}}}\n")).header("x")
        == "e"
    )
    rules = load("  - match: has(error.kind)\n    respond: {body: '${error.kind}: ${error.message}'}\n")
    flow = HTTPFlow.make("GET", "http://a.test/")
    rules.requestheaders(flow)  # type: ignore[attr-defined]
    flow.error = FlowError("nobody there", "refused")
    complete(rules.error(flow))  # type: ignore[attr-defined]
    assert flow.response is not None
    assert flow.response.text == "refused: nobody there"


def test_typed_scalars(exchange: Exchange) -> None:
    rules = load(
        """
  - match: path like "/{id}"
    respond:
      json:
        id: ${id | int}
        text: ${id}
        both: ${id | int} of 9
        time: ${now | unix}
        word: ${query["q"] | json}
        gone: ${query["none"] | int}
        plain: [1.10, no, "1", 0x10, ~, ${id | upper}]
""".replace('[1.10, no, "1", 0x10, ~, ${id | upper}]', '[1.10, no, "1", 0x10, ~]')
    )
    body = exchange(rules, url="http://a.test/7?q=%22").text
    assert json.loads(body) == {
        "id": 7, "text": "7", "both": "7 of 9", "time": 1767225600, "word": '"', "gone": None,
        "plain": [1.10, "no", "1", 16, None],
    }  # fmt: skip


def test_secrets_are_the_values_of_the_environment_that_are_used() -> None:
    text = """
version: 1
vars:
  token: ${env:TOKEN}
  more: Bearer ${env:OTHER} ${env:SHORT} ${env:UNSET | default('open')}
  open: in the open
rules:
  - match: host == $token
    block: {body: "${env:THIRD | lower} ${vars.more | base64} ${vars.open | upper}"}
"""
    env = {"TOKEN": "t0ken", "OTHER": "0ther", "SHORT": "abc", "THIRD": "Th1rd", "UNUSED": "unused"}
    loaded = load_text(text, env=env)
    assert loaded.diagnostics == ()
    derived = {"th1rd", base64.b64encode(b"Bearer 0ther abc open").decode()}
    assert loaded.secrets == {"t0ken", "0ther", "Th1rd", *derived}
    assert RuleSet.of(loaded).secrets == loaded.secrets
    assert RuleSet.empty().secrets == frozenset()


@pytest.mark.parametrize(
    ("template", "code", "words"),
    [
        ("${nwo}", "RP605", "did you mean `${now}`"),
        ("${uid}", "RP605", "did you mean `${uuid}`"),
        ("${env:UNSET_NAME}", "RP605", "set the environment variable UNSET_NAME"),
        ("${env:UNSET_NAME | upper}", "RP605", "set the environment variable"),
        ("${path | uper}", "RP615", "did you mean `upper`"),
        ("${path | default(x)}", "RP615", "did you mean `default`"),
        ("${path | unix}", "RP615", "write `${now | unix}`"),
        ("${now | lower | http}", "RP615", "write `${now | http}`"),
        ("${vars.who | int}", "RP615", ""),
        ("${now", "RP615", "close it"),
        ("${state['step']}", "RP605", ""),
    ],
)
def test_what_is_known_when_the_file_is_loaded(template: str, code: str, words: str) -> None:
    loaded = load_text(f"version: 1\nvars: {{who: ann}}\nrules:\n{respond(template)}", env={})
    assert [(each.code, each.severity) for each in loaded.diagnostics] == [(code, "error")]
    assert words in loaded.diagnostics[0].help


def test_a_capture_wins_over_a_field(exchange: Exchange) -> None:
    rules = load(respond("${host} ${now} ${method}", 'path ~ "^/(?P<host>[a-z]+)/(?P<now>[a-z]+)"'))
    assert [(each.code, each.severity) for each in rules.warnings] == [("RP805", "warning")] * 2
    assert exchange(rules, url="http://a.test/x/y").text == "x y GET"


# What never leaves its place

HOSTILE = [
    'a"b', "a'b", "a\\b", "a\r\nx-evil: 1", "a\nb", "a\0b", "<script>", "a;b=c", "a, b", "a&b=c", "a#b", "a?b", "../../etc",
    "..\\..\\x", "%2e%2e/x", "//evil.test/", "/\\evil.test", "@evil.test", "evil.test:80", "a b", "é\u202e", "${method}",
    "\\1\\g<0>", '"}, "admin": true, {"', "\x1b[31m", "a%0d%0ab", "\ud800", "",
]  # fmt: skip


def send(exchange: Exchange, action: str, value: str, method: str = "POST") -> Any:
    """A rule that takes a hostile value from the request, which carries it in JSON, so that nothing is lost of it."""
    rules = load(f'  - id: it\n    match: has(request.json["v"])\n    {action}\n')
    return exchange(
        rules, method=method, body=json.dumps({"v": value}).encode(), headers=[("content-type", "application/json")]
    )


V = '${request.json["v"]}'
PLACES = {
    "header": f"rewrite: {{request: {{headers: {{x-a: '1{V}'}}}}}}",
    "response header": f"respond: {{headers: {{x-a: '1{V}'}}}}",
    "cookie": f"rewrite: {{request: {{cookies: {{c: '1{V}'}}}}}}",
    "set-cookie": f"rewrite: {{response: {{cookies: {{c: '1{V}'}}}}}}",
    "query": f"rewrite: {{request: {{query: {{q: '1{V}'}}}}}}",
    "path": f"rewrite: {{request: {{path: '/p/{V}/end'}}}}",
    "url path": f"redirect: 'https://good.test/p/{V}'",
    "local": f"redirect: '/{V}'",
    "url host": f"redirect: 'https://{V}.good.test/'",
    "json": f"respond: {{json: {{a: '{V}', b: 1}}}}",
    "json key": f"respond: {{json: {{'k{V}': 1, b: 1}}}}",
    "typed json": "respond: {json: {a: '${request.json[\"v\"] | json}', b: 1}}",
    "json edit": f"rewrite: {{request: {{json: {{set: {{$.n: '{V}'}}}}}}}}",
    "replace": f"rewrite: {{response: {{body: {{replace: {{regex: '(h)i', with: '{V}'}}}}}}}}",
    "host": f"rewrite: {{request: {{host: '{V}'}}}}",
}


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("place", PLACES)
def test_a_hostile_value_stays_in_its_place(
    exchange: Exchange, caplog: pytest.LogCaptureFixture, place: str, value: str
) -> None:
    outcome = send(exchange, PLACES[place], value)
    flow = outcome.flow
    messages = [message for message in (outcome.upstream, flow.response) if message is not None]
    for message in messages:
        names = [name for name, _ in message.headers.fields]
        assert not {b"x-evil", b"admin"} & {name.lower() for name in names}, names
        for name, held in message.headers.fields:
            assert not {0, 10, 13} & set(held), (name, held)
    failed = any("rule it" in record.getMessage() for record in caplog.records)
    if value == "\ud800" and failed:
        # Half a character cannot go over the wire at all.
        assert outcome.flow.response.status_code == 200
        return
    CHECKS[place](outcome, value, failed)


def check_header(outcome: Any, value: str, failed: bool) -> None:
    held = outcome.upstream.headers.get_all("x-a")
    assert len(held) == (0 if failed else 1)
    assert failed == bool({"\r", "\n", "\0"} & set(value))


def check_answer_header(outcome: Any, value: str, failed: bool) -> None:
    if not failed:
        assert len(outcome.flow.response.headers.get_all("x-a")) == 1


def check_cookie(outcome: Any, value: str, failed: bool) -> None:
    if not failed:
        assert [name for name, _ in outcome.upstream.cookies.items(multi=True)] == ["c"]


def check_set_cookie(outcome: Any, value: str, failed: bool) -> None:
    if not failed:
        (header,) = outcome.flow.response.headers.get_all("set-cookie")
        assert ";" not in header


def check_query(outcome: Any, value: str, failed: bool) -> None:
    assert not failed
    assert [name for name, _ in outcome.upstream.query.items(multi=True)] == ["q"]
    assert "#" not in outcome.upstream.path


def check_path(outcome: Any, value: str, failed: bool) -> None:
    path = outcome.upstream.path
    if failed:
        assert path == "/"
        return
    assert path.startswith("/p/")
    assert path.endswith("/end")
    assert not set(path) & set('?#\\ \r\n\0"<>')
    assert "/../" not in path


def location(outcome: Any) -> str | None:
    return outcome.header("location")


def check_url_path(outcome: Any, value: str, failed: bool) -> None:
    if not failed:
        target = location(outcome)
        assert target is not None
        assert target.startswith("https://good.test/p/")
        assert not set(target) & set('?#\\ \r\n\0"<>')


def check_local(outcome: Any, value: str, failed: bool) -> None:
    if not failed:
        target = location(outcome)
        assert target is not None
        assert target.startswith("/")
        assert not target.startswith(("//", "/\\"))


def check_url_host(outcome: Any, value: str, failed: bool) -> None:
    if not failed:
        target = location(outcome)
        assert target is not None
        assert target.endswith(".good.test/")
        assert target.count("/") == 3


def check_json(outcome: Any, value: str, failed: bool) -> None:
    assert not failed
    body = json.loads(outcome.flow.response.content.decode())
    assert len(body) == 2
    assert body["b"] == 1


def check_json_edit(outcome: Any, value: str, failed: bool) -> None:
    body = json.loads((outcome.upstream.content or b"").decode())
    assert set(body) <= {"v", "n"}


def check_replace(outcome: Any, value: str, failed: bool) -> None:
    assert not failed


def check_host(outcome: Any, value: str, failed: bool) -> None:
    host = outcome.upstream.host
    assert not set(host) & set("/\\?#@ \r\n\0:")


CHECKS: dict[str, Callable[[Any, str, bool], None]] = {
    "header": check_header, "response header": check_answer_header, "cookie": check_cookie,
    "set-cookie": check_set_cookie, "query": check_query, "path": check_path, "url path": check_url_path,
    "local": check_local, "url host": check_url_host, "json": check_json, "json key": check_json,
    "typed json": check_json, "json edit": check_json_edit, "replace": check_replace, "host": check_host,
}  # fmt: skip


def test_a_body_takes_what_it_is_given_and_a_filter_makes_it_safe_for_a_page(exchange: Exchange) -> None:
    assert send(exchange, f"respond: {{body: '{V}'}}", "<b>${method}").text == "<b>${method}"
    assert send(exchange, "respond: {body: '<i>${request.json[\"v\"] | html}</i>'}", "<b>").text == "<i>&lt;b&gt;</i>"
