"""Several reads at the same time, their answers in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from marina.errors import MarinaError

AT_ONCE_MAX = 8
"""Reads on their way at once; endpoints count requests."""
T = TypeVar("T")


async def together(reads: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Return what each read answers; the first failure ends all of them and is raised alone.

    Raises:
        MarinaError: of the read that failed first.
    """
    limiter = trio.CapacityLimiter(AT_ONCE_MAX)
    answers: dict[int, T] = {}
    failed: list[MarinaError] = []

    async def run(index: int, nursery: trio.Nursery) -> None:
        async with limiter:
            try:
                answers[index] = await reads[index]()
            except MarinaError as err:
                failed.append(err)
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for index in range(len(reads)):
            nursery.start_soon(run, index, nursery)
    if failed:
        raise failed[0]
    return [answers[index] for index in range(len(reads))]
