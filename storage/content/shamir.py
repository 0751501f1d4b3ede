"""Shamir's secret sharing of one 32-byte key over the prime 2**256 + 297.

The smallest prime above 2**256, so that every 32-byte key is an element and a share fits 33 bytes. The
arithmetic is not constant-time: only the artist's own machine splits and only the buyer's own joins.
Source: design, security §1.1; A. Shamir, "How to share a secret", 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from marina.errors import MalformedError
from marina.secret import Secret

PRIME: Final = 2**256 + 297
KEY_BYTES: Final = 32
SHARE_BYTES: Final = 33
SHARES_MAX: Final = 255


def split(key: Secret[bytes], *, k: int, n: int, random: Callable[[int], bytes]) -> tuple[Secret[bytes], ...]:
    """Return the shares of a key: y at x = 1 … n, 33 bytes each, big-endian.

    Args:
        key: 32 bytes.
        k: how many of them give the key back.
        n: how many there are.
        random: returns so many random bytes.

    Raises:
        ValueError: not 1 ≤ k ≤ n ≤ 255, or the key is not 32 bytes long.
    """
    if not 1 <= k <= n <= SHARES_MAX or len(key.reveal()) != KEY_BYTES:
        raise ValueError(f"a 32-byte key is split with 1 <= k <= n <= {SHARES_MAX}, not k={k}, n={n}")
    coefficients = [int.from_bytes(key.reveal()), *(_below_prime(random) for _ in range(k - 1))]
    return tuple(Secret(_at(coefficients, x).to_bytes(SHARE_BYTES)) for x in range(1, n + 1))


def join(points: Mapping[int, Secret[bytes]]) -> Secret[bytes]:
    """Return the key on the polynomial through exactly these points.

    Whether it is the right one shows its commitment: k true shares give it, anything else gives noise.

    Args:
        points: share by x.

    Raises:
        MalformedError: an x or y that no share has, or what comes out is no key.
    """
    if not points or any(not 1 <= x <= SHARES_MAX for x in points):
        raise MalformedError("shares have numbers from 1 to 255")
    ys = {x: int.from_bytes(share.reveal()) for x, share in points.items()}
    if any(len(share.reveal()) != SHARE_BYTES for share in points.values()) or max(ys.values()) >= PRIME:
        raise MalformedError("a share is 33 bytes and below the prime")
    total = 0
    for x, y in ys.items():
        above, below = 1, 1
        for other in ys:
            if other != x:
                above = above * -other % PRIME
                below = below * (x - other) % PRIME
        total = (total + y * above * pow(below, -1, PRIME)) % PRIME
    if total >= 2**256:
        raise MalformedError("these shares do not belong together")
    return Secret(total.to_bytes(KEY_BYTES))


def _at(coefficients: list[int], x: int) -> int:
    """Return the polynomial's value, by Horner's rule."""
    value = 0
    for each in reversed(coefficients):
        value = (value * x + each) % PRIME
    return value


def _below_prime(random: Callable[[int], bytes]) -> int:
    """Return a uniform element: what is too large is drawn anew, since a remainder would be biased."""
    while True:
        value = int.from_bytes(random(SHARE_BYTES)) & (2**257 - 1)
        if value < PRIME:
            return value
