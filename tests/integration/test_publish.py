"""Publishing real music: resumable, idempotent, honest about what it leaves out."""

from __future__ import annotations

import os
import secrets
import shutil
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import immich_memories_music
import pytest
import trio

from marina.clock import ManualClock
from marina.errors import NotFoundError, NotPermittedError, UsageError
from marina.secret import Secret
from storage.audio.errors import AudioError
from storage.audio.sandbox import AudioSandbox, SandboxSettings
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.keybox import parse_keybox
from storage.content.release import open_release
from storage.content.segments import SegmentOpener
from storage.identity.typed_data import account_of_key, sign_digest
from storage.kv import MemoryKv
from storage.publish import publisher
from storage.publish.journal import Journal
from storage.publish.keyboxes import Keyboxes
from storage.publish.mending import Mender
from storage.publish.models import Mended
from storage.publish.paid import PaidJournal
from storage.publish.publisher import Publisher, PublishRequest
from storage.publish.renditions import RenditionSealer
from storage.publish.tracks import TrackMaker
from storage.quota import Quota
from storage.repo import Repo
from storage.retention import Retention

MUSIC = sorted(Path(immich_memories_music.__file__).parent.rglob("*.opus"))
KEY = b"\x07" * 32
NOBODY = 65_534


class Owner:
    account = account_of_key(KEY)

    def account_signer(self):
        return self

    def sign_digest(self, digest):
        return sign_digest(KEY, digest)

    def content_root(self):
        return Secret(b"r" * 32)


async def silent(done, total, name):
    assert 0 <= done <= total


class Node:
    def __init__(self, home: Path, kv: MemoryKv, audio: AudioSandbox, blocks: EmbeddedBlockStore) -> None:
        self.audio = audio
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
            tracks_at_once=2,
        )

    async def publish(self, path: Path, **options):
        return await self.publisher.publish(PublishRequest(path, **options), silent)

    async def original(self, track) -> bytes:
        rendition = track.rendition(2)
        box = parse_keybox(await self.blocks.get(rendition.keybox))
        key = box.open_public(rendition.run.key_name)
        count = rendition.layout.plan.count
        opener = SegmentOpener(rendition.run, key, rendition.kc, count)
        parts = await self.blocks.get_segments(rendition.layout.root, range(count))
        return b"".join(opener.open_segment(i, part) for i, part in enumerate(parts))


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "Night Drive"
    folder.mkdir()
    for number, source in enumerate(MUSIC[:2]):
        shutil.copy(source, folder / f"{number} {source.name}")
    return folder


@asynccontextmanager
async def node_at(home: Path, kv: MemoryKv | None = None, quota: int = 1 << 30):
    kv = kv or MemoryKv()
    audio = AudioSandbox(settings=SandboxSettings(workers=2))
    blocks = EmbeddedBlockStore(kv=kv, directory=home / "blobs", quota=Quota(quota))
    await blocks.open()
    async with audio.opened():
        yield Node(home, kv, audio, blocks)
    await blocks.close()


async def test_a_published_folder_opens_to_the_artists_bytes(tmp_path, album):
    async with node_at(tmp_path) as node:
        done = await node.publish(album, terms="CC0-1.0", tags=("night",))
        assert done.signed.release.title == "Night Drive"
        assert open_release(done.signed.block).cid == done.signed.cid
        assert [cid for cid, _ in done.tracks] == list(done.signed.release.tracks)
        for (_, track), file in zip(done.tracks, sorted(album.iterdir()), strict=True):
            assert await node.original(track) == file.read_bytes()
            assert {each.tier for each in track.renditions} == {0, 1, 2}
            assert track.rendition(0).duration_ms <= 30_000
            assert len(track.waveform) == 800
            assert track.terms == "CC0-1.0"


async def test_publishing_twice_changes_nothing_and_survives_a_restart(tmp_path, album):
    kv = MemoryKv()
    async with node_at(tmp_path, kv) as node:
        first = await node.publish(album)
    async with node_at(tmp_path, kv) as node:
        again = await node.publish(album)
        assert again.is_unchanged
        assert again.signed.cid == first.signed.cid


async def test_an_interrupted_run_goes_on_under_the_same_ids(tmp_path, album):
    kv = MemoryKv()

    class StopError(Exception):
        pass

    async def stop_at_second(done, total, name):
        if done == 1:
            raise StopError

    async with node_at(tmp_path, kv) as node:
        with pytest.raises(StopError):
            await node.publisher.publish(PublishRequest(album), stop_at_second)
        roots = {cid async for cid in node.blocks.roots()}
        done = await node.publish(album)
        assert roots <= {each.layout.root for _, track in done.tracks for each in track.renditions}
        assert not done.is_unchanged


async def test_bad_files_are_left_out_with_a_reason_and_the_rest_is_published(tmp_path, album):
    (album / "empty.mp3").write_bytes(b"")
    (album / "fake.mp3").write_text("this is no music, " * 100)
    (album / "cut.opus").write_bytes(MUSIC[3].read_bytes()[:300])
    (album / "twice.opus").write_bytes(MUSIC[0].read_bytes())
    with (album / "huge.flac").open("wb") as sparse:
        sparse.truncate(10 * 1000**3)
    (album / "notes.txt").write_text("no audio suffix, so not even mentioned")
    async with node_at(tmp_path) as node:
        done = await node.publish(album)
        assert len(done.tracks) == 2
        assert {each.path.name for each in done.skipped} == {
            "empty.mp3", "fake.mp3", "cut.opus", "twice.opus", "huge.flac",
        }  # fmt: skip
        assert all(each.reason.strip() for each in done.skipped)


async def test_folders_that_hold_nothing_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    async with node_at(tmp_path) as node:
        with pytest.raises(UsageError, match="holds no FLAC"):
            await node.publish(tmp_path / "empty")
        with pytest.raises(NotFoundError, match="does not exist"):
            await node.publish(tmp_path / "nowhere")


async def test_a_full_quota_stops_publishing_and_room_lets_it_go_on(tmp_path, album):
    from storage.errors import QuotaExceededError

    kv = MemoryKv()
    async with node_at(tmp_path, kv, quota=1_600_000) as node:
        with pytest.raises(QuotaExceededError):
            await node.publish(album)
    async with node_at(tmp_path, kv) as node:
        assert len((await node.publish(album)).tracks) == 2


async def test_an_update_keeps_the_ids_and_a_withdrawal_ends_the_release(tmp_path, album):
    async with node_at(tmp_path) as node:
        first = await node.publish(album)
        fixed = tmp_path / "fixed.opus"
        fixed.write_bytes(MUSIC[5].read_bytes())
        second = await node.publisher.update(first.signed, title="Tidal", replace_track=(2, fixed))
        assert second.signed.release.version == first.signed.release.version + 1
        assert second.signed.release.previous == first.signed.cid
        assert [t.track_id for _, t in second.tracks] == [t.track_id for _, t in first.tracks]
        assert await node.original(second.tracks[1][1]) == fixed.read_bytes()
        assert second.tracks[0][0] == first.tracks[0][0]
        withdrawn = await node.publisher.withdraw(second.signed, "sold the rights")
        tombstone = withdrawn.signed
        roots = {each.layout.root for _, track in second.tracks for each in track.renditions}
        assert set(withdrawn.retired) == roots
        for root in roots:
            assert await node.blocks.pins.reasons(root) == []
        assert open_release(tombstone.block).release.withdrawn
        with pytest.raises(NotPermittedError, match="withdrawn"):
            await node.publisher.update(tombstone, title="again")
        anew = await node.publish(album)
        assert anew.signed.release.release_id != first.signed.release.release_id


async def blobs_damaged(home: Path, node: Node) -> int:
    """Damage every ciphertext file and let a scrub find it; return how many segments are missing then."""
    for file in (home / "blobs").glob("*/*.enc"):
        with file.open("r+b") as damaged:
            damaged.seek(1000)
            damaged.write(bytes(64))
    async with aclosing(Repo(node.blocks).verify()) as steps:
        result = [step async for step in steps][-1]
    return len(result.damaged)


async def test_publishing_again_mends_what_the_store_knows_to_be_missing(tmp_path, album):
    kv = MemoryKv()
    async with node_at(tmp_path, kv) as node:
        first = await node.publish(album)
        before = await node.blocks.stat()
        assert (await node.publish(album)).mended == Mended()
        damaged = await blobs_damaged(tmp_path, node)
        assert damaged == 6
        (_, one), (two_cid, two) = first.tracks
        gone = [first.signed.cid, two_cid, one.rendition(0).keybox, two.rendition(2).keybox]
        for cid in gone:
            assert await node.blocks.delete(cid)
        await node.blocks.delete(two.rendition(1).layout.root)
        again = await node.publish(album)
        assert again.is_unchanged
        assert again.signed.cid == first.signed.cid
        segments = damaged - 1 + two.rendition(1).layout.plan.count
        assert again.mended == Mended(segments=segments, blocks=len(gone))
        assert await node.blocks.stat() == before
        for (_, track), file in zip(again.tracks, sorted(album.iterdir()), strict=True):
            assert await node.original(track) == file.read_bytes()
    async with node_at(tmp_path, kv) as node:
        assert (await node.publish(album)).mended == Mended()
        assert await blobs_whole(node)


async def blobs_whole(node: Node) -> bool:
    async with aclosing(Repo(node.blocks).verify()) as steps:
        return [step async for step in steps][-1].damaged == ()


async def test_mending_leaves_alone_what_a_later_version_let_go_of(tmp_path, album):
    async with node_at(tmp_path) as node:
        first = await node.publish(album)
        fixed = tmp_path / "fixed.opus"
        fixed.write_bytes(MUSIC[5].read_bytes())
        second = await node.publisher.update(first.signed, replace_track=(2, fixed))
        retired = first.tracks[1][1].rendition(2).layout.root
        await node.blocks.delete(retired)
        await node.blocks.delete(second.signed.cid)
        again = await node.publish(album)
        assert again.mended == Mended(blocks=1)  # the manifest of the version in force
        assert await node.blocks.have(retired) == frozenset()
        assert await node.blocks.has(second.signed.cid)


async def test_segments_that_come_out_otherwise_are_counted_and_never_stored(tmp_path, album, monkeypatch):
    async with node_at(tmp_path) as node:
        first = await node.publish(album)
        root = first.tracks[0][1].rendition(0).layout.root
        count = first.tracks[0][1].rendition(0).layout.plan.count
        await node.blocks.delete(root)

        async def other_encoder(fd, write, *, duration_ms, bitrate_bps):
            return await AudioSandbox.encode_preview(
                node.audio,
                fd,
                lambda data: write(bytes(len(data))),
                duration_ms=duration_ms,
                bitrate_bps=bitrate_bps,
            )

        monkeypatch.setattr(node.audio, "encode_preview", other_encoder)
        again = await node.publish(album)
        assert again.mended == Mended(missing=count)
        assert await node.blocks.have(root) == frozenset()


async def test_a_folders_cover_is_the_picture_of_tracks_that_carry_none(tmp_path, album):
    (album / "Folder.JPG").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    (album / "cover.png").write_bytes(png(1600, 1200))
    (album / "cover.jpg").write_bytes(b"\xff\xd8\xff no picture")
    async with node_at(tmp_path) as node:
        first = await node.publish(album)
        assert [each.path.name for each in first.skipped] == ["cover.jpg"]
        artwork = first.signed.release.artwork
        assert {track.artwork for _, track in first.tracks} == {artwork}
        jpeg = await node.blocks.get(artwork)
        assert jpeg[:3] == b"\xff\xd8\xff"
        assert await node.blocks.pins.retention(artwork) is Retention.OWN
        await node.blocks.delete(artwork)
        assert (await node.publish(album)).mended == Mended(blocks=1)
        assert await node.blocks.get(artwork) == jpeg
        fixed = tmp_path / "fixed.opus"
        fixed.write_bytes(MUSIC[5].read_bytes())
        second = await node.publisher.update(first.signed, replace_track=(1, fixed))
        assert second.tracks[0][1].artwork == artwork


async def test_a_single_file_takes_no_picture_from_beside_it(tmp_path, album):
    (album / "cover.png").write_bytes(png(64, 64))
    async with node_at(tmp_path) as node:
        done = await node.publish(min(album.glob("*.opus")))
        assert done.signed.release.artwork is None


def png(width: int, height: int) -> bytes:
    """Return a PNG picture of one colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + b"\x40\x80\xc0" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


async def test_a_replacement_that_vanished_is_named_and_nothing_is_signed(tmp_path, album):
    async with node_at(tmp_path) as node:
        first = await node.publish(album)
        blocks = (await node.blocks.stat()).blocks
        with pytest.raises(AudioError, match="cannot be opened"):
            await node.publisher.update(first.signed, replace_track=(1, tmp_path / "gone.flac"))
        assert (await node.blocks.stat()).blocks == blocks


async def test_an_update_from_a_slow_disk_ends_at_once_when_the_node_stops(tmp_path, album, monkeypatch):
    async with node_at(tmp_path) as node:
        first = await node.publish(album)
        release = threading.Event()
        monkeypatch.setattr(publisher, "identify", lambda _path: release.wait(20))
        try:
            with trio.fail_after(5), trio.move_on_after(0.05) as scope:
                await node.publisher.update(first.signed, replace_track=(1, tmp_path / "slow.flac"))
            assert scope.cancelled_caught
        finally:
            release.set()


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    """A folder of an unprivileged user, as whom the test goes on: root reads every folder."""
    with tempfile.TemporaryDirectory() as name:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)


async def test_an_unreadable_folder_is_named(nobodys_folder):
    album = nobodys_folder / "album"
    album.mkdir()
    (album / "song.opus").write_bytes(b"OggS")
    album.chmod(0)
    try:
        async with node_at(nobodys_folder) as node:
            with pytest.raises(NotPermittedError, match=r"album.*cannot be read"):
                await node.publish(album)
    finally:
        album.chmod(0o700)
