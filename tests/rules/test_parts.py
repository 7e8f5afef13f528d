"""A part of a body (206) is nothing that an edit of the whole could be done on."""

from __future__ import annotations

import pytest

from rulesproxy.rules.ruleset import load_rules
from tests.layers.rig import Rig

RANGE = b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nRange: bytes=0-4\r\n\r\n"
PART = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/99\r\nContent-Length: 5\r\n\r\nabcde"


@pytest.mark.parametrize("edit", ["append: '!'", "set: whole", "replace: [{text: abc, with: x}]"])
async def test_a_part_is_passed_as_it_is(edit: str) -> None:
    rules = load_rules(text=f"version: 1\nrules:\n  - match: ~all\n    rewrite: {{response: {{body: {{{edit}}}}}}}\n")
    assert await Rig([PART], addons=[rules]).run(RANGE) == PART
    whole = PART.replace(b"206 Partial Content", b"200 OK").replace(b"Content-Range: bytes 0-4/99\r\n", b"")
    assert await Rig([whole], addons=[rules]).run(RANGE) != whole
