"""What this operator pledged: the policy, the decision about an ask, and the book of pledges on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from marina.cid import Cid, check_cid
from marina.clock import Clock
from marina.errors import MalformedError
from marina.ids import Account, PeerId
from marina.schema import U64, Bytes20, Bytes36, Range, Size, decode_record, encode_record, record
from p2p.wire.pledge import RELEASE_BYTES_MAX, Answer, Ask, Progress
from storage.kv import Table

PLEDGES_MAX = 4096
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class PledgePolicy:
    """What an operator offers.

    Attributes:
        is_open: whether it pledges at all; space is given knowingly, so this begins as False.
        offered_bytes: space for all pledges together.
        release_bytes_max: largest release.
        pledge_s_max: longest pledge.
        per_artist_max: pledges of one artist's account.
        artists: the only accounts that it pledges for; empty is everyone.
    """

    is_open: bool = False
    offered_bytes: int = 0
    release_bytes_max: int = 4 << 30
    pledge_s_max: int = 30 * DAY_S
    per_artist_max: int = 64
    artists: frozenset[Account] = frozenset()


@record("marina/kept/1")
@dataclass(frozen=True, slots=True)
class Kept:
    """One pledge of this operator.

    Attributes:
        release: CID of the release manifest.
        artist: account that asked.
        source: peer id of the device that asked; it has the release.
        size_bytes: what was pledged; the copy may not be larger.
        until: end of the pledge, Unix seconds.
        progress: value of ``Progress``.
        have_bytes: stored and verified so far.
    """

    release: Bytes36
    artist: Bytes20
    source: Annotated[str, Size(1, 128)]
    size_bytes: U64
    until: U64
    progress: Annotated[int, Range(min(Progress), max(Progress))]
    have_bytes: U64


class PledgeBook:
    """Every pledge of this operator, in one table of the node's database."""

    def __init__(self, *, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._kept: dict[Cid, Kept] = {}

    async def load(self) -> None:
        """Read the table; what is not understood is removed."""
        for key, value in await self._table.scan(limit=2 * PLEDGES_MAX):
            try:
                kept = decode_record(Kept, value)
                self._kept[check_cid(kept.release)] = kept
            except MalformedError:
                await self._table.delete(key)

    def all(self) -> list[Kept]:
        """Return every pledge."""
        return list(self._kept.values())

    def get(self, release: Cid) -> Kept | None:
        """Return the pledge of a release that still runs."""
        kept = self._kept.get(release)
        return kept if kept is not None and kept.until > self._clock.now_s() else None

    def is_pledged(self, release: Cid) -> bool:
        """Return whether a running pledge covers a release."""
        return self.get(release) is not None

    def reserved_bytes(self) -> int:
        """Return what all pledges may take together."""
        return sum(each.size_bytes for each in self._kept.values())

    def missing_bytes(self) -> int:
        """Return what pledges will still take beyond what is stored."""
        return sum(max(0, each.size_bytes - each.have_bytes) for each in self._kept.values())

    def decide(self, ask: Ask, policy: PledgePolicy, free_bytes: int) -> Answer:
        """Return OK if this operator can pledge what an artist asks, else why not.

        Args:
            ask: checked for signature and binding; the denylist was asked too.
            policy: in force now.
            free_bytes: what the disk quota leaves for new content.
        """
        now_s = self._clock.now_s()
        if not policy.is_open:
            return Answer.NOT_OFFERED
        if policy.artists and ask.account not in policy.artists:
            return Answer.POLICY
        known = self._kept.get(Cid(ask.release_cid))
        if known is not None and known.artist != ask.account:
            return Answer.POLICY
        already = known.size_bytes if known is not None else 0
        theirs = sum(1 for each in self._kept.values() if each.artist == ask.account)
        if not 0 < ask.bytes <= min(policy.release_bytes_max, RELEASE_BYTES_MAX):
            return Answer.POLICY
        if not now_s < ask.until <= now_s + policy.pledge_s_max:
            return Answer.POLICY
        if known is None and (theirs >= policy.per_artist_max or len(self._kept) >= PLEDGES_MAX):
            return Answer.POLICY
        if self.reserved_bytes() - already + ask.bytes > policy.offered_bytes:
            return Answer.NO_SPACE
        have = known.have_bytes if known is not None else 0
        still = self.missing_bytes() - max(0, already - have) + max(0, ask.bytes - have)
        return Answer.OK if still <= free_bytes else Answer.NO_SPACE

    def free_bytes(self, policy: PledgePolicy, disk_free_bytes: int) -> int:
        """Return what new pledges may take: of the offered space and of the disk's."""
        if not policy.is_open:
            return 0
        offered = policy.offered_bytes - self.reserved_bytes()
        return max(0, min(offered, disk_free_bytes - self.missing_bytes()))

    async def pledge(self, ask: Ask, source: PeerId) -> Kept:
        """Write a pledge down, durably, before it is given; an older one of the release is renewed."""
        release = Cid(ask.release_cid)
        known = self._kept.get(release)
        if known is not None:
            until = max(known.until, ask.until)
            kept = replace(known, until=until, size_bytes=max(known.size_bytes, ask.bytes), source=source)
        else:
            kept = Kept(release, ask.account, source, ask.bytes, ask.until, Progress.PLEDGED.value, 0)
        await self._put(kept)
        return kept

    async def progressed(self, release: Cid, progress: Progress, have_bytes: int) -> None:
        """Write down how far the copy is."""
        known = self._kept.get(release)
        if known is not None:
            await self._put(replace(known, progress=progress.value, have_bytes=have_bytes))

    async def end(self, release: Cid) -> None:
        """Forget a pledge."""
        self._kept.pop(release, None)
        await self._table.delete(release)

    def ended(self) -> list[Kept]:
        """Return pledges whose time is over."""
        now_s = self._clock.now_s()
        return [each for each in self._kept.values() if each.until <= now_s]

    def to_fetch(self) -> list[Kept]:
        """Return running pledges whose copy is not complete, the smallest first."""
        now_s = self._clock.now_s()
        open_ones = [
            each for each in self._kept.values() if each.until > now_s and each.progress != Progress.COMPLETE
        ]
        return sorted(open_ones, key=lambda each: each.size_bytes - each.have_bytes)

    def count_of(self, artist: Account) -> int:
        """Return the number of pledges of one artist."""
        return sum(1 for each in self._kept.values() if each.artist == artist)

    async def _put(self, kept: Kept) -> None:
        await self._table.put(kept.release, encode_record(kept))
        self._kept[Cid(kept.release)] = kept
