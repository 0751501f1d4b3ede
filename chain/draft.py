"""A transaction that somebody wants, before it has a nonce, a fee or a signature."""

from __future__ import annotations

from dataclasses import dataclass

from chain.accounts import TypedDomain
from chain.amount import Amount
from marina.ids import Account


@dataclass(frozen=True, slots=True)
class Permit:
    """A token's permission (ERC-2612) that a draft needs and that is not signed yet.

    Attributes:
        domain: of the token.
        spender: who may take the tokens.
        value: how many base units.
        nonce: the token's, of the account that pays.
        deadline_s: last Unix second at which it is good.
    """

    domain: TypedDomain
    spender: Account
    value: int
    nonce: int
    deadline_s: int


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
        permit: that ``data`` lacks; it is signed with the owner's yes, never before.
        gas_guess: gas that is assumed while it cannot be tried, because it needs what another does first.
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
    permit: Permit | None = None
    gas_guess: int = 250_000
