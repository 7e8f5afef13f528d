"""What is fuzzed: one function per reader of hostile text, which returns for every input or raises what it found.

The errors that a reader promises are results; whatever else it raises, a place outside of the input and a disagreement
between two readings are findings. `texts` makes inputs of a shape that gets past the first check of each reader.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from rulesproxy.diagnostics import Source, render, render_concise
from rulesproxy.diagnostics.machine import to_json
from rulesproxy.filters.ast import Text
from rulesproxy.filters.check import check
from rulesproxy.filters.compile import compile_filter, predicate
from rulesproxy.filters.fields import FIELDS, public_names
from rulesproxy.filters.functions import FUNCTIONS
from rulesproxy.filters.parse import FilterError, Problem, parse
from rulesproxy.filters.reference import matches
from rulesproxy.filters.regex import regex, replacing
from rulesproxy.filters.tilde import TILDE
from rulesproxy.filters.typed import Read, Test
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.url import format_authority, split_authority
from rulesproxy.proto import ProtocolError, clienthello, socks5, websocket
from rulesproxy.rules.files.compose import NodeError
from rulesproxy.rules.files.fmt import FormatError, format_text
from rulesproxy.rules.lints import diagnose
from rulesproxy.rules.load import load_text
from rulesproxy.rules.ruleset import RuleSet, load_rules
from tests.fuzz.http2 import HTTP2_FRAMES, run_http2
from tests.fuzz.streams import EVENTS, run_events, run_tcp, tcp_texts
from tests.support.engines import state

CORPUS = Path(__file__).parent / "corpus"
NAMES = {
    "hosts": ("a.test", "10.0.0.0/8", "1..2"),
    "text": "a.test",
    "flt": parse('host == "a.test"'),
    "self": parse("$self"),
}


@dataclass(frozen=True)
class Target:
    """A reader: `run` gives it an input, `texts` are inputs that make sense to try."""

    name: str
    run: Callable[[bytes], None]
    texts: st.SearchStrategy[bytes]

    def corpus(self) -> list[Path]:
        """The inputs that are kept: what was once a finding, and what reaches far."""
        return sorted((CORPUS / self.name).iterdir())


# Filters


def run_filter(data: bytes) -> None:
    """Parse, check, compile and ask a filter; compiler and interpreter agree, and every place lies in the text."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        checked = check(parse(text), NAMES)
    except FilterError as error:
        assert_places(error.problems, text)
        return
    assert_places(checked.warnings, text)
    function = compile_filter(checked)
    for flow in flows():
        assert function(FlowView(flow)) is matches(checked, flow), flow


def assert_places(problems: Sequence[Problem], text: str) -> None:
    """Every problem is in the text, and says what it is about."""
    for problem in problems:
        assert 0 <= problem.start <= problem.end <= len(text), problem
        assert problem.title


def flows() -> list[HTTPFlow]:
    """A request, and an exchange with hostile values."""
    odd = HTTPFlow.make(
        "X", "https://a.test:1/%zz?a=%ff&a&=+", [("a", "\udcff,"), ("a", "")], b"\xff", 204, [("a", "b")], b""
    )
    return [HTTPFlow.make("GET", "http://a.test/v1?a=b"), odd]


def _soup(pieces: list[str], joint: list[str]) -> st.SearchStrategy[bytes]:
    piece = st.one_of(st.sampled_from(pieces), st.text(max_size=6))
    pairs = st.lists(st.tuples(piece, st.sampled_from(joint)), max_size=14)
    return pairs.map(lambda found: "".join(a + b for a, b in found).encode("utf-8", "surrogatepass"))


REGEXES = [
    "^/v1/(?P<rest>.*)", r"(^|\.)a\.test$", "(a+)+$", "[^]]", "[a-", "(?i)a", "(?i:a)", "a{2,3}", "a{,}", r"\x41", r"\u00e9", r"\p{L}",
    "(?=a)", "(?P=a)", "a**", "[[:alpha:]]", "(a|a)*", "(?P<a>b)(?P<a>c)", "\\", "a{1001}", "(?-i)", "(?m)^a$", "x{0}", "()",
]  # fmt: skip
LITERALS = [
    '"a"', "'b'", 'r"c"', 'r#"d"#', '"\\n"', '"\\x41"', '"\\u00e9"', '"\\d"', '"\\ud800"', '""', "200", "-1", "1.5", "99999999999999999999",
    "250ms", "1h", "10KB", "10.0.0.1", "10.0.0.0/8", "10.0.0.0/33", "::1", "::ffff:1.2.3.4/96", "1..2", "2..1", "::1..::9", "true", "false",
    "GET", "http2", "$hosts", "$text", "$flt", "$self", "$none", "{", "}", "{}", "{GET POST}", '{"a" "b"}', "{200..299 404}",
    '"*.a.test"', '"/v1/{id}"', '"{a}{b}"', '"a:443"', '"https://a/"', "[*]", '["x"]', "[0]", '["x"][1]', "[-1]",
]  # fmt: skip
WORDS = [
    "==", "!=", "<", "<=", ">", ">=", "~", "!~", "~*", "!~*", "glob", "like", "contains", "startswith", "endswith", "under", "in", "not in",
    "and", "or", "not", "&", "&&", "|", "||", "!", "(", ")", "any(", "all(", "has(", "=", "===", "AND", "eq", ",", "“", "`",
]  # fmt: skip
FILTER_PIECES = [
    *public_names(), *[f"{name}(" for name in FUNCTIONS], *[f"~{name}" for name in TILDE], "~zz", "~c 4xx", "~c 2-1", "~u", *WORDS, *LITERALS,
    *REGEXES, *[f'"{regex}"' for regex in REGEXES],
]  # fmt: skip
COMPARISON = st.tuples(
    st.sampled_from(
        [*public_names(), 'query["a"]', 'request.header["a"]', "lower(path)", "len(path)", "request.header[*]"]
    ),
    st.sampled_from(WORDS[:18]),
    st.sampled_from([*LITERALS, *[f'r"{regex}"' for regex in REGEXES]]),
).map(lambda parts: " ".join(parts).encode())
JOINED = st.lists(COMPARISON, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from([b" and ", b" or ", b" & not ", b" ", b") | (", b" any("]).map(
        lambda joint: joint.join(parts)
    )
)
TILDES = st.lists(
    st.tuples(st.sampled_from([f"~{name} " for name in TILDE]), st.sampled_from(["", *REGEXES, "404", "4xx"])).map(
        "".join
    ),
    max_size=4,
).map(lambda found: " ".join(found).encode())


def run_regex(data: bytes) -> None:
    """Read a regex, the first line, and search the rest with every engine: all of them say what `re` says."""
    source, _, text = data.decode("utf-8", "surrogateescape").partition("\n")
    # `re` is what the others are compared with, and takes its time.
    text = text[:60]
    for name in ["no re2", *["re2"] * (find_spec("re2") is not None)]:
        with state(name):
            try:
                found = regex(Text(source, 0, len(source), 0))
                pattern, replacer = replacing(Text(source, 0, len(source), 0))
            except FilterError as error:
                assert_places(error.problems, source)
                continue
            match = found.pattern.search(text)
            test = predicate(Test(Read(FIELDS["url"]), "~", found, 0, 0))
            assert test(text) is (match is not None), (name, source, text)
            assert found.captures(text) == (None if match is None else match.groupdict()), (name, source, text)
            assert match is None or not found.texts or any(each in text.lower() for each in found.texts), (source, text)
            assert replacer.sub("-", text) == pattern.sub("-", text), (name, source, text)


REGEX_PIECES = [
    "a", "b", "B", "/", r"\.", ".", "^", "$", "*", "+", "?", "*?", "{2,3}", "{9,}", "[ab]", "[^a]", "[^/]*", ".*", ".*?", "(", ")", "(?:", "(?P<x>",
    "|", "(?i)", "(?m)", "(?s)", "(?i:", r"\b", r"\B", r"\w+", r"\d", r"\s*", "é", "\ud800", "k", r"\x00", r"\u212a",
]  # fmt: skip
REGEX_TEXTS = st.tuples(
    st.lists(st.sampled_from(REGEX_PIECES), max_size=10).map("".join),
    st.text("abAB/.kK\u212aé\n\r 1_\x00", max_size=30),
).map(lambda parts: "\n".join(parts).encode("utf-8", "surrogatepass"))


# Rule files


def run_yaml(data: bytes) -> None:
    """Load a rule file; whatever is wrong with it can be shown in every form, and points into the file. Its layout can
    be changed, or it says why not, and a second time nothing changes."""
    text = data.decode("utf-8", "surrogateescape")
    loaded = load_text(text, "r.yaml", env={})
    lines = text.count("\n") + 1
    for diagnostic in diagnose(loaded):
        assert render(diagnostic)
        assert "\n" not in render_concise(diagnostic)
        assert to_json(diagnostic)["code"] == diagnostic.code
        span = diagnostic.span
        assert span is None or (1 <= span.line <= lines and span.column >= 1), span
        assert span is None or (span.line, span.column) < (span.end_line, span.end_column), span
    try:
        made = format_text(Source("<fuzz>", text))
    except (FormatError, NodeError):
        return
    assert format_text(Source("<fuzz>", made)) == made


YAML_PIECES = [
    "version: 1\n", "rules:\n", "  - ", "    ", "\n", "\n    ", "\n  - ", "match: ", "match: >-\n      ", "match: |\n      ", "match: '", "match: \"",
    "~all", "~d a", 'host == "a.test"', "!~d a", "host: a", "path: /v1/*", "~u a # b", "&a ", "*a", "!!str ", "<<: ", "? ", "- ", "[", "]", "{", "}", ", ", ": ",
    "'", '"', "\\", "#", " #", "|", ">", "%", "@", "`", "\t", "\r\n", "\x00", "\x85", "\u2028", "\ufeff", "---\n", "...\n", "%YAML 1.1\n",
    "block: ", "block: 403", "block: close", "redirect: ", "https://a.test/${rest}", "map-local: ", "rewrite:\n      request:\n        ",
    "response:\n        ", "headers: ", "body: ", "status: ", "path: ", "json: ", "query: ", "set: ", "add: ", "remove: [a]", "replace: ", "regex: (a+)+",
    "do:\n      - ", "id: x", "stop: true", "enabled: no", "tags: [a, b]", "on-error: closed", "vars:\n  a: b\n", "lists:\n  l: [a, b]\n",
    "filters:\n  f: ~q\n", "${vars.a}", "${env:HOME}", "${", "$${", "$f", "$l", "1.10", "on", "null", "~", "0x1F", "12:30",
]  # fmt: skip
STYLES: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: "'" + text.replace("'", "''") + "'",
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"',
    lambda text: ">-\n      " + text.replace(" ", "\n      "),
    lambda text: "|\n      " + text,
]


def _rule_file(text: bytes, style: int, action: str) -> bytes:
    shown = STYLES[style](text.decode("utf-8", "surrogateescape"))
    return f"version: 1\nrules:\n  - match: {shown}\n    {action}\n".encode("utf-8", "surrogateescape")


ACTIONS = [
    "block: 403", "block:", "block: {status: 200, body: a}", "redirect: https://b.test/${rest}", "redirect: {to: /x, status: 307}",
    "rewrite: {request: {path: '/v2/${rest}'}}", "rewrite: {response: {status: 500, headers: {remove: [a]}}}", "stop: true",
    "rewrite:\n      request:\n        query: {add: {a: [b, c]}}\n        body: {replace: [{regex: 'a(', with: b}]}", "map-local: nothing.json",
]  # fmt: skip


# Templates


def run_template(data: bytes) -> None:
    """A template in a rule of its own, filled for two flows where it loads; no value breaks out of its place."""
    text = data.decode("utf-8", "surrogateescape")
    quoted = "'" + re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "", text).replace("'", "''") + "'"
    for action in (f"redirect: {quoted}", f"rewrite: {{request: {{headers: {{x: {quoted}}}, path: {quoted}}}}}"):
        rule = f'version: 1\nvars: {{a: b}}\nrules:\n  - match: path ~ "/(?P<rest>.*)"\n    {action}\n'
        loaded = load_text(rule, "r.yaml", env={"HOME": "/x"})
        for diagnostic in loaded.diagnostics:
            assert render(diagnostic)
        if loaded.ok:
            rules = RuleSet.of(loaded)
            for flow in flows():
                with only_failures("TemplateError", "ActionError"):
                    rules.requestheaders(flow)
                head = bytes(flow.request.headers) + flow.request.path.encode("utf-8", "surrogateescape")
                assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", head), head


@contextmanager
def only_failures(*names: str) -> Iterator[None]:
    """An action that fails is logged and passed over; one that fails in any other way is a finding."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("rulesproxy")
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
    for record in records:
        assert any(name in record for name in names), record


TEMPLATE_PIECES = [
    "${", "}", "$${", "${rest}", "${vars.a}", "${env:HOME}", "${env:NONE}", "${method}", "${query['a']}", '${request.header["x"]}', "${now}", "${uuid}",
    "| json", "| int", "| url", "| lower", "| default('x')", "| default(", "https://b.test", "http://", "//", "/", "../", "?a=b", "#", ":", "@", "%2e", "\\", "'",
]  # fmt: skip


# ClientHello


def run_clienthello(data: bytes) -> None:
    """Read a first TLS message, whole and cut anywhere."""
    for end in {len(data), len(data) // 2, len(data) - 1}:
        try:
            hello = clienthello.parse(data[: max(0, end)])
        except ProtocolError:
            continue
        assert hello is None or hello.sni is None or hello.sni == hello.sni.lower()


def _record(body: bytes) -> bytes:
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def _hello(parts: tuple[bytes, bytes, list[tuple[int, bytes]]]) -> bytes:
    session, suites, extensions = parts
    blocks = b"".join(kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body for kind, body in extensions)
    head = b"\x03\x03" + bytes(32) + bytes([len(session)]) + session + len(suites).to_bytes(2, "big") + suites
    return _record(head + b"\x01\x00" + len(blocks).to_bytes(2, "big") + blocks)


HELLOS = st.tuples(
    st.binary(max_size=32),
    st.binary(max_size=8),
    st.lists(
        st.tuples(
            st.sampled_from([0, 16, 43, 10, 65535]),
            st.one_of(st.binary(max_size=24), st.just(b"\x00\x09\x00\x00\x06a.test")),
        ),
        max_size=5,
    ),
).map(_hello)


# WebSocket


def run_websocket(data: bytes) -> None:
    """Read frames of a client and of a server, with compression and without; a cut changes nothing."""
    for masked in (True, False):
        for deflate in (None, websocket.Deflate()):
            whole = _messages([data], masked, deflate)
            assert _messages([data[: len(data) // 2], data[len(data) // 2 :]], masked, deflate) == whole
            scanner = websocket.FrameScanner(masked, deflate is not None)
            assert data.startswith(scanner.scan(data))
            # What headers alone show to be wrong, the reader refuses too; it may find more.
            assert scanner.error is None or whole[-1] == "refused" or scanner.close is not None


def _messages(pieces: list[bytes], masked: bool, deflate: websocket.Deflate | None) -> list[object]:
    reader, seen = websocket.MessageReader(masked, deflate, 4096), []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (message := reader.next_message()) is not None:
                if isinstance(message, websocket.Message):
                    assert len(message.content) <= 4096
                    assert message.raw
                    seen.append(message.content)
                else:
                    seen.append(message.raw)
        except websocket.WebSocketError:
            return [*seen, "refused"]
    return seen


FRAMES = st.lists(
    st.tuples(
        st.sampled_from([0x81, 0x01, 0x80, 0x00, 0x82, 0xC1, 0x41, 0x88, 0x89, 0x8A, 0x83]),
        st.one_of(st.binary(max_size=9), st.sampled_from([b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\x03\xe8", b"x" * 130])),
        st.sampled_from([None, None, b"mask"]),
    ),
    max_size=6,
).map(lambda frames: b"".join(websocket.encode_frame(*frame) for frame in frames))


# SOCKS5

SOCKS_PARSERS = (
    socks5.parse_greeting, socks5.parse_credentials, socks5.parse_request, socks5.parse_method, socks5.parse_verdict,
    socks5.parse_reply,
)  # fmt: skip


def run_socks5(data: bytes) -> None:
    """Read every message of SOCKS5. A host that one asks for can stand in a URL, and means the same there."""
    for parse_message in SOCKS_PARSERS:
        try:
            found = parse_message(data)
        except ProtocolError:
            continue
        assert found is None or 0 < found[1] <= len(data)
        if found is not None and parse_message is socks5.parse_request:
            host, port = address = found[0]
            assert split_authority(format_authority(host, port, ""), 0) == address


SOCKS_PIECES = [b"\x05", b"\x01", b"\x00", b"\x03", b"\x04", b"\x06a.test", b"\x05[::1]", b"\x01\xbb", bytes(16)]


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """An input with a few of its bytes changed, cut out or doubled."""
    data = bytearray(draw(texts))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(data))))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            data[at : at + 1] = draw(st.binary(max_size=2))
        elif kind == 1:
            del data[at : at + draw(st.integers(1, 8))]
        else:
            data[at:at] = data[max(0, at - 8) : at]
    return bytes(data)


# Recordings


def run_har(data: bytes) -> None:
    """Read a recording, and run what it holds through rules that look everywhere."""
    from rulesproxy.rules.dry.har import HARError, read_har

    try:
        recording = read_har(Source("trace.har", data.decode("utf-8", "replace")))
    except HARError as error:
        for diagnostic in error.diagnostics:
            assert diagnostic.span is not None
            assert render(diagnostic)
        return
    for flow in recording.flows:
        with only_failures("ActionError", "JSONError", "TemplateError", "ValueError"):
            assert len(watching().run(flow).trace) == 3


@cache
def watching() -> RuleSet:
    return load_rules(
        text="version: 1\nrules:\n"
        "  - match: request.text contains 'a' or request.header['a'] ~ '^(?P<x>.)'\n    rewrite: {request: {headers: {y: '${method}'}}}\n"
        "  - match: response.json['a'] == 1 or has(response.text)\n    rewrite: {response: {json: {set: {$.a: 2}}}}\n"
        "  - match: ~all\n    cors: unlock\n    no-cache:\n"
    )


def _value(depth: int) -> st.SearchStrategy[object]:
    leaf = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-1, 1000),
        st.text(max_size=8),
        st.sampled_from(["base64", "/w==", "\ud800"]),
    )
    if not depth:
        return leaf
    return st.one_of(
        leaf,
        st.lists(_value(depth - 1), max_size=2),
        st.dictionaries(st.text(max_size=4), _value(depth - 1), max_size=2),
    )


def _maybe(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 11).flatmap(lambda n: _value(1) if n == 0 else good)


_FIELDS = _maybe(
    st.lists(
        _maybe(
            st.fixed_dictionaries(
                {
                    "name": _maybe(
                        st.sampled_from(["a", "Host", ":path", "Content-Encoding", "Content-Type", "Origin"])
                    ),
                    "value": _maybe(st.text(max_size=6)),
                }
            )
        ),
        max_size=3,
    )
)
_CONTENT = _maybe(
    st.fixed_dictionaries(
        {},
        optional={
            "text": _maybe(st.sampled_from(["", "a", '{"a": 1}', "/w=="])),
            "encoding": st.just("base64"),
            "params": _FIELDS,
        },
    )
)
_URLS = st.sampled_from(
    ["http://a.test/", "https://a.test:1/x?a=%ff", "wss://a.test", "data:,", "http://a b/", "http://[::1]/\udcff"]
)
_REQUEST = st.fixed_dictionaries(
    {"method": _maybe(st.sampled_from(["GET", "OPTIONS", "HEAD", "CONNECT"])), "url": _maybe(_URLS)},
    optional={"headers": _FIELDS, "postData": _CONTENT},
)
_RESPONSE = st.fixed_dictionaries(
    {"status": _maybe(st.sampled_from([0, 101, 200, 204, 503]))}, optional={"headers": _FIELDS, "content": _CONTENT}
)
_ENTRIES = _maybe(
    st.lists(_maybe(st.fixed_dictionaries({"request": _maybe(_REQUEST), "response": _maybe(_RESPONSE)})), max_size=3)
)
RECORDINGS = st.fixed_dictionaries({"log": _maybe(st.fixed_dictionaries({"entries": _ENTRIES}))}).map(
    lambda document: json.dumps(document).encode()
)


# Tests of rules


def run_cases(data: bytes) -> None:
    """Read tests, and judge those that can be read."""
    from rulesproxy.rules.dry.dry_run import DryRun
    from rulesproxy.rules.dry.judge import judge

    text = (
        "version: 1\nrules:\n  - id: r\n    match: path under '/a'\n    respond: {json: {a: 1}}\ntests:\n"
        + data.decode("utf-8", "surrogateescape")
    )
    loaded = load_text(text, "r.yaml", env={})
    for diagnostic in loaded.diagnostics:
        assert render(diagnostic)
    dry = DryRun(loaded.rules)
    for case in loaded.tests:
        for failure in judge(case, dry).failures:
            assert render(failure)


CASE_PIECES = [
    "  - name: x\n", "    request: GET http://a.test/a\n", "    request:\n      url: https://a.test/\n", "      method: POST\n", "      headers:\n        x: ",
    "    expect:\n", "      rules: [r]\n", "      rules-include: r\n", "      status: 200\n", "      json: ", "{a: 1, b: [x, ~]}\n", "      body: ", "a\n", '"\\ud800"\n',
    "      upstream: none\n", "      upstream: {url: http://a.test/}\n", "      end: reset\n", "    response: 503\n", "    response: {json: [1]}\n", "    error: tls\n",
    "    steps:\n      - request: http://a.test/\n        expect: {status: 200}\n", "    vars: {a: b}\n", "    profile: p\n", "    sampled: false\n", "      client: 10.0.0.1\n",
    '"a\\nb"\n', "[a, b]\n", "null\n", "      headers: {x: , y: z}\n",
]  # fmt: skip


FILTERS = mutated(st.one_of(_soup(FILTER_PIECES, ["", " ", " ", "\n"]), JOINED, TILDES))
RULE_FILES = st.tuples(st.one_of(FILTERS, JOINED), st.integers(0, len(STYLES) - 1), st.sampled_from(ACTIONS)).map(
    lambda parts: _rule_file(*parts)
)

TARGETS = {
    target.name: target
    for target in (
        Target("filter", run_filter, FILTERS),
        Target("regex", run_regex, mutated(REGEX_TEXTS)),
        Target("yaml", run_yaml, mutated(st.one_of(_soup(YAML_PIECES, [""]), RULE_FILES))),
        Target("template", run_template, mutated(_soup(TEMPLATE_PIECES, [""]))),
        Target("websocket", run_websocket, mutated(FRAMES)),
        Target("http2", run_http2, mutated(HTTP2_FRAMES)),
        Target("har", run_har, mutated(RECORDINGS)),
        Target("cases", run_cases, mutated(_soup(CASE_PIECES, [""]))),
        Target("socks5", run_socks5, mutated(st.lists(st.sampled_from(SOCKS_PIECES), max_size=9).map(b"".join))),
        Target("events", run_events, mutated(EVENTS)),
        Target("tcp", run_tcp, mutated(tcp_texts(st.lists(st.sampled_from(REGEX_PIECES), max_size=8).map("".join)))),
        Target("clienthello", run_clienthello, st.one_of(mutated(HELLOS), st.binary(max_size=80))),
    )
}
