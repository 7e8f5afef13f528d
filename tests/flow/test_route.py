"""Upstream proxies and routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rulesproxy.flow.route import ClientCert, Route, Via


@pytest.mark.parametrize(
    ("url", "via"),
    [
        ("http://a.test:3128", Via("http", "a.test", 3128)),
        ("HTTPS://a.test/", Via("https", "a.test", 443)),
        ("socks5://[::1]:1", Via("socks5", "::1", 1)),
        ("socks5h://u:p@a.test", Via("socks5", "a.test", 1080, "u", "p")),
        ("http://u%3a:p@a.test", None),
        ("http://u:%00@a.test", None),
        ("socks5://u@a.test", None),
        ("socks5://u:" + "x" * 256 + "@a.test", None),
        ("http://a.test?x", None),
        ("http://", None),
        ("a.test:1", None),
        ("socks4://a.test", None),
    ],
)
def test_the_url_of_a_proxy(url: str, via: Via | None) -> None:
    if via is None:
        with pytest.raises(ValueError):
            Via.parse(url)
    else:
        assert Via.parse(url) == via


def test_a_password_is_never_shown() -> None:
    via = Via.parse("http://joe:secret@a.test:3128")
    assert str(via) == "http://a.test:3128"
    for shown in (repr(via), f"{via}", repr(Route(via=via))):
        assert "secret" not in shown
        assert "joe" not in shown


def test_a_route_over_another() -> None:
    cert = ClientCert(Path("me.pem"))
    below = Route(via="direct", sni="a.test", client_cert=cert)
    assert Route(via=Via("http", "p", 1)).over(below) == Route(Via("http", "p", 1), None, "a.test", client_cert=cert)
    assert Route(verify=False).over(Route(verify=True)).verify is False
    assert Route(sni="x").over(None) == Route(sni="x")


@pytest.mark.parametrize(
    ("route", "blind"),
    [
        (Route(via="direct"), True),
        (Route(address=("a", 1)), True),
        (Route(sni="a"), False),
        (Route(verify=False), False),
        (Route(ca=()), False),
        (Route(client_cert=ClientCert(Path("x"))), False),
    ],
)
def test_what_can_be_followed_without_decryption(route: Route, blind: bool) -> None:
    assert route.blind is blind
