"""The files of a release, each once, in order; what is no audio is named with its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from marina.errors import UsageError
from storage.audio.errors import AudioError
from storage.publish.models import Skipped
from storage.publish.source import Source, find_files, identify

T = TypeVar("T")


async def reading(read: Callable[[Path], T], path: Path) -> T:
    """Return what ``read`` finds in a thread that is left behind when the node stops.

    It writes nothing, and hashing a large file from a slow disk takes longer than a node may.
    """
    return await trio.to_thread.run_sync(
        read,
        path,
        abandon_on_cancel=True,  # type: ignore[call-arg]  # the stubs know only its old name
    )


async def find_sources(path: Path) -> tuple[list[Source], list[Skipped]]:
    """Return the audio files of a folder, or the one file that ``path`` is, and what is left out.

    Raises:
        NotFoundError, NotPermittedError: as ``find_files`` says.
        UsageError: nothing there can be published.
    """
    sources: list[Source] = []
    skipped: list[Skipped] = []
    for file in await reading(find_files, path):
        try:
            source = await reading(identify, file)
        except AudioError as err:
            skipped.append(Skipped(file, str(err)))
            continue
        if any(source.sha256 == other.sha256 for other in sources):
            skipped.append(Skipped(file, "The same file is in this folder twice."))
        else:
            sources.append(source)
    if not sources:
        reasons = "; ".join(f"{each.path.name}: {each.reason}" for each in skipped[:3])
        raise UsageError(f"nothing in {path} can be published ({reasons})")
    return sources, skipped
