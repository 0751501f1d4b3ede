"""What peers sent is written down, adds up, and survives restarts and a locked vault."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from marina.cid import cid_of
from marina.clock import ManualClock
from marina.ids import PeerId
from node.fetch_ledger import ENTRIES_MAX, FetchLedger
from storage.errors import VaultLockedError
from storage.kv import MemoryKv
from storage.private import PrivateStore
from tests.support.listening import Sealed, Source, Twin, fetcher_of
from tests.support.vaults import OpenVault


@pytest.fixture
async def private(tmp_path):
    store = PrivateStore(kv=MemoryKv(), deks_path=tmp_path / "deks.bin", masters=OpenVault())
    await store.unlock()
    return store


async def test_bytes_by_peer_add_up_to_what_was_fetched(private):
    ledger = FetchLedger(private=private, clock=ManualClock())
    sealed = Sealed(os.urandom(3_000_000))
    twins = [Twin(name, sealed, delay_s=0.001) for name in ("a", "b")]
    async with fetcher_of(sealed, Source(*twins)).running() as fetcher, ledger.watching(fetcher):
        await fetcher.fetch_all()
        await ledger.flush()
        await ledger.flush()
    entries = await ledger.of(sealed.layout.root)
    assert {each.peer: each.size_bytes for each in entries} == dict(fetcher.stats.bytes_by_peer)
    assert sum(each.size_bytes for each in entries) == sealed.layout.plan.ciphertext_bytes
    assert sum(each.segments for each in entries) == sealed.layout.plan.count


async def test_what_came_while_the_vault_was_locked_is_written_down_once_it_is_open(private):
    ledger = FetchLedger(private=private, clock=ManualClock())
    sealed = Sealed(os.urandom(300_000))
    async with fetcher_of(sealed, Source(Twin("a", sealed))).running() as fetcher:
        async with ledger.watching(fetcher):
            await fetcher.fetch_all()
            private.lock()
            await ledger.flush()
            with pytest.raises(VaultLockedError):
                await ledger.of(sealed.layout.root)
            await private.unlock()
        (entry,) = await ledger.of(sealed.layout.root)
        assert entry.size_bytes == sealed.layout.plan.ciphertext_bytes


async def test_a_rendition_from_very_many_peers_keeps_its_sum_in_bounded_room(private):
    ledger = FetchLedger(private=private, clock=ManualClock())
    root = cid_of(b"root")
    for start in range(0, 600, 100):
        peers = [PeerId(f"peer{n}") for n in range(start, start + 100)]
        await ledger._add(root, Counter(dict.fromkeys(peers, 10)), Counter(dict.fromkeys(peers, 1)))
    entries = await ledger.of(root)
    assert len(entries) == ENTRIES_MAX
    assert sum(each.size_bytes for each in entries) == 6000
    assert sum(each.segments for each in entries) == 600
