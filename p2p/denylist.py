"""The operator's denylist: what this node neither serves nor pledges, whoever asks.

A plain text file, one entry a line, ``#`` begins a comment::

    bafyrei…            a release, track manifest or rendition by CID
    rl_…                every version of a release
    0x52908400098527…   everything an artist's account publishes

It is read again when it changes. A broken file never opens what a good one denied: the last good list
stays in force and the fault is logged with its line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid, cid_text, parse_cid
from marina.errors import MalformedError, NotPermittedError, UsageError
from marina.ids import Account, ReleaseId, account_text, parse_account, parse_release, release_text

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

FILE_BYTES_MAX = 8 << 20
ENTRIES_MAX = 100_000
CHECK_EVERY_S = 10.0


class DeniedError(NotPermittedError):
    """This operator does not serve or keep it."""

    code = "denied"


@dataclass(frozen=True, slots=True)
class DenySet:
    """The entries of a list."""

    cids: frozenset[Cid] = field(default_factory=frozenset)
    releases: frozenset[ReleaseId] = field(default_factory=frozenset)
    accounts: frozenset[Account] = field(default_factory=frozenset)

    def __len__(self) -> int:
        return len(self.cids) + len(self.releases) + len(self.accounts)


def parse_denylist(text: str) -> DenySet:
    """Return the entries of a list.

    Raises:
        UsageError: a line is none of the three kinds, or there are more than 100,000.
    """
    cids: set[Cid] = set()
    releases: set[ReleaseId] = set()
    accounts: set[Account] = set()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        try:
            if line.startswith("0x"):
                accounts.add(parse_account(line))
            elif line.startswith(("rl_", "marina:rl_")):
                releases.add(parse_release(line))
            else:
                cids.add(parse_cid(line))
        except MalformedError as err:
            raise UsageError(
                f"denylist line {number}: {line[:80]!r} is neither a CID, a release id (rl_…) nor an "
                "account (0x…): correct or remove it"
            ) from err
        if len(cids) + len(releases) + len(accounts) > ENTRIES_MAX:
            raise UsageError(f"the denylist has more than {ENTRIES_MAX} entries")
    return DenySet(frozenset(cids), frozenset(releases), frozenset(accounts))


class Denylist:
    """The list in force.

    Without a file it denies nothing; ``load`` reads the file once, ``run`` follows its changes.
    """

    def __init__(self, *, path: Path | None = None, entries: DenySet | None = None) -> None:
        self._path = path
        self._entries = entries or DenySet()
        self._stamp: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def reason(
        self,
        *,
        cids: Iterable[Cid] = (),
        release: ReleaseId | None = None,
        account: Account | None = None,
    ) -> str | None:
        """Return which entry denies any of these things, None when none does."""
        for cid in cids:
            if cid in self._entries.cids:
                return cid_text(cid)
        if release is not None and release in self._entries.releases:
            return release_text(release)
        if account is not None and account in self._entries.accounts:
            return account_text(account)
        return None

    def check(
        self,
        *,
        cids: Iterable[Cid] = (),
        release: ReleaseId | None = None,
        account: Account | None = None,
    ) -> None:
        """Raise DeniedError if an entry denies any of these things."""
        entry = self.reason(cids=cids, release=release, account=account)
        if entry is not None:
            raise DeniedError(f"this operator's denylist names {entry}: it is neither served nor kept here")

    async def load(self) -> bool:
        """Read the file if it changed; return whether the entries are new.

        Raises:
            UsageError: the file is missing or cannot be read, or a line is broken; the list in force
                is unchanged.
        """
        if self._path is None:
            return False
        read = await trio.to_thread.run_sync(_read, self._path, self._stamp)
        if read is None:
            return False
        text, stamp = read
        self._entries = parse_denylist(text)
        self._stamp = stamp
        return True

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the file until cancelled; started once it was read for the first time.

        Raises:
            UsageError: the first reading failed: a node does not start with half a denylist.
        """
        await self.load()
        task_status.started()
        complained = ""
        while True:
            await trio.sleep(CHECK_EVERY_S)
            try:
                if await self.load():
                    log.info("denylist read", extra={"context": {"entries": len(self)}})
                complained = ""
            except UsageError as err:
                if str(err) != complained:
                    complained = str(err)
                    log.warning("denylist not read, the last one stays in force: %s", err)


def _read(path: Path, known: tuple[int, int] | None) -> tuple[str, tuple[int, int]] | None:
    """Return text and stamp of the file, None when it is as known."""
    try:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        if stamp == known:
            return None
        if stat.st_size > FILE_BYTES_MAX:
            raise UsageError(f"the denylist {path} is larger than {FILE_BYTES_MAX >> 20} MiB")
        return path.read_bytes().decode(), stamp
    except FileNotFoundError as err:
        raise UsageError(
            f"the denylist {path} does not exist: create it (it may be empty) or remove the setting"
        ) from err
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"the denylist {path} cannot be read: {err}") from err
