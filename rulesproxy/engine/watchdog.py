"""The watchdog: a thread that names a handler which blocks the event loop.

It reads `dispatch.RUNNING` and nothing else of the data path. One thread serves every engine of the process; it exists
only while somebody asked for it.
"""

from __future__ import annotations

import sys
import threading
import time
from types import FrameType

from rulesproxy.engine.chain import RUNNING, Bound, Chain
from rulesproxy.engine.dispatch import dispatch, dispatch_layer, run_guarded
from rulesproxy.engine.failures import code_file
from rulesproxy.engine.log import escape, logger
from rulesproxy.events import EVENTS, LIFECYCLE

QUIET = 10.0
"""Seconds before the same handler is named again: a handler that blocks on every flow must not fill the log."""


def watch(user: object, blocks: float) -> None:
    """Name handlers that hold the event loop for longer than `blocks` seconds, until `unwatch(user)`."""
    global _thread
    with _lock:
        _users[id(user)] = blocks
        if _thread is None:
            _thread = _Watchdog()
            _thread.start()


def unwatch(user: object) -> None:
    """The user needs it no longer; the thread ends with its last user."""
    global _thread
    with _lock:
        _users.pop(id(user), None)
        thread = _thread
        if _users or thread is None:
            return
        _thread = None
    thread.ended.set()
    thread.join()


def needed(chain: Chain) -> bool:
    """Whether code that is not ours handles traffic in this chain."""
    traffic = [event for event in EVENTS if event not in LIFECYCLE]
    owners = [bound.owner for event in traffic for bound in getattr(chain, event)]
    return any(not type(owner).__module__.startswith("rulesproxy.") for owner in owners)


_lock = threading.Lock()
_users: dict[int, float] = {}
_thread: _Watchdog | None = None

_CALLERS = {dispatch.__code__, dispatch_layer.__code__, run_guarded.__code__}


class _Watchdog(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="rulesproxy-watchdog", daemon=True)
        self.ended = threading.Event()
        self._named: dict[tuple[str, str], float] = {}

    def run(self) -> None:
        seen: tuple[Bound] | None = None
        since = 0.0
        blamed = False
        while True:
            blocks = min(list(_users.values()), default=1.0)
            if self.ended.wait(blocks / 2):
                return
            call, now = RUNNING[0], time.monotonic()
            if call is not seen:
                seen, since, blamed = call, now, False
            elif call is not None and not blamed and now - since >= blocks:
                blamed = True
                self._blame(call[0], blocks, now)

    def _blame(self, bound: Bound, blocks: float, now: float) -> None:
        key = (bound.name, bound.event)
        if now - self._named.get(key, -QUIET) < QUIET:
            return
        where = _where(bound)
        if where is None:
            return
        self._named[key] = now
        logger.warning(
            "%s", escape(f"{bound.kind} {bound.name}: {bound.event} blocks the proxy for more than "
            f"{blocks * 1000:.0f} ms, now at {where}; use an async handler and await what takes long"),
        )  # fmt: skip


def _where(bound: Bound) -> str | None:
    """`FILE:LINE` where a thread is inside this handler now; None where no thread runs a handler after all."""
    file = code_file(bound.call)
    for top in sys._current_frames().values():
        innermost = own = ""
        frame: FrameType | None = top
        while frame is not None:
            if frame.f_code in _CALLERS:
                return own or innermost
            here = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            innermost = innermost or here
            if not own and frame.f_code.co_filename == file:
                own = here
            frame = frame.f_back
    return None
