"""`rulesproxy try` and `rulesproxy explain` of rules and requests: what is printed, and the exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rulesproxy.cli import main

RULES = """version: 1
rules:
  - id: ads
    match: host under "ads.test"
    block:
  - id: pinned
    match: host == "bank.test"
    passthrough:
  - id: mock
    description: The users are not there yet.
    match: host == "api.test" and method == GET and path like "/users/{id}"
    respond: {json: {id: "${id | int}"}}
  - id: move
    match: path ~ "^/v1/(?P<rest>.*)"
    rewrite:
      request: {path: "/v2/${rest}", headers: {x-a: "1", remove: [cookie]}}
  - id: hide
    match: >-
      response.status in {500..599}
      and response.header["content-type"] contains "json"
    sample: 50%
    stop: true
    rewrite: {response: {status: 502, json: {set: {$.error: redacted}}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RULESPROXY_RULES", raising=False)
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(list(arguments)) == code
    out, err = capsys.readouterr()
    assert bool(err) is bool(code)
    return re.sub(r" +\n", "\n", out or err)


def test_a_request_that_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        shown(capsys, "try", "GET http://a.test/v1/x?y=1", "-H", "Cookie: a=1", "-H", "Accept:*/*")
        == """\
move  rules.yaml:13
    rest = x
    path: /v1/x?y=1 → /v2/x?y=1
    request.header["cookie"] removed: a=1
    request.header["x-a"]: 1

request, as the server gets it:
  - GET http://a.test/v1/x?y=1
  + GET http://a.test/v2/x?y=1
    Host: a.test
  - Cookie: a=1
    Accept: */*
  + x-a: 1

response, as the client gets it: as sent
    200 OK
"""
    )


def test_a_response_that_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    answer = (
        "--status",
        "500",
        "--response-header",
        "content-type: application/json",
        "--response-body",
        '{"error": 1}',
    )
    assert shown(capsys, "try", "http://a.test/", *answer).endswith("""\
response, as the client gets it:
  - 500 Internal Server Error
  + 502 Bad Gateway
    content-type: application/json
  - Content-Length: 12
  + Content-Length: 21

  - {"error": 1}
  + {"error": "redacted"}
""")


def test_an_answer_of_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "try", "GET", "https://api.test/users/7")
    assert "request: the server is not asked\n" in text
    assert text.endswith('  +\n  + {"id": 7}\n')


def test_the_nearest_miss(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "try", "-d", "a=1", "-d", "b=2", "https://api.test/users/7").startswith("""\
no rule matches
the nearest is mock  rules.yaml:9
    11 |     match: host == "api.test" and method == GET and path like "/users/{id}"
       |                                   ^^^^^^^^^^^^^ `method` is `POST`

request, as the server gets it: as sent
    POST https://api.test/users/7
    Host: api.test
    Content-Type: application/x-www-form-urlencoded
    Content-Length: 7

    a=1&b=2
""")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["GET https://www.ads.test/"],
            "refused before there is a request: at the CONNECT of the client\nads  rules.yaml:3\n",
        ),
        (
            ["GET https://bank.test/"],
            "its TLS is passed through undecrypted: other rules see nothing of it\npinned  rules.yaml:6\n",
        ),
        (["GET http://a.test/", "--error", "timeout"], "response: 504, an error page of the proxy: a.test: timeout\n"),
        (["--json", '{"a": 1}', "PUT http://a.test/"], "    Content-Type: application/json\n    Content-Length: 8\n"),
        (["-d", "@body.bin", "http://a.test/"], "    Content-Length: 3\n\n    (3 bytes)\n"),
        (["GET http://a.test/", "--client", "10.0.0.1"], "no rule matches\n"),
        (["GET http://a.test/\x1b[31m"], "no URL"),
    ],
)
def test_what_is_shown(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    (folder / "body.bin").write_bytes(b"\xff\x00\x01")
    if said == "no URL":
        assert "\x1b" not in shown(capsys, "try", *arguments)
        return
    assert said in shown(capsys, "try", *arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give one request"),
        (["GET", "/x"], 2, "'/x' is not an absolute URL"),
        (["a", "b", "c"], 2, "'a b c' is no request"),
        (["G(T http://a.test/"], 2, "'G(T' is no method"),
        (["http://a.test/", "-H", "x"], 2, "'x' is no header field"),
        (["http://a.test/", "-H", "a b: c"], 2, "'a b' is not a header name"),
        (["http://a.test/", "-d", "x", "--json", "y"], 2, "not with both"),
        (["http://a.test/", "-d", "@none"], 2, "cannot read none"),
        (["http://a.test/", "--status", "99"], 2, "99 is no status"),
        (["http://a.test/", "-f", "broken.yaml"], 1, "error[RP112]"),
        (["--har", "none.har"], 2, "cannot read none.har: No such file or directory"),
        (["--har", "bad.har"], 2, "error[RP920]: `$` is an object in a HAR file"),
        (["--har", "latin.har"], 2, "latin.har is not UTF-8 (byte 0)"),
        (["http://a.test/", "--har", "x.har"], 2, "give one request"),
    ],
)
def test_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    (folder / "broken.yaml").write_text("version: 1\nrules: x\n")
    (folder / "bad.har").write_text("[]")
    (folder / "latin.har").write_bytes(b"\xff")
    assert said in shown(capsys, "try", *arguments, code=code)


def test_bad_entries_of_a_recording_are_warned_of_and_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"request": {"method": "GET", "url": "http://ads.test/"}, "response": {"status": 200}}
    (folder / "x.har").write_text(json.dumps({"log": {"entries": [good, *[7] * 12]}}))
    for command in (["try"], ["explain", "ads"]):
        assert main([*command, "--har", "x.har"]) == 0
        out, err = capsys.readouterr()
        assert "1 request" in out
        assert "left out, for they cannot be read: 12" in out
        assert err.count("warning[RP920]") == 10
        assert "x.har: 2 more that cannot be read" in err


def har(folder: Path, *urls: str) -> None:
    def entry(url: str) -> dict[str, Any]:
        return {"request": {"method": "GET", "url": url}, "response": {"status": 200}}

    (folder / "x.har").write_text(json.dumps({"log": {"entries": [entry(url) for url in urls]}}))


def test_a_recording(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    har(folder, "http://ads.test/a", "http://a.test/", "http://a.test/v1/x", "data:,x")
    assert (
        shown(capsys, "try", "--har", "x.har")
        == """\
GET http://ads.test/a  200 → 403  ads
GET http://a.test/v1/x  200  move

3 requests
  ads     1
  pinned  0
  mock    0
  move    1
  hide    0
left out, for they are no HTTP: 1
"""
    )


def test_what_other_rules_would_change(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    har(folder, "http://ads.test/a", "http://a.test/", "http://a.test/v1/x")
    (folder / "new.yaml").write_text(RULES.replace("/v2/", "/v3/").replace('"ads.test"', '"ad.test"'))
    assert (
        shown(capsys, "try", "--har", "x.har", "--against", "new.yaml")
        == """\
GET http://ads.test/a
    rules: ads → none
    upstream: GET http://ads.test/a
    response.status: 403 Forbidden → 200 OK
    response.header["content-type"] removed: text/plain; charset=utf-8
    response.header["content-length"] removed: 46
    response.body removed: 403 Forbidden: refused by a rule of the proxy…
GET http://a.test/v1/x
    upstream path: /v2/x → /v3/x
2 of 3 requests would change
"""
    )
    assert shown(capsys, "try", "http://a.test/", "--against", "new.yaml") == "none of 1 request would change\n"


def test_every_rule_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        shown(capsys, "explain", "GET http://api.test/users/7")
        == """\
ads  does not match  rules.yaml:3
    4 |     match: host under "ads.test"
      |            ^^^^^^^^^^^^^^^^^^^^^ `host` is `api.test`
pinned  does not match  rules.yaml:6
    7 |     match: host == "bank.test"
      |            ^^^^^^^^^^^^^^^^^^^ `host` is `api.test`
mock  matches  rules.yaml:9
    id = 7
    response: 200 OK
move  not run  rules.yaml:13
    `mock` has answered before
hide  does not match  rules.yaml:17
    19 |       response.status in {500..599}
       |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ `response.status` is `200`
"""
    )


def test_a_rule_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        shown(capsys, "explain", "mock")
        == """\
mock  rules.yaml:9:5
  The users are not there yet.
  match            host == "api.test" and method == GET and path like "/users/{id}"
  place            rule 3 of 5, below ads, which may end the request before
  acts             respond on the request
  bodies           none is waited for
  hosts decrypted  api.test
  looked up by     host api.test and path /users/*
  captures         id
  on error         the flow goes on
"""
    )
    assert (
        shown(capsys, "explain", "hide")
        == """\
hide  rules.yaml:17:5
  match            response.status in {500..599} and response.header["content-type"] contains "json"
  place            rule 5 of 5, below ads, mock, which may end the request before
  acts             rewrite.response on the response, when its body is there
  bodies           waits for that of the response; one over the limit passes it by
  hosts decrypted  every host
  looked up by     nothing: its filter is asked for every request
  gates            sample 50%
  stop             no rule below applies to what it matches
  on error         the flow goes on
"""
    )
    assert "acts             block at CONNECT, where it refuses the tunnel and on the request" in shown(
        capsys, "explain", "ads"
    )
    assert "passthrough before TLS is decrypted\n" in shown(capsys, "explain", "pinned")


def test_a_rule_in_a_recording(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    har(folder, "http://api.test/users/7", "http://api.test/")
    assert (
        shown(capsys, "explain", "mock", "--har", "x.har")
        == """\
GET http://api.test/users/7  matches
GET http://api.test/  `path` is `/`
`mock` matches 1 of 2 requests
"""
    )
    assert "--har is for a rule" in shown(capsys, "explain", "GET http://a.test/", "--har", "x.har", code=2)


def test_what_is_unknown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no rule 'mook': did you mean mock?" in shown(capsys, "explain", "mook", code=1)
    assert "the rules are ads, pinned, mock, move, hide" in shown(capsys, "explain", "something-else", code=1)
    (folder / "rules.yaml").unlink()
    assert "no rule file" in shown(capsys, "explain", "mock", code=2)


def test_colours_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32mmove\x1b[0m" in shown(capsys, "try", "http://a.test/v1/x")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(capsys, "try", "http://a.test/v1/x")


def test_what_rules_log_and_how_they_fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "h.py").write_text("def sign(flow):\n    raise ValueError('no key')\n")
    (folder / "log.yaml").write_text(
        "version: 1\nrules:\n  - {id: say, match: ~all, log: 'hello ${host}'}\n  - {id: sign, match: ~all, run: 'h.py:sign'}\n"
    )
    assert shown(capsys, "try", "http://a.test/", "-f", "log.yaml").startswith(
        "say  log.yaml:3\nsign  log.yaml:4\n    failed: ValueError: no key\nlog: hello a.test\n"
    )


def test_a_rule_may_have_a_name_like_a_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rules.yaml").write_text(RULES.replace("id: ads", "id: rpc"))
    assert shown(capsys, "explain", "rpc").startswith("rpc  rules.yaml:3:5\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["GET http://b.test/", "other.yaml"],
        ["other.yaml", "GET http://b.test/"],
        ["GET", "http://b.test/", "-H", "a: b", "other.yaml"],
        ["http://b.test/", "-f", "other.yaml"],
        ["http://b.test/", "folder", "--status", "500"],
    ],
)
def test_rule_files_may_be_named_as_with_other_commands(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (folder / "folder").mkdir()
    for path in (folder / "other.yaml", folder / "folder/other.yaml"):
        path.write_text('version: 1\nrules:\n  - id: other\n    match: host == "b.test"\n    block:\n')
    assert shown(capsys, "try", *arguments).startswith("other  ")
    assert shown(capsys, "explain", *arguments).startswith("other  ")


def test_rule_files_of_a_recording_and_of_a_rule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mock").write_text('version: 1\nrules:\n  - id: other\n    match: host == "b.test"\n    block:\n')
    (folder / "x.har").write_text('{"log": {"entries": []}}')
    assert "other" not in shown(capsys, "explain", "mock")
    assert "there is no rule 'ads': the rules are other" in shown(capsys, "explain", "ads", "mock", code=1)
    assert shown(capsys, "explain", "other", "mock", "--har", "x.har") == "`other` matches 0 of 0 requests\n"
    assert shown(capsys, "try", "--har", "x.har", "mock").endswith("  other  0\n")


def test_files_stand_before_and_behind_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.yaml").write_text('version: 1\nrules:\n  - match: host == "b.test"\n    block:\n')
    assert "ads, other.yaml:3\n" in shown(capsys, "check", "rules.yaml", "--workers", "1", "other.yaml")
    with pytest.raises(SystemExit):
        main(["check", "rules.yaml", "--nope", "other.yaml"])
    assert "unrecognized arguments: --nope other.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["full", "concise", "json", "github", "sarif"])
def test_what_rules_take_from_the_environment_is_not_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("TOKEN_OF_A_TEST", "a-very-secret-token")
    (folder / "secret.yaml").write_text("""version: 1
rules:
  - id: auth
    match: host == "a.test"
    rewrite: {request: {headers: {authorization: "Bearer ${env:TOKEN_OF_A_TEST}"}}}
    log: with ${env:TOKEN_OF_A_TEST}
  - id: wrong
    match: request.header["authorization"] == "x"
    block:
tests:
  - request: GET http://a.test/
    expect: {upstream: {headers: {authorization: x}}, rules: [wrong]}
""")
    (folder / "none.yaml").write_text("version: 1\nrules: []\n")
    for arguments in (
        ["try", "http://a.test/", "secret.yaml"],
        ["explain", "http://a.test/", "secret.yaml"],
        ["try", "http://a.test/", "secret.yaml", "--against", "none.yaml"],
        ["test", "secret.yaml", "--junit", "j.xml", "--output-format", form],
    ):
        assert main(arguments) == int(arguments[0] == "test")
        out = capsys.readouterr().out
        assert "a-very-secret-token" not in out
        assert "***" in out or form in ("concise", "github")
    assert "a-very-secret-token" not in (folder / "j.xml").read_text()
