"""Requests of asyncio: one event queue a loop, which the loop watches as a file descriptor. No threads."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from typing import TYPE_CHECKING, AsyncIterator

from ingot import _core

if TYPE_CHECKING:
    from ingot.messages import Response
    from ingot.requests import Job


class _Loop:
    """The requests of one running loop, whose thread alone calls these methods."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = engine
        self._queue = _core.EventQueue()
        self._inboxes: dict[int, asyncio.Queue[_core.EventTuple]] = {}
        self._tags = itertools.count()

    def _take(self) -> None:
        for event in self._queue.take(0):
            inbox = self._inboxes.get(event[0])  # none: it was left, and its last events come still
            if inbox is not None:
                inbox.put_nowait(event)

    async def run(self, job: Job, stream: bool) -> AsyncIterator[Response]:
        loop = asyncio.get_running_loop()
        tag = next(self._tags)
        inbox: asyncio.Queue[_core.EventTuple] = asyncio.Queue()
        if not self._inboxes:
            loop.add_reader(self._queue.fileno(), self._take)
        self._inboxes[tag] = inbox
        try:
            job.start(self._engine, _core.Destination(self._queue, tag, stream))
            while job.num_left > 0:
                yield job.response(await inbox.get())
        finally:
            if job.num_left > 0:
                job.cancel()
            del self._inboxes[tag]
            if not self._inboxes:
                loop.remove_reader(self._queue.fileno())


class Loops:
    """The loops that use a pipeline. Thread safety: each loop's thread uses its own."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = engine
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = weakref.WeakKeyDictionary()

    def run(self, job: Job, stream: bool) -> AsyncIterator[Response]:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops[loop] = _Loop(self._engine)
        return self._loops[loop].run(job, stream)
