"""A chain that moves one coin, in memory: blocks, a pool of transactions, re-organisations, JSON-RPC.

The twin of a node for what sends transactions: it checks signatures, nonces, balances and fees as geth
does, and in geth's words. ``RELUCTANT`` is a contract that can be told to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account as EthAccount
from eth_account.typed_transactions import TypedTransaction
from eth_hash.auto import keccak
from hexbytes import HexBytes

from marina.ids import Account, account_text
from storage.identity.typed_data import account_of_key, sign_digest
from tests.support.wire import Refused

COIN = 10**18
GWEI = 10**9
CHAIN_ID = 31337
RELUCTANT = Account(b"\xee" * 20)
REASON = "not today"
_ERROR = (
    "0x08c379a0" + (32).to_bytes(32).hex() + (9).to_bytes(32).hex() + REASON.encode().hex().ljust(64, "0")
)
_TRANSFER_GAS = 21_000


class KeySigner:
    """An account whose key lies open, as only tests have it."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.account = account_of_key(key)

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes."""
        return sign_digest(self._key, digest)


@dataclass(frozen=True)
class Sent:
    """A signed transaction that the chain has read."""

    hash: bytes
    sender: Account
    nonce: int
    to: Account
    value: int
    gas: int
    fee_wei: int
    tip_wei: int
    raw: bytes

    @classmethod
    def read(cls, raw: bytes) -> Sent:
        """Return what signed bytes say."""
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        if fields["chainId"] != CHAIN_ID:
            raise Refused(-32000, f"invalid chain id for signer: have {fields['chainId']} want {CHAIN_ID}")
        sender = EthAccount.recover_transaction(raw)
        return cls(
            bytes(keccak(raw)),
            Account(bytes.fromhex(sender[2:])),
            fields["nonce"],
            Account(bytes(fields["to"])),
            fields["value"],
            fields["gas"],
            fields["maxFeePerGas"],
            fields["maxPriorityFeePerGas"],
            raw,
        )


@dataclass(frozen=True)
class Block:
    number: int
    hash: bytes
    transactions: tuple[Sent, ...]
    failed: frozenset[bytes]
    nonces: dict[Account, int]
    balances: dict[Account, int]


@dataclass
class CoinChain:
    """Answers like a node.

    Attributes:
        blocks: from genesis to the head.
        pool: transactions that no block has, by account and nonce.
        base_wei: base fee of the next block.
        tip_wei: what blocks usually get.
        refuses: whether ``RELUCTANT`` refuses now.
        lag: blocks by which it answers behind its own head.
    """

    funded: dict[Account, int] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    pool: dict[tuple[Account, int], Sent] = field(default_factory=dict)
    base_wei: int = GWEI
    tip_wei: int = GWEI // 10
    refuses: bool = False
    is_instant: bool = False
    forks: int = 0

    def __post_init__(self) -> None:
        self.blocks = [Block(0, keccak(b"genesis"), (), frozenset(), {}, dict(self.funded))]

    @property
    def head(self) -> Block:
        return self.blocks[-1]

    def transfers(self) -> list[Sent]:
        """Return all transactions of the chain that did something, in their order."""
        return [each for block in self.blocks for each in block.transactions if each.hash not in block.failed]

    def mine(self, *, takes: Callable[[Sent], bool] = lambda _: True) -> Block:
        """Add a block with what the pool has and pays enough."""
        head = self.head
        nonces, balances = dict(head.nonces), dict(head.balances)
        taken, failed = [], set()
        for sent in sorted(self.pool.values(), key=lambda each: each.nonce):
            worth = sent.fee_wei >= self.base_wei and sent.nonce == nonces.get(sent.sender, 0)
            cost = sent.value + sent.gas * sent.fee_wei
            if not worth or not takes(sent) or balances.get(sent.sender, 0) < cost:
                continue
            taken.append(sent)
            nonces[sent.sender] = sent.nonce + 1
            price = min(sent.fee_wei, self.base_wei + sent.tip_wei)
            balances[sent.sender] -= _TRANSFER_GAS * price
            if sent.to == RELUCTANT and self.refuses:
                failed.add(sent.hash)
                continue
            balances[sent.sender] -= sent.value
            balances[sent.to] = balances.get(sent.to, 0) + sent.value
        seed = f"{self.forks}/{head.number + 1}".encode() + head.hash + b"".join(e.hash for e in taken)
        block = Block(head.number + 1, keccak(seed), tuple(taken), frozenset(failed), nonces, balances)
        self.blocks.append(block)
        self.pool = {key: each for key, each in self.pool.items() if key[1] >= nonces.get(key[0], 0)}
        return block

    def drop(self, transaction: bytes) -> None:
        """Forget a transaction of the pool."""
        self.pool = {key: each for key, each in self.pool.items() if each.hash != transaction}

    def reorg(self, depth: int, *, keeps: bool = True, regrows: bool = True) -> None:
        """Take the last blocks away, their transactions back to the pool or not, and grow others as long."""
        depth = min(depth, self.head.number)
        dropped = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :]
        self.forks += 1
        if keeps:
            for sent in (each for block in dropped for each in block.transactions):
                self.pool.setdefault((sent.sender, sent.nonce), sent)
        if regrows:
            for _ in range(depth):
                self.mine(takes=lambda _: False)

    def answer(self, method: str, params: list[Any]) -> Any:
        """Answer one request."""
        return getattr(self, "_" + re.sub("([A-Z])", r"_\1", method).lower())(*params)

    def _eth_block_number(self) -> str:
        return hex(self.head.number)

    def _eth_get_block_by_number(self, tag: str, _full: bool) -> Any:
        number = self.head.number if tag == "latest" else int(tag, 16)
        if number > self.head.number:
            return None
        block = self.blocks[number]
        return {"number": hex(number), "hash": _hex(block.hash), "timestamp": hex(number), "transactions": []}

    def _eth_get_balance(self, account: str, tag: str) -> str:
        return hex(self._at(tag).balances.get(_account(account), 0))

    def _eth_get_transaction_count(self, account: str, tag: str) -> str:
        who = _account(account)
        nonce = self._at("latest" if tag == "pending" else tag).nonces.get(who, 0)
        while tag == "pending" and (who, nonce) in self.pool:
            nonce += 1
        return hex(nonce)

    def _eth_fee_history(self, blocks: str, *_: Any) -> Any:
        count = int(blocks, 16) if isinstance(blocks, str) else blocks
        return {
            "oldestBlock": "0x0",
            "baseFeePerGas": [hex(self.base_wei)] * (count + 1),
            "gasUsedRatio": [0.5] * count,
            "reward": [[hex(self.tip_wei)]] * count,
        }

    def _eth_call(self, message: dict[str, Any], _tag: str) -> str:
        if self.refuses and message.get("to", "").lower() == account_text(RELUCTANT).lower():
            raise Refused(3, f"execution reverted: {REASON}", _ERROR)
        return "0x"

    def _eth_estimate_gas(self, message: dict[str, Any], *_: Any) -> str:
        self._eth_call(message, "latest")
        return hex(_TRANSFER_GAS)

    def _eth_send_raw_transaction(self, raw: str) -> str:
        sent = Sent.read(bytes.fromhex(raw[2:]))
        latest = self.head.nonces.get(sent.sender, 0)
        other = self.pool.get((sent.sender, sent.nonce))
        cost = sent.value + sent.gas * sent.fee_wei
        if other is not None and other.hash == sent.hash:
            raise Refused(-32000, "already known")
        if sent.nonce < latest:
            raise Refused(-32000, f"nonce too low: next nonce {latest}, tx nonce {sent.nonce}")
        if sent.fee_wei < self.base_wei:
            raise Refused(-32000, "max fee per gas less than block base fee")
        if self.head.balances.get(sent.sender, 0) < cost:
            raise Refused(-32000, "insufficient funds for gas * price + value")
        if other is not None and (
            sent.fee_wei * 10 < other.fee_wei * 11 or sent.tip_wei * 10 < other.tip_wei * 11
        ):
            raise Refused(-32000, "replacement transaction underpriced")
        self.pool[sent.sender, sent.nonce] = sent
        if self.is_instant:
            self.mine()
        return _hex(sent.hash)

    def _eth_get_transaction_by_hash(self, wanted: str) -> Any:
        number = bytes.fromhex(wanted[2:])
        if any(each.hash == number for each in self.pool.values()):
            return {"hash": wanted}
        return {"hash": wanted} if self._find(number) else None

    def _eth_get_transaction_receipt(self, wanted: str) -> Any:
        found = self._find(bytes.fromhex(wanted[2:]))
        if found is None:
            return None
        block, sent = found
        return {
            "transactionHash": wanted,
            "blockNumber": hex(block.number),
            "blockHash": _hex(block.hash),
            "status": hex(sent.hash not in block.failed),
            "gasUsed": hex(_TRANSFER_GAS),
            "effectiveGasPrice": hex(min(sent.fee_wei, self.base_wei + sent.tip_wei)),
            "contractAddress": None,
        }

    def _find(self, wanted: bytes) -> tuple[Block, Sent] | None:
        for block in self.blocks:
            for sent in block.transactions:
                if sent.hash == wanted:
                    return block, sent
        return None

    def _at(self, tag: str) -> Block:
        if tag == "latest":
            return self.head
        number = int(tag, 16)
        if number > self.head.number:
            raise Refused(-32000, "header not found")
        return self.blocks[number]


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _account(text: str) -> Account:
    return Account(bytes.fromhex(text[2:]))
