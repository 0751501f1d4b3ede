"""Replicas of this owner's releases, and what this node holds for others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marina.cid import Cid
from marina.ids import Account, PeerId
from marina.schema import Range, decode_record, encode_record, record
from node.library import Target
from node.swarm import Swarm
from storage.kv import KeyValueStore, Table
from storage.pins import Pins
from storage.retention import Retention


@record("marina/wanted-replicas/1")
@dataclass(frozen=True, slots=True)
class WantedReplicas:
    """How many operators the artist wants to keep a release."""

    count: Annotated[int, Range(0, 100)]


@dataclass(frozen=True, slots=True)
class PledgeStatus:
    """One operator's pledge."""

    peer: PeerId
    account: Account
    state: str
    until_s: int


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """How a release is kept; safe to close means that enough audited complete copies exist."""

    wanted: int
    replicas: int
    pledges: tuple[PledgeStatus, ...]

    @property
    def is_safe_to_close(self) -> bool:
        """Whether enough others keep it."""
        return self.wanted > 0 and self.replicas >= self.wanted


class Replication:
    """Wanted and held replicas."""

    def __init__(self, *, store: KeyValueStore, pins: Pins, swarm: Swarm) -> None:
        self._wanted = Table(store, "wanted-replicas")
        self._pins = pins
        self._swarm = swarm

    async def want(self, release: Cid, count: int) -> None:
        """Ask for that many replicas of a release."""
        await self._wanted.put(release, encode_record(WantedReplicas(count)))

    async def status(self, release: Cid) -> ReplicaStatus:
        """Return who keeps a release."""
        data = await self._wanted.get(release)
        wanted = decode_record(WantedReplicas, data).count if data else 0
        return ReplicaStatus(wanted, 0, ())

    async def hold(self, target: Target, until_s: int) -> None:
        """Keep a release of somebody else until a date; the caller fetches it."""
        cids = [target.signed.cid]
        for cid, track in target.tracks:
            cids.append(cid)
            for each in track.renditions:
                cids += [each.layout.root, each.keybox]
            if track.artwork is not None:
                cids.append(track.artwork)
        await self._pins.pin(cids, Retention.PLEDGED, until_s=until_s)
