"""Announcing: tells the DHT again and again which roots this node provides, and says when it falls behind.

Only what the owner published or this operator pledged is ever announced: announcing tells the world what
a node holds, and what somebody merely played is nobody's business. There is no call that announces
anything else, and every announcement asks again whether the root is still published or pledged.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Annotated, Protocol

import trio

from marina.cid import Cid, check_cid, cid_text
from marina.clock import Clock
from marina.errors import MalformedError, NotPermittedError
from marina.metrics import Counter, Gauge, Registry
from marina.schema import U32, U64, Range, decode_record, encode_record, record
from storage.errors import StorageError
from storage.kv import SCAN_LIMIT, Table

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

HOUR_S = 3600
ROOTS_MAX = 100_000
_BATCH = 64
_ALARM_EVERY_S = 60.0


class Reason(Enum):
    """Why this node may say that it provides a root."""

    PUBLISHED = 1
    PLEDGED = 2


class Holdings(Protocol):
    """What this node published or pledged, asked before every announcement."""

    async def reason(self, root: Cid) -> Reason | None:
        """Return why the root may be announced; None for what was only played, cached or dropped."""
        ...


@dataclass(frozen=True, slots=True)
class AnnounceConfig:
    """The schedule.

    Attributes:
        every_s: time between two announcements of a root.
        validity_s: age at which others forget one.
        alarm_after_s: how late the oldest root may be before the node says so; far before expiry.
        retry_s: first pause after a failure; it doubles up to an hour.
        parallel: announcements at once.
    """

    every_s: int = 12 * HOUR_S
    validity_s: int = 24 * HOUR_S
    alarm_after_s: int = HOUR_S
    retry_s: int = 60
    parallel: int = 4


class AnnounceState(Enum):
    """How the schedule is kept."""

    OK = "ok"
    BEHIND = "behind"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class AnnounceHealth:
    """The state of the schedule.

    Attributes:
        state: OK, BEHIND (late, still found) or EXPIRED (some roots are not found any more).
        roots: roots on the schedule.
        due: of those, waiting for their announcement.
        expired: of those, not announced for the whole validity.
        behind_s: how late the most overdue root is.
        message: one sentence for people.
    """

    state: AnnounceState
    roots: int
    due: int
    expired: int
    behind_s: int
    message: str


@record("marina/announced/1")
@dataclass(frozen=True, slots=True)
class _Entry:
    """Schedule of one root: times are Unix seconds; ``last`` 0 means never announced."""

    reason: Annotated[int, Range(1, 2)]
    added: U64
    last: U64
    next: U64
    failures: U32


class Announcer:
    """The persistent schedule of all announced roots."""

    def __init__(
        self,
        *,
        table: Table,
        provide: Callable[[Cid], Awaitable[int]],
        withdraw: Callable[[Cid], None],
        holdings: Holdings,
        clock: Clock,
        rng: Random,
        config: AnnounceConfig | None = None,
        registry: Registry | None = None,
    ) -> None:
        """Prepare; nothing is read before ``load`` (``run`` does it).

        Args:
            table: where the schedule is kept.
            provide: announces one root and returns how many peers confirmed (``Dht.provide``).
            withdraw: ends what this node itself answers about a root (``Dht.withdraw``).
            holdings: asked before every announcement.
            clock: Unix time of the schedule.
            rng: spreads announcements over time.
            config: the schedule.
            registry: where the metrics are declared.
        """
        self._table = table
        self._provide = provide
        self._withdraw = withdraw
        self._holdings = holdings
        self._clock = clock
        self._rng = rng
        self._config = config or AnnounceConfig()
        self._entries: dict[Cid, _Entry] = {}
        self._queue: list[tuple[int, Cid]] = []
        self._changed = trio.Event()
        self._next_alarm_s = 0.0
        self._state = AnnounceState.OK
        registry = registry if registry is not None else Registry()
        self._done = Counter(
            "marina_p2p_announcements_total", "Announcements of roots", ["outcome"], registry=registry
        )
        self._roots = Gauge("marina_p2p_announced_roots", "Roots on the schedule", registry=registry)
        self._behind = Gauge(
            "marina_p2p_announce_behind_seconds", "How late the most overdue root is", registry=registry
        )

    async def load(self) -> None:
        """Read the schedule; entries of another format are dropped and come back by ``announce``."""
        after = b""
        while True:
            rows = await self._table.scan(after=after, limit=SCAN_LIMIT)
            for key, value in rows:
                try:
                    self._put(check_cid(key), decode_record(_Entry, value))
                except MalformedError:
                    await self._table.delete(key)
            if len(rows) < SCAN_LIMIT:
                return
            after = rows[-1][0]

    async def announce(self, roots: Sequence[Cid]) -> None:
        """Put roots on the schedule, due at once; those already on it keep their place.

        Raises:
            NotPermittedError: a root is neither published nor pledged here; then none is taken.
            NotPermittedError: the schedule is full.
        """
        reasons = [await self._holdings.reason(root) for root in roots]
        for root, reason in zip(roots, reasons, strict=True):
            if reason is None:
                raise NotPermittedError(
                    f"{cid_text(root)} is neither published nor pledged by this node, so it is not announced"
                )
        new = {root: reason for root, reason in zip(roots, reasons, strict=True) if root not in self._entries}
        if len(self._entries) + len(new) > ROOTS_MAX:
            raise NotPermittedError(f"this node announces {ROOTS_MAX} roots already, its limit")
        now_s = self._clock.now_s()
        entries = {
            root: _Entry(reason.value if reason else 0, now_s, 0, now_s, 0) for root, reason in new.items()
        }
        await self._table.write({root: encode_record(entry) for root, entry in entries.items()})
        for root, entry in entries.items():
            self._put(root, entry)
        self._wake()

    async def forget(self, roots: Sequence[Cid]) -> None:
        """Take roots off the schedule: withdrawn, or their pledge has ended."""
        await self._table.write(dict.fromkeys(roots))
        for root in roots:
            self._entries.pop(root, None)
            self._withdraw(root)
        self._show()

    def is_announced(self, root: Cid) -> bool:
        """Return whether a root is on the schedule."""
        return root in self._entries

    def health(self) -> AnnounceHealth:
        """Return how the schedule is kept, for ``health``, ``doctor`` and alarms."""
        now_s = self._clock.now_s()
        entries = self._entries.values()
        due = sum(1 for each in entries if each.next <= now_s)
        expired = sum(1 for each in entries if self._late_s(each, now_s) >= self._grace_s)
        behind_s = max((self._late_s(each, now_s) for each in entries), default=0)
        state = AnnounceState.OK
        message = f"{len(entries)} roots are announced on time"
        if expired:
            state = AnnounceState.EXPIRED
            message = (
                f"{expired} of {len(entries)} roots can no longer be found by others: "
                "connect this node to more peers ('marina peers')"
            )
        elif behind_s > self._config.alarm_after_s:
            state = AnnounceState.BEHIND
            left_s = self._grace_s - behind_s
            message = (
                f"announcing is falling behind by {_span(behind_s)} with {due} roots due; "
                f"others stop finding the first in {_span(left_s)}: connect this node to more peers"
            )
        return AnnounceHealth(state, len(entries), due, expired, behind_s, message)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Announce what is due until cancelled; started once the schedule is read."""
        await self.load()
        task_status.started()
        slots = trio.CapacityLimiter(self._config.parallel)
        while True:
            await self._wait_for_next()
            async with trio.open_nursery() as batch:
                for root in self._take_due(_BATCH):
                    batch.start_soon(self._announce_one, root, slots)
            self._alarm()

    async def _announce_one(self, root: Cid, slots: trio.CapacityLimiter) -> None:
        async with slots:
            entry = self._entries.get(root)
            if entry is None:
                return
            try:
                is_ours = await self._is_ours(root)
            except StorageError as err:
                log.warning("a root could not be announced now: %s", err)
                due_s = self._clock.now_s() + self._config.retry_s
                self._put(root, replace(entry, next=due_s, failures=entry.failures + 1))
                return
            if not is_ours:
                return
            confirmed = await self._provide(root)
            now_s = self._clock.now_s()
            if confirmed:
                self._done.labels(outcome="confirmed").inc()
                spread_s = int(self._config.every_s * self._rng.uniform(0.9, 1.0))
                entry = replace(entry, last=now_s, next=now_s + spread_s, failures=0)
            else:
                self._done.labels(outcome="nobody").inc()
                pause_s = min(HOUR_S, self._config.retry_s * 2 ** min(entry.failures, 10))
                due_s = now_s + int(pause_s * self._rng.uniform(0.5, 1.0))
                entry = replace(entry, next=due_s, failures=entry.failures + 1)
            if root in self._entries:
                self._put(root, entry)
                await self._save(root, entry)

    async def _is_ours(self, root: Cid) -> bool:
        """Return whether a root may still be announced; one that may not is off the schedule then."""
        if await self._holdings.reason(root) is not None:
            return True
        log.info("no longer announced", extra={"context": {"root": cid_text(root)}})
        self._done.labels(outcome="not_ours").inc()
        await self.forget([root])
        return False

    async def _save(self, root: Cid, entry: _Entry) -> None:
        try:
            await self._table.put(root, encode_record(entry))
        except StorageError as err:
            # The schedule in memory goes on; after a restart this root is announced once too often.
            log.warning("the announcement schedule was not saved: %s", err)

    async def _wait_for_next(self) -> None:
        while True:
            changed = self._changed
            pause_s = self._queue[0][0] - self._clock.now_s() if self._queue else HOUR_S
            if self._queue and pause_s <= 0:
                return
            with trio.move_on_after(min(pause_s, 60)):  # the wall clock may jump while we sleep
                await changed.wait()

    def _take_due(self, limit: int) -> list[Cid]:
        now_s = self._clock.now_s()
        found: list[Cid] = []
        while self._queue and self._queue[0][0] <= now_s and len(found) < limit:
            due_s, root = heapq.heappop(self._queue)
            entry = self._entries.get(root)
            if entry is not None and entry.next == due_s and root not in found:
                found.append(root)
        return found

    def _put(self, root: Cid, entry: _Entry) -> None:
        self._entries[root] = entry
        heapq.heappush(self._queue, (entry.next, root))
        self._show()

    def _late_s(self, entry: _Entry, now_s: int) -> int:
        """Return how long ago the root should have been announced, whatever retries are planned."""
        should_s = entry.last + self._config.every_s if entry.last else entry.added
        return max(0, now_s - should_s)

    @property
    def _grace_s(self) -> int:
        return self._config.validity_s - self._config.every_s

    def _alarm(self) -> None:
        """Look at the whole schedule once a minute; complain when its state changes."""
        now_s = self._clock.monotonic_s()
        if now_s < self._next_alarm_s:
            return
        self._next_alarm_s = now_s + _ALARM_EVERY_S
        health = self.health()
        self._behind.set(health.behind_s)
        changed = health.state is not self._state
        self._state = health.state
        if changed and health.state is not AnnounceState.OK:
            log.warning(health.message, extra={"context": {"due": health.due, "expired": health.expired}})

    def _show(self) -> None:
        self._roots.set(len(self._entries))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _span(seconds: int) -> str:
    if seconds < 2 * HOUR_S:
        return f"{seconds // 60} min"
    return f"{seconds // HOUR_S} h"
