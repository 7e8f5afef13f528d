"""The action `upstream` without a network: what a flow is told, what a tunnel is told, and who has to be decrypted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rulesproxy.flow.connection import ClientConn
from rulesproxy.flow.route import ClientCert, Route, Via
from rulesproxy.rules.lints import diagnose
from rulesproxy.rules.load import RulesError, load_text
from rulesproxy.rules.ruleset import RuleSet, load_rules

Exchange = Callable[..., Any]
PEM = Path(__file__).parent.parent / "diagnostics" / "files" / "only-certificate.pem"


def rules_of(*rules: str) -> RuleSet:
    return load_rules(text="version: 1\nrules:\n" + "".join(f"- {rule}\n" for rule in rules))


ROUTES = [
    ("http://p.test:3128", Route(via=Via("http", "p.test", 3128))),
    ("direct", Route(via="direct")),
    ("{proxy: 'socks5://[::1]:1'}", Route(via=Via("socks5", "::1", 1))),
    ("{address: '[::1]:8443', sni: b.test}", Route(address=("::1", 8443), sni="b.test")),
    ("{verify: false}", Route(verify=False)),
    ("{http-version: 2}", Route(http_version="2")),
    ("{http-version: '1.1'}", Route(http_version="1.1")),
    ("{http-version: auto, proxy: direct}", Route(via="direct", http_version="auto")),
    (f"{{ca: '{PEM}', verify: true}}", Route(verify=True, ca=(PEM.resolve(),))),
    (f"{{ca: ['{PEM}', '{PEM}']}}", Route(ca=(PEM.resolve(), PEM.resolve()))),
]


@pytest.mark.parametrize(("upstream", "route"), ROUTES)
def test_a_flow_is_told(exchange: Exchange, upstream: str, route: Route) -> None:
    outcome = exchange(f"- match: ~all\n  upstream: {upstream}\n")
    assert outcome.flow.plan.upstream == route
    assert outcome.upstream.url == "http://a.test/"


def test_rules_add_up(exchange: Exchange) -> None:
    outcome = exchange(
        "- match: ~all\n  upstream: {address: '1.2.3.4:5', sni: x.test}\n"
        "- match: path == '/nowhere'\n  upstream: direct\n"
        "- match: ~all\n  upstream: {address: '1.2.3.4:6'}\n"
    )
    assert outcome.flow.plan.upstream == Route(address=("1.2.3.4", 6), sni="x.test")


def test_a_flow_that_no_rule_is_about_is_told_nothing(exchange: Exchange) -> None:
    assert exchange("- match: host == 'b.test'\n  upstream: direct\n").flow.planned is None


def test_a_certificate_with_its_key(tmp_path: Path) -> None:
    import trustme

    mine = trustme.CA().issue_cert("me.test")
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "me.pem"))
    mine.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    rules = rules_of(
        f"{{match: ~all, upstream: {{client-cert: {{cert: '{tmp_path}/me.pem', key: '{tmp_path}/key.pem'}}}}}}"
    )
    (step,) = rules.rules[0].rule.steps
    assert step.action.route == Route(client_cert=ClientCert(tmp_path / "me.pem", tmp_path / "key.pem"))


@pytest.mark.parametrize(
    ("rule", "blind"),
    [
        ("{match: host == 'a.test', upstream: direct}", True),
        ("{match: host == 'a.test', upstream: {address: '1.2.3.4:5'}}", True),
        ("{match: host == 'a.test', upstream: {verify: false}}", False),
        ("{match: host == 'a.test', upstream: {http-version: 2}}", False),
        ("{match: host == 'a.test', upstream: {proxy: direct, sni: x.test}}", False),
        ("{match: host == 'a.test' and path == '/', upstream: direct}", False),
        ("{match: host == 'a.test', upstream: direct, tag: x}", False),
        ("{match: host == 'a.test', upstream: direct, stop: true}", False),
    ],
)
def test_who_has_to_be_decrypted(rule: str, blind: bool) -> None:
    rules = rules_of(rule)
    assert rules.wants_host("a.test") is not blind
    assert not rules.wants_host("b.test")
    assert ("a.test" in rules.plan()) is not blind


def route(rules: object, host: str, port: int = 443, sni: str | None = None) -> Route | None:
    conn = ClientConn()
    conn.sni = sni
    found: Route | None = rules.route_tunnel(conn, (host, port))  # type: ignore[attr-defined]
    return found


def test_a_tunnel_is_told() -> None:
    rules = rules_of(
        "{match: host == 'stop.test', stop: true}",
        "{match: host under 'test', upstream: http://p.test:1}",
        "{match: port == 22, upstream: {address: '1.2.3.4:22'}}",
        "{match: path == '/', upstream: direct}",
    )
    assert route(rules, "a.test") == Route(via=Via("http", "p.test", 1))
    assert route(rules, "a.test", 22) == Route(via=Via("http", "p.test", 1), address=("1.2.3.4", 22))
    assert route(rules, "a.other") is None
    assert route(rules, "stop.test") is None
    # The name in TLS counts where the client has asked for an address, and only there.
    assert route(rules, "192.0.2.1", sni="a.test") == Route(via=Via("http", "p.test", 1))
    assert route(rules, "a.other", sni="a.test") is None


@pytest.mark.parametrize(
    ("upstream", "codes"), [("direct", []), ("{sni: x.test}", ["RP708"]), ("{http-version: 2}", ["RP708"])]
)
def test_a_passed_tunnel_is_still_routed(upstream: str, codes: list[str]) -> None:
    loaded = load_text(
        "version: 1\nrules:\n- {match: host == 'a.test', passthrough: true}\n"
        f"- {{match: host == 'a.test', upstream: {upstream}}}\n"
    )
    assert [diagnostic.code for diagnostic in diagnose(loaded)] == codes


def test_no_rule_no_question() -> None:
    assert not hasattr(rules_of("{match: path == '/', upstream: direct}"), "route_tunnel")
    assert not hasattr(rules_of("{match: path == '/', upstream: direct}").rules[0], "route_tunnel")
    alone = rules_of("{match: host == 'a.test', upstream: direct}").rules[0]
    assert route(alone, "a.test") == Route(via="direct")


def test_who_is_not_verified() -> None:
    rules = rules_of("{id: one, match: ~all, upstream: {verify: false}}", "{match: ~all, upstream: {verify: true}}")
    assert rules.unverified == ["one"]


@pytest.mark.parametrize(
    ("upstream", "code", "said"),
    [
        ("{}", "RP103", "says nothing"),
        ("", "RP103", "got nothing"),
        ("[direct]", "RP109", "got a list"),
        ("{verify: maybe}", "RP103", "true or false"),
        ("{http-version: 2.0}", "RP104", "did you mean `2`?"),
        ("{http-version: HTTP/1.1}", "RP104", "did you mean `1.1`?"),
        ("{http-version: 3}", "RP104", "1.1, 2 or auto"),
        ("{http-version: [2]}", "RP109", "got a list"),
        ("{http2: true}", "RP101", "http-version"),
        ("{insecure: true}", "RP101", "verify"),
        ("{sni: 'a b'}", "RP104", "host name"),
        ("'http://${vars.p}'", "RP605", "p"),
    ],
)
def test_mistakes(upstream: str, code: str, said: str) -> None:
    with pytest.raises(RulesError) as raised:
        rules_of(f"{{match: ~all, upstream: {upstream}}}")
    (diagnostic,) = [one for one in raised.value.diagnostics if one.severity == "error"]
    assert diagnostic.code == code
    assert said in diagnostic.title + diagnostic.help


def test_a_proxy_from_the_variables() -> None:
    rules = load_rules(
        text="version: 1\nvars: {p: 'joe:pw@p.test:1'}\nrules:\n- {match: ~all, upstream: 'http://${vars.p}'}\n"
    )
    (step,) = rules.rules[0].rule.steps
    assert step.action.route == Route(via=Via("http", "p.test", 1, "joe", "pw"))
