"""`ctx`: the engine that an addon runs in, as scripts import it.

Several engines may run in one process. A context variable says which one a piece of code belongs to: `enter` sets it
where an engine starts, and every task and callback made from there inherits it, so handlers cost nothing. Code outside
of any such context, a thread for instance, gets the only running engine; where there are several it has to be told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

from rulesproxy.engine.log import ALERT

if TYPE_CHECKING:
    from rulesproxy.engine.commands import Commands
    from rulesproxy.engine.manager import Addons, Engine
    from rulesproxy.engine.options import Options
    from rulesproxy.flow.http import HTTPFlow
    from rulesproxy.flow.tcp import TCPFlow
    from rulesproxy.flow.websocket import WebSocketFlow

    Flow: TypeAlias = HTTPFlow | WebSocketFlow | TCPFlow


class Ctx:
    """What an addon may ask of the engine that runs it."""

    __slots__ = ("log",)

    def __init__(self) -> None:
        self.log = Log()
        """Writes to the log: `ctx.log.info("…")`."""

    @property
    def options(self) -> Options:
        """The configuration."""
        return _engine().options

    @property
    def commands(self) -> Commands:
        """The commands of all addons."""
        return _engine().commands

    @property
    def addons(self) -> Addons:
        """The addons of the chain."""
        return _engine().addons

    def update(self, flows: Iterable[Flow]) -> None:
        """Tell every addon that these flows were changed outside their own events; from any thread."""
        _engine().update(flows)

    def shutdown(self) -> None:
        """Ask the proxy to end; from any thread."""
        _engine().request_shutdown()


class Log:
    """The log by level. `logging.getLogger("rulesproxy.addon")` is the same."""

    __slots__ = ()

    def debug(self, message: object) -> None:
        """Only seen when asked for."""
        _logger.debug("%s", message)

    def info(self, message: object) -> None:
        """Worth knowing."""
        _logger.info("%s", message)

    def alert(self, message: object) -> None:
        """Worth a look, although nothing is wrong."""
        _logger.log(ALERT, "%s", message)

    def warn(self, message: object) -> None:
        """Wrong, but the proxy helps itself."""
        _logger.warning("%s", message)

    warning = warn

    def error(self, message: object) -> None:
        """Wrong."""
        _logger.error("%s", message)


ctx = Ctx()


def enter(engine: Engine) -> None:
    """From here on this context, and what is started from it, belongs to `engine`."""
    _current.set(engine)
    _running.append(engine)


@contextmanager
def inside(engine: Engine) -> Iterator[None]:
    """The code in this block belongs to `engine`, wherever it was called from."""
    token = _current.set(engine)
    try:
        yield
    finally:
        _current.reset(token)


def leave(engine: Engine) -> None:
    """The engine has ended."""
    _running.remove(engine)
    if _current.get() is engine:
        _current.set(None)


def belongs(engine: Engine) -> bool:
    """Whether the running code belongs to `engine`, or to none in particular."""
    return _current.get() in (None, engine)


_logger = logging.getLogger("rulesproxy.addon")
_current: ContextVar[Engine | None] = ContextVar("rulesproxy engine", default=None)
_running: list[Engine] = []


def _engine() -> Engine:
    engine = _current.get()
    if engine is not None:
        return engine
    if len(_running) == 1:
        return _running[0]
    if _running:
        raise RuntimeError("ctx: several proxies run in this process, and this code belongs to none of them")
    raise RuntimeError("ctx can be used only while a proxy runs, so not while a script is imported; use it in `load`")
