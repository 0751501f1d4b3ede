"""The picture file of an album's folder, for tracks that carry no picture themselves."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Protocol

import trio

from storage.audio.errors import AudioError
from storage.audio.files import open_audio
from storage.publish.source import Source

NAMES = ("cover", "folder", "front")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_ORDER = [name + suffix for name in NAMES for suffix in SUFFIXES]
_ENTRIES_MAX = 20_000


class PictureReader(Protocol):
    """The sandbox's way to a picture."""

    async def picture(self, fd: int) -> bytes | None:
        """Return a small JPEG made from a picture file, None if it is no sound picture."""
        ...


class Covers:
    """The pictures of the folders that one release is published from, each made once.

    Attributes:
        refused: picture files that could not be used, with the reason.
    """

    def __init__(self, pictures: PictureReader, folder: Path) -> None:
        """Look for pictures; no I/O yet.

        Args:
            pictures: the sandbox.
            folder: what is published; of a single file no picture beside it is taken.
        """
        self._pictures = pictures
        self._folder = folder
        self._made: dict[Path, bytes | None] = {}
        self.refused: dict[Path, str] = {}

    async def of(self, source: Source) -> bytes | None:
        """Return the picture beside a file, or else that of the whole release, as a small JPEG."""
        if source.path == self._folder:
            return None
        for folder in dict.fromkeys((source.path.parent, self._folder)):
            if folder not in self._made:
                self._made[folder] = await self._make(folder)
            if (jpeg := self._made[folder]) is not None:
                return jpeg
        return None

    async def _make(self, folder: Path) -> bytes | None:
        for path in await trio.to_thread.run_sync(find_pictures, folder):
            try:
                with open_audio(path) as fd:
                    jpeg = await self._pictures.picture(fd)
            except AudioError as err:
                self.refused[path] = str(err)
                continue
            if jpeg is not None:
                return jpeg
            self.refused[path] = "It is no sound JPEG, PNG or WebP picture, so it is not used as the cover."
        return None


def find_pictures(folder: Path) -> list[Path]:
    """Return the cover files of a folder, whatever the case of their names, the likeliest first.

    A folder that cannot be read has none: its music was read, and a picture is not needed.
    """
    try:
        with os.scandir(folder) as entries:
            found = [Path(each.path) for each in islice(entries, _ENTRIES_MAX) if each.name.lower() in _ORDER]
    except OSError:
        return []
    return sorted(found, key=lambda path: (_ORDER.index(path.name.lower()), path.name))
