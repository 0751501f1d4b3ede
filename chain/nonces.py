"""Which nonce the next transaction of an account gets."""

from __future__ import annotations

from chain.gateway import Gateway
from chain.journal import Journal, State, Transaction
from marina.clock import Clock
from marina.ids import Account

_LAG_S_MAX = 60.0
"""How far one endpoint may be behind another. A development chain that was begun anew counts from 0."""


class NonceKeeper:
    """Gives each transaction the lowest number that neither the chain nor this node has used.

    Lowest, and not one above the highest: a transaction that the chain refused leaves a gap, and
    everything behind a gap waits for ever. What another program sent with the same account counts as
    soon as the endpoint knows of it.
    """

    def __init__(self, *, gateway: Gateway, journal: Journal, clock: Clock) -> None:
        self._gateway = gateway
        self._journal = journal
        self._clock = clock
        self._floors: dict[Account, tuple[int, float]] = {}

    async def next(self, account: Account) -> int:
        """Return the nonce for a new transaction of an account; NetworkError if the chain is silent."""
        nonce = await self._gateway.nonce(account, "pending")
        floor, until_s = self._floors.get(account, (0, 0.0))
        if self._clock.monotonic_s() < until_s:
            nonce = max(nonce, floor)
        # What was refused holds no place: whoever takes it proves that the other is void.
        live = [each for each in self._journal.live(account) if each.state != State.REFUSED]
        taken = {attempt.nonce for each in live for attempt in each.attempts}
        while nonce in taken:
            nonce += 1
        return nonce

    def note(self, transaction: Transaction) -> None:
        """Remember that a transaction was seen in a block, which the next endpoint may not have yet."""
        account = Account(transaction.account)
        for attempt in transaction.attempts:
            if attempt.hash == transaction.mined:
                floor = max(self._floors.get(account, (0, 0.0))[0], attempt.nonce + 1)
                self._floors[account] = floor, self._clock.monotonic_s() + _LAG_S_MAX
