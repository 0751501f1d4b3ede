"""A song over HTTP from providers that die, lie and stall, decoded by ffmpeg."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.routing import Route

from marina.errors import NetworkError
from marina.ids import Account, PeerId, ReleaseId, derive_track_id
from marina.secret import Secret
from storage.blocks.memory import MemoryBlockStore
from storage.content.keys import key_commitment
from storage.content.layout import SegmentPlan
from storage.content.segments import CipherRun, SegmentOpener, SegmentSealer
from storage.content.track import Rendition, TrackManifest
from storage.content.unixfs import rendition_file
from streaming.errors import NobodyHasItError
from streaming.fetcher import RenditionFetcher
from streaming.http import stream_response
from streaming.providers import Delivery, Outcome
from streaming.session import PlaySession

KEY = Secret(b"k" * 32)
ACCOUNT = Account(b"a" * 20)
TRACK = derive_track_id(ACCOUNT, b"s" * 32)


class Sealed:
    """One plaintext, sealed, as a publisher would hold it."""

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        plan = SegmentPlan(len(plain))
        self.run = CipherRun(TRACK, 2, 0, 1, os.urandom(32))
        sealer = SegmentSealer(self.run, KEY, plan.count)
        self.segments = [
            sealer.seal(i, plain[plan.plaintext(i).start : plan.plaintext(i).end]) for i in range(plan.count)
        ]
        digests = b"".join(hashlib.sha256(part).digest() for part in self.segments)
        self.layout, _ = rendition_file(len(plain), digests)
        self.kc = key_commitment(KEY, self.run.key_name)

    def session(self, fetcher: RenditionFetcher, mime: str = "audio/ogg") -> PlaySession:
        rendition = Rendition(
            self.layout, self.run, "opus", mime, 160_000, 48_000, 2, 30_000, self.kc, self.layout.root
        )
        track = TrackManifest(
            ACCOUNT, b"s" * 32, ReleaseId(bytes(32)), "Song", "Ada", "", "", 0, 0, 0, (), (), "", 30_000,
            None, b"", None, (rendition,), "CC0-1.0", 1,
        )  # fmt: skip
        opener = SegmentOpener(self.run, KEY, self.kc, self.layout.plan.count)
        return PlaySession(
            session_id=bytes(16), track=track, rendition=rendition, opener=opener, fetcher=fetcher
        )


class Twin:
    """A provider in memory that behaves as its kind says."""

    def __init__(self, name, sealed, kind="honest", *, dies_after=10**9, delay_s=0.0):
        self.peer = PeerId(name)
        self.sealed, self.kind, self.dies_after, self.delay_s = sealed, kind, dies_after, delay_s
        self.sent = 0
        self.corrupt = 0

    @asynccontextmanager
    async def session(self, layout):
        assert layout.root == self.sealed.layout.root
        yield TwinSession(self)

    def report_corrupt(self):
        self.corrupt += 1


class TwinSession:
    def __init__(self, twin):
        self.twin, self.queue = twin, deque()

    @property
    def outstanding(self):
        return len(self.queue)

    async def want(self, indices):
        self.queue.extend(indices)

    async def next(self):
        twin, index = self.twin, self.queue.popleft()
        if twin.kind == "stall":
            await trio.sleep_forever()
        await trio.sleep(twin.delay_s)
        if twin.sent >= twin.dies_after:
            raise NetworkError("gone")
        if twin.kind == "empty":
            return Delivery(index, Outcome.MISSING, None)
        twin.sent += 1
        data = twin.sealed.segments[index]
        return Delivery(index, Outcome.OK, bytes(len(data)) if twin.kind == "lie" else data)


class Source:
    def __init__(self, *twins):
        self.twins = twins

    async def providers(self, root):
        for twin in self.twins:
            if twin.sent < twin.dies_after:
                yield twin


def music(name="calm_acoustic_1") -> bytes:
    import immich_memories_music

    return next(Path(immich_memories_music.__file__).parent.rglob(f"{name}.opus")).read_bytes()


@asynccontextmanager
async def served(session):
    async def endpoint(request):
        return stream_response(session, request)

    app = Starlette(routes=[Route("/song", endpoint, methods=["GET", "HEAD"])])
    config = Config()
    config.bind = ["127.0.0.1:0"]
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        from functools import partial

        (address,) = await nursery.start(partial(serve, app, config, shutdown_trigger=stop.wait, mode="asgi"))
        yield f"{address}/song"
        stop.set()


def fetcher_of(sealed, source, **options):
    return RenditionFetcher(layout=sealed.layout, blocks=MemoryBlockStore(1 << 30), source=source, **options)


async def whole(session) -> bytes:
    body = b""
    with session.reading(0) as reader:
        while len(body) < session.size_bytes:
            body += await reader.read(len(body), session.size_bytes)
    return body


def pcm_hash(command_input: str) -> str:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", command_input, "-map", "0:a:0", "-f", "s16le", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-400:]
    return hashlib.sha256(done.stdout).hexdigest()


needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None and not os.environ.get("CI"), reason="ffmpeg is not installed"
)


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["opus", "flac", "m4a"])
async def test_ffmpeg_decodes_the_stream_to_the_same_sound_as_the_file(kind, tmp_path):
    path = tmp_path / f"song.{kind}"
    source = tmp_path / "source.opus"
    source.write_bytes(music())
    if kind == "opus":
        path = source
    else:
        codec = {"flac": "flac", "m4a": "aac"}[kind]  # ffmpeg's M4A has its index at the end
        subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-c:a", codec, path], check=True, timeout=60)
    sealed = Sealed(path.read_bytes())
    twins = [Twin(name, sealed, delay_s=0.002) for name in ("a", "b", "c")]
    async with fetcher_of(sealed, Source(*twins)).running() as fetcher:
        session = sealed.session(fetcher)
        async with served(session) as url:
            sound = await trio.to_thread.run_sync(pcm_hash, url)
        assert sound == pcm_hash(str(path))
        assert session.first_sound_s is not None
        assert session.first_sound_s < 2.0


async def test_ranges_heads_and_tags_are_exact():
    sealed = Sealed(os.urandom(900_000))
    async with (
        fetcher_of(sealed, Source(Twin("a", sealed))).running() as fetcher,
        served(sealed.session(fetcher)) as url,
        httpx.AsyncClient() as client,
    ):
        full = await client.get(url)
        assert (full.status_code, full.content) == (200, sealed.plain)
        etag = full.headers["etag"]
        head = await client.head(url)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "900000", b"")
        for spec, part in {
            "bytes=0-0": sealed.plain[:1],
            "bytes=65519-65521": sealed.plain[65519:65522],
            "bytes=899999-": sealed.plain[-1:],
            "bytes=-131073": sealed.plain[-131073:],
            "bytes=500000-9999999": sealed.plain[500000:],
        }.items():
            answer = await client.get(url, headers={"range": spec})
            assert (answer.status_code, answer.content) == (206, part)
            assert answer.headers["content-range"].endswith("/900000")
        assert (await client.get(url, headers={"range": "bytes=900000-"})).status_code == 416
        assert (await client.get(url, headers={"if-none-match": etag})).status_code == 304
        stale = {"range": "bytes=0-9", "if-range": '"other"'}
        assert (await client.get(url, headers=stale)).status_code == 200


async def test_liars_and_empty_hands_are_noticed_and_the_bytes_are_right():
    sealed = Sealed(os.urandom(3_000_000))
    liar, empty, honest = Twin("liar", sealed, "lie"), Twin("empty", sealed, "empty"), Twin("ok", sealed)
    async with fetcher_of(sealed, Source(liar, empty, honest)).running() as fetcher:
        await fetcher.fetch_all(timeout_s=20)
        assert fetcher.is_complete
        assert set(fetcher.stats.served_by.values()) == {"ok"}
        assert liar.corrupt >= 1
        parts = [await sealed.session(fetcher).plaintext(i) for i in range(sealed.layout.plan.count)]
        assert b"".join(parts) == sealed.plain


async def test_a_provider_that_dies_and_one_that_stalls_do_not_end_the_song():
    sealed = Sealed(os.urandom(2_000_000))
    twins = (
        Twin("dies", sealed, dies_after=3),
        Twin("stalls", sealed, "stall"),
        Twin("ok", sealed, delay_s=0.01),
    )
    async with fetcher_of(sealed, Source(*twins)).running() as fetcher:
        session = sealed.session(fetcher)
        assert await whole(session) == sealed.plain
        runs = session.segments()
        assert runs[0]["from"] == 0
        assert runs[-1]["to"] == 1


async def test_with_the_quota_full_the_song_plays_from_memory():
    sealed = Sealed(os.urandom(2_000_000))
    blocks = MemoryBlockStore(100_000)
    fetcher = RenditionFetcher(layout=sealed.layout, blocks=blocks, source=Source(Twin("a", sealed)))
    async with fetcher.running():
        session = sealed.session(fetcher)
        assert await whole(session) == sealed.plain
    assert (await blocks.stat()).bytes_used == 0


async def test_a_complete_rendition_plays_without_asking_anybody():
    sealed = Sealed(os.urandom(500_000))
    blocks = MemoryBlockStore(1 << 30)
    await blocks.declare(sealed.layout)
    await blocks.put_segments(sealed.layout.root, list(enumerate(sealed.segments)))
    fetcher = RenditionFetcher(layout=sealed.layout, blocks=blocks, source=Source(), is_offline=True)
    async with fetcher.running():
        assert b"".join([await sealed.session(fetcher).plaintext(i) for i in range(7)]) == sealed.plain


async def test_nobody_has_it_says_which_segment_and_that_it_is_tried_again(autojump_clock):
    sealed = Sealed(os.urandom(500_000))
    async with fetcher_of(sealed, Source(Twin("empty", sealed, "empty"))).running() as fetcher:
        with pytest.raises(NobodyHasItError, match="none of 1 connected providers has segment 1 of 7 now"):
            await fetcher.segment(0)
