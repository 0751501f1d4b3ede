"""The chain client against the real development chain: contracts through web3, payments, and its crashes."""

from __future__ import annotations

import subprocess
import sys
from contextlib import aclosing, asynccontextmanager
from random import Random

import pytest
import trio

from chain.amount import Amount
from chain.artifacts import encode_call
from chain.contracts import ContractSet
from chain.dev.genesis import TREASURER_KEY, dev_contracts
from chain.draft import Draft
from chain.errors import ChainUnavailableError, InsufficientFundsError, RevertedError, WrongChainError
from chain.gateway import Gateway
from chain.journal import State
from chain.profiles import PROFILES
from chain.provider import make_web3
from chain.reader import ContractReader
from chain.rpc import RpcPool
from chain.spending import Limits
from marina.clock import SystemClock
from marina.ids import Account, account_text, derive_track_id
from storage.kv import MemoryKv
from tests.support.chains import dev_chain
from tests.support.coin_chain import COIN, KeySigner
from tests.support.senders import ALICE, BOB, DEV, make_sender, payment

HOLDER = KeySigner(TREASURER_KEY)
MUCH = Limits((Amount(100 * COIN, DEV),), (Amount(10_000 * COIN, DEV),))
PRICE = COIN // 4
SALT = b"\x05" * 32


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    with dev_chain(tmp_path_factory.mktemp("chain")) as made:
        for each in (ALICE, BOB):
            made.fund(account_text(each.account))
        yield made


@pytest.fixture
def contracts() -> ContractSet:
    return dev_contracts()


@asynccontextmanager
async def client(chain, kv=None):
    """Follow transactions over the chain while the block runs; yields (sender, pool)."""
    rpc = RpcPool(endpoints=[chain.url], profile=PROFILES["dev"], clock=SystemClock(), rng=Random(1))
    signers = (ALICE, BOB, HOLDER)
    sender = make_sender(rpc, kv or MemoryKv(), clock=SystemClock(), limits=MUCH, signers=signers)
    async with aclosing(rpc), trio.open_nursery() as nursery:
        await nursery.start(sender.run)
        yield sender, rpc
        nursery.cancel_scope.cancel()


def call(to, contract, function, *args, value=0):
    """Return the draft of a contract call."""
    data = encode_call(contract, function, *args)
    return Draft(to, data, value, "test.call", function, f"{function}:{Random().random()}")


async def do(sender, draft, signer):
    sent = await sender.submit(draft, account=signer.account)
    done = await sender.wait(sent.id)
    assert State(done.state) is State.CONFIRMED
    return done


async def test_an_album_is_registered_priced_bought_and_paid_out(chain, contracts):
    track = derive_track_id(ALICE.account, SALT)
    splits = [(bytes(each), 5000) for each in sorted([bytes(ALICE.account), bytes(BOB.account)])]
    order = (track, 0, 1, bytes(BOB.account), PRICE)
    async with client(chain) as (sender, rpc):
        reader = ContractReader(rpc=rpc, contracts=contracts)
        buy = call(contracts.licensing, "MusicLicensing", "purchase", *order, value=PRICE)
        with pytest.raises(RevertedError) as caught:
            await sender.submit(buy, account=BOB.account)
        assert caught.value.name
        assert str(caught.value).startswith("the contract refused: ")
        registration = (SALT, b"\x07" * 32, bytes(32), 500, splits)
        await do(sender, call(contracts.registry, "TrackRegistry", "register", registration), ALICE)
        term = (track, PRICE, 0, 0, 1)
        await do(sender, call(contracts.licensing, "MusicLicensing", "addTerm", *term), ALICE)
        done = await do(sender, buy, BOB)
        assert done.gas_used < 200_000
        assert await reader.read("MusicLicensing", "isLicensed", track, bytes(BOB.account), 1) is True
        again = call(contracts.licensing, "MusicLicensing", "purchase", *order, value=PRICE)
        with pytest.raises(RevertedError, match="the contract refused: "):
            await sender.submit(again, account=BOB.account)
        settle = (track, splits, bytes(20))
        await do(sender, call(contracts.licensing, "MusicLicensing", "settle", *settle), BOB)
        owed = await reader.read("MusicLicensing", "owed", bytes(ALICE.account), bytes(20))
        assert owed == PRICE * 975 // 1000 // 2


async def test_money_moves_and_is_told_exactly(chain):
    shop = Account(Random(1).randbytes(20))
    async with client(chain) as (sender, rpc):
        gateway = Gateway(rpc)
        before = await gateway.balance(ALICE.account)
        done = await do(sender, payment("exact", 12_345, to=shop), ALICE)
        paid = int.from_bytes(done.fee_paid_wei)
        assert await gateway.balance(shop) == 12_345
        assert await gateway.balance(ALICE.account) == before - 12_345 - paid
        with pytest.raises(InsufficientFundsError, match="marina faucet"):
            await sender.simulate(payment("too much", 10**24, to=shop), ALICE.account)


async def test_web3_reads_on_trio_and_asks_once_for_each_read(chain, contracts):
    async with client(chain) as (_, rpc):
        reader = ContractReader(rpc=rpc, contracts=contracts)
        assert await reader.read("MarinaToken", "symbol") == "MMT"
        assert await reader.read("MarinaToken", "totalSupply") == 1_000_000 * COIN
        web3 = make_web3(rpc)
        assert await web3.eth.chain_id == 31337
        block = await web3.eth.get_block("latest")
        assert (await web3.eth.get_block(block["hash"]))["number"] == block["number"]
        asked = []
        call_rpc = rpc.call

        async def counted(method, params):
            asked.append(method)
            return await call_rpc(method, params)

        rpc.call = counted
        await reader.read("MarinaToken", "balanceOf", bytes(HOLDER.account))
        assert asked == ["eth_call"]


async def test_two_senders_with_one_account_pay_each_intent_once(chain):
    shop = Account(Random(2).randbytes(20))
    async with client(chain) as (one, rpc), client(chain) as (two, _):
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(do, one, payment(f"one {number}", 100, to=shop), ALICE)
                nursery.start_soon(do, two, payment(f"two {number}", 1000, to=shop), ALICE)
        assert await Gateway(rpc).balance(shop) == 4400


async def test_a_chain_of_another_id_is_refused(chain):
    rpc = RpcPool(endpoints=[chain.url], profile=PROFILES["ethereum"], clock=SystemClock(), rng=Random(1))
    async with aclosing(rpc):
        with pytest.raises(WrongChainError, match="is of chain 31337, not of 1"):
            await rpc.call("eth_blockNumber", [])


async def test_a_chain_that_is_killed_and_comes_back_is_taken_up_again(chain):
    shop = Account(Random(3).randbytes(20))
    kv = MemoryKv()
    async with client(chain, kv) as (sender, rpc):
        await do(sender, payment("before", 1, to=shop), ALICE)
        await trio.to_thread.run_sync(chain.kill)
        with pytest.raises(ChainUnavailableError):
            await sender.submit(payment("not queued", 10, to=shop), account=ALICE.account)
        draft = payment("queued", 100, to=shop, is_queued=True)
        queued = await sender.submit(draft, account=ALICE.account)
        assert State(queued.state) is State.PLANNED
        await trio.to_thread.run_sync(chain.start)
        assert State((await sender.wait(queued.id, timeout_s=30)).state) is State.CONFIRMED
        assert await Gateway(rpc).balance(shop) == 101


def test_an_idle_client_loads_neither_web3_nor_the_development_chain():
    code = (
        "import sys, chain.sender, chain.gateway, chain.provider, chain.reader, chain.rpc;"
        "print([m for m in ('web3', 'eth', 'aiohttp') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
