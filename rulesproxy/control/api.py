"""What the control API answers: state, rules, diagnostics, dry runs, options, commands, and what passes."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rulesproxy.aside import aside
from rulesproxy.control.feed import Feed, Subscriber
from rulesproxy.control.metrics import CONTENT_TYPE, metrics
from rulesproxy.diagnostics import DiagnosticError
from rulesproxy.diagnostics.machine import to_json
from rulesproxy.engine.commands import CommandError, Commands
from rulesproxy.engine.log import overheard
from rulesproxy.engine.option import OptionsError
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.limits import CONTROL_BODY, CONTROL_PATIENCE
from rulesproxy.rules.files.packed import check_sent

if TYPE_CHECKING:
    from rulesproxy.app import Figures
    from rulesproxy.control.served import Served
    from rulesproxy.rules.dry.trace import Result, RuleTrace
    from rulesproxy.rules.ruleset import RuleSet

_SILENCE = 15.0
"""Seconds without an entry after which a reader of the feed gets a comment, so that it knows that we are there."""


class Api:
    """The API of one proxy.

    Attributes:
        app: the ASGI application.
    """

    def __init__(self, proxy: Served, feed: Feed) -> None:
        self._proxy = proxy
        self._feed = feed
        routes = [
            Route("/status", self._status),
            Route("/reload", self._reload, methods=["POST"]),
            Route("/rules", self._rules),
            Route("/rules/{name:path}", self._switch, methods=["PATCH"]),
            Route("/check", self._check, methods=["POST"]),
            Route("/explain", self._explain, methods=["POST"]),
            Route("/events", self._events),
            Route("/metrics", self._metrics),
            Route("/options", self._options, methods=["GET", "PATCH"]),
            Route("/commands", self._commands),
            Route("/commands/{path}", self._command, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {HTTPException: _failed, Exception: _broken}
        self.app = Starlette(routes=routes, exception_handlers=handlers)
        self.app.router.redirect_slashes = False

    # State

    async def _status(self, request: Request) -> Response:
        proxy, live = self._proxy, self._proxy.live
        figures = await proxy.figures()
        return _Answer({
            "revision": live.revision,
            "rules": self._list(figures),
            **self._problems(),
            "reloads": live.reloads,
            "in_flight": {str(revision): count for revision, count in figures.in_flight.items()},
            "connections": figures.connections,
            "listeners": [
                {"mode": one.mode, "host": one.host, "port": one.port} for one in proxy.listeners
            ],
            "ca": str(proxy.ca_path),
            "workers": proxy.workers,
        })  # fmt: skip

    def _problems(self) -> dict[str, object]:
        """What is wrong with the files as they are now: with diagnostics in `error`, and as a text in `problems`."""
        found = self._proxy.live.problems
        told = [each for error in found.values() if isinstance(error, DiagnosticError) for each in _diagnostics(error)]
        return {"error": told or None, "problems": {part: str(error) for part, error in found.items()}}

    async def _rules(self, request: Request) -> Response:
        return _Answer(self._list(await self._proxy.figures()))

    def _list(self, figures: Figures) -> list[dict[str, object]]:
        live, hits = self._proxy.live, figures.hits
        return [{"name": name, "enabled": name not in live.disabled, "hits": hits.get(name, 0)} for name in live.names]

    async def _metrics(self, request: Request) -> Response:
        text = metrics(self._proxy.live, await self._proxy.figures(), self._feed)
        return PlainTextResponse(text, media_type=CONTENT_TYPE)

    async def _events(self, request: Request) -> Response:
        return StreamingResponse(self._follow(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def _follow(self) -> AsyncIterator[str]:
        subscriber = Subscriber()
        self._feed.add(subscriber)
        try:
            yield ": what passes from now on\n\n"
            while True:
                entries, missed = await subscriber.take(_SILENCE)
                if missed:
                    yield f'event: missed\ndata: {{"entries": {missed}}}\n\n'
                if not entries:
                    yield ": nothing yet\n\n"
                for entry in entries:
                    yield f"event: flow\ndata: {json.dumps(entry)}\n\n"
        finally:
            self._feed.remove(subscriber)

    # Rules

    async def _reload(self, request: Request) -> Response:
        live = self._proxy.live
        good = await self._proxy.reload()
        return _Answer({"revision": live.revision, "ok": good, **self._problems()}, 200 if good else 422)

    async def _switch(self, request: Request) -> Response:
        name, wanted = request.path_params["name"], await _json(request)
        on = wanted.get("enabled") if isinstance(wanted, dict) else None
        if not isinstance(on, bool):
            raise HTTPException(400, 'send {"enabled": true} or {"enabled": false}')
        try:
            await self._proxy.live.switch(name, on)
        except KeyError:
            raise HTTPException(404, f"no rule `{name}` in the files that are in force") from None
        except OptionsError as error:
            raise HTTPException(409, f"an addon refuses: {error}") from None
        return _Answer({"name": name, "enabled": on, "revision": self._proxy.live.revision})

    async def _check(self, request: Request) -> Response:
        data, files = await _body(request), request.query_params.getlist("file")
        proxy = self._proxy
        try:
            found = await aside(lambda: check_sent(data, files, proxy.live.profiles, proxy.workers))
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return _Answer({
            "ok": not any(each.severity == "error" for each in found.diagnostics), "rules": len(found.rules),
            "diagnostics": [to_json(diagnostic) for diagnostic in found.diagnostics],
        })  # fmt: skip

    async def _explain(self, request: Request) -> Response:
        rules = self._proxy.live.rules
        if rules is None:
            raise HTTPException(409, "this proxy runs without rules")
        flow = _flow(await _json(request))
        return _Answer(await aside(lambda: _dry(rules, flow)))

    # Options and commands

    async def _options(self, request: Request) -> Response:
        if request.method == "PATCH":
            wanted = await _json(request)
            if not isinstance(wanted, dict):
                raise HTTPException(400, 'send {"name": value}')
            try:
                await self._proxy.set_options(wanted)
            except OptionsError as error:
                raise HTTPException(422, str(error)) from None
        hidden = {"auth"}
        return _Answer({
            row.name: {"value": "***" if row.name in hidden and row.value else row.value, "source": row.source,
                       "type": row.type, "help": row.help}
            for row in await self._proxy.describe_options()
        })  # fmt: skip

    async def _commands(self, request: Request) -> Response:
        return _Answer([{"usage": each.usage, "help": each.help} for each in self._known()])

    def _known(self) -> Commands:
        commands = self._proxy.commands
        if commands is None:
            raise HTTPException(501, f"commands are for one process: each of {self._proxy.workers} workers has its own")
        return commands

    async def _command(self, request: Request) -> Response:
        arguments = await _json(request) if (await _body(request)).strip() else []
        if not isinstance(arguments, list):
            raise HTTPException(400, "send the arguments as a list")
        path, patience = request.path_params["path"], self._proxy.options.limits.handler
        commands = self._known()
        if path not in commands:
            raise HTTPException(404, _why_not(commands, path))
        try:
            result = commands.call(path, *arguments)
            if inspect.isawaitable(result):
                async with asyncio.timeout(patience):
                    result = await result
        except CommandError as error:
            raise HTTPException(422, str(error)) from None
        except TimeoutError:
            raise HTTPException(504, f"command `{path}` took longer than {patience:g} s (limits_handler)") from None
        except Exception as error:
            raise HTTPException(500, f"command `{path}` failed: {type(error).__name__}: {error}") from None
        return _Answer({"result": _plain(result)})


def _why_not(commands: Commands, path: str) -> str:
    try:
        commands.call(path)
    except CommandError as error:
        return str(error)
    return f"no command `{path}`"


def _plain(value: object) -> object:
    """A result as JSON has it; what it has not is text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value


class _Answer(JSONResponse):
    """JSON in ASCII: a text may have halves of characters in it, which UTF-8 has no bytes for."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


async def _failed(request: Request, error: HTTPException) -> Response:
    return _Answer({"error": error.detail}, error.status_code, error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    return _Answer({"error": f"this is a bug: {type(error).__name__}: {error}"}, 500)


async def _body(request: Request) -> bytes:
    known: bytes | None = getattr(request.state, "body", None)
    if known is not None:
        return known
    data = b""
    try:
        async with asyncio.timeout(CONTROL_PATIENCE):
            async for piece in request.stream():
                data += piece
                if len(data) > CONTROL_BODY:
                    raise HTTPException(413, f"more than {CONTROL_BODY} bytes")
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {CONTROL_PATIENCE:g} s") from None
    request.state.body = data
    return data


async def _json(request: Request) -> Any:
    try:
        return json.loads(await _body(request))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None


def _diagnostics(error: DiagnosticError) -> list[dict[str, object]]:
    return [to_json(diagnostic) for diagnostic in error.diagnostics]


def _flow(wanted: object) -> HTTPFlow:
    """A flow from `{method, url, headers, body, response: {status, headers, body}}`."""
    if not isinstance(wanted, dict) or not isinstance(wanted.get("url"), str):
        raise HTTPException(400, 'send {"method": "GET", "url": "https://…"}; headers, body and response may follow')
    answer = wanted.get("response") or {}
    if not isinstance(answer, dict):
        raise HTTPException(400, "`response` has the keys status, headers and body")
    status = answer.get("status", 200)
    if not isinstance(status, int) or not 100 <= status <= 999:
        raise HTTPException(400, "`status` is a number of three digits")
    return HTTPFlow.make(
        str(wanted.get("method", "GET")), wanted["url"], headers=_fields(wanted), body=_bytes(wanted), status=status,
        response_headers=_fields(answer), response_body=_bytes(answer),
    )  # fmt: skip


def _fields(message: dict[str, Any]) -> list[tuple[str, str]]:
    fields = message.get("headers") or {}
    pairs = fields.items() if isinstance(fields, dict) else fields
    try:
        return [(str(name), str(value)) for name, value in pairs]
    except (TypeError, ValueError):
        raise HTTPException(400, '`headers` is {"name": "value"}, or a list of pairs') from None


def _bytes(message: dict[str, Any]) -> bytes:
    body = message.get("body", "")
    if not isinstance(body, str):
        body = json.dumps(body)
    return body.encode("utf-8", "surrogatepass")


def _dry(rules: RuleSet, flow: HTTPFlow) -> dict[str, object]:
    """What the rules would do. The log is about traffic, so what they log is a part of the answer instead."""
    with overheard() as records:
        result = rules.run(flow)
    return {**_result(result), "log": [record.getMessage() for record in records if record.levelname == "INFO"]}


def _result(result: Result) -> dict[str, object]:
    response = result.flow.response
    upstream = result.upstream
    return {
        "hits": list(result.hits),
        "status": result.status,
        "upstream": None if upstream is None else {"method": upstream.method, "url": upstream.url},
        "headers": None if response is None else list(response.headers.items(multi=True)),
        "rules": [_trace(trace) for trace in result.trace],
    }


def _trace(trace: RuleTrace) -> dict[str, object]:
    return {
        "name": trace.name,
        "hit": trace.hit,
        "why": trace.why,
        "reasons": [str(reason) for reason in trace.reasons],
        "path": trace.span.source.path,
        "line": trace.span.line,
        "column": trace.span.column,
        "changes": [str(change) for change in trace.changes],
        "failures": list(trace.failures),
    }
