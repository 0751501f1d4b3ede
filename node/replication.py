"""Replicas: this owner's campaigns, and what this node keeps for others, over the pledge protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MalformedError, NotPermittedError
from marina.ids import Account, PeerId, parse_account
from marina.schema import encode_record
from node.discovery import Discovery
from node.downloads import Downloads
from node.library import Library, Target
from node.settings import OperatorSettings
from node.swarm import Swarm
from p2p.chunk.client import ChunkClient
from p2p.denylist import Denylist
from p2p.errors import DialError
from p2p.host import Host
from p2p.replication.audit import AuditedRoot, Auditor, ChunkProbe
from p2p.replication.campaigns import CampaignBook
from p2p.replication.client import Identity, PledgeClient
from p2p.replication.operator import Operator
from p2p.replication.planner import Stage
from p2p.replication.pledges import PledgeBook, PledgePolicy
from p2p.replication.service import Replicator
from p2p.wire.pledge import CheckBinding
from storage.blocks.indexed import IndexedBlockStore
from storage.content.layout import RenditionLayout
from storage.identity.binding import decode_binding, verify_binding
from storage.identity.owner import Owner
from storage.kv import KeyValueStore, Table
from storage.retention import Retention

if TYPE_CHECKING:
    from trio_typing import TaskStatus

PLEDGE_S = 30 * 86_400


@dataclass(frozen=True, slots=True)
class PledgeStatus:
    """One operator's part in a release.

    Attributes:
        state: ``asked pledged fetching complete audited failed``.
        until_s: end of its pledge, Unix seconds; 0 before it pledged.
    """

    peer: PeerId
    account: Account
    state: str
    until_s: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """How a release is kept by others; safe to close means enough audited complete copies."""

    wanted: int
    replicas: int
    is_safe_to_close: bool
    pledges: tuple[PledgeStatus, ...]
    message: str


def check_binding_with(clock: Clock) -> CheckBinding:
    """Return the check of other devices' bindings."""

    def check(data: bytes, device: bytes) -> Account:
        return verify_binding(decode_binding(data), now_s=clock.now_s(), peer=device)

    return check


def identity_of(owner: Owner, clock: Clock) -> Identity:
    """Return what this node speaks for its account with."""
    return Identity(
        account=owner.account,
        signer=owner.device,
        binding=lambda: encode_record(owner.binding),
        check_binding=check_binding_with(clock),
    )


class Keeper:
    """Keeps whole releases of others: fetches, pins, announces, lets go."""

    def __init__(
        self,
        *,
        blocks: IndexedBlockStore,
        library: Library,
        downloads: Downloads,
        swarm: Swarm,
        discovery: Discovery,
        denylist: Denylist,
        clock: Clock,
    ) -> None:
        self._blocks = blocks
        self._library = library
        self._downloads = downloads
        self._swarm = swarm
        self._discovery = discovery
        self._denylist = denylist
        self._clock = clock

    def free_bytes(self) -> int:
        """Return what the quota leaves for new content."""
        return max(0, self._blocks.quota.limit_bytes - self._blocks.quota.charged_bytes)

    async def check_denied(self, release: Cid, source: PeerId) -> None:
        """Read a release's manifests and compare all that they name with the denylist.

        Raises:
            DeniedError: something of it is denied.
            MarinaError: its manifests are wrong or not to be had.
        """
        self._swarm.note_provider(release, source, ())
        self.check(await self._library.exact_version(release))

    async def fetch(
        self, release: Cid, source: PeerId, size_bytes: int, report: Callable[[int], None]
    ) -> None:
        """Fetch, pin and announce a whole release; goes on where an earlier call stopped.

        Raises:
            MarinaError: it is denied, larger than was said, or nobody delivers it now.
        """
        self._swarm.note_provider(release, source, ())
        await self._library.resolve_release_cid(release)  # fails if it was withdrawn since
        target = await self._library.exact_version(release)
        self.check(target)
        if release_bytes(target) > size_bytes:
            raise MalformedError("the release is larger than its artist said when asking for a pledge")
        await self.hold(target, self._clock.now_s() + PLEDGE_S)
        await self._library.fetch_keyboxes(target)
        done = 0
        for _, track in target.tracks:
            if track.artwork is not None:
                await self._library.block(release, track.artwork)
            for each in track.renditions:
                await self._fetch(each.layout, done, report)
                done += each.layout.plan.ciphertext_bytes
                report(done)
        await self._library.mark_local(target)
        await self.announce(target)

    async def announce(self, target: Target) -> None:
        """Say that this node provides a release that it pledged."""
        roots = [each.layout.root for _, track in target.tracks for each in track.renditions]
        await self._discovery.holds(target.signed.release.account, [target.signed.cid, *roots])

    async def drop(self, release: Cid) -> None:
        """Unpin a release whose pledge has ended and stop announcing it."""
        target = await self._library.exact_version(release)
        cids = release_cids(target)
        await self._discovery.withdrawn(cids)
        for cid in cids:
            await self._blocks.pins.unpin(cid, Retention.PLEDGED)

    async def hold(self, target: Target, until_s: int) -> None:
        """Pin a release of somebody else until a date; NotPermittedError if the denylist names it."""
        self.check(target)
        await self._blocks.pins.pin(release_cids(target), Retention.PLEDGED, until_s=until_s)

    def check(self, target: Target) -> None:
        """Refuse what the operator's denylist, or the list that it follows, names."""
        release = target.signed.release
        self._denylist.check(
            cids=release_cids(target),
            tracks=[track.track_id for _, track in target.tracks],
            release=release.release_id,
            account=release.account,
        )

    async def _fetch(self, layout: RenditionLayout, done: int, report: Callable[[int], None]) -> None:
        async with self._downloads.fetching(layout) as fetcher:
            fetcher.on_progress = lambda: report(done + fetcher.stats.bytes_fetched)
            await fetcher.fetch_all()


class Replication:
    """Both sides of pledging."""

    def __init__(
        self,
        *,
        host: Host,
        store: KeyValueStore,
        owner: Owner,
        library: Library,
        keeper: Keeper,
        client: ChunkClient,
        swarm: Swarm,
        discovery: Discovery,
        identity: Identity,
        denylist: Denylist,
        settings: OperatorSettings,
        clock: Clock,
    ) -> None:
        rng = SystemRandom()
        self._owner = owner
        self._library = library
        self._settings = settings
        self._host = host
        self._swarm = swarm
        self._replicator = Replicator(
            host=host,
            client=PledgeClient(host=host, identity=identity),
            auditor=Auditor(probe=ChunkProbe(client), rng=rng),
            book=CampaignBook(table=Table(store, "campaigns"), own=owner.account),
            offers=discovery.offers,
            roots=self._roots,
            connect=self._connect,
            clock=clock,
            rng=rng,
        )
        self._operator = Operator(
            host=host,
            identity=identity,
            book=PledgeBook(table=Table(store, "pledges"), clock=clock),
            store=keeper,
            policy=self._policy,
            denylist=denylist,
            clock=clock,
            rng=rng,
        )

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve pledges and follow campaigns until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._operator.run)
            await nursery.start(self._replicator.run)
            task_status.started()

    async def want(self, target: Target, count: int) -> None:
        """Ask for that many replicas of a release of this owner; 0 asks no further."""
        if target.signed.release.account != self._owner.account:
            raise NotPermittedError("only the artist's own node asks for replicas of a release")
        if count == 0:
            await self._replicator.end(target.signed.cid)
            return
        await self._replicator.replicate(
            target.signed.cid, wanted=count, size_bytes=release_bytes(target), duration_s=PLEDGE_S
        )

    async def follow(self, previous: Cid, target: Target) -> None:
        """Ask for as many replicas of a release's new version as were wanted of the one before.

        Operators have most of it already; without it the new manifests and keyboxes would be here alone.
        """
        status = self._replicator.status(previous)
        if status is not None:
            await self.want(target, status.wanted)
            await self._replicator.end(previous)

    def status(self, release: Cid) -> ReplicaStatus:
        """Return who keeps a release."""
        status = self._replicator.status(release)
        if status is None:
            return ReplicaStatus(0, 0, False, (), "no replicas were asked for")
        pledges = tuple(
            PledgeStatus(each.peer, each.account, each.stage.value, each.until_s, each.reason)
            for each in status.replicas
            if each.stage is not Stage.FAILED or each.reason
        )
        return ReplicaStatus(status.wanted, status.kept, status.is_safe_to_close, pledges, status.message)

    def _policy(self) -> PledgePolicy:
        return PledgePolicy(
            is_open=self._settings.accept_pledges,
            offered_bytes=self._settings.offered_bytes,
            pledge_s_max=self._settings.pledge_length_s,
            artists=frozenset(parse_account(each) for each in self._settings.accept_from),
        )

    async def _roots(self, release: Cid) -> Sequence[AuditedRoot]:
        target = await self._library.exact_version(release)
        found: list[AuditedRoot] = []
        for _, track in target.tracks:
            for each in track.renditions:
                plan = each.layout.plan
                digests = tuple(each.layout.digest(i) for i in range(plan.count))
                lengths = tuple(plan.ciphertext(i).length for i in range(plan.count))
                found.append(AuditedRoot(each.layout.root, digests, lengths))
        return found

    async def _connect(self, peer: PeerId) -> None:
        if not await self._swarm.reach(peer, await self._swarm.addresses_of(peer)):
            raise DialError("the operator cannot be reached now")


def release_cids(target: Target) -> list[Cid]:
    """Return everything that a release consists of: manifests, keyboxes, artwork, renditions."""
    cids = [target.signed.cid]
    for cid, track in target.tracks:
        cids.append(cid)
        for each in track.renditions:
            cids += [each.layout.root, each.keybox]
        if track.artwork is not None:
            cids.append(track.artwork)
    return list(dict.fromkeys(cids))


def release_bytes(target: Target) -> int:
    """Return the ciphertext of a whole release in bytes, with room for its manifests."""
    renditions = [each for _, track in target.tracks for each in track.renditions]
    manifests = 64 * 1024 * (1 + len(target.tracks))
    return sum(each.layout.plan.ciphertext_bytes for each in renditions) + manifests
