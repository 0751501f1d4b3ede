"""The six formats through the real sealed decoder process."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from storage.audio.errors import AudioError, DamagedAudioError, NotAudioError
from storage.audio.files import inspect, open_audio
from storage.audio.policy import plan_renditions
from storage.audio.sandbox import AudioSandbox, SandboxSettings, open_sandbox

GENERATOR = Path(__file__).parents[3] / "support" / "audio_clips.py"
ENOUGH_JOBS = SandboxSettings(jobs_per_worker=1000, recycle_on_failure=False)
FORMATS = {
    "clip.flac": ("flac", "flac", 44_100, 16),
    "hires.flac": ("flac", "flac", 96_000, 24),
    "clip.mp3": ("mp3", "mp3", 44_100, 0),
    "clip.ogg": ("ogg_vorbis", "vorbis", 44_100, 0),
    "clip.opus": ("ogg_opus", "opus", 48_000, 0),
    "clip.m4a": ("m4a", "aac", 44_100, 0),
    "alac.m4a": ("m4a", "alac", 44_100, 16),
    "clip.wav": ("wav", "pcm", 44_100, 16),
}


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "audio-clips"
    if not folder.exists():
        folder.mkdir()
        subprocess.run([sys.executable, str(GENERATOR), str(folder)], check=True)
    return folder


@pytest.fixture
async def sandbox():
    async with open_sandbox(settings=ENOUGH_JOBS) as opened:
        yield opened


async def collect(encode, *args, **kwargs):
    parts = []

    async def write(data):
        parts.append(data)

    encoded = await encode(*args[:1], write, **kwargs)
    return b"".join(parts), encoded


async def test_every_format_is_probed_tagged_and_analysed(sandbox, clips):
    for name, (container, codec, rate_hz, bit_depth) in FORMATS.items():
        with open_audio(clips / name) as fd:
            info = await sandbox.probe(fd)
            tags = await sandbox.tags(fd)
            analysis = await sandbox.analyse(fd)
        assert (info.container, info.codec, info.sample_rate_hz, info.bit_depth) == (
            container,
            codec,
            rate_hz,
            bit_depth,
        )
        assert (info.channels, info.size_bytes) == (2, (clips / name).stat().st_size)
        assert abs(info.duration_ms - 3000) <= 30, name
        assert abs(analysis.duration_ms - 3000) <= 30, name
        assert (tags.title, tags.artist, tags.album, tags.track_no, tags.year) == (
            "Ebb Tide",
            "The Moles",
            "Harbour",
            3,
            2021,
        )
        assert tags.genres == ("Ambient",)
        assert tags.copyright == "2021 The Moles"
        assert abs(analysis.loudness_mlufs + 21_760) < 100, name
        assert len(analysis.waveform) == 800
        assert 22 <= analysis.waveform[400] <= 24  # the tone has an amplitude of 1/8, and stereo takes 3 dB
        assert analysis.damaged_packets == 0


async def test_equal_sound_in_lossless_formats_has_one_pcm_hash(sandbox, clips):
    hashes = set()
    for name in ("clip.flac", "alac.m4a", "clip.wav"):
        with open_audio(clips / name) as fd:
            hashes.add((await sandbox.analyse(fd)).pcm_sha256)
    data = (clips / "clip.wav").read_bytes()
    start = data.index(b"data") + 8
    assert hashes == {hashlib.sha256(data[start : start + 3 * 44_100 * 4]).digest()}


async def test_every_format_is_encoded_to_opus_that_an_outside_decoder_reads(sandbox, clips):
    for name in FORMATS:
        with open_audio(clips / name) as fd:
            opus, encoded = await collect(sandbox.encode_opus, fd)
        assert opus[:4] == b"OggS"
        assert encoded.size_bytes == len(opus)
        assert (encoded.codec, encoded.sample_rate_hz, encoded.channels) == ("opus", 48_000, 2)
        assert abs(encoded.duration_ms - 3000) <= 30
        assert abs(decoded_seconds(opus) - encoded.duration_ms / 1000) < 0.03


OUTSIDE_DECODER = """
import av, io, sys
with av.open(io.BytesIO(sys.stdin.buffer.read())) as container:
    print(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))
"""


def decoded_seconds(data):
    command = [sys.executable, "-c", OUTSIDE_DECODER]
    return float(subprocess.run(command, input=data, capture_output=True, check=True).stdout)


async def test_every_format_decodes_to_the_samples_that_were_analysed(sandbox, clips):
    for name in (*FORMATS, "mono.wav", "5.1.flac"):
        with open_audio(clips / name) as fd:
            pcm, facts = await collect(sandbox.decode, fd)
            analysis = await sandbox.analyse(fd)
        assert hashlib.sha256(pcm).digest() == analysis.pcm_sha256
        assert (facts.samples, len(pcm)) == (analysis.samples, 2 * facts.channels * facts.samples)


async def test_the_same_sound_gives_the_same_opus_bytes(clips):
    seen = set()
    for _ in range(2):
        async with open_sandbox() as fresh:
            for name in ("clip.flac", "clip.wav"):
                with open_audio(clips / name) as fd:
                    opus, _ = await collect(fresh.encode_opus, fd)
                seen.add(hashlib.sha256(opus).digest())
    assert len(seen) == 1


async def test_a_preview_is_a_clip_from_a_quarter_in(sandbox, clips):
    with open_audio(clips / "clip.mp3") as fd:
        opus, encoded = await collect(sandbox.encode_preview, fd, duration_ms=3000)
    assert abs(encoded.duration_ms - 750) <= 20
    assert abs(decoded_seconds(opus) - 0.75) < 0.03


async def test_channels_follow_the_source_up_to_stereo(sandbox, clips):
    for name, channels in (("mono.wav", 1), ("5.1.flac", 2)):
        with open_audio(clips / name) as fd:
            _, encoded = await collect(sandbox.encode_opus, fd)
        assert encoded.channels == channels


async def test_silence_has_no_loudness_and_a_flat_waveform(sandbox, clips):
    with open_audio(clips / "silence.flac") as fd:
        analysis = await sandbox.analyse(fd)
    assert analysis.loudness_mlufs is None
    assert set(analysis.waveform) == {0}
    assert analysis.duration_ms == 400_000


async def test_ten_milliseconds_are_a_track_too(sandbox, clips):
    with open_audio(clips / "tiny.wav") as fd:
        info, analysis = await sandbox.probe(fd), await sandbox.analyse(fd)
        preview = plan_renditions(info, duration_ms=analysis.duration_ms)[0]
        _, encoded = await collect(sandbox.encode_preview, fd, duration_ms=analysis.duration_ms)
    assert (analysis.duration_ms, preview.length_ms) == (10, 10)
    assert 8 <= encoded.duration_ms <= 10


async def test_real_opus_music_is_streamed_as_it_is(sandbox):
    music = pytest.importorskip("immich_memories_music", reason="the demo extra is not installed")
    track = min(music.tracks_dir().rglob("*.opus"))
    with open_audio(track) as fd:
        info, analysis = await sandbox.probe(fd), await sandbox.analyse(fd)
    assert info.codec == "opus"
    assert abs(info.duration_ms - analysis.duration_ms) < 50
    assert -40_000 < analysis.loudness_mlufs < 0
    assert max(analysis.waveform) > 100
    assert plan_renditions(info, duration_ms=analysis.duration_ms)[1].is_source


def flac_with_picture(clip, mime, picture):
    body = (
        (3).to_bytes(4)
        + len(mime).to_bytes(4)
        + mime
        + bytes(4)
        + bytes(16)
        + len(picture).to_bytes(4)
        + picture
    )
    block = bytes([6]) + len(body).to_bytes(3) + body
    return clip[:42] + block + clip[42:]


async def test_an_embedded_cover_becomes_a_small_jpeg(sandbox, clips, tmp_path):
    for name, mime in (
        ("cover.jpg", b"image/jpeg"),
        ("cover.png", b"image/png"),
        ("cover.webp", b"image/webp"),
    ):
        song = tmp_path / "song.flac"
        song.write_bytes(
            flac_with_picture((clips / "clip.flac").read_bytes(), mime, (clips / name).read_bytes())
        )
        with open_audio(song) as fd:
            cover = await sandbox.artwork(fd)
            assert (await sandbox.analyse(fd)).duration_ms == 3000
        with open_audio(clips / name) as fd:
            assert await sandbox.picture(fd) == cover
        assert len(cover) <= 512 * 1024
        assert max(jpeg_size(cover)) <= 1024
        assert b"Exif" not in cover


def jpeg_size(data):
    stream = io.BytesIO(data[2:])
    while True:
        marker, length = stream.read(2), int.from_bytes(stream.read(2))
        if marker == b"\xff\xc0":
            _, height, width = stream.read(1), int.from_bytes(stream.read(2)), int.from_bytes(stream.read(2))
            return width, height
        stream.seek(length - 2, os.SEEK_CUR)


async def test_a_cover_that_is_no_sound_raster_picture_is_left_out(sandbox, clips, tmp_path):
    clip = (clips / "clip.flac").read_bytes()
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    for picture in (svg, b"GIF89a", b"\xff\xd8\xff", b""):
        song = tmp_path / "song.flac"
        song.write_bytes(flac_with_picture(clip, b"image/png", picture))
        with open_audio(song) as fd:
            assert await sandbox.artwork(fd) is None


async def test_large_pictures_are_scaled_and_bombs_left_out(sandbox, clips):
    with open_audio(clips / "big.png") as fd:
        assert jpeg_size(await sandbox.picture(fd)) == (1024, 1024)
    with open_audio(clips / "bomb.png") as fd:
        assert await sandbox.picture(fd) is None


async def test_the_descriptor_keeps_its_offset_and_must_be_read_only(sandbox, clips):
    with open_audio(clips / "clip.flac") as fd:
        os.lseek(fd, 1234, os.SEEK_SET)
        await sandbox.analyse(fd)
        assert os.lseek(fd, 0, os.SEEK_CUR) == 1234
    writable = os.open(clips / "clip.flac", os.O_RDWR)
    try:
        with pytest.raises(ValueError, match="read-only"):
            await sandbox.probe(writable)
    finally:
        os.close(writable)


async def test_operations_run_side_by_side_in_as_many_processes_as_allowed(clips):
    async with open_sandbox(settings=SandboxSettings(workers=2)) as sandbox, trio.open_nursery() as nursery:
        for name in ("clip.flac", "clip.mp3", "clip.ogg", "clip.wav"):

            async def work(name=name):
                with open_audio(clips / name) as fd:
                    assert (await sandbox.analyse(fd)).samples >= 132_300

            nursery.start_soon(work)


async def test_a_process_is_replaced_after_its_share_of_jobs_and_after_an_error(clips, tmp_path):
    fake = tmp_path / "fake.flac"
    fake.write_bytes(b"fLaC" + bytes(1000))
    async with open_sandbox(settings=SandboxSettings(jobs_per_worker=3)) as sandbox:
        with open_audio(clips / "clip.flac") as fd, open_audio(fake) as bad:
            pids = []
            for which in (fd, fd, fd, fd, bad, fd):
                try:
                    await sandbox.probe(which)
                except DamagedAudioError:
                    assert which is bad
                pids.append([worker.pid for worker, _ in sandbox._idle])
    assert pids[0] == pids[1] != []
    assert pids[2] == []
    assert pids[3] not in (pids[0], [])
    assert pids[4] == []
    assert len(pids[5]) == 1


async def test_an_idle_process_ends_and_the_next_job_starts_another(clips):
    sandbox = AudioSandbox(settings=SandboxSettings(idle_stop_s=0.2))
    async with trio.open_nursery() as nursery:
        await nursery.start(sandbox.run)
        with open_audio(clips / "clip.flac") as fd:
            await sandbox.probe(fd)
            ((worker, _),) = sandbox._idle
            with trio.fail_after(5):
                while worker.is_alive:
                    await trio.sleep(0.05)
            assert (await sandbox.probe(fd)).codec == "flac"
        nursery.cancel_scope.cancel()
    with pytest.raises(RuntimeError, match="must be running"), open_audio(clips / "clip.flac") as fd:
        await sandbox.probe(fd)


async def test_a_reader_that_gives_up_ends_the_process_and_nothing_else(clips):
    class DiskFullError(Exception):
        pass

    async def write(data):
        raise DiskFullError

    async with open_sandbox() as sandbox:
        with open_audio(clips / "clip.flac") as fd:
            with pytest.raises(DiskFullError):
                await sandbox.encode_opus(fd, write)
            assert sandbox._idle == []
            assert (await sandbox.probe(fd)).codec == "flac"


def test_files_that_cannot_be_opened_are_explained(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind, words in (
        (tmp_path / "missing.flac", AudioError, "cannot be opened"),
        (tmp_path, NotAudioError, "a folder or a device"),
        (tmp_path / "pipe", NotAudioError, "a folder or a device"),
        (Path("/dev/null"), NotAudioError, "a folder or a device"),
        (tmp_path / "nul\0byte", AudioError, "its name is impossible"),
    ):
        with pytest.raises(kind, match=words), open_audio(path) as fd:
            inspect(fd)


def test_the_daemon_side_never_loads_the_decoder():
    code = """
import sys, storage.audio.sandbox, storage.audio.policy
sys.exit(any(name in sys.modules for name in ("av", "numpy", "tinytag", "landlock", "pyseccomp")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
