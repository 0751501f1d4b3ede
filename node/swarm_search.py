"""Searching the swarm: what peers name is fetched, checked and listed here; then it is found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid, check_cid
from marina.dagcbor import decode
from marina.errors import MarinaError
from marina.ids import PeerId
from node.library import Library, SwarmAnswer
from node.swarm import Swarm
from p2p.host import Host
from p2p.search.client import SearchClient
from p2p.wire.search import ReleaseHit
from storage.blocks.protocol import BlockStore
from storage.content.track import MANIFEST_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger("marina.node.search")
TIMEOUT_S = 3.0
FETCHES_AT_ONCE = 4
NEW_RELEASES_MAX = 40


class SwarmSearch:
    """Asks peers, and brings what is new."""

    def __init__(self, *, host: Host, library: Library, swarm: Swarm) -> None:
        self._host = host
        self._client = SearchClient(host=host)
        self._library = library
        self._swarm = swarm
        self._limiter = trio.CapacityLimiter(FETCHES_AT_ONCE)

    async def ask(self, query: str, limit: int) -> SwarmAnswer:
        """Return how many new releases came from how many peers; they are in the catalogue now."""
        started_s = trio.current_time()
        seen: set[Cid] = set()
        new: list[Cid] = []
        peers = 0
        with trio.move_on_after(TIMEOUT_S):
            async with self._client.ask(query, limit, timeout_s=TIMEOUT_S) as answers:
                async with trio.open_nursery() as nursery:
                    async for answer in answers:
                        peers += 1
                        for hit in answer.hits:
                            cid = check_cid(hit.release)
                            self._note(cid, answer.peer)
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


def local_hits(library: Library, blocks: BlockStore) -> Callable[[str, int], Awaitable[Sequence[ReleaseHit]]]:
    """Return the search that peers get: releases whose manifests are here, by CID with their signature."""

    async def search(query: str, limit: int) -> Sequence[ReleaseHit]:
        hits: list[ReleaseHit] = []
        for cid in await library.local_releases(query, limit):
            try:
                node = decode(await blocks.get(cid), limit_bytes=MANIFEST_BYTES_MAX)
            except MarinaError:
                continue  # listed, but its manifest was evicted: somebody else answers for it
            if isinstance(node, dict) and isinstance(node.get("payload"), dict):
                payload, signature = node["payload"], node.get("signature")
                account = payload.get("account") if isinstance(payload, dict) else None
                if isinstance(account, bytes) and isinstance(signature, bytes):
                    hits.append(ReleaseHit(cid, account, signature))
        return hits

    return search
