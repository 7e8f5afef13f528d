"""The grammar: no conflicts, precedence, how `~` filters and literals are read, and where nodes are."""

import logging
import subprocess
import sys
from dataclasses import fields, is_dataclass

import lark
import pytest

from rulesproxy.filters import ast
from rulesproxy.filters.parse import build, parse


def shown(node):
    """A tree as nested text: what binds to what."""
    if isinstance(node, (ast.And, ast.Or)):
        name = "beside" if isinstance(node, ast.And) and node.implicit else type(node).__name__.lower()
        return f"{name}({', '.join(shown(item) for item in node.items)})"
    if isinstance(node, (ast.Not, ast.Quantified)):
        name = "not" if isinstance(node, ast.Not) else node.kind
        return f"{name}({shown(node.item)})"
    if isinstance(node, ast.Tilde):
        return f"~{node.name}" + (f"[{node.argument.value}]" if node.argument else "")
    if isinstance(node, ast.Compare):
        return f"{shown(node.left)} {node.op} {shown(node.right)}"
    if isinstance(node, ast.Truthy):
        return shown(node.value)
    if isinstance(node, ast.Has):
        return f"has({shown(node.value)})"
    if isinstance(node, ast.Field):
        return node.name + "".join(f"[{key.value if isinstance(key, ast.Star) else repr(key)}]" for key in node.keys)
    if isinstance(node, ast.Call):
        return f"{node.name}({', '.join(shown(arg) for arg in node.args)})"
    if isinstance(node, ast.Named):
        return f"${node.name}"
    if isinstance(node, ast.Set):
        return "{" + " ".join(shown(item) for item in node.items) + "}"
    if isinstance(node, ast.Range):
        return f"{shown(node.low)}..{shown(node.high)}"
    if isinstance(node, ast.Number):
        return f"{node.value}{node.unit}"
    return repr(node.value) if isinstance(node, ast.Text) else f"{node.value}"


def check(text, expected):
    assert shown(parse(text)) == expected


def test_the_grammar_has_no_conflicts(caplog):
    with caplog.at_level(logging.DEBUG, logger=lark.logger.name):
        build(debug=True)
    assert [record.getMessage() for record in caplog.records] == []


def test_a_conflict_would_be_logged(caplog):
    with caplog.at_level(logging.DEBUG, logger=lark.logger.name), pytest.raises(lark.exceptions.GrammarError):
        lark.Lark('start: a | b\na: "x"\nb: "x"', parser="lalr", debug=True)
    with caplog.at_level(logging.DEBUG, logger=lark.logger.name):
        lark.Lark('start: "a" start "b" start | "a" start | "x"', parser="lalr", debug=True)
    assert caplog.records


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Tightest first: brackets, comparison, not, and, or, filters side by side.
        ("tls or ~q and ~s", "or(tls, and(~q, ~s))"),
        ("tls and ~q or ~s", "or(and(tls, ~q), ~s)"),
        ("(tls or ~q) and ~s", "and(or(tls, ~q), ~s)"),
        ("not tls and ~q", "and(not(tls), ~q)"),
        ("not (tls and ~q)", "not(and(tls, ~q))"),
        ("not not tls", "not(not(tls))"),
        ("! tls && !~q || ! ! ~s", "or(and(not(tls), not(~q)), not(not(~s)))"),
        ("not port == 80", "not(port == 80)"),
        ("!port != 80", "not(port != 80)"),
        ("tls and ~q and ~s", "and(tls, ~q, ~s)"),
        ("tls & ~q && ~s and tls", "and(tls, ~q, ~s, tls)"),
        ("tls | ~q || ~s or tls", "or(tls, ~q, ~s, tls)"),
        ("tls and(~q)or(~s)", "or(and(tls, ~q), ~s)"),
        ("not(tls)", "not(tls)"),
        # mitmproxy's notation.
        ("~u a ~u b | ~u c", "beside(~u[a], or(~u[b], ~u[c]))"),
        ("~u a & ~u b | ~u c & ~u d", "or(and(~u[a], ~u[b]), and(~u[c], ~u[d]))"),
        ("~u a ~u b | ~u c ~u d", "beside(~u[a], or(~u[b], ~u[c]), ~u[d])"),
        ("!~q ~s", "beside(not(~q), ~s)"),
        ("!!~u a", "not(not(~u[a]))"),
        ("! ~c 200", "not(~c[200])"),
        ("(~q)", "~q"),
        ("!(~q)", "not(~q)"),
        ("(~s & ~q)", "and(~s, ~q)"),
        ("~s & (~q | ~e)", "and(~s, or(~q, ~e))"),
        ("(~u a ~u b) | ~u c", "or(beside(~u[a], ~u[b]), ~u[c])"),
        ("!(~u a ~u b)", "not(beside(~u[a], ~u[b]))"),
        ("(~m GET)(~m POST)", "beside(~m[GET], ~m[POST])"),
        ("(~m GET)|(~m POST)", "or(~m[GET], ~m[POST])"),
        ("~q&~s", "and(~q, ~s)"),
        ("~q|~s", "or(~q, ~s)"),
        ("~q~s", "beside(~q, ~s)"),
        ("~q&~c 200", "and(~q, ~c[200])"),
        ("~c 200|~c 201", "or(~c[200], ~c[201])"),
        ("~c 200-299", "~c[200-299]"),
        ("~c 4xx|~c 5xx", "or(~c[4xx], ~c[5xx])"),
        ("~u a|~u b", "or(~u[a], ~u[b])"),
        ("~u a&~u b", "and(~u[a], ~u[b])"),
        ("~u a||~u b", "or(~u[a], ~u[b])"),
        ("~u a&&!~u b", "and(~u[a], not(~u[b]))"),
        ("~u a|(~u b)", "or(~u[a], ~u[b])"),
        ("~u a| ~u b", "or(~u[a], ~u[b])"),
        ("~u a |~u b", "or(~u[a], ~u[b])"),
        ("~u a|b", "~u[a|b]"),
        ("~u a|b|~u c", "or(~u[a|b], ~u[c])"),
        ("~u a=1&b=2", "~u[a=1&b=2]"),
        ("~u https://x/?a=b&c=d", "~u[https://x/?a=b&c=d]"),
        ("~u !x", "~u[!x]"),
        ("~u x!y", "~u[x!y]"),
        ("~u |x", "~u[|x]"),
        (r"~u a\.b", r"~u[a\.b]"),
        ("~u {a}[b]", "~u[{a}[b]]"),
        ("~u r", "~u[r]"),
        ("~u rest", "~u[rest]"),
        ('~u r"a b"', "~u[a b]"),
        ("~u and & ~u or", "and(~u[and], ~u[or])"),
        ("~u not|~u in", "or(~u[not], ~u[in])"),
        (r'~u "\.js$"', r"~u[\.js$]"),
        (r"~u 'a\d+'", r"~u[a\d+]"),
        (r'~u "\\d"', r"~u[\d]"),
        (r'~u "a\"b"', '~u[a"b]'),
        ('~u "a|b" & ~q', "and(~u[a|b], ~q)"),
        ('~u "get(A|B)"', "~u[get(A|B)]"),
        ('~u ""', "~u[]"),
        ("~u\t'a\nb'\r\n~q", "beside(~u[a\nb], ~q)"),
        ("  ~q  ", "~q"),
        ("~src 1.2.3.4 ~s", "beside(~src[1.2.3.4], ~s)"),
        ("~tq json|~ts json", "or(~tq[json], ~ts[json])"),
        ("~replayq|~replays|~replay", "or(~replayq, ~replays, ~replay)"),
        # Both notations, mixed.
        ('host == "a" & ~m GET', "and(host == 'a', ~m[GET])"),
        ("~d a and port in {80 443}", "and(~d[a], port in {80 443})"),
        ("tls and !~u x", "and(tls, not(~u[x]))"),
        ("$a and not $b-c", "and($a, not($b-c))"),
        # Words that begin like operators.
        ("android or organ", "or(android, organ)"),
        ("notes and inner and anyhow", "and(notes, inner, anyhow)"),
        ("not_a or in_b", "or(not_a, in_b)"),
        ("and_x == or_y", "and_x == or_y"),
        ("method == INSERT or method == ORDER", "or(method == INSERT, method == ORDER)"),
        ("method in {ANY NOTIFY in-place}", "method in {ANY NOTIFY in-place}"),
        ("liked == globe", "liked == globe"),
        # Values.
        ('a.b["c"][0][*] == "d"', "a.b['c'][0][*] == 'd'"),
        ("a ['b'] == 'c'", "a['b'] == 'c'"),
        ('a[r"\\d"] == 1', "a['\\\\d'] == 1"),
        ("lower(trim(path)) == 'a'", "lower(trim(path)) == 'a'"),
        ("substr(path, 1, 'b') == 'a'", "substr(path, 1, 'b') == 'a'"),
        ("json(a)['b'] == 1", "json(a) == 1"),
        ("has(a['b'])", "has(a['b'])"),
        ("any (a == 1) and all( b == 2 )", "and(any(a == 1), all(b == 2))"),
        ("a not in {1}", "a not in {1}"),
        ("a not\n in {1}", "a not in {1}"),
        ("a in $list", "a in $list"),
        ("a in {$list 'b' c}", "a in {$list 'b' c}"),
        ("a in {1..2 3 4.5 -1 10KB 20MiB..30MiB 200ms..1.5s}", "a in {1..2 3 4.5 -1 10KB 20MiB..30MiB 200ms..1.5s}"),
        ("a in {10.0.0.1 10.0.0.0/8 ::1 fe80::/10 ::ffff:1.2.3.4}", "a in {10.0.0.1 10.0.0.0/8 ::1 fe80::/10 ::ffff:1.2.3.4}"),
        ("a in {10.0.0.1..10.0.0.9 ::1..::9}", "a in {10.0.0.1..10.0.0.9 ::1..::9}"),
        ("a in {true false truex HTTP/1.1 *.js}", "a in {True False truex HTTP/1.1 *.js}"),
        ("a > 250ms and b <= 1.5h", "and(a > 250ms, b <= 1.5h)"),
        ("a==1&b!=2|c<3", "or(and(a == 1, b != 2), c < 3)"),
        ("a ~ 'x' and a !~ 'x' and a ~* 'x' and a !~* 'x'", "and(a ~ 'x', a !~ 'x', a ~* 'x', a !~* 'x')"),
        ("a~'x'|b!~*'y'", "or(a ~ 'x', b !~* 'y')"),
        ("a glob '*' and a like '/{b}' and a under 'c'", "and(a glob '*', a like '/{b}', a under 'c')"),
        ("a contains {'b' 'c'} or a startswith $d", "or(a contains {'b' 'c'}, a startswith $d)"),
        (r"""a == "\\\"\'\n\r\t\x41\u00e9" """, "a == " + repr("\\\"'\n\r\tA\u00e9")),
        (r'a == r#"x\"y"#', r"""a == 'x\\"y'"""),
        ('a == r""', "a == ''"),
    ],
)  # fmt: skip
def test_reading(text, expected):
    check(text, expected)


def walk(node):
    yield node
    for each in fields(node):
        value = getattr(node, each.name)
        for child in value if isinstance(value, tuple) else (value,):
            if is_dataclass(child):
                yield from walk(child)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('host == "a" and ~d b', ['host == "a" and ~d b', 'host == "a"', "host", '"a"', "~d b", "b"]),
        ("not (tls or ~q)", ["not (tls or ~q)", "(tls or ~q)", "tls", "tls", "~q"]),
        ("lower(a['b']) in {1..2 $c}", ["lower(a['b']) in {1..2 $c}", "lower(a['b'])", "a['b']", "{1..2 $c}", "1..2", "1", "2", "$c"]),
        ("any( has(a) )", ["any( has(a) )", "has(a)", "a"]),
        ("~q  ~c 4xx", ["~q  ~c 4xx", "~q", "~c 4xx", "4xx"]),
    ],
)  # fmt: skip
def test_places(text, places):
    assert [text[node.start : node.end] for node in walk(parse(text))] == places


@pytest.mark.parametrize(
    ("text", "value", "places"),
    [
        ('a ~ "bc"', "bc", [5, 6, 7]),
        (r'a ~ "\"b\d"', r'"b\d', [5, 7, 8, 9, 10]),
        (r'a ~ "\\d"', r"\d", [5, 7, 8]),
        (r'a == "\u0041b"', "Ab", [6, 12, 13]),
        ('a ~ r##"bc"##', "bc", [8, 9, 10]),
        ("~u bc", "bc", [3, 4, 5]),
    ],
)
def test_places_in_texts(text, value, places):
    (found,) = [node for node in walk(parse(text)) if isinstance(node, ast.Text)]
    assert found.value == value
    assert [found.place(index) for index in range(len(value) + 1)] == places


def test_the_parser_generator_is_loaded_by_the_first_filter():
    code = (
        "import sys, rulesproxy.filters.parse, rulesproxy.filters.check, rulesproxy.filters.compile\n"
        "assert 'lark' not in sys.modules\n"
        "rulesproxy.filters.parse.parse('~q')\n"
        "assert 'lark' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
