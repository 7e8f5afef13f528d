"""URLs and authorities: what is taken, what is refused, and that taking apart and putting together agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.flow.url import default_port, format_authority, split_authority, split_url

GOOD = [
    ("http://example.com", ("http", "example.com", 80, "/")),
    ("http://example.com/", ("http", "example.com", 80, "/")),
    ("HTTP://Example.COM/Path", ("http", "Example.COM", 80, "/Path")),
    ("https://example.com/a?b=c#frag", ("https", "example.com", 443, "/a?b=c")),
    ("https://example.com:8443/a", ("https", "example.com", 8443, "/a")),
    ("https://example.com:/a", ("https", "example.com", 443, "/a")),
    ("http://ex.com?x", ("http", "ex.com", 80, "/?x")),
    ("http://ex.com#x", ("http", "ex.com", 80, "/")),
    ("http://ex.com/?a=/b?c", ("http", "ex.com", 80, "/?a=/b?c")),
    ("http://[::1]/", ("http", "::1", 80, "/")),
    ("http://[2001:db8::1]:8080/x", ("http", "2001:db8::1", 8080, "/x")),
    ("http://[fe80::1%eth0]/", ("http", "fe80::1%eth0", 80, "/")),
    ("http://[::ffff:1.2.3.4]/", ("http", "::ffff:1.2.3.4", 80, "/")),
    ("ws://example.com/chat", ("http", "example.com", 80, "/chat")),
    ("wss://example.com:1/chat", ("https", "example.com", 1, "/chat")),
    ("http://bücher.example/", ("http", "bücher.example", 80, "/")),
    ("http://a_b.example/", ("http", "a_b.example", 80, "/")),
]

BAD_AUTHORITIES = [
    "", ":80", "user@example.com", "user:pw@example.com", "a b", "a/b", "a\\b", "a\tb", "a\0b", "a\r\nb", "a<b", 'a"b',
    "[::1", "[::1]x", "[]", "[beef]", "[1.2.3.4]", "[::1]:0", "[x::]", "[::1%]", "[v1.x]", "::1", "2001:db8::1",
    "a:0", "a:65536", "a:99999", "a:123456", "a:-1", "a:+1", "a: 1", "a:x", "a:1_0", "a:٣", "a:1:2", "[:", "]",
    "a\x80b", "a\udc80b",
]  # fmt: skip

BAD_URLS = ["", "example.com", "/path", "//a/b", "ftp://a/b", "http:/a", "mailto:x", "http//a", "://a", "javascript:1"]


@pytest.mark.parametrize(("url", "parts"), GOOD)
def test_good_urls(url: str, parts: tuple[str, str, int, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize(
    "url", [*BAD_URLS, *(f"http://{authority}/" for authority in BAD_AUTHORITIES if "/" not in authority)]
)
def test_bad_urls(url: str) -> None:
    with pytest.raises(ValueError):
        split_url(url)


@pytest.mark.parametrize("authority", BAD_AUTHORITIES)
def test_bad_authorities(authority: str) -> None:
    with pytest.raises(ValueError):
        split_authority(authority, 80)


@pytest.mark.parametrize(
    ("host", "port", "scheme", "text"),
    [
        ("a", 80, "http", "a"),
        ("a", 443, "https", "a"),
        ("a", 443, "http", "a:443"),
        ("a", 80, "https", "a:80"),
        ("a", 80, "", "a:80"),
        ("::1", 80, "http", "[::1]"),
        ("::1", 8080, "http", "[::1]:8080"),
    ],
)
def test_format(host: str, port: int, scheme: str, text: str) -> None:
    assert format_authority(host, port, scheme) == text


def test_default_ports() -> None:
    assert [default_port(scheme) for scheme in ("http", "https", "ws", "wss", "gopher")] == [80, 443, 80, 443, 0]


hosts = st.text("abz019-._~%!$&'()*+,;=é", min_size=1, max_size=12) | st.ip_addresses(v=6).map(str)


@given(hosts, st.integers(1, 65535), st.sampled_from(["http", "https"]))
def test_round_trip(host: str, port: int, scheme: str) -> None:
    authority = format_authority(host, port, scheme)
    assert split_authority(authority, default_port(scheme)) == (host, port)
    assert split_url(f"{scheme}://{authority}/x?y") == (scheme, host, port, "/x?y")


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_only_value_errors(text: str) -> None:
    for split in (split_url, lambda text: split_authority(text, 80), lambda text: split_url("http://" + text)):
        try:
            parts = split(text)
        except ValueError:
            continue
        host, port = parts[-3:-1] if len(parts) == 4 else parts
        assert host
        assert 0 < port < 65536
        assert not set(host) & set('/\\@?# \t\r\n\0[]<>"')
