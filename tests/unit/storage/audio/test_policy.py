"""Renditions: a light lossy source is streamed as it is, everything else as Opus."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.audio.policy import plan_renditions, preview_window
from storage.audio.records import AudioInfo

FLAC = AudioInfo("flac", "flac", 44_100, 2, 16, 900_000, 240_000, 27_000_000)


def stream_of(info):
    preview, stream, original = plan_renditions(info, duration_ms=240_000)
    assert (preview.tier, stream.tier, original.tier) == (0, 1, 2)
    assert original.is_source
    assert not preview.is_source
    return stream


def test_lossless_sound_is_streamed_as_opus_160():
    stream = stream_of(FLAC)
    assert (stream.is_source, stream.codec, stream.bitrate_bps) == (False, "opus", 160_000)


def test_lossless_mono_gets_fewer_bits():
    assert stream_of(replace(FLAC, channels=1)).bitrate_bps == 96_000


@pytest.mark.parametrize("codec", ["mp3", "vorbis", "opus", "aac"])
def test_a_lossy_source_is_streamed_as_it_is_up_to_192_kbit(codec):
    assert stream_of(replace(FLAC, codec=codec, bitrate_bps=192_000)).is_source
    assert not stream_of(replace(FLAC, codec=codec, bitrate_bps=192_001)).is_source


def test_a_lossy_source_of_unknown_bitrate_is_encoded():
    assert not stream_of(replace(FLAC, codec="mp3", bitrate_bps=0)).is_source


def test_a_lossless_source_is_never_streamed_however_small():
    assert not stream_of(replace(FLAC, bitrate_bps=100_000)).is_source


def test_source_renditions_keep_their_media_type():
    stream = stream_of(replace(FLAC, container="m4a", codec="aac", bitrate_bps=128_000))
    assert (stream.codec, stream.mime) == ("aac", "audio/mp4")


@pytest.mark.parametrize(
    ("duration_ms", "window"),
    [
        (240_000, (60_000, 30_000)),
        (120_000, (30_000, 30_000)),
        (40_000, (10_000, 10_000)),
        (1200, (300, 500)),
        (600, (100, 500)),
        (10, (0, 10)),
        (1, (0, 1)),
    ],
)
def test_the_preview_is_a_quarter_but_at_most_thirty_seconds(duration_ms, window):
    start_ms, length_ms = preview_window(duration_ms)
    assert (start_ms, length_ms) == window
    assert start_ms + length_ms <= duration_ms


def test_a_track_without_sound_has_no_preview():
    with pytest.raises(ValueError, match="no preview"):
        preview_window(0)
