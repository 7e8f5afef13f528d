"""The `tests:` of rule files: how they are written, and what is said of those that fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rulesproxy.rules.dry.cases import Case
from rulesproxy.rules.dry.dry_run import DryRun
from rulesproxy.rules.dry.judge import Verdict, coverage, judge
from rulesproxy.rules.load import load_files, load_text

RULES = """version: 1
vars:
  api: api.test
rules:
  - id: ads
    match: host under "ads.test"
    block:
  - id: mock
    match: host == $api and path like "/users/{id}"
    respond: {json: {id: "${id | int}", name: Ann}, headers: {x-a: [1, 2]}}
  - id: hide
    match: response.status in {500..599}
    rewrite: {response: {status: 502, json: {set: {$.error: redacted}}}}
  - id: move
    match: path under "/old"
    rewrite: {request: {path: /new, headers: {x-moved: "1"}, body: sent}}
  - id: reset
    match: path == "/reset"
    block: reset
  - id: jobs
    match: path == "/jobs"
    respond: {sequence: [202, 200]}
  - id: chaos
    match: path == "/x"
    profile: chaos
    block: 503
"""


def verdicts(tests: str, rules: str = RULES, **options: object) -> list[Verdict]:
    loaded = load_text(f"{rules}tests:\n{tests}", **options)  # type: ignore[arg-type]
    assert [str(each) for each in loaded.diagnostics if each.severity == "error"] == []
    dry = DryRun(loaded.rules)
    return [judge(case, dry) for case in loaded.tests]


PASSES = [
    "request: GET http://www.ads.test/\n    expect: {rules: [ads], status: 403, upstream: none}",
    "request: http://a.test/\n    expect: {rules: none, status: 200, body: '', upstream: {method: GET, url: http://a.test/}}",
    "request: get http://a.test/ HTTP/1.1\n    expect: {rules: [], upstream: {headers: {host: a.test, accept: null}}}",
    "request: GET https://api.test/users/7\n    expect: {rules: mock, json: {id: 7}, headers: {X-A: ['1', '2'], etag: }}",
    "request: GET https://api.test/users/7\n    expect: {rules-include: [mock], headers: {x-a: '1, 2'}, body: '{\"id\": 7, \"name\": \"Ann\"}'}",
    "request: {url: http://a.test/, method: POST, json: {a: [1, null]}}\n    response: {status: 500, json: {error: db, n: 1.0}}\n"
    "    expect: {rules: [hide], status: 502, json: {error: redacted, n: 1}, upstream: {json: {a: [1, null]}, headers: {content-type: application/json}}}",
    "request: {url: http://a.test/old, headers: {x: [a, b]}}\n    response: 204\n"
    "    expect: {rules: [move], status: 204, upstream: {url: http://a.test/new, body: sent, headers: {x: [a, b], x-moved: '1'}}}",
    "request: GET http://a.test/reset\n    expect: {end: reset, upstream: none}",
    "request: HEAD https://api.test/users/7\n    expect: {status: 200, body: ''}",
    "request: GET http://a.test/\n    error: timeout\n    expect: {status: 504}",
    "request: GET http://a.test/\n    error: refused\n    expect: {rules: [], status: 502, upstream: {method: GET}}",
    "steps:\n      - {request: 'POST http://a.test/jobs', expect: {status: 202}}\n      - {request: 'POST http://a.test/jobs', expect: {status: 200}}",
    "request: {url: 'http://a.test/x', client: 10.0.0.1}\n    expect: {rules: []}",
]  # fmt: skip


@pytest.mark.parametrize("test", PASSES)
def test_what_holds(test: str) -> None:
    (verdict,) = verdicts(f"  - name: it\n    {test}\n")
    assert verdict.failures == ()


FAILS = [
    # the test, and all that is said about it, what stands first as the title
    ("request: POST https://api.test/\n    expect: {rules: [mock]}",
     ["rule `mock` did not match", "`path` is `/`"]),
    ("request: GET http://www.ads.test/\n    expect: {rules: []}", ["rule `ads` matched too", "matched"]),
    ("request: GET http://a.test/\n    expect: {rules-include: [ads, move]}",
     ["rule `ads` did not match", "`host` is `a.test`", "`path` is `/`", "rule `move` did not match"]),
    ("request: GET http://a.test/old\n    response: 500\n    expect: {rules: [hide, move]}",
     ["the rules matched in another order: move, hide"]),
    ("request: GET https://api.test/users/7\n    expect: {status: 404, json: {id: '7', name: Bob, age: 1}, body: x}",
     ["the status is 200", '`$.id` is 7', '`$.name` is "Ann"',
      '`$.age` is not there; there is {"id": 7, "name": "Ann"}', 'the body is `{"id": 7, "name": "Ann"}`']),
    ("request: GET http://a.test/\n    response: {json: [1, {a: true}], headers: {x: a}}\n"
     "    expect: {json: [1, {a: 1}], headers: {x: b, y: c, content-type: }}",
     ["header `x` is `a`", "header `y` is not there", "header `content-type` is there: `application/json`", "`$[1].a` is true"]),
    ("request: GET http://a.test/\n    response: {json: [1]}\n    expect: {json: [1, 2]}", ["`$` has 1 items, not 2: [1]"]),
    ("request: GET http://a.test/\n    response: {body: '<p>'}\n    expect: {json: {a: 1}}", ["the body is not JSON: `<p>`"]),
    ("request: GET http://a.test/\n    expect: {json: {a: 1}}", ["there is no body"]),
    ("request: GET http://a.test/reset\n    expect: {status: 200}", ["the connection ends (reset)"]),
    ("request: GET http://a.test/\n    expect: {end: reset}", ["the status is 200"]),
    ("request: GET http://a.test/\n    expect: {upstream: none}", ["the server is asked: `GET http://a.test/`"]),
    ("request: GET http://ads.test/\n    expect: {upstream: {method: GET}}", ["the server is not asked"]),
    ("request: GET http://a.test/old\n    expect: {upstream: {method: POST, url: http://a.test/old, body: x, headers: {x-moved: }}}",
     ["the server gets method `GET`", "the server gets url `http://a.test/new`",
      "upstream, header `x-moved` is there: `1`", "upstream, the body is `sent`"]),
    ("request: GET http://a.test/\n    error: tls\n    expect: {headers: {x: y}}", ["there are no headers: the status is 502"]),
]  # fmt: skip


@pytest.mark.parametrize(("test", "said"), FAILS)
def test_what_is_said_of_a_failure(test: str, said: list[str]) -> None:
    text = f"  - name: it\n    {test}\n"
    (verdict,) = verdicts(text)
    (failure,) = verdict.failures
    assert failure.code == "RP910"
    first, *rest = said
    assert failure.title.startswith(f"test `it`: {first}")
    assert sorted(label.text for label in failure.labels) == sorted(rest)


def test_the_marks_stand_where_the_mistakes_are() -> None:
    loaded = load_text(
        f"{RULES}tests:\n  - name: it\n    request: POST https://api.test/users\n    expect:\n      rules: [mock]\n      status: 404\n"
    )
    (failure,) = judge(loaded.tests[0], DryRun(loaded.rules)).failures
    lines = RULES.splitlines()

    def marked(line: int, start: int, end: int) -> str:
        return lines[line - 1][start - 1 : end - 1]

    assert str(failure.span) == "<text>:31:15"
    term, status = failure.labels
    assert marked(term.span.line, term.span.column, term.span.end_column) == 'path like "/users/{id}"'
    assert (status.text, str(status.span)) == ("the status is 200", "<text>:32:15")
    assert failure.notes == ("no rule matched; the nearest is `mock`: `path` is `/users`",)


def test_a_step_is_named_and_the_others_go_on() -> None:
    (verdict,) = verdicts(
        "  - name: it\n    steps:\n      - {request: 'POST http://a.test/jobs', expect: {status: 200}}\n"
        "      - {request: 'POST http://a.test/jobs', expect: {status: 201}}\n"
    )
    assert [failure.title for failure in verdict.failures] == [
        "test `it`, step 1: the status is 202", "test `it`, step 2: the status is 200",
    ]  # fmt: skip
    assert verdict.hits == (("jobs",), ("jobs",))


def test_every_test_begins_anew() -> None:
    test = "  - {name: it, request: 'POST http://a.test/jobs', expect: {status: 202}}\n"
    assert [verdict.passed for verdict in verdicts(test * 3)] == [True] * 3


def test_both_branches_of_a_sample() -> None:
    rules = "version: 1\nrules:\n  - id: some\n    match: ~all\n    sample: 1% seed 3\n    block: 503\n"
    test = "  - {name: it, request: 'GET http://a.test/', sampled: %s, expect: {rules: %s}}\n"
    assert [verdict.passed for verdict in verdicts(test % ("true", "[some]") + test % ("false", "[]"), rules)] == [
        True,
        True,
    ]


def test_tests_without_a_name_are_called_by_their_line() -> None:
    (verdict,) = verdicts("  - {request: 'GET http://a.test/', expect: {status: 404}}\n")
    assert verdict.case.name == "line 28"


def test_other_values_for_variables_and_profiles(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        RULES
        + "tests:\n  - {name: it, vars: {api: other.test}, profile: chaos, request: 'GET http://other.test/users/1', expect: {rules: [mock]}}\n"
    )
    (case,) = load_files([file]).tests
    assert (case.profiles, case.variables) == (("chaos",), {"api": "other.test"})
    other = load_files([file], profiles=case.profiles, vars=case.variables)
    assert judge(case, DryRun(other.rules)).passed
    assert not judge(case, DryRun(load_files([file]).rules)).passed
    assert [rule.name for rule in other.rules][-1] == "chaos"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("vars: {ap: x}", "RP808"),
        ("profile: chaoss", "RP810"),
        ("vars: {api: [x, {a: b}]}", "RP103"),
    ],
)
def test_names_in_tests_are_checked(keys: str, said: str) -> None:
    loaded = load_text(
        f"{RULES}tests:\n  - {{name: it, {keys}, request: 'GET http://a.test/', expect: {{rules: []}}}}\n"
    )
    assert [each.code for each in loaded.diagnostics] == [said]
    assert loaded.diagnostics[0].span is not None


def test_a_rule_of_a_profile_is_known_where_the_test_has_a_profile() -> None:
    test = "tests:\n  - {name: it, %srequest: 'GET http://a.test/x', expect: {rules: [chaos]}}\n"
    assert [each.code for each in load_text(RULES + test % "").diagnostics] == ["RP901"]
    assert load_text(RULES + test % "profile: chaos, ").ok


def test_tests_of_included_files_are_theirs(tmp_path: Path) -> None:
    inner = RULES + "tests:\n  - {name: inner, request: 'GET http://a.test/', expect: {rules: []}}\n"
    (tmp_path / "inner.yaml").write_text(inner)
    outer = "version: 1\nrules:\n  - include: inner.yaml\ntests:\n  - {name: outer, request: 'GET http://a.test/', expect: {rules: []}}\n"
    (tmp_path / "outer.yaml").write_text(outer)
    assert [case.name for case in load_files([tmp_path / "outer.yaml"]).tests] == ["outer"]
    assert [case.name for case in load_files([tmp_path / "inner.yaml"]).tests] == ["inner"]
    assert [case.name for case in load_text("version: 1\nrules:\n  - include: pack:cors\n").tests] == []


def test_coverage_goes_both_ways() -> None:
    loaded = load_text(RULES)
    found = coverage(loaded.rules, verdicts("  - {name: a, request: 'GET http://ads.test/', expect: {rules: [ads]}}\n"))
    assert [(gap.rule.name, gap.matched) for gap in found] == [
        ("ads", True), ("mock", False), ("hide", False), ("move", False), ("reset", False), ("jobs", False),
    ]  # fmt: skip
    assert found[0].diagnostic().title == "no test has a request that rule `ads` does not match"
    more = "  - {name: a, request: 'GET http://ads.test/', expect: {rules: [ads]}}\n  - {name: b, request: 'GET http://a.test/', expect: {rules: []}}\n"
    assert "ads" not in [gap.rule.name for gap in coverage(loaded.rules, verdicts(more))]


def test_a_case_makes_the_flow_that_a_client_would() -> None:
    case: Case = verdicts(
        "  - {name: it, request: {url: 'https://a.test/x', headers: {Content-Type: a/b}, json: {a: é}}, expect: {rules: []}}\n"
    )[0].case
    flow = case.exchanges[0].flow()
    assert flow.request.headers.items(True) == [("Host", "a.test"), ("Content-Type", "a/b")]
    assert flow.request.raw_content == '{"a": "é"}'.encode()
    assert flow.response is not None
    assert (flow.response.status_code, flow.response.raw_content) == (200, b"")


def test_a_thousand_tests_are_few_calls() -> None:
    tests = "".join(
        f"  - {{name: t{n}, request: 'GET http://a{n}.test/old', expect: {{rules: [move]}}}}\n" for n in range(200)
    )
    loaded = load_text(f"{RULES}tests:\n{tests}")
    dry = DryRun(loaded.rules)
    judge(loaded.tests[0], dry)
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for case in loaded.tests:
            judge(case, dry)
    finally:
        sys.setprofile(None)
    # Five seconds for a thousand tests are 5 ms each, which is some ten thousand calls.
    assert calls / len(loaded.tests) < 1_000


def test_a_rule_with_a_mistake_is_not_called_switched_off() -> None:
    rules = "version: 1\nrules:\n  - id: it\n    match: ~all\n    blok:\n"
    loaded = load_text(rules + "tests:\n  - {name: it, request: 'GET http://a.test/', expect: {rules: [it]}}\n")
    assert [each.code for each in loaded.diagnostics] == ["RP101"]
