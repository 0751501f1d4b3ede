"""Searching the swarm: what peers name is fetched, checked and listed here; then it is found."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from random import SystemRandom

import trio

from marina.cid import Cid, check_cid
from marina.dagcbor import decode
from marina.errors import MarinaError
from marina.ids import PeerId
from node.library import Library, SwarmAnswer
from node.swarm import Swarm
from p2p.host import Host
from p2p.search.client import SwarmSearch as PeerSearch
from p2p.wire.search import HITS_MAX, QUERY_BYTES_MAX, ReleaseHit
from storage.blocks.protocol import BlockStore
from storage.content.track import MANIFEST_BYTES_MAX

log = logging.getLogger("marina.node.search")
TIMEOUT_S = 3.0
FETCHES_AT_ONCE = 4
NEW_RELEASES_MAX = 40


class SwarmSearch:
    """Asks peers, and brings what is new."""

    def __init__(self, *, host: Host, library: Library, swarm: Swarm) -> None:
        self._host = host
        self._client = PeerSearch(host=host, rng=SystemRandom())
        self._library = library
        self._swarm = swarm
        self._limiter = trio.CapacityLimiter(FETCHES_AT_ONCE)

    async def ask(self, query: str, limit: int) -> SwarmAnswer:
        """Return how many new releases came from how many peers; they are in the catalogue now."""
        words = _askable(query)
        peers = len(self._host.connected_peers())
        if not words or not peers:
            return SwarmAnswer(0, 0, 0)
        started_s = trio.current_time()
        seen: set[Cid] = set()
        new: list[Cid] = []
        with trio.move_on_after(2 * TIMEOUT_S):
            async with (
                self._client.search(words, limit=min(limit, HITS_MAX), timeout_s=TIMEOUT_S) as hits,
                trio.open_nursery() as nursery,
            ):
                async for found in hits:
                    cid = check_cid(found.hit.release)
                    self._note(cid, found.peer)
                    if cid not in seen and len(seen) < NEW_RELEASES_MAX:
                        seen.add(cid)
                        nursery.start_soon(self._bring, cid, new)
        return SwarmAnswer(len(new), peers, round((trio.current_time() - started_s) * 1000))

    def _note(self, cid: Cid, peer: PeerId) -> None:
        self._swarm.note_provider(cid, peer, ())

    async def _bring(self, cid: Cid, new: list[Cid]) -> None:
        async with self._limiter:
            try:
                if not await self._library.knows(cid):
                    await self._library.bring(cid)
                    new.append(cid)
            except MarinaError as err:
                log.info("a search hit is left out: %s", err)


def local_hits(
    library: Library, blocks: BlockStore, *, is_answering: bool, is_denied: Callable[[Cid], bool]
) -> Callable[[str, int], Awaitable[Sequence[ReleaseHit]]]:
    """Return the search that peers get: releases whose manifests are here, by CID with their signature.

    What is denied is left out here, where the release behind a manifest is known; a hit names no release id.
    """

    async def search(query: str, limit: int) -> Sequence[ReleaseHit]:
        hits: list[ReleaseHit] = []
        for cid in await library.local_releases(query, limit) if is_answering else []:
            hit = None if is_denied(cid) else await _hit(blocks, cid)
            if hit is not None:
                hits.append(hit)
        return hits

    return search


async def _hit(blocks: BlockStore, cid: Cid) -> ReleaseHit | None:
    try:
        node = decode(await blocks.get(cid), limit_bytes=MANIFEST_BYTES_MAX)
    except MarinaError:
        return None  # listed, but its manifest was evicted: somebody else answers for it
    payload = node.get("payload") if isinstance(node, dict) else None
    account = payload.get("account") if isinstance(payload, dict) else None
    signature = node.get("signature") if isinstance(node, dict) else None
    if isinstance(account, bytes) and isinstance(signature, bytes):
        return ReleaseHit(cid, account, signature)
    return None


def _askable(query: str) -> str:
    """Return the query as it may go over the wire: printable, bounded."""
    printable = "".join(c if c.isprintable() else " " for c in query).strip()
    return printable.encode()[:QUERY_BYTES_MAX].decode(errors="ignore").strip()
