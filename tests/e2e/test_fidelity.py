"""What a rule does not name keeps its bytes: whole messages over real sockets, compared byte by byte, for every action."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rulesproxy import load_rules
from rulesproxy.rules.actions import ACTIONS
from tests.e2e.test_scenarios import Names
from tests.support.origin import Origin
from tests.support.running import client_of, running
from tests.support.wire import Request

BODY = b'{ "b" : 1.0,\t"a":[ 1 ,2], "a\\u0062":"\\/" }'
ODD = (
    "x-lower: 1", "X-UPPER: 2", "X-Twice: b", "x-twice: a", "X-Empty: ", "X-Twice: b", "X-Bytes: caf\xe9 \xff",
    'X-Quoted: "a, b" ;c', "X_Under.score~: tab\there", "X-Long: " + "y" * 5000,
)  # fmt: skip
"""Fields that a careless proxy changes: in spelling, order, number, blanks or bytes."""
REQUEST_FIELDS = (
    *ODD[:4], "hOsT: a.t", *ODD[4:], "Cookie: a=1; b=2", "cookie: c=3", "Origin: http://a.t", "REFERER: http://a.t/r?s",
    'If-None-Match: "v"', "If-Match: *", "Cache-Control: max-age=0,  no-transform", "Accept-Encoding: gzip, x-odd;q=0",
    "content-TYPE: application/json ; charset=UTF-8", f"Content-length: {len(BODY)}",
)  # fmt: skip
RESPONSE_FIELDS = (
    "Server: odd", *ODD, "Set-Cookie: s=1; Domain=b.t; Secure", "set-cookie: t=2;path=/", "SET-cookie: s=3",
    "Location: http://b.t:81/l", 'ETAG: "v"', "Expires: 0", "vary: Accept", "Cache-Control: public",
    "content-TYPE: application/json ; charset=UTF-8", f"Content-length: {len(BODY)}",
)  # fmt: skip


def message(start: str, fields: tuple[str, ...]) -> bytes:
    return "\r\n".join([start, *fields, "", ""]).encode("latin-1") + BODY


SENT = message("POST http://a.t/x?y=%20&z=+&&utm_a=1 HTTP/1.1", REQUEST_FIELDS)
REQUEST = message("POST /x?y=%20&z=+&&utm_a=1 HTTP/1.1", REQUEST_FIELDS)
RESPONSE = message("HTTP/1.1 207 Fine  by me", RESPONSE_FIELDS)
END = "\r\n\r\n"
CONDITION = 'If-None-Match: "v"\r\n'
ODD_CODING = (", x-odd;q=0", "")


@dataclass(frozen=True)
class Case:
    """A rule, and all that it may change: texts of the two messages, each with what stands in its place."""

    rule: str
    request: tuple[tuple[str, str], ...] = ()
    response: tuple[tuple[str, str], ...] = ()


CASES = {
    "none": Case("tag: none"),
    "tag": Case("tag: seen"),
    "log": Case("log: ${request.text}"),
    "set-state": Case("set-state: {client.a: '1'}"),
    "record": Case("record: flows.har"),
    "run": Case("run: functions.py:look"),
    "delay": Case("delay: 1ms"),
    "throttle": Case("throttle: 100MB/s"),
    "fault": Case("fault: {dribble: {chunks: 3, over: 3ms}}"),
    "passthrough": Case("passthrough:"),
    "upstream": Case("upstream: {address: '127.0.0.1:PORT'}"),
    "upstream-direct": Case("upstream: direct"),
    "map-remote": Case(
        "map-remote: http://b.t:81",
        (
            ("hOsT: a.t", "hOsT: b.t:81"),
            ("Origin: http://a.t", "Origin: http://b.t:81"),
            ("REFERER: http://a.t/", "REFERER: http://b.t:81/"),
        ),
        (("Location: http://b.t:81/l", "Location: http://a.t/l"), ("Domain=b.t", "Domain=a.t")),
    ),
    "map-remote-as-it-is": Case(
        "map-remote: {to: 'http://b.t:81', keep-host: true, rewrite-back: false}",
    ),
    "cors": Case(
        "cors: unlock",
        (),
        (
            (
                END,
                "\r\naccess-control-allow-origin: http://a.t\r\naccess-control-allow-credentials: true\r\n"
                "access-control-expose-headers: Server, x-lower, X-UPPER, X-Twice, X-Empty, X-Bytes, X-Quoted, "
                "X_Under.score~, X-Long, Location, ETAG\r\n"
                "vary: Origin" + END,
            ),
        ),
    ),
    "no-cache": Case(
        "no-cache:",
        (
            (CONDITION, ""),
            ("Cache-Control: max-age=0,  no-transform", "Cache-Control: no-cache"),
            (END, "\r\npragma: no-cache" + END),
        ),
        (('ETAG: "v"\r\n', ""), ("Expires: 0\r\n", ""), ("Cache-Control: public", "Cache-Control: no-store")),
    ),
    "rewrite.request": Case("rewrite: {request: {path: /new}}", (("POST /x?", "POST /new?"),)),
    "request-query": Case(
        "rewrite: {request: {query: {remove: [utm_*], set: {n: 1 &}}}}", (("&&utm_a=1", "&&n=1+%26"),)
    ),
    "request-method": Case("rewrite: {request: {method: PUT}}", (("POST /", "PUT /"),)),
    "request-host": Case("rewrite: {request: {host: c.t}}", (("hOsT: a.t", "hOsT: c.t"),)),
    "request-headers": Case(
        "rewrite: {request: {headers: {x-upper: '3', x-new: n, remove: [x-empty], add: {x-twice: c}}}}",
        (("X-UPPER: 2", "X-UPPER: 3"), ("X-Empty: \r\n", ""), (END, "\r\nx-new: n\r\nx-twice: c" + END)),
    ),
    "request-cookies": Case(
        "rewrite: {request: {cookies: {b: '9', remove: [c]}}}", (("; b=2", "; b=9"), ("cookie: c=3\r\n", ""))
    ),
    "request-json": Case(
        "rewrite: {request: {json: {set: {$.b: 2}}}}",
        (('"b" : 1.0', '"b" : 2'), (f"Content-length: {len(BODY)}", f"Content-length: {len(BODY) - 2}")),
    ),
    "request-json-same": Case("rewrite: {request: {json: {delete: $.nothing}}}"),
    "request-body": Case(
        "rewrite: {request: {body: {replace: [{text: '1.0', with: '0.1'}]}}}", (('"b" : 1.0', '"b" : 0.1'),)
    ),
    "rewrite.response": Case(
        "rewrite: {response: {status: 299}}", (), (("207 Fine  by me", "299 "),)
    ),
    "response-reason": Case("rewrite: {response: {reason: Bad}}", (), (("Fine  by me", "Bad"),)),
    "response-headers": Case(
        "rewrite: {response: {headers: {x-upper: '3', remove: [x-long], default: {server: no, x-new: n}}}}",
        (),
        (("X-UPPER: 2", "X-UPPER: 3"), (ODD[-1] + "\r\n", ""), (END, "\r\nx-new: n" + END)),
    ),
    "response-cookies": Case(
        "rewrite: {response: {cookies: {remove: [t]}}}", (), (("set-cookie: t=2;path=/\r\n", ""),)
    ),
    "response-json": Case(
        "rewrite: {response: {json: {set: {$.b: 2}}}}",
        ((CONDITION, ""), ODD_CODING),
        (
            ('"b" : 1.0', '"b" : 2'),
            (f"Content-length: {len(BODY)}", f"Content-length: {len(BODY) - 2}"),
            ('ETAG: "v"\r\n', ""),
        ),
    ),
    "response-json-same": Case(
        "rewrite: {response: {json: {delete: $.nothing}}}", ((CONDITION, ""), ODD_CODING)
    ),
    "response-html": Case("rewrite: {response: {html: {append-head: <script>}}}", ((CONDITION, ""), ODD_CODING)),
}  # fmt: skip
ANSWERS = {
    "block": "block: 403",
    "redirect": "redirect: http://c.t/",
    "respond": "respond: {body: x}",
    "map-local": "map-local: functions.py",
}
"""What answers in the place of the server: no message of somebody else goes on, but those around it do."""


def test_every_action_is_here() -> None:
    # Those without an event of HTTP act on single messages of conversations.
    wanted = {name for name, action in ACTIONS.items() if action.events}
    assert wanted <= set(CASES) | set(ANSWERS)


def changed(data: bytes, edits: tuple[tuple[str, str], ...]) -> bytes:
    for old, new in edits:
        assert data.count(old.encode("latin-1")) == 1, old
        data = data.replace(old.encode("latin-1"), new.encode("latin-1"))
    return data


def write(folder: Path, match: str, rule: str, origin: Origin) -> Path:
    (folder / "functions.py").write_text("def look(flow):\n    flow.request.headers.get('x-twice')\n")
    file = folder / "rules.yaml"
    file.write_text(f"version: 1\nrules:\n  - match: {match}\n    {rule.replace('PORT', str(origin.port))}\n")
    return file


@pytest.mark.parametrize("name", CASES)
async def test_what_a_rule_does_not_name_keeps_its_bytes(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    async with Origin.http(RESPONSE) as origin:
        rules = load_rules(write(tmp_path, 'host == "a.t"', case.rule, origin))
        async with running(Names(origin), rules=rules) as proxy, client_of(proxy) as client:
            # Twice: what a connection or a rule remembers changes nothing either.
            for _ in range(2):
                response = await client.request(SENT, "POST")
                assert origin.requests[-1].raw == changed(REQUEST, case.request)
                assert response.raw == changed(RESPONSE, case.response)


@pytest.mark.parametrize("name", ANSWERS)
async def test_exchanges_around_an_answer_keep_their_bytes(tmp_path: Path, name: str) -> None:
    def reply(request: Request) -> bytes:
        return RESPONSE

    async with Origin.http(reply) as origin:
        rules = load_rules(write(tmp_path, 'path == "/here"', ANSWERS[name], origin))
        async with running(Names(origin), rules=rules) as proxy, client_of(proxy) as client:
            for _ in range(2):
                response = await client.request(SENT, "POST")
                assert (origin.requests[-1].raw, response.raw) == (REQUEST, RESPONSE)
                answer = await client.request(SENT.replace(b"a.t/x", b"a.t/here"), "POST")
                assert b"odd" not in answer.raw
            assert len(origin.requests) == 2
