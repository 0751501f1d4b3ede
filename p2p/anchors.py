"""Anchors: peers of earlier sessions, so that a restarted node does not depend on who answers first.

A node remembers peers that it dialled with success, prefers those that stood the longest over many
sessions, spreads its choice over subnets, and keeps at least four connections to them. An attacker who
fills the bootstrap list or the DHT still has to be an old acquaintance. Source: design, security §5.2
and threat T10; Heilman et al., "Eclipse Attacks on Bitcoin's Peer-to-Peer Network", 2015 (anchors).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Annotated

import trio

from marina.clock import Clock
from marina.errors import MalformedError
from marina.ids import PeerId
from marina.schema import U32, U64, Size, decode_record, encode_record, record
from p2p import addresses
from p2p.errors import P2PError
from p2p.events import PeerConnected
from p2p.host import Host
from p2p.limits import subnet_of
from p2p.peerid import short, to_libp2p
from p2p.wire.ticket import ADDRESS_BYTES_MAX, ADDRESSES_MAX
from storage.errors import StorageError
from storage.kv import Table

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

ANCHORS_MAX = 64
OUTBOUND_MIN = 4
STEADY_S = 60.0
"""A connection this old makes its peer an anchor."""
FAILURES_MAX = 8
_CHECK_EVERY_S = 30.0
_PER_SUBNET_MAX = 2

TextAddress = Annotated[str, Size(1, ADDRESS_BYTES_MAX + 64)]


@record("marina/anchor/1")
@dataclass(frozen=True, slots=True)
class Anchor:
    """A peer of earlier sessions.

    Attributes:
        peer: peer id.
        addresses: where it answered, best first.
        sessions: connections that lasted.
        last_seen: Unix seconds.
        failures: dials that failed since it was last seen.
    """

    peer: Annotated[str, Size(1, 128)]
    addresses: Annotated[tuple[TextAddress, ...], Size(1, ADDRESSES_MAX)]
    sessions: U32
    last_seen: U64
    failures: U32

    @property
    def subnet(self) -> str | None:
        """The /24 or /48 of its first address; None for this machine."""
        return subnet_of(addresses.parse(self.addresses[0]).host)


def choose(anchors: Iterable[Anchor], count: int, rng: Random) -> list[Anchor]:
    """Return up to ``count`` anchors to dial: reliable ones first, at most two of a subnet.

    Among equals the order is random, so that no one can predict whom a node meets.
    """
    ranked = sorted(anchors, key=lambda each: (each.failures, -min(each.sessions, 16), rng.random()))
    chosen: list[Anchor] = []
    subnets: Counter[str] = Counter()
    for each in ranked:
        subnet = each.subnet
        if subnet is not None and subnets[subnet] >= _PER_SUBNET_MAX:
            continue
        if subnet is not None:
            subnets[subnet] += 1
        chosen.append(each)
        if len(chosen) == count:
            break
    return chosen


class AnchorBook:
    """The remembered peers, at most 64, kept in one table of the node's database."""

    def __init__(self, *, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._anchors: dict[PeerId, Anchor] = {}

    async def load(self) -> int:
        """Read the table and return how many anchors it holds; unreadable entries are removed."""
        rows = await self._table.scan(limit=4 * ANCHORS_MAX)
        for key, value in rows:
            try:
                anchor = decode_record(Anchor, value)
                to_libp2p(PeerId(anchor.peer))
                for each in anchor.addresses:
                    addresses.parse(each)
            except MalformedError:
                await self._table.delete(key)
                continue
            self._anchors[PeerId(anchor.peer)] = anchor
        await self._shrink()
        return len(self._anchors)

    def all(self) -> list[Anchor]:
        """Return every anchor."""
        return list(self._anchors.values())

    async def seen(self, peer: PeerId, addrs: Sequence[str]) -> None:
        """Remember a peer whose connection lasted; only addresses that can be dialled count."""
        usable = tuple(dict.fromkeys(each for each in addrs if _is_dialable(each)))[:ADDRESSES_MAX]
        if not usable:
            return
        known = self._anchors.get(peer)
        sessions = known.sessions if known is not None else 0
        await self._keep(Anchor(peer, usable, min(sessions + 1, 2**32 - 1), self._clock.now_s(), 0))
        await self._shrink()

    async def failed(self, peer: PeerId) -> None:
        """Count a failed dial; after eight in a row the peer is forgotten."""
        known = self._anchors.get(peer)
        if known is None:
            return
        if known.failures + 1 >= FAILURES_MAX:
            await self._forget(peer)
        else:
            await self._keep(replace(known, failures=known.failures + 1))

    async def _keep(self, anchor: Anchor) -> None:
        self._anchors[PeerId(anchor.peer)] = anchor
        await self._save(self._table.put(anchor.peer.encode(), encode_record(anchor)))

    async def _forget(self, peer: PeerId) -> None:
        self._anchors.pop(peer, None)
        await self._save(self._table.delete(peer.encode()))

    async def _save(self, change: Awaitable[None]) -> None:
        try:
            await change
        except StorageError as err:
            # A full disk: this session goes by what is in memory, the next by what was saved before.
            log.warning("a known peer was not saved: %s", err)

    async def _shrink(self) -> None:
        while len(self._anchors) > ANCHORS_MAX:
            worst = min(
                self._anchors.values(), key=lambda each: (-each.failures, each.sessions, each.last_seen)
            )
            await self._forget(PeerId(worst.peer))


class AnchorKeeper:
    """Dials anchors at start and whenever fewer than four outbound connections to them stand."""

    def __init__(
        self, *, host: Host, book: AnchorBook, rng: Random, outbound_min: int = OUTBOUND_MIN
    ) -> None:
        self._host = host
        self._book = book
        self._rng = rng
        self._outbound_min = outbound_min

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections to anchors and learn new ones until cancelled."""
        async with self._host.events() as events, trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_connected)
            task_status.started()
            async for event in events:
                if isinstance(event, PeerConnected) and not event.is_inbound:
                    nursery.start_soon(self._observe, event.peer, event.address)

    async def top_up(self) -> int:
        """Dial anchors until enough are connected; return how many are."""
        anchors = self._book.all()
        connected = [each for each in anchors if self._host.is_connected(PeerId(each.peer))]
        missing = self._outbound_min - len(connected)
        if missing <= 0:
            return len(connected)
        others = [each for each in anchors if not self._host.is_connected(PeerId(each.peer))]
        for anchor in choose(others, 2 * missing, self._rng):
            try:
                await self._host.dial(PeerId(anchor.peer), anchor.addresses)
            except P2PError as err:
                log.debug("anchor %s not reached: %s", short(PeerId(anchor.peer)), err)
                await self._book.failed(PeerId(anchor.peer))
                continue
            connected.append(anchor)
            if len(connected) >= self._outbound_min:
                break
        return len(connected)

    async def _keep_connected(self) -> None:
        while True:
            await self.top_up()
            await trio.sleep(_CHECK_EVERY_S * self._rng.uniform(0.8, 1.2))

    async def _observe(self, peer: PeerId, address: str) -> None:
        await trio.sleep(STEADY_S)
        if self._host.is_connected(peer):
            await self._book.seen(peer, [address])


def _is_dialable(text: str) -> bool:
    try:
        return addresses.parse(text).port > 0 and len(text.encode()) <= ADDRESS_BYTES_MAX + 64
    except MalformedError:
        return False
