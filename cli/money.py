"""Amounts of money as people read them; ``--json`` has them exactly."""

from __future__ import annotations

from decimal import ROUND_UP, Context, Decimal, InvalidOperation

_DIGITS = 6


def short_amount(amount: str) -> str:
    """Return ``0.00123457 ETH`` of an amount with more digits: six that count, rounded up.

    Up, because it is used for what something costs at most; what does not begin with a number stays.
    """
    number, _, unit = amount.partition(" ")
    try:
        exact = Decimal(number)
    except InvalidOperation:
        return amount
    short = exact.normalize(Context(prec=_DIGITS, rounding=ROUND_UP))
    return f"{short:f} {unit}".rstrip()
