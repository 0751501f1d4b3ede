"""A song over HTTP from providers that die, lie and stall, decoded by ffmpeg."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import trio

from tests.support.listening import (
    Sealed,
    Source,
    Twin,
    connected,
    fetcher_of,
    filled_store,
    first_bytes,
    served,
    whole,
)  # fmt: skip


def music(name="calm_acoustic_1") -> bytes:
    import immich_memories_music

    return next(Path(immich_memories_music.__file__).parent.rglob(f"{name}.opus")).read_bytes()


def pcm_hash(path_or_url: str, *, from_s: float = 0) -> str:
    seek = ["-ss", str(from_s)] if from_s else []
    command = ["ffmpeg", "-nostdin", "-v", "error", *seek, "-i", path_or_url]
    done = subprocess.run(
        [*command, "-map", "0:a:0", "-f", "s16le", "-"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-400:]
    assert len(done.stdout) > 48_000
    return hashlib.sha256(done.stdout).hexdigest()


needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None and not os.environ.get("CI"), reason="ffmpeg is not installed"
)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Twenty seconds of one song in three formats; ffmpeg's M4A has its index at the end."""
    folder = tmp_path_factory.mktemp("songs")
    source = folder / "source.opus"
    source.write_bytes(music())
    codecs = {"opus": ["copy"], "flac": ["flac"], "m4a": ["aac", "-b:a", "192k"]}
    paths = {kind: folder / f"song.{kind}" for kind in codecs}
    for kind, codec in codecs.items():
        command = ["ffmpeg", "-v", "error", "-t", "20", "-i", source, "-c:a", *codec, paths[kind]]
        subprocess.run(command, check=True, timeout=60)
    return paths


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["opus", "flac", "m4a"])
async def test_ffmpeg_decodes_the_stream_to_the_same_sound_as_the_file(kind, songs):
    sealed = Sealed(songs[kind].read_bytes())
    twins = [Twin(name, sealed, delay_s=0.002) for name in ("a", "b", "c")]
    async with fetcher_of(sealed, Source(*twins)).running() as fetcher:
        session = sealed.session(fetcher)
        async with served(session) as url:
            sound = await trio.to_thread.run_sync(pcm_hash, url)
        assert sound == pcm_hash(str(songs[kind]))
        assert session.first_sound_s is not None
        assert session.first_sound_s < 2.0


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["opus", "flac", "m4a"])
async def test_ffmpeg_seeks_in_the_stream_as_in_the_file(kind, songs):
    sealed = Sealed(songs[kind].read_bytes())
    async with fetcher_of(sealed, Source(Twin("a", sealed, delay_s=0.002))).running() as fetcher:
        async with served(sealed.session(fetcher)) as url:
            sound = await trio.to_thread.run_sync(lambda: pcm_hash(url, from_s=12.5))
        assert sound == pcm_hash(str(songs[kind]), from_s=12.5)


@needs_ffmpeg
async def test_ffmpeg_hears_the_song_though_providers_die_lie_and_stall(songs):
    sealed = Sealed(songs["flac"].read_bytes())
    twins = (
        Twin("lies", sealed, "lie"),
        Twin("dies", sealed, dies_after=4, delay_s=0.002),
        Twin("stalls", sealed, "stall"),
        Twin("lives", sealed, delay_s=0.01),
    )
    async with fetcher_of(sealed, Source(*twins)).running() as fetcher:
        async with served(sealed.session(fetcher)) as url:
            sound = await trio.to_thread.run_sync(pcm_hash, url)
        assert sound == pcm_hash(str(songs["flac"]))
        assert set(fetcher.stats.served_by.values()) <= {"dies", "lives"}


async def test_ranges_heads_and_tags_are_exact():
    sealed = Sealed(os.urandom(900_000))
    async with (
        fetcher_of(sealed, Source(Twin("a", sealed))).running() as fetcher,
        served(sealed.session(fetcher)) as url,
        httpx.AsyncClient() as client,
    ):
        full = await client.get(url)
        assert (full.status_code, full.content) == (200, sealed.plain)
        assert full.headers["accept-ranges"] == "bytes"
        etag = full.headers["etag"]
        for headers in ({}, {"range": "bytes=0-9"}, {"range": "bytes=900000-"}):
            head = await client.head(url, headers=headers)  # ranges are for GET alone
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
            assert answer.headers["content-length"] == str(len(part))
        beyond = await client.get(url, headers={"range": "bytes=900000-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */900000")
        several = await client.get(url, headers={"range": "bytes=0-1,5-6"})
        assert (several.status_code, several.content) == (200, sealed.plain)
        assert (await client.get(url, headers={"if-none-match": etag})).status_code == 304
        stale = {"range": "bytes=0-9", "if-range": '"other"'}
        assert (await client.get(url, headers=stale)).status_code == 200


async def test_several_ranges_at_once_are_each_exact():
    sealed = Sealed(os.urandom(3_000_000))
    twins = [Twin(name, sealed, delay_s=0.003) for name in ("a", "b")]
    async with (
        fetcher_of(sealed, Source(*twins)).running() as fetcher,
        served(sealed.session(fetcher)) as url,
        httpx.AsyncClient() as client,
        trio.open_nursery() as nursery,
    ):

        async def read(first, last):
            answer = await client.get(url, headers={"range": f"bytes={first}-{last}"})
            assert answer.content == sealed.plain[first : last + 1]

        for first in range(0, 3_000_000, 350_000):
            nursery.start_soon(read, first, min(first + 500_000, 2_999_999))


async def test_a_player_that_hangs_up_is_fetched_for_no_longer():
    sealed = Sealed(os.urandom(20_000_000))
    twin = Twin("a", sealed, delay_s=0.02)
    async with (
        fetcher_of(sealed, Source(twin)).running() as fetcher,
        served(sealed.session(fetcher)) as url,
    ):
        async with connected(url) as player:
            assert await first_bytes(player) == sealed.plain[:1024]
        await trio.sleep(0.3)
        sent = twin.sent
        await trio.sleep(0.3)
        assert twin.sent == sent < len(sealed.segments)


async def test_when_nobody_has_the_beginning_the_answer_is_an_error_and_no_broken_200():
    sealed = Sealed(os.urandom(900_000))
    fetcher = fetcher_of(sealed, Source(), nobody_after_s=0.1)
    async with fetcher.running(), served(sealed.session(fetcher)) as url, httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 500


async def test_when_nobody_has_the_middle_the_connection_breaks_off():
    sealed = Sealed(os.urandom(3_000_000))
    source = Source(Twin("a", sealed, has={0, 1, 2}))
    fetcher = fetcher_of(sealed, source, nobody_after_s=0.2)
    async with fetcher.running(), served(sealed.session(fetcher)) as url, httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)


async def test_cached_sound_comes_within_fifty_milliseconds():
    sealed = Sealed(os.urandom(8_000_000))
    fetcher = fetcher_of(sealed, Source(), blocks=await filled_store(sealed))
    async with fetcher.running(), served(sealed.session(fetcher)) as url:
        times_s = []
        for first in range(0, 4_000_000, 800_000):
            began_s = trio.current_time()
            async with connected(url, headers=f"Range: bytes={first}-\r\n") as player:
                assert await first_bytes(player) == sealed.plain[first : first + 1024]
            times_s.append(trio.current_time() - began_s)
        assert sorted(times_s)[len(times_s) // 2] < 0.05


async def test_a_song_read_through_equals_the_song_that_was_sealed():
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
        assert (runs[0]["from"], runs[-1]["to"]) == (0, 1)
        assert {run["peer"] for run in runs} <= {"dies", "ok"}
