"""Requests that fit a term of a filter: the example that every report about rules has to bring.

They are guesses. The reference interpreter of filters, and the rules themselves where they are run, have the last word.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rulesproxy.engine.log import logger
from rulesproxy.filters.fields import NUMBERS, Kind
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.typed import Members, Test
from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.url import format_authority, split_url
from rulesproxy.rules.lints.bodies import Body
from rulesproxy.rules.lints.sample import sample
from rulesproxy.rules.lints.terms import Literal, Term
from rulesproxy.rules.lints.values import finite, interval, tries

if TYPE_CHECKING:
    from rulesproxy.rules.model import Rule
    from rulesproxy.rules.ruleset import RuleSet

_BODIES = frozenset({"request.text", "request.body", "~bq", "response.text", "response.body", "~bs"})
_STRUCTURED = frozenset({"request.json", "response.json", "request.form", "graphql.operation", "graphql.type"})


class Witness:
    """One exchange, as data from which flows are made.

    Attributes:
        method, url: of the request.
    """

    def __init__(self) -> None:
        self.method = "GET"
        self.scheme = "https"
        self.host = "host.test"
        self.port: int | None = None
        self.path = "/"
        self.url_text = ""
        self.query: list[tuple[str, str]] = []
        self.headers: list[tuple[str, str]] = []
        self.cookies: list[tuple[str, str]] = []
        self.body = Body()
        self.client = ""
        self.tls: bool | None = None
        self.tags: list[str] = []
        self.status = 200
        self.response_headers: list[tuple[str, str]] = []
        self.response_body = Body()

    @property
    def url(self) -> str:
        """The URL of the request."""
        if self.url_text:
            return self.url_text
        port = self.port or (443 if self.scheme == "https" else 80)
        query = "&".join(f"{quote(name)}={quote(value)}" for name, value in self.query)
        return (
            f"{self.scheme}://{format_authority(self.host, port, self.scheme)}{self.path}{'?' if query else ''}{query}"
        )

    def flow(self, answered: bool) -> HTTPFlow:
        """A flow, with the server's response where it is `answered`."""
        headers = _with_kind(self.headers, self.body)
        if self.cookies:
            headers.append(("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies)))
        flow = HTTPFlow.make(
            self.method, self.url, headers, self.body.content, self.status if answered else None,
            _with_kind(self.response_headers, self.response_body), self.response_body.content,
        )  # fmt: skip
        conn = flow.client_conn
        conn.tls = self.scheme == "https" if self.tls is None else self.tls
        if conn.tls:
            conn.sni = flow.request.host
        if self.client:
            conn.address = conn.peername = (self.client, 50000)
        flow.tags.extend(self.tags)
        return flow

    def moved(self, url: str, status: int) -> Witness:
        """What a client sends that was redirected to a URL with a status (RFC 9110 section 15.4)."""
        other = copy(self)
        other.url_text = url
        other.scheme = url.partition(":")[0].lower()
        other.tls = None
        if status not in (307, 308) and self.method != "HEAD":
            other.method = "GET"
        return other

    def __str__(self) -> str:
        parts = [f"{self.method} {self.url}"]
        parts += [f"{name}: {value}" for name, value in self.headers]
        parts += [f"cookie {name}={value}" for name, value in self.cookies]
        if self.client:
            parts.append(f"from {self.client}")
        return ", ".join(parts)


def witnesses(term: Term) -> Iterator[Witness]:
    """Exchanges that may fit a term."""
    for variant in range(2):
        witness = Witness()
        if all(_apply(witness, group, variant) for group in term.by_key.values()):
            yield witness


def ruleset(*rules: Rule) -> RuleSet:
    """A set of rules to try a request on. Few files have anything to try, so what runs rules is loaded here."""
    from rulesproxy.rules.ruleset import RuleSet

    return RuleSet(rules)


def run(rules: RuleSet, witness: Witness) -> HTTPFlow:
    """Send the witness through rules, event by event, as the layers do it; the flow at its end. Nothing is logged."""
    flow = witness.flow(False)

    def fire(event: str) -> None:
        handler = getattr(rules, event, None)
        if handler is not None:
            handler(flow)

    before, logger.disabled = logger.disabled, True
    try:
        fire("requestheaders")
        fire("request")
        if flow.planned is None or flow.planned.end is None:
            if flow.response is None:
                flow.response = witness.flow(True).response
            fire("responseheaders")
            fire("response")
    finally:
        logger.disabled = before
    return flow


def _apply(witness: Witness, group: list[Literal], variant: int) -> bool:
    """Make the witness fit the conditions on one read; False where that is not known how."""
    test = group[0].test
    # Functions without a name read a value of JSON as what it is compared with.
    if test is None or any(each.name for each in test.read.functions) or test.read.index is not None:
        return not any(literal.positive for literal in group)
    name, key = test.read.field.name, test.read.key
    if not any(literal.positive for literal in group):
        return _avoid(witness, name, group)
    if test.read.multi and test.read.field.name != "~d":
        # Each of the conditions may be met by a value of its own.
        values = [_value([literal], variant) for literal in group if literal.positive]
    else:
        values = [_value(group, variant)]
    if None in values:
        return False
    return all(_set(witness, name, key, value) for value in dict.fromkeys(values))


def _avoid(witness: Witness, name: str, group: list[Literal]) -> bool:
    """Choose another value where the usual one is excluded."""
    if name == "method":
        fits = [word for word in ("GET", "POST", "PUT", "DELETE") if _passes(group, word)]
        witness.method = fits[0] if fits else "PATCH"
    elif name in ("host", "~d"):
        fits = [word for word in (witness.host, "other.example") if _passes(group, word)]
        witness.host = fits[0] if fits else "x.invalid"
    elif name == "tls":
        witness.tls = False
        witness.scheme = "http"
    elif name == "scheme":
        witness.scheme = "http" if _passes(group, "http") else "https"
    elif name == "path":
        witness.path = next((path for path in ("/", "/x", "/other/page") if _passes(group, path)), "/")
    elif name == "response.status":
        witness.status = next((status for status in (200, 404, 500, 302) if _passes(group, status)), 200)
    return True


def _passes(group: list[Literal], value: Any) -> bool:
    return all(tries(each.test, value) == each.positive for each in group if each.test is not None)


def _value(group: list[Literal], variant: int) -> Any:
    """A value that meets conditions on one read; None where none was guessed."""
    guesses: list[Any] = []
    for literal in group:
        if literal.positive and literal.test is not None:
            guesses += _guesses(literal.test)
    if variant:
        guesses += [f"{a}{b}" for a in guesses for b in guesses if isinstance(a, str) and isinstance(b, str)]
    return next((guess for guess in guesses if _passes(group, guess)), None)


def _guesses(test: Test) -> list[Any]:
    values = finite(test)
    if values is not None:
        return sorted(values, key=str)
    kind, operand = test.read.kind, test.operand
    if test.op == "true":
        return [True]
    if test.op == "has":
        return [True] if kind is Kind.BOOL else [1] if kind in NUMBERS else ["x"]
    numbers = interval(test)
    if numbers is not None:
        return [number for number in _numbers(numbers.low, numbers.high) if number >= 0]
    if isinstance(operand, Members):
        found: list[Any] = sorted(operand.values, key=str)
        found += [low for low, _ in operand.ranges]
        return found + [network.network_address for network in operand.networks]
    if isinstance(operand, Regex):
        text = sample(operand.pattern)
        shaped = [operand.shape[1]] if operand.shape is not None else []
        guesses = [*shaped, *([text] if text is not None else [])]
    elif test.op == "glob" and isinstance(operand, tuple):
        guesses = ["x".join(operand), "".join(operand)]
    else:
        guesses = list(operand) if isinstance(operand, tuple) else []
    if kind in (Kind.PATH,):
        guesses += [f"/{guess}" for guess in guesses] + [f"{guess}/x" for guess in guesses]
    if kind is Kind.HOST:
        guesses += [f"{guess.strip('.-')}.test" for guess in guesses] + [
            f"www.{guess.strip('.-')}" for guess in guesses
        ]
    return guesses


def _numbers(low: float, high: float) -> list[int]:
    inside = [200, 404, 500, 80, 443, 8080, 1]
    edges = [int(edge) for edge in (low, high) if abs(edge) < 2**53]
    return [*[number for number in inside if low <= number <= high], *edges, *[edge + 1 for edge in edges]]


def _set(witness: Witness, name: str, key: Any, value: Any) -> bool:
    """Put a value where a field reads it; False for a field that is not known."""
    shown = key.decode("latin-1") if isinstance(key, bytes) else key if isinstance(key, str) else "x"
    if name in ("method", "scheme", "host", "port", "status"):
        setattr(witness, name, value)
    elif name == "~d":
        witness.host = value
    elif name in ("path", "path.raw"):
        witness.path = value
    elif name in ("url", "~u"):
        return _set_url(witness, value)
    elif name == "query":
        witness.query.append((shown, value))
    elif name in ("request.header", "response.header"):
        (witness.headers if name == "request.header" else witness.response_headers).append((shown, value))
    elif name in ("request.content_type", "~tq"):
        witness.headers.append(("content-type", value))
    elif name in ("response.content_type", "~ts"):
        witness.response_headers.append(("content-type", value))
    elif name == "request.cookie":
        witness.cookies.append((shown, value))
    elif name == "response.status":
        witness.status = int(value)
    elif name == "client.ip":
        witness.client = str(ip_address(str(value)))
    elif name == "tls":
        witness.tls = True
    elif name == "flow.tags":
        witness.tags.append(value)
    elif name in _BODIES:
        if name.startswith("response") or name == "~bs":
            witness.response_body.text += value
        else:
            witness.body.text += value
            witness.method = "POST" if witness.method == "GET" else witness.method
    elif name in _STRUCTURED:
        return _set_structured(witness, name, key, value)
    else:
        return name.startswith("~kept") or name in ("~http", "~s")
    return True


def _set_structured(witness: Witness, name: str, key: Any, value: Any) -> bool:
    """Put a value where a body that has parts is read; False where that is not known how."""
    if name == "response.json":
        return witness.response_body.put(key or (), value)
    witness.method = "POST" if witness.method == "GET" else witness.method
    if name == "request.json":
        return witness.body.put(key or (), value)
    if name == "request.form":
        witness.body.form.append((key if isinstance(key, str) else "x", str(value)))
    else:
        witness.body.operation[name] = str(value)
    return True


def _with_kind(headers: list[tuple[str, str]], body: Body) -> list[tuple[str, str]]:
    """Header fields with the type of a body, unless it is there."""
    known = any(name.lower() == "content-type" for name, _ in headers)
    return [*headers, *([("content-type", body.kind)] if body.kind and not known else [])]


def _set_url(witness: Witness, value: str) -> bool:
    for text in (value, f"https://{witness.host}/{value.lstrip('/')}", f"https://{value}"):
        try:
            split_url(text)
        except ValueError:
            continue
        witness.url_text = text
        return True
    return False
