"""A real anvil node on a free port, with our contracts deployed by their plan, driven as users drive it.

Skips where the binary is not there (``npm ci`` in ``contracts/`` brings it), unless all must be tested.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from chain.artifacts import decode_result, encode_call
from chain.contracts import ContractSet
from chain.deployment import plan_deployment
from marina.ids import Account, account_text, parse_account
from tests.support.contract_tools import find_program
from tests.support.daemons import free_port

START_S = 20.0
MINED_S = 5.0
GAS = hex(8_000_000)


class RefusedError(AssertionError):
    """The node answered with an error."""


@dataclass
class Anvil:
    """A running node.

    Attributes:
        url: where it answers.
        accounts: funded accounts whose keys it holds.
        contracts: the deployed set.
    """

    url: str
    client: httpx.Client
    accounts: list[Account] = field(default_factory=list)
    contracts: ContractSet | None = None

    def rpc(self, method: str, *params: Any) -> Any:
        """Return the result of one call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = self.client.post(self.url, json=body).json()
        if "error" in answer:
            raise RefusedError(answer["error"])
        return answer["result"]

    @property
    def head(self) -> int:
        """Number of the newest block."""
        return int(self.rpc("eth_blockNumber"), 16)

    def send(self, sender: Account, to: Account | None, data: bytes, value: int = 0) -> dict[str, Any]:
        """Send a transaction, mine it, and return its receipt; it may have failed."""
        fields = {"from": account_text(sender), "data": "0x" + data.hex(), "value": hex(value), "gas": GAS}
        if to is not None:
            fields["to"] = account_text(to)
        sent = self.rpc("eth_sendTransaction", fields)
        deadline = time.monotonic() + MINED_S
        while (receipt := self.rpc("eth_getTransactionReceipt", sent)) is None:
            assert time.monotonic() < deadline, "anvil does not mine the transaction"
            time.sleep(0.005)
        found: dict[str, Any] = receipt
        return found

    def invoke(self, sender: Account, contract: str, function: str, *args: object, value: int = 0) -> bool:
        """Call a function of one of our contracts in a transaction, and return whether it went through."""
        assert self.contracts is not None
        data = encode_call(contract, function, *args)
        return bool(self.send(sender, self.contracts.named()[contract], data, value)["status"] == "0x1")

    def read(self, contract: str, function: str, *args: object) -> tuple[Any, ...]:
        """Return what a view function answers."""
        assert self.contracts is not None
        call = {
            "to": account_text(self.contracts.named()[contract]),
            "data": "0x" + encode_call(contract, function, *args).hex(),
        }
        answer = bytes.fromhex(self.rpc("eth_call", call, "latest")[2:])
        return decode_result(contract, function, answer, len(args))

    def deploy(self) -> ContractSet:
        """Deploy the whole set from the first account."""
        deployer = self.accounts[0]
        plan = plan_deployment(deployer, 0, deployer)
        for step in plan.steps:
            assert self.send(deployer, step.to, step.data)["status"] == "0x1", step.summary
        self.contracts = plan.contracts
        return plan.contracts


@contextlib.contextmanager
def anvil(hardfork: str = "cancun") -> Iterator[Anvil]:
    """Run a fresh node with the contracts deployed while the block runs.

    Args:
        hardfork: rules of its EVM; the contracts are compiled for cancun.
    """
    program = find_program("anvil")
    port = free_port()
    process = subprocess.Popen(
        [str(program), "--port", str(port), "--silent", "--hardfork", hardfork],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(timeout=30, trust_env=False) as client:
            node = Anvil(f"http://127.0.0.1:{port}", client)
            _wait(node, process)
            node.accounts = [parse_account(each) for each in node.rpc("eth_accounts")]
            node.deploy()
            yield node
    finally:
        process.kill()
        process.wait(timeout=10)


def _wait(node: Anvil, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, "anvil ended"
        try:
            node.rpc("eth_chainId")
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, "anvil did not answer in time"
            time.sleep(0.02)
