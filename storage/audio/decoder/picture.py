"""Cover pictures: raster only, decoded without a demuxer, and written anew as a small JPEG."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.error

from storage.audio.records import ARTWORK_BYTES_MAX, ARTWORK_SIDE_PX_MAX

PICTURE_BYTES_MAX = 32 * 1024 * 1024
PIXELS_MAX = 50_000_000
_QUALITIES = (3, 6, 12, 24)


def reencode_picture(data: bytes) -> bytes | None:
    """Return the picture as a JPEG of at most 1024 px a side and 512 KiB, without any metadata.

    None for what is not a sound JPEG, PNG or WebP picture: SVG, GIF, bombs and broken data.
    Transparency is dropped.
    """
    codec = _codec_of(data)
    if codec is None or len(data) > PICTURE_BYTES_MAX:
        return None
    try:
        frame = _decode(codec, data)
        return None if frame is None else _encode_small(frame)
    except (av.error.FFmpegError, ValueError, MemoryError):
        return None  # a track is published without a picture rather than not at all


def _codec_of(data: bytes) -> str | None:
    if data[:3] == b"\xff\xd8\xff":
        return "mjpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _decode(codec: str, data: bytes) -> Any:
    context = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    context.options = {"max_pixels": str(PIXELS_MAX)}
    frames = context.decode(av.Packet(data)) + context.decode(None)
    return frames[0] if frames else None


def _encode_small(frame: Any) -> bytes | None:
    scale = min(1.0, ARTWORK_SIDE_PX_MAX / max(frame.width, frame.height))
    for _ in range(4):
        width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        small = frame.reformat(
            width=width, height=height, format="yuvj420p", dst_color_range="JPEG", threads=1
        )
        small.pts = None
        for quality in _QUALITIES:
            jpeg = _encode(small, quality)
            if len(jpeg) <= ARTWORK_BYTES_MAX:
                return jpeg
        scale /= 2
    return None


def _encode(frame: Any, quality: int) -> bytes:
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, "yuvj420p"
    context.time_base = Fraction(1, 1)
    context.thread_count = 1
    context.options = {"qmin": str(quality), "qmax": str(quality), "flags": "+bitexact"}
    return b"".join(bytes(packet) for packet in context.encode(frame) + context.encode(None))
