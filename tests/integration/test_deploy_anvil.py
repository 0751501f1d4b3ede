"""On a real node: a deployment through the sender, reads over WebSocket, and the node's own refusals."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
import trio

from chain.deployment import plan_deployment, verify_contracts
from chain.draft import Draft
from chain.errors import RpcError, WrongChainError
from chain.gateway import Gateway
from chain.journal import State
from chain.profiles import PROFILES
from chain.reader import ContractReader
from chain.refusals import Refusal, refusal
from chain.rpc import RpcPool
from marina.clock import SystemClock
from marina.errors import DamagedError
from marina.ids import Account, account_text
from storage.kv import MemoryKv
from tests.support.anvil import anvil
from tests.support.coin_chain import COIN, GWEI
from tests.support.senders import ALICE, BOB, SHOP, make_sender, payment, raw_payment

PROFILE = replace(PROFILES["dev"], block_s=0.2)


@pytest.fixture(scope="module")
def node():
    with anvil() as made:
        for each in (ALICE, BOB):
            made.rpc("anvil_setBalance", account_text(each.account), hex(1000 * COIN))
        yield made


@asynccontextmanager
async def pool_of(url, profile=PROFILE):
    pool = RpcPool(endpoints=[url], profile=profile, clock=SystemClock(), rng=Random(1))
    async with aclosing(pool):
        yield pool


async def test_the_whole_set_is_deployed_by_the_sender_and_verified(node):
    async with pool_of(node.url) as rpc, trio.open_nursery() as nursery:
        sender = make_sender(rpc, MemoryKv(), clock=SystemClock())
        await nursery.start(sender.run)
        first = await Gateway(rpc).nonce(ALICE.account, "pending")
        plan = plan_deployment(ALICE.account, first, BOB.account)
        sent = []
        for step in plan.steps:
            draft = Draft(
                to=step.to,
                data=step.data,
                value=0,
                what="chain.deploy",
                summary=step.summary,
                key=f"deploy:{step.nonce}",
                gas_limit=10_000_000 if step.to is None else 200_000,
            )
            sent.append(await sender.submit(draft, account=ALICE.account))
            assert sent[-1].nonce == step.nonce
        done = [await sender.wait(each.id, timeout_s=20) for each in sent]
        assert {State(each.state) for each in done} == {State.CONFIRMED}
        made = [Account(each.created) for each in done if each.created]
        assert made == list(plan.contracts.named().values())
        await verify_contracts(rpc, plan.contracts, ALICE.account)
        node.rpc("anvil_setCode", account_text(plan.contracts.editions), "0x6000")
        with pytest.raises(DamagedError, match="another contract where TrackEditions should be"):
            await verify_contracts(rpc, plan.contracts)
        nursery.cancel_scope.cancel()


async def test_everything_works_over_websocket_too(node):
    async with pool_of(node.url.replace("http:", "ws:")) as rpc, trio.open_nursery() as nursery:
        reader = ContractReader(rpc=rpc, contracts=node.contracts)
        assert await reader.read("MarinaToken", "totalSupply") == 10**24
        answers = await rpc.batch([("eth_chainId", []), ("eth_getNonsense", []), ("eth_blockNumber", [])])
        assert answers[0] == "0x7a69"
        assert isinstance(answers[1], RpcError)
        sender = make_sender(rpc, MemoryKv(), clock=SystemClock())
        await nursery.start(sender.run)
        before = int(node.rpc("eth_getBalance", account_text(SHOP), "latest"), 16)
        sent = await sender.submit(payment("ws"), account=BOB.account)
        assert State((await sender.wait(sent.id, timeout_s=20)).state) is State.CONFIRMED
        assert int(node.rpc("eth_getBalance", account_text(SHOP), "latest"), 16) - before == COIN
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", ["http:", "ws:"])
async def test_another_chain_is_refused_over_either(node, scheme):
    profile = PROFILES["polygon-amoy"]
    async with pool_of(node.url.replace("http:", scheme), profile) as rpc:
        with pytest.raises(WrongChainError, match="is of chain 31337, not of 80002"):
            await rpc.call("eth_blockNumber", [])


async def test_the_nodes_own_words_are_understood(node):
    async with pool_of(node.url) as rpc:
        gateway = Gateway(rpc)

        async def refused(raw):
            with pytest.raises(RpcError) as caught:
                await gateway.send(raw)
            return refusal(caught.value)

        node.rpc("evm_setAutomine", False)
        try:
            nonce = await gateway.nonce(BOB.account)
            await gateway.send(raw_payment(BOB, nonce))
            assert await refused(raw_payment(BOB, nonce)) is Refusal.KNOWN
            assert await refused(raw_payment(BOB, nonce, 8)) is Refusal.OUTBID
            assert await refused(raw_payment(BOB, nonce + 1, 10**30)) is Refusal.POOR
            node.rpc("anvil_mine", "0x1")
            assert await refused(raw_payment(BOB, nonce, 9)) is Refusal.TAKEN
            node.rpc("anvil_setNextBlockBaseFeePerGas", hex(500 * GWEI))
            node.rpc("anvil_mine", "0x1")
            assert await refused(raw_payment(BOB, nonce + 1)) is Refusal.FEE_LOW
        finally:
            node.rpc("evm_setAutomine", True)
