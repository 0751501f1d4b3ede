"""The blocks of a DAG that are here, depth first and each once: the order of a CAR file."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from marina.cid import DAG_PB, RAW, Cid, codec_of
from marina.errors import MalformedError, NotFoundError
from storage.content.links import links_of
from storage.content.unixfs_node import children_of

SCOPES = ("block", "entity", "all")
BLOCKS_MAX = 1_000_000
"""More than the largest release has; 36 bytes each are remembered."""


class Source(Protocol):
    """Where blocks are read."""

    async def get(self, cid: Cid) -> bytes:
        """Return a block; NotFoundError or DamagedError if it is not here."""
        ...


async def walk(source: Source, root: Cid, data: bytes, scope: str) -> AsyncGenerator[tuple[Cid, bytes], None]:
    """Yield a root and what is below it.

    Args:
        source: of the other blocks.
        root: the first.
        data: its bytes.
        scope: ``block`` for it alone, ``all`` for everything below it, ``entity`` for what it takes to read
            it: a file whole, of other data the root alone.

    Raises:
        NotFoundError, DamagedError: a block of it is not here.
        MalformedError: a block is no node of its codec.
    """
    yield root, data
    if scope == "block" or (scope == "entity" and codec_of(root) != DAG_PB):
        return
    seen = {root}
    waiting = list(reversed(links_of(root, data)))
    while waiting:
        cid = waiting.pop()
        if cid in seen:
            continue
        seen.add(cid)
        _check_size(len(seen) + len(waiting))
        block = await source.get(cid)
        yield cid, block
        if codec_of(cid) != RAW:
            try:
                waiting += reversed(links_of(cid, block))
            except MalformedError as err:
                raise NotFoundError("a block of it cannot be read") from err


async def walk_range(
    source: Source, root: Cid, data: bytes, first: int, last: int | None
) -> AsyncGenerator[tuple[Cid, bytes], None]:
    """Yield what it takes to read some bytes of a UnixFS file: the path from its root, and the leaves.

    Args:
        source: of the other blocks.
        root: of the file.
        data: its bytes.
        first: offset of the first byte; counted from the end when negative.
        last: offset of the last byte, likewise; None for the end.

    Raises:
        NotFoundError, DamagedError: a block of it is not here.
        MalformedError: it is no UnixFS file.
    """
    yield root, data
    if codec_of(root) != DAG_PB:
        return
    size = sum(below for _, below in children_of(data))
    start = max(0, first + size if first < 0 else first)
    end = size if last is None else min(size, (last + size if last < 0 else last) + 1)
    waiting = _within(children_of(data), start, end)
    sent, seen = {root}, set()
    while waiting:
        step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        _check_size(len(seen) + len(waiting))
        cid, start, end = step
        block = await source.get(cid)
        if cid not in sent:
            sent.add(cid)
            yield cid, block
        if codec_of(cid) == DAG_PB:
            try:
                waiting += _within(children_of(block), start, end)
            except MalformedError:
                continue  # a leaf as others make them, with bytes of its own


def _check_size(blocks: int) -> None:
    if blocks > BLOCKS_MAX:
        raise NotFoundError(f"more than {BLOCKS_MAX} blocks are not sent at a time")


def _within(children: Sequence[tuple[Cid, int]], start: int, end: int) -> list[tuple[Cid, int, int]]:
    """Return the children that hold some of the bytes, the last first, each with the range of its own.

    A node may stand in a file more than once, and another part of it be asked for each time.
    """
    found, at = [], 0
    for cid, size in children:
        if at < end and at + size > start:
            found.append((cid, max(0, start - at), min(size, end - at)))
        at += size
    return found[::-1]
