"""`read_cases`: all tests of a file, and which of the keys of a test go together.

How one value is written is known by its type, in `cases`, `case_messages` and `expected`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NoReturn

from rulesproxy.diagnostics import Diagnostic, suggest
from rulesproxy.rules.dry.cases import Case, Exchange
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.files.profiles import Profiles
from rulesproxy.rules.reading.names import unknown_name
from rulesproxy.rules.schema import Bad, Reader

_FORM = "GET https://api.example.com/v1"
_KEYS = "`rules`, `status`, `headers`, `body`, `json`, `upstream` or `messages`"


def read_cases(node: Node, reader: Reader, variables: set[str], profiles: Profiles) -> list[Case]:
    """The tests in the value of `tests:`; what is wrong is recorded, and such a test left out.

    `variables` are those of the file.
    """
    if not isinstance(node, nodes.Sequence):
        reader.fail("RP112", node, "`tests` must be a list", "start every test with `- `")
    found = []
    for item in node.items:
        try:
            case = Case.read(item, reader, "a test")
            _check_case(case, item, reader)
        except Bad:
            continue
        for key in case.vars.keys if case.vars is not None else ():
            if key.text not in variables:
                unknown_name(key, "vars", variables, reader)
        for profile, span in case.profile.names if case.profile is not None else ():
            profiles.want(profile, span)
        name = case.name or f"line {case.span.line}"
        found.append(replace(case, name=name))
    return found


def check_names(cases: list[Case], names: set[str], ids: set[str]) -> Iterator[Diagnostic]:
    """What is wrong with the names of rules in tests: `names` are those that run, `ids` all that are written."""
    for case in cases:
        for exchange in case.exchanges:
            for listed in (exchange.expect.rules, exchange.expect.rules_include):
                for name, span in listed.names if listed is not None else ():
                    if name in names or (name in ids and case.profiles):
                        continue
                    if name in ids:
                        title = f"test `{case.name}` expects rule `{name}`, which is switched off"
                        help = "switch it on, or name its `profile` in the test"
                    else:
                        title = f"test `{case.name}` expects rule `{name}`, which does not exist"
                        meant = suggest(name, names | ids)
                        help = f"did you mean `{meant}`?" if meant else "rules are named by their `id`"
                    yield Diagnostic("RP901", "error", title, span, help)


def _check_case(case: Case, node: Node, reader: Reader) -> None:
    assert isinstance(node, nodes.Mapping)
    if not case.steps:
        if case.expect is None and (case.request is not None or case.tcp is not None):
            reader.fail("RP905", node, "this test expects nothing", f"add `expect:` with {_KEYS}")
        if case.expect is None:
            _no_request(node, reader)
        _check_exchange(case.exchanges[0], node, reader)
        return
    for key in ("request", "tcp", "messages", "response", "error", "expect", "sampled"):
        written = node.key(key)
        if written is not None:
            help = f"move `{key}` into the first step"
            reader.fail("RP905", written, f"`{key}` beside `steps`: every step has its own", help)
    mappings = node.get("steps")
    steps = mappings.items if isinstance(mappings, nodes.Sequence) else [mappings]
    for step, written_step in zip(case.steps, steps, strict=True):
        _check_exchange(step, written_step, reader)


def _no_request(node: Node, reader: Reader) -> NoReturn:
    reader.fail("RP905", node, "this test has no request", f"add `request: {_FORM}`, or `tcp: HOST:PORT`")


def _check_exchange(exchange: Exchange, node: Node | None, reader: Reader) -> None:
    assert isinstance(node, nodes.Mapping)
    expected = node.get("expect")
    assert isinstance(expected, nodes.Mapping)
    request, tcp = exchange.request, exchange.tcp
    if request is None and tcp is None:
        _no_request(node, reader)
    if not expected.entries:
        reader.fail("RP905", expected, "this test expects nothing", f"add {_KEYS}")
    if request is not None:
        _refuse(node, ("tcp",), "a request, or a connection of raw TCP", "keep one of them", reader, "request")
    _check_answer(exchange, node, expected, reader)
    if tcp is not None:
        _check_tcp(exchange, node, expected, reader)
    elif request is not None and not request.is_websocket:
        help = "let the URL begin with ws:// or wss://, or write `tcp: HOST:PORT` in the place of `request`"
        _refuse(node, ("messages",), "only WebSockets and raw TCP have messages", help, reader)
        _refuse(expected, ("messages", "close"), "this request begins no conversation", help, reader)


def _check_answer(exchange: Exchange, node: nodes.Mapping, expected: nodes.Mapping, reader: Reader) -> None:
    """What the server says, and what the client gets of it."""
    websocket = exchange.request is not None and exchange.request.is_websocket
    if exchange.response is not None:
        _refuse(node, ("error",), "a server fails or answers", "keep one of them", reader, "response")
    given = None if exchange.response is None else exchange.response.status
    for status in (given, exchange.expect.status):
        if status is not None and status.value == 101 and not websocket:
            help = "let the URL begin with ws:// or wss://"
            reader.fail("RP905", status.span, "only the handshake of a WebSocket is answered with 101", help)
    if exchange.expect.end is None:
        return
    if websocket:
        _refuse(expected, ("close",), "a conversation ends once", "keep one of them", reader, "end")
    elif exchange.request is not None:
        for key in ("status", "headers", "body", "json"):
            _refuse(expected, (key,), "the client gets no answer", f"keep `end`, or `{key}`", reader, "end")


def _check_tcp(exchange: Exchange, node: nodes.Mapping, expected: nodes.Mapping, reader: Reader) -> None:
    about = "raw TCP has no requests and responses"
    _refuse(node, ("response", "error"), about, "what the server sends is among `messages`", reader)
    keys = ("status", "headers", "body", "json", "upstream")
    _refuse(expected, keys, about, "expect `rules`, `messages` or `end`", reader)
    _refuse(expected, ("close",), "raw TCP has no codes", "write `end: close`", reader)
    for sent in exchange.messages:
        if not sent.said[1]:
            reader.fail("RP905", sent.span, "nobody can send no bytes", "leave this message out")
    listed = exchange.expect.messages
    for message in listed.messages if listed is not None else ():
        if message.json is not None:
            help = "write all that arrives as `text` or `bytes`"
            reader.fail("RP905", message.span, "bytes of raw TCP have no borders, and are no JSON", help)


def _refuse(
    node: nodes.Mapping,
    keys: Iterable[str],
    why: str,
    help: str,
    reader: Reader,
    beside: str = "",
) -> None:
    """Keys that make no sense here."""
    for key in keys:
        written = node.key(key)
        if written is not None:
            what = f"`{key}` beside `{beside}`" if beside else f"`{key}`"
            reader.fail("RP905", written, f"{what}: {why}", help)
