"""Brings a release from peers: its manifest, its tracks, later their keyboxes; checked, then stored."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from marina.cid import Cid
from marina.errors import DamagedError, MalformedError, NetworkError, NotFoundError
from marina.ids import PeerId
from p2p.errors import PeerMisbehavedError
from storage.blocks.protocol import BlockStore
from storage.content.release import SignedRelease, open_release
from storage.content.track import TrackManifest, decode_track

log = logging.getLogger("marina.p2p.releases")
TIMEOUT_S = 10.0
PEERS_TRIED_MAX = 12


class Peers(Protocol):
    """Finds connected peers that may have something."""

    def connected_providers(self, cid: Cid) -> AsyncGenerator[PeerId, None]:
        """Yield peers, connected by now, likeliest first, each once; closed by the caller."""
        ...


class BlockFetcher(Protocol):
    """Fetches blocks from a connected peer."""

    async def fetch(self, peer: PeerId, cids: Sequence[Cid], *, timeout_s: float) -> dict[Cid, bytes]:
        """Return the verified blocks that it has, of those asked for."""
        ...

    async def close(self) -> None:
        """Give back the streams to peers."""
        ...


@dataclass(frozen=True, slots=True)
class FetchedRelease:
    """A release whose manifests are here and checked.

    Attributes:
        source: the peer that sent the release manifest; None if it was here.
    """

    signed: SignedRelease
    tracks: tuple[tuple[Cid, TrackManifest], ...]
    source: PeerId | None


class ReleaseFetcher:
    """Fetches manifests by CID, from this node's store first."""

    def __init__(
        self,
        *,
        blocks: BlockStore,
        client: BlockFetcher,
        peers: Peers,
        corrupt: Callable[[PeerId, str], None],
    ) -> None:
        self._blocks = blocks
        self._client = client
        self._peers = peers
        self._corrupt = corrupt

    async def fetch(self, cid: Cid) -> FetchedRelease:
        """Return a release with all its track manifests, stored here.

        Keyboxes come when a track is played or the whole release is kept: one round trip less to sound.

        Raises:
            NotFoundError: no peer that answers has all of it.
            MalformedError: the release or a track in it is not what it claims to be.
        """
        blocks, sources = await self._blocks_of(cid, [cid])
        signed = open_release(blocks[cid])
        found, _ = await self._blocks_of(cid, signed.release.tracks)
        tracks: list[tuple[Cid, TrackManifest]] = []
        for track_cid in signed.release.tracks:
            track = decode_track(found[track_cid])
            if (track.account, track.release_id) != (signed.release.account, signed.release.release_id):
                raise MalformedError("the release lists a track that belongs to another release")
            tracks.append((track_cid, track))
        return FetchedRelease(signed, tuple(tracks), sources.get(cid))

    async def fetch_keyboxes(self, cid: Cid, tracks: Sequence[tuple[Cid, TrackManifest]]) -> None:
        """Bring every keybox of a release, for a node that keeps all of it. Errors as for ``fetch``."""
        keyboxes = {each.keybox for _, track in tracks for each in track.renditions}
        await self._blocks_of(cid, sorted(keyboxes))

    async def block(self, root: Cid, cid: Cid) -> bytes:
        """Return one block, asking the providers of ``root``. Errors as for ``fetch``."""
        found, _ = await self._blocks_of(root, [cid])
        return found[cid]

    async def close(self) -> None:
        """Give back the streams to peers."""
        await self._client.close()

    async def _blocks_of(
        self, root: Cid, wanted: Sequence[Cid]
    ) -> tuple[dict[Cid, bytes], dict[Cid, PeerId]]:
        found: dict[Cid, bytes] = {}
        sources: dict[Cid, PeerId] = {}
        for cid in wanted:
            try:
                found[cid] = await self._blocks.get(cid)
            except (NotFoundError, DamagedError):
                continue
        tried = 0
        if len(found) < len(set(wanted)):
            async with aclosing(self._peers.connected_providers(root)) as peers:
                async for peer in peers:
                    tried += 1
                    missing = [cid for cid in wanted if cid not in found]
                    received = await self._ask(peer, missing)
                    await self._blocks.put_many(received)
                    found |= received
                    sources |= dict.fromkeys(received, peer)
                    if len(found) == len(set(wanted)) or tried >= PEERS_TRIED_MAX:
                        break
        if len(found) < len(set(wanted)):
            who = "no peer that may have it is reachable"
            if tried:
                who = "the one peer asked lacks it" if tried == 1 else f"the {tried} peers asked lack it"
            raise NotFoundError(
                f"the release is not complete here and {who}: try again later, or use a fresh link"
            )
        return found, sources

    async def _ask(self, peer: PeerId, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        try:
            return await self._client.fetch(peer, cids, timeout_s=TIMEOUT_S)
        except PeerMisbehavedError as err:
            self._corrupt(peer, str(err))
        except (NetworkError, MalformedError) as err:
            log.debug("a peer did not give manifests: %s", err)
        return {}
