"""Functions in Python files: what they may do, when rules below see it, and how their files are loaded again."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from rulesproxy.engine.chain import Bound
from rulesproxy.engine.dispatch import dispatch
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.rules.load import load_files
from rulesproxy.rules.ruleset import RuleSet, load_rules

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a Python file and a rule file beside each other, in a folder that no other test has imported from."""

    def write(code: str, rules: str = "  - match: ~all\n    run: code.py:f\n") -> Path:
        (tmp_path / "code.py").write_text(textwrap.dedent(code))
        path = tmp_path / "rules.yaml"
        path.write_text("version: 1\nrules:\n" + rules)
        return path

    return write


async def send(rules: RuleSet, body: bytes = b"", answer: bytes = b"answer") -> HTTPFlow:
    """Every event of an exchange, as the layers fire them."""
    flow = HTTPFlow.make("POST", "http://a.test/x", [("x", "1")])

    async def fire(event: str) -> None:
        call = getattr(rules, event, None)
        if call is not None:
            await dispatch((Bound(call, rules, "rules", event),), flow)

    await fire("requestheaders")
    if rules.wants_body(flow, "request"):
        flow.request.body_source = body
    await fire("request")
    if flow.response is None and flow.error is None:
        flow.response = HTTPResponse.make(200)
        await fire("responseheaders")
        if rules.wants_body(flow, "response"):
            flow.response.body_source = answer
    elif flow.response is not None:
        await fire("responseheaders")
    if flow.response is not None:
        await fire("response")
    return flow


BELOW = """\
  - match: ~all
    run: code.py:f
  - id: below
    match: request.header["seen"] == "by f"
    tag: below
"""

PLAIN = """
    def f(flow):
        flow.request.headers["seen"] = "by f"
"""
ASYNC = """
    import asyncio

    async def f(flow):
        await asyncio.sleep(0)
        flow.request.headers["seen"] = "by f"
"""
OBJECT = """
    class F:
        async def __call__(self, flow):
            flow.request.headers["seen"] = "by f"

    f = F()
"""


@pytest.mark.parametrize("code", [PLAIN, ASYNC, OBJECT])
async def test_a_rule_below_sees_what_a_function_did(write: Write, code: str) -> None:
    flow = await send(load_rules(write(code, BELOW)))
    assert flow.hits[-1] == "below"
    assert flow.tags == ["below"]


@pytest.mark.parametrize("prefix", ["", "async "])
async def test_what_a_function_may_do(write: Write, prefix: str) -> None:
    code = f"""
        from rulesproxy import HTTPResponse

        {prefix}def f(flow):
            flow.response = HTTPResponse.make(201, b"mine")

        {prefix}def kill(flow):
            flow.kill()

        {prefix}def plan(flow):
            flow.plan.delay = 0.5

        {prefix}def shout(flow):
            flow.response.text = flow.response.text.upper()

        {prefix}def body(flow):
            flow.tags.append(flow.request.text)
    """
    below = "  - id: below\n    match: ~all\n    tag: below\n"
    flow = await send(load_rules(write(code, "  - match: ~all\n    run: code.py:f\n" + below)))
    assert flow.response is not None
    assert (flow.response.status_code, flow.tags) == (201, [])
    flow = await send(load_rules(write(code, "  - match: ~all\n    run: code.py:kill\n" + below)))
    assert (flow.killed, flow.tags) == (True, [])
    flow = await send(load_rules(write(code, "  - match: ~all\n    run: code.py:plan\n" + below)))
    assert flow.plan.delay == 0.5
    on_response = "  - match: ~all\n    run: {function: 'code.py:shout', on: response, body: true}\n"
    flow = await send(load_rules(write(code, on_response + below)), answer=b"quiet")
    assert flow.response is not None
    assert (flow.response.text, flow.tags) == ("QUIET", ["below"])
    on_request = "  - match: ~all\n    run: {function: 'code.py:body', body: true}\n"
    flow = await send(load_rules(write(code, on_request + below)), body=b"question")
    assert flow.tags == ["question", "below"]


async def test_stop_holds_behind_a_function(write: Write) -> None:
    for code in (PLAIN, ASYNC):
        rules = BELOW.replace("run: code.py:f", "run: code.py:f\n    stop: true")
        assert (await send(load_rules(write(code, rules)))).tags == []


@pytest.mark.parametrize("prefix", ["", "async "])
async def test_what_a_function_raises_is_on_error(write: Write, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    code = f"""
        {prefix}def f(flow):
            raise KeyError("nothing")
    """
    rule = "  - id: mine\n    match: ~all\n    run: code.py:f\n"
    below = "  - id: below\n    match: ~all\n    tag: below\n"
    flow = await send(load_rules(write(code, rule + below)))
    assert flow.tags == ["below"]
    assert "rule mine: requestheaders: KeyError: 'nothing'" in caplog.text
    assert "code.py:3" in caplog.text
    flow = await send(load_rules(write(code, rule + "    on-error: closed\n" + below)))
    assert flow.response is not None
    assert (flow.response.status_code, flow.tags) == (502, [])


async def test_a_function_that_forgets_async_is_told(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    code = """
        async def g(flow):
            pass

        def f(flow):
            return g(flow)
    """
    await send(load_rules(write(code)))
    assert "write `async def`" in caplog.text


async def test_several_functions_and_actions_in_one_rule(write: Write) -> None:
    code = """
        async def f(flow):
            flow.tags.append("f")

        def g(flow):
            flow.tags.append("g")
    """
    rules = "  - match: ~all\n    do:\n      - tag: first\n      - run: code.py:f\n      - run: code.py:g\n      - tag: last\n"
    assert (await send(load_rules(write(code, rules)))).tags == ["first", "f", "g", "last"]


def test_a_dry_run_calls_functions_and_waits_for_nothing(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    code = """
        import asyncio

        async def f(flow):
            flow.request.headers["seen"] = "by f"

        async def waits(flow):
            await asyncio.sleep(1)
            flow.request.headers["seen"] = "too late"
    """
    below = "  - id: waits\n    match: ~all\n    run: code.py:waits\n  - id: last\n    match: ~all\n    tag: last\n"
    rules = load_rules(write(code, BELOW + below))
    result = rules.run(HTTPFlow.make("GET", "http://a.test/"))
    assert result.flow.tags == ["below", "last"]
    assert result.flow.request.headers["seen"] == "by f"
    assert "rule waits" in caplog.text


def test_the_file_belongs_to_the_rules(write: Write, tmp_path: Path) -> None:
    path = write("import beside_the_code\nf = beside_the_code.f\n")
    (tmp_path / "beside_the_code.py").write_text("def f(flow): flow.tags.append('one')\n")
    first = load_files([path])
    assert first.ok, first.diagnostics
    assert {file.name for file in first.files} == {"rules.yaml", "code.py", "beside_the_code.py"}
    same = load_files([path])
    assert same.digest == first.digest
    for name, text in (
        ("beside_the_code.py", "def f(flow): flow.tags.append('two')\n"),
        ("code.py", "def f(flow): 3\n"),
    ):
        (tmp_path / name).write_text(text)
        assert load_files([path]).digest != first.digest
    missing = load_files([write("def g(flow): pass\n")])
    assert [problem.code for problem in missing.diagnostics] == ["RP632"]
    assert tmp_path / "code.py" in missing.files
    (tmp_path / "code.py").unlink()
    gone = load_files([path])
    assert [problem.code for problem in gone.diagnostics] == ["RP601"]
    assert tmp_path / "code.py" in gone.watch


async def test_a_reload_takes_the_new_code_and_keeps_what_has_not_changed(write: Write, tmp_path: Path) -> None:
    code = """
        import beside_a_reload

        count = 0

        def f(flow):
            global count
            count += 1
            flow.tags.append(f"{beside_a_reload.WORD}{count}")
    """
    (tmp_path / "beside_a_reload.py").write_text("WORD = 'a'\n")
    path = write(code)
    first = load_rules(path)
    assert (await send(first)).tags == ["a1"]
    # Nothing has changed: what the module remembers stays.
    assert (await send(load_rules(path))).tags == ["a2"]
    (tmp_path / "beside_a_reload.py").write_text("WORD = 'bb'\n")
    second = load_rules(path)
    assert (await send(second)).tags == ["bb1"]
    # A flow that began with the old rules goes on with the old code.
    assert (await send(first)).tags == ["a3"]
    write(code + "\n        raise ValueError('half saved')\n")
    assert not load_files([path]).ok
    write(code)
    assert (await send(load_rules(path))).tags[0].startswith("bb")
    names = [name for name in sys.modules if name.startswith("_rulesproxy_script_") and name.endswith("_code")]
    before = len(names)
    for number in range(5):
        write(code + f"\n        number = {number}\n")
        load_rules(path)
    assert len([n for n in sys.modules if n.startswith("_rulesproxy_script_") and n.endswith("_code")]) == before


def test_a_failure_inside_an_action_names_no_place_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    rule = "version: 1\nrules:\n  - id: mine\n    match: ~all\n    rewrite:\n      request:\n        headers: {x: '${method}'}\n"
    loaded = load_rules(text=rule)
    flow = HTTPFlow.make("A\nB", "http://a.test/")
    loaded.requestheaders(flow)  # type: ignore[attr-defined]
    assert "rule mine: requestheaders: " in caplog.text
    assert "(" not in caplog.messages[0]
    assert ".py" not in caplog.messages[0]
