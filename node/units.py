"""Sizes, rates and spans as people write them: ``20GB``, ``40Mbit``, ``12h``."""

from __future__ import annotations

import re

from marina.errors import UsageError

_NUMBER = re.compile(r"\s*(\d{1,16}(?:\.\d{1,6})?)\s*([A-Za-z/]*)\s*", re.ASCII)
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_BITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_SPANS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BYTES_MAX = 1 << 50


def parse_size(text: str) -> int:
    """Return the bytes of ``500MB``, ``20 GB``, ``1.5GiB`` or a bare number of bytes.

    Raises:
        UsageError: not a size, or above 1 PiB.
    """
    value = _scaled(text, _SIZES)
    if value is None or value > BYTES_MAX:
        raise UsageError(f"{text[:40]!r} is no size: write it like 500MB, 20GB or 1.5GiB")
    return round(value)


def parse_rate(text: str) -> float | None:
    """Return the bytes per second of ``40Mbit``, ``5MB`` or ``5MB/s``; None for ``off``.

    Raises:
        UsageError: not a rate, or zero.
    """
    plain = text.strip().lower().removesuffix("/s")
    if plain == "off":
        return None
    bits = _scaled(plain, _BITS)
    rate = bits / 8 if bits is not None else _scaled(plain, _SIZES)
    if rate is None or not 0 < rate <= BYTES_MAX:
        raise UsageError(f"{text[:40]!r} is no rate: write it like 40Mbit, 5MB/s or off")
    return rate


def parse_span_s(text: str) -> int:
    """Return the seconds of ``90s``, ``15m``, ``12h`` or ``30d``.

    Raises:
        UsageError: not a span of time, or zero.
    """
    value = _scaled(text, _SPANS_S)
    if value is None or not 1 <= value <= 10 * 365 * 86_400:
        raise UsageError(f"{text[:40]!r} is no span of time: write it like 90s, 15m, 12h or 30d")
    return round(value)


def format_size(size_bytes: int) -> str:
    """Return a size in the largest decimal unit that keeps it exact."""
    for unit in ("TB", "GB", "MB", "kB"):
        scale = _SIZES[unit.lower()]
        if size_bytes >= scale and size_bytes % scale == 0:
            return f"{size_bytes // scale}{unit}"
    return f"{size_bytes}B"


def format_rate(bytes_per_s: float | None) -> str:
    """Return a rate in the largest unit of bits that keeps it exact, ``off`` when there is no cap."""
    if bytes_per_s is None:
        return "off"
    bits = bytes_per_s * 8
    for unit in ("Gbit", "Mbit", "kbit", "bit"):
        if bits % _BITS[unit.lower()] == 0:
            return f"{round(bits) // _BITS[unit.lower()]}{unit}"
    return f"{bytes_per_s:.6f}B"


def format_span(span_s: int) -> str:
    """Return a span of time in the largest unit that keeps it exact."""
    unit = next(unit for unit in ("d", "h", "m", "s") if span_s % _SPANS_S[unit] == 0)
    return f"{span_s // _SPANS_S[unit]}{unit}"


def _scaled(text: str, units: dict[str, int]) -> float | None:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    scale = units.get(match[2].lower())
    return None if scale is None else float(match[1]) * scale
