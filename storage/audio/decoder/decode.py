"""The sound of a file as interleaved signed 16-bit little-endian samples, at its own rate and channels."""

from __future__ import annotations

from collections.abc import Callable

from storage.audio.decoder.analyse import FilterChain
from storage.audio.decoder.source import Source
from storage.audio.records import PcmAudio


def decode_pcm(source: Source, write: Callable[[bytes], None]) -> PcmAudio:
    """Decode everything into ``write`` and return what it was; JobError when the sound is damaged."""
    to_s16 = FilterChain((("aformat", "sample_fmts=s16"),))
    rate_hz, channels = source.info.sample_rate_hz, source.info.channels
    for frame in source.frames():
        rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
        for packed in to_s16.push(frame):
            write(packed.to_ndarray().tobytes())
    return PcmAudio(sample_rate_hz=rate_hz, channels=channels, samples=source.samples)
