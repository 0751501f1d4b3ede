"""The artist's side: finds operators, collects pledges, follows the copies and audits them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid, cid_text
from marina.clock import Clock
from marina.errors import MarinaError
from marina.ids import Account, PeerId
from p2p.errors import DialError, P2PError
from p2p.host import Host
from p2p.limits import subnet_of
from p2p.peerid import short, to_libp2p
from p2p.peerkey import peer_of_key
from p2p.replication.audit import AuditedRoot, Auditor
from p2p.replication.campaigns import CampaignBook
from p2p.replication.client import PledgeClient, PledgeRefusedError
from p2p.replication.planner import Candidate, Planner, Replica, Stage
from p2p.vicinity import remote_address
from p2p.wire.pledge import PROTOCOL, Answer, Offer, Progress

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

NONCE_BYTES = 16
OFFERS_MAX = 512


@dataclass(frozen=True, slots=True)
class ReplicationStatus:
    """How well a release is kept by others.

    Attributes:
        release: CID of its manifest.
        kept: k, distinct accounts with an audited copy and a running pledge.
        wanted: N.
        is_safe_to_close: k ≥ N.
        replicas: every operator's part, furthest first.
        message: one sentence for people.
    """

    release: Cid
    kept: int
    wanted: int
    is_safe_to_close: bool
    replicas: tuple[Replica, ...]
    message: str


@dataclass(frozen=True, slots=True)
class ReplicationConfig:
    """Rhythm of the artist's side.

    Attributes:
        busy_every_s: between two looks at a campaign that is not safe yet.
        idle_every_s: between two looks at safe ones.
        offers_every_s: how often a connected peer is asked for its offer.
        parallel: operators spoken to at once.
    """

    busy_every_s: float = 1.0
    idle_every_s: float = 60.0
    offers_every_s: float = 60.0
    parallel: int = 8


class OfferBook:
    """The newest offer of each operator, at most 512, from direct answers and from gossip."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._offers: OrderedDict[PeerId, Offer] = OrderedDict()

    def add(self, offer: Offer) -> None:
        """Keep an offer whose signature and binding were checked; older ones are replaced."""
        peer = peer_of_key(offer.peer)
        known = self._offers.get(peer)
        if known is not None and known.issued > offer.issued:
            return
        self._offers.pop(peer, None)
        if len(self._offers) >= OFFERS_MAX:
            self._offers.popitem(last=False)
        self._offers[peer] = offer

    def living(self) -> dict[PeerId, Offer]:
        """Return the offers whose time is not over."""
        now_s = self._clock.now_s()
        return {peer: offer for peer, offer in self._offers.items() if offer.expires > now_s}


class Replicator:
    """Runs all campaigns of this node.

    Args:
        host: the running host.
        client: speaks to operators.
        auditor: audits complete copies.
        book: the campaigns on disk.
        offers: known offers; gossip may add to it too.
        roots: returns the renditions of a release with their digests, for audits.
        connect: connects to an operator that is not connected (finds its addresses).
        clock: wall and monotonic time.
        rng: nonces of asks.
        config: rhythm.
    """

    def __init__(
        self,
        *,
        host: Host,
        client: PledgeClient,
        auditor: Auditor,
        book: CampaignBook,
        offers: OfferBook,
        roots: Callable[[Cid], Awaitable[Sequence[AuditedRoot]]],
        connect: Callable[[PeerId], Awaitable[None]],
        clock: Clock,
        rng: Random,
        config: ReplicationConfig | None = None,
    ) -> None:
        self._host = host
        self._client = client
        self._auditor = auditor
        self._book = book
        self._offers = offers
        self._roots = roots
        self._connect = connect
        self._clock = clock
        self._rng = rng
        self._config = config or ReplicationConfig()
        self._queried: OrderedDict[PeerId, float] = OrderedDict()
        self._changed = trio.Event()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run campaigns until cancelled; started once they are read."""
        await self._book.load()
        task_status.started()
        while True:
            campaigns = self._book.all()
            now_s = self._clock.now_s()
            open_ones = [release for release, planner in campaigns.items() if not planner.is_safe(now_s)]
            if open_ones:
                await self._collect_offers()
            async with trio.open_nursery() as nursery:
                for release, planner in campaigns.items():
                    nursery.start_soon(self._advance, release, planner)
            pause_s = self._config.busy_every_s if open_ones else self._config.idle_every_s
            changed = self._changed
            with trio.move_on_after(pause_s):
                await changed.wait()

    async def replicate(self, release: Cid, *, wanted: int, size_bytes: int, duration_s: int) -> None:
        """Begin or change the campaign of a published release.

        Args:
            release: CID of its manifest.
            wanted: N, distinct accounts.
            size_bytes: of the whole release with manifests; operators take no more than that.
            duration_s: how long pledges should run.

        Raises:
            ValueError: nothing is wanted, or there are too many campaigns.
        """
        await self._book.start(release, wanted=wanted, size_bytes=size_bytes, duration_s=duration_s)
        self._changed.set()
        self._changed = trio.Event()

    async def end(self, release: Cid) -> None:
        """End the campaign of a release; pledges that were given run on."""
        await self._book.end(release)

    def status(self, release: Cid) -> ReplicationStatus | None:
        """Return how well a release is kept, None without a campaign."""
        planner = self._book.get(release)
        if planner is None:
            return None
        now_s = self._clock.now_s()
        kept, is_safe = planner.count(now_s), planner.is_safe(now_s)
        return ReplicationStatus(
            release,
            kept,
            planner.wanted,
            is_safe,
            tuple(planner.replicas()),
            self._sentence(planner, kept, is_safe=is_safe),
        )

    def _sentence(self, planner: Planner, kept: int, *, is_safe: bool) -> str:
        if is_safe:
            return f"{kept} of {planner.wanted} operators keep it: safe to close this node"
        replicas = planner.replicas()
        working = [each for each in replicas if each.stage not in {Stage.FAILED, Stage.AUDITED}]
        if working:
            return (
                f"{kept} of {planner.wanted} operators keep it, {len(working)} more on the way: "
                "keep this node running"
            )
        if not self._offers.living():
            return (
                f"{kept} of {planner.wanted} operators keep it and nobody offers space: connect to "
                "operators ('marina join LINK' on their side), or ask for fewer replicas"
            )
        return (
            f"{kept} of {planner.wanted} operators keep it and no further offer fits: "
            "wait for other operators, or ask for fewer replicas"
        )

    async def _collect_offers(self) -> None:
        now_s = self._clock.monotonic_s()
        async with trio.open_nursery() as nursery:
            slots = trio.CapacityLimiter(self._config.parallel)
            for peer in self._host.connected_peers():
                if now_s - self._queried.get(peer, -1e9) < self._config.offers_every_s:
                    continue
                spoken = self._protocols(peer)
                if not spoken:  # identify is not through yet; it is asked at the next look
                    continue
                self._queried[peer] = now_s
                if len(self._queried) > 2 * OFFERS_MAX:
                    self._queried.popitem(last=False)
                if PROTOCOL in spoken:
                    nursery.start_soon(self._query_offer, peer, slots)

    async def _query_offer(self, peer: PeerId, slots: trio.CapacityLimiter) -> None:
        async with slots:
            try:
                self._offers.add(await self._client.offer(peer, self._clock.now_s()))
            except MarinaError as err:
                log.debug("no offer from %s: %s", short(peer), err)

    def _protocols(self, peer: PeerId) -> list[str]:
        store = self._host.raw.get_peerstore()
        identity = to_libp2p(peer)
        return list(store.get_protocols(identity)) if store.has_peer(identity) else []

    async def _advance(self, release: Cid, planner: Planner) -> None:
        """Do everything that is due in one campaign, side by side, and save what came of it."""
        now_s = self._clock.now_s()
        before = planner.replicas()
        for peer in planner.expire(now_s):
            log.info("replica failed", extra={"context": {"release": cid_text(release), "peer": short(peer)}})
        slots = trio.CapacityLimiter(self._config.parallel)
        async with trio.open_nursery() as nursery:
            for peer in planner.due_checks(now_s):
                nursery.start_soon(self._check, release, planner, peer, slots)
            for peer in planner.due_audits(now_s):
                nursery.start_soon(self._audit, release, planner, peer, slots)
            for candidate in planner.next_asks(self._candidates(), now_s):
                planner.asked(candidate, now_s)
                nursery.start_soon(self._ask, release, planner, candidate, slots)
        if planner.replicas() != before and self._book.get(release) is planner:
            try:
                await self._book.save(release)
            except MarinaError as err:
                log.warning("a campaign was not saved: %s", err)

    async def _ask(
        self, release: Cid, planner: Planner, candidate: Candidate, slots: trio.CapacityLimiter
    ) -> None:
        async with slots:
            until_s = self._clock.now_s() + planner.duration_s
            try:
                await self._connect_to(candidate.peer)
                pledge = await self._client.ask(
                    candidate.peer,
                    release=release,
                    size_bytes=planner.size_bytes,
                    until_s=until_s,
                    nonce=self._rng.randbytes(NONCE_BYTES),
                )
            except MarinaError as err:
                planner.failed(candidate.peer, str(err), self._clock.now_s())
                return
            if pledge.account != candidate.account:
                planner.failed(candidate.peer, "another account pledged than offered", self._clock.now_s())
                return
            planner.pledged(candidate.peer, pledge.until, self._clock.now_s())

    async def _check(self, release: Cid, planner: Planner, peer: PeerId, slots: trio.CapacityLimiter) -> None:
        async with slots:
            try:
                await self._connect_to(peer)
                progress, have_bytes = await self._client.status(peer, release)
            except PledgeRefusedError as err:
                if err.answer is Answer.UNKNOWN:
                    planner.failed(peer, "the operator gave its pledge up", self._clock.now_s())
                return
            except MarinaError as err:
                log.debug("no status from %s: %s", short(peer), err)  # the planner's deadline decides
                return
            planner.progressed(
                peer, have_bytes, self._clock.now_s(), is_complete=progress is Progress.COMPLETE
            )

    async def _audit(self, release: Cid, planner: Planner, peer: PeerId, slots: trio.CapacityLimiter) -> None:
        async with slots:
            try:
                await self._connect_to(peer)
                roots = await self._roots(release)
                result = await self._auditor.audit(peer, roots)
            except P2PError as err:
                planner.failed(peer, str(err), self._clock.now_s())
                return
            except MarinaError as err:
                log.warning("a copy could not be audited: %s", err)  # our own fault, not the operator's
                return
            if result.passed:
                planner.audited(peer, self._clock.now_s())
                return
            planner.failed(peer, result.reason, self._clock.now_s())
            if result.is_lie:
                self._host.supervisor.corrupt(peer, PROTOCOL, result.reason)

    async def _connect_to(self, peer: PeerId) -> None:
        if self._host.is_connected(peer):
            return
        await self._connect(peer)
        if not self._host.is_connected(peer):
            raise DialError(f"operator {short(peer)} is not connected")

    def _candidates(self) -> list[Candidate]:
        return [
            Candidate(
                peer=peer,
                account=Account(offer.account),
                subnet=self._subnet(peer),
                free_bytes=offer.free_bytes,
                release_bytes_max=offer.release_bytes_max,
                pledge_s_max=offer.pledge_s_max,
                score=self._host.scores.score(peer).success,
            )
            for peer, offer in self._offers.living().items()
            if not self._host.is_banned(peer)
        ]

    def _subnet(self, peer: PeerId) -> str | None:
        address = remote_address(self._host, peer)
        return subnet_of(address.host) if address is not None else None
