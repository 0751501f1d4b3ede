"""Waveform, loudness and PCM hash of a whole file in one decoding pass and bounded memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import av
import av.error
import av.filter
import numpy as np
import numpy.typing as npt

from storage.audio.decoder.source import Source
from storage.audio.records import WAVEFORM_POINTS, Analysis

_BUCKETS_MAX = 16_384
_SILENCE_LUFS = -70.0


class FilterChain:
    """A linear libav filter graph on one thread, shaped by the first frame."""

    def __init__(self, filters: tuple[tuple[str, str], ...], *, frame_samples: int = 0) -> None:
        self._filters = filters
        self._frame_samples = frame_samples
        self._source: Any = None
        self._sink: Any = None
        self._graph: Any = None

    def push(self, frame: Any) -> Iterator[Any]:
        """Feed a frame and yield what comes out."""
        if self._graph is None:
            self._configure(frame)
        self._source.push(frame)
        yield from self._drain()

    def flush(self) -> Iterator[Any]:
        """Yield what is left inside after the last frame."""
        if self._graph is not None:
            self._source.push(None)
            yield from self._drain()

    def _configure(self, frame: Any) -> None:
        graph = av.filter.Graph()
        graph.threads = 1  # a second thread could not be started in the sealed process
        node = self._source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base,
        )
        for name, args in (*self._filters, ("abuffersink", None)):
            following = graph.add(name, args)
            node.link_to(following)
            node = following
        graph.configure()
        if self._frame_samples:
            graph.set_audio_frame_size(self._frame_samples)
        self._sink, self._graph = node, graph

    def _drain(self) -> Iterator[Any]:
        while True:
            try:
                yield self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return


class Peaks:
    """Peaks of a stream of unknown length: when the buckets run out, neighbours merge."""

    def __init__(self) -> None:
        self._samples_per_bucket = 64
        self._buckets: list[int] = []
        self._rest: npt.NDArray[np.int32] = np.zeros(0, np.int32)

    def add(self, samples: npt.NDArray[np.int16], channels: int) -> None:
        """Add interleaved samples."""
        loudest = np.abs(samples.reshape(-1, channels).astype(np.int32)).max(axis=1)
        data = np.concatenate((self._rest, loudest))
        whole = len(data) // self._samples_per_bucket
        cut = whole * self._samples_per_bucket
        self._rest = data[cut:]
        self._buckets += data[:cut].reshape(whole, -1).max(axis=1).tolist() if whole else []
        while len(self._buckets) >= _BUCKETS_MAX:
            self._buckets = [max(self._buckets[i : i + 2]) for i in range(0, len(self._buckets), 2)]
            self._samples_per_bucket *= 2

    def points(self) -> bytes:
        """Return up to 800 peaks from 0 to 255, evenly spaced."""
        last = [int(self._rest.max())] if len(self._rest) else []
        fine = np.array(self._buckets + last, np.int64)
        count = min(WAVEFORM_POINTS, len(fine))
        edges = np.linspace(0, len(fine), count + 1).astype(np.int64)[:-1]
        peaks = np.maximum.reduceat(fine, edges)
        return bytes(((peaks * 255 + 16_384) // 32_768).clip(0, 255).astype(np.uint8))


def analyse(source: Source) -> Analysis:
    """Decode everything and return what it gave; JobError when the sound is damaged."""
    digest = hashlib.sha256()
    peaks = Peaks()
    to_s16 = FilterChain((("aformat", "sample_fmts=s16"),))
    meter = FilterChain((("ebur128", "metadata=1:framelog=quiet"),))
    channels = source.info.channels
    loudness: str | None = None
    for frame in source.frames():
        channels = frame.layout.nb_channels
        for packed in to_s16.push(frame):
            samples = packed.to_ndarray().reshape(-1)
            digest.update(samples.tobytes())
            peaks.add(samples, channels)
        for measured in meter.push(frame):
            loudness = measured.metadata.get("lavfi.r128.I", loudness)
    for measured in meter.flush():
        loudness = measured.metadata.get("lavfi.r128.I", loudness)
    return Analysis(
        duration_ms=source.decoded_ms,
        samples=source.samples,
        waveform=peaks.points(),
        loudness_mlufs=_mlufs(loudness),
        pcm_sha256=digest.digest(),
        damaged_packets=source.damaged_packets,
    )


def _mlufs(text: str | None) -> int | None:
    value = float(text) if text else -math.inf
    if not math.isfinite(value) or value <= _SILENCE_LUFS:
        return None  # the gate of EBU R128: silence, or shorter than its 0.4 s window
    return round(value * 1000)
