"""Queries, cookies and forms: read, edited and written back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.flow import forms
from rulesproxy.flow.forms import MultiDict

text = st.text(st.characters(codec="utf-8"), max_size=8)
wire_text = st.binary(max_size=8).map(lambda data: data.decode("utf-8", "surrogateescape"))


def make(*pairs: tuple[str, str]) -> tuple[MultiDict, list[list[tuple[str, str]]]]:
    stored: list[list[tuple[str, str]]] = []
    return MultiDict(list(pairs), stored.append), stored


EDITS = [
    (lambda d: d.__setitem__("a", "9"), [("a", "9"), ("b", "2")]),
    (lambda d: d.__setitem__("c", "9"), [("a", "1"), ("b", "2"), ("a", "3"), ("c", "9")]),
    (lambda d: d.set_all("a", ["7", "8", "9"]), [("a", "7"), ("b", "2"), ("a", "8"), ("a", "9")]),
    (lambda d: d.set_all("a", []), [("b", "2")]),
    (lambda d: d.add("a", "4"), [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")]),
    (lambda d: d.__delitem__("a"), [("b", "2")]),
    (lambda d: d.pop("b"), [("a", "1"), ("a", "3")]),
    (lambda d: d.update(a="5"), [("a", "5"), ("b", "2")]),
    (lambda d: d.clear(), []),
]


@pytest.mark.parametrize(("edit", "after"), EDITS)
def test_edits_are_stored_at_once(edit: object, after: list[tuple[str, str]]) -> None:
    values, stored = make(("a", "1"), ("b", "2"), ("a", "3"))
    edit(values)
    assert stored[-1] == list(values.items(multi=True)) == after


def test_reading() -> None:
    values, stored = make(("a", "1"), ("b", "2"), ("a", "3"))
    assert values["a"] == "1"
    assert values.get("nothing") is None
    assert values.get_all("a") == ["1", "3"]
    assert list(values) == list(values.keys()) == ["a", "b"]
    assert list(values.keys(multi=True)) == ["a", "b", "a"]
    assert list(values.values()) == ["1", "2"]
    assert list(values.values(multi=True)) == ["1", "2", "3"]
    assert list(values.items()) == [("a", "1"), ("b", "2")]
    assert len(values) == 2
    assert values == {"a": "1", "b": "2"}
    assert repr(values) == "MultiDict([('a', '1'), ('b', '2'), ('a', '3')])"
    for read in (values.__getitem__, values.__delitem__):
        with pytest.raises(KeyError):
            read("nothing")
    assert stored == []


@pytest.mark.parametrize(
    ("path", "pairs"),
    [
        ("/", []),
        ("/?", []),
        ("/?a", [("a", "")]),
        ("/?a=", [("a", "")]),
        ("/?=b", [("", "b")]),
        ("/?a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("/?a=b=c", [("a", "b=c")]),
        ("/?a+b=c%20d%2B", [("a b", "c d+")]),
        ("/?&&a=1&", [("a", "1")]),
        ("/?a=1;b=2", [("a", "1;b=2")]),
        ("/?a=%zz%", [("a", "%zz%")]),
        ("/?a=%ff", [("a", "\udcff")]),
        ("/?a=?/b", [("a", "?/b")]),
        ("/?a=1#b?c=2", [("a", "1")]),
        ("/#x?c=2", []),
    ],
)
def test_parse_query(path: str, pairs: list[tuple[str, str]]) -> None:
    assert forms.parse_query(path) == pairs


@given(st.lists(st.tuples(wire_text, wire_text), max_size=5))
def test_query_round_trip(pairs: list[tuple[str, str]]) -> None:
    query = forms.format_query(pairs)
    assert forms.parse_query(f"/?{query}") == pairs
    assert query.isascii()
    assert not set(query) & set(" #?\r\n\0")


@given(text)
def test_parsers_take_anything(anything: str) -> None:
    forms.parse_query(anything)
    forms.parse_form(anything)
    forms.parse_cookies([anything])
    forms.header_parameter(anything, "charset")
    forms.host_of_authority(anything)
    forms.multipart_boundary(anything)
    forms.parse_multipart(anything.encode(), "b")


def test_a_form_over_the_parser_limit_is_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> list[tuple[str, str]]:
        raise ValueError("Max number of fields exceeded")

    monkeypatch.setattr(forms, "parse_qsl", refuse)
    assert forms.parse_form("a=1") == []


@pytest.mark.parametrize(
    ("headers", "pairs"),
    [
        ([], []),
        (["a=1"], [("a", "1")]),
        (["a=1; b=2;c=3"], [("a", "1"), ("b", "2"), ("c", "3")]),
        (["a=1", "b=2"], [("a", "1"), ("b", "2")]),
        (["a=1; a=2"], [("a", "1"), ("a", "2")]),
        (['a="x y"; b='], [("a", '"x y"'), ("b", "")]),
        (["a=b=c"], [("a", "b=c")]),
        (["flag; =x; ; a=1"], [("a", "1")]),
    ],
)
def test_parse_cookies(headers: list[str], pairs: list[tuple[str, str]]) -> None:
    assert forms.parse_cookies(headers) == pairs


@pytest.mark.parametrize(
    ("value", "name", "parameter"),
    [
        ("text/html", "charset", ""),
        ("text/html; charset=utf-8", "charset", "utf-8"),
        ('text/html;Charset="UTF-8" ', "charset", "UTF-8"),
        ("text/html; a=1 ; charset = x ", "charset", "x"),
        ("charset=x", "charset", ""),
        ("a; charset", "charset", ""),
    ],
)
def test_header_parameter(value: str, name: str, parameter: str) -> None:
    assert forms.header_parameter(value, name) == parameter


@pytest.mark.parametrize(
    ("authority", "host"),
    [("a", "a"), ("a:1", "a"), ("[::1]", "::1"), ("[::1]:80", "::1"), ("[::1", "::1"), ("", ""), (":80", "")],
)
def test_host_of_authority(authority: str, host: str) -> None:
    assert forms.host_of_authority(authority) == host


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('Multipart/Form-Data; Boundary="a b"', "a b"),
        ("multipart/form-data", ""),
        ("multipart/mixed; boundary=abc", ""),
        ("multipart/form-data; boundary=", ""),
        ("multipart/form-data; boundary=" + "x" * 71, ""),
        ("multipart/form-data; boundary=ä", ""),
    ],
)
def test_multipart_boundary(content_type: str, boundary: str) -> None:
    assert forms.multipart_boundary(content_type) == boundary


def part(disposition: bytes, body: bytes) -> bytes:
    return b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + body + b"\r\n"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (part(b'form-data; name="a"', b"1") + b"--b--\r\n", [(b"a", b"1")]),
        (
            part(b"form-data; name=a", b"1") + part(b'form-data; name="b"', b"2") + b"--b--",
            [(b"a", b"1"), (b"b", b"2")],
        ),
        (part(b'form-data; name="a"', b"") + b"--b--", [(b"a", b"")]),
        (part(b'form-data; name=""', b"1") + b"--b--", [(b"", b"1")]),
        (part(b'form-data; filename="x"; name="a"', b"1") + b"--b--", [(b"a", b"1")]),
        (part(b'form-data; name="a"; filename="x; name=evil"', b"1") + b"--b--", [(b"a", b"1")]),
        (part(b'form-data; filename="x; name=evil"; name="a"', b"1") + b"--b--", [(b"a", b"1")]),
        (part(b"form-data; filename*=utf-8''x; NAME=\"a;b\"", b"1") + b"--b--", [(b"a;b", b"1")]),
        (part(b"form-data", b"1") + b"--b--", []),
        (part(b'form-data; filename="a"', b"1") + b"--b--", []),
        (part(b'form-data; name="a"', b"x--b y\r\n--bc") + b"--b--", [(b"a", b"x--b y\r\n--bc")]),
        (part(b'form-data; name="a"', b"line\r\n\r\nline\r\n") + b"--b--", [(b"a", b"line\r\n\r\nline\r\n")]),
        (
            b"preamble\r\n" + part(b'form-data; name="a"', b"1") + b"--b--\r\n" + part(b"form-data; name=c", b"x"),
            [(b"a", b"1")],
        ),
        (part(b'form-data; name="a"', b"cut off")[:-2], [(b"a", b"cut off")]),
        (b"--b \t\r\ncontent-disposition:form-data;name=a\r\n\r\n1\r\n--b--", [(b"a", b"1")]),
        (b"--b\r\nContent-Type: text/plain\r\n\r\n1\r\n--b--", []),
        (b"--b\r\nno end of head", []),
        (b"--b\r\n--b\r\n--b--", []),
        (b"", []),
        (b"--b--", []),
    ],
)
def test_parse_multipart(content: bytes, parts: list[tuple[bytes, bytes]]) -> None:
    assert forms.parse_multipart(content, "b") == parts


def test_multipart_in_linear_time() -> None:
    assert forms.parse_multipart(b"\r\n--b" * 200_000, "b") == []
    assert forms.parse_multipart(part(b"form-data" + b";a=b" * 200_000, b"1"), "b") == []


def test_to_pairs() -> None:
    assert forms.to_pairs({"a": "1"}) == forms.to_pairs(iter([("a", "1")])) == [("a", "1")]
