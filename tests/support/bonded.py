"""Guardians that are registered on a development chain, with bonds of their own accounts."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio
from eth_account import Account as EthAccount
from eth_hash.auto import keccak

from chain.artifacts import encode_call
from chain.dev.genesis import TREASURER_KEY
from marina.clock import SystemClock
from marina.schema import encode_record
from marina.secret import Secret
from p2p.errors import PeerGoneError
from p2p.framing import FrameReader, pack
from p2p.stream import MarinaStream
from p2p.wire.key import FRAME_BYTES_MAX, PROTOCOL, Asked, StatusBody, encode_status
from storage.identity.binding import DEFAULT_SCOPES, issue_binding
from storage.identity.device import DeviceKey
from storage.identity.typed_data import account_of_key
from tests.support.chains import DevChain
from tests.support.guardians import Guardian
from tests.support.peers import make_host, running, seed

MMT = 10**18
START_S = 20.0
_GAS = 500_000
_FEE_WEI = 20 * 10**9


@dataclass
class BondedGuardian(Guardian):
    """A guardian whose device names its account; ``kind`` ``stranger`` names another one.

    Attributes:
        bond_mmt: whole tokens.
    """

    bond_mmt: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        self.account_key = hashlib.sha256(f"bonded {self.name}".encode()).digest()
        self.account = account_of_key(self.account_key)

    def status(self, found: Asked, now_s: int) -> bytes:
        key = self.account_key if self.kind != "stranger" else hashlib.sha256(b"stranger").digest()
        binding = issue_binding(Secret(key), self.device, scopes=DEFAULT_SCOPES, epoch=0, now_s=now_s)
        code = self.codes[0] if self.codes else 0
        body = StatusBody(
            self.device.public_key, account_of_key(key), self.holder.hpke_key, code, 7, now_s,
            found.body.nonce, encode_record(binding),
        )  # fmt: skip
        return encode_status(body, DeviceKey(seed("else")) if self.kind == "forger" else self.device)


@dataclass
class BondedHosts:
    """Guardians that run.

    Attributes:
        guardians: their kinds may be changed at any time.
        addresses: where each listens.
    """

    guardians: list[BondedGuardian]
    addresses: list[str] = field(default_factory=list)


def register(chain: DevChain, guardians: list[BondedGuardian]) -> None:
    """Give each guardian's account coins and MMT, and register its device with its bond."""
    token, registry = chain.contracts["MarinaToken"], chain.contracts["GuardianRegistry"]
    for each in guardians:
        chain.fund("0x" + each.account.hex(), 10**18)
        bond = each.bond_mmt * MMT
        _send(chain, TREASURER_KEY, token, encode_call("MarinaToken", "transfer", bytes(each.account), bond))
        spender = bytes.fromhex(registry[2:])
        _send(chain, each.account_key, token, encode_call("MarinaToken", "approve", spender, bond))
        keys = (each.device.public_key, each.holder.hpke_key)
        _send(chain, each.account_key, registry, encode_call("GuardianRegistry", "register", *keys, bond, 0))


def _send(chain: DevChain, key: bytes, to: str, data: bytes) -> None:
    sender = EthAccount.from_key(key)
    fields: dict[str, Any] = {
        "type": 2, "chainId": 31337, "to": to, "value": 0, "data": data, "gas": _GAS,
        "maxFeePerGas": _FEE_WEI, "maxPriorityFeePerGas": 10**9,
        "nonce": int(chain.rpc("eth_getTransactionCount", sender.address, "pending"), 16),
    }  # fmt: skip
    raw = bytes(sender.sign_transaction(fields).raw_transaction)
    chain.rpc("eth_sendRawTransaction", "0x" + raw.hex())
    receipt = chain.rpc("eth_getTransactionReceipt", "0x" + keccak(raw).hex())
    assert (receipt or {}).get("status") == "0x1", f"a transaction of the stage failed: {receipt}"


@contextlib.contextmanager
def bonded_hosts(
    chain: DevChain, *kinds: str, bonds_mmt: dict[int, int] | None = None
) -> Iterator[BondedHosts]:
    """Run registered guardians of these kinds on loopback, in a thread of their own, while the block runs."""
    clock = SystemClock()
    party = BondedHosts([BondedGuardian(f"bonded{i}", clock, kind) for i, kind in enumerate(kinds)])
    register(chain, party.guardians)
    ready, ends = threading.Event(), threading.Event()

    async def serve() -> None:
        hosts = [make_host(each.name) for each in party.guardians]
        for host, guardian in zip(hosts, party.guardians, strict=True):
            host.serve(PROTOCOL, partial(_answer, guardian), max_streams_per_peer=8)
        async with running(*hosts):
            party.addresses[:] = [host.listen_addrs[0] for host in hosts]
            ready.set()
            while not ends.is_set():
                await trio.sleep(0.05)

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert ready.wait(START_S), "the guardians did not start"
        yield party
    finally:
        ends.set()
        thread.join(START_S)


async def _answer(guardian: BondedGuardian, stream: MarinaStream) -> None:
    reader = FrameReader(stream, header_bytes_max=FRAME_BYTES_MAX, frame_timeout_s=5)
    message = await reader.header(5)
    assert message is not None
    with contextlib.suppress(PeerGoneError):  # it ends the stream without an answer, as its kind says
        await stream.write(pack(await guardian.answer(message)))
