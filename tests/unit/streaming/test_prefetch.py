"""When the next track is begun."""

from __future__ import annotations

import pytest

from streaming.prefetch import should_prefetch


@pytest.mark.parametrize(
    ("share", "is_complete", "is_metered", "expected"),
    [
        (0.5, True, False, False),
        (0.89, True, False, False),
        (0.91, True, False, True),
        (0.91, False, False, False),
        (0.96, False, False, True),
        (1.0, True, True, False),
    ],
)
def test_the_next_track_is_begun_near_the_end_and_not_in_the_way(share, is_complete, is_metered, expected):
    decision = should_prefetch(
        played_share=share, duration_s=300, is_current_complete=is_complete, is_metered=is_metered
    )
    assert decision is expected
