"""The node's libp2p host: the only door to other peers.

TCP, Noise and yamux, an Ed25519 device key, one admission policy, one way to dial, one way to open and
to serve streams. Everything else in Marina speaks to peers through ``Host``; only the DHT and gossip
modules of this package reach for ``raw``.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.peer.peerstore import PeerStoreError
from libp2p.protocol_muxer.exceptions import MultiselectClientError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from multiaddr import Multiaddr

from marina.clock import Clock
from marina.errors import MalformedError
from marina.ids import PeerId
from marina.secret import Secret
from p2p import addresses, stack
from p2p.config import HostConfig
from p2p.errors import (
    DialError,
    LimitReachedError,
    ListenError,
    PeerBannedError,
    PeerGoneError,
    StreamRefusedError,
)
from p2p.events import Notifier, PeerEvent
from p2p.limits import ConnectionLimits, StreamLimits
from p2p.metrics import P2PMetrics
from p2p.negotiation import OneFlightClient
from p2p.peerid import from_libp2p, peer_id_from_seed, short, to_libp2p
from p2p.scores import BanReason, ScoreBook
from p2p.stream import BROKEN, MarinaStream
from p2p.supervisor import Outcome, Supervisor
from p2p.swarm import StreamDoor

if TYPE_CHECKING:  # the stubs that mypy finds for trio keep this name here
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

Handler = Callable[[MarinaStream], Awaitable[None]]
ADDRESSES_PER_DIAL_MAX = 16
_STAGGER_S = 0.15
"""Head start of each address over the next one; on loopback a dial takes 5 to 15 ms."""
_DISCONNECTS_WAITING_MAX = 256


class Host:
    """One libp2p node.

    Attributes:
        peer_id: this node's id, known before it runs.
        scores: conduct of peers; bans in it are enforced at the next connection or stream.
        supervisor: where per-peer work of other services is guarded too.
    """

    def __init__(
        self,
        *,
        seed: Secret[bytes],
        clock: Clock,
        config: HostConfig | None = None,
        scores: ScoreBook | None = None,
        metrics: P2PMetrics | None = None,
    ) -> None:
        self.config = config or HostConfig()
        self.peer_id = peer_id_from_seed(seed)
        self.metrics = metrics or P2PMetrics()
        self.scores = scores or ScoreBook(clock=clock)
        self.supervisor = Supervisor(scores=self.scores, metrics=self.metrics, on_ban=self._disconnect_soon)
        self._streams = StreamLimits(self.config.streams_in_per_peer_max)
        self._notifier = Notifier(buffer=self.config.events_buffer, metrics=self.metrics)
        self._own: frozenset[tuple[str, int]] = frozenset()
        self._forbidden: set[tuple[str, int]] = set()
        self._dials: dict[PeerId, trio.Lock] = {}
        self._dial_slots = trio.CapacityLimiter(self.config.dials_pending_max)
        self._to_disconnect_send, self._to_disconnect = trio.open_memory_channel[PeerId](
            _DISCONNECTS_WAITING_MAX
        )
        self._swarm = stack.build_swarm(seed, self.config, self.supervisor.misbehaved)
        self._swarm.admit_with(
            gate=self,
            limits=ConnectionLimits(self.config),
            metrics=self.metrics,
            race=self._race,
        )
        self._raw = BasicHost(
            self._swarm,
            negotiate_timeout=self.config.negotiate_timeout_s,
            disable_identify_address_discovery=True,
        )
        self._raw.multiselect_client = OneFlightClient()
        door = StreamDoor(inner=self._raw._swarm_stream_handler, streams=self._streams, metrics=self.metrics)  # noqa: SLF001 - the host offers no public name for its dispatcher
        self._swarm.set_stream_handler(door.handle)
        self._swarm.register_notifee(self._notifier)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve until cancelled; started once every address is bound.

        Raises:
            ListenError: an address is malformed, taken or not ours.
        """
        async with self._raw.run([]):
            for text in self.config.listen_addrs:
                await self._listen(text)
            own = map(addresses.parse, self.listen_addrs)
            self._own = frozenset((each.host, each.port) for each in own)
            log.info("listening", extra={"context": {"peer": self.peer_id, "addrs": self.listen_addrs}})
            task_status.started()
            async for peer in self._to_disconnect:
                await self.disconnect(peer)

    @property
    def listen_addrs(self) -> list[str]:
        """Bound addresses with this node's /p2p/ id, wildcards replaced by this machine's addresses."""
        return [addresses.with_peer(str(each), self.peer_id) for each in stack.bound_addresses(self._swarm)]

    @property
    def raw(self) -> BasicHost:
        """py-libp2p's host, for the DHT, gossip and mDNS modules of this package only."""
        return self._raw

    def connected_peers(self) -> list[PeerId]:
        """Return every peer with an open connection."""
        return [from_libp2p(peer) for peer, open_ones in self._swarm.connections.items() if open_ones]

    def is_connected(self, peer: PeerId) -> bool:
        """Return whether an open connection to the peer exists."""
        return self._swarm.connection_to(peer) is not None

    def rtt_s(self, peer: PeerId) -> float | None:
        """Return the last round trip measured to a connected peer; None while unknown."""
        connection = self._swarm.connection_to(peer)
        return (connection.muxed_conn.rtt() or None) if connection is not None else None

    def protocols_of(self, peer: PeerId) -> frozenset[str]:
        """Return what a peer says that it speaks; nothing while it has not identified itself."""
        try:
            return frozenset(map(str, self._raw.get_peerstore().get_protocols(to_libp2p(peer))))
        except PeerStoreError:
            return frozenset()

    @asynccontextmanager
    async def events(self) -> AsyncIterator[trio.MemoryReceiveChannel[PeerEvent]]:
        """Receive ``PeerConnected`` and ``PeerDisconnected`` while the block runs.

        The channel is bounded; a slow receiver loses events, so reconcile with ``connected_peers``.
        """
        async with self._notifier.subscribe() as channel:
            yield channel

    def forbid_dial(self, host: str, port: int) -> None:
        """Never dial this endpoint whatever a peer says: for the node's own API listeners."""
        self._forbidden.add((host, port))

    def is_banned(self, peer: PeerId) -> bool:
        """Return whether no connection with this peer is wanted."""
        return self.scores.is_banned(peer)

    def may_dial(self, peer: PeerId, address: str) -> bool:
        """Return whether an address may be dialled: numeric TCP, not this node's own, not forbidden.

        Names are resolved before they come here, so that no name can stand for a forbidden endpoint.
        """
        try:
            parts = addresses.parse(address)
        except MalformedError:
            return False
        if parts.is_name:
            return False
        if peer == self.peer_id or (parts.peer is not None and parts.peer != peer):
            return False
        if any(
            port == parts.port and addresses.same_host(host, parts.host) for host, port in self._forbidden
        ):
            return False
        return (parts.host, parts.port) not in self._own

    async def dial(self, peer: PeerId, addrs: Sequence[str], timeout_s: float | None = None) -> None:
        """Connect to a peer at the first of its addresses that answers as that peer.

        Returns at once when a connection exists. Addresses start 150 ms apart and race; at most
        sixteen are tried.

        Raises:
            PeerBannedError: the peer is banned here.
            LimitReachedError: the limit of outbound connections is reached.
            DialError: none answered as this peer within the timeout (default ``dial_timeout_s``).
            MalformedError: the peer id is no peer id.
        """
        to_libp2p(peer)
        if self.scores.is_banned(peer):
            raise PeerBannedError(f"peer {short(peer)} is banned on this node")
        lock = self._dials.setdefault(peer, trio.Lock())
        try:
            with trio.move_on_after(timeout_s or self.config.dial_timeout_s) as scope:
                async with lock, self._dial_slots:
                    await self._race(peer, addrs)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._dials.pop(peer, None)
        if scope.cancelled_caught and not self.is_connected(peer):
            self.metrics.dials.labels(outcome="timeout").inc()
            raise DialError(f"peer {short(peer)} did not answer in time at any of {len(addrs)} addresses")

    async def open_stream(
        self, peer: PeerId, protocol: str, timeout_s: float | None = None, *, is_lazy: bool = False
    ) -> MarinaStream:
        """Open a stream of one protocol over an existing connection; costs one round trip.

        A lazy one costs none: the protocol is proposed with the first bytes written, and a refusal is
        raised by the first read.

        Raises:
            PeerGoneError: there is no connection (dial first), or it broke.
            StreamRefusedError: the peer does not speak the protocol, has no room or did not answer
                within the timeout (default ``negotiate_timeout_s``).
        """
        connection = self._swarm.connection_to(peer)
        if connection is None:
            raise PeerGoneError(f"there is no connection to peer {short(peer)}: dial it first")
        limit_s = timeout_s or self.config.negotiate_timeout_s
        raw = None
        selected = None
        try:
            with trio.move_on_after(limit_s):
                raw = await connection.new_stream()
                if is_lazy:
                    selected = TProtocol(protocol)
                else:
                    selected = await self._raw.multiselect_client.select_one_of(
                        [TProtocol(protocol)], MultiselectCommunicator(raw), int(limit_s) + 1
                    )
        except MultiselectClientError as err:
            raise StreamRefusedError(f"peer {short(peer)} does not speak {protocol} or has no room") from err
        except BROKEN as err:
            raise PeerGoneError(f"the connection to peer {short(peer)} broke") from err
        finally:
            if selected is None and raw is not None:
                await self._wrap(raw, peer, protocol).reset()
        if selected is None or raw is None:
            raise StreamRefusedError(f"peer {short(peer)} did not open {protocol} within {limit_s:g} s")
        raw.set_protocol(selected)
        return MarinaStream(raw, peer=peer, protocol=protocol, is_agreed=not is_lazy)

    def serve(self, protocol: str, handler: Handler, *, max_streams_per_peer: int) -> None:
        """Answer a protocol. No exception of the handler reaches libp2p or another peer.

        The stream is closed when the handler returns and reset when it raises. A ``MalformedError`` or
        ``PeerMisbehavedError`` counts as a broken rule of the peer; any other unexpected exception is
        logged as a defect of ours.
        """

        async def handle(raw: INetStream) -> None:
            peer = from_libp2p(raw.muxed_conn.peer_id)
            stream = self._wrap(raw, peer, protocol)
            if self.scores.is_banned(peer) or not self._streams.admit_protocol(
                peer, protocol, max_streams_per_peer
            ):
                self.metrics.refused.labels(reason="streams").inc()
                await stream.reset()
                return
            outcome = Outcome.DEFECT
            try:
                outcome = await self.supervisor.guard(peer, protocol, lambda: handler(stream))
            finally:
                await (stream.close() if outcome is Outcome.DONE else stream.reset())
                self._streams.release_protocol(peer, protocol)

        self._raw.set_stream_handler(TProtocol(protocol), handle)

    def stop_serving(self, protocol: str) -> None:
        """Answer a protocol no longer; open streams go on."""
        self._raw.remove_stream_handler(TProtocol(protocol))

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to a peer; takes at most about a second, never raises."""
        with trio.move_on_after(1.0):
            await self._swarm.close_peer(to_libp2p(peer))

    async def ban(self, peer: PeerId, duration_s: float) -> None:
        """Ban a peer on the operator's word and close its connections."""
        self.scores.ban(peer, duration_s, BanReason.OPERATOR)
        self.metrics.bans.labels(reason=BanReason.OPERATOR.value).inc()
        await self.disconnect(peer)

    def _wrap(self, raw: INetStream, peer: PeerId, protocol: str) -> MarinaStream:
        return MarinaStream(raw, peer=peer, protocol=protocol)

    def _disconnect_soon(self, peer: PeerId) -> None:
        try:
            self._to_disconnect_send.send_nowait(peer)
        except trio.WouldBlock:  # the ban still holds at the next stream; 256 others go first
            log.warning("many peers are being disconnected", extra={"context": {"peer": short(peer)}})

    async def _listen(self, text: str) -> None:
        try:
            parts = addresses.parse(text)
        except MalformedError as err:
            raise ListenError(f"{text!r} is no address to listen on: use /ip4/ADDRESS/tcp/PORT") from err
        await stack.check_port_free(parts)
        if not await self._swarm.listen(Multiaddr(text)):
            raise ListenError(f"cannot listen on {text}: the address is not one of this machine")

    async def _race(self, peer: PeerId, addrs: Sequence[str]) -> None:
        """Dial addresses in a staggered race; return as soon as one connection stands."""
        if self.is_connected(peer):
            return
        if not self._swarm.has_room_out():
            raise LimitReachedError("this node has as many outbound connections as its limit allows")
        numeric = await addresses.resolve(addrs[:ADDRESSES_PER_DIAL_MAX])
        candidates = [each for each in dict.fromkeys(numeric) if self.may_dial(peer, each)]
        candidates = candidates[:ADDRESSES_PER_DIAL_MAX]
        async with trio.open_nursery() as nursery:
            failures = [trio.Event() for _ in candidates]
            for address, failed in zip(candidates, failures, strict=True):
                nursery.start_soon(self._try_address, peer, address, failed, nursery.cancel_scope)
                with trio.move_on_after(_STAGGER_S):
                    await failed.wait()
        if not self.is_connected(peer):
            self.metrics.dials.labels(outcome="failed").inc()
            raise DialError(f"peer {short(peer)} answers at none of its {len(candidates)} usable addresses")
        self.metrics.dials.labels(outcome="connected").inc()

    async def _try_address(
        self, peer: PeerId, address: str, failed: trio.Event, race: trio.CancelScope
    ) -> None:
        try:
            with trio.fail_after(self.config.dial_timeout_s):
                await self._swarm.dial_addr(Multiaddr(address), to_libp2p(peer))
            race.cancel()
        except (trio.TooSlowError, *BROKEN) as err:
            log.debug("dial failed", extra={"context": {"peer": short(peer), "cause": str(err)[:200]}})
        finally:
            failed.set()
