"""`Pass`: where one flow is in its passes over the rules, and what each rule sees of its request.

It knows the request as it was before each change, and nothing of the order of rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.filters.view import FlowView
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPRequest
from rulesproxy.flow.plan import Side
from rulesproxy.rules.action import Captures
from rulesproxy.rules.batch import Batch
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.index import Numbers, Question
from rulesproxy.rules.templates.filters import Seen

if TYPE_CHECKING:
    from rulesproxy.rules.conversations.messages import Talk

_Head: TypeAlias = tuple[str, str, str, int, str, str, list[tuple[bytes, bytes, bytes]]]


class Pass:
    """Where a flow is in its passes; kept on `flow.rules`.

    Attributes:
        owner: the identity of the rule set that made it.
        numbers: the candidates, in order; cut behind a rule that stops.
        at: the next candidate of the current pass.
        reached: the first candidate that the request pass did not come to.
        waits: the side whose body the pass needs before it can go on.
        answered: the request pass is over.
        heads: the request as it stood before each change, with the number of the changing rule.
        sealed: the request head at the end of the request pass.
        asked: what the index was asked about.
        matched: the captures of rules that matched in the request pass and act in the response pass.
        batch: the GraphQL batch of which rules have answered a part.
        gates: what the gates of rules have said, by number: each is asked once per flow.
        talk: the conversation that the flow has begun, once it has.
    """

    __slots__ = (
        "answered",
        "asked",
        "at",
        "batch",
        "gates",
        "heads",
        "matched",
        "numbers",
        "owner",
        "reached",
        "sealed",
        "talk",
        "waits",
    )

    def __init__(self, owner: object, numbers: Numbers) -> None:
        self.owner = owner
        self.numbers = numbers
        self.at = 0
        self.reached = 0
        self.waits: Side | None = None
        self.answered = False
        self.heads: list[tuple[int, HTTPRequest]] | None = None
        self.sealed: _Head | None = None
        self.asked: Question | None = None
        self.matched: dict[int, Captures] | None = None
        self.gates: dict[int, bool] | None = None
        self.batch: Batch | None = None
        self.talk: Talk | None = None

    def seal(self, request: HTTPRequest) -> None:
        """Keep the request head as it is at the end of the request pass."""
        self.sealed = (
            request.method, request.scheme, request.host, request.port, request.path, request.http_version,
            request.headers.raw,
        )  # fmt: skip

    def opens(self, rule: Compiled, view: FlowView) -> bool:
        """Whether the gate of a rule is open for this flow; asked once, so that both sides of the rule act alike."""
        if rule.gate is None:
            return True
        if self.gates is None:
            self.gates = {}
        opens = self.gates.get(rule.number)
        if opens is None:
            opens = self.gates[rule.number] = rule.gate.opens(view)
        return opens

    def base_view(self, flow: HTTPFlow) -> FlowView:
        """A view whose request is the one at the end of the request pass."""
        sealed, request = self.sealed, flow.request
        view = FlowView(flow)
        if sealed is None:
            return view
        method, scheme, host, port, path, version, raw = sealed
        if (
            raw is request.headers.raw and path == request.path and host == request.host and method == request.method
            and port == request.port and scheme == request.scheme
        ):  # fmt: skip
            return view
        earlier = HTTPRequest(method, scheme, host, port, path, version, Headers.of(raw))
        earlier.body_source = request.body_source
        return view.at(earlier)

    def view(self, view: FlowView, number: int) -> FlowView:
        """A view whose request is the one that this rule saw."""
        if self.heads is not None:
            for changer, head in self.heads:
                if changer >= number:
                    # A copy from before the body was read has none, but then no rule above wanted it.
                    return view.at(head)
        return view

    def recall(self, flow: HTTPFlow, rule: Compiled, captures: Captures) -> None:
        """Give captures of the request pass the request that this rule saw, for what it does behind that pass."""
        if isinstance(captures, Seen):
            request = self.view(self.base_view(flow), rule.number).request
            captures.request = None if request is flow.request else request
