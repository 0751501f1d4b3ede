"""What travels by gossip: new releases, who has what of an artist, and operators' offers.

This node is always in the topics of all releases and of offers, and in those of the artists that it
follows, publishes as or keeps pledges of. Records are signed by the device that publishes the message;
whoever forwards one has checked it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MalformedError, MarinaError, NotPermittedError
from marina.ids import Account, PeerId, ReleaseId
from p2p import addresses
from p2p.gossip import Gossip, GossipMessage, Verdict
from p2p.host import Host
from p2p.peerkey import peer_of_key
from p2p.providers import HaveIndex
from p2p.replication.client import Identity
from p2p.replication.service import OfferBook
from p2p.vicinity import is_local
from p2p.wire.gossip import (
    HAVE_ROOTS_MAX,
    TOPIC_OFFERS,
    TOPIC_RELEASES,
    Announcement,
    Have,
    artist_topic,
    check_time,
    open_announcement,
    open_have,
    seal_announcement,
    seal_have,
)
from p2p.wire.pledge import Offer, open_vouched, vouch
from p2p.wire.ticket import ADDRESSES_MAX

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

Heard = Callable[[Announcement, PeerId], None]
"""(announcement, peer that published it): must not wait; the release itself is fetched and checked later."""

ARTISTS_MAX = 500
_COMMANDS_MAX = 2 * ARTISTS_MAX


@dataclass(slots=True, eq=False)
class _Following:
    """One artist's topic: who follows while it is being joined waits for the same event."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    joined: trio.Event = field(default_factory=trio.Event)


class NotBoundError(NotPermittedError):
    """This device has no binding that others would accept now."""

    code = "not_bound"


class News:
    """Publishes this node's news and takes in that of others.

    Args:
        gossip: running gossip.
        host: for the addresses that records carry.
        identity: account, device and bindings.
        clock: Unix time of records.
        haves: takes what peers say that they have.
        offers: takes offers of operators.
        heard: is told of every new announcement.
    """

    def __init__(
        self,
        *,
        gossip: Gossip,
        host: Host,
        identity: Identity,
        clock: Clock,
        haves: HaveIndex,
        offers: OfferBook,
        heard: Heard,
    ) -> None:
        self._gossip = gossip
        self._host = host
        self._identity = identity
        self._clock = clock
        self._haves = haves
        self._offers = offers
        self._heard = heard
        self._artists: dict[Account, _Following] = {}
        self._to_join_send, self._to_join = trio.open_memory_channel[tuple[Account, _Following]](
            _COMMANDS_MAX
        )

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled; started once both common topics are joined."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen, TOPIC_RELEASES, self._check_announcement, self._take_announced)
            await nursery.start(self._listen, TOPIC_OFFERS, self._check_offer, self._take_offer)
            task_status.started()
            async for account, following in self._to_join:
                nursery.start_soon(self._listen_to_artist, account, following)

    async def follow(self, account: Account) -> None:
        """Join an artist's topic; returns when it is joined. Following twice is following once.

        Raises:
            ValueError: this node follows 500 artists already.
        """
        following = self._artists.get(account)
        if following is None:
            if len(self._artists) >= ARTISTS_MAX and account != self._identity.account:
                raise ValueError(f"a node follows at most {ARTISTS_MAX} artists by gossip")
            following = self._artists[account] = _Following()
            self._to_join_send.send_nowait((account, following))
        await following.joined.wait()

    def unfollow(self, account: Account) -> None:
        """Leave an artist's topic."""
        following = self._artists.pop(account, None)
        if following is not None:
            following.scope.cancel()

    async def announce(self, release_id: ReleaseId, release: Cid, version: int) -> None:
        """Tell everybody, and this account's followers, of a new version of a release of its own.

        Raises:
            NotBoundError: others would not believe it; nobody was told.
        """
        binding = self.own_binding()
        item = Announcement(
            account=self._identity.account,
            peer=self._identity.signer.public_key,
            release_id=release_id,
            release_cid=release,
            version=version,
            time=self._clock.now_s(),
            addresses=self._own_addresses(),
        )
        data = seal_announcement(item, self._identity.signer, binding)
        await self.follow(self._identity.account)
        await self._gossip.publish(TOPIC_RELEASES, data)
        await self._gossip.publish(artist_topic(self._identity.account), data)

    def own_binding(self) -> bytes:
        """Return this device's binding, checked as others check it.

        Raises:
            NotBoundError: it has ended or does not exist, and the vault is locked.
        """
        try:
            binding = self._identity.binding()
            self._identity.check_binding(binding, self._identity.signer.public_key)
        except MarinaError as err:
            raise NotBoundError(
                f"this device cannot speak for its account ({err}): run 'marina key unlock'"
            ) from err
        return binding

    async def have(self, artist: Account, roots: Sequence[Cid]) -> None:
        """Tell an artist's followers which published or pledged roots this node serves.

        What was only played is never passed here; see ``p2p.announce``.
        """
        try:
            await self.follow(artist)
        except ValueError as err:  # the announced roots are found without gossip too
            log.info("followers of an artist are not told what this node serves: %s", err)
            return
        for start in range(0, len(roots), HAVE_ROOTS_MAX):
            item = Have(
                peer=self._identity.signer.public_key,
                roots=tuple(roots[start : start + HAVE_ROOTS_MAX]),
                time=self._clock.now_s(),
                addresses=self._own_addresses(),
            )
            await self._gossip.publish(artist_topic(artist), seal_have(item, self._identity.signer))

    async def offer(self, offer: Offer) -> None:
        """Tell everybody what this operator offers; NotBoundError as for ``announce``."""
        data = vouch(offer, self._identity.signer, self.own_binding())
        await self._gossip.publish(TOPIC_OFFERS, data)

    async def _listen(
        self,
        topic: str,
        check: Callable[[bytes], object],
        take: Callable[[GossipMessage], None],
        *,
        task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        def validate(author: PeerId, data: bytes) -> Verdict:
            return self._judge(author, data, check)

        async with self._gossip.join(topic, validate) as messages:
            task_status.started()
            async for message in messages:
                take(message)

    async def _listen_to_artist(self, account: Account, following: _Following) -> None:
        def check(data: bytes) -> object:
            return self._check_of_artist(account, data)

        try:
            with following.scope:  # cancelled already if it was unfollowed in the meantime
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._listen, artist_topic(account), check, self._take_of_artist)
                    following.joined.set()
        finally:
            following.joined.set()

    def _judge(self, author: PeerId, data: bytes, check: Callable[[bytes], object]) -> Verdict:
        try:
            item = check(data)
        except MalformedError:
            return Verdict.REJECT
        except MarinaError as err:  # out of time, a binding that has ended: clocks and news differ
            log.debug("a gossip record was ignored: %s", err)
            return Verdict.IGNORE
        peer = getattr(item, "peer", b"")
        return Verdict.ACCEPT if peer_of_key(peer) == author else Verdict.REJECT

    def _check_announcement(self, data: bytes) -> Announcement:
        now_s = self._clock.now_s()
        return open_announcement(data, check_binding=self._identity.check_binding, now_s=now_s)

    def _check_offer(self, data: bytes) -> Offer:
        offer = open_vouched(Offer, data, self._identity.check_binding)
        check_time(offer.issued, self._clock.now_s())
        return offer

    def _check_of_artist(self, account: Account, data: bytes) -> Announcement | Have:
        try:
            return open_have(data, now_s=self._clock.now_s())
        except MalformedError:
            announcement = self._check_announcement(data)
        if announcement.account != account:
            raise MalformedError("an announcement of another artist")
        return announcement

    def _take_announced(self, message: GossipMessage) -> None:
        try:
            item = self._check_announcement(message.data)
        except MarinaError as err:  # its time ran out while it waited
            log.debug("an announcement was dropped: %s", err)
            return
        self._remember([Cid(item.release_cid)], message.author, item.addresses)
        self._heard(item, message.author)

    def _take_offer(self, message: GossipMessage) -> None:
        try:
            self._offers.add(self._check_offer(message.data))
        except MarinaError as err:
            log.debug("an offer was dropped: %s", err)

    def _take_of_artist(self, message: GossipMessage) -> None:
        try:
            item = open_have(message.data, now_s=self._clock.now_s())
        except MarinaError:
            self._take_announced(message)
            return
        self._remember([Cid(root) for root in item.roots], message.author, item.addresses)

    def _remember(self, roots: Sequence[Cid], peer: PeerId, addrs: Sequence[str]) -> None:
        if peer == self._host.peer_id:
            return
        usable = addresses.worth_dialling(addrs, teller_is_local=is_local(self._host, peer))
        texts = [addresses.with_peer(each, peer) for each in usable]
        for root in roots:
            self._haves.add(root, peer, texts)

    def _own_addresses(self) -> tuple[str, ...]:
        parts = [addresses.parse(each) for each in self._host.listen_addrs]
        return tuple(f"/{each.kind}/{each.host}/tcp/{each.port}" for each in parts)[:ADDRESSES_MAX]
