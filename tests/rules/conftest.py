"""`exchange`: one request through a rule set, event by event, as the layers do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from rulesproxy.flow.error import FlowError
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse
from rulesproxy.rules.ruleset import RuleSet, load_rules
from tests.support.deciding import complete

Pairs = Iterable[tuple[str, str]]


@dataclass
class Outcome:
    """What became of a request.

    Attributes:
        flow: the flow at its end.
        upstream: the request that the server got; None where it got none.
        read: the bodies that were kept for the rules.
    """

    flow: HTTPFlow
    upstream: HTTPRequest | None = None
    read: set[str] = field(default_factory=set)

    @property
    def hits(self) -> list[str]:
        return self.flow.hits

    @property
    def status(self) -> int | None:
        return None if self.flow.response is None else self.flow.response.status_code

    @property
    def text(self) -> str | None:
        return None if self.flow.response is None else self.flow.response.text

    def header(self, name: str) -> str | None:
        return None if self.flow.response is None else self.flow.response.headers.get(name)


def load(rules: str) -> RuleSet:
    """The rule set of the text below `rules:`."""
    return load_rules(text="version: 1\nrules:\n" + rules)


Between = Callable[[HTTPFlow], None]
"""An addon behind the rules."""


def run_exchange(
    rules: RuleSet | str,
    method: str = "GET",
    url: str = "http://a.test/",
    headers: Pairs = (),
    body: bytes = b"",
    status: int | None = 200,
    response_headers: Pairs = (),
    response_body: bytes = b"",
    limit: int = 10_000,
    between: Between | None = None,
    before: Between | None = None,
) -> Outcome:
    """Send one request through the rules. `before` and `between` are addons in front of and behind them.

    Without a `status` the server cannot be reached.
    """
    if isinstance(rules, str):
        rules = load(rules)
    flow = HTTPFlow.make(method, url, headers)
    outcome = Outcome(flow)

    def fire(event: str) -> None:
        if before is not None and event == "requestheaders":
            before(flow)
        handler = getattr(rules, event, None)
        if handler is not None:
            complete(handler(flow))
        if between is not None and event == "requestheaders":
            between(flow)

    def receive(side: str, message: HTTPRequest | HTTPResponse, content: bytes) -> None:
        if rules.wants_body(flow, side) and len(content) <= limit:  # type: ignore[arg-type, union-attr]
            outcome.read.add(side)
            message.body_source = content
        else:
            message.body_source = None if content else b""

    fire("requestheaders")
    receive("request", flow.request, body)
    fire("request")
    if flow.planned is not None and flow.planned.end is not None:
        return outcome
    server: HTTPResponse | None = None
    if flow.response is None:
        outcome.upstream = flow.request.copy()
        if status is None:
            flow.error = FlowError("nobody there", "refused")
            fire("error")
            return outcome
        server = flow.response = HTTPResponse.make(status)
        server.headers = Headers(response_headers)
    fire("responseheaders")
    if server is not None and flow.response is server:
        receive("response", server, response_body)
    elif rules.wants_body(flow, "response"):
        outcome.read.add("response")
    fire("response")
    return outcome


@pytest.fixture(name="load")
def load_fixture() -> Callable[[str], RuleSet]:
    return load


@pytest.fixture
def exchange() -> Callable[..., Outcome]:
    return run_exchange
