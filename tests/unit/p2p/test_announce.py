import itertools
from random import Random

import pytest
import trio

from marina.cid import cid_of
from marina.errors import NotPermittedError
from p2p.announce import HOUR_S, AnnounceConfig, Announcer, AnnounceState, Reason
from storage.kv import MemoryKv, Table

PUBLISHED, PLEDGED, PLAYED = cid_of(b"published"), cid_of(b"pledged"), cid_of(b"played")


class TrioClock:
    """Wall and monotonic time that follow trio's virtual clock."""

    def now_s(self) -> int:
        return 1_700_000_000 + int(trio.current_time())

    def monotonic_s(self) -> float:
        return trio.current_time()


class Holdings:
    def __init__(self) -> None:
        self.roots = {PUBLISHED: Reason.PUBLISHED, PLEDGED: Reason.PLEDGED}

    async def reason(self, root):
        return self.roots.get(root)


class Network:
    """Remembers announcements; nobody is there while ``peers`` is 0."""

    def __init__(self) -> None:
        self.peers = 3
        self.announced: list[tuple[float, object]] = []
        self.withdrawn: list[object] = []

    async def provide(self, root) -> int:
        if self.peers:
            self.announced.append((trio.current_time(), root))
        return self.peers


def make(kv=None, holdings=None, network=None, **config):
    network = network or Network()
    return Announcer(
        table=Table(kv or MemoryKv(), "announce"),
        provide=network.provide,
        withdraw=network.withdrawn.append,
        holdings=holdings or Holdings(),
        clock=TrioClock(),
        rng=Random(1),
        config=AnnounceConfig(**config),
    ), network


async def test_what_was_only_played_is_never_announced(autojump_clock, nursery):
    announcer, network = make()
    await nursery.start(announcer.run)
    with pytest.raises(NotPermittedError, match="neither published nor pledged"):
        await announcer.announce([PUBLISHED, PLAYED])
    await trio.sleep(24 * HOUR_S)
    assert network.announced == []
    assert not announcer.is_announced(PUBLISHED)


async def test_roots_are_announced_at_once_and_then_every_half_validity(autojump_clock, nursery):
    announcer, network = make()
    await nursery.start(announcer.run)
    start = trio.current_time()
    await announcer.announce([PUBLISHED, PLEDGED])
    await trio.sleep(48 * HOUR_S)
    for root in (PUBLISHED, PLEDGED):
        times = [at - start for at, what in network.announced if what == root]
        assert times[0] < 120
        assert 4 <= len(times) <= 6
        assert max(b - a for a, b in itertools.pairwise(times)) <= 12 * HOUR_S + 120
    assert announcer.health().state is AnnounceState.OK


async def test_what_is_no_longer_held_leaves_the_schedule_by_itself(autojump_clock, nursery):
    holdings = Holdings()
    announcer, network = make(holdings=holdings)
    await nursery.start(announcer.run)
    await announcer.announce([PLEDGED])
    await trio.sleep(60)
    del holdings.roots[PLEDGED]
    await trio.sleep(13 * HOUR_S)
    assert not announcer.is_announced(PLEDGED)
    assert len(network.announced) == 1
    assert network.withdrawn == [PLEDGED]


async def test_the_alarm_rings_long_before_the_first_root_expires(autojump_clock, nursery):
    announcer, network = make()
    await nursery.start(announcer.run)
    await announcer.announce([PUBLISHED])
    await trio.sleep(300)
    network.peers = 0
    await trio.sleep(12 * HOUR_S)
    assert announcer.health().state is AnnounceState.OK
    await trio.sleep(2 * HOUR_S)
    behind = announcer.health()
    assert behind.state is AnnounceState.BEHIND
    assert "falling behind by" in behind.message
    assert HOUR_S < behind.behind_s < 3 * HOUR_S
    await trio.sleep(11 * HOUR_S)
    expired = announcer.health()
    assert (expired.state, expired.expired) == (AnnounceState.EXPIRED, 1)
    network.peers = 2
    await trio.sleep(2 * HOUR_S)
    assert announcer.health().state is AnnounceState.OK


async def test_the_schedule_survives_a_restart(autojump_clock):
    kv, network = MemoryKv(), Network()
    first, _ = make(kv, network=network)
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await first.announce([PUBLISHED])
        await trio.sleep(HOUR_S)
        nursery.cancel_scope.cancel()
    second, _ = make(kv, network=network)
    async with trio.open_nursery() as nursery:
        await nursery.start(second.run)
        await trio.sleep(HOUR_S)
        assert len(network.announced) == 1
        await trio.sleep(12 * HOUR_S)
        assert len(network.announced) == 2
        nursery.cancel_scope.cancel()


async def test_a_failure_is_retried_with_growing_pauses(autojump_clock, nursery):
    network = Network()
    tries: list[float] = []

    async def provide(root) -> int:
        tries.append(trio.current_time())
        return 0

    network.provide = provide
    announcer, _ = make(network=network)
    await nursery.start(announcer.run)
    await announcer.announce([PUBLISHED])
    await trio.sleep(6 * HOUR_S)
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert 30 <= gaps[0] <= 180
    assert gaps[-1] > 10 * gaps[0]
    assert max(gaps) <= HOUR_S + 120


async def test_forgotten_roots_are_announced_no_more(autojump_clock, nursery):
    announcer, network = make()
    await nursery.start(announcer.run)
    await announcer.announce([PUBLISHED])
    await trio.sleep(100)
    await announcer.forget([PUBLISHED])
    await trio.sleep(48 * HOUR_S)
    assert len(network.announced) == 1
    assert announcer.health().roots == 0


async def test_a_damaged_entry_is_dropped():
    kv = MemoryKv()
    table = Table(kv, "announce")
    await table.put(b"not a cid", b"x")
    await table.put(PUBLISHED, b"not an entry")
    announcer, _ = make(kv)
    await announcer.load()
    assert announcer.health().roots == 0
    assert await table.scan() == []
