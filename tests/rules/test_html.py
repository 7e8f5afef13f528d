"""Edits of HTML: where they go, what they take away, and that every other byte stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rulesproxy.rules.edits.html_edits import with_nonces
from rulesproxy.rules.edits.html_scan import body_end, elements, head_end, looks_like_html, tags
from rulesproxy.rules.edits.selector import parse_selector

Exchange = Callable[..., Any]

# The place is marked by ¦.
HEADS = [
    "<html><head><title>x</title>¦</head><body>",
    "<!-- <head></head> --><head>¦</head>",
    '<head><script>"</head>"</script><style>/*</head>*/</style>¦</head>',
    "<head><meta content=\"</head>\"><meta content='</head>'>¦</head >",
    "<head><title></head></title>¦</HEAD>",
    "<head><noscript><link></head></noscript>¦</head>",
    "<head><template><div></head></template>¦</head>",
    "<head><!-- > </head> --!>¦</head>",
    "<head><!--></head>¦</head>".replace("<!--></head>¦", "<!-->¦"),
    "<!doctype html><html><head><title>x</title>¦<body><p></head>",
    "<!doctype html>\n<title>x</title>\n¦<p>text",
    "<head><base>¦text</head>",
    "<p>¦".replace("<p>¦", "¦<p>"),
    "<!doctype html>¦",
    "<head><svg/></head>".replace("<svg", "¦<svg"),
    "<head/x=1 a='>'>¦</head\n>",
    "<head><script><!-- <script> </head>",
    "<head><SCRIPT></script >¦</head>",
    "<header>x</header><head>".replace("<header>x", "¦<header>x"),
    "<head><title>unclosed </head>",
]


@pytest.mark.parametrize("marked", HEADS)
def test_where_a_head_ends(marked: str) -> None:
    page = marked.replace("¦", "")
    assert head_end(page) == (marked.index("¦") if "¦" in marked else len(page))


BODIES = [
    "<body><p>x¦</body></html>", "<p>x¦</html>\n", "<p>x¦", "<body><script>'</body>'</script>¦</body>",
    "<body></body><p>more¦</body>", "<body><!--</body>-->¦</body>", "<textarea></body></textarea>¦",
]  # fmt: skip


@pytest.mark.parametrize("marked", BODIES)
def test_where_a_body_ends(marked: str) -> None:
    page = marked.replace("¦", "")
    assert body_end(page) == marked.index("¦")


@pytest.mark.parametrize("text", ["<!doctype html>", " \n<p>", "\ufeff<a>", "\xef\xbb\xbf<!--", "<?xml ?>", "<HTML>"])
def test_what_looks_like_html(text: str) -> None:
    assert looks_like_html(text)


@pytest.mark.parametrize("text", ["", '{"a": "<p>"}', "[1]", "text <p>", "< p>", "<1", "var a = '<p>'", "<"])
def test_what_does_not(text: str) -> None:
    assert not looks_like_html(text)


def test_tags_and_their_attributes() -> None:
    page = """<a href=x/y b='1>2' C="&amp;" c=2 d = e f><br/></A x></ x><!x><?y><!DOCTYPE z><1><em"""
    found = [(tag.name, tag.closing, tag.attributes) for tag in tags(page)]
    assert found == [
        ("a", False, {"href": "x/y", "b": "1>2", "c": "&amp;", "d": "e", "f": ""}),
        ("br", False, {}),
        ("a", True, {"x": ""}),
    ]


@pytest.mark.parametrize(
    "rest",
    ['<a b="> <i></i>', "<a b = '> <i></i>", "<a", "</a x", "<!-- <i></i>", "<![CDATA[ <i></i>", "<script x", "<a <i"],
)
def test_what_is_never_closed_takes_the_rest(rest: str) -> None:
    assert [tag.name for tag in tags(f"<p>{rest}")] == ["p"]


REMOVED = [
    ("<p><div id=ad>a<div>b</div>c</div>d", "#ad", "<p>d"),
    ("<ul><li class='x ad'>1<li>2</ul>", ".ad", "<ul><li>2</ul>"),
    ("<p class=ad>one<p>two<div>three</div>", "p.ad", "<p>two<div>three</div>"),
    ("<img class=ad><br class=ad />x", ".ad", "x"),
    ("<script src=//ads.t/a.js></script><script>x</script>", 'script[src*="ads.t"]', "<script>x</script>"),
    ("<!-- <i></i> --><i></i><script>'<i></i>'</script>", "i", "<!-- <i></i> --><script>'<i></i>'</script>"),
    ("<div><i id=a><b id=a>x</b></i></div>", "#a", "<div></div>"),
    ("<div id=a>never closed", "#a", ""),
    ("<tr><td id=a>1<td>2<tr><td>3", "#a", "<tr><td>2<tr><td>3"),
    ("<a title='A&amp;B'>x</a>y", "[title='A&B']", "y"),
    ("<a data-x=Foo>x</a><a data-x=foobar>y</a>", "[data-x^=foo i]", ""),
    ("<a lang=en-GB>x</a><a lang=english>y</a>", "[lang|=en]", "<a lang=english>y</a>"),
    ("<a href>x</a><b href>y</b>", "b[href], i", "<a href>x</a>"),
    ("<svg><path id=p /><g></g></svg>", "#p", "<svg><g></g></svg>"),
    ("<p>x</p>", "div", "<p>x</p>"),
    ("<dl><dt>a<dd id=x>b<dt>c</dl>", "#x", "<dl><dt>a<dt>c</dl>"),
]


@pytest.mark.parametrize(("page", "selector", "after"), REMOVED)
def test_elements_are_cut_out(exchange: Exchange, page: str, selector: str, after: str) -> None:
    selector = selector.replace('"', '\\"')
    rule = f'  - match: ~all\n    rewrite:\n      response:\n        html:\n          remove: ["{selector}"]\n'
    assert exchange(rule, response_headers=[("content-type", "text/html")], response_body=page.encode()).text == after


@pytest.mark.parametrize(
    "text", ["", "a b", "a > b", "a:hover", "a,", "[a", "[a=]", "a]", "a + b", "..a", "#", "a ~ b"]
)
def test_no_selectors(text: str) -> None:
    with pytest.raises(ValueError):
        parse_selector(text)


def test_nonces_go_where_the_policy_asks_for_them() -> None:
    snippet = (
        "<script src=a></script><SCRIPT nonce=own></SCRIPT><style>x</style><link rel=stylesheet href=b><link rel=icon>"
    )
    assert with_nonces(snippet, {"script": "s", "style": "t"}) == (
        '<script nonce="s" src=a></script><SCRIPT nonce=own></SCRIPT><style nonce="t">x</style>'
        '<link nonce="t" rel=stylesheet href=b><link rel=icon>'
    )


def inject(exchange: Exchange, page: bytes, *headers: tuple[str, str], snippet: str = "<script></script>") -> Any:
    rule = "  - match: ~all\n    rewrite:\n      response:\n        html:\n"
    rule += f"          append-head: {snippet}\n          append-body: <i></i>\n"
    return exchange(rule, response_headers=headers, response_body=page).flow.response


POLICIES = [
    ("script-src 'self' 'nonce-a+/9-_=='", ' nonce="a+/9-_=="'), ("default-src 'nonce-d'", ' nonce="d"'),
    ("default-src 'nonce-d'; script-src 'self'", ""), ("SCRIPT-SRC-ELEM 'NONCE-e'; script-src 'nonce-f'", ' nonce="e"'),
    ("img-src 'nonce-a'", ""), ("script-src 'nonce-\"><b>'", ""),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "attribute"), POLICIES)
def test_the_nonce_of_a_policy(exchange: Exchange, policy: str, attribute: str) -> None:
    headers = ("content-type", "text/html"), ("content-security-policy", policy)
    page = inject(exchange, b"<head></head>", *headers)
    assert page.text == f"<head><script{attribute}></script></head><i></i>"
    meta = f"<head><meta http-equiv=Content-Security-Policy content='{policy.replace(chr(39), '&#39;')}'></head>"
    page = inject(exchange, meta.encode(), headers[0])
    assert page.text == meta.replace("</head>", f"<script{attribute}></script></head><i></i>")


CHARSETS = [
    ("text/html; charset=gbk", "gbk"), ("text/html; charset=shift_jis", "shift_jis"), ("text/html", "utf-8"),
    ("text/html; charset=iso-2022-jp", "iso2022_jp"), ("text/html; charset=utf-16le", "utf-16-le"),
    ("text/html; charset=unheard-of", "utf-8"), ("text/html", "utf-16"), ("application/xhtml+xml", "utf-8"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "charset"), CHARSETS)
def test_the_charset_of_a_page_stays(exchange: Exchange, kind: str, charset: str) -> None:
    page = "<html><head><title>日本</title></head><body>本</body></html>"
    response = inject(exchange, page.encode(charset), ("content-type", kind), snippet="<b>日 é €</b>")
    expected = page.replace("</head>", "<b>日 é €</b></head>").replace("</body>", "<i></i></body>")
    assert response.headers["content-type"] == kind
    decoded = response.content.decode(charset)
    assert decoded.replace("&#233;", "é").replace("&#8364;", "€").lstrip("\ufeff") == expected


def test_bytes_that_are_no_text_stay(exchange: Exchange) -> None:
    page = b"<head>\xff\x00</head><p>\x80\xfe"
    # The contents of a head that is not blank end it.
    response = inject(exchange, page, ("content-type", "text/html; charset=utf-8"))
    assert response.content == b"<head><script></script>\xff\x00</head><p>\x80\xfe<i></i>"


def test_a_latin_page_names_its_charset_itself(exchange: Exchange) -> None:
    page = "<head><meta charset=iso-8859-1></head>é".encode("latin-1")
    response = inject(exchange, page, ("content-type", "text/html"), snippet="<b>é</b>")
    assert response.content == "<head><meta charset=iso-8859-1><b>é</b></head>é<i></i>".encode("latin-1")


def test_a_snippet_from_a_file(exchange: Exchange, tmp_path: Any) -> None:
    (tmp_path / "s.html").write_text("<b>${host} é</b>")
    response = inject(
        exchange, b"<head></head>", ("content-type", "text/html"), snippet=f"{{ file: {tmp_path}/s.html }}"
    )
    assert response.text == "<head><b>${host} é</b></head><i></i>"


PIECES = st.lists(st.sampled_from([
    "<head>", "</head>", "<body>", "</body>", "<script>", "</script>", "<!--", "-->", "<", ">", "/", "'", '"', "=", "a",
    " ", "<p", "<svg>", "/>", "<template>", "</template>", "<title>", "</title>", "<![CDATA[", "]]>", "<!", "<?", "\x00",
]), max_size=20).map("".join)  # fmt: skip


@given(PIECES)
def test_any_text_can_be_scanned(text: str) -> None:
    assert 0 <= head_end(text) <= len(text)
    assert 0 <= body_end(text) <= len(text)
    ends = [(element.tag.start, element.end) for element in elements(text)]
    assert all(0 <= start < end <= len(text) for start, end in ends)
    # Elements lie inside or beside one another.
    for a_start, a_end in ends:
        assert all(b_end <= a_start or a_end <= b_start or b_start <= a_start <= a_end <= b_end
                   or a_start <= b_start <= b_end <= a_end for b_start, b_end in ends)  # fmt: skip


@pytest.mark.parametrize(
    "piece",
    ["<a>", "<!--", "<script>", '<a "', "<a b=", "<p></b>", "<li>", "</head>", "<head><template>", "<![CDATA[", "< "],
)
def test_hostile_pages_take_linear_time(piece: str) -> None:
    page = piece * (200_000 // len(piece)) + "</x>" * 10_000
    started = time.process_time()
    head_end(page)
    body_end(page)
    for _ in elements(page):
        pass
    assert time.process_time() - started < 3
