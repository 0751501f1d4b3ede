"""Small blocks from any peer: over Marina's block exchange, over bitswap where a peer has only that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import trio

from marina.cid import Cid
from marina.ids import PeerId
from p2p.bitswap import messages
from p2p.bitswap.client import BitswapClient
from p2p.bitswap.session import Session
from p2p.block_exchange import BlockClient
from p2p.errors import PeerStalledError, StreamRefusedError
from p2p.host import Host
from p2p.wire import block


class PeerBlocks:
    """Fetches blocks from one peer in the language that it speaks."""

    def __init__(self, *, host: Host, blocks: BlockClient, bitswap: BitswapClient) -> None:
        self._host = host
        self._blocks = blocks
        self._bitswap = bitswap

    async def fetch(self, peer: PeerId, cids: Sequence[Cid], *, timeout_s: float) -> dict[Cid, bytes]:
        """Return the verified blocks that a connected peer has, of those asked for.

        Raises:
            P2PError: it speaks neither, stalled or went away.
            PeerMisbehavedError: it sent bytes that do not hash to their CID.
        """
        if not is_foreign(self._host, peer, block.PROTOCOL):
            try:
                return await self._blocks.fetch(peer, cids, timeout_s=timeout_s)
            except StreamRefusedError:
                if messages.PROTOCOL not in self._host.protocols_of(peer):
                    raise
        return await self._over_bitswap(peer, cids, timeout_s)

    async def close(self) -> None:
        """Give back the streams to peers."""
        await self._blocks.close()
        await self._bitswap.close()

    async def _over_bitswap(self, peer: PeerId, cids: Sequence[Cid], timeout_s: float) -> dict[Cid, bytes]:
        found: dict[Cid, bytes] = {}
        session = Session(self._bitswap, (peer,))
        with trio.move_on_after(timeout_s) as scope:
            async with aclosing(session.fetch(dict.fromkeys(cids))) as blocks:
                async for cid, data in blocks:
                    if len(data) > block.BLOCK_BYTES_MAX:
                        continue
                    found[cid] = bytes(data)
        if scope.cancelled_caught and not found:
            raise PeerStalledError("the peer did not send the blocks in time")
        return found


def is_foreign(host: Host, peer: PeerId, protocol: str) -> bool:
    """Return whether a peer has said that it speaks bitswap and not this protocol of Marina's."""
    spoken = host.protocols_of(peer)
    return messages.PROTOCOL in spoken and protocol not in spoken
