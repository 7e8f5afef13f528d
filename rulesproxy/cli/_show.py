"""Dry runs as text for a terminal: hits with what they changed, messages before and after, misses with their reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from rulesproxy.cli._paint import Paint
from rulesproxy.diagnostics import excerpt
from rulesproxy.engine.log import escape

if TYPE_CHECKING:
    from rulesproxy.flow.http import HTTPMessage, HTTPRequest, HTTPResponse
    from rulesproxy.rules.dry.trace import Result, RuleTrace

_LINES = 40
"""Lines of a body that are shown."""


def show_hits(result: Result, paint: Paint) -> Iterator[str]:
    """The rules that matched, each with what it changed; where none did, the nearest one and why it missed."""
    for name in result.hits:
        trace = result.of(name)
        yield titled(trace, "good", "", paint)
        yield from [f"    {line}" for line in show_acts(trace, paint)]
    if result.hits:
        return
    yield "no rule matches"
    near = result.nearest
    if near is not None:
        yield f"the nearest is {titled(near, 'strong', '', paint)}"
        yield from [f"    {line}" for line in show_reasons(near, paint)]


def show_acts(trace: RuleTrace, paint: Paint) -> Iterator[str]:
    """What a rule did, one thing in a line."""
    for name, value in trace.captures.items():
        yield paint("faint", escape(f"{name} = {value}"))
    for change in trace.changes:
        yield escape(str(change))
    for failure in trace.failures:
        yield paint("bad", escape(f"failed: {failure}"))
    if trace.rule.stop:
        yield "stops: no rule below applies"


def show_reasons(trace: RuleTrace, paint: Paint) -> Iterator[str]:
    """Why a rule did nothing: the terms that were false, each where it stands; else one line."""
    if not trace.reasons or trace.rule.text is None:
        yield escape(trace.why)
        return
    if trace.why != str(trace.reasons[0]):
        yield escape(trace.why)
    for reason in trace.reasons[:3]:
        line, marks = excerpt(trace.rule.text.place(reason.start, reason.end), escape(str(reason)))
        yield line
        yield paint("doubt", marks)


def show_messages(result: Result, paint: Paint) -> Iterator[str]:
    """The request and the response, before and after the rules."""
    given = result.given
    sent = given.received.request.copy()
    sent.body_source = given.body
    yield ""
    if result.upstream is None:
        yield "request: the server is not asked"
    else:
        yield from _both("request, as the server gets it", request_lines(sent), request_lines(result.upstream), paint)
    yield ""
    flow = result.flow
    if flow.planned is not None and flow.planned.end is not None:
        yield f"response: none, the connection ends ({flow.planned.end})"
        return
    before = [] if given.answer is None else response_lines(given.answer)
    if flow.response is None:
        why = f": {escape(str(flow.error))}" if flow.error is not None else ""
        yield f"response: {result.status or 'none'}, an error page of the proxy{why}" if why else "response: none"
        return
    yield from _both("response, as the client gets it", before, response_lines(flow.response), paint)


def request_lines(request: HTTPRequest) -> list[str]:
    """A request as lines of text."""
    return [f"{request.method} {request.url}", *_message_lines(request)]


def response_lines(response: HTTPResponse) -> list[str]:
    """A response as lines of text."""
    return [f"{response.status_code} {response.reason}".rstrip(), *_message_lines(response)]


def count(number: int, noun: str) -> str:
    """A number of things in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def titled(trace: RuleTrace, kind: str, status: str, paint: Paint) -> str:
    """A rule with its status and its place, which is the name already where it has no id."""
    span = trace.rule.span
    place = f"{span.source.path}:{span.line}"
    parts = [paint(kind, trace.name), status, "" if place == trace.name else paint("faint", place)]
    return "  ".join([part for part in parts if part])


def _message_lines(message: HTTPMessage) -> list[str]:
    lines = [f"{name}: {value}" for name, value in message.headers.items(multi=True)]
    try:
        body = message.get_content(strict=False)
    except OSError as error:
        return [*lines, "", f"(cannot be read: {error})"]
    if not body:
        return lines
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = message.decode_text(body)
        if not text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
            return [*lines, "", f"({len(body)} bytes)"]
    found = text.splitlines()
    more = [f"(and {len(found) - _LINES} more lines)"] if len(found) > _LINES else []
    return [*lines, "", *found[:_LINES], *more]


def _both(title: str, before: Sequence[str], after: Sequence[str], paint: Paint) -> Iterator[str]:
    """A message before and after, with the lines that are gone and those that are new."""
    if list(before) == list(after):
        yield f"{title}: as sent"
        yield from [f"    {escape(line)}".rstrip() for line in after]
        return
    yield f"{title}:"
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from [f"    {escape(line)}".rstrip() for line in before[a:b]]
        else:
            yield from [paint("bad", f"  - {escape(line)}".rstrip()) for line in before[a:b]]
            yield from [paint("good", f"  + {escape(line)}".rstrip()) for line in after[c:d]]
