"""What rules say of a host alone: who is refused at CONNECT, and whose TLS has to be seen.

It knows the order of rules as far as it matters before there is a request.
"""

from __future__ import annotations

from collections.abc import Sequence

from rulesproxy.engine.dispatch import run_guarded
from rulesproxy.events import ClientHelloLike
from rulesproxy.filters.normal import normal_address
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.connection import Address, ClientConn, ServerConn
from rulesproxy.flow.headers import Headers
from rulesproxy.flow.http import HTTPFlow, HTTPRequest, HTTPResponse, reason_phrase
from rulesproxy.flow.route import Route
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.index import Index, Numbers
from rulesproxy.rules.state import Store

_HOSTS_KEPT = 4096


class Hosts:
    """The rules of a set by host.

    Attributes:
        routes: some rule says how the server of a tunnel is reached.
    """

    __slots__ = ("_index", "_known", "_numbers", "_rules", "_store", "routes")

    def __init__(self, rules: Sequence[Compiled], index: Index | None, store: Store | None) -> None:
        self._store = store
        self._rules = tuple(rules)
        self._numbers: Numbers = tuple(range(len(self._rules)))
        self._index = index
        self._known: dict[str, bool] = {}
        self.routes = any(rule.route is not None for rule in self._rules)

    @property
    def handlers(self) -> dict[str, object]:
        """The events that some rule needs, each with its handler."""
        found: dict[str, object] = {}
        if any(rule.connect is not None for rule in self._rules):
            found["http_connect"] = self.http_connect
        if any(rule.passes for rule in self._rules):
            found["clienthello"] = self.clienthello
        return found

    def http_connect(self, flow: HTTPFlow) -> None:
        if over(flow):
            return
        if self._store is not None:
            self._store.attach(flow)
        view = FlowView(flow)
        rule = self.refusing(flow.request.host, view)
        if rule is not None:
            self._refuse(flow, rule, view)

    def refusing(self, host: str, view: FlowView) -> Compiled | None:
        """The rule that refuses a tunnel to a host, whatever will be spoken inside."""
        for number in self.of_host(host):
            rule = self._rules[number]
            if not rule.decides_connect:
                if rule.shadows_connect and rule.host_may(host):
                    return None
                continue
            if not rule.matches(view):
                continue
            if rule.connect is not None:
                return rule
            if rule.shadows_connect:
                return None
        return None

    def _refuse(self, flow: HTTPFlow, rule: Compiled, view: FlowView) -> None:
        hit(flow, rule)
        captures = rule.captures(view)
        run_guarded(rule.bound("http_connect"), flow, captures)
        response = flow.response
        if response is not None and response.status_code < 400:
            # A 2xx would open the tunnel, and clients do not follow a redirect of CONNECT.
            flow.response = _as_status(response, 403)

    def clienthello(self, hello: ClientHelloLike) -> None:
        """Leave TLS undecrypted where a rule says so for every host that the client names.

        The name in TLS must not open a way around the rules for the host of the tunnel. An address says nothing that
        the name does not.
        """
        conn = hello.client_conn or ClientConn()
        tunnel = conn.connect_host
        names = [hello.sni] if hello.sni else []
        if tunnel and tunnel != hello.sni and (not names or normal_address(tunnel) is None):
            names.append(tunnel)
        if names and all(self._passes(name, conn) for name in names):
            hello.passthrough = True

    def _passes(self, host: str, conn: ClientConn) -> bool:
        view = self._view_of(conn, (host, conn.connect_port or 443))
        for number in self.of_host(host):
            rule = self._rules[number]
            if rule.passes and rule.matches(view):
                return True
            if rule.stop and rule.host_must(host):
                return False
        return False

    def route_tunnel(self, conn: ClientConn, address: Address) -> Route | None:
        """How the server of a tunnel is reached.

        Where its client has asked for an address, the name that it asks for in TLS says more.
        """
        host = conn.sni if conn.sni and normal_address(address[0]) is not None else address[0]
        route: Route | None = None
        view = self._view_of(conn, (host, address[1]))
        for number in self.of_host(host):
            rule = self._rules[number]
            if rule.route is not None and rule.matches(view):
                route = rule.route.over(route)
            if rule.stop and rule.host_must(host):
                break
        return route

    def _view_of(self, conn: ClientConn, address: Address) -> FlowView:
        """What filters see of a tunnel before there is a request."""
        request = HTTPRequest("CONNECT", "https", *address, "", "HTTP/1.1", Headers())
        flow = HTTPFlow(request, conn, ServerConn(address, tls=True))
        if self._store is not None:
            self._store.attach(flow)
        return FlowView(flow)

    def wants_host(self, host: str) -> bool:
        """Whether some rule has to see inside TLS to this host."""
        wanted = self._known.get(host)
        if wanted is None:
            if len(self._known) >= _HOSTS_KEPT:
                self._known.clear()
            wanted = self._known[host] = self._wants(host)
        return wanted

    def _wants(self, host: str) -> bool:
        for number in self.of_host(host):
            rule = self._rules[number]
            if not rule.host_may(host):
                continue
            if rule.only_passes or rule.only_routes or rule.only_tcp:
                continue
            if rule.rule.steps or not rule.stop:
                return True
            if rule.host_must(host):
                return False
        return False

    def of_host(self, host: str) -> Numbers:
        """The rules that may be about a host."""
        return self._numbers if self._index is None else self._index.by_host(host)


def over(flow: HTTPFlow) -> bool:
    """Whether the request has its answer, or will get none."""
    plan = flow.planned
    return flow.response is not None or flow.error is not None or (plan is not None and plan.end is not None)


def ended(flow: HTTPFlow) -> bool:
    """Whether it was killed, has failed, or its plan ends the connection."""
    plan = flow.planned
    return (plan is not None and plan.end is not None) or flow.error is not None


def hit(flow: HTTPFlow, rule: Compiled) -> None:
    if rule.name not in flow.hits:
        flow.hits.append(rule.name)


def _as_status(response: HTTPResponse, status: int) -> HTTPResponse:
    response.status_code = status
    response.reason = reason_phrase(status)
    response.headers.pop("location", None)
    if "content-length" not in response.headers:
        response.headers["content-length"] = "0"
    return response
