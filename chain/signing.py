"""The signed bytes of a journaled transaction."""

from __future__ import annotations

from dataclasses import replace

from eth_hash.auto import keccak

from chain.accounts import TransactionSigner
from chain.errors import TransactionFailedError
from chain.fees import FeeOffer
from chain.journal import ATTEMPTS_MAX, CANCEL_ATTEMPTS, Attempt, State, Transaction
from marina.ids import Account

_CANCEL_GAS = 21_000


def signed(
    transaction: Transaction,
    signer: TransactionSigner,
    *,
    nonce: int,
    fee: FeeOffer,
    now_s: int,
    is_cancel: bool = False,
) -> Transaction:
    """Return the transaction with one more attempt; nothing is sent or written. It takes a millisecond.

    Args:
        transaction: with its gas limit.
        signer: of its account.
        nonce: of the account.
        fee: what is offered.
        now_s: Unix seconds.
        is_cancel: sign one that sends nothing to the account itself instead.

    Raises:
        VaultLockedError: the vault is locked.
        TransactionFailedError: it was signed too often.
    """
    if len(transaction.attempts) >= (ATTEMPTS_MAX if is_cancel else ATTEMPTS_MAX - CANCEL_ATTEMPTS):
        raise TransactionFailedError(
            f"it was signed {len(transaction.attempts)} times and no block takes it: "
            + ("wait" if is_cancel else "wait, or take it back with 'marina tx cancel'")
        )
    fields: dict[str, object] = {
        "chainId": transaction.chain_id,
        "nonce": nonce,
        "gas": _CANCEL_GAS if is_cancel else transaction.gas,
        "maxFeePerGas": fee.fee_wei,
        "maxPriorityFeePerGas": fee.tip_wei,
        "to": Account(transaction.account) if is_cancel else (Account(transaction.to) or None),
        "value": 0 if is_cancel else transaction.value_wei,
        "data": b"" if is_cancel else transaction.data,
    }
    raw = signer.sign_transaction(fields)
    attempt = Attempt(nonce, bytes(keccak(raw)), fee.fee_wei, fee.tip_wei, now_s, is_cancel)
    return replace(
        transaction, state=State.SIGNED.value, attempts=(*transaction.attempts, attempt), raw=raw, reason=""
    )
