"""The content key of a paid track, for as long as its licence runs.

::

    own track              derived from the recovery words, no licence asked
    chain answers          no licence → LicenceNeededError
                           key here   → used, its lease begins anew
                           otherwise  → asked of guardians, kept, used
    chain does not answer  key here and its lease runs → used; the clock must not have been set back

The chain's anchored keybox counts, whatever the manifest names. Source: design, security §1.8 to §1.10.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import trio

from marina.cid import RAW, Cid, cid_from_digest
from marina.clock import Clock
from marina.errors import (
    DamagedError,
    LicenceNeededError,
    MalformedError,
    NetworkError,
    NotPermittedError,
)
from marina.ids import Account, TrackId, track_text
from marina.secret import Secret
from node.keys.cache import KeyCache, ReleasedKey, lease_until_s
from node.keys.high_water import HighWater
from storage.content.keybox import MODE_PUBLIC, Keybox, parse_keybox
from storage.content.keys import KeyName, check_commitment, derive_track_key, key_commitment
from storage.content.track import Rendition, TrackManifest
from storage.errors import StorageError, VaultLockedError

if TYPE_CHECKING:
    from chain.right import ListeningRight
    from node.keys.collector import Collected

log = logging.getLogger("marina.node.keys")
_KEYBOX_S = 15.0
_UNIX_S_MAX = 253_402_300_799
"""The last second of the year 9999, behind which a calendar ends."""


class Rights(Protocol):
    """Asks the chain for one account."""

    account: Account

    @property
    def chain_id(self) -> int:
        """EIP-155 id."""
        ...

    @property
    def registry(self) -> Account:
        """The contract that anchors keyboxes."""
        ...

    async def of(self, tiers: Sequence[tuple[TrackId, int]]) -> list[ListeningRight]:
        """Return rights; NetworkError when the chain does not answer."""
        ...

    @property
    def look_every_s(self) -> float:
        """How often a running session is looked at again."""
        ...

    async def price(self, track_id: TrackId) -> str | None:
        """Return what it costs, in words."""
        ...


class Releasing(Protocol):
    """Asks guardians."""

    async def collect(self, box: Keybox, name: KeyName, *, licence_block: int) -> Collected:
        """Return the key that guardians or a delegate release."""
        ...


@dataclass(frozen=True, slots=True)
class Artist:
    """What an owner can do with their own music.

    Attributes:
        account: of the owner.
        content_root: returns the root of all track keys; VaultLockedError while locked.
    """

    account: Account
    content_root: Callable[[], Secret[bytes]]


@dataclass(frozen=True, slots=True)
class Lease:
    """A key that may be used for a while.

    Attributes:
        name: whose key.
        key: 32 bytes.
        ends_s: moment of trio's clock at which it may not be used any more; None for one's own music.
        expires_s: Unix second at which the licence is over; 0 for one's own music.
    """

    name: KeyName
    key: Secret[bytes]
    ends_s: float | None
    expires_s: int


class Keyring:
    """Gives playback the keys that the owner may use now."""

    def __init__(
        self,
        *,
        artist: Artist,
        rights: Rights,
        cache: KeyCache,
        releasing: Releasing,
        block: Callable[[Cid, Cid], Awaitable[bytes]],
        high_water: HighWater,
        clock: Clock,
    ) -> None:
        """Take the collaborators; ``block(root, cid)`` returns a small block, from peers if need be."""
        self._artist = artist
        self._rights = rights
        self._cache = cache
        self._releasing = releasing
        self._block = block
        self._high_water = high_water
        self._clock = clock
        self._turns: dict[KeyName, trio.Lock] = {}

    @property
    def look_every_s(self) -> float:
        """How often a running session is looked at again."""
        return self._rights.look_every_s

    async def lease(self, track: TrackManifest, rendition: Rendition, *, is_offline: bool = False) -> Lease:
        """Return the key of a tier that is not free.

        Args:
            track: whose.
            rendition: of the tier.
            is_offline: ask neither the chain nor guardians.

        Raises:
            LicenceNeededError: the account has no licence that runs.
            NotPermittedError: it may not be heard yet, the clock was set back, or the vault is locked.
            NetworkError: the chain does not answer and no key is here, or too few guardians answered.
            DamagedError: what the artist anchored does not fit the music.
        """
        if track.account == self._artist.account:
            return self._own(track, rendition)
        async with self._turn(rendition.run.key_name):
            if is_offline:
                return await self._offline(track, rendition, None)
            try:
                (right,) = await self._rights.of([(track.track_id, rendition.tier)])
            except NetworkError as err:
                return await self._offline(track, rendition, err)
            await self._high_water.note(right.time_s)
            return await self._online(track, rendition, right)

    async def look_again(self, leases: Sequence[Lease]) -> list[Lease | None]:
        """Return running leases as the chain has them now, None for each whose licence has ended.

        Raises:
            NetworkError: the chain does not answer: they run on until their ends.
        """
        rights = await self._rights.of([(each.name.track_id, each.name.tier) for each in leases])
        for lease, right in zip(leases, rights, strict=True):
            await self._high_water.note(right.time_s)
            if not right.is_open:
                await self._end(lease.name, key_commitment(lease.key, lease.name))
        return [
            replace(each, ends_s=_ends_s(right), expires_s=right.expires_s) if right.is_open else None
            for each, right in zip(leases, rights, strict=True)
        ]

    async def open_tiers(self, track: TrackManifest, tiers: Sequence[int]) -> set[int]:
        """Return which tiers the account's licences open now; all of one's own music."""
        if track.account == self._artist.account:
            return set(tiers)
        rights = await self._rights.of([(track.track_id, tier) for tier in tiers])
        return {tier for tier, right in zip(tiers, rights, strict=True) if right.is_open}

    async def released(self, rendition: Rendition) -> ReleasedKey | None:
        """Return the key of a tier that is here, whatever its lease; None when there is none."""
        try:
            return await self._cache.get(rendition.run.key_name, rendition.kc)
        except DamagedError as err:
            log.warning("a key is asked for again: %s", err)
            return None

    def _own(self, track: TrackManifest, rendition: Rendition) -> Lease:
        name = rendition.run.key_name
        key = derive_track_key(self._artist.content_root(), track.salt, name)
        check_commitment(key, name, rendition.kc)
        return Lease(name, key, None, 0)

    async def _online(self, track: TrackManifest, rendition: Rendition, right: ListeningRight) -> Lease:
        if not right.is_open:
            await self._end(rendition.run.key_name, rendition.kc)
            raise await self._no_licence(track, rendition)
        found = await self.released(rendition)
        if found is None:
            found = await self._collect(rendition, right)
        lease_until = lease_until_s(right.expires_s, right.time_s)
        if found.expires_s != right.expires_s or found.lease_until_s + 3600 < lease_until:
            licence = right.licence or found.licence
            found = replace(found, licence=licence, expires_s=right.expires_s, lease_until_s=lease_until)
            await self._keep(found)
        return Lease(found.name, found.key, _ends_s(right), right.expires_s)

    async def _offline(self, track: TrackManifest, rendition: Rendition, cause: NetworkError | None) -> Lease:
        found = await self.released(rendition)
        if found is None:
            if cause is not None:
                raise cause
            raise LicenceNeededError(
                f"the key to “{track.title}” is not on this node: play it once while connected"
            )
        if self._high_water.is_clock_behind:
            raise NotPermittedError(
                "this machine's clock is behind the time that it showed before: set it right, or connect to "
                "the chain, and play again"
            ) from cause
        left_s = found.lease_until_s - self._high_water.time_s()
        if left_s <= 0:
            raise LicenceNeededError(
                "the licence has ended, or was not looked up on the chain for too long: connect and try again"
            ) from cause
        return Lease(found.name, found.key, trio.current_time() + left_s, found.expires_s)

    async def _collect(self, rendition: Rendition, right: ListeningRight) -> ReleasedKey:
        box = await self.keybox(rendition, right)
        if box.not_before > right.time_s:
            raise NotPermittedError(f"it can be heard from {day(box.not_before)} on: the artist wants it so")
        name = rendition.run.key_name
        collected = await self._releasing.collect(box, name, licence_block=right.block)
        check_commitment(collected.key, name, rendition.kc)
        found = ReleasedKey(
            name=name,
            kc=rendition.kc,
            key=collected.key,
            chain_id=box.chain_id,
            epoch=box.epoch,
            account=self._rights.account,
            licence=right.licence or bytes(32),
            expires_s=right.expires_s,
            lease_until_s=lease_until_s(right.expires_s, right.time_s),
            released_s=self._clock.now_s(),
            block=collected.block,
            holders=collected.holders,
        )
        await self._keep(found)
        return found

    async def _end(self, name: KeyName, kc: bytes) -> None:
        """Let a key be of no use without the chain: its licence is over, or was paid back.

        It stays, so that a renewal needs no guardian.
        """
        try:
            found = await self._cache.get(name, kc)
        except (DamagedError, VaultLockedError):
            return  # nothing that could be used
        if found is not None and found.lease_until_s:
            await self._keep(replace(found, lease_until_s=0))

    async def _keep(self, found: ReleasedKey) -> None:
        """Store a key; on a full disk the music plays all the same, and the key is asked for again."""
        try:
            await self._cache.put(found)
        except StorageError as err:
            log.warning("a key plays now and could not be kept: %s", err)

    async def keybox(self, rendition: Rendition, right: ListeningRight) -> Keybox:
        """Return the anchored keybox of a tier, checked to be this tier's.

        Raises:
            NotPermittedError: the artist has anchored none, or one that opens something else.
            NetworkError: nobody has it.
        """
        if right.digest is None:
            raise NotPermittedError(
                "its artist has not anchored the keys on the chain yet: nobody could release them"
            )
        cid = cid_from_digest(right.digest, RAW)
        with trio.move_on_after(_KEYBOX_S):
            try:
                box = parse_keybox(await self._block(rendition.layout.root, cid))
            except MalformedError as err:
                raise NotPermittedError(
                    "what its artist anchored on the chain is no keybox: tell them"
                ) from err
            named = (box.chain_id, box.registry, box.track_id, box.tier)
            expected = (
                self._rights.chain_id, self._rights.registry, rendition.run.track_id, rendition.tier,
            )  # fmt: skip
            if box.mode == MODE_PUBLIC or named != expected or box.kc != rendition.kc:
                raise NotPermittedError(
                    "the keys that its artist anchored open something else: fetch the newest version with "
                    "'marina show', or tell the artist"
                )
            return box
        raise NetworkError("no peer gave the keybox of this track within 15 s: try again later")

    async def _no_licence(self, track: TrackManifest, rendition: Rendition) -> LicenceNeededError:
        number = track_text(track.track_id)
        price = await self._rights.price(track.track_id)
        cost = f"costs {price}" if price else "is not free, and is not for sale now"
        try:
            ended = "; your licence to it has ended" if await self.released(rendition) else ""
        except VaultLockedError:
            ended = ""
        buy = f"buy it with 'marina buy {number}', or " if price else ""
        hear = f"hear its preview with 'marina play {number} --preview'"
        return LicenceNeededError(f"“{track.title}” {cost}{ended}: {buy}{hear}")

    @asynccontextmanager
    async def _turn(self, name: KeyName) -> AsyncIterator[None]:
        """Let one caller at a time ask for a key; whoever waited finds it here."""
        turn = self._turns.setdefault(name, trio.Lock())
        try:
            async with turn:
                yield
        finally:
            if not turn.locked():
                self._turns.pop(name, None)


def _ends_s(right: ListeningRight) -> float:
    lease_s = lease_until_s(right.expires_s, right.time_s) - right.time_s
    return trio.current_time() + lease_s


def day(unix_s: int) -> str:
    """Return a Unix second for people; an artist may have named any."""
    return datetime.fromtimestamp(min(unix_s, _UNIX_S_MAX), UTC).strftime("%Y-%m-%d %H:%M UTC")
