"""Why a block is kept: six classes, from what goes first to what never goes."""

from __future__ import annotations

from enum import IntEnum


class Retention(IntEnum):
    """The reason to keep something; a higher one outlives a lower one.

    A block kept for several reasons has the highest. Only what is in ``PROTECTED`` never makes room
    for anything; and nothing makes room for something kept for a lower reason than itself.
    """

    SWARM = 0
    """Cache of what was played or served."""
    FOLLOWED = 1
    """Releases of followed artists."""
    PLEDGED = 2
    """Promised to an artist until a date."""
    LICENSED = 3
    """Bought, or licensed otherwise."""
    PINNED = 4
    """Asked for by the owner by name."""
    OWN = 5
    """Published or imported here; perhaps the only copy there is."""


PROTECTED = frozenset({Retention.PINNED, Retention.OWN})
HIGHEST_EVICTABLE = Retention.LICENSED
EVICTABLE = tuple(each for each in Retention if each not in PROTECTED)
"""Classes that may be evicted, the first to go first."""
