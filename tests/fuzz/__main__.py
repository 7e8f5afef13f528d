"""`python -m tests.fuzz --minutes N [--target NAME]`: fuzz the readers for a while, and keep what was found.

Hypothesis makes the inputs and shrinks a finding. Where atheris is installed it goes first with half of the time,
guided by coverage. Findings are written into the corpus, which ordinary tests replay.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, given, settings

from tests.fuzz.targets import TARGETS, Target

_BATCH = 2_000
_SLOW = 5.0
"""Seconds of the processor after which an input is a finding: readers of hostile text are bounded."""


class TooSlow(Exception):
    """A reader took too long for one input."""


def main() -> int:
    """The exit code: 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the readers of hostile text.")
    parser.add_argument("--minutes", type=float, default=1.0, help="for how long, all targets together (default 1)")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="only this one (may be repeated)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of the first round (default: by chance)")
    args = parser.parse_args()
    chosen = [TARGETS[name] for name in args.target or TARGETS]
    seed = random.randrange(2**32) if args.seed is None else args.seed
    print(f"seed {seed}, {len(chosen)} targets, {args.minutes:g} minutes", flush=True)
    found = 0
    # Rule files name files of their own: none of this machine's should be among them.
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for target in chosen:
            found += fuzz(target, args.minutes * 60 / len(chosen), seed)
    return 1 if found else 0


def fuzz(target: Target, seconds: float, seed: int) -> int:
    """Fuzz one target; how many different findings there were."""
    known: set[str] = set()
    runs = 0
    started = time.monotonic()
    if _has_atheris():
        seconds /= 2
        runs += guided(target, seconds, known)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        runs += _round(target, seed, end, known)
        seed += 1
    spent = time.monotonic() - started
    print(f"{target.name}: {runs:,} inputs in {spent:.0f} s ({runs / spent:,.0f}/s), {len(known)} findings", flush=True)
    return len(known)


def _round(target: Target, seed: int, end: float, known: set[str]) -> int:
    """A batch of inputs from one seed. A finding that is known already is passed over."""
    runs = 0
    last = b""

    def one(data: bytes) -> None:
        nonlocal runs, last
        runs += 1
        if time.monotonic() > end:
            return
        try:
            _timed(target, data)
        except Exception as exc:
            if _name(exc) in known:
                return
            last = data
            raise

    profile = settings(
        max_examples=_BATCH, database=None, deadline=None, phases=[Phase.generate, Phase.shrink], print_blob=False,
        suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet,
    )  # fmt: skip
    from hypothesis import seed as seeded

    try:
        seeded(seed)(profile(given(target.texts)(one)))()
    except Exception as exc:
        # Hypothesis has run the smallest input last.
        known.add(_name(exc))
        _keep(target, last, exc)
    return runs


def _timed(target: Target, data: bytes) -> None:
    # Readers wait for nothing: what they cost is the time of the processor, whoever else runs on it.
    started = time.process_time()
    target.run(data)
    spent = time.process_time() - started
    if spent > _SLOW:
        raise TooSlow(f"{spent:.1f} s")


def _keep(target: Target, data: bytes, exc: BaseException) -> None:
    folder = Path(__file__).parent / "corpus" / target.name
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / hashlib.sha256(data).hexdigest()[:12]
    file.write_bytes(data)
    print(f"{target.name}: {type(exc).__name__} from {data!r}\n  kept as {file.name}", flush=True)
    traceback.print_exception(exc, limit=-4)


def _name(exc: BaseException) -> str:
    """What makes two findings the same: the exception and the line that raised it."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__} {frame.filename}:{frame.lineno}"


def _has_atheris() -> bool:
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def guided(target: Target, seconds: float, known: set[str]) -> int:
    """Fuzz in a process of its own, which libFuzzer ends as it likes; how many inputs it tried."""
    import re
    import subprocess

    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "tests.fuzz.guided", target.name, folder, str(Path(__file__).parent / "corpus" / target.name),
            f"-max_total_time={max(1, int(seconds))}", f"-artifact_prefix={folder}/crash-", "-max_len=512", f"-timeout={_SLOW:.0f}", "-print_final_stats=1",
        ]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", check=False)
        for file in [*Path(folder).glob("crash-*"), *Path(folder).glob("timeout-*")]:
            data = file.read_bytes()
            try:
                _timed(target, data)
            except Exception as exc:
                if _name(exc) not in known:
                    known.add(_name(exc))
                    _keep(target, data, exc)
    runs = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    if runs is None:
        print(done.stderr[-2_000:], file=sys.stderr)
    return int(runs[1]) if runs else 0


if __name__ == "__main__":
    sys.exit(main())
