"""Announcements of this owner's releases: each is made as a whole, or waits as a whole until it can be."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated

import trio

from marina.cid import Cid
from marina.errors import MarinaError
from marina.schema import U32, Bytes32, Bytes36, Size, decode_record, encode_record, record
from p2p.news import NotBoundError
from storage.kv import Table

log = logging.getLogger("marina.node.discovery")
RETRY_S = 30.0
ROOTS_MAX = 4096
"""More than a release of 500 tracks and its version before have."""
_PAGE = 64


@record("marina/node/release-news/1")
@dataclass(frozen=True, slots=True)
class ReleaseNews:
    """What the swarm is to be told of one version of a release.

    Attributes:
        provide: roots to announce from now on; none of a withdrawn release.
        forget: roots to announce no longer.
    """

    release_id: Bytes32
    cid: Bytes36
    version: U32
    provide: Annotated[tuple[Bytes36, ...], Size(0, ROOTS_MAX)]
    forget: Annotated[tuple[Bytes36, ...], Size(0, ROOTS_MAX)]

    def after(self, earlier: ReleaseNews) -> ReleaseNews:
        """Return what is to be told when nobody was told of an earlier news: the later version.

        It forgets what the version before it would have provided or forgotten.
        """
        if earlier.version > self.version:
            return earlier
        forget = dict.fromkeys((*self.forget, *earlier.forget, earlier.cid, *earlier.provide))
        kept = tuple(root for root in forget if root not in self.provide and root != self.cid)
        return replace(self, forget=kept[:ROOTS_MAX])


Tell = Callable[[ReleaseNews], Awaitable[None]]
"""Tells the swarm all of it. NotBoundError comes before anything was told; other errors end the news."""


class Outbox:
    """Keeps news on disk until the swarm was told, so that a restart forgets none."""

    def __init__(self, *, table: Table, tell: Tell, retry_s: float = RETRY_S) -> None:
        self._table = table
        self._tell = tell
        self._retry_s = retry_s
        self._lock = trio.Lock()
        self._waiting: dict[bytes, str] = {}

    @property
    def problem(self) -> str | None:
        """What keeps news from being told and what to do about it; None when all is told."""
        if not self._waiting:
            return None
        count = len(self._waiting)
        what = "1 release is" if count == 1 else f"{count} releases are"
        return f"{what} not announced yet: {next(reversed(self._waiting.values()))}"

    async def run(self) -> None:
        """Tell what waits, again and again until cancelled."""
        while True:
            await self.flush()
            await trio.sleep(self._retry_s)

    async def put(self, news: ReleaseNews) -> None:
        """Tell now, or keep it for later if this device is not bound; ``problem`` says so then.

        Raises:
            MarinaError: it cannot be told at all.
        """
        async with self._lock:
            known = await self._table.get(news.release_id)
            if known is not None:
                news = news.after(decode_record(ReleaseNews, known))
            await self._table.put(news.release_id, encode_record(news))
            await self._try(news)

    async def flush(self) -> None:
        """Tell everything that waits."""
        async with self._lock:
            after = b""
            while rows := await self._table.scan(after=after, limit=_PAGE):
                for key, data in rows:
                    after = key
                    try:
                        await self._try(decode_record(ReleaseNews, data))
                    except MarinaError as err:
                        log.warning("a release was not announced", extra={"context": {"reason": str(err)}})

    async def _try(self, news: ReleaseNews) -> None:
        try:
            await self._tell(news)
        except NotBoundError as err:
            if news.release_id not in self._waiting:
                log.warning("a release waits to be announced", extra={"context": {"reason": str(err)}})
            self._waiting[news.release_id] = str(err)
            return
        except MarinaError:
            await self._done(news)
            raise
        await self._done(news)

    async def _done(self, news: ReleaseNews) -> None:
        self._waiting.pop(news.release_id, None)
        await self._table.delete(news.release_id)


def roots_of(cids: tuple[bytes, ...]) -> list[Cid]:
    """Return the roots in a record."""
    return [Cid(each) for each in cids]
