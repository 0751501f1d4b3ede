"""Nothing is sold that could not be heard: the sound, the keyboxes and the guardians are looked at first."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from chain.right import ListeningRight
from marina.errors import NetworkError, NotPermittedError
from node.keys.assurance import Assurer, NotAssuredError
from node.keys.quorum import QuorumCheck
from storage.content.keybox import public_keybox
from storage.content.segments import CipherRun
from storage.content.track import TrackManifest
from streaming.errors import NobodyHasItError
from tests.support.guardians import KC, KEY, NAME, TRACK, Guardian, Party
from tests.support.listening import Sealed


class Shop:
    """A track with a stream and an original, its guardians, and who has the sound."""

    def __init__(self, clock, *kinds):
        self.line = Party([Guardian(f"g{i}", clock, kind) for i, kind in enumerate(kinds)])
        self.box = self.line.box()
        now_s = clock.now_s()
        self.right = ListeningRight(None, 0, self.box.cid[-32:], 1, 0, 50, now_s)
        self.is_free = self.has_no_keybox = self.is_unanchored = False
        self.has_sound = True
        self.boxes_asked = 0
        sealed = Sealed(b"sound" * 1000)
        manifest = sealed.manifest()
        run = CipherRun(TRACK, NAME.tier, NAME.key_version, 1, b"f" * 32)
        one = replace(manifest.renditions[0], run=run, kc=KC)
        two = replace(one, run=replace(run, tier=2))
        self.track: TrackManifest = replace(manifest, renditions=(one, two))

    async def block(self, root, cid):
        await trio.lowlevel.checkpoint()
        if self.has_no_keybox:
            raise NetworkError("nobody has it")
        return (public_keybox(NAME, KEY, KC) if self.is_free else self.box).to_bytes()

    async def of(self, tiers):
        await trio.lowlevel.checkpoint()
        return [self.right for _ in tiers]

    async def keybox(self, rendition, right):
        self.boxes_asked += 1
        await trio.lowlevel.checkpoint()
        if self.is_unanchored:
            raise NotPermittedError("its artist has not anchored the keys")
        return self.box

    async def have(self, root):
        await trio.lowlevel.checkpoint()
        return frozenset()

    @asynccontextmanager
    async def fetching(self, layout):
        yield self

    async def segment(self, index):
        await trio.sleep(0.01)
        if not self.has_sound:
            raise NobodyHasItError("nobody has it")
        return b""

    def assurer(self):
        return Assurer(
            rights=self, keyring=self, check=QuorumCheck(line=self.line), blocks=self, downloads=self,
            block=self.block,
        )  # fmt: skip


async def test_what_can_be_heard_is_sold_and_a_set_of_guardians_is_asked_once(clock, autojump_clock):
    shop = Shop(clock, *["honest"] * 5)
    found = await shop.assurer().check([shop.track] * 6, 2)
    assert (found.tiers, found.available, found.quorum.ready >= 3) == (12, 12, True)
    assert shop.boxes_asked == 12
    assert all(each.asked <= 1 for each in shop.line.guardians)


async def test_a_stream_licence_looks_at_the_stream_alone(clock, autojump_clock):
    shop = Shop(clock, *["honest"] * 5)
    assert (await shop.assurer().check([shop.track], 1)).tiers == 1


async def test_without_a_quorum_nothing_is_sold(clock, autojump_clock):
    shop = Shop(clock, "honest", "honest", "gone", "silent", "garbage")
    with pytest.raises(NotAssuredError, match="2 of 5 guardians are ready and 3 are needed"):
        await shop.assurer().check([shop.track], 1)


@pytest.mark.parametrize("lacks", ["has_no_keybox", "is_unanchored"])
async def test_without_its_keys_nothing_is_sold(lacks, clock, autojump_clock):
    shop = Shop(clock, *["honest"] * 5)
    setattr(shop, lacks, True)
    with pytest.raises(NotAssuredError, match="nothing was paid"):
        await shop.assurer().check([shop.track], 1)


@pytest.mark.parametrize(("later_s", "when"), [(86_400, "2023-11-15"), (2**63, "9999-12-31")])
async def test_what_cannot_be_heard_yet_is_not_sold(later_s, when, clock, autojump_clock):
    shop = Shop(clock, *["honest"] * 5)
    shop.box = replace(shop.box, not_before=clock.now_s() + later_s)
    with pytest.raises(NotAssuredError, match=f"can be heard from {when}"):
        await shop.assurer().check([shop.track], 1)


async def test_without_its_sound_nothing_is_sold(clock, autojump_clock):
    shop = Shop(clock, *["honest"] * 5)
    shop.has_sound = False
    with pytest.raises(NotAssuredError, match="nobody who is reachable has the sound"):
        await shop.assurer().check([shop.track], 1)


async def test_free_music_needs_no_guardian(clock, autojump_clock):
    shop = Shop(clock, *["gone"] * 5)
    shop.is_free = True
    found = await shop.assurer().check([shop.track], 1)
    assert (found.tiers, found.quorum) == (0, None)
    assert all(each.asked == 0 for each in shop.line.guardians)
