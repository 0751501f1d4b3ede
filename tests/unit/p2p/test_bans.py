"""Bans are written down, so that a restart forgives nobody."""

import pytest
import trio

from marina.clock import ManualClock
from p2p.bans import SAVE_EVERY_S, BanKeeper
from p2p.peerid import peer_id_from_seed
from p2p.scores import BanReason, ScoreBook
from storage.errors import DiskFullError
from storage.kv import Batch, MemoryKv, Table
from tests.support.peers import seed

LIAR, FOE = (peer_id_from_seed(seed(name)) for name in ("liar", "foe"))
DAY_S = 86_400


class Kv(MemoryKv):
    is_full = False

    async def write(self, batch: Batch) -> None:
        if self.is_full:
            raise DiskFullError("the disk is full: free some space")
        await super().write(batch)


async def restarted(kv, now_s=1_700_000_000):
    """Return the score book of a node that starts on a database, and its keeper."""
    clock = ManualClock(now_s)
    scores = ScoreBook(clock=clock)
    keeper = BanKeeper(scores=scores, table=Table(kv, "bans"), clock=clock)
    await keeper._load()
    return scores, keeper, clock


async def test_a_ban_holds_over_a_restart_for_the_rest_of_its_time():
    kv = Kv()
    scores, keeper, clock = await restarted(kv)
    scores.corrupt(LIAR)
    scores.ban(FOE, 600)
    await keeper.save()
    scores, _, clock = await restarted(kv, 1_700_000_000 + 500)
    assert scores.ban_reason(LIAR) is BanReason.CORRUPT
    assert scores.banned()[LIAR] == pytest.approx(DAY_S - 500)
    assert scores.banned()[FOE] == pytest.approx(100)
    clock.advance(101)
    assert list(scores.banned()) == [LIAR]
    scores, _, _ = await restarted(kv, 1_700_000_000 + DAY_S + 1)
    assert not scores.banned()
    assert not await Table(kv, "bans").scan(limit=10)


async def test_a_clock_that_was_set_back_makes_no_ban_longer_than_it_was():
    kv = Kv()
    scores, keeper, _ = await restarted(kv)
    scores.ban(FOE, 600)
    await keeper.save()
    scores, _, _ = await restarted(kv, 1_600_000_000)
    assert scores.banned()[FOE] == pytest.approx(600)


async def test_who_was_let_in_again_stays_in_after_a_restart():
    kv = Kv()
    scores, keeper, _ = await restarted(kv)
    scores.ban(FOE, 600)
    await keeper.save()
    scores.unban(FOE)
    await keeper.save()
    scores, _, _ = await restarted(kv)
    assert not scores.banned()


async def test_unreadable_rows_are_removed():
    kv = Kv()
    table = Table(kv, "bans")
    await table.put(b"junk", b"\x00junk")
    scores, _, _ = await restarted(kv)
    assert not scores.banned()
    assert not await table.scan(limit=10)


async def test_bans_of_a_running_node_are_saved_by_themselves_also_after_a_full_disk(autojump_clock):
    kv = Kv()
    scores, keeper, _ = await restarted(kv)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        kv.is_full = True
        scores.corrupt(LIAR)
        await trio.sleep(2 * SAVE_EVERY_S)
        kv.is_full = False
        await trio.sleep(2 * SAVE_EVERY_S)
        nursery.cancel_scope.cancel()
    scores, _, _ = await restarted(kv)
    assert list(scores.banned()) == [LIAR]
