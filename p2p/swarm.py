"""py-libp2p's Swarm with admission at every door, and its accept path repaired.

What was found in py-libp2p 0.8.1 and is mended here (tests/integration/test_host.py shows each
of them mended):

* an accepted connection's slot in the inbound limiter is given back only when the swarm stops, so a
  node refuses everybody after ``max_connections - min_connections`` inbound connections in its life;
* an exception in any stream handler, the library's own included, takes the node down;
* ``dial_peer`` waits 250 ms even after success and blocks a peer for 60 s after one failure;
* the auto-connector dials whoever the peer store knows, even with both watermarks at zero.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from marina.ids import PeerId
from p2p.errors import P2PError
from p2p.limits import ConnectionLimits, Direction, Refusal, StreamLimits
from p2p.metrics import P2PMetrics
from p2p.peerid import from_libp2p, to_libp2p

log = logging.getLogger("marina.p2p")


class Gate(Protocol):
    """What the swarm asks before it lets anybody in or dials out."""

    def is_banned(self, peer: PeerId) -> bool:
        """Return whether no connection with this peer is wanted."""
        ...

    def may_dial(self, peer: PeerId, address: str) -> bool:
        """Return whether this address may be dialled at all."""
        ...


class NoAutoConnector(AutoConnector):  # type: ignore[misc]
    """Dials nobody: discovery decides whom this node connects to."""

    async def maybe_connect(self) -> None:
        """Leave the connections as they are."""


class GuardedSwarm(Swarm):  # type: ignore[misc]
    """A swarm that admits by ``ConnectionLimits`` and races dials."""

    def admit_with(
        self,
        *,
        gate: Gate,
        limits: ConnectionLimits,
        metrics: P2PMetrics,
        race: Callable[[PeerId, Sequence[str]], Awaitable[None]],
    ) -> None:
        """Set the doorkeepers; called once before the swarm runs."""
        self._gate = gate
        self._limits = limits
        self._metrics = metrics
        self._race = race
        self._admitted: dict[IMuxedConn, tuple[PeerId, Direction]] = {}
        self.auto_connector = NoAutoConnector(self)

    async def _handle_inbound_connection(self, read_write_closer: ReadWriteCloser, maddr: Multiaddr) -> None:
        """Serve one accepted socket until its connection is over."""
        remote = read_write_closer.get_remote_address()
        scope = trio.CancelScope()
        ticket = self._limits.admit_socket(remote[0] if remote else "", scope.cancel)
        if isinstance(ticket, Refusal):
            self._metrics.refused.labels(reason=ticket.value).inc()
            return  # the listener closes the socket when this returns
        try:
            with scope:
                muxed = await self.upgrade_inbound_raw_conn(RawConnection(read_write_closer, False), maddr)
                self._limits.settle(ticket)
                await muxed.event_closed.wait()
            if scope.cancelled_caught:
                self._metrics.refused.labels(reason=Refusal.EVICTED.value).inc()
        finally:
            self._limits.release_socket(ticket)

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """Register an upgraded connection, unless its peer is banned or has enough of them."""
        way = Direction.IN if direction == "inbound" else Direction.OUT
        peer = from_libp2p(muxed_conn.peer_id)
        if muxed_conn not in self._admitted:
            refusal = Refusal.BANNED if self._gate.is_banned(peer) else self._limits.admit_peer(peer, way)
            if refusal is not None:
                self._metrics.refused.labels(reason=refusal.value).inc()
                await muxed_conn.close()
                raise SwarmException(f"connection not admitted: {refusal.value}")
            self._admitted[muxed_conn] = (peer, way)
            self._show(way)
        try:
            return await super().add_conn(muxed_conn, direction)
        except BaseException:
            self._forget(muxed_conn)
            raise

    def remove_conn(self, swarm_conn: SwarmConn) -> None:
        """Forget a closed connection and give its place back."""
        super().remove_conn(swarm_conn)
        self._forget(swarm_conn.muxed_conn)

    async def notify_opened_stream(self, stream: INetStream) -> None:  # noqa: ARG002 - nobody is told
        """Tell nobody: no listener of the library or of ours does anything with it.

        The library starts a task for each of them, which costs more than the rest of a stream; Kubo opens
        one for every block that it sends.
        """
        await trio.lowlevel.checkpoint()

    async def notify_closed_stream(self, stream: INetStream) -> None:  # noqa: ARG002 - nobody is told
        """Tell nobody, as above."""
        await trio.lowlevel.checkpoint()

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """Connect to a peer at the addresses the peer store knows, several at once.

        The library's own services (DHT, gossip, identify) come through here.
        """
        connections = self.get_connections(peer_id)
        if connections:
            return list(connections)
        addresses = [str(address) for address in self.peerstore.addrs(peer_id)]
        try:
            await self._race(from_libp2p(peer_id), addresses)
        except P2PError as err:
            raise SwarmException(str(err)) from err  # what the library's own services expect
        return list(self.get_connections(peer_id))

    async def _dial_addr_single_attempt(
        self, addr: Multiaddr, peer_id: ID, source: tuple[str, int] | None = None
    ) -> INetConn:
        """Refuse what must not be dialled; everything that dials comes through here."""
        peer = from_libp2p(peer_id)
        if self._gate.is_banned(peer) or not self._gate.may_dial(peer, str(addr)):
            raise SwarmException("this address is not dialled from here")
        if not self._limits.has_room_out():
            raise SwarmException("the limit of outbound connections is reached")
        return await super()._dial_addr_single_attempt(addr, peer_id, source)

    def has_room_out(self) -> bool:
        """Return whether another outbound connection may be opened."""
        return self._limits.has_room_out()

    def connection_to(self, peer: PeerId) -> SwarmConn | None:
        """Return an open connection to a peer, the oldest first."""
        for connection in self.get_connections(to_libp2p(peer)):
            if not connection.is_closed and not connection.muxed_conn.is_closed:
                return connection
        return None

    def _forget(self, muxed_conn: IMuxedConn) -> None:
        admitted = self._admitted.pop(muxed_conn, None)
        if admitted is not None:
            peer, way = admitted
            self._limits.release_peer(peer, way)
            self._show(way)

    def _show(self, way: Direction) -> None:
        self._metrics.connections.labels(direction=way.value).set(self._limits.established(way))


class StreamDoor:
    """Stands before every inbound stream, whatever protocol it will speak.

    Counts streams per peer from the first byte of negotiation on, and lets no exception out.
    """

    def __init__(
        self,
        *,
        inner: Callable[[INetStream], Awaitable[None]],
        streams: StreamLimits,
        metrics: P2PMetrics,
    ) -> None:
        self._inner = inner
        self._streams = streams
        self._metrics = metrics

    async def handle(self, stream: INetStream) -> None:
        """Negotiate and serve one inbound stream."""
        peer = from_libp2p(stream.muxed_conn.peer_id)
        if not self._streams.admit(peer):
            self._metrics.refused.labels(reason=Refusal.STREAMS.value).inc()
            await _reset(stream)
            return
        try:
            await self._inner(stream)
        except* Exception as group:  # also beside a cancellation
            self._metrics.handler_errors.labels(protocol="libp2p").inc()
            log.debug("a library stream handler failed", exc_info=group)
            await _reset(stream)
        finally:
            self._streams.release(peer)


async def _reset(stream: Any) -> None:
    with trio.CancelScope(deadline=trio.current_time() + 1.0, shield=True):
        try:
            await stream.reset()
        except Exception as err:
            log.debug("a dead stream could not be reset", exc_info=err)
