"""The index of a real EVM's events: equal to what the contracts say, through re-organisations."""

from __future__ import annotations

import logging
from random import Random

import pytest
import trio

from chain.artifacts import encode_call
from chain.index.handlers import make_indexer, open_index
from chain.index.registry import splits_hash
from chain.index.rows import amount
from chain.indexer import IndexerConfig
from chain.profiles import PROFILES
from chain.rpc import RpcPool
from chain.tables import ChainTables
from marina.clock import SystemClock
from marina.ids import Account, derive_track_id
from storage.kv import LevelKv, MemoryKv
from tests.support.anvil import anvil

COIN = bytes(20)
DEPTHS = (1, 2, 5, 17, 40, 64)


class Market:
    """Artists and listeners who do things at random; what cannot be done fails on the chain."""

    def __init__(self, node, rng):
        self.node = node
        self.rng = rng
        self.people = node.accounts
        self.tracks = {}
        self.terms = {}
        self.editions = 0
        self.salt = 0

    def splits(self):
        chosen = sorted(self.rng.sample([bytes(each) for each in self.people], 2))
        first = self.rng.randrange(1, 10_000)
        return [(chosen[0], first), (chosen[1], 10_000 - first)]

    def register(self):
        artist = self.rng.choice(self.people)
        self.salt += 1
        salt = self.salt.to_bytes(32)
        number = derive_track_id(artist, salt)
        splits = self.splits()
        if self.node.invoke(
            artist, "TrackRegistry", "register", (salt, b"\x07" * 32, bytes(32), 500, splits)
        ):
            self.tracks[number] = (artist, splits)
            price = self.rng.randrange(1, 10**15)
            period_s = self.rng.choice((0, 60, 86_400))
            assert self.node.invoke(artist, "MusicLicensing", "addTerm", number, price, period_s, 0, 1)
            self.terms[number] = price

    def act(self):
        """Do one thing."""
        if not self.tracks or self.rng.random() < 0.1:
            self.register()
            return
        number = self.rng.choice(list(self.tracks))
        artist, splits = self.tracks[number]
        someone, other = self.rng.choice(self.people), bytes(self.rng.choice(self.people))
        price = self.terms[number]
        kind = self.rng.randrange(9)
        if kind <= 2:
            self.node.invoke(someone, "MusicLicensing", "purchase", number, 0, 1, other, price, value=price)
        elif kind == 3:
            self.node.invoke(someone, "MusicLicensing", "tip", number, 0, 77, value=77)
        elif kind == 4:
            self.node.invoke(someone, "MusicLicensing", "settle", number, splits, COIN)
            self.node.invoke(someone, "MusicLicensing", "withdraw", bytes(artist), COIN)
        elif kind == 5:
            new = self.splits()
            if self.node.invoke(artist, "TrackRegistry", "setSplits", number, new):
                self.tracks[number] = (artist, new)
        elif kind == 6:
            if self.node.invoke(artist, "TrackEditions", "createEdition", number, 50, 9, 0):
                self.editions += 1
        elif kind == 7 and self.editions:
            edition = self.rng.randrange(1, self.editions + 1)
            self.node.invoke(someone, "TrackEditions", "buy", edition, 2, other, 18, value=18)
        else:
            token = int.from_bytes(number)
            if self.node.invoke(artist, "TrackRegistry", "transferFrom", bytes(artist), other, token):
                self.tracks[number] = (Account(other), splits)


def pool(node):
    return RpcPool(endpoints=[node.url], profile=PROFILES["dev"], clock=SystemClock(), rng=Random(1))


class Index:
    """An index of a node, in a store of its own."""

    def __init__(self, node, rpc, kv=None):
        self.store = open_index(kv or MemoryKv(), chain_id=31337, contracts=node.contracts)
        config = IndexerConfig(poll_s=0.1)
        self.indexer = make_indexer(rpc, node.contracts, self.store, rng=Random(1), config=config)
        self.tables = ChainTables(self.store)

    async def rows(self):
        await self.indexer.catch_up()
        return await self.store.scan(b"", limit=1_000_000)


@pytest.fixture(scope="module")
def node():
    with anvil() as running:
        yield running


async def compare_with_contracts(node, market, tables):
    """Compare every row that a contract has a view for."""
    for number, (owner, splits) in market.tracks.items():
        row = await tables.registration(number)
        said = node.read("TrackRegistry", "record", number)
        assert Account(bytes.fromhex(said[0][2:])) == row.owner == owner
        assert said[1:8] == (
            row.content_digest,
            row.splits_hash,
            row.release_id,
            row.royalty_bps,
            row.version,
            row.is_active,
            row.is_blocked,
        )
        assert said[8] == row.registered_s
        assert row.splits_hash == splits_hash(splits)
        for accrual in await tables.accruals(number):
            said = node.read("MusicLicensing", "accrual", number, accrual.splits_hash, COIN)
            (coin,) = accrual.parts
            assert said == (amount(coin.waiting_gross), amount(coin.waiting_fee))
        for licence in (await tables.licences_for(number, limit=200)).rows:
            (end_s,) = node.read("MusicLicensing", "expiresAt", licence.licence_id)
            assert end_s == licence.expires_at_s
    for person in node.accounts:
        owed = {each.token: amount(each.owed) for each in await tables.owed(person)}
        assert node.read("MusicLicensing", "owed", bytes(person), COIN) == (owed.get(COIN, 0),)
        for held in (await tables.editions_held(person)).rows:
            edition = int.from_bytes(held.edition_id)
            assert node.read("TrackEditions", "balanceOf", bytes(person), edition) == (amount(held.count),)
    for edition in range(1, market.editions + 1):
        row = await tables.edition(edition)
        (said,) = node.read("TrackEditions", "edition", edition)
        assert row.minted in said
        assert row.cap in said


async def test_the_index_says_what_the_contracts_say(node):
    market = Market(node, Random(1))
    for _ in range(80):
        market.act()
    rpc = pool(node)
    index = Index(node, rpc)
    assert len(await index.rows()) > 100
    await compare_with_contracts(node, market, index.tables)
    assert await index.tables.fee_bps() == node.read("MusicLicensing", "feeBps")[0]
    assert (await index.tables.voting_power(node.accounts[0])) is None
    await rpc.aclose()


async def test_after_reorganisations_of_any_depth_the_index_is_that_of_the_chain(node, tmp_path, caplog):
    await reorganise(node, tmp_path, DEPTHS, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 65, 8))
async def test_after_reorganisations_of_every_depth_the_index_is_that_of_the_chain(first, tmp_path, caplog):
    with anvil() as fresh:  # anvil itself loses the state of old blocks after some 700 of them
        await reorganise(fresh, tmp_path, range(first, first + 8), caplog)


async def reorganise(node, tmp_path, depths, caplog):
    """Replace the last blocks, by anvil's own re-organisation and by going back to a snapshot, in turn."""
    caplog.set_level(logging.INFO)
    rng = Random(2)
    market = Market(node, rng)
    rpc = pool(node)
    kv = LevelKv(tmp_path / "state")
    index = Index(node, rpc, kv)
    changed = 0
    for turn, depth in enumerate(depths):
        snapshot, known = node.rpc("evm_snapshot"), dict(market.tracks)
        editions = market.editions
        start = node.head
        for _ in range(depth):
            if node.head - start < depth:
                market.act()
        node.rpc("anvil_mine", hex(max(0, depth - (node.head - start))))
        depth_now = node.head - start
        before = await index.rows()
        old_hash = node.rpc("eth_getBlockByNumber", hex(start + 1), False)["hash"]
        if turn % 2:
            assert node.rpc("evm_revert", snapshot)
            market.tracks, market.editions = known, editions
            node.rpc("evm_increaseTime", 5)  # else the same transactions would make the same blocks
            while node.head <= start + depth_now:
                market.act()
        else:
            node.rpc("anvil_reorg", depth_now, [])
            market.tracks, market.editions = known, editions
            market.act()
        assert node.rpc("eth_getBlockByNumber", hex(start + 1), False)["hash"] != old_hash
        after = await index.rows()
        changed += after != before
        assert after == await Index(node, rpc).rows(), f"depth {depth_now}"
    assert changed == len(depths)
    said = [record.getMessage() for record in caplog.records]
    assert said.count("the chain was re-organised") == len(depths)
    assert not any("made anew" in each for each in said), "every block was taken back one by one"
    await compare_with_contracts_known(node, market, index.tables)
    await kv.close()
    await rpc.aclose()


async def compare_with_contracts_known(node, market, tables):
    for number in market.tracks:
        row = await tables.registration(number)
        assert row is not None
        assert node.read("TrackRegistry", "splitsHashOf", number) == (row.splits_hash,)


async def test_whoever_sent_a_transaction_reads_it_at_once(node):
    rpc = pool(node)
    index = Index(node, rpc)
    artist = node.accounts[3]
    data = encode_call(
        "TrackRegistry", "register", (b"\x99" * 32, b"\x07" * 32, bytes(32), 0, [(bytes(artist), 10_000)])
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(index.indexer.run)
        receipt = node.send(artist, node.contracts.registry, data)
        assert receipt["status"] == "0x1"
        block = int(receipt["blockNumber"], 16)
        await index.indexer.reached(block, timeout_s=20)
        row = await index.tables.registration(derive_track_id(artist, b"\x99" * 32))
        assert row.block == block
        assert index.indexer.confirmations(row.block) == 1
        nursery.cancel_scope.cancel()
    await rpc.aclose()
