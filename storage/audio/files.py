"""The outside of an audio file: opened safely, its size bounded, its first bytes looked at."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.audio.errors import AudioError, AudioTooLargeError, NotAudioError
from storage.audio.sniff import SNIFF_BYTES, id3_length, sniff
from storage.content.layout import PLAINTEXT_BYTES_MAX

FILE_BYTES_MAX = PLAINTEXT_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Inspected:
    """A regular file's container, by its magic bytes, and its size."""

    container: str
    size_bytes: int


@contextmanager
def open_audio(path: Path) -> Iterator[int]:
    """Yield a read-only descriptor of a regular file, for the operations of ``AudioSandbox``.

    Raises:
        NotAudioError: it is a folder, a device or a pipe.
        AudioError: it is missing or cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not block us
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else "its name is impossible"
        raise AudioError(f"The file cannot be opened ({why}): check its name and permissions.") from err
    try:
        _require_regular(os.fstat(fd))
        yield fd
    finally:
        os.close(fd)


def inspect(fd: int) -> Inspected:
    """Return what the first bytes say; reads at most 16 KiB, however large the file.

    Raises:
        NotAudioError, AudioTooLargeError, AudioError: with one sentence for the artist.
        ValueError: the descriptor is open for writing.
    """
    size_bytes = regular_size(fd)
    try:
        head = os.pread(fd, SNIFF_BYTES, 0)
        tag_bytes = id3_length(head)
        after_id3 = os.pread(fd, SNIFF_BYTES, tag_bytes) if tag_bytes else None
    except OSError as err:
        raise AudioError(f"The file cannot be read ({err.strerror}): check the disk.") from err
    return Inspected(sniff(head, after_id3=after_id3), size_bytes)


def regular_size(fd: int) -> int:
    """Return the size of a regular file that is open read-only; errors as for ``inspect``."""
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
        raise ValueError("a file is handed to the decoder read-only")
    status = os.fstat(fd)
    _require_regular(status)
    if status.st_size > FILE_BYTES_MAX:
        size_gb, most_gb = status.st_size / 1e9, FILE_BYTES_MAX / 1e9
        raise AudioTooLargeError(
            f"The file has {size_gb:.1f} GB, and {most_gb:.1f} GB is the most: publish it in parts."
        )
    return status.st_size


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotAudioError("This is a folder or a device, not an audio file: name a file.")
