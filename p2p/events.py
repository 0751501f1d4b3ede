"""Connection events for those who care: bounded, never blocking the network."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from multiaddr import Multiaddr

from marina.ids import PeerId
from p2p.metrics import P2PMetrics
from p2p.peerid import from_libp2p


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """The first connection to a peer stands.

    Attributes:
        peer: its proven id.
        address: the other end as ``/ip4/…/tcp/…``; for an inbound connection an ephemeral port.
        is_inbound: whether the peer opened it.
    """

    peer: PeerId
    address: str
    is_inbound: bool


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The last connection to a peer is gone."""

    peer: PeerId


PeerEvent = PeerConnected | PeerDisconnected


class Notifier(INotifee):  # type: ignore[misc]
    """Fans connection events out to subscribers, each with its own bounded buffer.

    Overflow rule: an event that does not fit is dropped for that subscriber and counted; subscribers
    that must not miss anything reconcile with ``Host.connected_peers``.
    """

    def __init__(self, *, buffer: int, metrics: P2PMetrics) -> None:
        if not 0 < buffer < math.inf:
            raise ValueError("an event buffer is bounded and not empty")
        self._buffer = buffer
        self._metrics = metrics
        self._subscribers: set[trio.MemorySendChannel[PeerEvent]] = set()
        self._present: set[PeerId] = set()

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[trio.MemoryReceiveChannel[PeerEvent]]:
        """Receive events while the block runs."""
        send, receive = trio.open_memory_channel[PeerEvent](self._buffer)
        self._subscribers.add(send)
        try:
            async with receive:
                yield receive
        finally:
            self._subscribers.discard(send)
            send.close()

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        """Tell of a peer's first connection."""
        del network
        peer = from_libp2p(conn.muxed_conn.peer_id)
        if peer in self._present:
            return
        self._present.add(peer)
        addresses = conn.get_transport_addresses()
        is_inbound = not conn.muxed_conn.is_initiator
        self._publish(PeerConnected(peer, str(addresses[0]) if addresses else "", is_inbound))

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        """Tell that a peer's last connection is gone."""
        peer_id = conn.muxed_conn.peer_id
        peer = from_libp2p(peer_id)
        if peer in self._present and not network.connections.get(peer_id):
            self._present.discard(peer)
            self._publish(PeerDisconnected(peer))

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Streams are of no interest here."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Streams are of no interest here."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Listening is of no interest here."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Listening is of no interest here."""

    def _publish(self, event: PeerEvent) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._metrics.events_dropped.inc()
