"""Watches over the keys of this owner's own releases: warns while there is still time to reissue them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from marina.cid import check_cid
from marina.errors import MarinaError
from marina.ids import ReleaseId, release_text
from node.health import CheckResult, Health
from node.keys.quorum import SPARE, Quorum, QuorumCheck
from node.library import Library, Target
from node.selling.sold import Sold
from storage.content.keybox import Keybox

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.selling")
FIRST_S = 60.0
EVERY_S = 6 * 3600.0
_RELEASES_MAX = 500


@dataclass(frozen=True, slots=True)
class Watched:
    """How the keys of one release are.

    Attributes:
        release: its id, as people write it.
        title: of the release.
        quorum: of its holders that are fewest.
    """

    release: str
    title: str
    quorum: Quorum

    @property
    def warning(self) -> str | None:
        """What the artist should know and do, one sentence; None while all is well."""
        found = self.quorum
        if found.is_enough and not is_thin(found):
            return None
        danger = "a few more failures and it is lost" if found.is_enough else "nobody new can hear it"
        return (
            f"keys of “{self.title}”: {found.sentence}; {danger}: run 'marina release reissue "
            f"{self.release[:14]}'"
        )


def is_thin(found: Quorum) -> bool:
    """Return whether fewer guardians live than the threshold and two more, also where a delegate is there.

    A delegate keeps a sale going; it is one machine, and no reason to let the guardians dwindle.
    """
    return found.of > 0 and found.ready < found.needed + SPARE


def distinct_boxes(tiers: Sequence[Sold]) -> list[Keybox]:
    """Return one keybox of each set of holders: tracks of a release mostly share theirs."""
    chosen: dict[tuple[frozenset[bytes], int], Keybox] = {}
    for each in tiers:
        holders = {share.guardian for share in each.box.shares} | {d.delegate for d in each.box.delegates}
        chosen.setdefault((frozenset(holders), each.box.k), each.box)
    return list(chosen.values())


async def weakest(tiers: Sequence[Sold], check: QuorumCheck) -> Quorum | None:
    """Return how those holders are that are fewest; None when nothing is sold."""
    found = [await check.ask(box) for box in distinct_boxes(tiers)]
    return min(found, key=lambda each: (each.is_enough, each.ready - each.needed), default=None)


class KeyWatch:
    """Asks the holders of every own release now and then."""

    def __init__(
        self,
        *,
        library: Library,
        quorum: Callable[[Target], Awaitable[Quorum | None]],
        is_on: Callable[[], bool],
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
    ) -> None:
        """Take the collaborators.

        Args:
            library: knows the own releases.
            quorum: asks who keeps the keys of a release now, as the chain has it; None when it is free.
            is_on: whether a chain is configured; without one nothing is sold.
            first_s: seconds from the start to the first look.
            every_s: seconds between two looks.
        """
        self._library = library
        self._quorum = quorum
        self._is_on = is_on
        self._first_s = first_s
        self._every_s = every_s
        self._found: tuple[Watched, ...] = ()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled."""
        task_status.started()
        await trio.sleep(self._first_s)
        while True:
            if self._is_on():
                await self.look()
            await trio.sleep(self._every_s)

    async def look(self) -> tuple[Watched, ...]:
        """Ask the holders of every own release that is sold; remember and return what they said."""
        found: list[Watched] = []
        for entry in (await self._library.mine())[:_RELEASES_MAX]:
            if entry.is_withdrawn:
                continue
            try:
                target = await self._library.resolve_release_cid(check_cid(entry.cid))
                quorum = await self._quorum(target)
            except MarinaError as err:
                log.info("the keys of a release could not be looked at: %s", err)
                continue
            if quorum is not None:
                watched = Watched(release_text(ReleaseId(entry.release_id)), entry.title, quorum)
                found.append(watched)
                if watched.warning is not None:
                    log.warning("%s", watched.warning)
        self._found = tuple(found)
        return self._found

    async def check(self) -> CheckResult:
        """Return how the keys were at the last look, for people."""
        await trio.lowlevel.checkpoint()
        warnings = [each.warning for each in self._found if each.warning is not None]
        if warnings:
            return CheckResult(Health.DEGRADED, f"{warnings[0]}{_more(len(warnings) - 1)}")
        count = len(self._found)
        return CheckResult(
            Health.HEALTHY,
            f"the keys of {count} releases are within reach" if count else "nothing of yours is sold",
        )


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""
