"""Writes a whole release into a CAR file: what `ipfs dag import` keeps, and another node imports."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import trio

from marina.cid import Cid, cid_from_digest, cid_text
from marina.errors import DamagedError, NotFoundError, UsageError
from node.jobs import Event, Report
from node.library import Target
from node.replication import release_bytes, release_cids
from node.services import Services
from storage.content.car import car_header, car_section
from storage.content.layout import RenditionLayout
from storage.content.unixfs import check_layout
from storage.file_ops import Buffer, storage_error

_BATCH_SEGMENTS = 8
_WRITE_BYTES = 4 * 1024 * 1024


async def export_release(
    services: Services, target: Target, path: Path, *, is_forced: bool, report: Report
) -> Event:
    """Write every block of a release into a file, which appears when it is whole.

    Args:
        services: of this node.
        target: the release.
        path: absolute; nothing may be there unless ``is_forced``.
        is_forced: whether a file that is there gives way.
        report: told of the bytes as they are written.

    Raises:
        UsageError: the file may not be written there.
        NotFoundError: a part of the release is not on this disk.
        DiskFullError, StorageError: the disk refused; nothing is left behind.
    """
    _check_free(path, is_forced=is_forced)
    partial = path.with_name(path.name + ".part")
    total = release_bytes(target)
    count = done = 0
    try:
        with partial.open("wb") as out:
            waiting: list[Buffer] = [car_header([target.signed.cid])]
            waiting_bytes = len(waiting[0])
            async for cid, data in _blocks(services, target):
                section = car_section(cid, data)
                waiting += section
                waiting_bytes += sum(map(len, section))
                count += 1
                if waiting_bytes >= _WRITE_BYTES:
                    await _write(out, waiting)
                    done += waiting_bytes
                    waiting, waiting_bytes = [], 0
                    await report({"done": min(done, total), "total": total, "unit": "bytes"})
            await _write(out, waiting)
            done += waiting_bytes
            await trio.to_thread.run_sync(os.fsync, out.fileno())
        partial.replace(path)
    except OSError as err:
        raise storage_error(err, f"{path} could not be written") from err
    finally:
        partial.unlink(missing_ok=True)
    return {
        "path": str(path),
        "root": cid_text(target.signed.cid),
        "title": target.signed.release.title,
        "blocks": count,
        "bytes": done,
    }


def _check_free(path: Path, *, is_forced: bool) -> None:
    if path.exists() and not is_forced:
        raise UsageError(f"{path} exists already: choose another name, or give --force")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}: make it, or choose another")


async def _write(out: BinaryIO, parts: list[Buffer]) -> None:
    await trio.to_thread.run_sync(out.writelines, parts)


async def _blocks(services: Services, target: Target) -> AsyncIterator[tuple[Cid, bytes]]:
    """Yield every block once: manifests, keyboxes and artwork, then each rendition's tree and segments."""
    layouts = {each.layout.root: each.layout for _, track in target.tracks for each in track.renditions}
    for cid in release_cids(target):
        if cid not in layouts:
            yield cid, await _block(services, target, cid)
    for layout in layouts.values():
        for cid, data in reversed(check_layout(layout).nodes):
            yield cid, data
        async for segment in _segments(services, target, layout):
            yield segment


async def _block(services: Services, target: Target, cid: Cid) -> bytes:
    try:
        return await services.blocks.get(cid)
    except (NotFoundError, DamagedError) as err:
        raise _incomplete(target) from err


async def _segments(
    services: Services, target: Target, layout: RenditionLayout
) -> AsyncIterator[tuple[Cid, bytes]]:
    count = layout.plan.count
    for start in range(0, count, _BATCH_SEGMENTS):
        indices = range(start, min(start + _BATCH_SEGMENTS, count))
        for index, data in zip(
            indices, await services.blocks.get_segments(layout.root, indices), strict=True
        ):
            if data is None:
                raise _incomplete(target)
            yield cid_from_digest(layout.digests[32 * index : 32 * index + 32]), data


def _incomplete(target: Target) -> NotFoundError:
    title = target.signed.release.title
    return NotFoundError(
        f"not all of “{title}” is on this disk: run 'marina pin add {cid_text(target.signed.cid)}' first"
    )
