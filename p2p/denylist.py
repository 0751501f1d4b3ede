"""The operator's denylist: what this node neither serves nor pledges, whoever asks.

A plain text file, one entry a line, ``#`` begins a comment::

    bafyrei…            a release, track manifest or rendition by CID
    rl_…                every version of a release
    tr_…                one track, in every version of its release
    0x52908400098527…   everything an artist's account publishes

It is read again when it changes. A broken file never opens what a good one denied: the last good list
stays in force and the fault is logged with its line. Beside it may stand a list that the operator chose to
follow; it adds to the operator's own and never takes away from it.
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
from marina.ids import (
    Account,
    ReleaseId,
    TrackId,
    account_text,
    parse_account,
    parse_release,
    parse_track,
    release_text,
    track_text,
)

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
    tracks: frozenset[TrackId] = field(default_factory=frozenset)

    def __len__(self) -> int:
        return len(self.cids) + len(self.releases) + len(self.accounts) + len(self.tracks)

    def reason(
        self,
        cids: Iterable[Cid],
        tracks: Iterable[TrackId],
        release: ReleaseId | None,
        account: Account | None,
    ) -> str | None:
        """Return which entry names any of these things, None when none does."""
        for cid in cids:
            if cid in self.cids:
                return cid_text(cid)
        for track in tracks:
            if track in self.tracks:
                return track_text(track)
        if release is not None and release in self.releases:
            return release_text(release)
        if account is not None and account in self.accounts:
            return account_text(account)
        return None


def parse_denylist(text: str) -> DenySet:
    """Return the entries of a list.

    Raises:
        UsageError: a line is none of the four kinds, or there are more than 100,000.
    """
    cids: set[Cid] = set()
    releases: set[ReleaseId] = set()
    accounts: set[Account] = set()
    tracks: set[TrackId] = set()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        try:
            if line.startswith("0x"):
                accounts.add(parse_account(line))
            elif line.startswith(("rl_", "marina:rl_")):
                releases.add(parse_release(line))
            elif line.startswith(("tr_", "marina:tr_")):
                tracks.add(parse_track(line))
            else:
                cids.add(parse_cid(line))
        except MalformedError as err:
            raise UsageError(
                f"denylist line {number}: {line[:80]!r} is neither a CID, a release id (rl_…), a track id "
                "(tr_…) nor an account (0x…): correct or remove it"
            ) from err
        if len(cids) + len(releases) + len(accounts) + len(tracks) > ENTRIES_MAX:
            raise UsageError(f"the denylist has more than {ENTRIES_MAX} entries")
    return DenySet(frozenset(cids), frozenset(releases), frozenset(accounts), frozenset(tracks))


class Denylist:
    """The lists in force: the operator's own, and one that it follows.

    Without a file it denies nothing; ``load`` reads the file once, ``run`` follows its changes.
    """

    def __init__(self, *, path: Path | None = None, entries: DenySet | None = None) -> None:
        self._path = path
        self._entries = entries or DenySet()
        self._followed, self._followed_name = DenySet(), ""
        self._stamp: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._entries) + len(self._followed)

    def follow(self, entries: DenySet, name: str) -> None:
        """Deny from now on what a followed list names too, and no longer what an earlier one named.

        Args:
            entries: of the list; empty to follow none.
            name: what people call it, with its article.
        """
        self._followed, self._followed_name = entries, name

    def reason(
        self,
        *,
        cids: Iterable[Cid] = (),
        tracks: Iterable[TrackId] = (),
        release: ReleaseId | None = None,
        account: Account | None = None,
    ) -> str | None:
        """Return which entry denies any of these things, None when none does."""
        found = self._find(cids, tracks, release, account)
        return None if found is None else found[1]

    def check(
        self,
        *,
        cids: Iterable[Cid] = (),
        tracks: Iterable[TrackId] = (),
        release: ReleaseId | None = None,
        account: Account | None = None,
    ) -> None:
        """Raise DeniedError if an entry denies any of these things."""
        found = self._find(cids, tracks, release, account)
        if found is not None:
            raise DeniedError(f"{found[0]} names {found[1]}: it is neither served nor kept here")

    def _find(
        self,
        cids: Iterable[Cid],
        tracks: Iterable[TrackId],
        release: ReleaseId | None,
        account: Account | None,
    ) -> tuple[str, str] | None:
        """Return (list, entry) of what denies, the operator's own list first."""
        cids, tracks = tuple(cids), tuple(tracks)
        own = self._entries.reason(cids, tracks, release, account)
        if own is not None:
            return "this operator's denylist", own
        followed = self._followed.reason(cids, tracks, release, account)
        if followed is not None:
            return f"{self._followed_name}, which this operator follows,", followed
        return None

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
                    log.info("denylist read", extra={"context": {"entries": len(self._entries)}})
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
