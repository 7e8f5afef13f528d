"""The `tests:` of rule files about messages of WebSockets and raw TCP."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from rulesproxy.rules.dry.dry_run import DryRun
from rulesproxy.rules.dry.judge import Verdict, coverage, judge
from rulesproxy.rules.load import load_files, load_text
from rulesproxy.rules.reading.file_schema import rules_schema

RULES = """version: 1
rules:
  - id: refused
    match: path == "/refused"
    block: 403
  - id: hello
    match: path == "/hello"
    inject-message: {to: client, json: {hello: 1}, when: open}
  - id: no-ads
    match: ws.json["type"] == "ad"
    drop-message:
  - id: pong
    match: ws.from_client and ws.text == "ping"
    inject-message: {to: client, text: pong}
    drop-message:
  - id: around
    match: ws.text == "around"
    inject-message: {to: client, text: before, when: before}
    inject-message: {to: client, text: behind}
  - id: bye
    match: ws.json["type"] == "bye"
    nth: 2
    close: {code: 4001}
  - id: cut
    match: ws.text == "cut"
    block: reset
  - id: slow
    match: ws.text == "slow"
    delay: 5s
  - id: step
    match: ws.text == "paid"
    set-state: {client.step: paid}
  - id: welcome
    match: state["client.step"] == "paid" and ws.text == "ask"
    rewrite: {message: {text: yes}}
  - id: hide
    match: not tcp.from_client and tcp.data contains "secret"
    rewrite: {message: {replace: [{text: secret, with: public}]}}
  - id: quit
    match: tcp.from_client and tcp.data contains "QUIT"
    inject-message: {to: client, text: bye}
    close:
  - id: office
    match: client.ip == 10.0.0.1 and host == "redis.test"
    block: reset
  - id: banner
    match: ~tcp and client.ip == 10.0.0.25
    inject-message: {to: client, text: "220 hi", when: open}
""".replace(
    "    inject-message: {to: client, text: before, when: before}\n    inject-message: {to: client, text: behind}\n",
    (
        "    do:\n      - inject-message: {to: client, text: before, when: before}\n"
        "      - inject-message: {to: client, text: behind}\n"
    ),
)
WS = "request: wss://feed.test/live\n    messages: "
TCP = "tcp: redis.test:6379\n    messages: "


def verdicts(tests: str, rules: str = RULES) -> list[Verdict]:
    loaded = load_text(f"{rules}tests:\n{tests}")
    assert [str(each) for each in loaded.diagnostics if each.severity == "error"] == []
    dry = DryRun(loaded.rules)
    return [judge(case, dry) for case in loaded.tests]


PASSES = {
    "dropped": WS + "[{from: server, json: {type: ad}}]\n    expect: {rules: [no-ads], status: 101, messages: none}",
    "answered": WS + "[{from: client, text: ping}]\n    expect: {rules: [pong], messages: [{to: client, text: pong}]}",
    "untouched": WS + "[{from: server, bytes: 00 ff}, {from: client, text: ''}]\n"
    "    expect: {rules: none, messages: [{to: client, bytes: 00ff}, {to: server, text: ''}]}",
    "a part of JSON": WS + "[{from: server, json: {type: x, more: [1, true]}}]\n"
    "    expect: {messages: [{to: client, json: {more: [1, true]}}]}",
    "order": WS + "[{from: server, text: around}]\n"
    "    expect: {messages: [{to: client, text: before}, {to: client, text: around}, {to: client, text: behind}]}",
    "counted and closed": WS + "[{from: server, json: {type: bye}}, {from: client, json: {type: bye}}, {from: server, text: x}]\n"
    "    expect: {rules: [bye], close: 4001, messages: [{to: client, json: {type: bye}}, {to: server, json: {type: bye}}]}",
    "cut off": WS + "[{from: server, text: a}, {from: server, text: cut}, {from: server, text: b}]\n"
    "    expect: {end: reset, status: 101, messages: [{to: client, text: a}]}",
    "nobody waits": WS + "[{from: server, text: slow}]\n    expect: {rules: [slow], messages: [{to: client, text: slow}]}",
    "opened": "request: ws://feed.test/hello\n    expect: {rules: [hello], messages: [{to: client, json: {hello: 1}}]}",
    "upgraded by hand": "request: {url: 'https://feed.test/x', headers: {upgrade: WebSocket}}\n"
    "    messages: [{from: server, json: {type: ad}}]\n    expect: {rules: [no-ads], messages: []}",
    "the handshake": "request: wss://feed.test/live\n    response: {headers: {x-a: '1'}}\n    expect: {status: 101, headers: "
    "{x-a: '1', sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=}, upstream: {url: 'https://feed.test/live', headers: {upgrade: websocket}}}",
    "refused by a rule": "request: wss://feed.test/refused\n    messages: [{from: client, text: ping}]\n"
    "    expect: {rules: [refused], status: 403, messages: none}",
    "refused by the server": WS + "[{from: client, text: ping}]\n    response: 401\n    expect: {rules: [], status: 401, messages: none}",
    "a server that is down": WS + "[{from: client, text: ping}]\n    error: refused\n    expect: {rules: [], status: 502}",
    "bytes": TCP + "[{from: server, text: a secret}]\n    expect: {rules: [hide], messages: [{to: client, text: a public}]}",
    "bytes in pieces": TCP + "[{from: server, text: a sec}, {from: server, text: ret!}]\n"
    "    expect: {messages: [{to: client, text: 'a public!'}]}",
    "expected in pieces": TCP + "[{from: server, text: abc}, {from: server, bytes: 64 ff}]\n"
    "    expect: {messages: [{to: client, text: a}, {to: client, text: b}, {to: client, bytes: 63 64 ff}]}",
    "the other side ends a word": TCP + "[{from: server, text: a sec}, {from: client, text: x}, {from: server, text: ret}]\n"
    "    expect: {rules: [], messages: [{to: client, text: a sec}, {to: server, text: x}, {to: client, text: ret}]}",
    "closed": TCP + "[{from: client, text: QUIT}, {from: server, text: x}]\n"
    "    expect: {rules: [quit], end: close, messages: [{to: server, text: QUIT}, {to: client, text: bye}]}",
    "refused at its beginning": "tcp: {address: 'redis.test:6379', client: 10.0.0.1}\n    messages: [{from: client, text: x}]\n"
    "    expect: {rules: [office], end: reset, messages: none}",
    "another client": "tcp: {address: 'redis.test:6379', client: 10.0.0.2}\n    expect: {rules: none, messages: none}",
    "greeted": "tcp: {address: '[::1]:25', client: 10.0.0.25}\n    expect: {rules: [banner], messages: [{to: client, text: 220 hi}]}",
    "steps on one state": "steps:\n      - {request: 'wss://feed.test/', messages: [{from: client, text: ask}], expect: {messages: [{to: server, text: ask}]}}\n"
    "      - {request: 'wss://feed.test/', messages: [{from: client, text: paid}], expect: {rules: [step]}}\n"
    "      - {tcp: 'a.test:1', messages: [{from: client, text: ask}], expect: {messages: [{to: server, text: ask}]}}\n"
    "      - {request: 'GET http://feed.test/refused', expect: {status: 403}}\n"
    "      - {request: 'wss://feed.test/', messages: [{from: client, text: ask}], expect: {rules-include: [welcome], messages: [{to: server, text: 'yes'}]}}",
}  # fmt: skip


@pytest.mark.parametrize("name", PASSES)
def test_what_holds(name: str) -> None:
    (verdict,) = verdicts(f"  - name: it\n    {PASSES[name]}\n")
    assert verdict.failures == ()


FAILS = {
    # the test, and all that is said about it, what stands first as the title
    "another message": (WS + "[{from: client, text: x}]\n    expect: {messages: [{to: server, text: y}]}",
        ["the server gets `x`"]),
    "another side": (WS + "[{from: client, text: x}]\n    expect: {messages: [{to: client, text: x}]}",
        ["message 1 goes to the server: `x`"]),
    "another kind": (WS + "[{from: client, text: x}]\n    expect: {messages: [{to: server, bytes: 78}]}",
        ["the server gets `x`"]),
    "a binary one": (WS + "[{from: client, bytes: 00 ff}]\n    expect: {messages: [{to: server, text: x}]}",
        ["the server gets bytes 00 ff"]),
    "nothing": (WS + "[{from: client, json: {type: ad}}]\n    expect: {messages: [{to: server, text: x}]}",
        ["no message arrives"]),
    "too few": (WS + "[{from: client, text: x}]\n    expect: {messages: [{to: server, text: x}, {to: server, text: y}]}",
        ["no such message arrives"]),
    "too many": (WS + "[{from: client, text: x}, {from: client, bytes: 00}]\n    expect: {messages: [{to: server, text: x}]}",
        ["one more arrives: the server gets bytes 00"]),
    "JSON": (WS + "[{from: client, json: {a: 1, b: 2}}]\n    expect: {messages: [{to: server, json: {a: 2, b: 3}}]}",
        ["`$.a` is 1", "`$.b` is 2"]),
    "no JSON": (WS + "[{from: client, text: x}]\n    expect: {messages: [{to: server, json: {a: 2}}]}",
        ["the message is not JSON: `x`"]),
    "closed by nobody": (WS + "[{from: client, json: {type: bye}}]\n    expect: {close: 4001}", ["no rule ends it"]),
    "closed otherwise": (WS + "[{from: client, json: {type: bye}}, {from: client, json: {type: bye}}]\n    expect: {close: 4002}",
        ["a rule closes it with 4001"]),
    "cut off": (WS + "[{from: client, text: cut}]\n    expect: {close: 4001}", ["a rule ends it (reset)"]),
    "no beginning": (WS + "[]\n    response: 403\n    expect: {messages: [{to: client, text: x}], close: 1000}",
        ["the WebSocket does not begin: the status is 403", "the WebSocket does not begin: the status is 403"]),
    "nearest message": (WS + "[{from: server, text: x}, {from: client, text: pin}, {from: server, text: ping}]\n    expect: {rules: [pong]}",
        ["rule `pong` did not match", "`ws.text` is `pin` in message 2"]),
    "not let through": (WS + "[{from: server, json: {type: bye}}, {from: client, text: x}]\n    expect: {rules: [bye]}",
        ["rule `bye` did not match", "its filter is true in message 1, but `nth` did not let it through"]),
    "dropped above": (WS + "[{from: server, json: {type: ad}}]\n    expect: {rules-include: [slow]}",
        ["rule `slow` did not match", "message 1: `no-ads` has dropped it, or ended the conversation"]),
    "no message": (WS + "[]\n    expect: {rules: [slow]}", ["rule `slow` did not match", "no message came to it"]),
    "state": (WS + "[{from: server, text: ask}]\n    expect: {rules: [welcome]}",
        ["rule `welcome` did not match", '`state["client.step"]` has no value']),
    "matched too": (WS + "[{from: client, text: ping}]\n    expect: {rules: none}", ["rule `pong` matched too", "matched"]),
    "a rule about TCP": (WS + "[{from: client, text: QUIT}]\n    expect: {rules: [quit]}",
        ["rule `quit` did not match", "it acts on messages, or on connections of another kind: there are none here"]),
    "a rule about messages": ("request: GET http://a.test/\n    expect: {rules: [slow]}",
        ["rule `slow` did not match", "it acts on messages, or on connections of another kind: there are none here"]),
    "a rule about requests": (TCP + "[]\n    expect: {rules: [refused]}",
        ["rule `refused` did not match", "it does not act on raw TCP"]),
    "other bytes": (TCP + "[{from: server, text: ab}]\n    expect: {messages: [{to: client, text: a}, {to: client, text: c}]}",
        ["the client gets `b`"]),
    "more bytes": (TCP + "[{from: server, bytes: 61 00 ff}]\n    expect: {messages: [{to: client, text: a}]}",
        ["more arrives: the client gets bytes 00 ff"]),
    "fewer bytes": (TCP + "[{from: server, text: a}]\n    expect: {messages: [{to: client, text: a}, {to: server, text: c}]}",
        ["nothing more arrives"]),
    "no bytes": (TCP + "[]\n    expect: {messages: [{to: server, text: c}]}", ["nothing arrives"]),
    "bytes for the other": (TCP + "[{from: server, text: a}]\n    expect: {messages: [{to: server, text: a}]}",
        ["the client gets `a`"]),
    "a word that was not there": (TCP + "[{from: server, text: secre}]\n    expect: {rules: [hide], end: close}",
        ["rule `hide` did not match", "`tcp.data` is `secre`", "no rule ends it"]),
    "a beginning": ("tcp: {address: 'redis.test:1', client: 10.0.0.2}\n    expect: {rules: [office]}",
        ["rule `office` did not match", "`client.ip` is `10.0.0.2`"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILS)
def test_what_is_said_of_a_failure(name: str) -> None:
    test, (first, *rest) = FAILS[name]
    (verdict,) = verdicts(f"  - name: it\n    {test}\n")
    (failure,) = verdict.failures
    assert failure.title.startswith(f"test `it`: {first}")
    assert sorted(label.text for label in failure.labels) == sorted(rest)


def test_the_marks_stand_where_the_mistakes_are() -> None:
    tests = "  - name: it\n    request: wss://feed.test/\n    messages:\n      - {from: client, text: pin}\n    expect:\n      rules: [pong]\n"
    tests += "      messages:\n        - {to: client, text: pong}\n      close: 4001\n"
    (verdict,) = verdicts(tests)
    (failure,) = verdict.failures
    lines = f"{RULES}tests:\n{tests}".splitlines()

    def marked(line: int, start: int, end: int) -> str:
        return lines[line - 1][start - 1 : end - 1]

    places = [failure.span, *[label.span for label in failure.labels]]
    assert [marked(span.line, span.column, span.end_column) for span in places] == [
        "pong", 'ws.text == "ping"', "{to: client, text: pong}", "4001",
    ]  # fmt: skip
    assert failure.notes == (
        "what arrives: to the server `pin`",
        "no rule matched; the nearest is `pong`: `ws.text` is `pin`",
    )


MISTAKES = {
    # the keys of a test, the code, the marked text and the title
    "messages of a request": ("request: GET http://a.t/\nmessages: [{from: client, text: x}]\nexpect: {rules: []}",
        "RP905", "messages", "`messages`: only WebSockets and raw TCP have messages"),
    "expected of a request": ("request: GET http://a.t/\nexpect: {messages: none}",
        "RP905", "messages", "`messages`: this request begins no conversation"),
    "the end of a request": ("request: GET http://a.t/\nexpect: {close: 1000}",
        "RP905", "close", "`close`: this request begins no conversation"),
    "both": ("request: GET http://a.t/\ntcp: a.t:1\nexpect: {rules: []}",
        "RP905", "tcp", "`tcp` beside `request`: a request, or a connection of raw TCP"),
    "a response of TCP": ("tcp: a.t:1\nresponse: 200\nexpect: {rules: []}",
        "RP905", "response", "`response`: raw TCP has no requests and responses"),
    "a status of TCP": ("tcp: a.t:1\nexpect: {status: 200}",
        "RP905", "status", "`status`: raw TCP has no requests and responses"),
    "a code of TCP": ("tcp: a.t:1\nexpect: {close: 1000}", "RP905", "close", "`close`: raw TCP has no codes"),
    "JSON of TCP": ("tcp: a.t:1\nexpect: {messages: [{to: client, json: 1}]}",
        "RP905", "{to: client, json: 1}", "bytes of raw TCP have no borders, and are no JSON"),
    "nothing over TCP": ("tcp: a.t:1\nmessages: [{from: client, text: ''}]\nexpect: {rules: []}",
        "RP905", "{from: client, text: ''}", "nobody can send no bytes"),
    "no port": ("tcp: a.t\nexpect: {rules: []}", "RP904", "a.t", "`a.t` has no port"),
    "no address": ("tcp: {address: 'a b:1'}\nexpect: {rules: []}", "RP904", "'a b:1'", "`a b:1` is not a host with an optional port"),
    "no client": ("tcp: {address: 'a.t:1', client: me}\nexpect: {rules: []}", "RP904", "me", "`me` is no IP address"),
    "two ends": ("request: ws://a.t/\nexpect: {end: reset, close: 1000}", "RP905", "close", "`close` beside `end`: a conversation ends once"),
    "no code": ("request: ws://a.t/\nexpect: {close: 1005}", "RP680", "1005", "a WebSocket cannot be closed with code 1005"),
    "posted": ("request: POST ws://a.t/\nexpect: {rules: []}", "RP904", "POST ws://a.t/", "a WebSocket begins with GET, not with POST"),
    "101 of a request": ("request: GET http://a.t/\nexpect: {status: 101}", "RP905", "101", "only the handshake of a WebSocket is answered with 101"),
    "101 to a request": ("request: GET http://a.t/\nresponse: 101\nexpect: {rules: []}", "RP905", "101", "only the handshake of a WebSocket is answered with 101"),
    "102": ("request: ws://a.t/\nexpect: {status: 102}", "RP104", "102", "`status` is a number from 200 to 599, got 102"),
    "from nobody": ("request: ws://a.t/\nmessages: [{text: x}]\nexpect: {rules: []}", "RP103", "{text: x}", "`a message` needs `from`"),
    "from somebody": ("request: ws://a.t/\nmessages: [{from: me, text: x}]\nexpect: {rules: []}", "RP104", "me", "`from` is one of client, server; got `me`"),
    "wrong way": ("request: ws://a.t/\nmessages: [{to: client, text: x}]\nexpect: {rules: []}", "RP101", "to", "unknown key `to` in `a message`"),
    "says nothing": ("request: ws://a.t/\nmessages: [{from: client}]\nexpect: {rules: []}", "RP905", "{from: client}", "this message says nothing"),
    "says two things": ("request: ws://a.t/\nmessages: [{from: client, text: x, json: 1}]\nexpect: {rules: []}",
        "RP607", "json", "`text` and `json` both are what the message says"),
    "no digits": ("request: ws://a.t/\nexpect: {messages: [{to: client, bytes: xy}]}", "RP104", "xy", "`bytes` wants hexadecimal digits, got `xy`"),
    "a text alone": ("request: ws://a.t/\nmessages: [hello]\nexpect: {rules: []}", "RP103", "hello", "`a message` wants keys with values, got `hello`"),
    "beside steps": ("tcp: a.t:1\nsteps: [{request: 'ws://a.t/', expect: {rules: []}}]", "RP905", "tcp", "`tcp` beside `steps`: every step has its own"),
    "a step without": ("steps: [{expect: {rules: []}}]", "RP905", "{expect: {rules: []}}", "this test has no request"),
    "expects nothing": ("tcp: a.t:1", "RP905", "tcp", "this test expects nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_have_a_place(name: str) -> None:
    keys, code, marked, title = MISTAKES[name]
    text = "version: 1\nrules: []\ntests:\n  - " + keys.replace("\n", "\n    ") + "\n"
    (found,) = load_text(text).diagnostics
    assert found.span is not None
    line = text.splitlines()[found.span.line - 1]
    end = found.span.end_column if found.span.end_line == found.span.line else len(line) + 1
    assert (found.code, line[found.span.column - 1 : end - 1], found.title) == (code, marked, title)


def test_editors_accept_what_is_read() -> None:
    validator = jsonschema.Draft7Validator(rules_schema())
    message = {"from": "client", "text": "x"}
    good = [
        {
            "request": "ws://a.t/",
            "messages": [message, {"from": "server", "json": {"a": 1}}],
            "expect": {"messages": "none"},
        },
        {
            "tcp": "a.t:1",
            "messages": message,
            "expect": {"messages": [{"to": "client", "bytes": "00 ff"}], "end": "reset"},
        },
        {"tcp": {"address": "a.t:1", "client": "10.0.0.1"}, "expect": {"rules": []}},
        {"steps": [{"tcp": "a.t:1", "expect": {"messages": []}}, {"request": "ws://a.t/", "expect": {"close": 4001}}]},
    ]
    bad = [
        {"request": "ws://a.t/", "messages": [{"from": "me", "text": "x"}], "expect": {}},
        {"request": "ws://a.t/", "messages": [{"to": "client", "text": "x"}], "expect": {}},
        {"request": "ws://a.t/", "messages": [{"from": "client"}], "expect": {}},
        {"request": "ws://a.t/", "expect": {"close": "soon"}},
        {"steps": [{"expect": {"rules": []}}]},
    ]
    for tests, valid in ((good, True), (bad, False)):
        for test in tests:
            file = {"version": 1, "rules": [], "tests": [test]}
            assert validator.is_valid(file) is valid, test


def test_coverage_counts_messages() -> None:
    rules = """version: 1
rules:
  - {id: ad, match: "ws.json['type'] == 'ad'", drop-message: }
  - {id: any, match: has(ws.text), tag: x}
  - {id: bytes, match: tcp.data contains 'a', drop-message: }
  - {id: gone, match: tcp.data contains 'b', drop-message: }
  - {id: office, match: host == 'a.t' and port == 25, block: reset}
  - {id: banner, match: tcp.from_client, inject-message: {to: client, text: x}}
  - {id: page, match: path == '/x', block: }
  - {id: events, match: event.data == 'a', drop-message: }
"""
    tests = """
  - {request: "wss://a.t/", messages: [{from: client, json: {type: ad}}, {from: client, text: x}], expect: {rules: [ad, any]}}
  - {tcp: "a.t:26", messages: [{from: server, text: a}], expect: {rules: [bytes]}}
  - {request: "GET http://a.t/x", expect: {rules: [page]}}
"""
    loaded, found = load_text(rules), verdicts(tests, rules)
    assert [verdict.failures for verdict in found] == [(), (), ()]
    gaps = {gap.rule.name: gap for gap in coverage(loaded.rules, found)}
    assert {name: (gap.matched, gap.unit) for name, gap in gaps.items()} == {
        "bytes": (True, "message"), "gone": (False, "message"), "office": (False, "request"),
        "banner": (False, "message"), "events": (False, "request"),
    }  # fmt: skip
    assert gaps["gone"].diagnostic().title == "no test has a message that rule `gone` matches"
    assert gaps["bytes"].diagnostic().title == "no test has a message that rule `bytes` does not match"
    refused = '  - {tcp: "a.t:25", expect: {rules: [office], end: reset}}\n'
    assert "office" not in [gap.rule.name for gap in coverage(loaded.rules, verdicts(tests + refused, rules))]


def test_both_branches_of_a_sample() -> None:
    rules = "version: 1\nrules:\n  - {id: some, match: ws.from_client, sample: 1%, drop-message: }\n  - {id: all, match: tcp.from_client, sample: 1%, drop-message: }\n"
    tests = "".join(
        f"  - {{{kind}, messages: [{{from: client, text: x}}], sampled: {sampled}, expect: {{rules: {hits}}}}}\n"
        for kind, rule in (("request: 'ws://a.t/'", "some"), ("tcp: 'a.t:1'", "all"))
        for sampled, hits in (("true", f"[{rule}]"), ("false", "none"))
    )
    assert [verdict.passed for verdict in verdicts(tests, rules)] == [True] * 4


def test_every_test_begins_anew() -> None:
    rules = "version: 1\nrules:\n  - {id: r, match: ws.from_client, rewrite: {message: {text: '${counter}'}}}\n"
    test = "  - {request: 'ws://a.t/', messages: [{from: client, text: x}, {from: client, text: x}], expect: {messages: [{to: server, text: '1'}, {to: server, text: '2'}]}}\n"
    assert [verdict.failures for verdict in verdicts(test * 3, rules)] == [()] * 3


def test_functions_that_wait_fail_and_others_act(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text(
        "import asyncio\n\nasync def upper(flow):\n    flow.messages[-1].content = flow.messages[-1].content.upper()\n\n"
        "async def wait(flow):\n    await asyncio.sleep(1)\n"
    )
    (tmp_path / "rules.yaml").write_text(
        "version: 1\nrules:\n  - {id: wait, match: ws.from_client, run: helpers.py:wait}\n"
        "  - {id: upper, match: has(ws.text), run: helpers.py:upper}\ntests:\n"
        "  - {request: 'ws://a.t/', messages: [{from: client, text: x}], expect: {rules: [wait, upper], messages: [{to: server, text: X}]}}\n"
    )
    loaded = load_files([tmp_path / "rules.yaml"])
    assert [str(each) for each in loaded.diagnostics] == []
    assert judge(loaded.tests[0], DryRun(loaded.rules)).failures == ()


def test_a_later_rule_is_explained_by_what_it_saw() -> None:
    rules = """version: 1
rules:
  - {id: first, match: ws.text == 'a', rewrite: {message: {text: b}}, tag: x}
  - {id: second, match: flow.tags == 'x' and ws.text == 'a', tag: y}
  - {id: third, match: host == 'b.t' and ws.text == 'b', tag: z}
  - {id: moved, match: path == '/old', rewrite: {request: {path: /new}}}
  - {id: fourth, match: path == '/old' and ws.text == 'b', tag: z}
"""
    test = "  - {request: 'ws://a.t/old', messages: [{from: client, text: a}], expect: {rules: [moved, first, second, third, fourth]}}\n"
    (verdict,) = verdicts(test, rules)
    assert sorted(label.text for label in verdict.failures[0].labels) == [
        "`host` is `a.t`", "`path` is `/new`", "`ws.text` is `b`", "rule `fourth` did not match", "rule `third` did not match",
    ]  # fmt: skip
