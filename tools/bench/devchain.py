"""The development chain as a process: how soon it is ready, how fast it is, and what kills cost it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from eth_account import Account

from tests.support.chains import DevChain
from tools.bench.report import DEVCHAIN_LOST, DEVCHAIN_RATE, DEVCHAIN_READY, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import spread

CLIENTS = 3
TRANSACTIONS = 300
STARTS = 5
KILLS = 50
_GWEI = 10**9
_RECEIVER = "0x" + "66" * 20


def measure(bench: Bench) -> Iterator[Measurement]:
    """Start it some times, send to it from three clients at once, and kill it while they send."""
    chain = DevChain(bench.folder / "devchain")
    times_s: list[float] = []
    try:
        for _ in range(bench.count(STARTS, least=2)):
            chain.start()
            times_s.append(chain.ready_s)
            chain.stop()
        how = f"{len(times_s)} starts, the first deploys seven contracts; seconds {spread(times_s, 2)}"
        yield Measurement(DEVCHAIN_READY, max(times_s), how)
        chain.start()
        yield _rate(chain, bench)
        yield _kills(chain, bench)
    finally:
        chain.stop()


def _rate(chain: DevChain, bench: Bench) -> Measurement:
    each = bench.count(TRANSACTIONS // CLIENTS, least=20)
    accounts = [_funded(chain, number) for number in range(1, CLIENTS + 1)]
    signed = [[_transfer(account, nonce) for nonce in range(each)] for account in accounts]
    started_s = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda raws: _send_all(chain, raws), signed))
    took_s = time.monotonic() - started_s
    how = (
        f"{CLIENTS} clients send {each} signed transfers each, every one in a block on the disk when answered"
    )
    return Measurement(DEVCHAIN_RATE, CLIENTS * each / took_s, how + bench.scale_note)


def _kills(chain: DevChain, bench: Bench) -> Measurement:
    rng = random.Random(50)
    runs = bench.count(KILLS, least=3)
    account = _funded(chain, 9)
    acknowledged: list[str] = []
    for _ in range(runs):
        nonce = int(chain.rpc("eth_getTransactionCount", account.address, "latest"), 16)
        sender = threading.Thread(target=_send_until_gone, args=(chain, account, nonce, acknowledged))
        sender.start()
        time.sleep(rng.uniform(0.05, 0.5))
        chain.kill()
        sender.join()
        chain.start()
    lost = sum(chain.rpc("eth_getTransactionReceipt", each) is None for each in acknowledged)
    how = f"{len(acknowledged)} acknowledged, SIGKILL {runs} times at random moments while sending"
    return Measurement(DEVCHAIN_LOST, lost, how + bench.scale_note)


def _send_all(chain: DevChain, raws: list[str]) -> None:
    with httpx.Client(base_url=chain.url, trust_env=False, timeout=30) as client:
        for raw in raws:
            answer = _post(client, raw)
            if "result" not in answer:
                raise RuntimeError(f"the chain refused a transaction: {answer}")


def _send_until_gone(chain: DevChain, account: Any, nonce: int, acknowledged: list[str]) -> None:
    with httpx.Client(base_url=chain.url, trust_env=False, timeout=30) as client:
        while True:
            try:
                acknowledged.append(_post(client, _transfer(account, nonce))["result"])
            except (httpx.HTTPError, ValueError):
                return  # killed
            nonce += 1


def _post(client: httpx.Client, raw: str) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]}
    answer: dict[str, Any] = client.post("/", json=body).json()
    return answer


def _funded(chain: DevChain, number: int) -> Any:
    account = Account.from_key(number.to_bytes(32))
    chain.fund(account.address)
    return account


def _transfer(account: Any, nonce: int) -> str:
    fields = {"chainId": 31337, "nonce": nonce, "gas": 21_000, "to": _RECEIVER, "value": 1}
    fees = {"maxFeePerGas": 3 * _GWEI, "maxPriorityFeePerGas": 1}
    return "0x" + bytes(account.sign_transaction(fields | fees).raw_transaction).hex()
