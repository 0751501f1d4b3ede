"""Brings a release in from a CAR file, in whatever order its blocks stand: manifests first, then the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio

from marina.cid import DAG_CBOR, DIGEST_BYTES, Cid, cid_from_digest, cid_text, codec_of
from marina.errors import MalformedError, NotFoundError, UsageError
from marina.ids import release_text
from node.jobs import Event, Report
from node.library import Target
from node.replication import release_cids
from node.services import Services
from storage.content.car import CarBlock, CarFault, CarReader
from storage.content.release import SignedRelease, open_release
from storage.content.track import TrackManifest, decode_track
from storage.retention import Retention

_MANIFEST_BYTES_MAX = 64 * 1024 * 1024
_NODE_BYTES = 256
"""What a node costs besides its bytes: a file of tiny ones must not fill the memory either."""
_FAULTS_MAX = 100
_BATCH_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class _Scan:
    """What a first reading found."""

    roots: tuple[Cid, ...]
    nodes: dict[Cid, bytes] = field(default_factory=dict)
    faults: list[CarFault] = field(default_factory=list)
    blocks: int = 0
    bytes_total: int = 0
    error: str | None = None


async def import_release(services: Services, path: Path, report: Report) -> Event:
    """Store every block of a release that a file holds, verified, and keep the release.

    What is wrong with single blocks is in the result; everything else of the file is kept.

    Raises:
        UsageError: there is no such file.
        MalformedError: it is no CAR file, or holds no release.
        NotFoundError: it lacks a manifest.
        DeniedError: the denylist names something of it.
        QuotaExceededError, DiskFullError: there is no room.
    """
    try:
        scan = await trio.to_thread.run_sync(_scan, path)
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror}") from err
    signed, tracks = _manifests(scan)
    services.denylist.check(
        cids=[signed.cid, *signed.release.tracks],
        tracks=[track.track_id for track in tracks.values()],
        release=signed.release.release_id,
        account=signed.release.account,
    )
    await services.blocks.put_many({cid: scan.nodes[cid] for cid in (signed.cid, *signed.release.tracks)})
    target = await services.library.exact_version(signed.cid)
    services.keeper.check(target)
    await services.blocks.pins.pin(release_cids(target), Retention.PINNED)
    await _store(services, target, path, scan.bytes_total, report)
    missing = await _missing(services, target)
    if not missing:
        await services.library.mark_local(target)
    return {
        "release": release_text(signed.release.release_id),
        "cid": cid_text(signed.cid),
        "title": signed.release.title,
        "tracks": len(tracks),
        "blocks": scan.blocks,
        "missing": missing,
        "error": scan.error,
        "faults": [{"block": each.name, "offset": each.offset, "why": each.why} for each in scan.faults],
    }


def _scan(path: Path) -> _Scan:
    """Read the file once: the nodes that may be manifests, and what is wrong."""
    with path.open("rb") as file:
        reader = CarReader(file)
        scan = _Scan(reader.roots)
        held_bytes = 0
        try:
            for each in reader:
                scan.blocks += 1
                if isinstance(each, CarFault):
                    if len(scan.faults) < _FAULTS_MAX:
                        scan.faults.append(each)
                elif codec_of(each.cid) == DAG_CBOR:
                    held_bytes += _NODE_BYTES + len(each.data)
                    if held_bytes > _MANIFEST_BYTES_MAX:
                        raise UsageError(
                            "the CAR file holds more manifests than any release: it is none of Marina's"
                        )
                    scan.nodes[each.cid] = each.data
        except MalformedError as err:
            scan.error = str(err)
        scan.bytes_total = reader.offset
    return scan


def _manifests(scan: _Scan) -> tuple[SignedRelease, dict[Cid, TrackManifest]]:
    for root in scan.roots:
        data = scan.nodes.get(root)
        if data is None:
            continue
        signed = open_release(data)
        lacking = [cid for cid in signed.release.tracks if cid not in scan.nodes]
        if lacking:
            raise NotFoundError(
                f"the CAR file lacks {len(lacking)} of the {len(signed.release.tracks)} tracks of "
                f"“{signed.release.title}”" + (f": {scan.error}" if scan.error else "")
            )
        return signed, {cid: decode_track(scan.nodes[cid]) for cid in signed.release.tracks}
    named = ", ".join(map(cid_text, scan.roots[:3])) or "none"
    raise MalformedError(
        f"the CAR file holds no release: its roots are {named}" + (f"; {scan.error}" if scan.error else "")
    )


async def _store(services: Services, target: Target, path: Path, size_bytes: int, report: Report) -> None:
    layouts = {each.layout.root: each.layout for _, track in target.tracks for each in track.renditions}
    for layout in layouts.values():
        await services.blocks.declare(layout)
    places: dict[Cid, tuple[Cid, int]] = {}
    for layout in layouts.values():
        for index in range(layout.plan.count):
            digest = layout.digests[DIGEST_BYTES * index : DIGEST_BYTES * (index + 1)]
            places[cid_from_digest(digest)] = (layout.root, index)
    small = set(release_cids(target)) - set(layouts)
    with path.open("rb") as file:
        reader = CarReader(file)
        blocks = _sound(reader)
        while batch := await trio.to_thread.run_sync(_take, blocks):
            segments: dict[Cid, list[tuple[int, bytes]]] = {}
            for each in batch:
                if each.cid in places:
                    root, index = places[each.cid]
                    segments.setdefault(root, []).append((index, each.data))
            await services.blocks.put_many({each.cid: each.data for each in batch if each.cid in small})
            for root, found in segments.items():
                await services.blocks.put_segments(root, found)
            await report({"done": reader.offset, "total": size_bytes, "unit": "bytes"})
    for root in layouts:
        await services.blocks.flush(root)


def _sound(reader: CarReader) -> Iterator[CarBlock]:
    """Yield the blocks that are whole; what is not was told by the first reading."""
    try:
        for each in reader:
            if isinstance(each, CarBlock):
                yield each
    except MalformedError:
        return


def _take(blocks: Iterator[CarBlock]) -> list[CarBlock]:
    found: list[CarBlock] = []
    size_bytes = 0
    for each in blocks:
        found.append(each)
        size_bytes += len(each.data)
        if size_bytes >= _BATCH_BYTES or len(found) >= 10_000:
            break
    return found


async def _missing(services: Services, target: Target) -> int:
    """Return how many blocks of the release are still not here."""
    missing = 0
    layouts = {each.layout.root: each.layout for _, track in target.tracks for each in track.renditions}
    for root, layout in layouts.items():
        missing += layout.plan.count - len(await services.blocks.have(root))
    for cid in set(release_cids(target)) - set(layouts):
        missing += not await services.blocks.has(cid)
    return missing
