"""Filters that are refused: the code, the words that are marked, and what the help says."""

import pytest

from rulesproxy.filters.check import check as check_filter
from rulesproxy.filters.parse import FilterError, parse

NAMES = {
    "list": ("a.test", "b.test"),
    "text": "a.test",
    "filter": parse("~q"),
    "broken": parse("nothing == 1"),
    "loop": parse("$loop2"),
    "loop2": parse("not $loop"),
}


def check(text, code, marked, help=""):
    """`marked` is the marked part of the text; at the end of the text it is empty."""
    with pytest.raises(FilterError) as caught:
        check_filter(parse(text), NAMES)
    problem = caught.value.problems[0]
    assert (problem.code, text[problem.start : problem.end]) == (code, marked)
    assert problem.severity == "error"
    assert 0 <= problem.start <= problem.end <= len(text)
    assert help in problem.help
    assert problem.title
    assert not problem.title.endswith(".")


SYNTAX = [
    ("", "RP209", "", "~all"),
    ("  \n ", "RP209", "", "~all"),
    ('host = "a"', "RP201", "=", "use `==`"),
    ("tls=true", "RP201", "=", "use `==`"),
    ('host === "a"', "RP202", "===", "use `==`"),
    ('host !== "a"', "RP202", "!==", "use `!=`"),
    ('host =~ "a"', "RP202", "=~", "use `~`"),
    ('host ~= "a"', "RP202", "~=", "use `~`"),
    ('host <> "a"', "RP202", "<>", "use `!=`"),
    ("port => 3", "RP202", "=>", "use `>=`"),
    ("port =< 3", "RP202", "=<", "use `<=`"),
    ("tls &&& tls", "RP202", "&&&", "use `&&`"),
    ("tls ||| tls", "RP202", "|||", "use `||`"),
    ('host eq "a"', "RP202", "eq", "use `==`"),
    ('host matches "a"', "RP202", "matches", "use `~`"),
    ("port is 80", "RP202", "is", "use `==`"),
    ("(tls", "RP203", "(", "close it with `)`"),
    ("tls and (~q | ~s", "RP203", "(", ""),
    ("(tls))", "RP203", ")", "remove it"),
    ("tls)", "RP203", ")", "remove it"),
    ("method in {GET POST", "RP203", "{", "close it with `}`"),
    ("method in {GET)", "RP203", "{", "close it with `}`"),
    ('host == "a', "RP203", '"', "close it with `\"`"),
    ("host == 'a\"", "RP203", "'", ""),
    ("~u it's", "RP203", "'", ""),
    ('query["a == "b"', "RP203", '"', ""),
    ("method in {GET, POST}", "RP204", ",", "{GET POST}"),
    ('host in {"a","b"}', "RP204", ",", ""),
    ("method in {GET or POST}", "RP204", "or", ""),
    ("200 <= response.status < 300", "RP206", "<", "in {200..299}"),
    ("response.status >= 200 < 300", "RP206", "<", ""),
    ("port == port == 3", "RP206", "==", ""),
    ("host == example.com", "RP207", "example.com", '"example.com"'),
    ("host == example.com/a", "RP207", "example.com/a", '"example.com/a"'),
    ("path startswith /v1", "RP207", "/v1", '"/v1"'),
    ("path == /v1/users/{id}", "RP207", "/v1/users/", ""),
    ("path ~ ^/v1", "RP207", "^/v1", '"^/v1"'),
    ("path like /v1 and tls", "RP207", "/v1", ""),
    ("host == 1st.example.com", "RP207", "1st.example.com", ""),
    ("query[x] == '1'", "RP207", "x", '"x"'),
    ("host in {a.test}", "RP207", "a.test", '"a.test"'),
    ("host under a.test", "RP207", "a.test", ""),
    ("host == sni", "RP207", "sni", "text needs quotes"),
    ("host == “a”", "RP208", "“", "straight"),
    ("host == «a»", "RP208", "«", ""),
    ("host == ‘a’", "RP208", "‘", ""),
    ("~u “a”", "RP208", "“", ""),
    ("tls and", "RP209", "and", ""),
    ("tls &", "RP209", "&", ""),
    ("~u a|", "RP209", "|", ""),
    ("(~u a|)", "RP209", "|", ""),
    ("tls or or tls", "RP209", "or", ""),
    ("and tls", "RP209", "and", ""),
    ("| ~q", "RP209", "|", ""),
    ("not", "RP209", "not", ""),
    ("!", "RP209", "!", ""),
    ("host ==", "RP209", "==", ""),
    ("host == and tls", "RP209", "==", ""),
    ("host in", "RP209", "in", ""),
    ('== "a"', "RP209", "==", ""),
    ('tls and == "a"', "RP209", "==", ""),
    ("()", "RP209", "()", ""),
    ("tls and ()", "RP209", "()", ""),
    ("host in {}", "RP209", "{}", ""),
    ("~u", "RP209", "~u", ""),
    ("~d & ~q", "RP209", "~d", ""),
    ("~c", "RP209", "~c", "~c 404"),
    ("~c x", "RP209", "x", "~c 404"),
    ('~c "200"', "RP209", '"200"', "~c 404"),
    ("~c -1", "RP209", "-1", ""),
    ("~c 2..", "RP209", "2..", ""),
    ('host == "a" path == "b"', "RP210", 'path == "b"', "`and`"),
    ("tls ~q", "RP210", "~q", "`and`"),
    ("~q tls", "RP210", "tls", "`and`"),
    ('host == "a" "b"', "RP210", '"b"', 'in {"a" "b"}'),
    ("port == 80 443", "RP210", "443", "in {"),
    ("$filter ~q", "RP210", "~q", ""),
    ("tls AND ~q", "RP211", "AND", "use `and`"),
    ("~q Or ~s", "RP211", "Or", "use `or`"),
    ("NOT ~q", "RP211", "NOT", "use `not`"),
    ("method IN {GET}", "RP211", "IN", "use `in`"),
    ('path Contains "a"', "RP211", "Contains", "use `contains`"),
    ("~zz", "RP212", "~zz", "~a ~all ~b ~bq ~bs ~c ~comment ~d ~dns ~dst ~e ~h ~hq"),
    ("~q & ~foo x", "RP212", "~foo", ""),
    ("~url x", "RP212", "~url", "`~u`"),
    ("~host x", "RP212", "~host", "`~d`"),
    ("~Q", "RP212", "~Q", ""),
    ("~ua", "RP212", "~ua", ""),
    ("~c200", "RP212", "~c200", "`~c 200`"),
    ("path ~foo", "RP212", "~foo", ""),
    ("~u get(A|B)", "RP213", "get(A|B)", '"get(A|B)"'),
    ("~u (A|B)", "RP213", "(A|B)", '"(A|B)"'),
    ("~u x~y", "RP213", "x~y", '"x~y"'),
    ('~u {"a":1}', "RP213", '{"a":1}', "'{\"a\":1}'"),
    ("~u a'b'", "RP213", "a'b'", ""),
    ("foobar", "RP215", "foobar", "~u foobar"),
    ('"foobar"', "RP215", '"foobar"', '~u "foobar"'),
    ("example.com", "RP301", "example.com", ""),
    ("~q & example.com | ~s", "RP301", "example.com", ""),
    ("~q foo.bar", "RP215", "foo.bar", '"foo.bar"'),
    ("404", "RP215", "404", ""),
    ("statu", "RP215", "statu", ""),
    (r'path == "\d"', "RP216", r"\d", 'r"'),
    (r'path == "a\x4"', "RP216", r"\x4", ""),
    (r'path glob "\u12"', "RP216", r"\u12", ""),
    (r'path == "\ud800"', "RP216", r"\ud800", ""),
    (r'host in {"a" "\q"}', "RP216", r"\q", ""),
    ('host in ["a"]', "RP218", '["a"]', 'in {"a"}'),
    ('host in ("a", "b")', "RP218", '("a", "b")', 'in {"a" "b"}'),
    ('host not in "a"', "RP218", '"a"', 'in {"a"}'),
    ("method in GET", "RP218", "GET", "in {GET}"),
    ("port in 80", "RP218", "80", "in {80}"),
    ('"a" == host', "RP219", '"a"', 'host == "a"'),
    ('tls and "a" in host', "RP219", '"a"', ""),
    ("200 == response.status", "RP219", "200", ""),
    ("tls;", "RP200", ";", ""),
    ("{a}", "RP200", "{", ""),
    ("host == @x", "RP207", "@x", ""),
]  # fmt: skip

MEANING = [
    ('request.hosts == "a"', "RP301", "request.hosts", "`host`"),
    ('domain == "a"', "RP301", "domain", "`host`"),
    ('uri == "a"', "RP301", "uri", "`url`"),
    ("status_code == 1", "RP301", "status_code", "`response.status`"),
    ("verb == GET", "RP301", "verb", "`method`"),
    ("response.statsu == 1", "RP301", "response.statsu", "`response.status`"),
    ("HOST == 'a'", "RP301", "HOST", "`host`"),
    ('headers["x"] == "a"', "RP301", "headers", "`request.header`"),
    ('request.headers["x"] == "a"', "RP301", "request.headers", "`request.header`"),
    ('request.header.host == "a"', "RP301", "request.header.host", '`request.header["host"]`'),
    ('request.headers.host == "a"', "RP301", "request.headers.host", '`request.header["host"]`'),
    ('query.q == "a"', "RP301", "query.q", '`query["q"]`'),
    ("orig.response.status == 1", "RP301", "orig.response.status", "`response.status`"),
    ('entirely.unlike == "a"', "RP301", "entirely.unlike", "the fields are"),
    ("has(nope.x)", "RP301", "nope.x", ""),
    ('startswith(path, "/a")', "RP302", 'startswith(path, "/a")', '`path startswith "/a"`'),
    ('PathPrefix("/a")', "RP302", 'PathPrefix("/a")', '`path startswith "/a"`'),
    ('lowr(path) == "a"', "RP302", "lowr(path)", "`lower`"),
    ('lower() == "a"', "RP302", "lower()", "lower(path)"),
    ('lower("a") == "a"', "RP302", 'lower("a")', ""),
    ('lower(path, host) == "a"', "RP302", "lower(path, host)", ""),
    ("NOT(tls)", "RP302", "NOT(tls)", "`not`"),
    ("lower(port) == 'a'", "RP303", "port", ""),
    ("path", "RP303", "path", "has(path)"),
    ('request.header["x"]', "RP303", 'request.header["x"]', "has("),
    ('response.status == "200"', "RP303", '"200"', "`200`"),
    ("response.status == true", "RP303", "true", ""),
    ("response.status == 200ms", "RP303", "200ms", "`200`"),
    ("path == 5", "RP303", "5", '"5"'),
    ("path == true", "RP303", "true", '"true"'),
    ('path == {"a" "b"}', "RP303", '{"a" "b"}', "`in`"),
    ("path in {1..2}", "RP303", "1..2", ""),
    ('tls == "true"', "RP303", '"true"', ""),
    ("client.ip == 5", "RP303", "5", ""),
    ("scheme == htps", "RP303", "htps", "`https`"),
    ("scheme in {http ws}", "RP303", "ws", ""),
    ("host in {10.0.0.0/8}", "RP303", "10.0.0.0/8", "client.ip"),
    ('path["x"] == "a"', "RP303", 'path["x"]', "`path`"),
    ('request.header == "a"', "RP303", "request.header", 'request.header["x"]'),
    ('request.header[0] == "a"', "RP303", "request.header[0]", ""),
    ('request.header["a"]["b"] == "a"', "RP303", 'request.header["a"]["b"]', ""),
    ('request.header["a"][-1] == "a"', "RP303", 'request.header["a"][-1]', "") ,
    ('host under ""', "RP303", '""', ""),
    ('path < "x"', "RP306", "<", "len(path)"),
    ("response.status ~ '5..'", "RP306", "~", "{500..599}"),
    ('response.status contains "5"', "RP306", "contains", ""),
    ("client.ip ~ '10'", "RP306", "~", ""),
    ('url under "a"', "RP306", "under", ""),
    ('host like "/a"', "RP306", "like", ""),
    ("tls in {true}", "RP306", "in", ""),
    ("len(path) ~ 'a'", "RP306", "~", ""),
    ("any(path == 'a')", "RP306", "any(path == 'a')", ""),
    ("all(query['a'] == 'a' and query['b'] == 'b')", "RP306", "all(query['a'] == 'a' and query['b'] == 'b')", ""),
    ("client.ip == 10.0.0.0/8", "RP307", "10.0.0.0/8", "in {10.0.0.0/8}"),
    ("client.ip in {10.0.0.0/33}", "RP308", "10.0.0.0/33", ""),
    ("client.ip == 1.2.3.400", "RP308", "1.2.3.400", ""),
    ('client.ip == "a.test"', "RP308", '"a.test"', ""),
    ("client.ip in {10.0.0.9..10.0.0.1}", "RP308", "10.0.0.9..10.0.0.1", ""),
    ("client.ip in {10.0.0.9..::1}", "RP308", "10.0.0.9..::1", ""),
    ("port == 70000", "RP308", "70000", ""),
    ("port in {1..70000}", "RP308", "70000", ""),
    ("response.status in {599..500}", "RP308", "599..500", ""),
    ("response.status == 1000", "RP308", "1000", ""),
    ("~c 299-200", "RP308", "299-200", "200-299"),
    ("$nope", "RP312", "$nope", ""),
    ("host == $txt", "RP312", "$txt", "`$text`"),
    ("host in {$lisst}", "RP312", "$lisst", "`$list`"),
    ("$loop", "RP312", "$loop", ""),
    ("$list", "RP313", "$list", "in $list"),
    ("$text", "RP313", "$text", ""),
    ("host == $list", "RP313", "$list", "in $list"),
    ("host == $filter", "RP313", "$filter", ""),
    ("host in $filter", "RP313", "$filter", ""),
    ("path ~ $list", "RP313", "$list", ""),
    ("client.ip in $list", "RP313", "$list", ""),
    ("port in $list", "RP313", "$list", ""),
    ("tls and $broken", "RP301", "$broken", ""),
]  # fmt: skip

REGEXES = [
    ('path ~ "a[b"', "RP500", "[", ""),
    ('path ~ "a(b"', "RP500", "(", ""),
    ('path ~ "a)"', "RP500", ")", ""),
    ('path ~ "a**"', "RP500", "*", ""),
    ('path ~ "*a"', "RP500", "*", ""),
    ('path ~ "?"', "RP500", "?", ""),
    ('path ~ "[b-a]"', "RP500", "[", ""),
    (r'path ~ r"\y"', "RP500", r"\y", ""),
    ('path ~ "(?"', "RP500", "(?", ""),
    ('~u "a[b"', "RP500", "[", ""),
    ("~u a[b", "RP500", "[", ""),
    ("~u *", "RP500", "*", ""),
    (r'path ~ "\"[b"', "RP500", "[", ""),
    (r'path ~ "\\d[b"', "RP500", "[", ""),
    (r'path ~ r#"\d[b"#', "RP500", "[", ""),
    ('path ~ "(a+)+$"', "RP501", '"(a+)+$"', ""),
    (r'path ~ "^(\w+\s?)*$"', "RP501", r'"^(\w+\s?)*$"', ""),
    ('~u "(.*,)*(.*,)*(.*)+x"', "RP501", '"(.*,)*(.*,)*(.*)+x"', ""),
    ('path ~ "a(?=b)"', "RP503", "(?=", "path ~"),
    ('path ~ "a(?!b)"', "RP503", "(?!", "path !~"),
    ('path ~ "(?<=a)b"', "RP503", "(?<=", ""),
    ('path ~ "(?<!a)b"', "RP503", "(?<!", ""),
    ('path ~ "(?<n>b)"', "RP503", "(?<", "(?P<name>"),
    (r'path ~ "(a)\1"', "RP503", r"\1", ""),
    ('path ~ "(?P<a>a)(?P=a)"', "RP503", "(?P=", ""),
    ('path ~ "(?>a)"', "RP503", "(?>", "(?:"),
    ('path ~ "(?x) a"', "RP503", "(?x)", ""),
    ('path ~ "a(?i)b"', "RP503", "(?i)", ""),
    ('path ~ "(?#x)a"', "RP503", "(?#", ""),
    ('path ~ "a*+"', "RP503", "*+", ""),
    ('path ~ "a{2}+"', "RP503", "{2}+", ""),
    ('path ~ "a{2000}"', "RP503", "{2000}", ""),
    ('path ~ "[[:alpha:]]"', "RP503", "[:", ""),
    (r'path ~ "\pL"', "RP503", r"\p", ""),
    (r'path ~ "a\Z"', "RP503", r"\Z", "`$`"),
    (r'path ~ "[\b]"', "RP503", r"\b", r"\x08"),
    (r'path ~ "\Qa\E"', "RP503", r"\Q", ""),
    ('path like "a"', "RP500", '"a"', "/a"),
    ('path like "/{a-b}"', "RP500", "{a-b}", ""),
    ('path like "/{a}{b}"', "RP500", "{b}", ""),
    ('path like "/{a}/{a}"', "RP500", '"/{a}/{a}"', ""),
    ('path like "/{a"', "RP500", "{", ""),
    ('path like "/a}"', "RP500", "}", ""),
    ('path like "/}{a}"', "RP500", "}", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "marked", "help"), SYNTAX + MEANING + REGEXES)
def test_refused(text, code, marked, help):
    check(text, code, marked, help)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('host == "a" and host = "b"', 21),
        ("tls and tls and", 12),
        ("host in {\n  'a',\n  'b'}", 15),
        ('path ~ "ab(?=c)"', 10),
        (r'path ~ "\\\\(?=c)"', 12),
        ('~u "a" & ~d "\\"[x"', 15),
    ],
)
def test_place(text, start):
    with pytest.raises(FilterError) as caught:
        check_filter(parse(text))
    assert caught.value.problems[0].start == start


def test_every_problem_of_meaning_is_found():
    with pytest.raises(FilterError) as caught:
        check_filter(parse('domain == "a" or path ~ "(" and (response.status == "2" or not $x)'))
    assert [problem.code for problem in caught.value.problems] == ["RP301", "RP500", "RP303", "RP312"]
    assert str(caught.value).startswith("RP301 at 0: unknown field `domain`; RP500 at ")


@pytest.mark.parametrize(
    "text",
    [
        "~u " + "a" * 4100,
        "(" * 65 + "~q" + ")" * 65,
        "not " * 65 + "~q",
        "!" * 65 + "~q",
        "!(" * 40 + "~q" + ")" * 40,
        " or ".join(f'path ~ "a{number}"' for number in range(33)),
        " & ".join(f"~u a{number}" for number in range(33)),
    ],
)
def test_limits(text):
    with pytest.raises(FilterError) as caught:
        check_filter(parse(text))
    assert [problem.code for problem in caught.value.problems] == ["RP217"]


@pytest.mark.parametrize(
    "text",
    [
        "~u " + "a" * 4093,
        "(" * 64 + "~q" + ")" * 64,
        "!" * 64 + "~q",
        " or ".join(f'path ~ "a{number}"' for number in range(32)),
        " or ".join(f'(host == "({number}" and path != "!")' for number in range(70)),
        " & ".join(f"!~u a{number}" for number in range(32)) + " & ~q" * 500,
    ],
)
def test_within_limits(text):
    check_filter(parse(text))
