"""What a sender of transactions asks a chain, through web3.py, in Marina's own types and errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chain.errors import ChainUnavailableError, EndpointsDisagreeError, RpcError
from chain.provider import make_web3
from chain.revert import is_revert, reverted
from chain.rpc import RpcPool
from marina.errors import MalformedError
from marina.ids import Account, account_text, parse_account

if TYPE_CHECKING:
    from web3 import AsyncWeb3

_FEE_BLOCKS = 10
_FEE_PERCENTILE = 50.0
_GAS_MIN, _GAS_MAX = 21_000, 1_000_000_000
_UINT64_MAX, _UINT256_MAX = 2**64 - 1, 2**256 - 1
_FEE_WEI_MAX = 10**15
"""A million gwei for one gas: no chain has asked for so much, and an endpoint that says so is broken."""


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
    """One chain. web3 is loaded at the first use, not before.

    Every method raises ``ChainUnavailableError`` when no endpoint gives an answer that has a sense.
    """

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
        with _sense("eth_blockNumber"):
            return _natural(await self.web3.eth.get_block_number())

    async def block_hash(self, number: int) -> bytes | None:
        """Return the hash of the block with a number, None if there is none."""
        from web3.exceptions import BlockNotFound

        with _sense("eth_getBlockByNumber"):
            try:
                block = await self.web3.eth.get_block(number)
            except BlockNotFound:
                return None
            return _hash(block["hash"])

    async def balance(self, account: Account, block: int | str = "latest") -> int:
        """Return an account's native coin in wei."""
        with _sense("eth_getBalance"):
            return _natural(await self.web3.eth.get_balance(account_text(account), block))

    async def nonce(self, account: Account, block: int | str = "latest") -> int:
        """Return how many transactions of an account are in the chain up to a block."""
        with _sense("eth_getTransactionCount"):
            found = _natural(await self.web3.eth.get_transaction_count(account_text(account), block))
        if found >= 2**64 - 1:  # EIP-2681
            raise _senseless("eth_getTransactionCount")
        return found

    async def fees(self) -> FeeMarket:
        """Return what blocks ask for now (EIP-1559)."""
        with _sense("eth_feeHistory"):
            found = await self.web3.eth.fee_history(_FEE_BLOCKS, "latest", [_FEE_PERCENTILE])
            tips = sorted(_natural(each[0]) for each in found.get("reward") or [] if each)
            market = FeeMarket(_natural(found["baseFeePerGas"][-1]), tips[len(tips) // 2] if tips else 0)
        if market.base_wei > _FEE_WEI_MAX:
            raise _senseless("eth_feeHistory")
        return market

    async def call(self, message: Message, block: int | str = "latest") -> bytes:
        """Return what a call would answer.

        Raises:
            RevertedError: the contract would refuse it.
            RpcError: the endpoint refuses it.
        """
        try:
            with _sense("eth_call"):
                return bytes(await self.web3.eth.call(message.wire(), block))
        except RpcError as err:
            raise (reverted(err) if is_revert(err) else err) from err

    async def estimate(self, message: Message) -> int:
        """Return the gas that a transaction would use; errors as for ``call``."""
        try:
            with _sense("eth_estimateGas"):
                gas = _natural(await self.web3.eth.estimate_gas(message.wire()))
        except RpcError as err:
            raise (reverted(err) if is_revert(err) else err) from err
        if not _GAS_MIN <= gas <= _GAS_MAX:
            raise _senseless("eth_estimateGas")
        return gas

    async def send(self, raw: bytes) -> None:
        """Hand a signed transaction to the chain.

        Raises:
            RpcError: it was refused, or is known already.
        """
        with _sense("eth_sendRawTransaction"):
            await self.web3.eth.send_raw_transaction(raw)

    async def is_known(self, transaction: bytes) -> bool:
        """Return whether the chain or its pool has a transaction."""
        from web3.exceptions import TransactionNotFound

        with _sense("eth_getTransactionByHash"):
            try:
                await self.web3.eth.get_transaction(transaction)
            except TransactionNotFound:
                return False
        return True

    async def receipt(self, transaction: bytes) -> Receipt | None:
        """Return a mined transaction's receipt, None while it has none."""
        from web3.exceptions import TransactionNotFound

        with _sense("eth_getTransactionReceipt"):
            try:
                found = await self.web3.eth.get_transaction_receipt(transaction)
            except TransactionNotFound:
                return None
            if found.get("blockNumber") is None:
                return None
            if _hash(found["transactionHash"]) != transaction:
                raise ValueError("the receipt is of another transaction")
            created = found.get("contractAddress")
            return Receipt(
                number=_natural(found["blockNumber"], _UINT64_MAX),
                block=_hash(found["blockHash"]),
                is_success=_natural(found["status"], 1) == 1,
                gas_used=_natural(found["gasUsed"], _GAS_MAX),
                gas_price_wei=_natural(found.get("effectiveGasPrice") or 0, _FEE_WEI_MAX),
                created=parse_account(created) if created else None,
            )

    async def check_failure(self, transaction: bytes, receipt: Receipt) -> None:
        """Check that as many endpoints as ``is_void`` asks for say that a transaction failed in its block.

        Raises:
            EndpointsDisagreeError: they differ.
            RpcError: an endpoint does not have the index of transactions.
        """
        call = ("eth_getTransactionReceipt", ["0x" + transaction.hex()])
        (answer,) = await self.rpc.agreed_batch([call], quorum=self._quorum, view=_outcome)
        if isinstance(answer, RpcError):
            raise answer
        if _outcome(answer) != ("0x" + receipt.block.hex(), "0x0"):
            raise EndpointsDisagreeError(
                "endpoints tell different things about a failed transaction: it is looked at again"
            )

    async def agreed_call(self, to: Account, data: bytes, *, block: int, gas: int) -> Any:
        """Return what a call answers at a block, unchecked, as the chain's quorum of endpoints says it.

        Raises:
            EndpointsDisagreeError: they differ.
            RevertedError: the contract refuses it.
            RpcError: the endpoint refuses it, or it needs more gas.
        """
        message = {"to": account_text(to), "data": "0x" + data.hex(), "gas": hex(gas)}
        (answer,) = await self.rpc.agreed_batch([("eth_call", [message, hex(block)])], quorum=self._quorum)
        if isinstance(answer, RpcError):
            raise (reverted(answer) if is_revert(answer) else answer) from answer
        return answer

    @property
    def _quorum(self) -> int:
        """How many endpoints prove something; one that is configured alone is believed alone."""
        return min(self.profile.quorum, self.rpc.operators)

    async def is_void(self, account: Account, nonce: int, hashes: Sequence[bytes], block: int) -> bool:
        """Return whether endpoints prove that a nonce was used by a transaction that is none of these.

        Each endpoint answers everything in one request, so that none of it is another endpoint's view, and
        where several are configured the chain's quorum of them must say the same.

        Args:
            account: whose nonce.
            nonce: that is asked about.
            hashes: of everything that was signed for one intent.
            block: number of a settled block.

        Raises:
            EndpointsDisagreeError: they differ.
            RpcError: an endpoint does not have the block or the index of transactions.
        """
        calls: list[tuple[str, list[object]]] = [
            ("eth_getTransactionCount", [account_text(account), hex(block)])
        ]
        for each in hashes:
            calls.append(("eth_getTransactionReceipt", ["0x" + each.hex()]))
            calls.append(("eth_getTransactionByHash", ["0x" + each.hex()]))
        answers = await self.rpc.agreed_batch(calls, quorum=self._quorum)
        refusal = next((each for each in answers if isinstance(each, RpcError)), None)
        if refusal is not None:
            raise refusal
        with _sense("eth_getTransactionCount"):
            return int(answers[0], 16) > nonce and not any(answers[1:])


@contextmanager
def _sense(method: str) -> Iterator[None]:
    """Turn what web3 raises on an answer of the wrong form into an error of ours."""
    from web3.exceptions import Web3Exception

    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        MalformedError,
        Web3Exception,
    ) as err:
        raise _senseless(method) from err


def _senseless(method: str) -> ChainUnavailableError:
    return ChainUnavailableError(
        f"the chain's endpoint gives an answer without sense to {method}: set another in chain.endpoints"
    )


def _outcome(receipt: Any) -> object:
    """Return what two honest endpoints tell alike about a mined transaction, however much else they tell."""
    if not isinstance(receipt, dict):
        return receipt
    return receipt.get("blockHash"), receipt.get("status")


def _natural(value: Any, maximum: int = _UINT256_MAX) -> int:
    if type(value) is not int or not 0 <= value <= maximum:
        raise ValueError("no natural number of the EVM")
    return value


def _hash(value: Any) -> bytes:
    if len(value) != 32:
        raise ValueError("no hash")
    return bytes(value)
