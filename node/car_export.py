"""Writes a whole release into a CAR file: what `ipfs dag import` keeps, and another node imports."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

import trio

from marina.cid import Cid, cid_from_digest, cid_text
from marina.errors import DamagedError, NotFoundError, UsageError
from node.jobs import Event, Report
from node.library import Target
from node.replication import release_bytes, release_cids
from node.services import Services
from storage.blocks.protocol import BlockStore
from storage.content.car import car_header, car_section
from storage.content.layout import RenditionLayout
from storage.content.unixfs import check_layout
from storage.errors import BlockNotFoundError
from storage.file_ops import Buffer, storage_error

Tell = Callable[[int], Awaitable[None]]
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
    total = release_bytes(target)

    async def tell(done: int) -> None:
        await report({"done": min(done, total), "total": total, "unit": "bytes"})

    try:
        count, done = await write_car(path, target.signed.cid, _blocks(services, target), tell)
    except OSError as err:
        raise storage_error(err, f"{path} could not be written") from err
    return {
        "path": str(path),
        "root": cid_text(target.signed.cid),
        "title": target.signed.release.title,
        "blocks": count,
        "bytes": done,
    }


async def write_car(
    path: Path, root: Cid, blocks: AsyncGenerator[tuple[Cid, bytes], None], tell: Tell | None = None
) -> tuple[int, int]:
    """Write blocks into a file, which appears when it is whole and on the disk.

    Args:
        path: where it goes; what is there is replaced.
        root: what the file's header names.
        blocks: each once, in any order.
        tell: told of the bytes written so far, now and then.

    Returns:
        How many blocks and how many bytes.

    Raises:
        OSError: the disk refused; nothing is left behind.
    """
    partial = path.with_name(path.name + ".part")
    count = done = 0
    try:
        with partial.open("wb") as out:
            waiting: list[Buffer] = [car_header([root])]
            waiting_bytes = len(waiting[0])
            async with aclosing(blocks) as each:
                async for cid, data in each:
                    section = car_section(cid, data)
                    waiting += section
                    waiting_bytes += sum(map(len, section))
                    count += 1
                    if waiting_bytes >= _WRITE_BYTES:
                        await _write(out, waiting)
                        done += waiting_bytes
                        waiting, waiting_bytes = [], 0
                        if tell is not None:
                            await tell(done)
            await _write(out, waiting)
            done += waiting_bytes
            await trio.to_thread.run_sync(os.fsync, out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count, done


def _check_free(path: Path, *, is_forced: bool) -> None:
    if path.exists() and not is_forced:
        raise UsageError(f"{path} exists already: choose another name, or give --force")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}: make it, or choose another")


async def _write(out: BinaryIO, parts: list[Buffer]) -> None:
    await trio.to_thread.run_sync(out.writelines, parts)


async def _blocks(services: Services, target: Target) -> AsyncGenerator[tuple[Cid, bytes], None]:
    """Yield every block once: manifests, keyboxes and artwork, then each rendition's tree and segments."""
    layouts = {each.layout.root: each.layout for _, track in target.tracks for each in track.renditions}
    for cid in release_cids(target):
        if cid not in layouts:
            yield cid, await _block(services, target, cid)
    for layout in layouts.values():
        try:
            async with aclosing(rendition_blocks(services.blocks, layout)) as blocks:
                async for block in blocks:
                    yield block
        except BlockNotFoundError as err:
            raise _incomplete(target) from err


async def rendition_blocks(
    store: BlockStore, layout: RenditionLayout
) -> AsyncGenerator[tuple[Cid, bytes], None]:
    """Yield the tree of a rendition, its root first, and its segments in order.

    Raises:
        BlockNotFoundError: a segment is not here.
    """
    for cid, data in reversed(check_layout(layout).nodes):
        yield cid, data
    count = layout.plan.count
    for start in range(0, count, _BATCH_SEGMENTS):
        indices = range(start, min(start + _BATCH_SEGMENTS, count))
        for index, segment in zip(indices, await store.get_segments(layout.root, indices), strict=True):
            if segment is None:
                raise BlockNotFoundError(f"segment {index} is not in this store")
            yield cid_from_digest(layout.digests[32 * index : 32 * index + 32]), segment


async def _block(services: Services, target: Target, cid: Cid) -> bytes:
    try:
        return await services.blocks.get(cid)
    except (NotFoundError, DamagedError) as err:
        raise _incomplete(target) from err


def _incomplete(target: Target) -> NotFoundError:
    title = target.signed.release.title
    return NotFoundError(
        f"not all of “{title}” is on this disk: run 'marina pin add {cid_text(target.signed.cid)}' first"
    )
