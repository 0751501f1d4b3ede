"""What the decoder process is asked and what it answers, as records of canonical msgpack.

Everything that comes back is as untrusted as the file itself: bounds are declared here and checked
by the parent. Frames on the socket are ``u32be length ‖ record``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marina.schema import U8, U32, U64, Range, Size, record

FRAME_BYTES_MAX = 64 * 1024
CHUNK_BYTES_MAX = 48 * 1024
WAVEFORM_POINTS = 800
RAW_TEXT_BYTES_MAX = 2048
RAW_GENRE_BYTES_MAX = 512
RAW_FIELDS_MAX = 40
ARTWORK_BYTES_MAX = 512 * 1024
ARTWORK_SIDE_PX_MAX = 1024

KIND_READY, KIND_CHUNK, KIND_RESULT, KIND_FAILURE = range(4)
FAIL_DAMAGED, FAIL_UNSUPPORTED, FAIL_TOO_LARGE, FAIL_SANDBOX = (
    "damaged",
    "unsupported",
    "too_large",
    "sandbox",
)

Word = Annotated[str, Size(1, 32)]
RawText = Annotated[str, Size(0, RAW_TEXT_BYTES_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class Job:
    """One request; the file's descriptor travels beside the frame (SCM_RIGHTS).

    Attributes:
        operation: ``probe``, ``tags``, ``artwork``, ``analyse``, ``decode``, ``encode`` or
            ``escape``.
        container: what the magic bytes said, see ``sniff``.
        bitrate_bps: of the encoding, else 0.
        start_ms, length_ms: the part to encode; length 0 means all of it.
    """

    operation: Word
    container: Annotated[str, Size(0, 32)]
    size_bytes: U64
    bitrate_bps: U32
    start_ms: U32
    length_ms: U32


@record(None)
@dataclass(frozen=True, slots=True)
class Reply:
    """One frame from the decoder: ready, a chunk of output, the result record, or a failure."""

    kind: U8
    code: Annotated[str, Size(0, 32)]
    body: Annotated[bytes, Size(0, CHUNK_BYTES_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class Confinement:
    """Which layers hold in a decoder process, and why a missing one is missing."""

    layers: Annotated[tuple[Word, ...], Size(0, 8)]
    missing: Annotated[tuple[Annotated[str, Size(1, 300)], ...], Size(0, 8)]


@record(None)
@dataclass(frozen=True, slots=True)
class EscapeReport:
    """What a sealed decoder could still do; every flag is False in a sound sandbox."""

    can_open: bool
    can_connect: bool
    can_fork: bool
    can_exec: bool


@record(None)
@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file claims to hold.

    Attributes:
        container: ``flac``, ``mp3``, ``ogg_vorbis``, ``ogg_opus``, ``m4a`` or ``wav``.
        codec: ``flac``, ``mp3``, ``vorbis``, ``opus``, ``aac``, ``alac`` or ``pcm``.
        bit_depth: of lossless audio, 0 for lossy codecs.
        bitrate_bps: as stated for the stream or as size over duration, whichever is less.
        duration_ms: 0 if the file does not say; ``Analysis`` has the decoded one.
    """

    container: Word
    codec: Word
    sample_rate_hz: Annotated[int, Range(1, 768_000)]
    channels: Annotated[int, Range(1, 8)]
    bit_depth: Annotated[int, Range(0, 64)]
    bitrate_bps: U32
    duration_ms: U32
    size_bytes: U64


@record(None)
@dataclass(frozen=True, slots=True)
class RawTags:
    """Tags as the file has them, cut to a frame: (name, text, bytes before the cut)."""

    fields: Annotated[tuple[tuple[Word, RawText, U32], ...], Size(0, RAW_FIELDS_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class Analysis:
    """What decoding the whole file gave.

    Attributes:
        duration_ms: decoded samples over the sample rate.
        samples: decoded per channel.
        waveform: 800 peaks from 0 to 255, evenly spaced; fewer if there are fewer samples.
        loudness_mlufs: integrated loudness (EBU R128) in thousandths of LUFS, None if silent.
        pcm_sha256: of the decoded sound as interleaved signed 16-bit little-endian samples at the
            file's own rate and channels. Equal for equal lossless sound of up to 16 bits; of lossy
            codecs it is comparable only between equal libav versions.
        damaged_packets: packets of a lossy file that were skipped (at most 1 %).
    """

    duration_ms: U32
    samples: U64
    waveform: Annotated[bytes, Size(1, WAVEFORM_POINTS)]
    loudness_mlufs: Annotated[int, Range(-200_000, 100_000)] | None
    pcm_sha256: Annotated[bytes, Size(32, 32)]
    damaged_packets: U32


@record(None)
@dataclass(frozen=True, slots=True)
class PcmAudio:
    """What decoding to samples came to; they went out as chunks, two bytes for each channel's sample.

    Attributes:
        samples: decoded per channel.
    """

    sample_rate_hz: Annotated[int, Range(1, 768_000)]
    channels: Annotated[int, Range(1, 8)]
    samples: U64


@record(None)
@dataclass(frozen=True, slots=True)
class EncodedAudio:
    """What an encoding came to; its bytes went out as chunks.

    Attributes:
        bitrate_bps: size over duration, rounded.
        size_bytes: counted by the parent.
    """

    codec: Word
    mime: Annotated[str, Size(1, 64)]
    sample_rate_hz: Annotated[int, Range(1, 768_000)]
    channels: Annotated[int, Range(1, 8)]
    bitrate_bps: U32
    duration_ms: U32
    size_bytes: U64
