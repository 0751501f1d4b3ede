"""The DAO's moderation list on this node: made for a proposal, read, and followed if the operator says so.

The chain has only the list's sha2-256 digest; the block travels between nodes like any other, and one that
does not fit the digest is refused. Following adds the list to what the operator denies. Whatever fails, the
last list that fitted stays in force: an attacker who keeps a block away opens nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MarinaError, NetworkError, NotFoundError, UsageError
from marina.retry import Backoff
from marina.schema import U64, Bytes32, decode_record, encode_record, record
from node.chain.adopted import NO_LIST
from node.chain.shared_blocks import SharedBlocks
from node.health import CheckResult, Health
from p2p.denylist import Denylist, DenySet
from storage.kv import Table

if TYPE_CHECKING:
    # Only a node that has a chain loads governance.
    from trio_typing import TaskStatus

    from governance.moderation import Entry, ModerationList

log = logging.getLogger("marina.node.moderation")

LOOK_EVERY_S = 5.0
"""How often the index is asked for a new digest: a read of the local database."""
_RETRY = Backoff(base_s=10.0, cap_s=600.0, tries_max=1000)
_FETCH_S = 60.0
_ASKED_S = 15.0
"""For a person who waits."""
_FILE_BYTES_MAX = 4 << 20
_WHAT = "the moderation list"
_RECORD_BYTES_MAX = 128


@record("marina/moderation/followed/1")
@dataclass(frozen=True, slots=True)
class Followed:
    """The list in force, as it is remembered over a restart."""

    chain_id: U64
    digest: Bytes32
    since_s: U64


@dataclass(frozen=True, slots=True)
class Made:
    """A list that can be proposed.

    Attributes:
        digest: what the DAO would adopt.
        cid: of its block, which this node keeps and serves.
        size_bytes: of the block.
        previous: digest of the list that it would replace; zero for none.
        added: what it adds to the adopted list.
        removed: what it leaves out of it.
        is_compared: False if the adopted list's block was not to be had: then everything counts as added.
        entries: all of them.
    """

    digest: bytes
    cid: Cid
    size_bytes: int
    previous: bytes
    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    is_compared: bool
    entries: tuple[Entry, ...]


class Source(Protocol):
    """What the chain says of the list; ``node.chain.adopted`` asks a real one."""

    @property
    def chain_id(self) -> int | None:
        """Of the configured chain, None for none."""
        ...

    async def indexed(self) -> bytes:
        """Return the digest that the local index has; cheap, and not yet confirmed."""
        ...

    async def digest(self) -> bytes:
        """Return the confirmed digest, zero for none; MarinaError while that is not possible."""
        ...


class Moderation:
    """Makes, reads and follows moderation lists."""

    def __init__(
        self,
        *,
        source: Source,
        denylist: Denylist,
        shared: SharedBlocks,
        table: Table,
        is_followed: bool,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.is_followed = is_followed
        self._source = source
        self._denylist = denylist
        self._shared = shared
        self._table = table
        self._clock = clock
        self._rng = rng
        self._in_force: bytes = NO_LIST
        self._since_s = 0
        self._problem = ""
        self._look_again = trio.Event()

    @property
    def in_force(self) -> bytes:
        """Digest of the list that this node follows now; zero for none."""
        return self._in_force

    @property
    def since_s(self) -> int:
        """Unix time at which it came into force; 0 for none."""
        return self._since_s

    @property
    def problem(self) -> str:
        """Why the adopted list is not in force, empty if it is or none is followed."""
        return self._problem

    async def load(self) -> None:
        """Put the last good list into force, before the first peer can ask for anything."""
        chain_id = self._source.chain_id
        if not self.is_followed or chain_id is None:
            return
        data = await self._table.get(b"followed")
        if data is None:
            return
        from governance.moderation import decode_list, list_cid

        try:
            last = decode_record(Followed, data, limit_bytes=_RECORD_BYTES_MAX)
            if last.chain_id != chain_id or last.digest == NO_LIST:
                return
            found = decode_list(await self._shared.stored(list_cid(last.digest)), last.digest)
        except MarinaError as err:
            self._say(f"the moderation list that was followed before is not here any more: {err}")
            return
        self._enforce(found, last.digest, last.since_s)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow what the DAO adopts until cancelled; nothing at all unless the operator turned it on."""
        task_status.started()
        if not self.is_followed or self._source.chain_id is None:
            return
        delays = _RETRY.delays(self._rng)
        while True:
            self._look_again = trio.Event()
            pause_s = LOOK_EVERY_S
            try:
                await self._follow()
                delays = _RETRY.delays(self._rng)
            except MarinaError as err:
                self._say(f"{err}")
                pause_s = max(LOOK_EVERY_S, next(delays, _RETRY.cap_s))
            with trio.move_on_after(pause_s):
                await self._look_again.wait()

    async def adopted(self) -> bytes:
        """Return the digest that the DAO adopted, zero for none; errors of ``Source.digest``."""
        return await self._source.digest()

    async def read(self, digest: bytes, timeout_s: float = _ASKED_S) -> ModerationList:
        """Return the list of a digest, from peers if its block is not here.

        Raises:
            NotFoundError: nobody who is reachable has it.
            NetworkError: it did not come in time.
            MalformedError: the digest is of something that is no moderation list.
        """
        from governance.moderation import decode_list, list_cid

        with trio.move_on_after(timeout_s):
            return decode_list(await self._shared.get(list_cid(digest), _WHAT), digest)
        raise NetworkError(f"{_WHAT} did not come within {timeout_s:g} s: try again later")

    async def make(self, path: Path) -> Made:
        """Make a list of a text file, keep its block and let others find it.

        Args:
            path: one entry a line: a release, track or CID, and the reason behind it.

        Raises:
            UsageError: the file cannot be read, or is no list.
            NetworkError: the chain does not answer; a list names the one that it replaces.
        """
        from governance.moderation import difference, encode_list, list_cid, make_list, parse_entries

        try:
            text = (await trio.to_thread.run_sync(_read, path)).decode()
        except UnicodeDecodeError as err:
            raise UsageError(f"{path} is no UTF-8 text: save it as one") from err
        previous = await self.adopted()
        made = make_list(parse_entries(text), previous=previous)
        digest, block = encode_list(made)
        before: ModerationList | None = None
        is_compared = True
        if previous != NO_LIST:
            try:
                before = await self.read(previous)
            except MarinaError as err:
                log.info("the adopted list is not compared with: %s", err)
                is_compared = False
        await self._shared.publish(list_cid(digest), block)
        added, removed = difference(before, made)
        return Made(digest, list_cid(digest), len(block), previous, added, removed, is_compared, made.entries)

    async def take(self, path: Path) -> tuple[bytes, ModerationList]:
        """Take the adopted list's block from a file, where no peer has it; return digest and list.

        Raises:
            UsageError: the file cannot be read.
            NotFoundError: the DAO has adopted none.
            WrongListError: it is not the adopted list.
        """
        from governance.moderation import decode_list, list_cid

        digest = await self.adopted()
        if digest == NO_LIST:
            raise NotFoundError("the DAO has adopted no moderation list")
        data = await trio.to_thread.run_sync(_read, path)
        found = decode_list(data, digest)
        await self._shared.publish(list_cid(digest), data)
        self._look_again.set()
        return digest, found

    async def check(self) -> CheckResult:
        """Return how following is, for people."""
        if not self.is_followed:
            return CheckResult(
                Health.HEALTHY, "no moderation list is followed; operator.follow_dao_list is off"
            )
        if self._source.chain_id is None:
            return CheckResult(
                Health.DEGRADED,
                "operator.follow_dao_list is on and no chain is configured: choose one with "
                "'marina config set chain.profile', or turn it off",
            )
        if self._problem:
            return CheckResult(Health.DEGRADED, self._problem)
        if self._in_force == NO_LIST:
            return CheckResult(Health.HEALTHY, "the DAO has adopted no moderation list")
        return CheckResult(
            Health.HEALTHY, f"the DAO's moderation list {self._in_force.hex()[:12]} is followed"
        )

    async def _follow(self) -> None:
        """Put the adopted list into force if it is another than the one that is."""
        if await self._source.indexed() == self._in_force and not self._problem:
            return
        digest = await self.adopted()
        if digest != self._in_force:
            await self._change(digest)
        self._say("")

    async def _change(self, digest: bytes) -> None:
        from governance.moderation import list_cid

        found = None if digest == NO_LIST else await self.read(digest, _FETCH_S)
        before = self._in_force
        if found is not None:
            await self._shared.hold(list_cid(digest))
        since_s = self._clock.now_s()
        followed = Followed(self._source.chain_id or 0, digest, since_s)
        await self._table.put(b"followed", encode_record(followed))
        self._enforce(found, digest, since_s)
        if before != NO_LIST:
            await self._shared.release(list_cid(before))

    def _enforce(self, found: ModerationList | None, digest: bytes, since_s: int) -> None:
        from governance.moderation import denied_ids

        entries = DenySet()
        if found is not None:
            denied = denied_ids(found)
            entries = DenySet(cids=denied.cids, releases=denied.releases, tracks=denied.tracks)
        self._denylist.follow(entries, "the DAO's moderation list")
        self._in_force, self._since_s = digest, since_s
        log.info(
            "the DAO's moderation list is in force",
            extra={"context": {"digest": digest.hex(), "entries": len(entries)}},
        )

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("the DAO's moderation list is not followed further: %s", problem)
        self._problem = problem


def _read(path: Path) -> bytes:
    """Return the bytes of a file that a person named; UsageError if that is not possible."""
    if not path.is_absolute():
        raise UsageError("give the whole path of the file")
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror or err}") from err
    if len(data) > _FILE_BYTES_MAX:
        raise UsageError(f"{path} is larger than {_FILE_BYTES_MAX >> 20} MiB: a moderation list is not")
    return data
