"""A sender of transactions over a chain in memory, that can be stopped and started again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache

import trio

from chain.accounts import VaultSigner
from chain.amount import Amount, Currency
from chain.draft import Draft
from chain.gateway import Gateway
from chain.journal import Journal, State, Transaction
from chain.profiles import PROFILES, ChainProfile
from chain.rpc import RpcPool
from chain.sender import Sender
from chain.spending import Limits, SpendingGuard
from marina.clock import Clock
from marina.ids import Account
from storage.kv import KeyValueStore, MemoryKv
from tests.support.coin_chain import COIN, CoinChain, KeySigner
from tests.support.wire import TrioClock, Wire, pool_over

DEV = Currency("DEV", 18)
ALICE = KeySigner(b"\x11" * 32)
BOB = KeySigner(b"\x22" * 32)
SHOP = Account(b"\x33" * 20)
STRANGER = Account(b"\x44" * 20)
PROFILE = replace(PROFILES["dev"], confirmations=3, block_s=2.0)
LIMITS = Limits((Amount(5 * COIN, DEV),), (Amount(20 * COIN, DEV),))


def payment(key: str, value: int = COIN, *, to: Account = SHOP, is_queued: bool = False) -> Draft:
    """Return a draft that pays the shop."""
    spend = (Amount(value, DEV),)
    return Draft(to, b"", value, "wallet.send", f"pay {key}", key, spend, is_queued=is_queued)


def make_sender(
    rpc: RpcPool,
    store: KeyValueStore,
    *,
    clock: Clock,
    limits: Limits = LIMITS,
    signers: tuple[KeySigner, ...] = (ALICE, BOB),
) -> Sender:
    """Return a sender over endpoints and a store."""
    journal = Journal(store)
    keys = {each.account: VaultSigner(each) for each in signers}
    return Sender(
        gateway=Gateway(rpc),
        journal=journal,
        guard=SpendingGuard(journal=journal, limits=limits, clock=clock),
        signer_for=lambda account: keys[account],
        clock=clock,
    )


class Rig:
    """One node's sender and the chain it pays on.

    Attributes:
        chain: the chain.
        wire: the endpoint of it.
        kv: what survives a restart.
        sender: of this run.
    """

    def __init__(self, *, profile: ChainProfile = PROFILE, limits: Limits = LIMITS) -> None:
        self.chain = CoinChain({ALICE.account: 100 * COIN, BOB.account: 100 * COIN})
        self.wire = Wire(self.chain.answer)
        self.wires = {"http://127.0.0.1:8545": self.wire}
        self.kv: KeyValueStore = MemoryKv()
        self.limits = limits
        self.profile = profile
        self.sender = self.restarted()

    def restarted(self) -> Sender:
        """Forget everything but the store, as a process that was killed does."""
        rpc = pool_over(self.wires, profile=self.profile, tries_max=1)
        self.sender = make_sender(rpc, self.kv, clock=TrioClock(), limits=self.limits)
        return self.sender

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Sender]:
        """Let the sender follow what it sent while the block runs."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.sender.run)
            yield self.sender
            nursery.cancel_scope.cancel()

    async def pay(self, key: str, value: int = COIN, **kwargs: object) -> Transaction:
        """Submit a payment of the first account."""
        return await self.sender.submit(payment(key, value, **kwargs), account=ALICE.account)  # type: ignore[arg-type]

    async def state(self, transaction: Transaction) -> State:
        """Return where a transaction stands."""
        return State((await self.sender.get(transaction.id)).state)

    async def blocks(self, count: int) -> None:
        """Mine blocks, with time for the sender to look at each."""
        for _ in range(count):
            self.chain.mine()
            await trio.sleep(self.profile.block_s)

    def paid(self, to: Account = SHOP) -> list[int]:
        """Return what the chain paid to an account."""
        return [each.value for each in self.chain.transfers() if each.to == to]


@cache
def raw_payment(signer: KeySigner, nonce: int, value: int = 7, *, to: Account = STRANGER) -> bytes:
    """Return a signed payment that another program makes with the same key."""
    fields = {"chainId": 31337, "nonce": nonce, "gas": 21_000, "to": bytes(to), "value": value, "data": b""}
    fee = {"maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 10**9}
    return VaultSigner(signer).sign_transaction({**fields, **fee})
