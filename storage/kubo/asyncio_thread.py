"""The one bridge to asyncio: an event loop in a thread of its own, asked from trio.

At most ``calls_max`` calls run at a time and further callers wait in trio, so nothing queues up in the
thread. A call ends at its deadline, when its caller is cancelled, or when the thread is stopped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

import trio

T = TypeVar("T")
_JOIN_S = 5.0


class AsyncioThread:
    """Runs coroutines of asyncio libraries; the thread starts with the first call."""

    def __init__(self, name: str, *, calls_max: int) -> None:
        """Take a name for the thread and the most calls at a time; nothing starts."""
        self._name = name
        self._calls = trio.CapacityLimiter(calls_max)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread was started and not stopped."""
        return self._thread is not None

    async def run(self, make: Callable[[], Coroutine[Any, Any, T]], *, timeout_s: float) -> T:
        """Return what a coroutine returns.

        Args:
            make: called in the thread of the loop, so that what it builds belongs to that loop.
            timeout_s: when the coroutine is cancelled.

        Raises:
            TimeoutError: the deadline passed.
            ConnectionAbortedError: the thread was stopped.
            Exception: whatever the coroutine raises.
        """
        async with self._calls:
            loop = self._start()
            token, done = trio.lowlevel.current_trio_token(), trio.Event()

            async def bounded() -> T:
                async with asyncio.timeout(timeout_s):
                    return await make()

            def wake(_: Future[T]) -> None:
                with suppress(trio.RunFinishedError):  # nobody waits any more
                    token.run_sync_soon(done.set)

            future = asyncio.run_coroutine_threadsafe(bounded(), loop)
            future.add_done_callback(wake)
            try:
                await done.wait()
            except trio.Cancelled:
                future.cancel()
                raise
            try:
                return future.result()
            except CancelledError as err:
                raise ConnectionAbortedError("the thread was stopped") from err

    async def stop(self) -> None:
        """Cancel what runs and end the thread; idempotent, and a later call starts it again."""
        thread, loop = self._thread, self._loop
        self._thread = self._loop = None
        if thread is None or loop is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(lambda: thread.join(_JOIN_S))

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_JOIN_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
