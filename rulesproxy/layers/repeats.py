"""What is sent again and again while a conversation lasts, or the body of an event stream.

It knows an injected clock and when something may be sent. Nothing is queued: what finds its receiver behind is left
out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rulesproxy.flow.plan import Plan, Repeat

if TYPE_CHECKING:
    from rulesproxy.layers.layer import Services

_log = logging.getLogger("rulesproxy")


class Repeats:
    """The messages of one conversation that are sent again and again.

    Args:
        services: whose clock says when.
        ready: whether a side has taken all that was sent to it; where it has not, a message is left out.
        send: sends a message to the client, or to the server.
    """

    __slots__ = ("_begun", "_ready", "_send", "_services", "_tasks")

    def __init__(
        self, services: Services, ready: Callable[[bool], bool], send: Callable[[bool, str | bytes], None]
    ) -> None:
        self._services = services
        self._ready = ready
        self._send = send
        self._begun = 0
        self._tasks: list[asyncio.Task[None]] = []

    def follow(self, plan: Plan) -> None:
        """Begin with what has come to the plan since; what is over `limits.repeats` is left out."""
        for repeat in _new(self._services, plan, self._begun):
            self._tasks.append(asyncio.ensure_future(self._run(repeat)))
        self._begun = len(plan.repeats)

    async def stop(self, plan: Plan | None) -> None:
        """The conversation is over."""
        if plan is not None:
            # They hold what they are made of, which holds the plan.
            plan.repeats.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, repeat: Repeat) -> None:
        while True:
            await self._services.clock.sleep(_interval(self._services, repeat))
            if not self._ready(repeat.to_client):
                continue
            try:
                content = repeat.content()
                if content:
                    self._send(repeat.to_client, content)
            except Exception as error:
                _tell_failed(repeat, error)
                return


class Beats:
    """The same for the body of an event stream: it tells when, and whoever sends the body takes what is due."""

    __slots__ = ("_begun", "_services", "_timers")

    def __init__(self, services: Services) -> None:
        self._services = services
        self._begun = 0
        self._timers: dict[asyncio.Task[None], Repeat] = {}

    def follow(self, plan: Plan) -> None:
        """See `Repeats.follow`."""
        for repeat in _new(self._services, plan, self._begun):
            self._start(repeat)
        self._begun = len(plan.repeats)

    async def wait(self, reading: asyncio.Task[object]) -> None:
        """Wait until something is due, or has been read."""
        await asyncio.wait({reading, *self._timers}, return_when=asyncio.FIRST_COMPLETED)

    def due(self) -> Iterator[bytes]:
        """What is to be sent now."""
        for timer in [timer for timer in self._timers if timer.done()]:
            repeat = self._timers.pop(timer)
            try:
                content = repeat.content()
                data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
            except Exception as error:
                _tell_failed(repeat, error)
                continue
            self._start(repeat)
            if data:
                yield data

    async def stop(self, plan: Plan | None) -> None:
        """The body is over."""
        if plan is not None:
            plan.repeats.clear()
        for timer in self._timers:
            timer.cancel()
        if self._timers:
            await asyncio.wait(self._timers)
        self._timers.clear()

    def _start(self, repeat: Repeat) -> None:
        timer = asyncio.ensure_future(self._services.clock.sleep(_interval(self._services, repeat)))
        self._timers[timer] = repeat


def _new(services: Services, plan: Plan, begun: int) -> list[Repeat]:
    """What has come to a plan since so many were begun."""
    most = services.options.limits.repeats
    if begun <= most < len(plan.repeats):
        _log.warning("more than %d things are to be sent again and again (limits_repeats): the rest is not", most)
    return plan.repeats[begun:most]


def _interval(services: Services, repeat: Repeat) -> float:
    """The seconds between two of a repeat."""
    return max(repeat.every, services.options.limits.repeat)


def _tell_failed(repeat: Repeat, error: Exception) -> None:
    """Say that something cannot be repeated any more."""
    _log.error("%s: what is sent every %g s cannot be sent: %s", repeat.name, repeat.every, error)
