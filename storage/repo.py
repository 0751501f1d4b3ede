"""The owner's view of the store: what is kept and why, whether it is whole, and making room."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from marina.cid import DAG_PB, Cid, cid_text, codec_of
from marina.errors import MarinaError
from storage.blocks.indexed import IndexedBlockStore
from storage.blocks.protocol import StoreStat
from storage.errors import BlockDamagedError, BlockNotFoundError
from storage.gc import Collection
from storage.pins import Pin
from storage.retention import Retention

VERIFY_BATCH = 16
"""Segments per thread hop: 4 MiB at most."""
LARGEST_SHOWN = 20
Heal = Callable[[Cid], Awaitable[bytes]]
"""Fetches a block from elsewhere; raises one of Marina's errors when nobody has it."""
log = logging.getLogger("marina.storage")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one thing is kept.

    Attributes:
        cid: root of a rendition, or a small block.
        retention: its class.
        charge_bytes: what it counts against the quota.
        last_access_s: Unix seconds of its last read.
        pins: each reason that was given for it; none for cache.
        is_playing: whether it is leased right now.
    """

    cid: Cid
    retention: Retention
    charge_bytes: int
    last_access_s: int
    pins: tuple[Pin, ...]
    is_playing: bool


@dataclass(frozen=True, slots=True)
class RepoStat:
    """Totals, bytes by class, and with ``why`` the largest holdings with their reasons."""

    total: StoreStat
    charged_bytes: dict[Retention, int]
    largest: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Damage:
    """A block whose bytes were wrong, or one that is missing of what the owner keeps whole.

    ``is_healed`` once it was fetched and stored again.
    """

    cid: Cid
    is_healed: bool


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """How far a verification has come; the last one is the result.

    Attributes:
        checked: blocks read so far.
        checked_bytes: their bytes.
        total: blocks to read, as known at the start.
        damaged: found so far.
        is_done: whether this is the result.
    """

    checked: int
    checked_bytes: int
    total: int
    damaged: tuple[Damage, ...]
    is_done: bool = False

    @property
    def unhealed(self) -> int:
        """Number of blocks that are damaged and were not healed."""
        return sum(not each.is_healed for each in self.damaged)


class Repo:
    """Statistics, verification and collection over one embedded store."""

    def __init__(self, store: IndexedBlockStore) -> None:
        self._store = store

    async def stat(self, *, why: bool = False, largest: int = LARGEST_SHOWN) -> RepoStat:
        """Return the totals.

        Args:
            why: also name the largest holdings with their reasons; costs as much as is kept.
            largest: how many of them.
        """
        reasons = await self._largest(largest) if why else []
        return RepoStat(await self._store.stat(), self._store.charged_bytes(), tuple(reasons))

    async def gc(self, needed_bytes: int | None = None, *, dry_run: bool = False) -> Collection:
        """Make room: ``needed_bytes``, or everything that is only cache of the swarm.

        Protected content is never touched, whatever is asked for.
        """
        if needed_bytes is None:
            cache_bytes = self._store.charged_bytes()[Retention.SWARM]
            return await self._store.collector.collect(cache_bytes, dry_run=dry_run, up_to=Retention.SWARM)
        return await self._store.collector.collect(needed_bytes, dry_run=dry_run)

    async def verify(self, heal: Heal | None = None) -> AsyncGenerator[VerifyProgress, None]:
        """Read every block; yield the progress after each few of them and the result at the end.

        A damaged block counts as missing from then on, so what is missing of what was promised or is kept
        for good is damage too, segments, manifests and keyboxes alike: the next verification can still
        heal it. Reading is all that happens to whole ones.

        Args:
            heal: fetches damaged blocks, which are then stored again; None only finds them.
        """
        run = _Run(self._store, heal, (await self._store.stat()).blocks)
        async with aclosing(self._store.small_cids()) as small:
            async for cid in small:
                await run.check_small(cid)
                yield run.progress()
        async with aclosing(self._store.roots()) as roots:
            async for root in roots:
                indices = sorted(await self._store.have(root))
                for start in range(0, len(indices), VERIFY_BATCH):
                    await run.check_segments(root, indices[start : start + VERIFY_BATCH])
                    yield run.progress()
                await run.note_missing(root, indices)
        async with aclosing(self._store.pins.promised()) as promised:
            async for cid in promised:
                await run.note_absent(cid)
        await self._store.commit()
        yield run.progress(is_done=True)

    async def _largest(self, count: int) -> list[Reason]:
        found = []
        async with aclosing(self._store.pins.holdings()) as holdings:
            async for holding in holdings:
                found.append(holding)
                if len(found) >= 2 * count + 64:
                    found = sorted(found, key=lambda each: each.charge_bytes, reverse=True)[:count]
        largest = sorted(found, key=lambda each: each.charge_bytes, reverse=True)[:count]
        pins = self._store.pins
        return [
            Reason(
                cid=each.cid,
                retention=each.retention,
                charge_bytes=each.charge_bytes,
                last_access_s=each.last_access_s,
                pins=tuple(await pins.reasons(each.cid)),
                is_playing=pins.is_leased(each.cid),
            )
            for each in largest
        ]


class _Run:
    """One verification: counts, and the damage found."""

    def __init__(self, store: IndexedBlockStore, heal: Heal | None, total: int) -> None:
        self._store = store
        self._heal = heal
        self._total = total
        self._checked = 0
        self._checked_bytes = 0
        self._damaged: list[Damage] = []
        self._noted: set[Cid] = set()

    def progress(self, *, is_done: bool = False) -> VerifyProgress:
        """Return how far it has come."""
        damaged = tuple(self._damaged)
        return VerifyProgress(self._checked, self._checked_bytes, self._total, damaged, is_done)

    async def check_small(self, cid: Cid) -> None:
        """Read one small block."""
        try:
            data = await self._store.get(cid, is_scrub=True)
        except BlockDamagedError:
            self._checked += 1
            await self._note(cid)
        except BlockNotFoundError:
            return  # removed meanwhile
        else:
            self._checked += 1
            self._checked_bytes += len(data)

    async def check_segments(self, root: Cid, indices: Sequence[int]) -> None:
        """Read some segments of a rendition."""
        layout = await self._store.layout(root)
        if layout is None:
            return  # removed meanwhile
        segments = await self._store.get_segments(root, indices, is_scrub=True)
        here = await self._store.have(root)
        for index, data in zip(indices, segments, strict=True):
            self._checked += 1
            if data is not None:
                self._checked_bytes += len(data)
            elif index not in here:
                await self._note(layout.cid(index))

    async def note_missing(self, root: Cid, before: Sequence[int]) -> None:
        """Count what was missing already ``before`` the segments were read, if it must be here."""
        layout = await self._store.layout(root)
        if layout is None or await self._store.pins.retention(root) < Retention.PLEDGED:
            return
        for index in sorted(set(range(layout.plan.count)).difference(before)):
            await self._note(layout.cid(index))

    async def note_absent(self, cid: Cid) -> None:
        """Count what was promised and is not here at all, unless it was counted when it was found damaged.

        Of a rendition without a place only the root is known; it is healed by declaring it first.
        """
        if cid not in self._noted and not await self._store.has(cid):
            await self._note(cid, is_healable=codec_of(cid) != DAG_PB)

    async def _note(self, cid: Cid, *, is_healable: bool = True) -> None:
        is_healed = False
        if self._heal is not None and is_healable:
            try:
                await self._store.put(cid, await self._heal(cid))
                is_healed = True
            except MarinaError as err:
                # One block that nobody has must not end the search for others; the result names it.
                log.warning(
                    "a block was not healed", extra={"context": {"cid": cid_text(cid), "reason": str(err)}}
                )
        self._noted.add(cid)
        self._damaged.append(Damage(cid, is_healed))
