"""The artist's files: found, opened safely, named by their content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from marina.errors import NotFoundError, NotPermittedError, UsageError
from storage.audio.errors import AudioError, NotAudioError
from storage.audio.files import inspect, open_audio
from storage.content.release import TRACKS_MAX

SUFFIXES = frozenset({".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wav"})
_SCAN_MAX = 20_000
_HASH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """One audio file of the artist, by content.

    Attributes:
        path: where it is; never leaves this node.
        size_bytes: its length.
        sha256: digest of its bytes.
    """

    path: Path
    size_bytes: int
    sha256: bytes


def find_files(path: Path) -> list[Path]:
    """Return the audio files of a folder in name order, or the one file that ``path`` is.

    Raises:
        NotFoundError: nothing is there.
        NotPermittedError: the folder cannot be read.
        UsageError: no audio files, or more than a release may have.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist: give a folder or an audio file")
    if path.is_file():
        return [path]
    found: list[Path] = []
    seen = 0
    try:
        for folder, folders, names in os.walk(path, onerror=_refuse):
            folders.sort()
            seen += len(names)
            found += [Path(folder, name) for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES]
            if seen > _SCAN_MAX:
                raise UsageError(f"{path} holds more than {_SCAN_MAX} files: publish one album at a time")
    except PermissionError as err:
        raise NotPermittedError(f"{err.filename} cannot be read: check its permissions") from err
    if not found:
        raise UsageError(f"{path} holds no FLAC, MP3, Ogg, Opus, M4A, AAC or WAV files")
    if len(found) > TRACKS_MAX:
        raise UsageError(f"{path} holds {len(found)} audio files; a release has at most {TRACKS_MAX}")
    return found


def identify(path: Path) -> Source:
    """Return a file's size and digest; reads it once.

    Raises:
        AudioError: missing, unreadable, no regular file, no audio, or too large.
    """
    with open_audio(path) as fd:
        inspect(fd)
        facts = os.fstat(fd)
        if facts.st_blocks * 512 < facts.st_size // 2 and facts.st_size > _HASH_BYTES:
            # A sparse file of gigabytes is no music; reading its holes would take minutes.
            raise NotAudioError("The file is mostly holes, so it is no audio: choose another.")
        hasher = hashlib.sha256()
        buffer = memoryview(bytearray(_HASH_BYTES))
        done = 0
        try:
            while count := os.preadv(fd, [buffer], done):
                hasher.update(buffer[:count])
                done += count
        except OSError as err:
            raise AudioError(f"The file cannot be read ({err.strerror}): check the disk.") from err
    return Source(path, done, hasher.digest())


def _refuse(err: OSError) -> None:
    raise err
