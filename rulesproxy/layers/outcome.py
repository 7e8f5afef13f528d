"""How an exchange can end other than by an answer: what is raised inside it, and where it is turned into events."""

from __future__ import annotations

from rulesproxy.flow.connection import Address
from rulesproxy.flow.error import Kind
from rulesproxy.flow.http import HTTPFlow


class FlowFailed(Exception):
    """The flow ends with `error`. `status` is what the client gets if no answer has begun."""

    def __init__(self, kind: Kind, why: str, status: int = 502) -> None:
        super().__init__(why)
        self.kind: Kind = kind
        self.status = status


class FlowEnded(Exception):
    """The flow was killed, or its plan ends the connection. `how` is the plan's word, or `kill`."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


def obey(flow: HTTPFlow) -> None:
    """Stop where a handler has asked for the end of this flow.

    Raises:
        FlowEnded: it has.
    """
    if flow.error is not None and flow.killed:
        raise FlowEnded("kill")
    plan = flow.planned
    if plan is not None and plan.end is not None:
        raise FlowEnded(plan.end)


def where(address: Address) -> str:
    """A server as messages name it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
