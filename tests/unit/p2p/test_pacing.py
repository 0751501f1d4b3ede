"""Byte caps: the rate holds and peers share it equally."""

import trio
import trio.testing

from marina.ids import PeerId
from p2p.chunk.pacing import PIECE_BYTES, Pacer


class TrioClock:
    def now_s(self) -> int:
        return int(trio.current_time())

    def monotonic_s(self) -> float:
        return trio.current_time()


async def test_the_cap_holds_over_time(autojump_clock: object) -> None:
    pacer = Pacer(clock=TrioClock(), bytes_per_s=100_000, burst_s=0.1)
    started = trio.current_time()
    for _ in range(50):
        await pacer.pass_bytes(PeerId("a"), 20_000)
    elapsed_s = trio.current_time() - started
    assert 9.0 <= elapsed_s <= 10.1


async def test_peers_share_equally_however_many_streams_they_use(autojump_clock: object) -> None:
    pacer = Pacer(clock=TrioClock(), bytes_per_s=10 * PIECE_BYTES, burst_s=0.1)
    passed = {"greedy": 0, "modest": 0}

    async def move(name: str) -> None:
        while True:
            await pacer.pass_bytes(PeerId(name), PIECE_BYTES)
            passed[name] += 1

    with trio.move_on_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(move, "greedy")
            nursery.start_soon(move, "modest")
    assert abs(passed["greedy"] - passed["modest"]) <= 4
    assert 190 <= sum(passed.values()) <= 210


async def test_without_a_cap_nothing_waits(autojump_clock: object) -> None:
    pacer = Pacer(clock=TrioClock(), bytes_per_s=None, burst_s=1)
    started = trio.current_time()
    await pacer.pass_bytes(PeerId("a"), 10**12)
    assert trio.current_time() == started
    assert pacer.backlog_s() == 0
    assert not pacer.is_capped


async def test_the_backlog_tells_how_long_a_newcomer_waits(autojump_clock: object) -> None:
    pacer = Pacer(clock=TrioClock(), bytes_per_s=PIECE_BYTES, burst_s=1)
    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(pacer.pass_bytes, PeerId(str(number)), PIECE_BYTES)
        await trio.testing.wait_all_tasks_blocked()
        assert 4.0 <= pacer.backlog_s() <= 5.1
