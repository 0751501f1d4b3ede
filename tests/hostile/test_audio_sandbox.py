"""Hostile audio: the decoder cannot get out, and whatever a file does is a typed error (T23)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from marina.schema import encode_record
from storage.audio.errors import (
    AudioError,
    AudioTimeoutError,
    AudioTooLargeError,
    DamagedAudioError,
    NotAudioError,
)
from storage.audio.files import inspect, open_audio
from storage.audio.records import (
    KIND_CHUNK,
    KIND_FAILURE,
    KIND_READY,
    KIND_RESULT,
    AudioInfo,
    EscapeReport,
    Job,
    Reply,
)
from storage.audio.sandbox import SandboxSettings, open_sandbox
from storage.audio.worker import AudioWorker, Budget

GENERATOR = Path(__file__).parents[1] / "support" / "audio_clips.py"
FUZZ_SETTINGS = SandboxSettings(jobs_per_worker=500, recycle_on_failure=False)
BUDGET = Budget(cpu_s=10, wall_s=30.0, output_bytes=1 << 20)


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "audio-clips"
    if not folder.exists():
        folder.mkdir()
        subprocess.run([sys.executable, str(GENERATOR), str(folder)], check=True)
    return folder


@pytest.fixture
async def sandbox():
    async with open_sandbox(settings=FUZZ_SETTINGS) as opened:
        yield opened


@contextmanager
def file_of(data):
    """Yield a read-only descriptor of a regular file in memory."""
    memory = os.memfd_create("hostile")
    try:
        os.write(memory, data)
        fd = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        os.close(memory)


async def discard(_data):
    pass


async def everything(sandbox, fd):
    await sandbox.probe(fd)
    await sandbox.tags(fd)
    await sandbox.artwork(fd)
    return await sandbox.analyse(fd)


async def test_a_sealed_process_cannot_open_connect_fork_or_exec(sandbox):
    assert await sandbox.self_test() == EscapeReport(False, False, False, False)
    ((worker, _),) = sandbox._idle
    assert worker.confinement.missing == ()
    status = Path(f"/proc/{worker.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "Threads:\t1" in status
    rows = Path(f"/proc/{worker.pid}/limits").read_text().splitlines()
    limits = {row[:26].strip(): row[26:].split()[:2] for row in rows}
    assert limits["Max core file size"] == limits["Max file size"] == ["0", "0"]
    assert limits["Max address space"] == [str(1 << 30)] * 2
    assert limits["Max open files"] == ["16", "16"]


PROBES = Path(__file__).parents[1] / "support" / "escape_probes.py"


def test_thirty_ways_out_are_closed(tmp_path):
    (tmp_path / "inherited").write_text("kept")
    ended = subprocess.run(
        [sys.executable, "-I", str(PROBES), str(tmp_path)], check=False, capture_output=True
    )
    assert ended.returncode == 0
    assert (tmp_path / "inherited").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["inherited"]


WITHOUT_LANDLOCK = """
import errno, sys, pyseccomp, trio
from storage.audio.errors import SandboxUnavailableError
from storage.audio.files import open_audio
from storage.audio.sandbox import SandboxSettings, open_sandbox
from pathlib import Path
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "landlock_create_ruleset")
rules.load()

async def main():
    with open_audio(Path(sys.argv[1])) as fd:
        async with open_sandbox() as sandbox:
            try:
                await sandbox.probe(fd)
                return 3
            except SandboxUnavailableError as err:
                print(err)
        async with open_sandbox(settings=SandboxSettings(allow_weak_sandbox=True)) as sandbox:
            return 0 if (await sandbox.probe(fd)).codec == "flac" else 4

sys.exit(trio.run(main))
"""


def test_without_landlock_no_file_is_opened_unless_that_is_allowed(clips):
    command = [sys.executable, "-c", WITHOUT_LANDLOCK, str(clips / "clip.flac")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "cannot be confined on this machine (landlock" in ended.stdout
    assert "libseccomp2" in ended.stdout


FAKES = (
    (b"", NotAudioError, "is empty"),
    (b"these are words, not music\n" * 50, NotAudioError, "plain text"),
    (bytes(100_000), NotAudioError, "nothing but zeros"),
    (b"fLaC", DamagedAudioError, "headers cannot be read"),
    (b"fLaC" + bytes(5000), DamagedAudioError, "damaged"),
    (b"RIFF\x24\x00\x00\x00WAVEfmt ", DamagedAudioError, "headers cannot be read"),
    (b"\x00\x00\x00\x1cftypM4A " + bytes(500), DamagedAudioError, "headers cannot be read"),
    (b"OggS" + bytes(22) + b"\x01\x13OpusHead" + bytes(300), DamagedAudioError, "damaged"),
)


async def test_fake_files_are_refused_with_one_clear_sentence(sandbox):
    for data, kind, words in FAKES:
        with file_of(data) as fd, pytest.raises(kind, match=words) as caught:
            await sandbox.probe(fd)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200


async def test_a_truncated_file_is_refused(sandbox, clips):
    accepted, sentence = [], "none"
    for name in ("clip.flac", "clip.mp3", "clip.ogg", "clip.opus", "clip.m4a", "alac.m4a", "clip.wav"):
        data = (clips / name).read_bytes()
        for share in (0.9, 0.5, 0.1):
            with file_of(data[: int(len(data) * share)]) as fd:
                try:
                    await everything(sandbox, fd)
                except DamagedAudioError as err:
                    sentence = str(err)
                else:
                    accepted.append((name, share))
            assert sentence.startswith("The audio file is damaged: ")
    assert accepted == []


async def test_one_flipped_bit_in_lossless_sound_is_found(sandbox, clips):
    data = bytearray((clips / "clip.flac").read_bytes())
    data[len(data) // 2] ^= 0x10
    with file_of(data) as fd, pytest.raises(DamagedAudioError):
        await sandbox.analyse(fd)


def test_a_sparse_file_of_ten_gigabytes_is_refused_at_once(tmp_path, clips):
    giant = tmp_path / "giant.wav"
    giant.write_bytes((clips / "clip.wav").read_bytes())
    os.truncate(giant, 10 * 10**9)
    started = time.monotonic()
    with (
        open_audio(giant) as fd,
        pytest.raises(AudioTooLargeError, match=r"10\.0 GB, and 3\.2 GB is the most"),
    ):
        inspect(fd)
    assert time.monotonic() - started < 0.5


def with_id3(frames, sound):
    body = b"".join(kind + len(data).to_bytes(4) + bytes(2) + data for kind, data in frames)
    size = len(body)
    sizes = bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    return b"ID3\x03\x00\x00" + sizes + body + sound


async def test_control_characters_and_a_title_of_a_megabyte_are_tamed(sandbox, clips):
    sound = (clips / "clip.mp3").read_bytes()
    title = b"\x03" + ("\x1b[2J" + "ü" * 500_000).encode()
    artist = b"\x01" + "\ufeffnasty\r\n\u202eartist\x07".encode("utf-16-le")
    with file_of(with_id3([(b"TIT2", title), (b"TPE1", artist)], sound[sound.index(b"\xff\xfb") :])) as fd:
        tags = await sandbox.tags(fd)
        assert (await sandbox.analyse(fd)).duration_ms >= 2900
    assert tags.title.startswith("[2Jüü")
    assert len(tags.title.encode()) <= 1024
    assert tags.artist == "nasty artist"
    assert tags.warnings == (f"The title has 1000004 bytes and was cut to {len(tags.title.encode())}.",)


async def test_a_file_that_takes_too_long_is_given_up(clips):
    with open_audio(clips / "long.flac") as fd:
        found = inspect(fd)
        job = Job("encode", found.container, found.size_bytes, 160_000, 0, 0)
        for budget, words in (
            (Budget(cpu_s=1, wall_s=60.0, output_bytes=1 << 30), "more than 1 s of processor time"),
            (Budget(cpu_s=60, wall_s=0.3, output_bytes=1 << 30), "not decoded within"),
        ):
            worker = await AudioWorker.start(memory_bytes=1 << 30, allow_weak_sandbox=False)
            try:
                with pytest.raises(AudioTimeoutError, match=words):
                    await worker.run(job, fd, budget, discard)
            finally:
                await worker.stop()
            assert not worker.is_alive


async def test_a_decoder_that_outgrows_its_memory_harms_nobody(clips):
    settings = SandboxSettings(memory_bytes=280 << 20, recycle_on_failure=False)
    async with open_sandbox(settings=settings) as sandbox:
        with open_audio(clips / "big.png") as fd:
            assert await sandbox.picture(fd) is None
        with open_audio(clips / "clip.flac") as fd:
            assert (await sandbox.analyse(fd)).duration_ms == 3000


async def test_a_decoder_killed_at_work_is_a_damaged_file_and_the_next_file_works(sandbox, clips):
    with open_audio(clips / "clip.flac") as fd:
        await sandbox.probe(fd)
        ((worker, _),) = sandbox._idle

        async def kill(_data):
            os.kill(worker.pid, signal.SIGSEGV)
            await trio.sleep(0.1)

        with (
            open_audio(clips / "silence.flac") as longer,
            pytest.raises(DamagedAudioError, match="signal 11"),
        ):
            await sandbox.encode_opus(longer, kill)
        assert (await sandbox.probe(fd)).codec == "flac"


async def test_nothing_leaks_over_many_jobs_and_errors(clips):
    def descriptors():
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    async with open_sandbox() as sandbox:
        with open_audio(clips / "clip.flac") as fd, file_of(b"fLaC" + bytes(99)) as bad:
            await sandbox.probe(fd)
            before = descriptors()
            for _ in range(3):
                for _ in range(20):
                    await sandbox.probe(fd)
                with pytest.raises(DamagedAudioError):
                    await sandbox.probe(bad)
            await sandbox.probe(fd)
            assert descriptors() == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [
        pid for pid in children if b"storage.audio.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ] == []


def frame(reply):
    data = encode_record(reply)
    return len(data).to_bytes(4) + data


CHUNK = frame(Reply(KIND_CHUNK, "", bytes(48 * 1024)))
LIES = {
    "hangs up": b"",
    "half a length": b"\x00\x00",
    "a frame of 4 GB": b"\xff\xff\xff\xff",
    "a frame cut short": b"\x00\x00\x10\x00" + bytes(100),
    "no msgpack": b"\x00\x00\x00\x04\xc1\xc1\xc1\xc1",
    "a bomb": b"\x00\x00\xff\xff\xdd\x00\x00\xff\xff" + b"\x90" * 65_530,
    "an unknown kind": frame(Reply(77, "", b"")),
    "ready again": frame(Reply(KIND_READY, "", b"")),
    "endless output": CHUNK * 30,
    "escape sequences": frame(
        Reply(KIND_FAILURE, "damaged", b"\x1b[2J\r\nfake prompt> \xff\xfe" + b"x" * 5000)
    ),
    "an unknown failure": frame(Reply(KIND_FAILURE, "\x1b]0;x\x07", b"")),
}


@asynccontextmanager
async def captured_decoder(answer):
    """Yield a worker whose other end reads one job, sends this answer and hangs up."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE)
    worker = AudioWorker(process, trio.socket.from_stdlib_socket(ours))
    liar = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))

    async def lie():
        async with liar:
            await liar.receive_some(1000)
            try:
                await liar.send_all(answer)
            except trio.BrokenResourceError:
                return  # the parent has had enough
        process.terminate()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lie)
            yield worker
            await worker.stop()
    finally:
        await process.stdin.aclose()
        await worker.stop()


@pytest.mark.parametrize("lie", LIES)
async def test_a_captured_decoder_can_only_cause_a_typed_error(lie, clips):
    async with captured_decoder(LIES[lie]) as worker:
        with open_audio(clips / "clip.flac") as fd, pytest.raises(AudioError) as caught:
            await worker.run(Job("encode", "flac", 1, 0, 0, 0), fd, BUDGET, discard)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


IMPOSSIBLE = AudioInfo("flac", "flac", 44_100, 2, 16, 1, 1, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a record",
        encode_record(IMPOSSIBLE)[:-1],
        encode_record(EscapeReport(True, True, True, True)),
    ],
)
async def test_a_result_that_breaks_its_bounds_is_refused(sandbox, clips, body):
    async with captured_decoder(frame(Reply(KIND_RESULT, "", body))) as worker:
        sandbox._idle.append((worker, trio.current_time()))
        with (
            open_audio(clips / "clip.flac") as fd,
            pytest.raises(DamagedAudioError, match="no usable answer"),
        ):
            await sandbox.probe(fd)
