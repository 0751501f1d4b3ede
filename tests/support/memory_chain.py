"""A chain in memory: blocks with events of our contracts, re-organisations, and JSON-RPC answers.

The twin of an endpoint for the indexer's tests: what it answers has the form and the strictness of a
real node (an unknown block hash is an error, not an empty list).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi import encode

from chain.artifacts import abi_type, artifact, topic
from chain.errors import RpcError
from marina.ids import Account, account_text

GENESIS_S = 1_800_000_000
BLOCK_S = 2

Emitted = tuple[str, str, dict[str, Any]]
"""(contract, event, values by name)"""


def encode_event(contract: str, name: str, values: dict[str, Any]) -> tuple[list[bytes], bytes]:
    """Return (topics, data) of an event as its contract writes them."""
    (entry,) = [each for each in artifact(contract).abi if each["type"] == "event" and each["name"] == name]
    topics, kinds, plain = [topic(entry)], [], []
    assert {each["name"] for each in entry["inputs"]} == set(values), (contract, name, entry["inputs"])
    for parameter in entry["inputs"]:
        value = values[parameter["name"]]
        if parameter["indexed"]:
            topics.append(encode([abi_type(parameter)], [value]))
        else:
            kinds.append(abi_type(parameter))
            plain.append(value)
    return topics, encode(kinds, plain)


@dataclass
class Block:
    number: int
    hash: bytes
    parent: bytes
    logs: list[tuple[Account, list[bytes], bytes]]

    @property
    def time_s(self) -> int:
        return GENESIS_S + BLOCK_S * self.number


@dataclass
class MemoryChain:
    """Answers like an endpoint; ``calls`` counts what it was asked."""

    places: dict[str, Account]
    blocks: list[Block] = field(default_factory=list)
    forks: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    logs_limit: int | None = None
    """Most logs of one range, as public endpoints have it."""
    tamper: Any = None
    """Changes each log before it is answered."""

    def __post_init__(self) -> None:
        if not self.blocks:
            self.blocks.append(Block(0, hashlib.sha256(b"genesis").digest(), bytes(32), []))

    @property
    def head(self) -> int:
        return self.blocks[-1].number

    def mine(self, events: Sequence[Emitted] = ()) -> Block:
        """Add a block with events; its hash depends on all before it and on the fork."""
        parent = self.blocks[-1]
        logs = [
            (self.places[contract], *encode_event(contract, name, values))
            for contract, name, values in events
        ]
        seed = f"{self.forks}/{parent.number + 1}".encode() + parent.hash
        block = Block(parent.number + 1, hashlib.sha256(seed).digest(), parent.hash, logs)
        self.blocks.append(block)
        return block

    def drop(self, depth: int) -> None:
        """Forget the last blocks; the next ones are of another fork."""
        assert 0 < depth < len(self.blocks)
        del self.blocks[-depth:]
        self.forks += 1

    async def call(self, method: str, params: Sequence[Any]) -> Any:
        """Answer one request, or raise RpcError."""
        self.calls[method] = self.calls.get(method, 0) + 1
        if method == "eth_getBlockByNumber":
            return self._block(params[0])
        if method == "eth_getLogs":
            return self._logs(params[0])
        raise RpcError(-32601, f"the method {method} does not exist")

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Answer several requests in order."""
        answers: list[Any] = []
        for method, params in calls:
            try:
                answers.append(await self.call(method, params))
            except RpcError as err:
                answers.append(err)
        return answers

    def _block(self, tag: str) -> dict[str, Any] | None:
        number = self.head if tag == "latest" else int(tag, 16)
        if number > self.head:
            return None
        block = self.blocks[number]
        return {
            "number": hex(number),
            "hash": "0x" + block.hash.hex(),
            "parentHash": "0x" + block.parent.hex(),
            "timestamp": hex(block.time_s),
        }

    def _logs(self, asked: dict[str, Any]) -> list[Any]:
        if "blockHash" in asked:
            blocks = [each for each in self.blocks if "0x" + each.hash.hex() == asked["blockHash"]]
            if not blocks:
                raise RpcError(-32000, "unknown block")
        else:
            blocks = self.blocks[int(asked["fromBlock"], 16) : int(asked["toBlock"], 16) + 1]
        addresses = {each.lower() for each in asked["address"]}
        first_topics = set(asked["topics"][0])
        found = [
            {
                "address": account_text(address).lower(),
                "topics": ["0x" + each.hex() for each in topics],
                "data": "0x" + data.hex(),
                "blockNumber": hex(block.number),
                "blockHash": "0x" + block.hash.hex(),
                "transactionHash": "0x" + hashlib.sha256(block.hash + bytes([index % 256])).hexdigest(),
                "transactionIndex": "0x0",
                "logIndex": hex(index),
                "removed": False,
            }
            for block in blocks
            for index, (address, topics, data) in enumerate(block.logs)
            if account_text(address).lower() in addresses and "0x" + topics[0].hex() in first_topics
        ]
        if self.logs_limit is not None and "blockHash" not in asked and len(found) > self.logs_limit:
            raise RpcError(-32005, f"query returned more than {self.logs_limit} results")
        return found if self.tamper is None else [self.tamper(each) for each in found]
