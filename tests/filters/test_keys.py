"""What is known of a filter from the host or the path alone."""

import pytest

from rulesproxy.filters.check import check as check_filter
from rulesproxy.filters.keys import Key, host_decision, index_key
from rulesproxy.filters.parse import parse

NAMES = {"hosts": ("a.test", "b.test"), "f": parse('host == "a.test"')}


def key(text):
    return index_key(check_filter(parse(text), NAMES))


def sets(whole, wide):
    return None if whole is None else set(whole), None if wide is None else set(wide)


@pytest.mark.parametrize(
    ("text", "hosts", "suffixes"),
    [
        ('host == "A.test"', ["a.test"], []),
        ("host in $hosts", ["a.test", "b.test"], []),
        ("$f and tls", ["a.test"], []),
        ("host under $hosts", [], ["a.test", "b.test"]),
        ('host under ".a.test"', [], ["a.test"]),
        ('host == "a" or host under "b"', ["a"], ["b"]),
        ('host == "a" or tls', None, None),
        ('host == "a" and tls', ["a"], []),
        ('host == "a" and host under "b.test"', ["a"], []),
        ('host under "test" and host under "a.test"', [], ["a.test"]),
        ('host in {"a" "b" "c"} and host == "a"', ["a"], []),
        ('not host == "a"', None, None),
        ('host != "a"', None, None),
        ('not (host != "a" or tls)', ["a"], []),
        ('not (host != "a" and tls)', None, None),
        ('not not host == "a"', ["a"], []),
        ('host endswith ".a.test"', [], ["a.test"]),
        ('host endswith "a.test"', [], ["test"]),
        ('host endswith "test"', None, None),
        ('host endswith {".a" ".b"}', [], ["a", "b"]),
        ('host endswith {".a" "b"}', None, None),
        ('host endswith "."', None, None),
        ('host glob "*.a.test"', [], ["a.test"]),
        ('host glob "a.*"', None, None),
        ('host glob "a.test"', ["a.test"], []),
        ('host contains "a"', None, None),
        (r'host ~ "^a\.test$"', ["a.test"], []),
        (r'host ~ "\.a\.test$"', [], ["a.test"]),
        (r'host ~ "a\.test$"', [], ["test"]),
        (r'host ~ "(^|\.)a\.test$"', [], ["a.test"]),
        (r'host ~ "^[a-z]+\.a\.test$"', [], ["a.test"]),
        (r'host ~ "^a.test$"', None, None),
        (r'host ~ "^a\."', None, None),
        (r"~d ^a\.test$", ["a.test"], []),
        (r"~d ^A\.TEST$", ["a.test"], []),
        (r"~d \.a\.test$", [], ["a.test"]),
        (r"~d a\.test$", [], ["test"]),
        (r'~d "(^|\.)a\.test$"', [], ["a.test"]),
        ("~d a.test", None, None),
        (r'~d "^a\.test$" | ~d "^b\.test$"', ["a.test", "b.test"], []),
        ('orig.host == "a"', None, None),
        ('lower(host) == "a"', None, None),
        ('sni == "a"', None, None),
        ("~all", None, None),
        ("not ~all", [], []),
        ('not ~all or host == "a"', ["a"], []),
        (
            " or ".join(f'host == "{number}.test"' for number in range(40)),
            [f"{number}.test" for number in range(40)],
            [],
        ),
    ],
)
def test_hosts(text, hosts, suffixes):
    found = key(text)
    assert (found.hosts, found.suffixes) == sets(hosts, suffixes)


@pytest.mark.parametrize(
    ("text", "paths", "prefixes"),
    [
        ('path == "/a"', ["/a"], []),
        ('path == "/%61"', ["/a"], []),
        ('path in {"/a" "/b"}', ["/a", "/b"], []),
        ('path under "/a/"', ["/a"], ["/a/"]),
        ('path under "/"', [""], ["/"]),
        ('path startswith "/a"', [], ["/a"]),
        ('path startswith {"/a" "/b"}', [], ["/a", "/b"]),
        ('path startswith {"/a" ""}', None, None),
        ('path glob "/a*b"', [], ["/a"]),
        ('path glob "*.js"', None, None),
        ('path like "/a/b"', ["/a/b"], []),
        ('path like "/a/{b}"', [], ["/a/"]),
        ('path ~ "^/a"', [], ["/a"]),
        ('path ~ "^/a/[0-9]+$"', [], ["/a/"]),
        ('path ~ "^/a$"', ["/a"], []),
        ('path ~ "/a"', None, None),
        ('path ~* "^/a"', [], ["/"]),
        ('path endswith "a"', None, None),
        ('path.raw == "/a"', None, None),
        ('orig.path == "/a"', None, None),
        ('path == "/a" or path startswith "/b"', ["/a"], ["/b"]),
        ('path == "/a" or method == GET', None, None),
        ('path startswith "/a" and path startswith "/a/b/c"', [], ["/a/b/c"]),
        ('any(query["a"] == "b") and path == "/a"', ["/a"], []),
    ],
)
def test_paths(text, paths, prefixes):
    found = key(text)
    assert (found.paths, found.prefixes) == sets(paths, prefixes)


def test_both():
    expected = Key(frozenset({"a"}), frozenset(), frozenset({"/v1"}), frozenset({"/v1/"}))
    assert key('host == "a" and path under "/v1" and ~m GET') == expected


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ('host == "a.test"', ["a.test", "A.TEST."], ["b.test"]),
        ('host == "a.test" and path == "/x"', ["a.test"], ["b.test"]),
        ('host == "a.test" or path == "/x"', ["a.test", "b.test"], []),
        ('host != "a.test"', ["b.test"], ["a.test"]),
        ('not (host == "a.test" and path == "/x")', ["a.test", "b.test"], []),
        ('not (host == "a.test" or path == "/x")', ["b.test"], ["a.test"]),
        ('host under "test" and not host == "a.test"', ["b.test"], ["a.test", "b.org"]),
        ("~d example & ~u /x", ["www.example.com"], ["a.test"]),
        ("~d a|~d b", ["a.org", "b.org"], ["c.de"]),
        ('lower(host) == "a" or orig.host == "b"', ["a", "b"], ["c"]),
        ("~all", ["a"], []),
        ("not ~all", [], ["a"]),
        ("not ~all or host == 'a'", ["a"], ["b"]),
        ('has(host) and host ~ "^a"', ["a"], ["b"]),
        ("len(host) > 3", ["abcd"], ["abc"]),
        ('sni == "a"', ["a", "b"], []),
    ],
)
def test_host_decision(text, yes, no):
    may = host_decision(check_filter(parse(text)))
    assert [host for host in yes + no if may(host)] == yes
