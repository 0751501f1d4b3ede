"""kill -9 of the development chain at any moment: what it acknowledged is there, and it goes on."""

from __future__ import annotations

import random
import threading
import time

import httpx
import pytest
from eth_account import Account

from tests.support.chains import DevChain
from tests.support.dev_engine import CHAIN_ID, COIN, GWEI

WRITERS = 3
READY_S = 5.0
RECEIVER = "0x" + "66" * 20


class Writer(threading.Thread):
    """Sends transactions one after the other until the chain is gone; remembers what was acknowledged."""

    def __init__(self, chain, account):
        super().__init__(daemon=True)
        self.chain = chain
        self.account = account
        self.nonce = int(chain.rpc("eth_getTransactionCount", account.address, "latest"), 16)
        self.acknowledged = []
        self.unexpected = []

    def run(self):
        with httpx.Client(base_url=self.chain.url, trust_env=False, timeout=20) as client:
            while True:
                raw = self.signed()
                body = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]}
                try:
                    answer = client.post("/", json=body).json()
                except (httpx.HTTPError, ValueError):
                    return
                if "result" not in answer:
                    self.unexpected.append(answer)
                    return
                self.acknowledged.append(answer["result"])
                self.nonce += 1

    def signed(self):
        fields = {"chainId": CHAIN_ID, "nonce": self.nonce, "gas": 21_000, "to": RECEIVER, "value": 1}
        fees = {"maxFeePerGas": 3 * GWEI, "maxPriorityFeePerGas": 1}
        return "0x" + Account.sign_transaction(fields | fees, self.account.key).raw_transaction.hex()


def write_and_kill(chain, accounts, alive_s):
    """Return what was acknowledged before a kill ``alive_s`` after the first request."""
    writers = [Writer(chain, account) for account in accounts]
    for writer in writers:
        writer.start()
    time.sleep(alive_s)
    chain.kill()
    for writer in writers:
        writer.join(timeout=30)
        assert not writer.is_alive()
        assert writer.unexpected == []
    return [each for writer in writers for each in writer.acknowledged]


def check(chain, acknowledged):
    """Fail unless everything acknowledged is there and the chain is whole."""
    with httpx.Client(base_url=chain.url, trust_env=False, timeout=30) as client:
        for start in range(0, len(acknowledged), 100):
            part = acknowledged[start : start + 100]
            calls = [
                {"jsonrpc": "2.0", "id": each, "method": "eth_getTransactionReceipt", "params": [each]}
                for each in part
            ]
            for answer in client.post("/", json=calls).json():
                assert answer.get("result"), f"an acknowledged transaction is lost: {answer}"
                assert answer["result"]["status"] == "0x1"
    received = int(chain.rpc("eth_getBalance", RECEIVER), 16)
    assert received >= len(acknowledged)
    head = chain.rpc("eth_getBlockByNumber", "latest", False)
    for _ in range(20):
        parent = chain.rpc("eth_getBlockByNumber", hex(int(head["number"], 16) - 1), False)
        assert parent["hash"] == head["parentHash"]
        head = parent
        if head["number"] == "0x0":
            return


def kill_often(folder, runs, seed):
    rng = random.Random(seed)
    accounts = [Account.from_key(bytes([number]) * 32) for number in range(1, WRITERS + 1)]
    chain = DevChain(folder)
    acknowledged = []
    try:
        chain.start()
        for account in accounts:
            chain.fund(account.address)
        for _ in range(runs):
            acknowledged += write_and_kill(chain, accounts, rng.uniform(0.02, 0.6))
            chain.start()
            assert chain.ready_s < READY_S
            check(chain, acknowledged[-1000:])
        check(chain, acknowledged)
        assert int(chain.rpc("eth_getBalance", accounts[0].address), 16) < 100 * COIN
    finally:
        chain.stop()
    return len(acknowledged)


def test_what_was_acknowledged_survives_a_few_kills(tmp_path):
    assert kill_often(tmp_path / "chain", 2, seed=1) > 10


@pytest.mark.slow
def test_what_was_acknowledged_survives_fifty_kills(tmp_path):
    assert kill_often(tmp_path / "chain", 50, seed=2) > 500


def kill_beginnings(folder, runs, seed):
    """Kill a chain while it begins, and again while it begins once more."""
    rng = random.Random(seed)
    chain = DevChain(folder)
    try:
        for _ in range(runs):
            chain.process = None
            starting = threading.Thread(target=_start, args=(chain,), daemon=True)
            starting.start()
            time.sleep(rng.uniform(0.3, 2.0))
            while chain.process is None:
                time.sleep(0.01)
            chain.kill()
            starting.join(timeout=30)
            assert not starting.is_alive()
        chain.start()
        assert int(chain.rpc("eth_blockNumber"), 16) == 10
        for address in chain.contracts.values():
            assert chain.rpc("eth_getCode", address) != "0x"
    finally:
        chain.stop()


def _start(chain):
    try:
        chain.start()
    except AssertionError:
        return  # it was killed before it was ready


def test_a_chain_killed_while_it_begins_begins_whole(tmp_path):
    kill_beginnings(tmp_path / "chain", 2, seed=3)


@pytest.mark.slow
def test_a_chain_killed_often_while_it_begins_begins_whole(tmp_path):
    kill_beginnings(tmp_path / "chain", 25, seed=4)
