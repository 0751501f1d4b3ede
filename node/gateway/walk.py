"""The blocks of a DAG that are here, depth first and each once: the order of a CAR file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from marina.cid import DAG_PB, RAW, Cid, codec_of
from marina.errors import MalformedError, NotFoundError
from storage.content.links import links_of

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
        if len(seen) > BLOCKS_MAX:
            raise NotFoundError(f"more than {BLOCKS_MAX} blocks are not sent at a time")
        block = await source.get(cid)
        yield cid, block
        if codec_of(cid) != RAW:
            try:
                waiting += reversed(links_of(cid, block))
            except MalformedError as err:
                raise NotFoundError("a block of it cannot be read") from err
