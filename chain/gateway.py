"""What a sender of transactions asks a chain, through web3.py, in Marina's own types and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chain.errors import RpcError
from chain.provider import make_web3
from chain.revert import is_revert, reverted
from chain.rpc import RpcPool
from marina.ids import Account, account_text

if TYPE_CHECKING:
    from web3 import AsyncWeb3

_FEE_BLOCKS = 10
_FEE_PERCENTILE = 50.0


@dataclass(frozen=True, slots=True)
class Message:
    """A call or transaction that is not signed.

    Attributes:
        sender: who.
        to: the contract or account; None creates a contract.
        value: wei.
        data: call data or creation code.
    """

    sender: Account
    to: Account | None
    value: int
    data: bytes

    def wire(self) -> dict[str, Any]:
        """Return it as JSON-RPC has it."""
        fields: dict[str, Any] = {
            "from": account_text(self.sender),
            "value": hex(self.value),
            "data": "0x" + self.data.hex(),
        }
        return fields if self.to is None else {**fields, "to": account_text(self.to)}


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction.

    Attributes:
        number: of its block.
        block: 32-byte hash of its block.
        is_success: whether it did what it should.
        gas_used: gas.
        gas_price_wei: paid for each.
        created: the contract that it made, None for none.
    """

    number: int
    block: bytes
    is_success: bool
    gas_used: int
    gas_price_wei: int
    created: Account | None


@dataclass(frozen=True, slots=True)
class FeeMarket:
    """What blocks ask for now.

    Attributes:
        base_wei: base fee of the next block.
        tip_wei: the usual priority fee of the last blocks.
    """

    base_wei: int
    tip_wei: int


class Gateway:
    """One chain. web3 is loaded at the first use, not before."""

    def __init__(self, rpc: RpcPool) -> None:
        self.rpc = rpc
        self.profile = rpc.profile
        self._web3: AsyncWeb3[Any] | None = None

    @property
    def web3(self) -> Any:
        """web3 over these endpoints."""
        if self._web3 is None:
            self._web3 = make_web3(self.rpc)
        return self._web3

    async def head(self) -> int:
        """Return the number of the newest block."""
        return int(await self.web3.eth.get_block_number())

    async def block_hash(self, number: int) -> bytes | None:
        """Return the hash of the block with a number, None if there is none."""
        from web3.exceptions import BlockNotFound

        try:
            block = await self.web3.eth.get_block(number)
        except BlockNotFound:
            return None
        return bytes(block["hash"])

    async def balance(self, account: Account, block: int | str = "latest") -> int:
        """Return an account's native coin in wei."""
        return int(await self.web3.eth.get_balance(account_text(account), block))

    async def nonce(self, account: Account, block: int | str = "latest") -> int:
        """Return how many transactions of an account are in the chain up to a block."""
        return int(await self.web3.eth.get_transaction_count(account_text(account), block))

    async def fees(self) -> FeeMarket:
        """Return what blocks ask for now (EIP-1559)."""
        found = await self.web3.eth.fee_history(_FEE_BLOCKS, "latest", [_FEE_PERCENTILE])
        tips = sorted(int(each[0]) for each in found.get("reward") or [] if each)
        return FeeMarket(int(found["baseFeePerGas"][-1]), tips[len(tips) // 2] if tips else 0)

    async def call(self, message: Message, block: int | str = "latest") -> bytes:
        """Return what a call would answer.

        Raises:
            RevertedError: the contract would refuse it.
            RpcError: the endpoint refuses it.
        """
        try:
            return bytes(await self.web3.eth.call(message.wire(), block))
        except RpcError as err:
            raise (reverted(err) if is_revert(err) else err) from err

    async def estimate(self, message: Message) -> int:
        """Return the gas that a transaction would use; errors as for ``call``."""
        try:
            return int(await self.web3.eth.estimate_gas(message.wire()))
        except RpcError as err:
            raise (reverted(err) if is_revert(err) else err) from err

    async def send(self, raw: bytes) -> None:
        """Hand a signed transaction to the chain.

        Raises:
            RpcError: it was refused, or is known already.
        """
        await self.web3.eth.send_raw_transaction(raw)

    async def is_known(self, transaction: bytes) -> bool:
        """Return whether the chain or its pool has a transaction."""
        from web3.exceptions import TransactionNotFound

        try:
            await self.web3.eth.get_transaction(transaction)
        except TransactionNotFound:
            return False
        return True

    async def receipt(self, transaction: bytes) -> Receipt | None:
        """Return a mined transaction's receipt, None while it has none."""
        from web3.exceptions import TransactionNotFound

        try:
            found = await self.web3.eth.get_transaction_receipt(transaction)
        except TransactionNotFound:
            return None
        if found.get("blockNumber") is None:
            return None
        created = found.get("contractAddress")
        return Receipt(
            number=int(found["blockNumber"]),
            block=bytes(found["blockHash"]),
            is_success=found["status"] == 1,
            gas_used=int(found["gasUsed"]),
            gas_price_wei=int(found.get("effectiveGasPrice") or 0),
            created=Account(bytes.fromhex(created[2:])) if created else None,
        )
