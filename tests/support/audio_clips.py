"""Writes small test clips in every format to a folder: ``python audio_clips.py FOLDER [SECONDS]``.

Run as a process of its own, so that PyAV is never imported where the daemon's code runs.
"""

from __future__ import annotations

import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np

TAGS = {
    "title": "Ebb Tide",
    "artist": "The Moles",
    "album": "Harbour",
    "album_artist": "Various Moles",
    "track": "3",
    "disc": "2",
    "date": "2021-05-04",
    "genre": "Ambient",
    "copyright": "2021 The Moles",
}
CLIPS = {
    "clip.flac": ("flac", "flac", 44_100, "s16", {}),
    "hires.flac": ("flac", "flac", 96_000, "s32", {}),
    "clip.mp3": ("mp3", "libmp3lame", 44_100, None, {}),
    "clip.ogg": ("ogg", "vorbis", 44_100, None, {"strict": "-2"}),
    "clip.opus": ("ogg", "libopus", 48_000, None, {}),
    "clip.m4a": ("ipod", "aac", 44_100, None, {}),
    "alac.m4a": ("ipod", "alac", 44_100, "s16p", {}),
    "clip.wav": ("wav", "pcm_s16le", 44_100, None, {}),
}


def write_clip(path, kind, seconds, *, layout="stereo", tone="sine"):
    muxer, codec, rate_hz, sample_format, options = kind
    with av.open(str(path), "w", format=muxer) as container:
        container.metadata.update(TAGS)
        stream = container.add_stream(codec, rate=rate_hz, options=options)
        stream.layout = layout
        if sample_format:
            stream.codec_context.format = sample_format
        if codec in ("libmp3lame", "vorbis", "aac"):
            stream.bit_rate = 256_000
        graph = av.filter.Graph()
        source = {
            "sine": ("sine", f"frequency=440:duration={seconds}:sample_rate={rate_hz}"),
            "silence": ("anullsrc", f"r={rate_hz}:cl={layout}:d={seconds}"),
        }[tone]
        nodes = [
            graph.add(*source),
            graph.add("aformat", f"sample_fmts={stream.codec_context.format.name}:channel_layouts={layout}"),
            graph.add("abuffersink"),
        ]
        nodes[0].link_to(nodes[1])
        nodes[1].link_to(nodes[2])
        graph.configure()
        if stream.codec_context.frame_size:
            graph.set_audio_frame_size(stream.codec_context.frame_size)
        while True:
            try:
                frame = nodes[2].pull()
            except (av.error.EOFError, av.error.BlockingIOError):
                break
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_picture(path, codec, pixel_format, width, height):
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixel_format)
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = width, height, pixel_format
    context.time_base = Fraction(1)
    path.write_bytes(b"".join(bytes(p) for p in context.encode(frame) + context.encode(None)))


def png(width, height):
    """A valid PNG of one colour, written by hand: large on demand, tiny on disk."""

    def chunk(kind, data):
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def main(folder, seconds):
    for name, kind in CLIPS.items():
        write_clip(folder / name, kind, seconds)
    low = ("wav", "pcm_s16le", 8_000, None, {})
    write_clip(folder / "mono.wav", low, seconds, layout="mono")
    write_clip(folder / "tiny.wav", low, 0.01, layout="mono")
    flac = ("flac", "flac", 48_000, "s16", {})
    write_clip(folder / "5.1.flac", flac, seconds, layout="5.1")
    write_clip(folder / "silence.flac", flac, 400, tone="silence")
    write_clip(folder / "long.flac", flac, 240)
    write_picture(folder / "cover.jpg", "mjpeg", "yuvj420p", 1600, 1200)
    write_picture(folder / "cover.png", "png", "rgb24", 300, 200)
    write_picture(folder / "cover.webp", "libwebp", "yuv420p", 640, 480)
    (folder / "big.png").write_bytes(png(6000, 6000))
    (folder / "bomb.png").write_bytes(png(30_000, 4_000))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 3)
