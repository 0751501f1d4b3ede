"""Keyboxes that the chain names and no manifest does: copied by whoever keeps the release."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import trio

from marina.cid import Cid, cid_of
from marina.errors import NotFoundError
from marina.ids import TrackId
from marina.secret import Secret
from node.selling.copies import EVERY_S, FIRST_S, KeyboxCopies
from storage.content.guarded import KeyHolder, guarded_keybox
from storage.content.keys import KeyName, key_commitment
from tests.support.guardians import CHAIN_ID, REGISTRY

RELEASE = cid_of(b"release")
TRACK = TrackId(b"\x01" * 32)
KEY = Secret(b"K" * 32)


def box(epoch: int, track: TrackId = TRACK):
    name = KeyName(track, 1, 1)
    return guarded_keybox(
        name, KEY, key_commitment(KEY, name), chain_id=CHAIN_ID, registry=REGISTRY, epoch=epoch, k=1,
        guardians=[KeyHolder(os.urandom(32), os.urandom(32))], delegates=[], random=os.urandom,
    )  # fmt: skip


class World:
    """A node that keeps one release, a chain that names keyboxes, and peers that have some."""

    def __init__(self) -> None:
        self.manifest = box(1)
        self.here: dict[Cid, bytes] = {self.manifest.cid: self.manifest.to_bytes()}
        self.peers: dict[Cid, bytes] = {}
        self.held: list[Cid] = []
        self.announced: list[Cid] = []
        self.reads = 0
        self.row = None
        self.has_chain = True
        self.copies = KeyboxCopies(
            kept=self._kept, version=self._version, anchored=lambda: self if self.has_chain else None,
            has=self._has, fetch=self._fetch, hold=self._hold, announce=self._announce,
        )  # fmt: skip

    def anchor(self, found, *, epoch=None):
        self.row = SimpleNamespace(digest=found.cid[-32:], epoch=found.epoch if epoch is None else epoch)

    async def keybox(self, number, tier):
        assert (number, tier) == (TRACK, 1)
        return self.row

    async def _kept(self):
        return [RELEASE]

    async def _version(self, _release):
        self.reads += 1
        rendition = SimpleNamespace(tier=1, keybox=self.manifest.cid)
        return SimpleNamespace(tracks=[(RELEASE, SimpleNamespace(track_id=TRACK, renditions=[rendition]))])

    async def _has(self, cid):
        return cid in self.here

    async def _fetch(self, root, cid):
        assert root == cid
        if cid not in self.peers:
            raise NotFoundError("nobody has it")
        self.here[cid] = self.peers[cid]
        return self.here[cid]

    async def _hold(self, cid):
        self.held.append(cid)

    async def _announce(self, cids):
        self.announced += cids


async def test_what_the_chain_names_is_brought_held_and_announced_once():
    world = World()
    assert await world.copies.look() == 0, "nothing is anchored"
    world.anchor(world.manifest)
    assert await world.copies.look() == 0, "it is the manifest's own"
    new = box(2)
    world.peers[new.cid] = new.to_bytes()
    world.anchor(new)
    assert [await world.copies.look() for _ in range(3)] == [1, 0, 0]
    assert world.here[new.cid] == new.to_bytes()
    assert world.held == world.announced == [new.cid]
    assert world.reads == 1, "manifests are read once"


async def test_what_nobody_has_yet_is_tried_again_each_minute(autojump_clock):
    world, new = World(), box(2)
    world.anchor(new)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.copies.run)
        await trio.sleep(FIRST_S + EVERY_S + 1)
        assert not world.held
        world.peers[new.cid] = new.to_bytes()
        await trio.sleep(EVERY_S)
        assert world.held == [new.cid]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("other", [box(2, TrackId(b"\x02" * 32)), None])
async def test_a_keybox_of_something_else_is_neither_held_nor_announced(other):
    world = World()
    found = box(2) if other is None else other
    world.peers[found.cid] = found.to_bytes()
    world.anchor(found, epoch=9 if other is None else None)
    assert await world.copies.look() == 0
    assert not world.held + world.announced


async def test_without_a_chain_nothing_is_looked_at():
    world = World()
    world.has_chain = False
    world.anchor(box(2))
    assert await world.copies.look() == 0
    assert world.reads == 0
