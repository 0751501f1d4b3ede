"""Opus in Ogg, the same bytes for the same sound: fixed serial number, no version strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import av.codec.context

from storage.audio.decoder.analyse import FilterChain
from storage.audio.decoder.source import JobError, Source
from storage.audio.records import FAIL_DAMAGED, EncodedAudio

RATE_HZ = 48_000
FRAME_SAMPLES = 960
FADE_S = 0.02


class _Output:
    """What libav's muxer writes to; counts and passes on."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        self._write(bytes(data))
        return len(data)


def encode_opus(
    source: Source, write: Callable[[bytes], None], *, bitrate_bps: int, start_ms: int, length_ms: int
) -> EncodedAudio:
    """Encode all of the sound, or ``length_ms`` from ``start_ms`` with short fades, and return its data.

    Mono stays mono; more than two channels are mixed down to stereo.
    """
    channels = 1 if source.info.channels == 1 else 2
    layout = "mono" if channels == 1 else "stereo"
    output = _Output(write)
    options = {"fflags": "+bitexact", "serial_offset": "1"}
    chain = FilterChain(_filters(layout, start_ms, length_ms), frame_samples=FRAME_SAMPLES)
    samples = 0
    with av.open(output, "w", format="ogg", container_options=options) as muxer:
        stream = muxer.add_stream(
            "libopus", rate=RATE_HZ, options={"application": "audio", "vbr": "on", "compression_level": "10"}
        )
        stream.layout = layout
        stream.bit_rate = bitrate_bps
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for frame in _filtered(source, chain, start_ms + length_ms if length_ms else 0):
            samples += frame.samples
            muxer.mux(stream.encode(frame))
        if not samples:
            raise JobError(FAIL_DAMAGED, "there is no sound in the part to encode")
        muxer.mux(stream.encode(None))
    duration_ms = samples * 1000 // RATE_HZ
    return EncodedAudio(
        codec="opus",
        mime="audio/ogg; codecs=opus",
        sample_rate_hz=RATE_HZ,
        channels=channels,
        bitrate_bps=output.size_bytes * 8000 // max(1, duration_ms),
        duration_ms=duration_ms,
        size_bytes=output.size_bytes,
    )


def _filters(layout: str, start_ms: int, length_ms: int) -> tuple[tuple[str, str], ...]:
    to_opus = (("aresample", str(RATE_HZ)), ("aformat", f"sample_fmts=flt:channel_layouts={layout}"))
    if not length_ms:
        return to_opus
    start, end = start_ms / 1000, (start_ms + length_ms) / 1000
    fade_s = min(FADE_S, length_ms / 4000)
    cut = (
        ("atrim", f"start={start}:end={end}"),
        ("asetpts", "PTS-STARTPTS"),
        ("afade", f"type=in:duration={fade_s}"),
        ("afade", f"type=out:start_time={end - start - fade_s}:duration={fade_s}"),
    )
    return cut + to_opus


def _filtered(source: Source, chain: FilterChain, stop_ms: int) -> Iterator[Any]:
    """Yield filtered frames; decode no further than needed for a clip."""
    position = 0
    for frame in source.frames():
        # many demuxers start at a small offset or leave gaps; the sample count is what we go by
        frame.pts = position
        frame.time_base = Fraction(1, frame.sample_rate)
        position += frame.samples
        yield from chain.push(frame)
        if stop_ms and source.decoded_ms > stop_ms:
            break
    yield from chain.flush()
