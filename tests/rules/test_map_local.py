"""`map-local`: no path leads out of the folder; ranges, tags, types and methods are as RFC 9110 wants them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import FileBody
from rulesproxy.rules.actions.map_local import MapLocal, byte_range, content_type
from rulesproxy.rules.templates.paths import LocalPath, request_segments

CANARY = b"this must never be read"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files, links and traps, beside canaries that no request may reach."""
    top = tmp_path_factory.mktemp("site")
    (top / "secret.txt").write_bytes(CANARY)
    (top / "www-secret").mkdir()
    (top / "www-secret" / "a.txt").write_bytes(CANARY)
    www = top / "www"
    (www / "sub").mkdir(parents=True)
    (www / "index.html").write_bytes(b"<h1>home</h1>")
    (www / "a.txt").write_bytes(b"0123456789")
    (www / "100%.txt").write_bytes(b"percent")
    (www / "ümlaut.txt").write_bytes(b"umlaut")
    (www / "empty.js").write_bytes(b"")
    (www / "sub" / "index.html").write_bytes(b"<h1>sub</h1>")
    (www / "out.txt").symlink_to(top / "secret.txt")
    (www / "out").symlink_to(top / "www-secret")
    (www / "etc").symlink_to("/etc")
    (www / "loop").symlink_to(www / "loop")
    (www / "in.txt").symlink_to(www / "a.txt")
    os.mkfifo(www / "pipe")
    return www


def ask(action: MapLocal, target: str, method: str = "GET", **headers: str) -> HTTPFlow:
    flow = HTTPFlow.make(method, "http://a.test/", [(name.replace("_", "-"), value) for name, value in headers.items()])
    flow.request.path = target
    action.bind()(flow, {})
    return flow


def status(flow: HTTPFlow) -> int | None:
    return None if flow.response is None else flow.response.status_code


OUTSIDE = [
    "/../secret.txt", "/%2e%2e/secret.txt", "/.%2e/secret.txt", "/%2E%2E%2Fsecret.txt", "/..%2fsecret.txt",
    "/..%5csecret.txt", "/..\\secret.txt", "/sub/../../secret.txt", "/sub/..%2f..%2fsecret.txt", "//../secret.txt",
    "/%252e%252e/secret.txt", "/%252e%252e%252fsecret.txt", "/..;/secret.txt", "/..;x=1/secret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%e0%80%ae%e0%80%ae/secret.txt", "/%c0%afsecret.txt", "/..%c0%afsecret.txt", "/..%u2215secret.txt",
    "/out.txt", "/out/a.txt", "/etc/passwd", "/loop", "/pipe", "/%00", "/a.txt%00.html", "/..%00/secret.txt",
    "/C:/secret.txt", "/C:%5csecret.txt", "/c:secret.txt", "/../www-secret/a.txt", "/../www/../secret.txt",
    "/sub/%2e%2e/%2e%2e/secret.txt", "/\x01", "/a.txt%0a", "secret.txt", "..", "*", "", "http://a.test/../secret.txt",
    "/．．/secret.txt", "/%ef%bc%8e%ef%bc%8e/secret.txt", "/.. /secret.txt", "/..%20/secret.txt", "/%ff",
]  # fmt: skip


@pytest.mark.parametrize("target", OUTSIDE)
def test_nothing_outside_is_ever_answered(root: Path, target: str) -> None:
    for action in (MapLocal(dir=LocalPath(root, True)), MapLocal(dir=LocalPath(root, True), spa=False, strip="/")):
        flow = ask(action, target)
        assert status(flow) == 404
        assert flow.response is not None
        assert CANARY not in (flow.response.raw_content or b"")
        assert status(ask(MapLocal(dir=LocalPath(root, True), fallthrough=True), target)) is None


PIECES = st.sampled_from([
    "..", "%2e%2e", "%2E.", "/", "%2f", "\\", "%5c", "out", "sub", "a.txt", "secret.txt", "www", ";", "%00", "%c0%ae",
    ".",
    "www-secret", "%25", "2e", " ", "index.html", "C:", "?", "#", "~", "é",
])  # fmt: skip


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=9), st.sampled_from(["", "/sub", "/out"]), st.booleans())
@example(["out", "/", "a.txt"], "", False)
def test_any_path_stays_inside(root: Path, pieces: list[str], strip: str, spa: bool) -> None:
    flow = ask(MapLocal(dir=LocalPath(root, True), strip=strip, spa=spa), "/" + "".join(pieces))
    assert flow.response is not None
    body = flow.response.body_source
    if isinstance(body, FileBody):
        assert body.path.resolve().is_relative_to(root)
    assert CANARY not in (flow.response.raw_content or b"")


FOUND = [
    ("/a.txt", "", b"0123456789"),
    ("/a.txt?x=/../..", "", b"0123456789"),
    ("//a.txt", "", b"0123456789"),
    ("/in.txt", "", b"0123456789"),
    ("/100%25.txt", "", b"percent"),
    ("/%C3%BCmlaut.txt", "", b"umlaut"),
    ("/", "", b"<h1>home</h1>"),
    ("/sub/", "", b"<h1>sub</h1>"),
    ("/app/a.txt", "/app", b"0123456789"),
    ("/app", "/app/", None),
    ("/app/", "/app", b"<h1>home</h1>"),
    ("/application/a.txt", "/app", None),
    ("/empty.js", "", b""),
    ("/missing", "", None),
    ("/a.txt/", "", None),
    ("/a.txt//", "", None),
    ("/sub/index.html/", "", None),
]


@pytest.mark.parametrize(("target", "strip", "body"), FOUND)
def test_files_are_found(root: Path, target: str, strip: str, body: bytes | None) -> None:
    flow = ask(MapLocal(dir=LocalPath(root, True), strip=strip), target)
    assert flow.response is not None
    if body is not None:
        assert (flow.response.status_code, flow.response.raw_content) == (200, body)
        assert flow.response.headers["content-length"] == str(len(body))
    else:
        assert flow.response.status_code in (302, 404)


@pytest.mark.parametrize(
    ("target", "location"), [("/sub", "/sub/"), ("/sub?a=b", "/sub/?a=b"), ("//sub", "/sub/"), ("///sub?", "/sub/?")]
)
def test_a_folder_gets_its_slash_on_the_same_host(root: Path, target: str, location: str) -> None:
    flow = ask(MapLocal(dir=LocalPath(root, True)), target)
    assert flow.response is not None
    assert (flow.response.status_code, flow.response.headers["location"]) == (302, location)


RANGES = [
    ("bytes=0-3", (0, 3)), ("bytes=5-", (5, 9)), ("bytes=-3", (7, 9)), ("bytes=-99", (0, 9)), ("bytes=9-99", (9, 9)),
    ("bytes=10-", (-1, -1)), ("bytes=-0", (-1, -1)), ("bytes=3-1", None), ("bytes=-", None), ("bytes=0-1,3-4", None),
    ("items=0-1", None), ("bytes=a-b", None), ("bytes=" + "9" * 30 + "-", None), ("bytes=٣-", None),
]  # fmt: skip


@pytest.mark.parametrize(("header", "expected"), RANGES)
def test_a_range_is_read(header: str, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


def test_a_part_of_a_file_is_sent(root: Path) -> None:
    action = MapLocal(dir=LocalPath(root, True))
    response = ask(action, "/a.txt", range="bytes=2-4").response
    assert response is not None
    assert (response.status_code, response.raw_content) == (206, b"234")
    assert (response.headers["content-range"], response.headers["content-length"]) == ("bytes 2-4/10", "3")
    beyond = ask(action, "/a.txt", range="bytes=20-").response
    assert beyond is not None
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10")
    stale = ask(action, "/a.txt", range="bytes=2-4", if_range='"old"').response
    assert stale is not None
    assert (stale.status_code, stale.raw_content) == (200, b"0123456789")
    assert ask(MapLocal(dir=LocalPath(root, True), status=503), "/a.txt", range="bytes=2-4").response.status_code == 503  # type: ignore[union-attr]


def test_a_tag_saves_the_body(root: Path) -> None:
    action = MapLocal(file=LocalPath(root / "a.txt", False))
    first = ask(action, "/x").response
    assert first is not None
    tag = first.headers["etag"]
    for header in (tag, f'W/{tag}, "x"', "*", f'"y", {tag}'):
        again = ask(action, "/x", if_none_match=header).response
        assert again is not None
        assert (again.status_code, again.raw_content, again.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in again.headers
    assert status(ask(action, "/x", if_none_match='"other"')) == 200


def test_methods(root: Path) -> None:
    folder, file = MapLocal(dir=LocalPath(root, True)), MapLocal(file=LocalPath(root / "a.txt", False))
    head = ask(folder, "/a.txt", "HEAD").response
    assert head is not None
    assert (head.status_code, head.headers["content-length"], head.raw_content) == (200, "10", b"")
    post = ask(folder, "/a.txt", "POST").response
    assert post is not None
    assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD")
    assert status(ask(MapLocal(dir=LocalPath(root, True), fallthrough=True), "/a.txt", "POST")) is None
    assert ask(file, "/any", "POST").response.raw_content == b"0123456789"  # type: ignore[union-attr]


def test_single_page_applications(root: Path) -> None:
    action = MapLocal(dir=LocalPath(root, True), spa=True)
    assert ask(action, "/some/route").response.raw_content == b"<h1>home</h1>"  # type: ignore[union-attr]
    assert status(ask(action, "/../secret.txt")) == 404


def test_a_file_that_vanishes_is_a_404(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    action = MapLocal(file=LocalPath(path, False))
    assert status(ask(action, "/")) == 200
    path.write_text('{"a": 1}')
    assert ask(action, "/").response.raw_content == b'{"a": 1}'  # type: ignore[union-attr]
    path.unlink()
    assert status(ask(action, "/")) == 404


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"), ("A.JSON", "application/json"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.svg", "image/svg+xml"), ("a.tar.gz", "application/gzip"), ("a", "application/octet-stream"),
        ("a.woff2", "font/woff2"), ("a.png", "image/png"), ("a.css", "text/css; charset=utf-8"),
    ],
)  # fmt: skip
def test_types_come_from_the_extension(name: str, kind: str) -> None:
    assert content_type(name) == kind


def test_strip_is_a_whole_prefix() -> None:
    assert request_segments("/app/x/y", "/app") == ["x", "y"]
    assert request_segments("/app/x/y", "app/") == ["x", "y"]
    assert request_segments("/apple/x", "/app") is None
