"""A transaction that somebody wants, before it has a nonce, a fee or a signature."""

from __future__ import annotations

from dataclasses import dataclass

from chain.amount import Amount
from marina.ids import Account


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be sent.

    Attributes:
        to: the contract or receiver; None creates a contract.
        data: call data or creation code.
        value: wei that travel with it.
        what: kind, like ``licence.buy``.
        summary: one sentence for the person who confirms it.
        key: two drafts with one key are the same intent: while it is unfinished, it is not made again.
        spend: what it gives away, network fees apart; limits apply to it.
        gas_limit: fixed gas limit, None to estimate.
        is_queued: whether it may wait until the chain answers.
    """

    to: Account | None
    data: bytes
    value: int
    what: str
    summary: str
    key: str
    spend: tuple[Amount, ...] = ()
    gas_limit: int | None = None
    is_queued: bool = False
