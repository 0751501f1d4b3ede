"""One audio file inside the decoder process: opened by its named container, decoded frame by frame."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import av
import av.error

from storage.audio.records import FAIL_DAMAGED, FAIL_TOO_LARGE, FAIL_UNSUPPORTED, AudioInfo, Job
from storage.audio.sniff import FLAC, M4A, MP3, OGG_OPUS, OGG_VORBIS, WAV, id3_length

READ_BYTES_MAX = 64 * 1024 * 1024
DURATION_MS_MAX = 24 * 3600 * 1000
_PADDING_SAMPLES_MAX = 4 * 1152
_DEMUXERS = {FLAC: "flac", MP3: "mp3", OGG_VORBIS: "ogg", OGG_OPUS: "ogg", M4A: "mp4", WAV: "wav"}
_PCM = ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le")
_PCM_BITS = {"pcm_u8": 8, "pcm_s16le": 16, "pcm_s24le": 24, "pcm_s32le": 32, "pcm_f32le": 32, "pcm_f64le": 64}
_CODECS: dict[str, tuple[str, ...]] = {
    FLAC: ("flac",),
    MP3: ("mp3float", "mp3"),
    OGG_VORBIS: ("vorbis",),
    OGG_OPUS: ("opus", "libopus"),
    M4A: ("aac", "alac"),
    WAV: _PCM,
}
_LOSSLESS = frozenset({"flac", "alac", *_PCM})
_OGG_PAGE_BYTES_MAX = 27 + 255 + 255 * 255


class JobError(Exception):
    """The job failed for a reason that lies in the file; sent to the parent as it is."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class PreadFile:
    """A file object over a read-only descriptor that leaves the descriptor's own offset alone."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        self._fd = fd
        self.size_bytes = size_bytes
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, at most 64 MiB; empty at the end."""
        left = max(0, self.size_bytes - self._position)
        wanted = min(left if size < 0 else size, left, READ_BYTES_MAX)
        data = self.at(self._position, wanted) if wanted else b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move and return the position; OSError for one before the start."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise OSError("seek before the start of the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes at an offset without moving."""
        return os.pread(self._fd, size, offset)


@dataclass
class Source:
    """An opened file; ``frames`` decodes it from the start, once."""

    file: PreadFile
    container: Any
    stream: Any
    info: AudioInfo
    declared_samples: int
    damaged_packets: int = 0
    samples: int = 0
    _format: tuple[str, str, int] | None = field(default=None)

    @property
    def decoded_ms(self) -> int:
        """Duration of the samples decoded so far."""
        rate_hz = self._format[2] if self._format else self.info.sample_rate_hz
        return self.samples * 1000 // rate_hz

    def frames(self) -> Iterator[Any]:
        """Yield every decoded frame, all of one format, rate and layout.

        Raises:
            JobError: the sound is damaged, too long or changes its shape on the way.
        """
        packets = 0
        for packet in self._packets():
            packets += 1
            try:
                decoded = self.stream.decode(packet)
            except (av.error.InvalidDataError, av.error.UndefinedError, av.error.PatchWelcomeError) as err:
                self._skip(err)
                continue
            for frame in decoded:
                if frame.samples:
                    self._check(frame)
                    yield frame
        if self.samples == 0:
            raise JobError(FAIL_DAMAGED, "it holds no sound")
        if self.damaged_packets * 100 > packets:
            raise JobError(FAIL_DAMAGED, f"{self.damaged_packets} of its {packets} packets cannot be decoded")
        self._check_whole()

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self.container.demux(self.stream)
        except av.error.InvalidDataError as err:
            raise JobError(FAIL_DAMAGED, f"it breaks off after {self.decoded_ms / 1000:.1f} s") from err

    def _skip(self, err: Exception) -> None:
        if self.stream.codec_context.name in _LOSSLESS:
            raise JobError(FAIL_DAMAGED, f"its sound is broken at {self.decoded_ms / 1000:.1f} s") from err
        self.damaged_packets += 1

    def _check(self, frame: Any) -> None:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._format is None:
            self._format = shape
        elif shape != self._format:
            raise JobError(FAIL_UNSUPPORTED, "its sample rate or channels change in the middle")
        self.samples += frame.samples
        if self.decoded_ms > DURATION_MS_MAX:
            raise JobError(FAIL_TOO_LARGE, "it is longer than 24 hours")

    def _check_whole(self) -> None:
        """Compare with what the headers promise, as exactly as the format does."""
        rate_hz = self._format[2] if self._format else self.info.sample_rate_hz
        missing = self.declared_samples - self.samples
        if missing > self._slack_samples(rate_hz):
            raise JobError(
                FAIL_DAMAGED,
                f"{missing / rate_hz:.2f} s of its {self.declared_samples / rate_hz:.2f} s are missing",
            )

    def _slack_samples(self, rate_hz: int) -> int:
        """FLAC counts samples; edit lists make MP4 vague; the others leave out a few frames of padding."""
        if self.info.container == FLAC:
            return 0
        percent = self.declared_samples // 100
        if self.info.container == M4A:
            return max(rate_hz // 2, percent)
        return max(_PADDING_SAMPLES_MAX, percent if self.damaged_packets else 0)


@contextmanager
def open_source(file: PreadFile, job: Job) -> Iterator[Source]:
    """Open the file as the container that its magic bytes named, with only that container's codecs.

    Raises:
        JobError: damaged, unsupported or too long.
    """
    try:
        container = av.open(
            file,
            "r",
            format=_DEMUXERS[job.container],
            container_options={"codec_whitelist": ",".join(_CODECS[job.container]), "err_detect": "crccheck"},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, ValueError) as err:
        raise JobError(FAIL_DAMAGED, "its headers cannot be read") from err
    try:
        if not container.streams.audio:
            raise JobError(FAIL_UNSUPPORTED, "it holds no sound of a supported kind")
        stream = container.streams.audio[0]
        context = stream.codec_context
        if context is None or context.name not in _CODECS[job.container]:
            raise JobError(FAIL_UNSUPPORTED, "its sound is of a kind that is not supported")
        context.thread_count = 1
        if context.name in _LOSSLESS:
            context.options = {"err_detect": "crccheck+explode"}
        if job.container in (OGG_OPUS, OGG_VORBIS):
            _check_last_page(file)
        info = _info(file, job, container, stream)
        yield Source(file, container, stream, info, _declared_samples(file, stream, info))
    finally:
        container.close()


def _info(file: PreadFile, job: Job, container: Any, stream: Any) -> AudioInfo:
    context = stream.codec_context
    duration_ms = _duration_ms(container, stream)
    if duration_ms > DURATION_MS_MAX:
        raise JobError(FAIL_TOO_LARGE, "it claims to be longer than 24 hours")
    average_bps = file.size_bytes * 8000 // duration_ms if duration_ms else 0
    # Vorbis states a nominal rate, which may be far above; pictures and tags make the average too large
    bitrate_bps = min(filter(None, (stream.bit_rate, average_bps)), default=0)
    channels = context.channels
    if not 1 <= channels <= 8:
        raise JobError(FAIL_UNSUPPORTED, f"it has {channels} channels, and 1 to 8 are supported")
    if not 1 <= context.sample_rate <= 768_000:
        raise JobError(FAIL_DAMAGED, "its sample rate is impossible")
    name = context.name
    codec = "pcm" if name in _PCM else {"mp3float": "mp3", "libopus": "opus"}.get(name, name)
    return AudioInfo(
        container=job.container,
        codec=codec,
        sample_rate_hz=context.sample_rate,
        channels=channels,
        bit_depth=_bit_depth(name, context.extradata or b""),
        bitrate_bps=min(max(0, bitrate_bps), 2**32 - 1),
        duration_ms=duration_ms,
        size_bytes=file.size_bytes,
    )


def _duration_ms(container: Any, stream: Any) -> int:
    if stream.duration is not None and stream.time_base:
        return max(0, int(stream.duration * stream.time_base * 1000))
    return max(0, (container.duration or 0) // 1000)


def _bit_depth(codec: str, extradata: bytes) -> int:
    if codec in _PCM_BITS:
        return _PCM_BITS[codec]
    if codec == "flac" and len(extradata) >= 14:  # STREAMINFO: 5 bits behind rate and channels
        return ((extradata[12] & 1) << 4 | extradata[13] >> 4) + 1
    if codec == "alac" and len(extradata) >= 18:
        return extradata[17] if extradata[17] <= 64 else 0
    return 0


def _declared_samples(file: PreadFile, stream: Any, info: AudioInfo) -> int:
    """Return how many samples the file promises; 0 if it only allows an estimate."""
    if info.container == MP3:
        return _mp3_samples(file)
    if info.container == WAV:
        _check_wave_length(file)
        return 0
    if stream.duration is None or not stream.time_base:
        return 0
    return max(0, int(stream.duration * stream.time_base * info.sample_rate_hz))


def _mp3_samples(file: PreadFile) -> int:
    """Return the length in the Xing or Info header of the first frame; libav ignores it in cut files."""
    head = file.at(id3_length(file.at(0, 10)), 4096)
    place = max(head.find(b"Xing", 0, 400), head.find(b"Info", 0, 400))
    sync = head.find(b"\xff")
    if place < 0 or not 0 <= sync < place or not head[place + 7 : place + 8] or not head[place + 7] & 1:
        return 0
    frames = int.from_bytes(head[place + 8 : place + 12])
    is_mpeg1 = head[sync + 1] >> 3 & 3 == 3
    return frames * (1152 if is_mpeg1 else 576)


def _check_wave_length(file: PreadFile) -> None:
    head = file.at(0, 4096)
    place = head.find(b"data")
    stated = int.from_bytes(head[place + 4 : place + 8], "little") if place > 0 else 0
    have = file.size_bytes - place - 8
    if have < stated < 0xFFFFFFFF - 4096:  # streamed WAV states all ones
        raise JobError(FAIL_DAMAGED, f"{have} of its {stated} bytes of sound are there")


def _check_last_page(file: PreadFile) -> None:
    """Refuse an Ogg file whose last page is cut; libav would drop that page in silence."""
    start = max(0, file.size_bytes - _OGG_PAGE_BYTES_MAX)
    tail = file.at(start, _OGG_PAGE_BYTES_MAX)
    place = tail.rfind(b"OggS")
    while place >= 0:
        lacing = io.BytesIO(tail[place + 26 :])
        count = (lacing.read(1) or b"\xff")[0]
        sizes = lacing.read(count)
        end = place + 27 + count + sum(sizes)
        if len(sizes) == count and end == len(tail):
            return
        # "OggS" inside a packet is possible: look further back for a page that fits exactly
        place = tail.rfind(b"OggS", 0, place)
    raise JobError(FAIL_DAMAGED, "it is cut short in the middle of its last page")
