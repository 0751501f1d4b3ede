"""From a draft to the record of an intent in the journal, and back."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from chain.amount import Amount, Currency
from chain.draft import Draft
from chain.journal import Spend, State, Transaction, number_bytes
from chain.profiles import ChainProfile
from marina.ids import Account


def planned(
    draft: Draft,
    account: Account,
    *,
    spends: Sequence[Amount],
    profile: ChainProfile,
    gas: int,
    max_fee_wei: int | None,
    now_s: int,
) -> Transaction:
    """Return the record of an intent of which nothing is signed yet.

    Args:
        draft: what is wanted.
        account: pays and signs.
        spends: all that it gives away.
        profile: of its chain.
        gas: limit, 0 while it is not known.
        max_fee_wei: the most that the whole network fee may be, None for no such bound.
        now_s: Unix seconds.
    """
    return Transaction(
        id=secrets.token_bytes(16),
        key=draft.key,
        chain_id=profile.chain_id,
        account=account,
        to=draft.to or b"",
        value=number_bytes(draft.value),
        data=draft.data,
        gas=gas,
        # No bytes are no cap, so a cap of nothing is written as one wei.
        fee_cap_wei=b"" if max_fee_wei is None else number_bytes(max(1, max_fee_wei)),
        what=draft.what,
        summary=draft.summary,
        spends=tuple(Spend.of(each) for each in spends),
        created_s=now_s,
        state=State.PLANNED.value,
        attempts=(),
        raw=b"",
        mined=b"",
        block_number=0,
        block_hash=b"",
        confirmations=0,
        gas_used=0,
        fee_paid_wei=b"",
        created=b"",
        reorgs=0,
        reason="",
        is_queued=draft.is_queued,
    )


def all_spends(draft: Draft, profile: ChainProfile) -> tuple[Amount, ...]:
    """Return what a draft gives away, with all the coins that travel with it, whatever it says itself."""
    said = sum(each.value for each in draft.spend if each.currency.token is None)
    unsaid = draft.value - said
    return draft.spend if unsaid <= 0 else (*draft.spend, Amount(unsaid, Currency(profile.symbol, 18)))


def draft_of(transaction: Transaction) -> Draft:
    """Return the draft of an intent, to try it again."""
    return Draft(
        to=Account(transaction.to) if transaction.to else None,
        data=transaction.data,
        value=transaction.value_wei,
        what=transaction.what,
        summary=transaction.summary,
        key=transaction.key,
    )


def fee_cap(transaction: Transaction) -> int | None:
    """Return the most that its whole network fee may be, None for no such bound."""
    return int.from_bytes(transaction.fee_cap_wei) if transaction.fee_cap_wei else None
