"""Publishing music that is sold: guarded keys, a free preview, and keyboxes that survive interruptions."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import immich_memories_music
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.clock import ManualClock
from marina.errors import DamagedError, LicenceNeededError, MalformedError, NetworkError, UsageError
from marina.secret import Secret
from storage.audio.sandbox import AudioSandbox, SandboxSettings
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.guarded import KeyHolder, join_key, open_full, open_share
from storage.content.holder_text import holder_text, parse_holder
from storage.content.keybox import MODE_DELEGATES, MODE_GUARDIANS, MODE_PUBLIC, parse_keybox
from storage.content.segments import SegmentOpener
from storage.identity.typed_data import account_of_key, sign_digest
from storage.kv import MemoryKv
from storage.publish.journal import Journal
from storage.publish.keyboxes import Keyboxes
from storage.publish.mending import Mender
from storage.publish.paid import PaidJournal, PaidRequest, PaidTerms
from storage.publish.publisher import Publisher, PublishRequest
from storage.publish.renditions import RenditionSealer
from storage.publish.tracks import TrackMaker
from storage.quota import Quota
from storage.retention import Retention

MUSIC = sorted(Path(immich_memories_music.__file__).parent.rglob("*.opus"))
KEY = b"\x07" * 32
REGISTRY = b"\x52" * 20


class Holder:
    def __init__(self) -> None:
        self.private = X25519PrivateKey.generate()
        self.keys = KeyHolder(os.urandom(32), self.private.public_key().public_bytes_raw())


class Owner:
    account = account_of_key(KEY)

    def account_signer(self):
        return self

    def sign_digest(self, digest):
        return sign_digest(KEY, digest)

    def content_root(self):
        return Secret(b"r" * 32)


class Chosen:
    """Chooses the same holders each time and counts how often it was asked."""

    def __init__(self, holders: list[Holder], *, k: int = 2, delegates: tuple[Holder, ...] = ()) -> None:
        self.holders, self.asked = holders, 0
        guardians = tuple(each.keys for each in holders)
        self.terms = PaidTerms(31337, REGISTRY, k, guardians, tuple(each.keys for each in delegates))

    @property
    def request(self) -> PaidRequest:
        return PaidRequest(31337, REGISTRY, self.choose)

    async def choose(self) -> PaidTerms:
        self.asked += 1
        return self.terms


async def silent(done, total, name):
    assert 0 <= done <= total


class Node:
    def __init__(self, home: Path, kv: MemoryKv, audio: AudioSandbox, blocks: EmbeddedBlockStore) -> None:
        self.blocks = blocks
        sealer = RenditionSealer(blocks=blocks, random=secrets.token_bytes, limiter=trio.CapacityLimiter(1))
        staging = home / "staging"
        staging.mkdir(exist_ok=True)
        maker = TrackMaker(audio=audio, blocks=blocks, pins=blocks.pins, sealer=sealer, staging=staging)
        journal, paid = Journal(kv), PaidJournal(kv, random=secrets.token_bytes)
        self.publisher = Publisher(
            owner=Owner(),
            maker=maker,
            mender=Mender(
                maker=maker, sealer=sealer, blocks=blocks, pins=blocks.pins, journal=journal, paid=paid
            ),
            blocks=blocks,
            pins=blocks.pins,
            journal=journal,
            keyboxes=Keyboxes(blocks=blocks, pins=blocks.pins, paid=paid),
            clock=ManualClock(),
            random=secrets.token_bytes,
        )

    async def publish(self, path: Path, chosen: Chosen | None, report=silent):
        paid = None if chosen is None else chosen.request
        return await self.publisher.publish(PublishRequest(path, paid=paid), report)

    async def box(self, track, tier: int):
        return parse_keybox(await self.blocks.get(track.rendition(tier).keybox))

    async def plain(self, track, tier: int, key: Secret[bytes]) -> bytes:
        rendition = track.rendition(tier)
        opener = SegmentOpener(rendition.run, key, rendition.kc, rendition.layout.plan.count)
        parts = await self.blocks.get_segments(rendition.layout.root, range(rendition.layout.plan.count))
        return b"".join(opener.open_segment(i, part) for i, part in enumerate(parts))


@asynccontextmanager
async def node_at(home: Path, kv: MemoryKv | None = None):
    kv = kv or MemoryKv()
    audio = AudioSandbox(settings=SandboxSettings(workers=1))
    blocks = EmbeddedBlockStore(kv=kv, directory=home / "blobs", quota=Quota(1 << 30))
    await blocks.open()
    async with audio.opened():
        yield Node(home, kv, audio, blocks)
    await blocks.close()


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "Night Drive"
    folder.mkdir()
    for number, source in enumerate(MUSIC[:2]):
        shutil.copy(source, folder / f"{number} {source.name}")
    return folder


@pytest.fixture
def song(tmp_path):
    folder = tmp_path / "Single"
    folder.mkdir()
    shutil.copy(MUSIC[0], folder / "song.opus")
    return folder


async def test_a_sold_track_opens_for_k_guardians_and_its_preview_for_everybody(tmp_path, song):
    holders, delegate = [Holder() for _ in range(3)], Holder()
    chosen = Chosen(holders, delegates=(delegate,))
    async with node_at(tmp_path) as node:
        ((_, track),) = (await node.publish(song, chosen)).tracks
        preview = await node.box(track, 0)
        assert preview.mode == MODE_PUBLIC
        clip = await node.plain(track, 0, preview.open_public(track.rendition(0).run.key_name))
        assert clip.startswith(b"OggS")
        for tier in (1, 2):
            box, name = await node.box(track, tier), track.rendition(tier).run.key_name
            assert (box.mode, box.k, box.n, box.epoch, box.registry) == (MODE_GUARDIANS, 2, 3, 1, REGISTRY)
            with pytest.raises(LicenceNeededError):
                box.open_public(name)
            shares = dict(open_share(box, each.keys.peer_key, each.private) for each in holders[1:])
            key = join_key(box, name, shares)
            assert key == open_full(box, delegate.keys.peer_key, delegate.private)
            with pytest.raises(DamagedError):
                join_key(box, name, dict([open_share(box, holders[0].keys.peer_key, holders[0].private)]))
        assert await node.plain(track, 2, key) == (song / "song.opus").read_bytes()
        assert await node.blocks.pins.retention(track.rendition(2).keybox) is Retention.OWN


async def test_each_track_and_tier_has_a_key_of_its_own(tmp_path, album):
    holders = [Holder(), Holder()]
    async with node_at(tmp_path) as node:
        keys = set()
        for _, track in (await node.publish(album, Chosen(holders))).tracks:
            for tier in (1, 2):
                box, name = await node.box(track, tier), track.rendition(tier).run.key_name
                shares = dict(open_share(box, each.keys.peer_key, each.private) for each in holders)
                keys.add(join_key(box, name, shares).reveal())
            keys.add((await node.box(track, 0)).open_public(track.rendition(0).run.key_name).reveal())
    assert len(keys) == 6


async def test_an_interrupted_run_keeps_its_guardians_and_the_keyboxes_that_were_made(tmp_path, album):
    class StopError(Exception):
        pass

    async def stop_at_second(done, total, name):
        if done == 1:
            raise StopError

    kv, chosen = MemoryKv(), Chosen([Holder(), Holder()])
    async with node_at(tmp_path, kv) as node:
        with pytest.raises(StopError):
            await node.publish(album, chosen, stop_at_second)
    made = [block for key, block in kv._values.items() if key.startswith(b"publish-keybox")]
    assert len(made) == 2
    other = Chosen([Holder(), Holder(), Holder()], k=3)
    async with node_at(tmp_path, kv) as node:
        done = await node.publish(album, other)
        boxes = [await node.box(track, tier) for _, track in done.tracks for tier in (1, 2)]
        again = await node.publish(album, other)
    assert {box.to_bytes() for box in boxes} >= set(made)
    assert {(box.k, box.n) for box in boxes} == {(2, 2)}
    assert (chosen.asked, other.asked) == (1, 0)
    assert again.is_unchanged
    assert again.signed.cid == done.signed.cid


async def test_a_keybox_that_was_begun_and_never_named_is_used_when_the_run_goes_on(tmp_path, song):
    class FullError(Exception):
        pass

    kv, chosen = MemoryKv(), Chosen([Holder(), Holder()])
    async with node_at(tmp_path, kv) as node:
        put = node.blocks.put
        puts = []

        async def failing(cid, block):
            puts.append(block)
            if len(puts) == 3:
                raise FullError
            await put(cid, block)

        node.blocks.put = failing
        with pytest.raises(FullError):
            await node.publish(song, chosen)
    made = {block for key, block in kv._values.items() if key.startswith(b"publish-keybox")}
    assert made
    async with node_at(tmp_path, kv) as node:
        ((_, track),) = (await node.publish(song, chosen)).tracks
        assert made <= {(await node.box(track, tier)).to_bytes() for tier in (1, 2)}


async def test_nothing_is_published_when_no_guardians_are_to_be_had(tmp_path, song):
    async def nobody():
        raise NetworkError("no guardian answers")

    async with node_at(tmp_path) as node:
        with pytest.raises(NetworkError):
            await node.publisher.publish(
                PublishRequest(song, paid=PaidRequest(31337, REGISTRY, nobody)), silent
            )
        assert (await node.blocks.stat()).renditions == 0


async def test_the_same_files_for_free_and_for_money_are_two_releases(tmp_path, song):
    async with node_at(tmp_path) as node:
        free = await node.publish(song, None)
        sold = await node.publish(song, Chosen([Holder(), Holder()]))
        assert free.signed.release.release_id != sold.signed.release.release_id
        assert {(await node.box(free.tracks[0][1], tier)).mode for tier in (0, 1, 2)} == {MODE_PUBLIC}


async def test_a_lost_keybox_is_mended_from_its_copy(tmp_path, song):
    kv, chosen = MemoryKv(), Chosen([Holder(), Holder()])
    async with node_at(tmp_path, kv) as node:
        ((_, track),) = (await node.publish(song, chosen)).tracks
        cid = track.rendition(1).keybox
        block = await node.blocks.get(cid)
        await node.blocks.delete(cid)
        again = await node.publish(song, chosen)
        assert again.mended.missing == 0
        assert again.mended.blocks == 1
        assert await node.blocks.get(cid) == block


async def test_another_file_for_a_sold_track_is_sold_too(tmp_path, song):
    holders = [Holder(), Holder()]
    fixed = tmp_path / "fixed.opus"
    shutil.copy(MUSIC[1], fixed)
    async with node_at(tmp_path) as node:
        first = await node.publish(song, Chosen(holders))
        second = await node.publisher.update(first.signed, replace_track=(1, fixed))
        (_, before), (_, after) = first.tracks[0], second.tracks[0]
        assert [each.keybox for each in before.renditions] == [each.keybox for each in after.renditions]
        box, name = await node.box(after, 2), after.rendition(2).run.key_name
        shares = dict(open_share(box, each.keys.peer_key, each.private) for each in holders)
        assert await node.plain(after, 2, join_key(box, name, shares)) == fixed.read_bytes()


async def test_a_reissue_splits_the_same_key_anew_and_old_shares_do_not_fit(tmp_path, song):
    old, new = [Holder() for _ in range(3)], [Holder() for _ in range(4)]
    async with node_at(tmp_path) as node:
        first = await node.publish(song, Chosen(old))
        (_, before) = first.tracks[0]
        terms = replace(Chosen(new, k=3).terms, delegates=())
        second = await node.publisher.reissue(first.signed, terms, {(before.track_id, 1): 7})
        (_, after) = second.tracks[0]
        assert (second.signed.release.version, after.version) == (2, 2)
        assert after.rendition(0).keybox == before.rendition(0).keybox
        assert [each.layout.root for each in after.renditions] == [
            each.layout.root for each in before.renditions
        ]
        epochs = {tier: (await node.box(after, tier)).epoch for tier in (1, 2)}
        assert epochs == {1: 8, 2: 2}
        name = after.rendition(1).run.key_name
        old_box, new_box = await node.box(before, 1), await node.box(after, 1)
        old_shares = dict(open_share(old_box, each.keys.peer_key, each.private) for each in old)
        new_shares = dict(open_share(new_box, each.keys.peer_key, each.private) for each in new)
        old_two = {x: old_shares[x] for x in (1, 2)}
        assert join_key(old_box, name, old_two) == join_key(new_box, name, new_shares)
        for box in (old_box, new_box):
            with pytest.raises(DamagedError):
                join_key(box, name, {**new_shares, 1: old_shares[1]})
        await node.blocks.delete(after.rendition(1).keybox)
        assert (await node.publish(song, Chosen(old))).mended.missing == 0


async def test_a_reissue_to_delegates_alone_and_none_of_what_is_free(tmp_path, song):
    delegate = Holder()
    async with node_at(tmp_path) as node:
        sold = await node.publish(song, Chosen([Holder(), Holder()]))
        terms = Chosen([], k=0, delegates=(delegate,)).terms
        ((_, track),) = (await node.publisher.reissue(sold.signed, terms, {})).tracks
        box = await node.box(track, 2)
        assert box.mode == MODE_DELEGATES
        key = open_full(box, delegate.keys.peer_key, delegate.private)
        assert await node.plain(track, 2, key) == (song / "song.opus").read_bytes()
        free = await node.publish(song, None)
        with pytest.raises(UsageError):
            await node.publisher.reissue(free.signed, terms, {})


def test_the_text_of_a_key_holder_is_read_back_and_a_slip_is_noticed():
    holder = Holder().keys
    text = holder_text(holder)
    assert parse_holder(f" {text}\n") == holder
    for at in (3, 40, len(text) - 1):
        slip = text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :]
        with pytest.raises(MalformedError, match="slip"):
            parse_holder(slip)
    for wrong in ("", "gk_", text[:-1], text + "a", text[3:], text.upper(), "gk_" + "é" * 100):
        with pytest.raises(MalformedError):
            parse_holder(wrong)
