"""Decodes a known good clip of every format once, so that nothing is left to import or load later."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import av.error
import av.filter
import numpy as np

from storage.audio.decoder.analyse import analyse
from storage.audio.decoder.encode import encode_opus
from storage.audio.decoder.picture import reencode_picture
from storage.audio.decoder.source import JobError, PreadFile, open_source
from storage.audio.decoder.tagging import load_encodings, read_picture, read_tags
from storage.audio.records import Job
from storage.audio.sniff import FLAC, M4A, MP3, OGG_OPUS, OGG_VORBIS, WAV

_RATE_HZ = 48_000
_CLIPS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    (FLAC, "flac", "flac", {}),
    (MP3, "mp3", "libmp3lame", {}),
    (OGG_VORBIS, "ogg", "vorbis", {"strict": "-2"}),
    (OGG_OPUS, "ogg", "libopus", {}),
    (M4A, "ipod", "aac", {}),
    (WAV, "wav", "pcm_s16le", {}),
)


class BytesFile(PreadFile):
    """A known good file in memory."""

    def __init__(self, data: bytes) -> None:
        super().__init__(-1, len(data))
        self._data = data

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes at an offset without moving."""
        return self._data[offset : offset + size]


def warm_up() -> None:
    """Use every decoder, the encoder, the tag reader, the picture codecs and the error paths once.

    Raises:
        RuntimeError: this build of libav cannot handle one of the formats.
    """
    load_encodings()
    for container, muxer, codec, options in _CLIPS:
        try:
            _use(container, _clip(muxer, codec, options))
        except (JobError, av.error.FFmpegError, ValueError) as err:
            raise RuntimeError(f"this build of PyAV cannot handle {container}: {err}") from err
    _use_pictures()
    try:
        with open_source(BytesFile(b"fLaC" + bytes(64)), _job(FLAC, 68)) as source:
            analyse(source)
    except JobError:
        return  # as it should be
    raise RuntimeError("this build of PyAV takes garbage for sound")


def _use(container: str, clip: bytes) -> None:
    file = BytesFile(clip)
    read_tags(file)
    read_picture(file)
    for operation in ("analyse", "encode"):
        file.seek(0)
        with open_source(file, _job(container, len(clip))) as source:
            if operation == "analyse":
                analyse(source)
            else:
                encode_opus(source, lambda _: None, bitrate_bps=96_000, start_ms=50, length_ms=50)


def _job(container: str, size_bytes: int) -> Job:
    return Job("warm", container, size_bytes, 0, 0, 0)


def _clip(muxer: str, codec: str, options: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer) as container:
        stream: Any = container.add_stream(codec, rate=_RATE_HZ, options=options)
        stream.layout = "stereo"
        context = stream.codec_context
        context.thread_count = 1
        for frame in _tone(context.format.name, context.frame_size):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _tone(sample_format: str, frame_samples: int) -> list[Any]:
    graph = av.filter.Graph()
    graph.threads = 1
    chain = [
        graph.add("sine", f"frequency=440:duration=0.2:sample_rate={_RATE_HZ}"),
        graph.add("aformat", f"sample_fmts={sample_format}:channel_layouts=stereo"),
        graph.add("abuffersink"),
    ]
    chain[0].link_to(chain[1])
    chain[1].link_to(chain[2])
    graph.configure()
    if frame_samples:
        graph.set_audio_frame_size(frame_samples)
    frames = []
    while True:
        try:
            frames.append(chain[2].pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return frames


def _use_pictures() -> None:
    pixels = np.arange(48 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 48, 3)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    for codec, pixel_format in (("png", "rgb24"), ("mjpeg", "yuvj420p"), ("libwebp", "yuv420p")):
        context: Any = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = 48, 48, pixel_format
        context.time_base = Fraction(1)
        context.thread_count = 1
        source = frame.reformat(format=pixel_format, threads=1)
        data = b"".join(bytes(packet) for packet in context.encode(source) + context.encode(None))
        if reencode_picture(data) is None:
            raise RuntimeError(f"this build of PyAV cannot handle {codec} pictures")
