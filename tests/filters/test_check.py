"""What `check` says about a filter: moments, sides, captures, warnings, and the trees it makes."""

import pytest

from rulesproxy.filters import analysis, typed
from rulesproxy.filters.check import Checked, FilterError, Phase
from rulesproxy.filters.check import check as check_filter
from rulesproxy.filters.compile import compile_captures, compile_filter
from rulesproxy.filters.fields import FIELDS, SYNONYMS, Field, Kind, public_names
from rulesproxy.filters.parse import parse
from rulesproxy.filters.reference import matches
from rulesproxy.filters.tilde import TILDE
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow

C, T, Q, B, R, S, W, X, E, V = Phase
FROM_REQUEST = Q | B | R | S | W | E | V
FROM_RESPONSE = R | S | W | V
EVERYWHERE = C | T | FROM_REQUEST | X


def checked(text, **names):
    return check_filter(parse(text), names)


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        ("~all", EVERYWHERE),
        ("client.ip == 1.2.3.4", EVERYWHERE),
        ('host == "a"', C | T | FROM_REQUEST),
        ("~d a", C | T | FROM_REQUEST),
        ("tls", T | FROM_REQUEST | X),
        ('host == "a" and tls', T | FROM_REQUEST),
        ("~u a", FROM_REQUEST),
        ("method == GET or host == 'a'", FROM_REQUEST),
        ("~hq a", FROM_REQUEST),
        ("~h a", FROM_REQUEST),
        ("~hs a", FROM_RESPONSE),
        ("~c 200", FROM_RESPONSE),
        ("not ~c 200", FROM_RESPONSE),
        ("~c 200 or ~m GET", FROM_RESPONSE),
        ("~q", C | T | Q | B | E),
        ("~s", FROM_RESPONSE),
        ("!~s", C | T | Q | B | E),
        ("!~q", FROM_RESPONSE),
        ("~q & ~m GET", Q | B | E),
        ("~s & ~m GET", FROM_RESPONSE),
        ("~q | ~m GET", FROM_REQUEST),
        ("~q | ~c 200", FROM_RESPONSE),
        ("!(~q | ~m GET)", FROM_RESPONSE),
        ("!(~s & ~m GET)", FROM_REQUEST),
        ("~q & ~c 200", Phase(0)),
        ("~q & ~s", Phase(0)),
        ("!~q & ~q", Phase(0)),
        ("any(response.header['a'] == 'b')", FROM_RESPONSE),
    ],
)
def test_phases(text, phases):
    found = checked(text)
    assert found.phases == phases
    assert [warning.code for warning in found.warnings] == ([] if phases else ["RP402"])


@pytest.mark.parametrize(
    ("text", "uses_response", "either_side"),
    [
        ("~all", False, False),
        ("~q", False, False),
        ("~m GET", False, False),
        ("~h a", False, True),
        ("not ~h a", False, True),
        ("~hq a", False, False),
        ("~hs a", True, False),
        ("~m GET | ~c 200", True, False),
        ("~h a & ~c 200", True, True),
        ("any(response.header['a'] == 'b')", True, False),
    ],
)
def test_sides(text, uses_response, either_side):
    found = checked(text)
    assert (found.uses_response, found.either_side) == (uses_response, either_side)
    assert found.needs_body == Phase(0)
    assert found.head_only is found.node


@pytest.mark.parametrize(
    ("text", "inside", "outside", "values"),
    [
        ("path ~ '^/(?P<a>[^/]+)'", {"a"}, set(), {"a": "v1"}),
        ("path like '/{a}/{b}'", {"a", "b"}, set(), {"a": "v1", "b": "users"}),
        ("path like '/{a}/{b}' and host ~ '^(?P<c>.)'", {"a", "b", "c"}, set(), {"a": "v1", "b": "users", "c": "a"}),
        ("path ~ '/(?P<a>x)?'", {"a"}, set(), {}),
        ("path ~ '^(?P<a>.)' and (~q or path ~ '(?P<b>.)')", {"a"}, {"b"}, {"a": "/"}),
        ("path ~ '^(?P<a>.)' or ~q", set(), {"a"}, {}),
        ("not path ~ 'x(?P<a>.)'", set(), {"a"}, {}),
        ("path !~ 'x(?P<a>.)'", set(), {"a"}, {}),
        ("any(query['q'] ~ '(?P<a>.)')", set(), {"a"}, {}),
        ("query['q'] ~ '^(?P<a>t.*)'", {"a"}, set(), {"a": "two"}),
        ("has(sni) or path ~ '^(?P<a>.)' and path ~ '(?P<a>.)$'", set(), {"a"}, {}),
        ("~u '(?P<a>v[0-9])'", {"a"}, set(), {"a": "v1"}),
        ("orig.path ~ '(?P<a>.)$'", {"a"}, set(), {"a": "s"}),
        ("upper(path) ~ '(?P<a>V.)'", {"a"}, set(), {"a": "V1"}),
        ("query['q'][1] ~ '^(?P<a>.)'", {"a"}, set(), {"a": "t"}),
        ("$f and ~q", {"a"}, set(), {"a": "v1"}),
        ("request.body ~ 'name=(?P<a>..)&'", {"a"}, set(), {"a": "é"}),
        ("request.body ~ 'näm=(?P<a>.)'", {"a"}, set(), {"a": "ö"}),
        ("~bq 'n[a-z]me=(?P<a>..)&'", {"a"}, set(), {"a": "é"}),
        ("~b '(?P<a>name)'", set(), {"a"}, {}),
        ("request.form['name'] ~ '^(?P<a>.)'", {"a"}, set(), {"a": "é"}),
        ("json(query['j'])['b'] ~ '^(?P<a>.)'", {"a"}, set(), {"a": "c"}),
        ("path.segments ~ '^(?P<a>u.*)'", {"a"}, set(), {"a": "users"}),
    ],
)
def test_captures(text, inside, outside, values):
    found = checked(text, f=parse("path like '/{a}/users'"))
    assert (found.captures, found.conditional_captures) == (inside, outside)
    form = [("content-type", "application/x-www-form-urlencoded")]
    url = "http://a.test/v1/users?q=one&q=two&j=%7B%22b%22%3A%22cd%22%7D"
    flow = HTTPFlow.make("GET", url, form, "name=é&näm=ö".encode())
    view = FlowView(flow)
    assert compile_filter(found)(view)
    assert compile_captures(found)(view) == values


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("~u a ~u b", []),
        ("~u a ~u b | ~u c", ["RP205"]),
        ("~u a (~u b | ~u c)", []),
        ("(~u a ~u b | ~u c) and ~q", ["RP205"]),
        ("method == GTE", ["RP305"]),
        ("method in {GET PSOT}", ["RP305"]),
        ("method == PROPFIND", []),
        ("method ~ 'GTE'", []),
        ('host == "a.test:443"', ["RP309"]),
        ('host == "https://a.test"', ["RP309"]),
        ('host under "a.test/x"', ["RP309"]),
        ('host in {"a.test" "b.test c.test"}', ["RP309"]),
        ('host == "::1"', []),
        ('host == "*.a.test"', ["RP317"]),
        ('host in {"a.test" "*.b.test"}', ["RP317"]),
        ('host glob "*.a.test"', []),
        ('host under "*.a.test"', []),
        ('path == "v1"', ["RP315"]),
        ('path in {"/a" "b"}', ["RP315"]),
        ('path == "*"', []),
        ('path contains "v1"', []),
        ('path glob "*.js"', []),
        ('path contains "?a"', ["RP316"]),
        ('path == "/a?b=c"', ["RP316"]),
        ('request.header["Host:"] == "a"', ["RP311"]),
        ('host == "a:1" or path == "b" or method == GTE', ["RP309", "RP315", "RP305"]),
        ("$f", []),
        ("host in $urls", ["RP309"]),
        ("host under $urls", ["RP309"]),
    ],
)
def test_warnings(text, codes):
    found = checked(text, f=parse("method == GTE"), urls=("a.test", "http://b", "http://c")).warnings
    assert [warning.code for warning in found] == codes
    for warning in found:
        assert warning.severity == "warning"
        assert warning.help
        assert 0 <= warning.start < warning.end <= len(text)


def test_named_filters_stand_at_their_name():
    node = checked("~q and $f", f=parse("host == 'a' and tls")).node
    assert isinstance(node, typed.And)
    assert {(read.start, read.end) for read in node.items[1].items} == {(7, 9)}


def test_named_filters_in_a_long_chain_are_refused_and_do_not_overflow():
    names = {f"f{number}": parse(f"not $f{number + 1}") for number in range(2000)} | {"f2000": parse("~q")}
    with pytest.raises(FilterError) as caught:
        check_filter(parse("$f0"), names)
    assert {problem.code for problem in caught.value.problems} == {"RP217"}
    compile_filter(check_filter(parse("$f1900"), names))


BODY = Field("response.text", Kind.TEXT, S, lambda view: "body", "response", body=S)


def body_test():
    return typed.Test(typed.Read(BODY), "contains", ("x",), 0, 0)


def head(status):
    return typed.Test(typed.Read(FIELDS["response.status"]), "==", status, 0, 0)


def true(value):
    return typed.Const(value, 0, 0)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (body_test(), true(True)),
        (typed.Not(body_test(), 0, 0), typed.Not(true(False), 0, 0)),
        (typed.Not(typed.Not(body_test(), 0, 0), 0, 0), typed.Not(typed.Not(true(True), 0, 0), 0, 0)),
        (typed.And((head(200), body_test()), 0, 0), typed.And((head(200), true(True)), 0, 0)),
        (typed.Or((head(200), body_test()), 0, 0), typed.Or((head(200), true(True)), 0, 0)),
        (
            typed.Not(typed.Or((head(200), body_test()), 0, 0), 0, 0),
            typed.Not(typed.Or((head(200), true(False)), 0, 0), 0, 0),
        ),
        (typed.Each("all", typed.Read(BODY), body_test(), 0, 0), true(True)),
        (head(200), head(200)),
    ],
)
def test_head_only(node, expected):
    made = analysis.head_only(node)
    assert made == expected
    for status in (200, 404):
        flow = HTTPFlow.make("GET", "http://a/", status=status)
        # Wherever the filter is true, what is known of it without the body is true.
        assert matches(made, flow) or not matches(node, flow)


def test_the_facts_of_a_filter_with_a_body():
    facts = analysis.Facts(typed.And((head(200), body_test()), 0, 0))
    assert (facts.phases, facts.needs_body, facts.uses_response) == (S, S, True)


def test_compiled_head_only():
    node = typed.And((head(200), typed.Not(body_test(), 0, 0)), 0, 0)
    made = Checked(node, S, S, analysis.head_only(node), True, False, frozenset(), frozenset(), ())
    may = compile_filter(made, head_only=True)
    assert may(FlowView(HTTPFlow.make("GET", "http://a/", status=200))) is True
    assert may(FlowView(HTTPFlow.make("GET", "http://a/", status=201))) is False


def test_every_field_is_documented_and_has_a_slot_of_its_own():
    for name, field in FIELDS.items():
        assert field.read.__doc__, name
        assert field.name == name
        assert field.phases, name
    assert len({field.slot for field in FIELDS.values()}) == len(FIELDS)
    assert set(SYNONYMS.values()) <= set(public_names())
    assert not set(SYNONYMS) & set(public_names())
    assert all(known.doc.endswith(".") for known in TILDE.values())


@pytest.mark.parametrize("name", public_names())
def test_every_field_can_be_read_from_a_bare_flow(name):
    index = '["flow.x"]' if FIELDS[name.removeprefix("orig.")].keyed else ""
    found = checked(f"has({name}{index})")
    flow = HTTPFlow.make("", "")
    assert compile_filter(found)(FlowView(flow)) is matches(found, flow)
