"""Real hosts on loopback and a hostile peer that speaks raw yamux frames."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.transport import Transport as NoiseTransport

from marina.cid import Cid, cid_of
from marina.clock import SystemClock
from marina.secret import Secret
from p2p import addresses, stack
from p2p.config import HostConfig
from p2p.host import Host
from p2p.muxer.pipe import SecurePipe
from p2p.peerid import key_pair_from_seed, to_libp2p

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)


def seed(name: str) -> Secret[bytes]:
    """A device key seed that is the same for the same name."""
    return Secret(hashlib.sha256(name.encode()).digest())


def make_host(name: str, **settings: object) -> Host:
    """A host on loopback that does not run yet."""
    config = HostConfig(**{"listen_addrs": LOOPBACK, **settings})  # type: ignore[arg-type]
    return Host(seed=seed(name), clock=SystemClock(), config=config)


@asynccontextmanager
async def running(*hosts: Host) -> AsyncIterator[None]:
    """Run hosts while the block runs."""
    async with trio.open_nursery() as nursery:
        for host in hosts:
            await nursery.start(host.run)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def attacker_pipe(victim: Host, name: str = "attacker") -> AsyncIterator[SecurePipe]:
    """An encrypted connection to a host, multiplexer negotiated, with nothing of ours above it."""
    target = addresses.parse(victim.listen_addrs[0])
    key_pair = key_pair_from_seed(seed(name))
    noise = NoiseTransport(key_pair, noise_privkey=create_noise_key().private_key)
    upgrader = stack.Upgrader(noise, HostConfig(), lambda *_: None)
    tcp = await trio.open_tcp_stream(target.host, target.port)
    async with tcp:
        raw = RawConnection(TrioTCPStream(tcp), True)
        session = await upgrader.upgrade_security(raw, True, to_libp2p(victim.peer_id))
        await upgrader.muxer_multistream.select_transport(session)
        yield SecurePipe(session)


class MemorySegments:
    """A segment source in memory; counts what it was asked for."""

    def __init__(self, segments: dict[int, bytes], root: Cid | None = None) -> None:
        self.root = root or cid_of(b"memory")
        self.segments = segments
        self.asked = 0

    async def get_segments(self, root: Cid, indices: Sequence[int]) -> list[bytes | None]:
        """Return what is here of the one root."""
        self.asked += len(indices)
        await trio.lowlevel.checkpoint()
        return [self.segments.get(index) if root == self.root else None for index in indices]

    async def have(self, root: Cid) -> frozenset[int]:
        """Return the indices that are here."""
        return frozenset(self.segments) if root == self.root else frozenset()
