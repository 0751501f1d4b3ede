"""Fair turns at something that one task uses at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    """Lets one request in at a time: those that change the chain and those that read it take turns.

    However many readers wait, a change waits for at most one of them, and the other way round; within
    each kind it is first come, first served.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._was_change = False
        self._waiting: dict[bool, deque[trio.Event]] = {True: deque(), False: deque()}

    @asynccontextmanager
    async def one(self, *, is_change: bool) -> AsyncIterator[None]:
        """Hold the chain while the block runs."""
        if self._is_taken:
            await self._wait(is_change)
        self._is_taken = True
        self._was_change = is_change
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, is_change: bool) -> None:
        event = trio.Event()
        queue = self._waiting[is_change]
        queue.append(event)
        try:
            await event.wait()
        except trio.Cancelled:
            if event.is_set():
                self._pass_on()  # it was this one's turn: give it to the next
            else:
                queue.remove(event)
            raise

    def _pass_on(self) -> None:
        queue = self._waiting[not self._was_change] or self._waiting[self._was_change]
        if queue:
            queue.popleft().set()  # stays taken, for that one
        else:
            self._is_taken = False
