"""A delegate's reissue: what it must be able to do, what it makes, and how it goes on when it was cut off."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chain.right import ListeningRight
from marina.cid import RAW, cid_of
from marina.errors import DamagedError, NotFoundError, NotPermittedError, UsageError
from marina.ids import Account, TrackId
from marina.secret import Secret
from node.selling.choosing import Choice, Wanted
from node.selling.delegate import DelegateDesk
from node.selling.desk import SellingDesk
from node.selling.sold import Sold, in_force
from storage.content.guarded import KeyHolder, guarded_keybox, join_key, open_full, open_share
from storage.content.keybox import Keybox
from storage.content.keys import KeyName, key_commitment
from storage.errors import VaultLockedError
from storage.kv import MemoryKv
from storage.publish.paid import PaidJournal, PaidTerms

CHAIN_ID, REGISTRY, ACCOUNT = 31337, Account(b"\x52" * 20), Account(b"\x11" * 20)
TRACKS = [TrackId(bytes((i,)) * 32) for i in (1, 2)]
KEY = Secret(b"K" * 32)


class Holder:
    def __init__(self) -> None:
        self.private = X25519PrivateKey.generate()
        self.keys = KeyHolder(os.urandom(32), self.private.public_key().public_bytes_raw())


def name_of(track: TrackId) -> KeyName:
    return KeyName(track, 1, 1)


class World:
    """Two tracks of an artist, anchored with this node as delegate, and guardians to be drawn."""

    def __init__(self, *, key: Secret[bytes] = KEY) -> None:
        self.me, self.old, self.new = Holder(), Holder(), [Holder() for _ in range(3)]
        self.writers, self.is_locked, self.draws = {ACCOUNT}, False, 0
        self.published: dict[bytes, bytes] = {}
        self.journal = PaidJournal(MemoryKv(), random=os.urandom)
        self.boxes = [self.box(track, 4, key) for track in TRACKS]

    def box(self, track: TrackId, epoch: int, key: Secret[bytes] = KEY) -> Keybox:
        return guarded_keybox(
            name_of(track), key, key_commitment(KEY, name_of(track)), chain_id=CHAIN_ID, registry=REGISTRY,
            epoch=epoch, k=1, guardians=[self.old.keys], delegates=[self.me.keys], random=os.urandom,
        )  # fmt: skip

    def right(self, box: Keybox) -> ListeningRight:
        return ListeningRight(None, 0, box.cid[-32:], box.epoch, 2, 9, 1000)

    @property
    def target(self) -> Any:
        meant = [
            SimpleNamespace(
                track_id=each,
                renditions=[SimpleNamespace(tier=1, run=SimpleNamespace(key_name=name_of(each)))],
            )
            for each in TRACKS
        ]
        release = SimpleNamespace(title="Album", release_id=b"\x09" * 32)
        return SimpleNamespace(signed=SimpleNamespace(release=release), meant=meant)

    async def in_force(self, target: Any) -> list[Sold]:
        await trio.lowlevel.checkpoint()
        return [Sold(each.track_id, 1, each) for each in self.boxes]

    async def redraw(self, tiers: list[Sold], wanted: Wanted) -> Choice:
        await trio.lowlevel.checkpoint()
        self.draws += 1
        guardians = tuple(each.keys for each in self.new)
        return Choice(PaidTerms(CHAIN_ID, REGISTRY, 2, guardians, wanted.delegates), (), ())

    async def of(self, tiers: Any) -> list[ListeningRight]:
        await trio.lowlevel.checkpoint()
        return [self.right(each) for each in self.boxes]

    async def is_writer(self, thing: bytes, account: Account) -> bool:
        await trio.lowlevel.checkpoint()
        return account in self.writers

    async def publish(self, cid: bytes, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.published[cid] = data

    def private_key(self) -> X25519PrivateKey:
        if self.is_locked:
            raise VaultLockedError("the vault is locked")
        return self.me.private

    def get(self) -> Any:
        return SimpleNamespace(selling=self, contracts=SimpleNamespace(registry=REGISTRY))

    async def reissue(self, own_key: bytes | None = None) -> Any:
        parts: Any = self
        desk = DelegateDesk(
            desk=parts, chain=parts, rights=parts, journal=self.journal, publish=parts.publish,
            own_key=own_key or self.me.keys.peer_key, private_key=self.private_key,
        )  # fmt: skip
        return await desk.reissue(self.target, Wanted(3, 2), ACCOUNT)

    async def made(self) -> list[Keybox]:
        found = [await self.journal.made(each, 1, 5) for each in TRACKS]
        return [each for each in found if each is not None]


async def test_the_same_key_is_split_among_others_in_the_next_epoch_and_the_delegate_stays():
    world = World()
    done = await world.reissue()
    boxes = await world.made()
    assert {each.cid: each.to_bytes() for each in boxes} == world.published
    for box in boxes:
        name = name_of(box.track_id)
        assert (box.epoch, box.k, box.n, box.kc) == (5, 2, 3, key_commitment(KEY, name))
        shares = dict(open_share(box, each.keys.peer_key, each.private) for each in world.new[1:])
        assert join_key(box, name, shares).reveal() == KEY.reveal()
        assert open_full(box, world.me.keys.peer_key, world.me.private).reveal() == KEY.reveal()
    (draft,) = done.drafts
    assert (draft.what, draft.to, done.published) == ("registry.anchor", REGISTRY, None)
    assert all(each.cid[-32:] in draft.data for each in boxes)


async def test_one_that_was_not_anchored_goes_on_and_one_that_was_cut_off_begins_anew():
    world = World()
    first = await world.reissue()
    again = await world.reissue()
    assert (again.drafts, again.choice, world.draws) == (first.drafts, None, 1)
    world = World()
    await world.journal.next(
        name_of(TRACKS[0]), KEY, world.boxes[0].kc,
        PaidTerms(CHAIN_ID, REGISTRY, 1, (world.old.keys,), (world.me.keys,)), 5,
    )  # fmt: skip
    await world.reissue()
    assert [(each.k, each.n) for each in await world.made()] == [(2, 3)] * 2


async def test_who_cannot_is_told_why_and_nothing_is_made():
    world = World()
    with pytest.raises(NotPermittedError, match="no delegate of “Album”"):
        await world.reissue(os.urandom(32))
    world.writers.clear()
    with pytest.raises(NotPermittedError, match=r"may not anchor the keys of “Album”: .*release allow rl_"):
        await world.reissue()
    world.is_locked = True
    with pytest.raises(VaultLockedError):
        await world.reissue()
    assert (world.published, world.draws, await world.made()) == ({}, 0, [])


async def test_a_sealed_key_that_is_not_the_committed_one_is_spread_no_further():
    world = World(key=Secret(b"x" * 32))
    with pytest.raises(DamagedError, match="is not its key"):
        await world.reissue()
    world = World()
    world.me.private = X25519PrivateKey.generate()
    with pytest.raises(DamagedError, match="is not its key"):
        await world.reissue()
    world.boxes = []
    with pytest.raises(UsageError, match="nothing in this release is sold"):
        await world.reissue()


async def test_the_later_keybox_of_the_chain_is_in_force_and_no_other():
    world = World()
    manifest = [Sold(TRACKS[0], 1, world.box(TRACKS[0], 1))]
    later = world.boxes[0]
    at: dict[bytes, bytes] = {later.cid: later.to_bytes()}

    async def block(root: bytes, cid: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        if cid not in at:
            raise NotFoundError("nobody has it")
        return at[cid]

    (found,) = await in_force(manifest, [world.right(later)], block)
    assert found.box == later
    assert await in_force(manifest, [world.right(manifest[0].box)], block) == manifest
    other = world.boxes[1]
    at[other.cid] = other.to_bytes()
    with pytest.raises(NotPermittedError, match="open something else"):
        await in_force(manifest, [world.right(other)], block)
    rubbish = cid_of(b"rubbish", RAW)
    at[rubbish] = b"rubbish"
    with pytest.raises(NotPermittedError, match="no keybox"):
        await in_force(manifest, [ListeningRight(None, 0, rubbish[-32:], 9, 0, 9, 1000)], block)
    at.clear()
    with pytest.raises(NotFoundError):
        await in_force(manifest, [world.right(later)], block)


async def test_without_the_later_keybox_the_artist_goes_by_the_release():
    world = World()
    manifest = [Sold(TRACKS[0], 1, world.box(TRACKS[0], 1))]

    class Desk(SellingDesk):
        def __init__(self) -> None:
            pass

        async def in_force(self, target: Any) -> list[Sold]:
            await trio.lowlevel.checkpoint()
            raise NotFoundError("nobody has it")

        async def sold(self, target: Any) -> list[Sold]:
            await trio.lowlevel.checkpoint()
            return manifest

    assert await Desk().latest(world.target) == manifest
