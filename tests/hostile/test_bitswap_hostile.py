"""Peers that abuse bitswap (threat T6): nothing is stored unasked, nobody waits, memory stays bounded."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import trio

from marina.cid import cid_of
from marina.protowire import varint
from p2p.bitswap import exchange, session
from p2p.bitswap.messages import MESSAGE_BYTES_MAX, PROTOCOL, Presence, Want
from p2p.errors import P2PError
from tests.support.swapping import Rogue, Swapper, message, swapping

UNASKED = 10_000
MIB = 1024 * 1024


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stalled peers are given up ten times as early."""
    monkeypatch.setattr(session, "STALL_S", 0.5)


async def test_t6_of_ten_thousand_unsolicited_blocks_none_is_kept() -> None:
    victim, pusher = Swapper("victim"), Rogue("pusher")
    async with swapping(victim, others=[pusher.host]):
        blocks = [(bytes(cid_of(data)), data) for data in (os.urandom(64) for _ in range(UNASKED))]
        frames = [message(blocks=blocks[at : at + 500]) for at in range(0, UNASKED, 500)]
        stream = await pusher.say(victim.host.peer_id, *frames)
        with trio.fail_after(30):
            while victim.client.unwanted < UNASKED:
                await trio.sleep(0.01)
        assert (await victim.store.stat()).blocks == 0
        await stream.close()


async def test_t6_large_messages_of_a_peer_that_was_asked_nothing_are_not_even_held() -> None:
    victim, pusher = Swapper("victim"), Rogue("pusher")
    async with swapping(victim, others=[pusher.host]):
        data = os.urandom(2 * MIB)
        frame = message(blocks=[(bytes(cid_of(data)), data)])
        gc.collect()
        before = rss_bytes()
        stream = await pusher.say(victim.host.peer_id, *[frame] * 20)
        await stream.close()
        await trio.sleep(0.3)
        assert victim.client.unwanted == 0
        assert rss_bytes() - before < 24 * MIB


async def test_t6_a_million_wants_leave_1024_and_honest_peers_are_served() -> None:
    victim, greedy, honest = Swapper("victim"), Rogue("greedy"), Swapper("honest")
    async with swapping(victim, honest, others=[greedy.host]):
        blocks = await victim.fill(20)
        gc.collect()
        before = rss_bytes()

        async def demand() -> None:
            stream = await greedy.host.open_stream(victim.host.peer_id, PROTOCOL)
            for batch in range(100):
                wants = [
                    Want(bytes(cid_of((batch * 10_000 + number).to_bytes(4)))) for number in range(10_000)
                ]
                frame = message(wants=wants)
                await stream.write(varint(len(frame)), frame)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(demand)
            await trio.sleep(1.0)
            for _ in range(5):
                with trio.fail_after(3):
                    assert (await honest.fetch(list(blocks), victim))[0] == blocks
            nursery.cancel_scope.cancel()
        assert len(victim.server._peers[greedy.host.peer_id].wants) <= 1024
        assert rss_bytes() - before < 64 * MIB


@pytest.mark.parametrize(
    "bad",
    [
        varint(MESSAGE_BYTES_MAX + 1),
        b"\xff\xff\xff\xff\xff",
        varint(3) + b"\xff\xff\xff",
        varint(4) + b"\x0a\x7f\x00\x00",
    ],
    ids=["larger than allowed", "endless length", "no message", "cut inside"],
)
async def test_t2_what_is_no_message_counts_against_its_sender_and_ends_the_stream(bad: bytes) -> None:
    victim, rude = Swapper("victim"), Rogue("rude")
    async with swapping(victim, others=[rude.host]):
        for _ in range(20):
            try:
                stream = await rude.host.open_stream(victim.host.peer_id, PROTOCOL)
                await stream.write(bad)
                with trio.move_on_after(1):
                    await stream.read_some(1)
                await stream.reset()
            except P2PError:
                await trio.lowlevel.checkpoint()
            if victim.host.is_banned(rude.host.peer_id):
                return
        raise AssertionError("twenty broken messages, and no ban")


async def test_wrong_bytes_for_a_wanted_block_are_dropped_and_another_peer_serves(hurry: None) -> None:
    victim, honest, liar = Swapper("victim"), Swapper("honest"), Rogue("liar")
    async with swapping(victim, honest, others=[liar.host]):
        blocks = await honest.fill(5)
        lies = [(bytes(cid), bytes(len(data))) for cid, data in blocks.items()]

        async def lie() -> None:
            await liar.wanted()
            await (await liar.say(victim.host.peer_id, message(blocks=lies))).close()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lie)
                found, missing = await victim.fetch(list(blocks), liar.host, honest)
        assert found == blocks
        assert not missing
        assert victim.client.unwanted == 5


@pytest.mark.parametrize("manner", ["has it and never sends", "a byte a second", "closes inside a block"])
async def test_a_peer_that_promises_and_does_not_deliver_costs_seconds_not_the_fetch(
    manner: str, hurry: None
) -> None:
    victim, honest, rogue = Swapper("victim"), Swapper("honest"), Rogue("rogue")
    async with swapping(victim, honest, others=[rogue.host]):
        blocks = await honest.fill(8, 5000)

        async def misbehave() -> None:
            wanted = await rogue.wanted()
            if manner == "has it and never sends":
                frame = message(presences=[Presence(bytes(cid), True) for cid in wanted])
                await (await rogue.say(victim.host.peer_id, frame)).close()
                return
            data = blocks[wanted[0]]
            frame = message(blocks=[(bytes(wanted[0]), data)])
            stream = await rogue.host.open_stream(victim.host.peer_id, PROTOCOL)
            await stream.write(varint(len(frame)))
            for at in range(5):
                await stream.write(frame[at : at + 1])
                if manner == "closes inside a block":
                    await stream.close()
                    return
                await trio.sleep(1)

        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(misbehave)
                found, missing = await victim.fetch(list(blocks), rogue.host, honest)
                nursery.cancel_scope.cancel()
        assert found == blocks
        assert not missing


async def test_when_every_peer_stalls_the_fetch_ends_and_says_what_is_missing(hurry: None) -> None:
    victim, one, two = Swapper("victim"), Rogue("one"), Rogue("two")
    async with swapping(victim, others=[one.host, two.host]):
        cids = [cid_of(os.urandom(8)) for _ in range(100)]
        with trio.fail_after(20):
            found, missing = await victim.fetch(cids, one.host, two.host)
        assert not found
        assert sorted(missing) == sorted(cids)


def test_the_limits_are_those_that_the_documents_name() -> None:
    assert exchange.STREAMS_PER_PEER_MAX == 8
    assert exchange.UNASKED_BYTES_MAX == 512 * 1024
