"""The daemon's only way to an audio file's inside: a small pool of sealed decoder processes.

The file is handed over as a read-only descriptor, never as a path. A process is warm for a few dozen
jobs and is replaced after that, after any error and after a minute without work, so that an idle
daemon holds no decoder. PyAV is imported only in those processes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from marina.errors import MalformedError
from marina.schema import decode_record
from storage.audio.errors import AudioError, DamagedAudioError
from storage.audio.files import Inspected, inspect, regular_size
from storage.audio.policy import PREVIEW_BITRATE_BPS, STREAM_BITRATE_BPS, preview_window
from storage.audio.records import (
    ARTWORK_BYTES_MAX,
    Analysis,
    AudioInfo,
    EncodedAudio,
    EscapeReport,
    Job,
    PcmAudio,
    RawTags,
)
from storage.audio.tags import Tags, tags_from_raw
from storage.audio.worker import AudioWorker, Budget

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.storage.audio")

BYTES_PER_SECOND_MIN = 1000
"""No sensible encoding is thinner: a duration that claims more does not buy processor time."""
CPU_BASE_S = 10
CPU_PER_AUDIO = 20
WALL_FACTOR = 4
_OUTPUT_SLACK_BYTES = 256 * 1024

R = TypeVar("R")
Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How decoder processes are kept.

    Attributes:
        workers: processes at the same time.
        jobs_per_worker: replaced after so many jobs.
        idle_stop_s: an unused process ends after this time.
        memory_bytes: address space of a process.
        allow_weak_sandbox: decode although Landlock or seccomp is missing on this machine.
        recycle_on_failure: replace a process whose file had an error.
    """

    workers: int = 1
    jobs_per_worker: int = 50
    idle_stop_s: float = 60.0
    memory_bytes: int = 1024**3
    allow_weak_sandbox: bool = False
    recycle_on_failure: bool = True


class AudioSandbox:
    """Probes, analyses and encodes audio files without letting them near the daemon.

    Every operation takes a descriptor opened read-only on a regular file, neither uses nor moves its
    offset, and raises only AudioError (the file), SandboxUnavailableError (the machine) or ValueError
    (the descriptor is not read-only). ``run`` must be running.
    """

    def __init__(self, *, settings: SandboxSettings | None = None) -> None:
        self._settings = settings or SandboxSettings()
        self._slots = trio.CapacityLimiter(self._settings.workers)
        self._idle: list[tuple[AudioWorker, float]] = []
        self._is_running = False

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the pool until cancelled; stops every idle process on the way out."""
        async with self.opened():
            task_status.started()
            while True:
                await trio.sleep(self._settings.idle_stop_s / 4)
                await self._stop_idle(older_than_s=self._settings.idle_stop_s)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Make the operations usable within the block, and stop every process at its end."""
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            with trio.CancelScope(shield=True):
                await self._stop_idle(older_than_s=0.0)

    async def probe(self, fd: int) -> AudioInfo:
        """Return what the file's headers say."""
        return await self._ask(fd, "probe", AudioInfo)

    async def tags(self, fd: int) -> Tags:
        """Return the file's tags, made safe; empty when they cannot be read."""
        return tags_from_raw(await self._ask(fd, "tags", RawTags))

    async def artwork(self, fd: int) -> bytes | None:
        """Return the embedded cover as a new JPEG of at most 1024 px a side and 512 KiB, or None.

        None also for a cover that is no sound JPEG, PNG or WebP picture; SVG is never read.
        """
        inspected = await trio.to_thread.run_sync(inspect, fd)
        return await self._jpeg(fd, _job("artwork", inspected))

    async def picture(self, fd: int) -> bytes | None:
        """Return a picture file, such as the ``cover.jpg`` of a folder, as ``artwork`` would."""
        size_bytes = await trio.to_thread.run_sync(regular_size, fd)
        return await self._jpeg(fd, Job("picture", "", size_bytes, 0, 0, 0))

    async def _jpeg(self, fd: int, job: Job) -> bytes | None:
        parts: list[bytes] = []

        async def collect(data: bytes) -> None:
            parts.append(data)

        await self._work(fd, job, _budget(0, ARTWORK_BYTES_MAX), collect)
        jpeg = b"".join(parts)
        return jpeg if jpeg[:3] == b"\xff\xd8\xff" else None

    async def analyse(self, fd: int) -> Analysis:
        """Decode the whole file and return waveform, loudness, exact duration and PCM hash."""
        return await self._ask(fd, "analyse", Analysis, duration_ms=(await self.probe(fd)).duration_ms)

    async def decode(self, fd: int, write: Write) -> PcmAudio:
        """Decode to interleaved signed 16-bit samples; bytes go to ``write`` in pieces of at most 48 KiB.

        When this raises, what was written is to be thrown away.
        """
        info = await self.probe(fd)
        inspected = await trio.to_thread.run_sync(inspect, fd)
        believed_ms = _believed_ms(info.duration_ms, inspected.size_bytes)
        most_bytes = 2 * info.channels * info.sample_rate_hz * (believed_ms + 1000) // 1000 * 2
        budget = _budget(believed_ms, most_bytes + _OUTPUT_SLACK_BYTES)
        body, output_bytes = await self._work(fd, _job("decode", inspected), budget, write)
        pcm = _decode(PcmAudio, body)
        if output_bytes != 2 * pcm.channels * pcm.samples:
            raise DamagedAudioError(
                "The audio file could not be decoded: the decoder lost part of it. Try again."
            )
        return pcm

    async def encode_opus(
        self, fd: int, write: Write, *, bitrate_bps: int = STREAM_BITRATE_BPS
    ) -> EncodedAudio:
        """Encode to Opus in Ogg; bytes go to ``write`` in pieces of at most 48 KiB.

        Equal sound gives equal bytes with an equal version of libopus. When this raises, what was
        written is to be thrown away.
        """
        info = await self.probe(fd)
        return await self._encode(fd, write, info, bitrate_bps=bitrate_bps, start_ms=0, length_ms=0)

    async def encode_preview(
        self, fd: int, write: Write, *, duration_ms: int, bitrate_bps: int = PREVIEW_BITRATE_BPS
    ) -> EncodedAudio:
        """Encode the preview clip: min(30 s, a quarter), from a quarter into the track.

        Args:
            fd: the file.
            write: takes the bytes, as for ``encode_opus``.
            duration_ms: the decoded duration from ``analyse``.
            bitrate_bps: of the clip.
        """
        start_ms, length_ms = preview_window(duration_ms)
        info = await self.probe(fd)
        return await self._encode(
            fd, write, info, bitrate_bps=bitrate_bps, start_ms=start_ms, length_ms=length_ms
        )

    async def self_test(self) -> EscapeReport:
        """Return what a sealed process can still do; ``marina doctor`` shows it."""
        with open("/dev/null", "rb") as nothing:  # noqa: ASYNC230, PTH123 - a device that never blocks
            job = Job("escape", "", 0, 0, 0, 0)
            body, _ = await self._work(nothing.fileno(), job, _budget(0, 0), None)
        return _decode(EscapeReport, body)

    async def _encode(
        self, fd: int, write: Write, info: AudioInfo, *, bitrate_bps: int, start_ms: int, length_ms: int
    ) -> EncodedAudio:
        inspected = await trio.to_thread.run_sync(inspect, fd)
        job = _job("encode", inspected, bitrate_bps=bitrate_bps, start_ms=start_ms, length_ms=length_ms)
        believed_ms = _believed_ms(info.duration_ms, inspected.size_bytes)
        most_bytes = 2 * believed_ms * bitrate_bps // 8000 + _OUTPUT_SLACK_BYTES
        body, output_bytes = await self._work(fd, job, _budget(believed_ms, most_bytes), write)
        encoded = _decode(EncodedAudio, body)
        if encoded.size_bytes != output_bytes or not output_bytes:
            raise DamagedAudioError(
                "The audio file could not be encoded: the decoder lost part of it. Try again."
            )
        return encoded

    async def _ask(self, fd: int, operation: str, kind: type[R], *, duration_ms: int = 0) -> R:
        inspected = await trio.to_thread.run_sync(inspect, fd)
        budget = _budget(_believed_ms(duration_ms, inspected.size_bytes), 0)
        body, _ = await self._work(fd, _job(operation, inspected), budget, None)
        return _decode(kind, body)

    async def _work(self, fd: int, job: Job, budget: Budget, write: Write | None) -> tuple[bytes, int]:
        if not self._is_running:
            raise RuntimeError("AudioSandbox.run must be running")
        async with self._slots:
            worker = await self._take()
            try:
                result = await worker.run(job, fd, budget, write)
            except AudioError as err:
                log.info(
                    "audio file refused", extra={"context": {"operation": job.operation, "code": err.code}}
                )
                await self._give_back(worker, is_sound=not self._settings.recycle_on_failure)
                raise
            except BaseException:
                await worker.stop()
                raise
            await self._give_back(worker, is_sound=True)
            return result

    async def _take(self) -> AudioWorker:
        while self._idle:
            worker, _ = self._idle.pop()
            if worker.is_alive:
                return worker
            await worker.stop()
        settings = self._settings
        return await AudioWorker.start(
            memory_bytes=settings.memory_bytes, allow_weak_sandbox=settings.allow_weak_sandbox
        )

    async def _give_back(self, worker: AudioWorker, *, is_sound: bool) -> None:
        is_fresh = worker.jobs_done < self._settings.jobs_per_worker
        if is_sound and is_fresh and self._is_running and worker.is_in_step:
            self._idle.append((worker, trio.current_time()))
        else:
            await worker.stop()

    async def _stop_idle(self, *, older_than_s: float) -> None:
        limit = trio.current_time() - older_than_s
        old = [worker for worker, since in self._idle if since <= limit]
        self._idle = [(worker, since) for worker, since in self._idle if since > limit]
        for worker in old:
            await worker.stop()


@asynccontextmanager
async def open_sandbox(*, settings: SandboxSettings | None = None) -> AsyncIterator[AudioSandbox]:
    """Yield a usable sandbox for one piece of work; ``run`` is not needed and nothing idles out."""
    sandbox = AudioSandbox(settings=settings)
    async with sandbox.opened():
        yield sandbox


def _job(
    operation: str, inspected: Inspected, *, bitrate_bps: int = 0, start_ms: int = 0, length_ms: int = 0
) -> Job:
    return Job(operation, inspected.container, inspected.size_bytes, bitrate_bps, start_ms, length_ms)


def _believed_ms(duration_ms: int, size_bytes: int) -> int:
    return min(duration_ms, size_bytes * 1000 // BYTES_PER_SECOND_MIN)


def _budget(duration_ms: int, output_bytes: int) -> Budget:
    cpu_s = CPU_BASE_S + duration_ms // 1000 // CPU_PER_AUDIO
    return Budget(cpu_s, float(WALL_FACTOR * cpu_s), output_bytes)


def _decode(kind: type[R], body: bytes) -> R:
    try:
        return decode_record(kind, body)
    except MalformedError as err:
        raise DamagedAudioError(
            "The audio file is damaged: the decoder gave no usable answer on it."
        ) from err
