"""The owner's limits: so much for one thing, so much in a day, for each coin and token by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chain.amount import Amount, Currency, format_amount
from chain.errors import SpendingLimitError
from chain.journal import Journal, State, Transaction
from marina.clock import Clock

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be spent, network fees apart. A currency without a limit cannot be spent at all.

    Attributes:
        item: for one thing.
        day: in 24 hours.
    """

    item: tuple[Amount, ...] = ()
    day: tuple[Amount, ...] = ()


class SpendingGuard:
    """Compares what is to be spent with the limits and with what the journal says was spent lately.

    A transaction counts from the moment in which its intent is on disk, so two at once cannot both use
    what is left; one that failed, was refused or cancelled counts no longer.
    """

    def __init__(self, *, journal: Journal, limits: Limits, clock: Clock) -> None:
        self._journal = journal
        self.limits = limits
        self._clock = clock

    async def check(self, spends: Sequence[Amount]) -> None:
        """Refuse what passes a limit.

        Args:
            spends: all that is given away for one thing, in one transaction or several.

        Raises:
            SpendingLimitError: the sentence says what is left and which setting changes it.
        """
        spent = await self.spent()
        for currency in dict.fromkeys(each.currency for each in spends):
            units = sum(each.value for each in spends if each.currency == currency)
            if units == 0:
                continue
            item, day = _limit(self.limits.item, currency), _limit(self.limits.day, currency)
            if units > item:
                raise SpendingLimitError(
                    f"{format_amount(units, currency)} is above the limit of {format_amount(item, currency)} "
                    "for one thing: raise it with 'marina config set spend.item'"
                )
            left = max(0, day - spent.get(currency.token or b"", 0))
            if units > left:
                raise SpendingLimitError(
                    f"{format_amount(units, currency)} is above the {format_amount(left, currency)} left of "
                    f"today's {format_amount(day, currency)}: wait, or raise it with "
                    "'marina config set spend.day'"
                )

    async def spent(self) -> dict[bytes, int]:
        """Return the base units spent in the last 24 hours by token, the native coin under empty bytes."""
        sums: dict[bytes, int] = {}
        for row in await self._journal.since(self._clock.now_s() - DAY_S):
            if _counts(row):
                for each in row.spends:
                    sums[each.token] = sums.get(each.token, 0) + each.units
        return sums

    async def left(self, currency: Currency) -> int:
        """Return the base units that the day's limit leaves."""
        spent = (await self.spent()).get(currency.token or b"", 0)
        return max(0, _limit(self.limits.day, currency) - spent)


def _counts(row: Transaction) -> bool:
    return State(row.state) not in (State.FAILED, State.CANCELLED, State.REFUSED)


def _limit(limits: Sequence[Amount], currency: Currency) -> int:
    return next((each.value for each in limits if each.currency.token == currency.token), 0)
