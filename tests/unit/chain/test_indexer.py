"""The indexer follows a chain through growth, re-organisations, gaps, refusals and lies."""

from __future__ import annotations

from random import Random

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain import indexer as indexer_module
from chain.errors import RpcError
from chain.events import EventDecoder
from chain.index.governance import HANDLERS
from chain.index.source import InconsistentChainError
from chain.index.store import IndexStore
from chain.indexer import WINDOW_BLOCKS, Indexer, IndexerConfig
from marina.errors import NetworkError
from marina.ids import Account
from storage.errors import DiskFullError
from storage.kv import LevelKv, MemoryKv
from tests.support.memory_chain import MemoryChain

PLACES = {"MarinaToken": Account(b"\xa1" * 20), "MarinaGovernor": Account(b"\xa2" * 20)}
WANTED = frozenset(HANDLERS)


def changes_of(event, time_s):
    return HANDLERS[event.contract, event.name](event, time_s)


def make(chain, kv=None, **config):
    return Indexer(
        rpc=chain,
        store=IndexStore(kv or MemoryKv(), name="chain"),
        decoder=EventDecoder(PLACES),
        changes_of=changes_of,
        wanted=WANTED,
        rng=Random(1),
        config=IndexerConfig(**config),
    )


def proposal(number):
    return (
        "MarinaGovernor",
        "ProposalCreated",
        {
            "proposalId": number,
            "proposer": bytes([number]) * 20,
            "targets": [b"\x01" * 20],
            "values": [number],
            "signatures": ["0x" + "ab" * 20],
            "calldatas": [b"\x01\x02"],
            "voteStart": 10,
            "voteEnd": 20,
            "description": f"proposal {number}",
        },
    )


def vote(number, voter, weight):
    return (
        "MarinaGovernor",
        "VoteCast",
        {
            "voter": bytes([voter]) * 20,
            "proposalId": number,
            "support": voter % 3,
            "weight": weight,
            "reason": "why",
        },
    )


def power(voter, votes):
    return (
        "MarinaToken",
        "DelegateVotesChanged",
        {"delegate": bytes([voter]) * 20, "previousVotes": 0, "newVotes": votes},
    )


def some_events(rng):
    """Return a few events whose effects depend on those before them."""
    kinds = [
        lambda: proposal(rng.randrange(1, 4)),
        lambda: vote(rng.randrange(1, 4), rng.randrange(1, 6), rng.randrange(2**100)),
        lambda: power(rng.randrange(1, 6), rng.randrange(2**100)),
        lambda: ("MarinaGovernor", "ProposalExecuted", {"proposalId": rng.randrange(1, 4)}),
        lambda: ("MarinaToken", "Transfer", {"from": bytes(20), "to": b"\x05" * 20, "value": 1}),
    ]
    return [rng.choice(kinds)() for _ in range(rng.choice((0, 0, 1, 3)))]


async def rows(index):
    """Return every row of an index."""
    return await index._store.scan(b"", limit=100_000)


async def fresh_rows(chain):
    index = make(chain)
    await index.catch_up()
    return await rows(index)


def grow(chain, rng, blocks):
    for _ in range(blocks):
        chain.mine(some_events(rng))


async def test_an_index_holds_what_the_chain_said():
    chain = MemoryChain(PLACES)
    chain.mine([proposal(1)])
    chain.mine([vote(1, 1, 5), vote(1, 2, 7), power(3, 11)])
    index = make(chain)
    await index.catch_up()
    assert index.state.block == index.state.head == 2
    keys = [key.split(b"\x00")[0] for key, _ in await rows(index)]
    assert keys == [b"proposal", b"proposal-at", b"vote", b"vote", b"vote-by", b"vote-by", b"voting-power"]


@pytest.mark.parametrize("depth", [1, 2, 16, 63, 64, 127])
async def test_after_a_reorganisation_the_index_is_that_of_the_new_chain(depth):
    rng = Random(depth)
    chain = MemoryChain(PLACES)
    grow(chain, rng, 200)
    index = make(chain)
    await index.catch_up()
    chain.drop(depth)
    grow(chain, rng, depth + rng.randrange(1, 5))
    await index.catch_up()
    assert index.state.block == chain.head
    assert await rows(index) == await fresh_rows(chain)


async def test_a_reorganisation_deeper_than_the_window_is_indexed_from_the_start():
    rng = Random(3)
    chain = MemoryChain(PLACES)
    grow(chain, rng, 300)
    index = make(chain)
    await index.catch_up()
    chain.drop(WINDOW_BLOCKS + 40)
    grow(chain, rng, 200)
    await index.catch_up()
    assert await rows(index) == await fresh_rows(chain)


async def test_a_shorter_fork_is_noticed():
    rng = Random(4)
    chain = MemoryChain(PLACES)
    grow(chain, rng, 60)
    index = make(chain)
    await index.catch_up()
    chain.drop(10)
    grow(chain, rng, 3)
    await index.catch_up()
    assert index.state.block == chain.head
    assert await rows(index) == await fresh_rows(chain)


async def test_an_endpoint_that_is_behind_takes_nothing_back():
    rng = Random(5)
    chain = MemoryChain(PLACES)
    grow(chain, rng, 300)
    index = make(chain)
    await index.catch_up()
    before = await rows(index)
    ahead = chain.blocks
    for behind in (299, 250, 50):
        chain.blocks = ahead[: behind + 1]
        await index.catch_up()
        assert await rows(index) == before
        assert index.state.block == 300
    chain.blocks = ahead
    chain.mine(some_events(rng))
    await index.catch_up()
    assert await rows(index) == await fresh_rows(chain)


@pytest.mark.parametrize(("old", "new"), [(40, 5), (300, 5), (40, 300)])
async def test_a_chain_that_was_made_anew_is_indexed_anew(old, new):
    rng = Random(6)
    chain = MemoryChain(PLACES)
    grow(chain, rng, old)
    kv = MemoryKv()
    index = make(chain, kv)
    await index.catch_up()
    chain.blocks = []
    chain.__post_init__()
    chain.blocks[0].hash = b"\x77" * 32
    grow(chain, rng, new)
    await index.catch_up()
    assert await rows(index) == await fresh_rows(chain)
    calls = dict(chain.calls)
    again = make(chain, kv)
    await again.catch_up()
    assert chain.calls["eth_getLogs"] == calls["eth_getLogs"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.tuples(st.integers(0, 64), st.integers(0, 90), st.booleans()), min_size=1, max_size=8),
)
async def test_any_sequence_of_growth_and_reorganisation_ends_in_a_fresh_index(seed, steps):
    rng = Random(seed)
    chain = MemoryChain(PLACES)
    kv = MemoryKv()
    index = make(chain, kv)
    for depth, more, is_restarted in steps:
        is_dropping = 0 < depth < len(chain.blocks)
        if is_dropping:
            chain.drop(depth)
        grow(chain, rng, max(more, is_dropping))
        if is_restarted:
            index = make(chain, kv)
        await index.catch_up()
    if chain.head < index.state.block:
        grow(chain, rng, index.state.block - chain.head + 1)
        await index.catch_up()
    assert await rows(index) == await fresh_rows(chain)


async def test_a_restarted_index_reads_on_from_its_cursor(tmp_path):
    rng = Random(7)
    chain = MemoryChain(PLACES)
    grow(chain, rng, 150)
    kv = LevelKv(tmp_path / "state")
    await make(chain, kv).catch_up()
    await kv.close()
    chain.drop(5)
    grow(chain, rng, 10)
    kv = LevelKv(tmp_path / "state")
    chain.calls.clear()
    index = make(chain, kv)
    await index.catch_up()
    assert await rows(index) == await fresh_rows(chain)
    await kv.close()


async def test_few_rows_are_kept_for_taking_back():
    rng = Random(8)
    chain = MemoryChain(PLACES)
    index = make(chain)
    for _ in range(6):
        grow(chain, rng, 100)
        await index.catch_up()
    assert len(await index._store.kept()) <= WINDOW_BLOCKS + 1
    undo = await index._store._table.scan(b"u", limit=10_000)
    assert 0 < len(undo) <= WINDOW_BLOCKS + 1


async def test_a_range_with_too_many_logs_is_halved_and_grows_again():
    rng = Random(9)
    chain = MemoryChain(PLACES, logs_limit=50)
    grow(chain, rng, 1500)
    index = make(chain)
    await index.catch_up()
    chain.logs_limit = None
    assert await rows(index) == await fresh_rows(chain)


async def test_after_an_answer_with_many_logs_the_next_range_is_shorter(monkeypatch):
    rng = Random(10)
    chain = MemoryChain(PLACES)
    grow(chain, rng, 800)
    known = await fresh_rows(chain)
    asked = []
    for limit in (5000, 40):
        monkeypatch.setattr(indexer_module, "LOGS_MAX", limit)
        chain.calls.clear()
        index = make(chain, chunk_blocks=200)
        await index.catch_up()
        assert await rows(index) == known
        asked.append(chain.calls["eth_getLogs"])
    assert asked[1] > asked[0] + 3


@pytest.mark.parametrize("part", [1, 2, 7, 100])
async def test_parts_of_an_answer_end_where_blocks_end(part, monkeypatch):
    rng = Random(13)
    chain = MemoryChain(PLACES)
    grow(chain, rng, 300)
    known = await fresh_rows(chain)
    monkeypatch.setattr(indexer_module, "_PART_LOGS", part)
    assert await fresh_rows(chain) == known


async def test_one_block_with_more_than_the_endpoint_gives_is_an_error():
    chain = MemoryChain(PLACES, logs_limit=1)
    chain.mine([power(1, 1), power(2, 2)])
    grow(chain, Random(11), WINDOW_BLOCKS + 5)
    with pytest.raises(RpcError, match="more than 1 results"):
        await make(chain).catch_up()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"blockHash": "0x" + "66" * 32}, "not of the block"),
        ({"address": "0x" + "66" * 20}, "not of the block"),
        ({"blockNumber": "0x5000"}, "other blocks"),
        ({"blockNumber": "5"}, "damaged log"),
        ({"logIndex": "0x-1"}, "damaged log"),
        ({"data": "0x00"}, "damaged log"),
        ({"data": None}, "damaged log"),
        ({"topics": ["0x12"]}, "damaged log"),
        ({"topics": [None] * 5}, "damaged log"),
        ({"removed": True}, "damaged log"),
        ({"logIndex": "0x0"}, "two logs for one place"),
    ],
)
@pytest.mark.parametrize("blocks_behind", [0, WINDOW_BLOCKS + 50])
async def test_a_lying_endpoint_is_refused_and_nothing_of_it_kept(change, reason, blocks_behind):
    chain = MemoryChain(PLACES)
    chain.mine([power(1, 1), power(2, 2)])
    for _ in range(blocks_behind):
        chain.mine()
    chain.tamper = lambda log: {**log, **change}
    index = make(chain)
    with pytest.raises(InconsistentChainError, match=reason) as caught:
        await index.catch_up()
    assert "\n" not in str(caught.value)
    assert await rows(index) == []
    chain.tamper = None
    await index.catch_up()
    assert len(await rows(index)) == 2


async def test_headers_that_do_not_follow_one_another_are_refused():
    chain = MemoryChain(PLACES)
    grow(chain, Random(12), 10)
    chain.blocks[6].parent = b"\x66" * 32
    with pytest.raises(InconsistentChainError, match="does not follow"):
        await make(chain).catch_up()


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"number": "0x1"}, {"number": 1, "hash": "0x"}])
async def test_any_answer_for_a_block_gives_a_declared_error(answer, monkeypatch):
    chain = MemoryChain(PLACES)
    monkeypatch.setattr(chain, "_block", lambda tag: answer)
    with pytest.raises(InconsistentChainError):
        await make(chain).catch_up()


@pytest.mark.parametrize("answer", [None, {}, "x", [None], [5], [{}]])
async def test_any_answer_for_logs_gives_a_declared_error(answer, monkeypatch):
    chain = MemoryChain(PLACES)
    chain.mine()
    monkeypatch.setattr(chain, "_logs", lambda asked: answer)
    with pytest.raises(InconsistentChainError):
        await make(chain).catch_up()


async def test_text_that_is_no_utf8_does_not_stop_the_index():
    chain = MemoryChain(PLACES)
    chain.mine([proposal(1), vote(1, 1, 1)])
    address, topics, data = chain.blocks[1].logs[1]
    chain.blocks[1].logs[1] = (address, topics, data.replace(b"why", b"\xff\xfe\xfd"))
    index = make(chain)
    await index.catch_up()
    assert index.state.block == 1


async def test_a_huge_proposal_is_kept_in_part():
    chain = MemoryChain(PLACES)
    contract, name, values = proposal(1)
    values |= {"description": "ä" * 100_000, "targets": [b"\x01" * 20] * 100, "values": [0] * 100}
    values |= {"calldatas": [b"x" * 1000] * 100}
    chain.mine([(contract, name, values)])
    index = make(chain)
    await index.catch_up()
    assert len(await rows(index)) == 2


async def test_a_crash_while_starting_over_is_finished_by_the_next_start():
    chain = MemoryChain(PLACES)
    chain.mine([power(1, 1)])
    kv = MemoryKv()
    await make(chain, kv).catch_up()
    await kv.write([(b"chain\x00c", None)])  # where wipe begins
    chain.blocks[1:] = []
    chain.mine([power(2, 1)])
    index = make(chain, kv)
    await index.catch_up()
    assert await rows(index) == await fresh_rows(chain)


async def test_a_service_follows_and_whoever_wrote_reads_it(autojump_clock):
    chain = MemoryChain(PLACES)
    index = make(chain, poll_s=1000)
    async with trio.open_nursery() as nursery:
        await nursery.start(index.run)
        await index.reached(0)
        chain.mine([power(1, 1)])
        started = trio.current_time()
        await index.reached(1)
        assert trio.current_time() - started < 1
        assert len(await rows(index)) == 1
        assert index.confirmations(1) == 1
        chain.mine()
        await index.reached(2)
        assert (index.confirmations(1), index.confirmations(3)) == (2, 0)
        nursery.cancel_scope.cancel()


async def test_waiting_for_a_block_that_never_comes_ends(autojump_clock):
    chain = MemoryChain(PLACES)
    index = make(chain)
    async with trio.open_nursery() as nursery:
        await nursery.start(index.run)
        with pytest.raises(NetworkError, match="block 5 was not indexed within 10 s"):
            await index.reached(5, timeout_s=10)
        nursery.cancel_scope.cancel()


async def test_a_service_survives_what_fails_and_says_so(autojump_clock, monkeypatch):
    chain = MemoryChain(PLACES)
    kv = MemoryKv()
    index = make(chain, kv)
    broken = None
    real_call, real_write = chain.call, kv.write

    async def call(method, params):
        if broken == "rpc":
            raise NetworkError("nobody answers")
        return await real_call(method, params)

    async def write(batch):
        if broken == "disk":
            raise DiskFullError("the disk is full")
        await real_write(batch)

    monkeypatch.setattr(chain, "call", call)
    monkeypatch.setattr(kv, "write", write)
    async with trio.open_nursery() as nursery:
        await nursery.start(index.run)
        for part, words in (("rpc", "nobody answers"), ("disk", "the disk is full")):
            broken = part
            chain.mine([power(1, 1)])
            await trio.sleep(2000)
            assert index.state.error == words
            broken = None
            await index.reached(chain.head, timeout_s=100)
            assert index.state.error is None
        nursery.cancel_scope.cancel()
    assert await rows(index) == await fresh_rows(chain)
