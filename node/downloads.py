"""Fetching whole renditions, each by one caller at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager

import trio

from marina.cid import Cid
from storage.blocks.protocol import BlockStore
from storage.content.layout import RenditionLayout
from streaming.fetcher import RenditionFetcher
from streaming.providers import ProviderSource


class Downloads:
    """Runs fetchers; who wants a rendition that is being fetched waits, and finds it here.

    Joining a release and the pledge that its artist asks for at that moment want the same bytes.
    """

    def __init__(
        self,
        *,
        blocks: BlockStore,
        source: ProviderSource,
        lease: Callable[[Cid], AbstractContextManager[None]],
        watching: Callable[[RenditionFetcher], AbstractAsyncContextManager[None]],
    ) -> None:
        """Take the collaborators.

        Args:
            blocks: where segments go.
            source: finds providers.
            lease: keeps a root from being collected while its block runs.
            watching: counts what a fetcher gets from whom while its block runs.
        """
        self._blocks = blocks
        self._source = source
        self._lease = lease
        self._watching = watching
        self._turns: dict[Cid, trio.Lock] = {}

    @asynccontextmanager
    async def fetching(self, layout: RenditionLayout) -> AsyncIterator[RenditionFetcher]:
        """Run a fetcher of a rendition when its turn has come; the bytes are leased meanwhile.

        Raises:
            MalformedError: the root is not the root of these segments.
        """
        turn = self._turns.setdefault(layout.root, trio.Lock())
        try:
            async with turn:
                fetcher = RenditionFetcher(layout=layout, blocks=self._blocks, source=self._source)
                with self._lease(layout.root):
                    async with fetcher.running(), self._watching(fetcher):
                        yield fetcher
        finally:
            if not turn.locked():
                self._turns.pop(layout.root, None)
