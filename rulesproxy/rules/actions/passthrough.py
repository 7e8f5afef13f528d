"""The action `passthrough`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.rules.action import Action, Captures, Example, Handler


@dataclass(frozen=True, slots=True)
class Passthrough(Action):
    """Leave TLS to these hosts alone: the bytes pass undecrypted, and no other rule sees the requests in them.

    It is decided by what is known before decryption, such as `host`, `port`, `sni` and `client.ip`; plain HTTP is not
    concerned.
    """

    key: ClassVar = "passthrough"
    events: ClassVar = frozenset({"clienthello"})
    bare: ClassVar = True

    examples: ClassVar = (
        Example("match: host under 'bank.test'\npassthrough:", "GET http://bank.test/", "GET http://bank.test/"),
    )

    def bind(self) -> Handler:
        def nothing(flow: HTTPFlow, captures: Captures) -> None:
            """Hosts look at the rule itself; in a pass over an HTTP flow there is nothing left to do."""

        return nothing
