"""What waits for the owner's yes before it is signed.

No token signs by itself: a request that costs money or changes the chain is answered with what exactly
would be sent, under a code that is good once and for five minutes. Saying the code back signs these
transactions, to these contracts, with at most this value and fee, and no others (design, security §4).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from chain.draft import Draft
from marina.clock import Clock
from marina.errors import NotFoundError
from marina.ids import Account

VALID_S = 300.0
WAITING_MAX = 64
_CODE_BYTES = 16
_GONE = "nothing waits under this code any more: ask again and confirm within 5 minutes"
_SAME = "the same was confirmed under another code: see 'marina tx list'; to do it once more, ask again"


@dataclass(frozen=True, slots=True)
class Pending:
    """Transactions that were shown to the owner.

    Attributes:
        account: signs them.
        drafts: in the order in which they are sent; a later one may need what an earlier one did.
        max_fee_wei: the most that all their network fees together may be; None for the policy's own.
    """

    account: Account
    drafts: tuple[Draft, ...]
    max_fee_wei: int | None


class Confirmations:
    """The codes that are good now; they end with the process."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, tuple[Pending, float]] = {}
        self._doubles: dict[str, float] = {}

    def offer(self, pending: Pending) -> str:
        """Return the code that confirms these transactions; the oldest gives way when too many wait."""
        self._forget_old()
        if len(self._waiting) >= WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
        code = secrets.token_urlsafe(_CODE_BYTES)
        self._waiting[code] = (pending, self._clock.monotonic_s() + VALID_S)
        return code

    def take(self, code: str) -> Pending:
        """Return what a code confirms; it is good no longer, nor is any other for the same.

        Two windows may have asked for one purchase: it is one wish, and paid once.

        Raises:
            NotFoundError: the code is unknown, used, too old, or for something confirmed meanwhile.
        """
        pending = self.look(code)
        del self._waiting[code]
        doubles = [other for other, (each, _) in self._waiting.items() if _aim(each) == _aim(pending)]
        self._doubles |= {other: self._waiting.pop(other)[1] for other in doubles}
        return pending

    def look(self, code: str) -> Pending:
        """Return what a code would confirm; it stays good. Errors as for ``take``."""
        self._forget_old()
        if code not in self._waiting:
            raise NotFoundError(_SAME if code in self._doubles else _GONE)
        return self._waiting[code][0]

    def _forget_old(self) -> None:
        now_s = self._clock.monotonic_s()
        for code in [code for code, (_, until_s) in self._waiting.items() if until_s <= now_s]:
            del self._waiting[code]
        for code in [code for code, until_s in self._doubles.items() if until_s <= now_s]:
            del self._doubles[code]


def _aim(pending: Pending) -> tuple[Account, str]:
    """Return what the last transaction is for; those before it only prepare it."""
    return pending.account, pending.drafts[-1].key
