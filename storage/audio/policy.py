"""Which renditions a track gets; pure. Source: design, architecture §5 rule 2."""

from __future__ import annotations

from dataclasses import dataclass

from storage.audio.records import AudioInfo
from storage.audio.sniff import FLAC, M4A, MP3, OGG_OPUS, OGG_VORBIS, WAV

TIER_PREVIEW, TIER_STREAM, TIER_ORIGINAL = 0, 1, 2
STREAM_BITRATE_BPS = 160_000
STREAM_MONO_BITRATE_BPS = 96_000
PREVIEW_BITRATE_BPS = 96_000
PREVIEW_MS_MAX = 30_000
PREVIEW_MS_MIN = 500
LOSSY_AS_IS_BPS_MAX = 192_000
LOSSY_CODECS = frozenset({"mp3", "vorbis", "opus", "aac"})
OPUS_MIME = "audio/ogg; codecs=opus"
_MIMES = {
    FLAC: "audio/flac",
    MP3: "audio/mpeg",
    OGG_VORBIS: "audio/ogg; codecs=vorbis",
    OGG_OPUS: OPUS_MIME,
    M4A: "audio/mp4",
    WAV: "audio/wav",
}


@dataclass(frozen=True, slots=True)
class RenditionPlan:
    """One rendition to make.

    Attributes:
        tier: 0 preview, 1 stream, 2 original.
        is_source: the artist's bytes as they are; otherwise encode to Opus as below.
        start_ms, length_ms: the part to encode; length 0 means all of it.
    """

    tier: int
    is_source: bool
    codec: str
    mime: str
    bitrate_bps: int
    start_ms: int = 0
    length_ms: int = 0


def mime_of(container: str) -> str:
    """Return the media type of one of the six containers."""
    return _MIMES[container]


def plan_renditions(
    info: AudioInfo, *, duration_ms: int
) -> tuple[RenditionPlan, RenditionPlan, RenditionPlan]:
    """Return the plans for preview, stream and original.

    Args:
        info: what ``probe`` found.
        duration_ms: the decoded duration from ``analyse``, which cannot lie.
    """
    source = RenditionPlan(TIER_ORIGINAL, True, info.codec, mime_of(info.container), info.bitrate_bps)
    start_ms, length_ms = preview_window(duration_ms)
    preview = RenditionPlan(TIER_PREVIEW, False, "opus", OPUS_MIME, PREVIEW_BITRATE_BPS, start_ms, length_ms)
    if is_light_enough(info):
        return preview, RenditionPlan(TIER_STREAM, True, source.codec, source.mime, info.bitrate_bps), source
    bitrate_bps = STREAM_MONO_BITRATE_BPS if info.channels == 1 else STREAM_BITRATE_BPS
    return preview, RenditionPlan(TIER_STREAM, False, "opus", OPUS_MIME, bitrate_bps), source


def is_light_enough(info: AudioInfo) -> bool:
    """Return whether the source is lossy and at most 192 kbit/s, so that it is streamed as it is."""
    return info.codec in LOSSY_CODECS and 0 < info.bitrate_bps <= LOSSY_AS_IS_BPS_MAX


def preview_window(duration_ms: int) -> tuple[int, int]:
    """Return (start, length) of the preview: min(30 s, a quarter), from a quarter into the track.

    Of tracks under two seconds it is half a second or all there is: less cannot be encoded.

    Raises:
        ValueError: the duration is not positive.
    """
    if duration_ms <= 0:
        raise ValueError(f"a track of {duration_ms} ms has no preview")
    length_ms = min(PREVIEW_MS_MAX, max(duration_ms // 4, PREVIEW_MS_MIN), duration_ms)
    return min(duration_ms // 4, duration_ms - length_ms), length_ms
