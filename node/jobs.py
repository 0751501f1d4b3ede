"""Work that a client watches: it runs here, under its own nursery, and tells how it goes.

A client that goes away ends its job; what is finished is kept, and the same request goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import trio

from marina.errors import MarinaError

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.jobs")
Event = dict[str, Any]
Report = Callable[[Event], Awaitable[None]]
Work = Callable[[Report], Awaitable[Event]]
JOBS_MAX = 16
_EVENTS_MAX = 8


class JobFailedError(MarinaError):
    """A defect of ours ended the job; the log has it."""

    code = "internal"


class Jobs:
    """Runs jobs until the node stops."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[_Job](0)
        self._places = trio.CapacityLimiter(JOBS_MAX)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what is asked for."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            async for job in self._receive:
                nursery.start_soon(job.run)

    async def events(self, work: Work) -> AsyncGenerator[Event, None]:
        """Start a job and yield what it reports; its result is the last event.

        Raises:
            MarinaError: what the job raised.
        """
        async with self._places:
            send, receive = trio.open_memory_channel[Event | MarinaError](_EVENTS_MAX)
            job = _Job(work, send)
            await self._send.send(job)
            try:
                async with aclosing(receive):
                    async for event in receive:
                        if isinstance(event, MarinaError):
                            raise event
                        yield event
            finally:
                job.scope.cancel()


class _Job:
    def __init__(self, work: Work, send: trio.MemorySendChannel[Event | MarinaError]) -> None:
        self.scope = trio.CancelScope()
        self._work = work
        self._send = send

    async def run(self) -> None:
        """Run to the end, a failure or cancellation; never lets an exception reach other jobs."""
        with self.scope:
            async with self._send:
                try:
                    result = await self._work(self._report)
                    await self._send.send({"event": "result", **result})
                except trio.BrokenResourceError:
                    return  # nobody watches any more
                except Exception as err:  # noqa: BLE001 - the boundary that keeps one job's failure its own
                    await self._send.send(_told(err))

    async def _report(self, event: Event) -> None:
        await self._send.send({"event": "progress", **event})


def _told(err: BaseException) -> MarinaError:
    """Return the failure as a client may see it: the first expected one inside, or one sentence."""
    if isinstance(err, BaseExceptionGroup):
        expected, other = err.split(MarinaError)
        if other is None and expected is not None:
            return _told(expected.exceptions[0])
    if isinstance(err, MarinaError):
        return err
    log.error("a job failed", exc_info=err)
    return JobFailedError("the node failed to do this; 'marina logs' shows why")
