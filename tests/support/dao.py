"""A DAO on a real chain: the embedded development chain in this process, or anvil if its program is there.

Usage::

    async with dao_on_devchain(folder) as world:
        await world.send(world.holder, draft)
        await world.travel(86_400)
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import trio
from eth_hash.auto import keccak

from chain.accounts import VaultSigner
from chain.amount import Currency
from chain.dev.engine import Engine
from chain.dev.genesis import DEPLOYER_KEY, TREASURER_KEY, deploy_contracts, dev_plan, funded
from chain.dev.rpc import DevRpc
from chain.dev.store import Store
from chain.errors import RpcError
from chain.profiles import PROFILES
from chain.reader import ContractReader
from chain.revert import reverted
from chain.rpc import RpcConfig, RpcPool
from governance.client import Dao
from marina.clock import ManualClock, SystemClock
from marina.ids import Account, account_text
from storage.identity.typed_data import account_of_key, sign_digest
from tests.support.contract_tools import find_program
from tests.support.daemons import free_port

COIN = Currency("DEV", 18)
_GAS = 12_000_000
_FEE_WEI = 10 * 10**9


class KeySigner:
    """An account whose key lies open, as only tests have it."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.account = account_of_key(key)

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes."""
        return sign_digest(self._key, digest)


@dataclass
class World:
    """One chain with the contracts, and who acts on it.

    Attributes:
        holder: has all MMT.
        stranger: has coins alone.
    """

    rpc: RpcPool
    dao: Dao
    reader: ContractReader
    holder: KeySigner
    stranger: KeySigner

    async def send(self, signer: KeySigner, to: Account, data: bytes = b"", value: int = 0) -> dict[str, Any]:
        """Send one transaction and return its receipt; RevertedError if it would fail."""
        call = {
            "from": account_text(signer.account),
            "to": account_text(to),
            "data": "0x" + data.hex(),
            "value": hex(value),
        }
        try:
            await self.rpc.call("eth_call", [call, "latest"])
        except RpcError as err:
            raise reverted(err) from err
        receipt = await send_raw(self.rpc, signer, to, data, value)
        assert receipt["status"] == "0x1", receipt
        return receipt

    async def act(self, signer: KeySigner, draft: Any) -> dict[str, Any]:
        """Send what a draft says."""
        return await self.send(signer, draft.to, draft.data, draft.value)

    async def travel(self, seconds: int) -> None:
        """Let time pass."""
        await self.rpc.call("evm_increaseTime", [seconds])
        await self.rpc.call("evm_mine", [])

    async def reach(self, time_s: int) -> None:
        """Make a block of this time."""
        await self.rpc.call("evm_setNextBlockTimestamp", [time_s])
        await self.rpc.call("evm_mine", [])


async def send_raw(
    rpc: RpcPool, signer: KeySigner, to: Account | None, data: bytes, value: int
) -> dict[str, Any]:
    """Send a signed transaction and return its receipt."""
    nonce = int(await rpc.call("eth_getTransactionCount", [account_text(signer.account), "latest"]), 16)
    raw = VaultSigner(signer).sign_transaction(
        {"chainId": 31337, "nonce": nonce, "gas": _GAS, "maxFeePerGas": _FEE_WEI, "maxPriorityFeePerGas": 1,
         "to": None if to is None else bytes(to), "data": data, "value": value}
    )  # fmt: skip
    sent = await rpc.call("eth_sendRawTransaction", ["0x" + raw.hex()])
    for _ in range(100):
        receipt: dict[str, Any] | None = await rpc.call("eth_getTransactionReceipt", [sent])
        if receipt is not None:
            return receipt
        await trio.sleep(0.02)
    raise AssertionError("the transaction was not mined")


class InProcess(httpx.AsyncBaseTransport):
    """Brings requests to the development chain without a network."""

    def __init__(self, rpc: DevRpc) -> None:
        self._rpc = rpc

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        return httpx.Response(200, content=self._rpc.handle(await request.aread()))


def world_over(rpc: RpcPool) -> World:
    """Return the world of a chain that has the contracts."""
    reader = ContractReader(rpc=rpc, contracts=dev_plan().contracts)
    holder, stranger = KeySigner(TREASURER_KEY), KeySigner(bytes(keccak(b"a stranger")))
    return World(rpc, Dao(reader=reader, rpc=rpc, coin=COIN), reader, holder, stranger)


def pool(url: str, config: RpcConfig | None = None) -> RpcPool:
    """Return a pool with one endpoint."""
    return RpcPool(
        endpoints=[url], profile=PROFILES["dev"], clock=SystemClock(), rng=Random(1), config=config
    )


def make_devchain(folder: Path) -> None:
    """Make a development chain in a folder, to be copied by every test."""
    folder.mkdir(parents=True)
    store = Store(folder / "chain.sqlite")
    store.open()
    try:
        Engine(
            store=store,
            clock=ManualClock(),
            funded=funded() | {bytes(KeySigner(bytes(keccak(b"a stranger"))).account): 10**21},
            predeploy=deploy_contracts,
        ).open()
    finally:
        store.close()


@asynccontextmanager
async def dao_on_devchain(template: Path, folder: Path) -> AsyncIterator[World]:
    """Run a copy of a development chain in this process."""
    shutil.copytree(template, folder)
    store = Store(folder / "chain.sqlite")
    store.open()
    engine = Engine(store=store, clock=ManualClock())
    engine.open()
    transport = InProcess(DevRpc(engine))
    rpc = pool("http://127.0.0.1:8545", RpcConfig(transport=lambda _: transport))
    try:
        yield world_over(rpc)
    finally:
        await rpc.aclose()
        store.close()


@asynccontextmanager
async def dao_on_anvil() -> AsyncIterator[World]:
    """Run anvil with the contracts deployed."""
    program, port = find_program("anvil"), free_port()
    process = subprocess.Popen([str(program), "--port", str(port), "--silent"], stdin=subprocess.DEVNULL)
    rpc = pool(f"http://127.0.0.1:{port}", RpcConfig(tries_max=30))
    try:
        for key in (DEPLOYER_KEY, TREASURER_KEY, bytes(keccak(b"a stranger"))):
            await rpc.call("anvil_setBalance", [account_text(account_of_key(key)), hex(10**21)])
        for step in dev_plan().steps:
            receipt = await send_raw(rpc, KeySigner(DEPLOYER_KEY), step.to, step.data, 0)
            assert receipt["status"] == "0x1", step.summary
        yield world_over(rpc)
    finally:
        process.kill()
        process.wait()
        await rpc.aclose()
