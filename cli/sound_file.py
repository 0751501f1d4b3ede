"""Writes the sound of a stream as WAV or raw samples, decoded in the sandbox like every foreign file."""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import trio

from cli.console import clean
from marina.errors import UsageError
from storage.audio.files import open_audio
from storage.audio.records import PcmAudio
from storage.audio.sandbox import open_sandbox

_WAV_HEADER_BYTES = 44
_WAV_BYTES_MAX = 2**32 - 1 - _WAV_HEADER_BYTES


def write_sound(encoded: Iterable[bytes], target: Path | None, *, is_wav: bool) -> PcmAudio:
    """Decode an encoded file and write it; a file appears whole or not at all.

    Args:
        encoded: the bytes of the audio file, in pieces.
        target: the file, which must not exist; None for standard output.
        is_wav: with a WAV header, else interleaved signed 16-bit little-endian samples alone.

    Raises:
        AudioError: it is no sound that can be decoded.
        UsageError: it is longer than a WAV file can say.
    """
    with ExitStack() as stack:
        copy = stack.enter_context(tempfile.NamedTemporaryFile())
        for piece in encoded:
            copy.write(piece)
        copy.flush()
        source = stack.enter_context(open_audio(Path(copy.name)))
        if target is None:
            return trio.run(_decode, source, sys.stdout.buffer)
        partial = target.with_name(target.name + ".part")
        stack.callback(partial.unlink, missing_ok=True)
        with partial.open("wb") as out:
            out.write(bytes(_WAV_HEADER_BYTES if is_wav else 0))
            pcm = trio.run(_decode, source, out)
            if is_wav:
                out.seek(0)
                out.write(_wav_header(pcm))
            out.flush()
            os.fsync(out.fileno())
        partial.rename(target)
        return pcm


def check_free(path: Path) -> None:
    """Raise UsageError, before anything is fetched, if a file cannot be written there."""
    if path.exists():
        raise UsageError(f"{clean(path)} exists already: choose another name")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {clean(path.parent)}: make it, or choose another")


async def _decode(fd: int, out: BinaryIO) -> PcmAudio:
    async def write(data: bytes) -> None:
        await trio.to_thread.run_sync(out.write, data)

    async with open_sandbox() as sandbox:
        return await sandbox.decode(fd, write)


def _wav_header(pcm: PcmAudio) -> bytes:
    """Return the 44 bytes of a PCM file. Source: RIFF, Multimedia Programming Interface 1.0."""
    frame_bytes = 2 * pcm.channels
    data_bytes = frame_bytes * pcm.samples
    if data_bytes > _WAV_BYTES_MAX:
        raise UsageError("the sound is longer than 4 GiB, which a WAV file cannot hold: use --pcm")
    form = struct.pack(
        "<HHIIHH", 1, pcm.channels, pcm.sample_rate_hz, frame_bytes * pcm.sample_rate_hz, frame_bytes, 16
    )
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", data_bytes)
    return b"RIFF" + struct.pack("<I", len(body) + data_bytes) + body
