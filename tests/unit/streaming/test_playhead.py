"""The place of the listener, from the reads of a player."""

from __future__ import annotations

from streaming.playhead import Playhead

SIZE, PACE = 4_000_000, 20_000


def test_the_listener_moves_at_the_pace_of_the_sound_though_the_player_reads_ahead():
    head = Playhead(size_bytes=SIZE, bytes_per_s=PACE)
    assert head.byte_at(0.0) == 0
    head.read(0, 1_000_000, 10.0)
    assert head.byte_at(10.0) == 0
    assert head.byte_at(15.0) == 5 * PACE


def test_the_listener_is_never_beyond_what_was_read():
    head = Playhead(size_bytes=SIZE, bytes_per_s=PACE)
    head.read(0, 50_000, 0.0)
    assert head.byte_at(100.0) == 50_000


def test_a_probe_of_the_tail_is_no_place():
    head = Playhead(size_bytes=SIZE, bytes_per_s=PACE)
    head.read(0, 65_520, 0.0)
    head.read(SIZE - 65_536, 65_536, 0.1)
    assert head.byte_at(1.0) == PACE


def test_the_tail_counts_when_it_is_reached_by_reading():
    head = Playhead(size_bytes=SIZE, bytes_per_s=PACE)
    head.read(SIZE - 300_000, 200_000, 0.0)
    head.read(SIZE - 100_000, 100_000, 1.0)
    assert head.byte_at(60.0) == SIZE


def test_a_seek_is_a_new_place():
    head = Playhead(size_bytes=SIZE, bytes_per_s=PACE)
    head.read(0, 500_000, 0.0)
    head.read(2_000_000, 100_000, 5.0)
    assert head.byte_at(6.0) == 2_000_000 + PACE
