"""The signed bytes of a journaled transaction."""

from __future__ import annotations

from dataclasses import replace

import trio
from eth_hash.auto import keccak

from chain.accounts import TransactionSigner
from chain.errors import TransactionFailedError
from chain.fees import FeeOffer
from chain.journal import ATTEMPTS_MAX, Attempt, State, Transaction
from marina.ids import Account

_CANCEL_GAS = 21_000


async def signed(
    transaction: Transaction,
    signer: TransactionSigner,
    *,
    nonce: int,
    fee: FeeOffer,
    now_s: int,
    is_cancel: bool = False,
) -> Transaction:
    """Return the transaction with one more attempt, in a worker thread; nothing is sent or written.

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
    if len(transaction.attempts) >= ATTEMPTS_MAX:
        raise TransactionFailedError(
            f"it was signed {ATTEMPTS_MAX} times and no block takes it: cancel it with 'marina tx cancel'"
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
    raw = await trio.to_thread.run_sync(signer.sign_transaction, fields)
    attempt = Attempt(nonce, bytes(keccak(raw)), fee.fee_wei, fee.tip_wei, now_s, is_cancel)
    return replace(
        transaction, state=State.SIGNED.value, attempts=(*transaction.attempts, attempt), raw=raw, reason=""
    )
