"""The same signed transactions on the development chain and on anvil: same status, same gas, same logs."""

from __future__ import annotations

import time

import pytest
from eth_account import Account
from eth_utils import to_checksum_address

from chain.artifacts import encode_call
from chain.contracts import create_address
from chain.deployment import plan_deployment
from marina.ids import Account as Address
from marina.ids import derive_track_id
from tests.support.anvil import anvil
from tests.support.dev_engine import (
    CALLS_ITSELF,
    COIN,
    GWEI,
    LOGS_TWO,
    STORES,
    DevEngine,
    creation,
    reverting,
)

KEY = b"\x21" * 32
COMPARED = ("status", "gasUsed", "contractAddress", "type", "logsBloom")


def transactions():
    """Yield (name, to, data, value) of a deployment, of a licence's life, and of small odd contracts."""
    account = Address(bytes.fromhex(Account.from_key(KEY).address[2:]))
    plan = plan_deployment(account, 0, account)
    for step in plan.steps:
        yield step.summary, step.to, step.data, 0
    made = plan.contracts
    salt = b"\x05" * 32
    track = derive_track_id(account, salt)
    splits = sorted([(bytes(account), 9_000), (b"\x77" * 20, 1_000)])
    calls = [
        ("MarinaToken", "transfer", (b"\x42" * 20, 5), 0),
        ("MarinaToken", "transfer", (b"\x42" * 20, 2**255), 0),
        ("MarinaToken", "delegate", (bytes(account),), 0),
        ("TrackRegistry", "register", ((salt, b"\x07" * 32, bytes(32), 500, splits),), 0),
        ("TrackRegistry", "register", ((salt, b"\x07" * 32, bytes(32), 500, splits),), 0),
        ("MusicLicensing", "addTerm", (track, 10**15, 86_400, 0, 1), 0),
        ("MusicLicensing", "purchase", (track, 0, 1, bytes(account), 10**15), 10**15),
        ("MusicLicensing", "purchase", (track, 0, 2, bytes(account), 2 * 10**15), 2 * 10**15),
        ("MusicLicensing", "purchase", (track, 0, 1, bytes(account), 10**15), 1),
    ]
    for contract, function, arguments, value in calls:
        yield (
            f"{contract}.{function}",
            made.named()[contract],
            encode_call(contract, function, *arguments),
            value,
        )
    nonce = len(plan.steps) + len(calls)
    small = [
        (STORES, [b"\x01" * 32, bytes(32), bytes(32)]),
        (LOGS_TWO, [bytes(range(64))]),
        (reverting("08c379a0"), [b""]),
        (CALLS_ITSELF, [b""]),
    ]
    for runtime, inputs in small:
        yield runtime, None, bytes.fromhex(creation(runtime)[2:]), 0
        address = create_address(account, nonce)
        for data in inputs:
            yield runtime, address, data, 0
        nonce += 1 + len(inputs)
    yield "much data, little gas (EIP-7623)", Address(b"\x43" * 20), bytes(range(256)) * 40, 0
    yield "a transfer", Address(b"\x44" * 20), b"", 7


def receipt_of(node, sent):
    """Return anvil's receipt; it acknowledges a transaction a moment before it mines it."""
    deadline_s = time.monotonic() + 10
    while (receipt := node.rpc("eth_getTransactionReceipt", sent)) is None:
        assert time.monotonic() < deadline_s, "anvil does not mine the transaction"
        time.sleep(0.005)
    return receipt


@pytest.fixture
def chain(tmp_path):
    account = bytes.fromhex(Account.from_key(KEY).address[2:])
    made = DevEngine(tmp_path, funded={account: 1000 * COIN})
    yield made
    made.close()


def test_both_give_the_same_receipts(chain):
    account = Account.from_key(KEY)
    with anvil(hardfork="prague") as node:
        node.rpc("anvil_setBalance", account.address, hex(1000 * COIN))
        start_s = int(node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) + 1000
        for nonce, (name, to, data, value) in enumerate(transactions()):
            fields = {"chainId": 31337, "nonce": nonce, "gas": 10_000_000, "value": value, "data": data}
            fees = {"maxFeePerGas": 5 * GWEI, "maxPriorityFeePerGas": GWEI}
            if to is not None:
                fields["to"] = to_checksum_address(bytes(to))
            raw = "0x" + account.sign_transaction(fields | fees).raw_transaction.hex()
            for rpc in (chain.rpc, node.rpc):
                rpc("evm_setNextBlockTimestamp", start_s + nonce)
            assert chain.rpc("eth_sendRawTransaction", raw) == node.rpc("eth_sendRawTransaction", raw)
            sent = chain.rpc("eth_getBlockByNumber", "latest", False)["transactions"][0]
            mine, other = chain.rpc("eth_getTransactionReceipt", sent), receipt_of(node, sent)
            assert {key: mine[key] for key in COMPARED} == {key: other[key] for key in COMPARED}, name
            logs = [
                [(each["address"], each["topics"], each["data"]) for each in one["logs"]]
                for one in (mine, other)
            ]
            assert logs[0] == logs[1], name
