"""Fetches the keys of what was bought as soon as it is bought, also after a crash in between.

The journal of transactions is the record of purchases: a mined purchase for this account whose keys did
not come yet is taken up again at every start and tried until they are here. Nothing of it is needed to
listen: playing asks for a key by itself. Source: design, security §1.8 and architecture §9.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import trio

from chain.journal import Journal, State, Transaction
from marina.errors import LicenceNeededError, MarinaError, NotFoundError
from marina.ids import Account, ReleaseId, TrackId, release_text, track_text
from node.keys.keyring import Keyring
from node.library import Library, Target
from storage.content.keybox import MODE_PUBLIC, parse_keybox
from storage.content.track import TIER_PREVIEW
from storage.kv import Table

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.keys")
BOUGHT = frozenset({"licence.buy", "licence.renew", "licence.gift"})
"""A gift to this owner is one that another account of theirs paid."""
MINED = frozenset({State.MINED, State.CONFIRMED})
DONE_MAX = 1000
_LOOK_S = 5.0
_PAGE = 100
_AT_ONCE = 4
_PAUSE_S_MAX = 60.0
_UNLICENSED_MAX = 5


class Delivery:
    """Turns mined purchases into keys that are here."""

    def __init__(
        self,
        *,
        journal: Journal,
        account: Account,
        library: Library,
        keyring: Keyring,
        block: Callable[..., Awaitable[bytes]],
        table: Table,
        rng: Random,
    ) -> None:
        self._journal = journal
        self._account = account
        self._library = library
        self._keyring = keyring
        self._block = block
        self._table = table
        self._rng = rng
        self._poked = trio.Event()
        self._running: set[bytes] = set()

    def poke(self) -> None:
        """Look at the journal now: a transaction was mined."""
        self._poked.set()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled."""
        slots = trio.CapacityLimiter(_AT_ONCE)
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                async for bought in self._undelivered():
                    self._running.add(bought.id)
                    nursery.start_soon(self._deliver, bought, slots)
                with trio.move_on_after(_LOOK_S if self._journal.live() else float("inf")):
                    await self._poked.wait()
                self._poked = trio.Event()

    async def _undelivered(self) -> AsyncIterator[Transaction]:
        """Yield mined purchases of this account whose keys are not here, of the last 1000 transactions."""
        before = b""
        for _ in range(DONE_MAX // _PAGE):
            page = await self._journal.page(before=before, limit=_PAGE)
            for _, each in page:
                is_mine = each.what in BOUGHT and each.key.endswith(f":{self._account.hex()}")
                is_new = each.id not in self._running and State(each.state) in MINED
                if is_mine and is_new and await self._table.get(each.id) is None:
                    yield each
            if len(page) < _PAGE:
                return
            before = page[-1][0]

    async def _deliver(self, bought: Transaction, slots: trio.CapacityLimiter) -> None:
        tries = unlicensed = 0
        while unlicensed < _UNLICENSED_MAX:
            try:
                async with slots:
                    await self._fetch(bytes.fromhex(bought.key.split(":")[1]))
                break
            except LicenceNeededError:
                unlicensed += 1  # an endpoint that lags behind, or it was paid back, or its time has passed
                log.info("a purchase opens nothing yet")  # what it is of, is nobody's business
            except MarinaError as err:
                log.info("the keys of a purchase are fetched again soon: %s", err.code)
            except Exception:  # one purchase, and what a stranger made of its track, never ends the node
                log.exception("a defect: the keys of a purchase could not be fetched")
            tries += 1
            await trio.sleep(self._rng.uniform(0.5, 1.0) * min(_PAUSE_S_MAX, 2.0 ** min(tries, 10)))
        self._running.discard(bought.id)
        with suppress(MarinaError):  # written at the next start then
            await self._table.put(bought.id, b"")

    async def _fetch(self, thing: bytes) -> None:
        """Get the keys of every tier of a track or release that the licence opens."""
        target = await self._target(thing)
        failures: list[MarinaError] = []
        for track in target.meant:
            tiers = [each.tier for each in track.renditions if each.tier != TIER_PREVIEW]
            allowed = await self._keyring.open_tiers(track, tiers)
            if not allowed:
                raise LicenceNeededError("no licence is held any more")
            for rendition in track.renditions:
                if rendition.tier not in allowed:
                    continue
                try:
                    box = parse_keybox(await self._block(rendition.layout.root, rendition.keybox))
                    if box.mode != MODE_PUBLIC:
                        await self._keyring.lease(track, rendition)
                except MarinaError as err:
                    failures.append(err)  # one bad track does not withhold the others
        if failures:
            raise failures[0]

    async def _target(self, thing: bytes) -> Target:
        try:
            return await self._library.resolve(release_text(ReleaseId(thing)))
        except NotFoundError:
            return await self._library.resolve(track_text(TrackId(thing)))
