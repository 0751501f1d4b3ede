"""Values of DAO parameters in words, and words back to values: percentages, durations, MMT."""

from __future__ import annotations

import re

from chain.amount import Currency, format_amount, parse_amount
from marina.errors import UsageError

BPS_PER_PERCENT = 100
MMT_DECIMALS = 18
_TEXT_CHARS_MAX = 100
_PERCENT = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?\s*%", re.ASCII)
_DURATION_PART = re.compile(r"\s*([0-9]{1,9})\s*([a-z]+)", re.ASCII)
_UNITS_S = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_UNIT_NAMES = {
    "w": "week", "d": "day", "h": "hour", "m": "minute", "min": "minute", "s": "second", "sec": "second",
}  # fmt: skip


def parse_bps(text: str) -> int:
    """Return the basis points of a percentage: ``2.5%`` is 250.

    Raises:
        UsageError: not a percentage, or finer than a hundredth of a percent.
    """
    found = _PERCENT.fullmatch(text.strip()) if len(text) <= _TEXT_CHARS_MAX else None
    if found is None:
        raise UsageError(f"{text[:40]!r} is no percentage: write a number and %, like 2.5%")
    fraction = (found[2] or "").rstrip("0")
    if len(fraction) > 2:
        raise UsageError(f"{text[:40]!r} is too fine: at most two digits behind the point")
    return int(found[1]) * BPS_PER_PERCENT + int(fraction.ljust(2, "0") or "0")


def format_bps(bps: int) -> str:
    """Return basis points as a percentage: 250 is ``2.5 %``."""
    whole, part = divmod(bps, BPS_PER_PERCENT)
    text = f"{whole}.{part:02}".rstrip("0").rstrip(".")
    return f"{text} %"


def parse_percent(text: str) -> int:
    """Return a whole percentage: ``4%`` is 4; UsageError for anything else."""
    bps = parse_bps(text)
    if bps % BPS_PER_PERCENT:
        raise UsageError(f"{text[:40]!r} must be a whole percentage, like 4%")
    return bps // BPS_PER_PERCENT


def format_percent(percent: int) -> str:
    """Return a whole percentage: 4 is ``4 %``."""
    return f"{percent} %"


def parse_duration_s(text: str) -> int:
    """Return the seconds of ``5 days``, ``36h``, ``1d 12h`` or ``90 minutes``; UsageError otherwise."""
    wanted = text.strip().lower() if len(text) <= _TEXT_CHARS_MAX else ""
    position = total_s = 0
    while found := _DURATION_PART.match(wanted, position):
        name = _UNIT_NAMES.get(found[2], found[2].removesuffix("s"))
        if name not in _UNITS_S:
            break
        total_s += int(found[1]) * _UNITS_S[name]
        position = found.end()
    if not wanted or position != len(wanted):
        raise UsageError(f"{text[:40]!r} is no length of time: write it like '5 days', '36h' or '1d 12h'")
    return total_s


def format_duration(seconds: int) -> str:
    """Return seconds in days, hours, minutes and seconds, exactly: ``1 day 12 hours``."""
    if not seconds:
        return "0 seconds"
    parts = []
    for name, size_s in _UNITS_S.items():
        if name == "week":
            continue
        count, seconds = divmod(seconds, size_s)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts)


def parse_mmt(text: str) -> int:
    """Return the base units of an amount of MMT, with or without the symbol; UsageError otherwise."""
    mmt = Currency("MMT", MMT_DECIMALS)
    return parse_amount(text, [mmt], is_zero_allowed=True, default=mmt).value


def format_mmt(units: int) -> str:
    """Return base units as MMT: ``1000 MMT``."""
    return format_amount(units, Currency("MMT", MMT_DECIMALS))
