"""The delegate's side of a sale: split the keys anew when guardians vanish and the artist is gone.

What is published stays as the artist signed it. The new keyboxes count because the chain names them, from
an account that the artist lets anchor. Source: design, security §1.9; docs/protocol/key-release.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chain.market.anchoring import Anchor, anchor_drafts
from marina.cid import Cid
from marina.errors import DamagedError, NotFoundError, NotPermittedError, UsageError
from marina.ids import Account, account_text, release_text
from marina.secret import Secret
from node.chain.service import ChainService
from node.keys.rights import ChainRights
from node.library import Target
from node.selling.choosing import Choice, Wanted
from node.selling.desk import Reissued, SellingDesk
from node.selling.sold import Sold, anchored
from storage.content.guarded import KeyHolder, open_full
from storage.content.keybox import Keybox
from storage.content.keys import KeyName, check_commitment
from storage.publish.paid import PaidJournal


class DelegateDesk:
    """Reissues releases of others that name this node as a delegate."""

    def __init__(
        self,
        *,
        desk: SellingDesk,
        chain: ChainService,
        rights: ChainRights,
        journal: PaidJournal,
        publish: Callable[[Cid, bytes], Awaitable[None]],
        own_key: bytes,
        private_key: Callable[[], X25519PrivateKey],
    ) -> None:
        """Take the collaborators.

        Args:
            desk: draws guardians.
            chain: says who may anchor.
            rights: says what is anchored.
            journal: keeps the keyboxes that are made.
            publish: keeps a small block and lets everybody find it here.
            own_key: this node's Ed25519 key.
            private_key: returns what opens what is sealed to this node; VaultLockedError while locked.
        """
        self._desk = desk
        self._chain = chain
        self._rights = rights
        self._journal = journal
        self._publish = publish
        self._own_key = own_key
        self._private_key = private_key

    async def redraw(self, target: Target, wanted: Wanted, account: Account) -> Choice:
        """Return who would keep the keys from now on; errors as for ``reissue``."""
        tiers, _ = await self._opened(target, account)
        return await self._choose(tiers, wanted)

    async def reissue(self, target: Target, wanted: Wanted, account: Account) -> Reissued:
        """Split the keys of a release anew, or go on with a reissue that was not anchored.

        Args:
            target: a release of somebody else with its tracks.
            wanted: who shall keep the keys; this node stays a delegate.
            account: pays, and must be let anchor.

        Raises:
            UsageError: nothing in it is sold, or its keys were never anchored.
            NotPermittedError: this node is no delegate, or the account may not anchor.
            VaultLockedError: the vault is locked.
            DamagedError: what is sealed to this node is not the key.
            NetworkError: the chain does not answer, or too few guardians do.
        """
        tiers, keys = await self._opened(target, account)
        known = await anchored(tiers, self._rights)
        made = [
            await self._journal.made(each.track_id, each.tier, right.epoch + 1)
            for each, right in zip(tiers, known, strict=True)
        ]
        boxes = [each for each in made if each is not None]
        choice = None
        if len(boxes) < len(tiers):  # a reissue that was cut off before its last keybox is begun anew
            choice = await self._choose(tiers, wanted)
            boxes = [
                await self._journal.next(name, key, each.box.kc, choice.terms, right.epoch + 1)
                for each, right, (name, key) in zip(tiers, known, keys, strict=True)
            ]
        for box in boxes:
            await self._publish(box.cid, box.to_bytes())
        anchors = [
            Anchor(box.track_id, box.tier, box.cid[-32:], box.epoch, right.finality)
            for box, right in zip(boxes, known, strict=True)
        ]
        registry = self._chain.get().contracts.registry
        return Reissued(None, anchor_drafts(registry, anchors, title=target.signed.release.title), choice)

    async def _choose(self, tiers: list[Sold], wanted: Wanted) -> Choice:
        public_key = self._private_key().public_key().public_bytes_raw()
        others = tuple(each for each in wanted.delegates if each.peer_key != self._own_key)
        own = KeyHolder(self._own_key, public_key)
        return await self._desk.redraw(tiers, replace(wanted, delegates=(own, *others)))

    async def _opened(
        self, target: Target, account: Account
    ) -> tuple[list[Sold], list[tuple[KeyName, Secret[bytes]]]]:
        """Return the tiers that are sold with their keys, once it is sure that this node may split them."""
        tiers = await self._desk.in_force(target)
        if not tiers:
            raise UsageError("nothing in this release is sold: its keys are public")
        title, release = target.signed.release.title, release_text(target.signed.release.release_id)
        private_key = self._private_key()
        names = {
            (track.track_id, each.tier): each.run.key_name
            for track in target.meant
            for each in track.renditions
        }
        keys: list[tuple[KeyName, Secret[bytes]]] = []
        for tier in tiers:
            name = names[tier.track_id, tier.tier]
            keys.append((name, self._key(tier.box, name, private_key, title)))
        selling = self._chain.get().selling
        for track in dict.fromkeys(each.track_id for each in tiers):
            if not await selling.is_writer(track, account):
                raise NotPermittedError(
                    f"{account_text(account)} may not anchor the keys of “{title}”: its artist allows that "
                    f"with 'marina release allow {release[:14]} {account_text(account)}'"
                )
        return tiers, keys

    def _key(self, box: Keybox, name: KeyName, private_key: X25519PrivateKey, title: str) -> Secret[bytes]:
        try:
            key = open_full(box, self._own_key, private_key)
            check_commitment(key, name, box.kc)
        except NotFoundError as err:
            raise NotPermittedError(
                f"this node is no delegate of “{title}”: its artist names one with 'marina release reissue "
                "--delegate', or reissues it there"
            ) from err
        except DamagedError as err:
            raise DamagedError(
                f"what is sealed to this node for “{title}” is not its key: ask its artist to name this node "
                "anew, with 'marina release reissue --delegate'"
            ) from err
        return key
