"""Follows the blocks of recent releases: what a re-organisation cost is counted, and told to nobody else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from node.guardian.release_log import Release, ReleaseLog

if TYPE_CHECKING:
    # A node that is no guardian loads nothing of a chain.
    from chain.key_facts import Block

log = logging.getLogger("marina.node.guardian")
WATCHED_BLOCKS = 64
"""So far back chains are re-organised; what is older stays."""
WATCHED_S = 3600
"""Releases are watched for so long: more than those blocks take. Nothing is asked while there are none."""


class Chain(Protocol):
    """The blocks of a chain; ``chain.key_facts.KeyChain`` is one."""

    async def block(self) -> Block:
        """Return the newest agreed block; NetworkError without one."""
        ...

    async def hash_at(self, number: int) -> bytes:
        """Return the hash of the block with a number; NetworkError without one."""
        ...


class ReorgWatch:
    """Compares the blocks in which licences were seen with those that the chain has now."""

    def __init__(
        self,
        *,
        releases: ReleaseLog,
        is_licence: Callable[[bytes], Awaitable[bool]],
        lost: Callable[[], None],
    ) -> None:
        """Take the collaborators.

        Args:
            releases: what was released.
            is_licence: whether the chain knows a licence now.
            lost: called for each release whose licence is gone.
        """
        self._releases = releases
        self._is_licence = is_licence
        self._lost = lost

    async def look(self, chain: Callable[[], Chain], now_s: int) -> None:
        """Compare once.

        A licence that was mined again is followed on in its new place. One that is gone is counted: its key
        is out, and who asks next is refused, because the licence is read for every request.

        Args:
            chain: returns the chain; called only if something was released lately.
            now_s: Unix seconds.

        Raises:
            NetworkError: the chain does not answer; releases that were not compared are the next time.
            StorageError: the log of releases cannot be read or written.
        """
        recent = await self._releases.since(max(0, now_s - WATCHED_S))
        if not recent:
            return
        blocks = chain()
        head = await blocks.block()
        hashes: dict[int, bytes] = {}
        for each in recent:
            if each.block < head.number - WATCHED_BLOCKS:
                continue
            if each.block <= head.number:
                if each.block not in hashes:
                    hashes[each.block] = await blocks.hash_at(each.block)
                if hashes[each.block] == each.block_hash:
                    continue
            await self._judge(each, head)

    async def _judge(self, release: Release, head: Block) -> None:
        if await self._is_licence(release.licence):
            await self._releases.note(replace(release, block=head.number, block_hash=head.hash))
            return
        await self._releases.note(replace(release, is_lost=True))
        self._lost()
        log.warning("the chain dropped a block, and with it a licence for which a key was released")
