"""`Headers`: order, spelling and duplicates are kept; edits follow RFC 9110 section 5."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.flow import headers as module
from rulesproxy.flow.headers import Headers, check_field, is_token, to_bytes, to_str

TOKEN = "!#$%&'*+-.^_`|~09azAZ"
names = st.text(TOKEN, min_size=1, max_size=6)
values = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=12)
fields = st.lists(st.tuples(names, values), max_size=8)


def pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items(multi=True))


@pytest.fixture
def headers() -> Headers:
    return Headers([("Host", "example.com"), ("X-A", "1"), ("accept", "x"), ("x-a", "2"), ("X-A", "3")])


EDITS = [
    # edit, what is there afterwards, without Host
    (lambda h: h.__setitem__("x-a", "9"), [("X-A", "9"), ("accept", "x")]),
    (lambda h: h.__setitem__(b"x-a", b"9"), [("X-A", "9"), ("accept", "x")]),
    (lambda h: h.set_all("X-a", ["7", "8"]), [("X-A", "7"), ("accept", "x"), ("x-a", "8")]),
    (
        lambda h: h.set_all("X-a", ["6", "7", "8", "9"]),
        [("X-A", "6"), ("accept", "x"), ("x-a", "7"), ("X-A", "8"), ("X-a", "9")],
    ),
    (lambda h: h.set_all("X-A", []), [("accept", "x")]),
    (
        lambda h: h.set_all("New", ["1", "2"]),
        [("X-A", "1"), ("accept", "x"), ("x-a", "2"), ("X-A", "3"), ("New", "1"), ("New", "2")],
    ),
    (lambda h: h.add("x-A", "4"), [("X-A", "1"), ("accept", "x"), ("x-a", "2"), ("X-A", "3"), ("x-A", "4")]),
    (lambda h: h.insert(1, "Z", "0"), [("Z", "0"), ("X-A", "1"), ("accept", "x"), ("x-a", "2"), ("X-A", "3")]),
    (lambda h: h.insert(-1, "Z", "0"), [("X-A", "1"), ("accept", "x"), ("x-a", "2"), ("Z", "0"), ("X-A", "3")]),
    (lambda h: h.insert(99, "Z", "0"), [("X-A", "1"), ("accept", "x"), ("x-a", "2"), ("X-A", "3"), ("Z", "0")]),
    (lambda h: h.pop("X-A"), [("accept", "x")]),
    (lambda h: h.pop("nothing", None), [("X-A", "1"), ("accept", "x"), ("x-a", "2"), ("X-A", "3")]),
    (lambda h: h.setdefault("Accept", "y"), [("X-A", "1"), ("accept", "x"), ("x-a", "2"), ("X-A", "3")]),
    (lambda h: h.update({"Accept": "y"}), [("X-A", "1"), ("accept", "y"), ("x-a", "2"), ("X-A", "3")]),
]


@pytest.mark.parametrize(("edit", "after"), EDITS)
def test_edits(headers: Headers, edit: object, after: list[tuple[str, str]]) -> None:
    before = pairs(headers)
    copy = headers.copy()
    edit(headers)
    assert pairs(headers) == [("Host", "example.com"), *after]
    assert pairs(copy) == before, "a copy never changes with the original"


def test_reading(headers: Headers) -> None:
    assert headers["x-a"] == headers[b"X-A"] == "1, 2, 3"
    assert headers.get("X-a") == "1, 2, 3"
    assert headers["ACCEPT"] == "x"
    assert headers.get_all("x-a") == ["1", "2", "3"]
    assert headers.get_all("nothing") == []
    assert headers.first(b"x-a") == b"1"
    assert headers.first(b"nothing") is None
    assert "HOST" in headers
    assert b"host" in headers
    assert "nothing" not in headers
    assert 5 not in headers
    assert len(headers) == 3
    assert list(headers) == list(headers.keys()) == ["Host", "X-A", "accept"]
    assert list(headers.keys(multi=True)) == ["Host", "X-A", "accept", "x-a", "X-A"]
    assert list(headers.items()) == [("Host", "example.com"), ("X-A", "1, 2, 3"), ("accept", "x")]
    assert list(headers.values()) == ["example.com", "1, 2, 3", "x"]
    assert list(headers.values(multi=True)) == ["example.com", "1", "x", "2", "3"]
    assert headers.fields[3] == (b"x-a", b"2")
    assert bytes(headers) == b"Host: example.com\r\nX-A: 1\r\naccept: x\r\nx-a: 2\r\nX-A: 3\r\n"
    assert repr(headers).startswith("Headers([('Host', 'example.com')")


def test_missing_names_raise_key_errors(headers: Headers) -> None:
    with pytest.raises(KeyError, match="nothing"):
        headers["nothing"]
    with pytest.raises(KeyError, match="nothing"):
        del headers["nothing"]


def test_clear(headers: Headers) -> None:
    headers.clear()
    assert pairs(headers) == []
    assert bytes(headers) == b""


def test_making() -> None:
    assert pairs(Headers([("A", "1")], content_type="text/html")) == [("A", "1"), ("content-type", "text/html")]
    assert pairs(Headers([("Content-Type", "1")], content_type="2")) == [("Content-Type", "2")]
    assert pairs(Headers({"Ab": "1", "Cd": "2"})) == [("Ab", "1"), ("Cd", "2")]
    twice = Headers([("A", "1"), ("a", "2")])
    assert pairs(Headers(twice)) == pairs(twice), "duplicates survive"
    twice.fields = [("B", "1")]
    assert pairs(twice) == [("B", "1")]
    assert pairs(Headers([("A", "\t 1 \t")])) == [("A", "1")], "RFC 9110 5.5: outer white space is not part of a value"


def test_equality() -> None:
    assert Headers([("A", "1")]) == Headers([("A", "1")])
    assert Headers([("A", "1")]) != Headers([("a", "1")]), "spelling is part of it"
    assert Headers([("A", "1"), ("a", "2")]) == {"A": "1, 2"}
    assert Headers([("A", "1")]) != 1
    with pytest.raises(TypeError):
        hash(Headers())


@pytest.mark.parametrize("name", ["", " a", "a ", "a:", "a b", "a\r", "a\n", "ä", "a\0", "a(", "a\x7f", b"\x80"])
def test_bad_names(name: str) -> None:
    for edit in (Headers().__setitem__, Headers().add, check_field):
        with pytest.raises(ValueError, match="is not a header name"):
            edit(name, "x")
    with pytest.raises(ValueError, match="is not a header name"):
        Headers().insert(0, name, "x")
    assert not is_token(to_bytes(name))


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\rb", "a\nb", "a\0b", "\0", b"a\nb"])
def test_bad_values(value: str) -> None:
    for edit in (Headers().__setitem__, Headers().add, check_field):
        with pytest.raises(ValueError, match="a line break or a NUL"):
            edit("A", value)
    with pytest.raises(ValueError, match="a line break or a NUL"):
        Headers().set_all("A", ["fine", value])
    with pytest.raises(ValueError, match="a line break or a NUL"):
        Headers([("A", value)])


@pytest.mark.parametrize("value", [1, None, 1.5, bytearray(b"x"), ["x"]])
def test_values_are_text_or_bytes(value: object) -> None:
    with pytest.raises(TypeError, match="text or bytes are wanted here"):
        Headers()["A"] = value  # type: ignore[assignment]
    with pytest.raises(TypeError, match="text or bytes are wanted here"):
        Headers([("A", value)])  # type: ignore[list-item]


def test_a_refused_edit_changes_nothing(headers: Headers) -> None:
    before = pairs(headers)
    with pytest.raises(ValueError):
        headers.set_all("x-a", ["1", "\n"])
    assert pairs(headers) == before


def test_the_cache_of_names_is_bounded() -> None:
    headers = Headers()
    for number in range(3000):
        assert f"n-{number}" not in headers
    assert len(module._KEYS) <= module._KEYS_MAX
    headers["N-2999"] = "x"
    assert headers["n-2999"] == "x"


@given(st.binary())
def test_any_bytes_survive_text(data: bytes) -> None:
    assert to_bytes(to_str(data)) == data


class Model:
    """The slow, obvious multi-mapping that `Headers` must behave like."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.pairs = [(name, value.strip(" \t")) for name, value in fields]

    def set_all(self, name: str, values: list[str]) -> None:
        left = [value.strip(" \t") for value in values]
        pairs = []
        for old, value in self.pairs:
            if old.lower() != name.lower():
                pairs.append((old, value))
            elif left:
                pairs.append((old, left.pop(0)))
        self.pairs = pairs + [(name, value) for value in left]

    def get_all(self, name: str) -> list[str]:
        return [value for old, value in self.pairs if old.lower() == name.lower()]


@given(fields, st.lists(st.tuples(names, st.lists(values, max_size=3)), max_size=5))
def test_edits_like_the_model(start: list[tuple[str, str]], edits: list[tuple[str, list[str]]]) -> None:
    headers, model = Headers(start), Model(start)
    for name, new in edits:
        headers.set_all(name, new)
        model.set_all(name, new)
        assert pairs(headers) == model.pairs
        assert headers.get_all(name.swapcase()) == model.get_all(name)
        assert (name in headers) == bool(model.get_all(name))
    assert len(headers) == len({name.lower() for name, _ in model.pairs})
    assert all(key == name.lower() for key, name, _ in headers.raw)
