"""Which signed transactions the chain takes, and go-ethereum's words for the others.

There is no pool: a transaction is executed at once or refused. One whose nonce is ahead of its account's
is refused too ("nonce too high"), so that nothing is acknowledged that might never be executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import rlp
from eth.exceptions import UnrecognizedTransactionType
from eth_keys.exceptions import BadSignature
from eth_utils import ValidationError

from chain.dev.faults import REFUSED, RpcFault
from chain.dev.vm import CHAIN_ID, DevVm

if TYPE_CHECKING:
    from eth.abc import SignedTransactionAPI, StateAPI

TRANSACTION_BYTES_MAX = 128 << 10
GAS_MAX = 1 << 24
"""Most gas of one transaction (EIP-7825)."""
INITCODE_BYTES_MAX = 49_152
_INITCODE_WORD_GAS = 2
_LEGACY = 0xC0
_TYPES = (1, 2)


def decode_transaction(raw: bytes) -> SignedTransactionAPI:
    """Return a signed transaction of this chain.

    Args:
        raw: its canonical encoding (EIP-2718), type 0 with EIP-155, 1 or 2.

    Raises:
        RpcFault: it is malformed, badly signed, of another type or chain, or too large.
    """
    if len(raw) > TRANSACTION_BYTES_MAX:
        raise _refused(f"oversized data: transaction size {len(raw)}, limit {TRANSACTION_BYTES_MAX}")
    if not raw:
        raise _refused("typed transaction too short")
    if raw[0] < _LEGACY and raw[0] not in _TYPES:
        raise _refused("transaction type not supported")
    try:
        transaction = DevVm.get_transaction_builder().decode(raw)
        is_canonical = transaction.encode() == raw
    except (
        rlp.exceptions.RLPException,
        ValidationError,
        UnrecognizedTransactionType,
        ValueError,
        TypeError,
        IndexError,
        RecursionError,
    ) as err:
        raise _refused("rlp: the bytes are not a signed transaction") from err
    if not is_canonical:
        raise _refused("rlp: the encoding of the transaction is not canonical")
    if transaction.chain_id is None:
        raise _refused("only replay-protected (EIP-155) transactions allowed over RPC")
    if transaction.chain_id != CHAIN_ID:
        raise _refused(f"invalid chain id for signer: have {transaction.chain_id} want {CHAIN_ID}")
    _check_fields(transaction)
    return transaction


def check_against_state(transaction: SignedTransactionAPI, state: StateAPI, base_fee: int) -> None:
    """Return if the sender may and can pay for the transaction now.

    Raises:
        RpcFault: nonce, fee or balance do not fit.
    """
    sender = transaction.sender
    nonce, next_nonce = transaction.nonce, state.get_nonce(sender)
    if nonce < next_nonce:
        raise _refused(f"nonce too low: next nonce {next_nonce}, tx nonce {nonce}")
    if nonce > next_nonce:
        raise _refused(f"nonce too high: next nonce {next_nonce}, tx nonce {nonce}")
    if state.get_code(sender):
        raise _refused(f"sender not an eoa: address 0x{sender.hex()}")
    if transaction.max_fee_per_gas < base_fee:
        raise _refused(
            f"max fee per gas less than block base fee: address 0x{sender.hex()}, "
            f"maxFeePerGas: {transaction.max_fee_per_gas}, baseFee: {base_fee}"
        )
    balance = state.get_balance(sender)
    cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
    if balance < cost:
        raise _refused(
            f"insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, "
            f"overshot {cost - balance}"
        )


def least_gas(data: bytes, *, is_creation: bool, intrinsic_gas: int) -> int:
    """Return how much gas a transaction must have before anything runs (EIP-3860, EIP-7623).

    Args:
        data: call data or creation code.
        is_creation: whether it creates a contract.
        intrinsic_gas: what py-evm takes before the first operation.
    """
    words = (len(data) + 31) // 32
    needed = intrinsic_gas + (_INITCODE_WORD_GAS * words if is_creation else 0)
    tokens = len(data) * 4 - data.count(0) * 3
    return max(needed, 21_000 + 10 * tokens)


def _check_fields(transaction: SignedTransactionAPI) -> None:
    try:
        transaction.check_signature_validity()
        transaction.sender  # noqa: B018 - recovers the key, and remembers it
    except (ValidationError, BadSignature, ValueError) as err:
        raise _refused("invalid sender: the signature is not valid") from err
    if not 0 < transaction.s <= _SECP256K1_N // 2:
        raise _refused("invalid transaction v, r, s values")
    if transaction.nonce >= 2**64 - 1:
        raise _refused("nonce has max value")
    if max(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas, transaction.value) >= 2**256:
        raise _refused("a number of the transaction has more than 256 bits")
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
        raise _refused(
            "max priority fee per gas higher than max fee per gas: "
            f"maxPriorityFeePerGas: {transaction.max_priority_fee_per_gas}, "
            f"maxFeePerGas: {transaction.max_fee_per_gas}"
        )
    if transaction.gas > GAS_MAX:
        raise _refused(f"transaction gas limit too high (cap: {GAS_MAX}, tx: {transaction.gas})")
    is_creation = transaction.to == b""
    if is_creation and len(transaction.data) > INITCODE_BYTES_MAX:
        raise _refused(
            f"max initcode size exceeded: code size {len(transaction.data)}, limit {INITCODE_BYTES_MAX}"
        )
    least = least_gas(transaction.data, is_creation=is_creation, intrinsic_gas=transaction.intrinsic_gas)
    if transaction.gas < least:
        raise _refused(f"intrinsic gas too low: gas {transaction.gas}, minimum needed {least}")


def _refused(message: str) -> RpcFault:
    return RpcFault(REFUSED, message)


_SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
