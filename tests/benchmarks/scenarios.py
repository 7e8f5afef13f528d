"""The scenarios as plain data: what is asked, over what, of a proxy set up how. It knows no proxy by name."""

from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["forward", "reverse"]

KIB = 1024
SMALL_BODY = 1 * KIB
LARGE_BODY = 10 * KIB * KIB
MESSAGE = 64
"""The length of a WebSocket message, in bytes."""
HOST_NAMES = 100

PATH_SMALL = "/1k"
PATH_MARKED = "/1k-marked"
"""The origin answers 417 here unless the request carries `x-req: 1`."""
PATH_UNMARKED = "/1k-unmarked"
"""The origin answers 417 here if the request carries `x-req`."""
PATH_RULE_PROBE = "/rule-probe"
"""As `PATH_MARKED`; only the last rule of a large rule set matches it, so one request shows that all are loaded."""
PATH_LARGE = "/10m"
MESSAGE_PROBE = "x-mark"
MESSAGE_CHANGED = "x-seen"


@dataclass(frozen=True)
class Setup:
    """How a proxy is to be set up.

    `mode` is forward or reverse; `intercept` asks for TLS interception; `header_rule` for one rule for all traffic that
    sets `x-req: 1` on requests and `x-resp: 1` on responses; `idle_rules` for that many host/path rules that match
    nothing of the load, and one more that matches `PATH_RULE_PROBE`; `message_rule` for one rule that turns a
    WebSocket message `MESSAGE_PROBE` of the server into `MESSAGE_CHANGED`, which none of the load is.
    """

    mode: Mode = "forward"
    intercept: bool = False
    header_rule: bool = False
    idle_rules: int = 0
    message_rule: bool = False


@dataclass(frozen=True)
class Scenario:
    """One measurement: `unit` is req/s, conn/s, MB/s, trips/s or s; one in s measures the start and sends no load.

    `message` is the length of the WebSocket messages that go to and fro in place of requests.
    """

    key: str
    title: str
    unit: Literal["req/s", "conn/s", "MB/s", "s", "trips/s"] = "req/s"
    setup: Setup = field(default_factory=Setup)
    path: str = PATH_SMALL
    body: int = SMALL_BODY
    tls: bool = False
    once: bool = False
    hosts: int = 1
    connections: int = 64
    expect_field: str | None = None
    message: int | None = None

    @property
    def lower_is_better(self) -> bool:
        return self.unit == "s"


_INTERCEPT = Setup(intercept=True)

ALL = (
    Scenario("a", "plain forward, no rule", path=PATH_UNMARKED),
    Scenario(
        "b",
        "plain forward, one rule: a request and a response header",
        setup=Setup(header_rule=True),
        path=PATH_MARKED,
        expect_field="x-resp",
    ),
    Scenario("c", "reverse, no rule", setup=Setup(mode="reverse")),
    Scenario("d", "HTTPS intercepted, keep-alive", setup=_INTERCEPT, tls=True),
    # With 64 connections a proxy that holds whole bodies delivers them in bursts as long as the measurement itself.
    Scenario("e", "10 MiB bodies, plain", "MB/s", path=PATH_LARGE, body=LARGE_BODY, connections=16),
    Scenario(
        "e-tls",
        "10 MiB bodies, HTTPS intercepted",
        "MB/s",
        setup=_INTERCEPT,
        path=PATH_LARGE,
        body=LARGE_BODY,
        tls=True,
        connections=16,
    ),
    Scenario("f", "new intercepted TLS connections", "conn/s", setup=_INTERCEPT, tls=True, once=True),
    Scenario(
        "f100",
        f"new intercepted TLS connections to {HOST_NAMES} hosts",
        "conn/s",
        setup=_INTERCEPT,
        tls=True,
        once=True,
        hosts=HOST_NAMES,
    ),
    Scenario("g", "WebSocket echo, nothing wants messages", "trips/s", message=MESSAGE),
    Scenario(
        "g-rule",
        "WebSocket echo, one rule reads messages",
        "trips/s",
        setup=Setup(message_rule=True),
        message=MESSAGE,
    ),
    Scenario("h", "start to accepting, idle memory", "s"),
    Scenario("h1000", "start to accepting, idle memory, 1,000 rules", "s", setup=Setup(idle_rules=1_000)),
    Scenario("i", "1,000 host/path rules, none matching", setup=Setup(idle_rules=1_000), path=PATH_UNMARKED),
    Scenario("i10000", "10,000 host/path rules, none matching", setup=Setup(idle_rules=10_000), path=PATH_UNMARKED),
)

DEFAULT = ("a", "b", "d", "f", "h", "h1000", "i", "i10000")


def select(keys: str) -> list[Scenario]:
    """Reads a comma-separated list of keys, `default` or `all`; ValueError names an unknown key."""
    by_key = {scenario.key: scenario for scenario in ALL}
    if keys == "all":
        return list(ALL)
    wanted = DEFAULT if keys == "default" else [key.strip() for key in keys.split(",") if key.strip()]
    unknown = [key for key in wanted if key not in by_key]
    if unknown or not wanted:
        raise ValueError(f"unknown scenario {', '.join(unknown) or repr(keys)}; there are: {', '.join(by_key)}")
    return [by_key[key] for key in wanted]


def idle_rule(number: int) -> tuple[str, str]:
    """Host and path prefix of one rule that matches nothing of the load."""
    return f"h{number}.bench.test", f"/p{number}/"
