"""`Feed`: the addon that tells subscribers what passes. It looks at heads only, and waits for nobody."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.limits import FEED_BACKLOG


class Subscriber:
    """One reader of the feed.

    Attributes:
        missed: how many entries were dropped since it last took some, because it was too slow.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._entries: deque[dict[str, object]] = deque()
        self._more = asyncio.Event()

    def put(self, entry: dict[str, object]) -> None:
        """Hand it an entry; the oldest one makes place where it is behind."""
        if len(self._entries) >= FEED_BACKLOG:
            self._entries.popleft()
            self.missed += 1
        self._entries.append(entry)
        self._more.set()

    async def take(self, patience: float) -> tuple[list[dict[str, object]], int]:
        """The entries so far and how many were missed; none after `patience` seconds of silence."""
        try:
            async with asyncio.timeout(patience):
                await self._more.wait()
        except TimeoutError:
            return [], 0
        self._more.clear()
        entries, missed = list(self._entries), self.missed
        self._entries.clear()
        self.missed = 0
        return entries, missed


class Feed:
    """One entry for every exchange that is over. Nothing is made while nobody listens.

    Attributes:
        subscribers: who listens.
        on_follow: told when there is somebody who listens, and when there is nobody any more.
    """

    name = "control_feed"
    observes = True

    def __init__(self) -> None:
        self.subscribers: set[Subscriber] = set()
        self.on_follow: Callable[[bool], None] | None = None
        self.requests = 0
        self.errors = 0

    def add(self, subscriber: Subscriber) -> None:
        """From now on it gets what passes."""
        self.subscribers.add(subscriber)
        if len(self.subscribers) == 1 and self.on_follow is not None:
            self.on_follow(True)

    def remove(self, subscriber: Subscriber) -> None:
        """It gets no more."""
        self.subscribers.discard(subscriber)
        if not self.subscribers and self.on_follow is not None:
            self.on_follow(False)

    def pass_on(self, entry: dict[str, object], missed: int) -> None:
        """Give an entry that comes from elsewhere to all, where so many were missed."""
        for subscriber in self.subscribers:
            subscriber.missed += missed
            subscriber.put(entry)

    def response(self, flow: HTTPFlow) -> None:
        """It ended with an answer."""
        self.requests += 1
        if self.subscribers:
            self._tell(flow)

    def error(self, flow: HTTPFlow) -> None:
        """It ended without one."""
        self.requests += 1
        self.errors += 1
        if self.subscribers:
            self._tell(flow)

    def _tell(self, flow: HTTPFlow) -> None:
        request, response = flow.request, flow.response
        entry: dict[str, object] = {
            "id": flow.id,
            "time": round(time.time(), 3),
            "client": flow.client_conn.address[0],
            "method": request.method,
            "url": request.url,
            "status": None if response is None else response.status_code,
            "error": None if flow.error is None else {"kind": flow.error.kind, "message": flow.error.msg},
            "hits": list(flow.hits),
            "tags": list(flow.tags),
        }
        for subscriber in self.subscribers:
            subscriber.put(entry)
