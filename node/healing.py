"""What healing needs before segments can be fetched: manifests from peers, and places for renditions."""

from __future__ import annotations

import logging
from contextlib import aclosing

from marina.cid import DAG_CBOR, Cid, cid_text, codec_of
from marina.errors import DamagedError, MalformedError, MarinaError, NotFoundError
from node.library import Library, Target
from storage.blocks.indexed import IndexedBlockStore
from storage.content.release import open_release
from storage.library.catalog import Catalog
from storage.retention import Retention

log = logging.getLogger("marina.node")
_PAGE = 500


class ReleaseHealer:
    """Brings back the manifests, keyboxes and layouts of every release that this node keeps whole."""

    def __init__(self, *, blocks: IndexedBlockStore, catalog: Catalog, library: Library) -> None:
        self._blocks = blocks
        self._catalog = catalog
        self._library = library

    async def restore(self) -> None:
        """Fetch what is missing of each kept release; what nobody has stays missing and is in the log.

        Afterwards ``Repo.verify`` knows which segments are missing, and finds what is still not here.
        """
        for cid in await self.kept():
            try:
                await self._restore(await self._library.exact_version(cid))
            except MarinaError as err:
                # One release that nobody has must not keep the others from being healed.
                context = {"cid": cid_text(cid), "reason": str(err)}
                log.warning("a release was not brought back whole", extra={"context": context})

    async def _restore(self, target: Target) -> None:
        pins = self._blocks.pins
        for _, track in target.tracks:
            for each in track.renditions:
                if await pins.retention(each.layout.root) >= Retention.PLEDGED:
                    await self._blocks.declare(each.layout)
        await self._library.fetch_keyboxes(target)

    async def kept(self) -> list[Cid]:
        """Return the releases that are kept whole, by the catalogue and by the manifests that are here."""
        found: dict[Cid, None] = {}
        cursor: str | None = None
        while True:
            page = await self._catalog.newest_releases(limit=_PAGE, cursor=cursor)
            for entry in page.items:
                cid = Cid(entry.cid)
                if not entry.is_withdrawn and await self._blocks.pins.retention(cid) >= Retention.PLEDGED:
                    found[cid] = None
            cursor = page.next
            if cursor is None:
                break
        async with aclosing(self._blocks.pins.promised()) as promised:
            async for cid in promised:
                if codec_of(cid) == DAG_CBOR and cid not in found and await self._is_release(cid):
                    found[cid] = None
        return list(found)

    async def _is_release(self, cid: Cid) -> bool:
        try:
            return not open_release(await self._blocks.get(cid)).release.withdrawn
        except (NotFoundError, DamagedError, MalformedError):
            return False  # a track, or not here: then its release brings it back
