"""Every action does the same on an answer that comes in HTTP/2, and nothing that a rule does not name changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy import load_rules
from rulesproxy.flow.http import reason_phrase
from tests.e2e.test_fidelity import ANSWERS, BODY, CASES, REQUEST, RESPONSE, SENT, changed, write
from tests.e2e.test_scenarios import Names
from tests.support.h2_origin import H2Origin, H2Request, Peer
from tests.support.running import client_of, running

FIRST = "  - match: ~all\n    upstream: {http-version: 2}\n"


def in_http_2(message: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """The fields and the body of a message of HTTP/1.1, as HTTP/2 has them."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
    return [(name.lower(), value.strip(" \t")) for name, _, value in fields], body


def shown(name: str, value: str) -> tuple[str, str]:
    """A field of a response; the value of one of them is names, too."""
    return name.lower(), value.lower() if name == "access-control-expose-headers" else value


async def serve(peer: Peer, request: H2Request) -> None:
    await request.read()
    fields, body = in_http_2(RESPONSE)
    await peer.answer(request.stream, 207, body, fields)


@pytest.mark.parametrize("name", CASES)
async def test_actions_on_http_2(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    async with H2Origin(serve, tls=None) as origin:
        file = write(tmp_path, 'host == "a.t"', case.rule, origin)
        file.write_text(file.read_text().replace("rules:\n", "rules:\n" + FIRST))
        async with running(Names(origin), rules=load_rules(file)) as proxy, client_of(proxy) as client:
            for _ in range(2):
                response = await client.request(SENT, "POST")
                fields, body = in_http_2(changed(REQUEST, case.request))
                authority = [("host", value) for name, value in fields if name == "host"]
                got = origin.streams[-1]
                assert [("host", got.get(":authority"))] == authority
                assert [pair for pair in got.fields if pair[0][0] != ":"] == [
                    pair for pair in fields if pair[0] != "host"
                ]
                assert bytes(got.body) == body
                # The reason phrase is the usual one where no rule has made another one.
                expected = changed(RESPONSE, case.response)
                start = expected.partition(b"\r\n")[0].replace(b"Fine  by me", reason_phrase(207).encode())
                assert response.start == start
                fields, body = in_http_2(expected)
                assert [shown(n.decode(), v.decode("latin-1")) for n, v in response.fields] == [
                    shown(*pair) for pair in fields
                ]
                assert response.body == body
        assert len(origin.connections) <= 2


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_around_http_2(tmp_path: Path, name: str) -> None:
    async with H2Origin(serve, tls=None) as origin:
        file = write(tmp_path, 'path == "/here"', ANSWERS[name], origin)
        file.write_text(file.read_text().replace("rules:\n", "rules:\n" + FIRST))
        async with running(Names(origin), rules=load_rules(file)) as proxy, client_of(proxy) as client:
            for _ in range(2):
                assert (await client.request(SENT, "POST")).body == BODY
                answer = await client.request(SENT.replace(b"a.t/x", b"a.t/here"), "POST")
                assert b"odd" not in answer.raw
            assert len(origin.streams) == 2
