"""Whose votes an account has: balances do not vote, delegated ones do.

Marina's token moves votes only to whom a holder delegated, itself included, and remembers the votes of
each account over time, so that a proposal counts what an account had at its snapshot.
Source: OpenZeppelin Contracts 5, Votes and Checkpoints; ERC-5805.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from chain.accounts import TypedDomain, typed_digest
from governance.units import format_mmt
from marina.ids import Account, account_text

NOBODY = Account(bytes(20))
_DELEGATION = (("delegatee", "address"), ("nonce", "uint256"), ("expiry", "uint256"))


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account has in the DAO now.

    Attributes:
        account: whose standing.
        balance: base units of MMT that it holds.
        delegate: who votes with them; the zero account if nobody does.
        votes: base units that it votes with, its own and others'.
    """

    account: Account
    balance: int
    delegate: Account
    votes: int

    @property
    def is_idle(self) -> bool:
        """Whether it holds MMT that nobody votes with."""
        return self.balance > 0 and self.delegate == NOBODY

    def sentence(self) -> str:
        """Return the standing in words, with what to do about an idle balance."""
        holds = f"{account_text(self.account)} holds {format_mmt(self.balance)}"
        if self.is_idle:
            return f"{holds} that do not vote: delegate them, to yourself or to somebody you trust"
        votes = f"votes with {format_mmt(self.votes)}"
        if self.delegate in {NOBODY, self.account}:
            return f"{holds} and {votes}"
        return f"{holds}, which {account_text(self.delegate)} votes with, and {votes}"


class VoteHistory:
    """The votes of one account over time, replayed from ``DelegateVotesChanged`` events."""

    def __init__(self, changes: Iterable[tuple[int, int]] = ()) -> None:
        """Start from (block time in Unix seconds, votes afterwards) pairs in the order of the chain."""
        self._times_s: list[int] = []
        self._votes: list[int] = []
        for time_s, votes in changes:
            self.add(time_s, votes)

    def add(self, time_s: int, votes: int) -> None:
        """Note the votes after a change; the last of one block counts.

        Raises:
            ValueError: the change is older than one already known.
        """
        if self._times_s and time_s < self._times_s[-1]:
            raise ValueError("votes change in the order of the chain")
        if self._times_s and time_s == self._times_s[-1]:
            self._votes[-1] = votes
            return
        self._times_s.append(time_s)
        self._votes.append(votes)

    def past_votes(self, time_s: int) -> int:
        """Return the votes at the end of a past second, as ``MarinaToken.getPastVotes``."""
        index = bisect_right(self._times_s, time_s)
        return self._votes[index - 1] if index else 0


def delegation_digest(domain: TypedDomain, *, to: Account, nonce: int, expiry_s: int) -> bytes:
    """Return the 32 bytes that a holder signs so that anybody can send the delegation (ERC-5805)."""
    return typed_digest(
        domain, "Delegation", _DELEGATION, {"delegatee": to, "nonce": nonce, "expiry": expiry_s}
    )
