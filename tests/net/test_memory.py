"""Memory goes back to the system when many connections have left, and then only."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rulesproxy.net.memory import Returner

_USE = """
import resource
from rulesproxy.net.memory import return_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
# Above each big block one that stays, as in a heap that many connections have used.
blocks = [(bytes(60_000), bytes(1_000)) for _ in range(2_000)]
full = resident()
kept = [small for _, small in blocks]
del blocks
before = resident()
if not return_memory():
    print("nothing")
else:
    assert before > full - 20_000_000, (before, full)
    assert resident() < full - 80_000_000, (resident(), full)
"""


async def test_when_memory_is_returned() -> None:
    trims: list[int] = []
    now = 0
    returner = Returner(lambda: trims.append(now))
    for now in (10, 0, 63, 0, 500, 400, 251, 250, 249, 200, 125, 90, 62, 60, 31, 0, 0, 64, 33, 32, 0):
        await returner.look(now)
    assert trims == [250, 125, 62, 32]


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of GNU can")
def test_what_is_free_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", _USE], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if done.stdout:
        pytest.skip("this C library keeps its memory")
