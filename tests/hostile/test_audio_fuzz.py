"""Thousands of wounded files through the sealed decoder: only typed errors, and soon (T23)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.audio.errors import AudioError
from storage.audio.records import EscapeReport
from storage.audio.sandbox import SandboxSettings, open_sandbox
from storage.audio.worker import cpu_seconds

GENERATOR = Path(__file__).parents[1] / "support" / "audio_clips.py"
FUZZ_RUNS = 2000
FUZZ_SETTINGS = SandboxSettings(jobs_per_worker=500, recycle_on_failure=False)


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


def mutate(rng, data):
    """Return the data with a random wound: flips, a cut, a hole, a doubled or a swapped piece."""
    wounded = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        place = rng.randrange(min(len(wounded) or 1, rng.choice((64, 1024, len(wounded) or 1))))
        length = rng.randrange(1, 64)
        match rng.randrange(6):
            case 0:
                wounded[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                wounded[place : place + 1] = rng.choice((b"\x00", b"\x7f", b"\x80", b"\xff"))
            case 2:
                wounded[place : place + length] = rng.randbytes(length)
            case 3:
                del wounded[place : place + length]
            case 4:
                wounded[place:place] = wounded[place : place + length]
            case _:
                del wounded[max(64, place * 4) :]
    return bytes(wounded) or b"\0"


SEEDS = ("clip.flac", "clip.mp3", "clip.ogg", "clip.opus", "clip.m4a", "alac.m4a", "mono.wav", "cover.flac")


async def fuzz(sandbox, clips, runs, seed):
    rng = random.Random(seed)
    cover = (clips / "cover.png").read_bytes()[:20_000]
    flac = (clips / "clip.flac").read_bytes()
    body = (3).to_bytes(4) + (9).to_bytes(4) + b"image/png" + bytes(20) + len(cover).to_bytes(4) + cover
    block = b"\x06" + len(body).to_bytes(3) + body
    sounds = {name: (clips / name).read_bytes()[:60_000] for name in SEEDS if name != "cover.flac"}
    sounds["cover.flac"] = flac[:42] + block + flac[42:10_000]
    outcomes = Counter()
    slowest_cpu_s = 0.0
    for number in range(runs):
        name = SEEDS[number % len(SEEDS)]
        operation = rng.choice(("probe", "tags", "artwork", "analyse", "encode"))
        before = {worker.pid: cpu_seconds(worker.pid) for worker, _ in sandbox._idle}
        with file_of(mutate(rng, sounds[name])) as fd:
            try:
                if operation == "encode":
                    await sandbox.encode_opus(fd, discard)
                else:
                    await getattr(sandbox, operation)(fd)
                outcome, sentence = "fine", ""
            except AudioError as err:
                outcome, sentence = type(err).__name__, str(err)
        outcomes[outcome] += 1
        assert sentence.isprintable() or not sentence
        for worker, _ in sandbox._idle:
            slowest_cpu_s = max(slowest_cpu_s, cpu_seconds(worker.pid) - before.get(worker.pid, 1e9))
    return outcomes, slowest_cpu_s


async def test_two_thousand_wounded_files_cause_only_typed_errors(sandbox, clips):
    outcomes, slowest_cpu_s = await fuzz(sandbox, clips, FUZZ_RUNS, seed=20)
    assert sum(outcomes.values()) == FUZZ_RUNS
    assert outcomes["fine"] > FUZZ_RUNS // 20
    assert outcomes["DamagedAudioError"] > FUZZ_RUNS // 20
    assert slowest_cpu_s <= 10
    assert await sandbox.self_test() == EscapeReport(False, False, False, False)


@pytest.mark.slow
async def test_many_more_wounded_files_cause_only_typed_errors(sandbox, clips):
    runs = int(os.environ.get("MARINA_FUZZ_RUNS", "20000"))
    seed = random.SystemRandom().getrandbits(64)
    outcomes, slowest_cpu_s = await fuzz(sandbox, clips, runs, seed)
    print(f"seed {seed}: {dict(outcomes)}, slowest {slowest_cpu_s:.2f} s")
    assert sum(outcomes.values()) == runs
    assert slowest_cpu_s <= 10
