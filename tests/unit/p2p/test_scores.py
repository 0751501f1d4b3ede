"""Scores: decay, bans, bounds."""

import pytest

from marina.clock import ManualClock
from marina.ids import PeerId
from p2p.config import ScoreConfig
from p2p.scores import BanReason, ScoreBook

A, B = PeerId("a"), PeerId("b")


def test_malformed_frames_ban_within_twenty() -> None:
    book = ScoreBook(clock=ManualClock())
    frames = 1
    while not book.malformed(A):
        frames += 1
    assert frames <= 20
    assert book.is_banned(A)
    assert book.ban_reason(A) is BanReason.MALFORMED
    assert not book.is_banned(B)


def test_a_ban_for_malformed_frames_ends_after_its_hour() -> None:
    clock = ManualClock()
    book = ScoreBook(clock=clock)
    for _ in range(20):
        book.malformed(A)
    clock.advance(3599)
    assert book.is_banned(A)
    clock.advance(2)
    assert not book.is_banned(A)


def test_corrupt_bytes_ban_for_a_day_at_once() -> None:
    clock = ManualClock()
    book = ScoreBook(clock=clock)
    book.corrupt(A)
    clock.advance(24 * 3600 - 1)
    assert book.is_banned(A)
    assert book.ban_reason(A) is BanReason.CORRUPT
    clock.advance(2)
    assert not book.is_banned(A)


def test_rare_mistakes_decay_and_never_ban() -> None:
    clock = ManualClock()
    book = ScoreBook(clock=clock)
    for _ in range(200):
        assert not book.malformed(A)
        clock.advance(600)
    assert book.score(A).penalty < 11


def test_unbanning_ends_a_ban_at_once_and_the_next_mistake_does_not_bring_it_back() -> None:
    book = ScoreBook(clock=ManualClock())
    book.unban(A)  # a stranger: nothing to end
    for _ in range(20):
        book.malformed(A)
    assert book.is_banned(A)
    book.unban(A)
    assert not book.is_banned(A)
    assert book.ban_reason(A) is None
    assert not book.malformed(A)


def test_a_shorter_ban_does_not_end_a_longer_one() -> None:
    clock = ManualClock()
    book = ScoreBook(clock=clock)
    book.corrupt(A)
    book.ban(A, 10)
    clock.advance(11)
    assert book.is_banned(A)


def test_rates_follow_deliveries_and_failures_lower_success() -> None:
    book = ScoreBook(clock=ManualClock())
    for _ in range(50):
        book.delivered(A, 1_000_000, 1.0, 0.05)
    assert book.score(A).bytes_per_s == pytest.approx(1_000_000)
    assert book.score(A).latency_s == pytest.approx(0.05)
    before = book.score(A).success
    book.failed(A)
    assert book.score(A).success < before == pytest.approx(1.0)


def test_the_book_stays_bounded_and_keeps_bans() -> None:
    book = ScoreBook(clock=ManualClock(), config=ScoreConfig(peers_max=10))
    book.corrupt(A)
    for number in range(1000):
        book.failed(PeerId(str(number)))
    assert len(book) == 10
    assert book.is_banned(A)


def test_a_book_full_of_bans_gives_up_the_one_that_ends_first() -> None:
    clock = ManualClock()
    book = ScoreBook(clock=clock, config=ScoreConfig(peers_max=3))
    book.ban(A, 10)
    for number in range(3):
        book.corrupt(PeerId(str(number)))
    assert not book.is_banned(A)
    assert len(book.banned()) == 3
