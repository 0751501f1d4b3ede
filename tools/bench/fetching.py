"""Fetching as a node does it: host, chunk client, provider adapter, fetcher, block store; then decrypting."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import trio

from marina.cid import Cid
from marina.clock import SystemClock
from marina.ids import PeerId
from node.providers import SwarmProviders
from p2p.bitswap.client import BitswapClient
from p2p.chunk.client import ChunkClient
from p2p.host import Host
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.segments import SegmentOpener
from storage.file_ops import Buffer
from streaming.fetcher import RenditionFetcher
from tools.bench.content import Sealed, block_store
from tools.bench.provider import host_of, serve_bitswap

FETCH_TIMEOUT_S = 300.0


class Reachable(Protocol):
    """A peer and where it listens; every ``Provider`` is one."""

    @property
    def peer(self) -> str:
        """Its id."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """A provider that another process started."""

    peer: str
    addresses: tuple[str, ...]


class Named:
    """A peer finder that knows exactly these peers."""

    def __init__(self, providers: Sequence[Reachable]) -> None:
        self._providers = providers

    async def candidates(self, root: Cid) -> AsyncIterator[tuple[PeerId, tuple[str, ...]]]:
        """Yield all of them for every root."""
        del root
        for provider in self._providers:
            yield PeerId(provider.peer), provider.addresses


@dataclass(frozen=True, slots=True)
class Listener:
    """A node's fetching half, running."""

    host: Host
    client: ChunkClient
    bitswap: BitswapClient
    blocks: EmbeddedBlockStore

    def source(self, providers: Sequence[Reachable]) -> SwarmProviders:
        """Return a source of exactly these providers."""
        return SwarmProviders(
            host=self.host,
            client=self.client,
            bitswap=self.bitswap,
            finder=Named(providers),
            release_of=lambda _root: None,
        )


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Listener]:
    """Run a listener with a new store."""
    async with block_store(folder) as blocks, trio.open_nursery() as nursery:
        host = host_of("listener")
        bitswap = BitswapClient(host=host)
        await serve_bitswap(host, blocks, nursery, bitswap)
        await nursery.start(host.run)
        client = ChunkClient(host=host, clock=SystemClock())
        yield Listener(host, client, bitswap, blocks)
        await client.close()
        await bitswap.close()
        nursery.cancel_scope.cancel()


class OpeningStore:
    """A block store that also decrypts what was put into it, as a player does, each batch in one hop."""

    def __init__(self, blocks: EmbeddedBlockStore, opener: SegmentOpener) -> None:
        self._blocks = blocks
        self._opener = opener
        self.opened_bytes = 0

    async def put_segments(self, root: Cid, segments: Sequence[tuple[int, Buffer]]) -> None:
        """Verify, store and then decrypt segments."""
        await self._blocks.put_segments(root, segments)
        opened_bytes = await trio.to_thread.run_sync(self._open, segments)
        self.opened_bytes += opened_bytes

    def _open(self, segments: Sequence[tuple[int, Buffer]]) -> int:
        return sum(len(self._opener.open_segment(index, data)) for index, data in segments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocks, name)


async def fetch_and_open(listener: Listener, sealed: Sealed, providers: Sequence[Reachable]) -> float:
    """Fetch, verify, store durably and decrypt a whole rendition; return the wall seconds it took."""
    store = OpeningStore(listener.blocks, sealed.opener())
    fetcher = RenditionFetcher(layout=sealed.layout, blocks=store, source=listener.source(providers))
    started_s = time.perf_counter()
    async with fetcher.running():
        await fetcher.fetch_all(timeout_s=FETCH_TIMEOUT_S)
        elapsed_s = time.perf_counter() - started_s
    if store.opened_bytes < sealed.layout.plaintext_bytes:
        raise RuntimeError(f"{store.opened_bytes} of {sealed.layout.plaintext_bytes} bytes were decrypted")
    return elapsed_s
