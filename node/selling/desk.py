"""The artist's side of a sale: choose who keeps the keys, register, anchor, price; later, split anew."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from chain.draft import Draft
from chain.market.anchoring import Anchor, anchor_drafts
from chain.market.selling import NewTerm, SplitPart, Thing
from marina.cid import Cid
from marina.errors import NotFoundError, UsageError
from marina.ids import Account, derive_release_id, derive_track_id
from node.chain.service import ChainService
from node.chain.things import Named, things_of
from node.keys.quorum import Quorum, QuorumCheck
from node.keys.rights import ChainRights
from node.library import Target
from node.selling.choosing import Choice, Chooser, Wanted
from node.selling.sold import Sold, anchored, in_force, sold_tiers, unanchored
from node.selling.watch import weakest
from p2p.peerid import short
from p2p.peerkey import peer_of_key
from storage.content.guarded import KeyHolder
from storage.content.keybox import DELEGATES_MAX
from storage.publish.models import Preview, Published
from storage.publish.paid import PaidRequest, PaidTerms
from storage.publish.publisher import Publisher
from storage.publish.renditions import RandomBytes

log = logging.getLogger("marina.node.selling")
ONE_BLOCK, FINALIZED = 0, 2
DEFAULT_N, DEFAULT_K = 7, 3
PAID_TIERS = (1, 2)


@dataclass(frozen=True, slots=True)
class Sale:
    """On which terms a release is sold.

    Attributes:
        prices: of the whole release.
        track_prices: of each track by itself.
        splits: who is paid.
        royalty_bps: of resales, basis points.
        finality: of a purchase, before a key is released; None for the rule of ``finality_of``.
    """

    prices: tuple[NewTerm, ...]
    track_prices: tuple[NewTerm, ...]
    splits: tuple[SplitPart, ...]
    royalty_bps: int = 0
    finality: int | None = None


@dataclass(frozen=True, slots=True)
class Reissued:
    """What a reissue did and what is left to be anchored.

    Attributes:
        published: the successor; None when an earlier one was signed already and only has to be anchored.
        drafts: the transaction that anchors it.
        choice: who keeps the keys now; None as above.
    """

    published: Published | None
    drafts: tuple[Draft, ...]
    choice: Choice | None


class SellingDesk:
    """Everything that an artist's node does to sell a release."""

    def __init__(
        self,
        *,
        chain: ChainService,
        rights: ChainRights,
        chooser: Chooser,
        check: QuorumCheck,
        publisher: Publisher,
        block: Callable[[Cid, Cid], Awaitable[bytes]],
        random: RandomBytes,
    ) -> None:
        """Take the collaborators; ``block(root, cid)`` returns a keybox, from peers if need be."""
        self._chain = chain
        self._rights = rights
        self._chooser = chooser
        self._check = check
        self._publisher = publisher
        self._block = block
        self._random = random

    def request(self, wanted: Wanted, chosen: list[Choice]) -> PaidRequest:
        """Return what tells the publisher that a release is sold.

        Args:
            wanted: who shall keep the keys.
            chosen: gets the choice, if one is made: a release that was begun before has one already.

        Raises:
            UsageError: no chain is configured, or the numbers make no keybox.
            NotFoundError: its contracts are not known.
        """
        wanted.check()
        chain_id, registry = self._place()

        async def choose() -> PaidTerms:
            choice = await self._chooser.choose(wanted, chain_id=chain_id, registry=registry)
            chosen.append(choice)
            return choice.terms

        return PaidRequest(chain_id, registry, choose)

    async def choose(self, wanted: Wanted) -> Choice:
        """Return who would keep the keys; errors as for ``Chooser.choose``."""
        chain_id, registry = self._place()
        return await self._chooser.choose(wanted, chain_id=chain_id, registry=registry)

    async def sell(self, thing: Named, sale: Sale, artist: Account) -> list[Draft]:
        """Return what is missing for a release or track to be sold: none of it when all is done.

        The keys are anchored before the prices, so that nobody can buy what nobody could open yet.

        Raises:
            NotPermittedError: it is another account's.
            UsageError: too many at once, or a price is out of bounds.
            NetworkError: the chain does not answer.
        """
        chain = self._chain.get()
        things = things_of(thing, with_tracks=True)
        drafts = list(
            await chain.selling.register(things, sale.splits, royalty_bps=sale.royalty_bps, artist=artist)
        )
        drafts += await self._anchor(thing.target, sale.finality)
        for each in things:
            terms = sale.prices if each.id == thing.id else sale.track_prices
            if terms:
                drafts += await chain.selling.price(each.id, terms, title=each.title)
        return drafts

    async def rehearse(self, preview: Preview, sale: Sale, artist: Account) -> list[Draft]:
        """Return transactions like those that selling a release would take, of ids that nobody will use."""
        chain = self._chain.get()
        salts = [self._random(32) for _ in range(len(preview.tracks) + 1)]
        release = derive_release_id(artist, salts[0])
        things = [Thing(release, salts[0], self._random(32), None, preview.title)]
        for salt, (source, examined) in zip(salts[1:], preview.tracks, strict=True):
            title = examined.tags.title or source.path.stem
            things.append(Thing(derive_track_id(artist, salt), salt, self._random(32), release, title))
        drafts = list(
            await chain.selling.register(things, sale.splits, royalty_bps=sale.royalty_bps, artist=artist)
        )
        anchors = [
            Anchor(each.id, tier, self._random(32), 1, ONE_BLOCK)
            for each in things[1:]
            for tier in PAID_TIERS
        ]
        drafts += anchor_drafts(chain.contracts.registry, anchors, title=preview.title)
        for each in things:
            terms = sale.prices if each.release is None else sale.track_prices
            if terms:
                drafts += await chain.selling.price(each.id, terms, title=each.title)
        return drafts

    async def redraw(self, tiers: Sequence[Sold], wanted: Wanted) -> Choice:
        """Return who would keep the keys of tiers from now on.

        Delegates in force stay when they answer: what is sealed to them anew needs the key that they say.

        Args:
            tiers: of a release.
            wanted: with the delegates that are named now.

        Raises:
            UsageError, NetworkError: as ``Chooser.choose`` says.
        """
        kept, warnings = await self._kept(tiers, wanted.delegates)
        delegates = (*wanted.delegates, *kept)[:DELEGATES_MAX]
        choice = await self.choose(replace(wanted, delegates=delegates))
        return replace(choice, warnings=(*choice.warnings, *warnings))

    async def reissue(self, target: Target, wanted: Wanted) -> Reissued:
        """Split the keys of a release anew, or go on with a reissue that was interrupted.

        Args:
            target: the release in force with its tracks.
            wanted: who shall keep the keys.

        Raises:
            UsageError: nothing in it is sold, or it is not on the chain.
            NetworkError: the chain does not answer, or too few guardians do.
            NotPermittedError, VaultLockedError: only its artist can.
        """
        tiers = await self.sold(target)
        if not tiers:
            raise UsageError("nothing in this release is sold: its keys are public")
        known = await anchored(tiers, self._rights)
        if left := unanchored(tiers, known):
            if len(left) < len(tiers) or any(each.epoch for each in known):
                return Reissued(None, await self._anchor(target, None), None)
            raise UsageError("its keys were never anchored: run 'marina publish' with the same folder again")
        choice = await self.redraw(await self.latest(target), wanted)
        epochs = {(each.track_id, each.tier): right.epoch for each, right in zip(tiers, known, strict=True)}
        published = await self._publisher.reissue(target.signed, choice.terms, epochs)
        target = Target(published.signed, published.tracks, None)
        return Reissued(published, await self._anchor(target, None), choice)

    async def sold(self, target: Target) -> list[Sold]:
        """Return the tiers of a target that are not free, as its manifests name their keyboxes."""
        return await sold_tiers(target.meant, self._block)

    async def in_force(self, target: Target) -> list[Sold]:
        """Return the tiers of a target that are not free, with the later keyboxes that a delegate anchored.

        Raises:
            NetworkError: the chain does not answer.
            NotFoundError, NotPermittedError: as ``node.selling.sold.in_force`` says.
        """
        tiers = await self.sold(target)
        return await in_force(tiers, await anchored(tiers, self._rights), self._block) if tiers else []

    async def latest(self, target: Target) -> list[Sold]:
        """Return the tiers as ``in_force`` does, or as ``sold`` does where a later keybox is with nobody.

        The artist needs none of it: the keys come from the words.
        """
        try:
            return await self.in_force(target)
        except NotFoundError as err:
            log.warning("who keeps the keys now is not to be seen, so the release itself counts: %s", err)
            return await self.sold(target)

    async def quorum(self, target: Target) -> Quorum | None:
        """Ask who keeps the keys of a target; None when it is free."""
        return await weakest(await self.in_force(target), self._check)

    async def allow(self, thing: Named, writer: Account, is_allowed: bool, artist: Account) -> list[Draft]:
        """Return what lets an account anchor the keys of a release's tracks, or no longer; none if it is so.

        Raises:
            NotFoundError, NotPermittedError: a track is not registered, or another account's.
            NetworkError: the chain does not answer.
        """
        chain = self._chain.get()
        drafts: list[Draft] = []
        for each in things_of(thing, with_tracks=True):
            if each.release is None:
                continue
            await chain.offers.owned(each.id, artist)
            if await chain.selling.is_writer(each.id, writer) != is_allowed:
                drafts.append(chain.selling.allow(each.id, writer, is_allowed, title=each.title))
        return drafts

    async def account_of(self, holder: KeyHolder) -> Account:
        """Return whose node a delegate is; NetworkError when it does not say so."""
        chain_id, registry = self._place()
        return await self._chooser.account_of(holder, chain_id=chain_id, registry=registry)

    async def _anchor(self, target: Target, finality: int | None) -> tuple[Draft, ...]:
        tiers = await self.sold(target)
        if not tiers:
            return ()
        known = await anchored(tiers, self._rights)
        left = unanchored(tiers, known)
        before = {(each.track_id, each.tier): right for each, right in zip(tiers, known, strict=True)}
        anchors: list[Anchor] = []
        for each in left:
            right = before[each.track_id, each.tier]
            policy = right.finality if finality is None and right.epoch else finality_of(each, finality)
            anchors.append(Anchor(each.track_id, each.tier, each.digest, each.box.epoch, policy))
        registry = self._chain.get().contracts.registry
        return anchor_drafts(registry, anchors, title=target.signed.release.title)

    async def _kept(
        self, tiers: Sequence[Sold], delegates: Sequence[KeyHolder]
    ) -> tuple[list[KeyHolder], list[str]]:
        """Return the delegates in force that are not named again and say their key, and who does not."""
        named = {each.peer_key for each in delegates}
        kept: list[KeyHolder] = []
        warnings: list[str] = []
        chain_id, registry = self._place()
        for each in dict.fromkeys(d.delegate for tier in tiers for d in tier.box.delegates):
            if each in named:
                continue
            found = await self._chooser.keys_of(each, chain_id=chain_id, registry=registry)
            if found is not None:
                kept.append(found)
            else:
                who = short(peer_of_key(each))
                warnings.append(f"delegate {who} does not answer and was left out: name it with --delegate")
        return kept, warnings

    def _place(self) -> tuple[int, bytes]:
        chain = self._chain.get()
        return chain.profile.chain_id, chain.contracts.registry


def finality_of(tier: Sold, finality: int | None) -> int:
    """Return how final a purchase must be before a key is released.

    What was asked for; else one block, because a re-organised purchase loses one sale, and a finalized
    block for a release that opens at a later time: before it is out a leak costs more than one sale.
    """
    if finality is not None:
        return finality
    return FINALIZED if tier.box.not_before else ONE_BLOCK
