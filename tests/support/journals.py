"""Rows of the journal of transactions, as tests need them."""

from __future__ import annotations

from dataclasses import replace

from chain.journal import Attempt, Spend, State, Transaction, number_bytes
from marina.ids import Account

ME, OTHER = Account(b"\x11" * 20), Account(b"\x22" * 20)


def transaction(
    number: int = 1, *, created_s: int = 1000, state: State = State.PENDING, **changes: object
) -> Transaction:
    """Return a payment of 5 wei; ``changes`` are fields of it."""
    made = Transaction(
        id=number.to_bytes(16),
        key=f"k{number}",
        chain_id=31337,
        account=ME,
        to=b"\x33" * 20,
        value=number_bytes(5),
        data=b"",
        gas=21_000,
        fee_cap_wei=b"",
        what="wallet.send",
        summary="pay",
        spends=(Spend(b"", number_bytes(5)),),
        created_s=created_s,
        state=state.value,
        attempts=(Attempt(number, b"\x01" * 32, 2, 1, created_s, False),),
        raw=b"raw",
        mined=b"",
        block_number=0,
        block_hash=b"",
        confirmations=0,
        gas_used=0,
        fee_paid_wei=b"",
        created=b"",
        reorgs=0,
        reason="",
        is_queued=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]
