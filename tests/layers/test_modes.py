"""How modes and addresses are written."""

from __future__ import annotations

import pytest

from rulesproxy.flow.route import Via
from rulesproxy.layers.modes import Mode, ModeError, parse_listen, parse_mode, plan_listeners

PROXY = Via("http", "proxy.test", 3128)

GOOD = [
    ("regular", Mode("regular")),
    ("Regular@8081", Mode("regular", listen=("127.0.0.1", 8081))),
    ("regular@:8081", Mode("regular", listen=("0.0.0.0", 8081))),
    ("socks5", Mode("socks5")),
    ("socks5@[::1]:1080", Mode("socks5", listen=("::1", 1080))),
    ("transparent@0.0.0.0:8080", Mode("transparent", listen=("0.0.0.0", 8080))),
    ("reverse:https://a.test", Mode("reverse", ("a.test", 443), tls=True)),
    ("reverse:HTTP://a.test:81/", Mode("reverse", ("a.test", 81))),
    ("reverse:a.test", Mode("reverse", ("a.test", 443), tls=True)),
    ("reverse:a.test:8443@9000", Mode("reverse", ("a.test", 8443), tls=True, listen=("127.0.0.1", 9000))),
    ("reverse:tcp://[::1]:6379", Mode("reverse", ("::1", 6379), raw=True)),
    ("reverse:tls://a.test:993", Mode("reverse", ("a.test", 993), tls=True, raw=True)),
    ("tcp:a.test:5432@127.0.0.1:5433", Mode("tcp", ("a.test", 5432), raw=True, listen=("127.0.0.1", 5433))),
    ("upstream:http://proxy.test:3128", Mode("upstream", via=PROXY)),
    ("upstream:http://proxy.test:3128@8081", Mode("upstream", via=PROXY, listen=("127.0.0.1", 8081))),
    ("upstream:http://proxy.test:3128@127.0.0.1:8081", Mode("upstream", via=PROXY, listen=("127.0.0.1", 8081))),
    ("upstream:http://joe:12@proxy.test:3128", Mode("upstream", via=Via("http", "proxy.test", 3128, "joe", "12"))),
    ("upstream:http://joe:pw@10.0.0.1:3128", Mode("upstream", via=Via("http", "10.0.0.1", 3128, "joe", "pw"))),
    (
        "upstream:https://joe:p%40w@proxy.test@[::1]:1",
        Mode("upstream", via=Via("https", "proxy.test", 443, "joe", "p@w"), listen=("::1", 1)),
    ),
    ("upstream:http://joe@proxy.test", Mode("upstream", via=Via("http", "proxy.test", 80, "joe"))),
    ("upstream:socks5h://proxy.test", Mode("upstream", via=Via("socks5", "proxy.test", 1080))),
]

BAD = [
    ("", "'' is not a mode"),
    ("regulr", "did you mean `regular`"),
    ("sock5", "did you mean `socks5`"),
    ("nonsense", "there are regular, reverse"),
    ("regular:x", "`regular` has no target"),
    ("reverse", "not a host"),
    ("reverse:ftp://a.test", "http:// or https://"),
    ("reverse:https://a.test/path", "'/path' is a path"),
    ("reverse:tcp://a.test", "has no port"),
    ("tcp:a.test", "has no port"),
    ("tcp:", "not a host"),
    ("upstream", "starts with http://"),
    ("upstream:proxy.test:3128", "starts with http://"),
    ("upstream:http://joe:secret@proxy.test/x", "has a path"),
    ("upstream:ftp://joe:secret@proxy.test", "starts with http://"),
    ("upstream:http://joe:secret@proxy.test:99999", "is not a port"),
    ("upstream:socks5://joe:secret@", "not a host"),
    ("socks5@", "cannot listen on"),
    ("socks5@127.0.0.1", "cannot listen on"),
]


@pytest.mark.parametrize(("text", "mode"), GOOD)
def test_a_mode(text: str, mode: Mode) -> None:
    assert parse_mode(text) == mode


@pytest.mark.parametrize(("text", "said"), BAD)
def test_what_is_no_mode(text: str, said: str) -> None:
    with pytest.raises(ModeError) as raised:
        parse_mode(text)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def listens(modes: list[str], addresses: list[str]) -> list[str]:
    return [f"{mode.name} {host}:{port}" for mode, (host, port) in plan_listeners(modes, addresses)]


@pytest.mark.parametrize(
    ("modes", "addresses", "expected"),
    [
        (["regular"], [], ["regular 127.0.0.1:8080"]),
        (["regular", "socks5"], [], ["regular 127.0.0.1:8080", "socks5 127.0.0.1:1080"]),
        (["regular"], ["1", "2"], ["regular 127.0.0.1:1", "regular 127.0.0.1:2"]),
        (["regular", "socks5"], ["1", "2"], ["regular 127.0.0.1:1", "socks5 127.0.0.1:2"]),
        (["regular@1", "socks5"], ["2"], ["regular 127.0.0.1:1", "socks5 127.0.0.1:2"]),
        (["regular@1", "socks5@2"], [], ["regular 127.0.0.1:1", "socks5 127.0.0.1:2"]),
    ],
)
def test_who_listens_where(modes: list[str], addresses: list[str], expected: list[str]) -> None:
    assert listens(modes, addresses) == expected


@pytest.mark.parametrize(
    ("modes", "addresses"),
    [(["regular", "socks5"], ["1"]), (["regular@1"], ["2"]), (["regular", "socks5@1"], ["2", "3"])],
)
def test_modes_and_addresses_that_do_not_fit(modes: list[str], addresses: list[str]) -> None:
    with pytest.raises(ModeError, match="give one --listen for each --mode"):
        plan_listeners(modes, addresses)


def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="cannot listen on 'a b:1'"):
        parse_listen("a b:1")
