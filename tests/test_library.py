"""The package as a library: what it exports, and that the examples of its documentation hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rulesproxy
from tests.support.origin import Origin, answer
from tests.support.programs import needs, run
from tests.support.running import home


def test_everything_exported_is_there() -> None:
    for name in rulesproxy.__all__:
        assert getattr(rulesproxy, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rulesproxy.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, rulesproxy; print([m for m in ('lark', 'yaml', 'ssl', 'asyncio', 'cryptography') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "[]"


def test_a_filter_is_a_function_of_a_flow() -> None:
    filter = rulesproxy.compile_filter('host == "a.test" and ~m GET')
    flow = rulesproxy.HTTPFlow.make("GET", "https://a.test/x?y=1", headers=[("accept", "*/*")], status=200)
    assert filter(flow)
    assert not filter(rulesproxy.HTTPFlow.make("POST", "https://a.test/"))
    assert not filter(rulesproxy.HTTPFlow.make("no method", "no url", headers=[("b\nad", "\0")]))
    assert "requestheaders" in filter.events
    assert "clienthello" not in filter.events
    assert rulesproxy.compile_filter("response.status == 500").events.isdisjoint({"requestheaders", "request"})


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ('host = "a"', "RP201", 1, 6),
        ('host == "a"\n  and hosst == "b"', "RP301", 2, 7),
        ("", "RP209", 1, 1),
    ],
)
def test_a_bad_filter_raises_with_places(text: str, code: str, line: int, column: int) -> None:
    with pytest.raises(rulesproxy.FilterError) as caught:
        rulesproxy.compile_filter(text)
    first = caught.value.diagnostics[0]
    assert first.span is not None
    assert (first.code, first.span.line, first.span.column) == (code, line, column)
    assert str(caught.value).startswith(f"<filter>:{line}:{column}: error[{code}]: ")


@needs("curl")
async def test_a_proxy_in_a_program_of_ones_own() -> None:
    class Mark:
        def response(self, flow: rulesproxy.HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.headers["x-marked"] = "yes"

    rules = rulesproxy.load_rules(text="version: 1\nrules:\n  - id: no\n    match: path == '/no'\n    block: 410\n")
    async with (
        Origin.http(lambda request: answer(200, b"origin")) as origin,
        rulesproxy.Proxy(rules=rules, listen="127.0.0.1:0", addons=[Mark()], home=home()) as proxy,
    ):
        assert proxy.ca_path.is_file()
        for path, status in (("/yes", b"200"), ("/no", b"410")):
            got = await run(
                "curl",
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %header{x-marked}",
                "-x",
                proxy.url,
                origin.url + path,
            )
            assert got.out == status + b" yes"
        assert proxy.hits["no"] == 1
        assert proxy.hits.as_dict() == {"no": 1}


@needs("curl")
async def test_the_same_engine_runs_dry_and_live(tmp_path: Path) -> None:
    """What the library is for, from a filter to a proxy."""
    (tmp_path / "rules.yaml").write_text(
        "version: 1\nrules:\n  - id: mock\n    match: host == 'a.test' and ~m GET\n    respond: mocked\n".replace(
            "respond: mocked", "respond: {body: mocked}"
        )
    )

    flt = rulesproxy.compile_filter('host == "a.test" and ~m GET')
    flow = rulesproxy.HTTPFlow.make(
        "GET", "https://a.test/x?y=1", headers=[("accept", "*/*")], body=b"",
        status=200, response_headers=[], response_body=b"from the server",
    )  # fmt: skip
    assert flt(flow)
    assert "requestheaders" in flt.events

    rules = rulesproxy.load_rules(tmp_path / "rules.yaml")
    result = rules.run(flow)
    assert result.hits == ("mock",)
    assert result.flow.response is not None
    assert (result.flow.response.text, result.upstream) == ("mocked", None)
    assert isinstance(result, rulesproxy.Result)
    trace: tuple[rulesproxy.RuleTrace, ...] = result.trace
    changes: tuple[rulesproxy.Change, ...] = trace[0].changes
    assert [str(change) for change in changes] == ["response: 200 OK"]
    assert flow.response is not None
    assert flow.response.text == "from the server"

    class MyAddon:
        seen = 0

        def response(self, flow: rulesproxy.HTTPFlow) -> None:
            self.seen += 1

    addon = MyAddon()
    async with rulesproxy.Proxy(rules=rules, listen="127.0.0.1:0", addons=[addon], home=home()) as proxy:
        answer_ = await run("curl", "-s", "-x", proxy.url, "http://a.test/x")
        assert answer_.out == b"mocked"
        assert (proxy.ca_path.is_file(), proxy.hits["mock"], addon.seen) == (True, 1, 1)
