"""What filters mean, one row for each case: `filters/*.txt` say what is true of which flow, and what is refused where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rulesproxy.filters.check import check
from rulesproxy.filters.parse import FilterError, parse
from tests.conformance.flows import FLOWS
from tests.support.deciding import NAMES, decide

FOLDER = Path(__file__).parent / "filters"


def rows(pattern: str) -> Iterator[tuple[str, list[str]]]:
    """Every row with its place; empty lines and lines that start with # are none."""
    for path in sorted(FOLDER.glob(pattern)):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                yield f"{path.stem}:{number}", line.split(None, 2)


TRUE = [pytest.param(*row, id=place) for place, row in rows("true-*.txt")]
REFUSED = [pytest.param(*row, id=place) for place, row in rows("refused*.txt")]
WARNED = [pytest.param(*row, id=place) for place, row in rows("warned*.txt")]


@pytest.mark.usefixtures("every_engine")
@pytest.mark.parametrize(("verdict", "flow", "text"), TRUE)
def test_true_or_not(verdict: str, flow: str, text: str) -> None:
    assert verdict in ("yes", "no")
    decide(text, FLOWS[flow](), verdict == "yes")


@pytest.mark.parametrize(("code", "columns", "text"), REFUSED)
def test_refused(code: str, columns: str, text: str) -> None:
    text, _, help = text.partition("  ## ")
    with pytest.raises(FilterError) as caught:
        check(parse(text), NAMES | LOOPS)
    problem = caught.value.problems[0]
    assert (problem.code, f"{problem.start + 1}-{problem.end}") == (code, columns)
    assert help in problem.help


@pytest.mark.parametrize(("code", "columns", "text"), WARNED)
def test_warned(code: str, columns: str, text: str) -> None:
    (problem,) = check(parse(text), NAMES).warnings
    assert (problem.code, f"{problem.start + 1}-{problem.end}") == (code, columns)


def test_there_are_enough_rows() -> None:
    tilde = [row for row in TRUE if "~" in row.values[2].split('"')[0]]
    assert len(TRUE) >= 400
    assert len(tilde) >= 200
    assert len(REFUSED) >= 120


def test_every_flow_is_used() -> None:
    assert set(FLOWS) == {row.values[1] for row in TRUE}


LOOPS = {
    "list": ("a.test", "b.test"),
    "text": "a.test",
    "filter": parse("~q"),
    "broken": parse("nothing == 1"),
    "loop": parse("$loop2"),
    "loop2": parse("not $loop"),
}
