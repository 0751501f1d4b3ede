"""When to fetch the next track of a queue. Pure."""

from __future__ import annotations

PREFETCH_LEFT_S = 30.0
"""Seconds of the current track that are left when the next one is begun; a guess."""


def should_prefetch(
    *, played_share: float, duration_s: float, is_current_complete: bool, is_metered: bool = False
) -> bool:
    """Return whether the next track may be fetched now.

    Args:
        played_share: of the current track, 0 to 1.
        duration_s: of the current track.
        is_current_complete: nothing of the current track is missing, so nothing competes with it.
        is_metered: the owner pays for traffic; nothing is fetched ahead.
    """
    left_s = duration_s * (1 - played_share)
    return (
        not is_metered
        and (is_current_complete or left_s <= PREFETCH_LEFT_S / 2)
        and left_s <= PREFETCH_LEFT_S
    )
