"""Finds the node that holds a share by its Ed25519 key, and asks it.

Connected first, then at addresses that are known from earlier, then where the DHT, gossip and the local
network say that a guardian with this key is.
"""

from __future__ import annotations

from typing import Protocol

import trio

from marina.ids import PeerId
from node.swarm import Swarm
from p2p.errors import PeerGoneError, PeerStalledError
from p2p.host import Host
from p2p.key_client import KeyClient
from p2p.peerid import short
from p2p.peerkey import peer_of_key
from p2p.providers import ProviderFinder, Query
from p2p.wire.key import holder_cid

_KNOWN_ADDRESS_S = 1.5


class OwnGuardian(Protocol):
    """The guardian that this node may be; ``node.guardian.service.GuardianService`` is one."""

    @property
    def is_on(self) -> bool:
        """Whether requests are answered."""
        ...

    async def answer(self, message: bytes, peer_key: bytes, origin: str) -> bytes:
        """Return the answer to a message of a peer."""
        ...


class HolderLine:
    """Brings messages to guardians and delegates."""

    def __init__(self, *, host: Host, client: KeyClient, swarm: Swarm, finder: ProviderFinder) -> None:
        self._host = host
        self._client = client
        self._swarm = swarm
        self._finder = finder
        self.own: OwnGuardian | None = None
        """This node's guardian: its share counts like any other, and needs no network."""

    def is_near(self, peer_key: bytes) -> bool:
        """Return whether the holder is connected."""
        peer = peer_of_key(peer_key)
        return peer == self._host.peer_id or self._host.is_connected(peer)

    async def ask(self, peer_key: bytes, message: bytes, *, timeout_s: float) -> bytes:
        """Return what a holder answers; the way to it counts towards the time.

        Raises:
            P2PError: it is nowhere to be found, or did not answer.
            MalformedError: its answer is larger than the protocol allows.
        """
        peer = peer_of_key(peer_key)
        if peer == self._host.peer_id:
            return await self._ask_own(peer_key, message, timeout_s)
        ends_s = trio.current_time() + timeout_s
        if not self._host.is_connected(peer):
            await self._reach(peer, peer_key, timeout_s)
        return await self._client.ask(peer, message, timeout_s=max(0.05, ends_s - trio.current_time()))

    async def _ask_own(self, peer_key: bytes, message: bytes, timeout_s: float) -> bytes:
        if self.own is None or not self.own.is_on:
            raise PeerGoneError("this node's own guardian is switched off")
        with trio.move_on_after(timeout_s):
            return await self.own.answer(message, peer_key, "")
        raise PeerStalledError("this node's own guardian did not answer in time")

    async def _reach(self, peer: PeerId, peer_key: bytes, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            known = await self._swarm.addresses_of(peer)
            with trio.move_on_after(_KNOWN_ADDRESS_S):
                if known and await self._swarm.reach(peer, known):
                    return
            query = Query((holder_cid(peer_key),))
            async with self._finder.find(query, timeout_s=timeout_s) as providers:
                async for provider in providers:
                    if provider.peer == peer and await self._swarm.reach(peer, provider.addresses):
                        return
        raise PeerGoneError(f"guardian {short(peer)} is not to be reached")
