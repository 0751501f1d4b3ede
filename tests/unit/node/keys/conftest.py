"""A private store that is open, and a clock that runs with trio's."""

from __future__ import annotations

import pytest
import trio

from marina.clock import ManualClock
from storage.kv import MemoryKv
from storage.private import PrivateStore
from tests.support.vaults import OpenVault


class TrioTime(ManualClock):
    """Stands where the test sets it, and goes on with trio's clock."""

    def __init__(self, now_s: int = 1_700_000_000) -> None:
        super().__init__(now_s)
        self._from_s = trio.current_time()

    def now_s(self) -> int:
        return super().now_s() + int(trio.current_time() - self._from_s)


@pytest.fixture
async def private(tmp_path):
    store = PrivateStore(kv=MemoryKv(), deks_path=tmp_path / "deks.bin", masters=OpenVault())
    await store.unlock()
    return store


@pytest.fixture
async def clock(autojump_clock):
    return TrioTime()
