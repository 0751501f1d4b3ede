"""Builds py-libp2p's stack: TCP, Noise and yamux, nothing else is offered or accepted."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from itertools import islice

import trio
from libp2p.abc import IMuxedConn
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.rcmgr.connection_limits import ConnectionLimits as LibraryLimits
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secure_session import SecureSession
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL
from libp2p.transport.exceptions import MuxerUpgradeFailure
from libp2p.transport.manager import TransportManager
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.address_validation import expand_wildcard_address
from multiaddr import Multiaddr

from marina.ids import PeerId
from marina.secret import Secret
from p2p.addresses import TcpAddress
from p2p.config import MIB, HostConfig
from p2p.errors import ListenError
from p2p.muxer.connection import YamuxConnection
from p2p.negotiation import OneFlightClient
from p2p.peerid import from_libp2p, key_pair_from_seed
from p2p.swarm import GuardedSwarm

_MEMORY_BYTES_MAX = 256 * MIB


class Upgrader(TransportUpgrader):  # type: ignore[misc]
    """The library's upgrades, with our multiplexer behind the same negotiation."""

    def __init__(
        self, noise: NoiseTransport, config: HostConfig, on_misbehaviour: Callable[[PeerId, str, str], None]
    ) -> None:
        super().__init__(
            secure_transports_by_protocol={NOISE_PROTOCOL: noise},
            muxer_transports_by_protocol={YAMUX_PROTOCOL: YamuxConnection},
            negotiate_timeout=config.negotiate_timeout_s,
        )
        # The library has no parameter for it.
        for multistream in (self.security_multistream, self.muxer_multistream):
            multistream._selector.multiselect_client = OneFlightClient()  # noqa: SLF001
        self._config = config
        self._on_misbehaviour = on_misbehaviour

    async def upgrade_connection(self, conn: SecureSession, peer_id: ID) -> IMuxedConn:
        """Negotiate yamux on a secured connection and multiplex it.

        Raises:
            MuxerUpgradeFailure: the peer does not speak yamux.
        """
        try:
            await self.muxer_multistream.select_transport(conn)
        except (MultiselectError, MultiselectClientError) as err:
            raise MuxerUpgradeFailure("the peer does not speak yamux") from err
        peer = from_libp2p(peer_id)
        return YamuxConnection(
            conn,
            peer_id,
            config=self._config,
            on_misbehaviour=lambda rule: self._on_misbehaviour(peer, YAMUX_PROTOCOL, rule),
        )


class BoundedPeerStore(PeerStore):  # type: ignore[misc]
    """The library's peer store, which at its bound would forget this node's own key first.

    Any visitor adds an entry by identifying itself; the longest known unconnected ones go first.
    """

    def __init__(self, own: ID, maximum: int) -> None:
        super().__init__(max_peers=maximum)
        self._own = own
        self.connected: Mapping[ID, object] = {}

    def _enforce_peer_limit(self) -> None:
        """Forget a sixteenth of the entries at once, so that the search for them stays cheap."""
        surplus = len(self.peer_data_map) - self.max_peers + self.max_peers // 16
        strangers = (peer for peer in self.peer_data_map if peer != self._own and peer not in self.connected)
        for peer in list(islice(strangers, surplus)):
            self.peer_record_map.pop(peer, None)
            del self.peer_data_map[peer]


def build_swarm(
    seed: Secret[bytes], config: HostConfig, on_misbehaviour: Callable[[PeerId, str, str], None]
) -> GuardedSwarm:
    """Return a swarm that speaks TCP, Noise and yamux only, with the library's own limits as second line."""
    key_pair = key_pair_from_seed(seed)
    peer_id = ID.from_pubkey(key_pair.public_key)
    noise = NoiseTransport(key_pair, noise_privkey=create_noise_key().private_key)
    upgrader = Upgrader(noise, config, on_misbehaviour)
    peerstore = BoundedPeerStore(peer_id, config.peers_remembered_max)
    peerstore.add_key_pair(peer_id, key_pair)
    swarm = GuardedSwarm(
        peer_id,
        peerstore,
        upgrader,
        transports=[TCP()],
        retry_config=RetryConfig(max_retries=0),
        connection_config=_connection_config(config),
        transport_manager=TransportManager(port_demuxers={}),
    )
    peerstore.connected = swarm.connections
    swarm.set_resource_manager(_resource_manager(config), enable_stream_semaphore=False)
    return swarm


def _connection_config(config: HostConfig) -> ConnectionConfig:
    """No watermarks: the library's auto-connector dials whoever the peer store knows."""
    total = config.connections_in_max + config.connections_out_max
    return ConnectionConfig(
        max_connections=total,
        min_connections=0,
        low_watermark=0,
        high_watermark=total,
        max_connections_per_peer=config.connections_per_peer_max,
        dial_timeout=config.dial_timeout_s,
        inbound_upgrade_timeout=config.upgrade_timeout_s,
        outbound_upgrade_timeout=config.upgrade_timeout_s,
        outbound_stream_protocol_negotiation_timeout=config.negotiate_timeout_s,
        inbound_stream_protocol_negotiation_timeout=config.negotiate_timeout_s,
    )


def _resource_manager(config: HostConfig) -> ResourceManager:
    """The second line behind ``p2p.limits``.

    Its circuit breaker and graceful degradation stay off: both let one peer's refused connections
    lower the limits for everybody.
    """
    total = config.connections_in_max + config.connections_out_max
    return ResourceManager(
        limits=ResourceLimits(
            max_connections=total + config.connections_pending_max + config.dials_pending_max,
            max_memory_mb=_MEMORY_BYTES_MAX // MIB,
            max_streams=total * config.streams_in_per_peer_max,
        ),
        connection_limits=LibraryLimits(
            max_established_inbound=config.connections_in_max,
            max_established_outbound=config.connections_out_max,
            max_established_per_peer=config.connections_per_peer_max,
            max_established_total=total,
        ),
        enable_metrics=False,
        enable_circuit_breaker=False,
        enable_graceful_degradation=False,
        enable_rate_limiting=False,
    )


def bound_addresses(swarm: GuardedSwarm) -> list[Multiaddr]:
    """Return the bound TCP addresses, wildcards expanded to this machine's interfaces."""
    bound: list[Multiaddr] = []
    for listener in swarm.listeners.values():
        for address in listener.get_addrs():
            bound.extend(expand_wildcard_address(address))
    return bound


async def check_port_free(address: TcpAddress) -> None:
    """Refuse a port that somebody listens on.

    The library binds with SO_REUSEPORT, so a second node on the same port would start without a word
    and take half of the first one's connections.

    Raises:
        ListenError: the port is taken or the address is not one of this machine.
    """
    if address.port == 0:
        return
    family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            await probe.bind((address.host, address.port))
        except OSError as err:
            if err.errno == errno.EADDRINUSE:
                message = f"port {address.port} is taken: stop the other program or choose another port"
            else:
                message = f"cannot listen on {address}: {err.strerror}"
            raise ListenError(message) from err
