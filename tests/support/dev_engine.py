"""A development chain in this process, without HTTP, and contracts of a few bytes for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils import to_checksum_address

from chain.dev.engine import Engine
from chain.dev.rpc import DevRpc
from chain.dev.store import Store
from marina.clock import ManualClock
from tests.support.chains import RpcError

CHAIN_ID = 31337
GWEI = 10**9
COIN = 10**18
START_S = 1_700_000_000


def creation(runtime: str) -> str:
    """Return creation code, in hex, that leaves a runtime of at most 255 bytes."""
    size = len(runtime) // 2
    return f"0x60{size:02x}600c60003960{size:02x}6000f3{runtime}"


def reverting(data: str) -> str:
    """Return a runtime that reverts with data, in hex without 0x."""
    size = len(data) // 2
    return f"60{size:02x}600c60003960{size:02x}6000fd{data}"


ANSWERS_42 = "602a60005260206000f3"
STORES = "60003560005500"
"""Stores the first word of the call data in slot 0."""
LOGS_ONE = "60003560206000a100"
"""Logs 32 zero bytes with the first word of the call data as the only topic."""
LOGS_TWO = "60203560003560206000a200"
"""The same with the first two words as topics."""
LOOPS = "5b600056"
TELLS_TIME = "4260005260206000f3"
CALLS_ITSELF = "60006000600060006000305af15000"
"""Calls itself with all gas, as deep as the gas goes."""
INVALID = "fe"


class DevEngine:
    """An open engine and its interface.

    Attributes:
        clock: stands still until the test moves it.
        store: the database.
        engine: over it.
        rpc_server: over the engine.
        account: has 100 test coins after ``fund``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: ManualClock | None = None,
        funded: dict[bytes, int] | None = None,
        predeploy: Callable[[Engine], None] | None = None,
    ) -> None:
        self.clock = clock or ManualClock(START_S)
        self.store = Store(folder / "chain.sqlite")
        self.store.open()
        self.engine = Engine(store=self.store, clock=self.clock, funded=funded, predeploy=predeploy)
        self.engine.open()
        self.rpc_server = DevRpc(self.engine)
        self.account = Account.from_key(b"\x11" * 32)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def ask(self, body: object) -> Any:
        """Return the decoded answer to a JSON body."""
        reply = self.rpc_server.handle(json.dumps(body).encode())
        return json.loads(reply) if reply else None

    def rpc(self, method: str, *params: Any) -> Any:
        """Return the result of one call; RpcError if it is an error."""
        answer = self.ask({"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)})
        assert answer["id"] == 7
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def fund(self) -> None:
        """Give the account its test coins."""
        self.rpc("marina_faucet", self.account.address)

    def nonce(self) -> int:
        """Return the account's next nonce."""
        return int(self.rpc("eth_getTransactionCount", self.account.address, "latest"), 16)

    def signed(self, **fields: Any) -> str:
        """Return a signed transaction of the account as hex; what is not given is filled in."""
        filled = {
            "chainId": CHAIN_ID,
            "nonce": fields.pop("nonce") if "nonce" in fields else self.nonce(),
            "gas": 300_000,
            "value": 0,
            "data": "0x",
            **({} if "gasPrice" in fields else {"maxFeePerGas": 3 * GWEI, "maxPriorityFeePerGas": GWEI}),
            **fields,
        }
        if filled.get("to"):
            filled["to"] = to_checksum_address(filled["to"])
        return "0x" + Account.sign_transaction(filled, self.account.key).raw_transaction.hex()

    def send(self, **fields: Any) -> dict[str, Any]:
        """Send a transaction and return its receipt."""
        transaction_hash = self.rpc("eth_sendRawTransaction", self.signed(**fields))
        receipt: dict[str, Any] = self.rpc("eth_getTransactionReceipt", transaction_hash)
        return receipt

    def deploy(self, runtime: str) -> str:
        """Create a contract and return its address."""
        receipt = self.send(data=creation(runtime))
        assert receipt["status"] == "0x1"
        return str(receipt["contractAddress"])
