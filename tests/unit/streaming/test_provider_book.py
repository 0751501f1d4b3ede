"""When a provider is tried again, and when more are looked for."""

from __future__ import annotations

from marina.ids import PeerId
from streaming.provider_book import ProviderBook

A = PeerId("a")


def waits_s(book):
    now_s, waits = 0.0, []
    for _ in range(9):
        book.failed(A, now_s, is_refusal=False)
        began_s = now_s
        while not book.may_try(A, now_s):
            now_s += 0.5
        waits.append(now_s - began_s)
    return waits


def test_a_peer_that_fails_again_and_again_waits_twice_as_long_up_to_a_minute():
    assert waits_s(ProviderBook()) == [2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_peer_that_delivers_starts_anew():
    book = ProviderBook()
    waits_s(book)
    book.delivered(A)
    assert book.may_try(A, 0.0)


def test_a_peer_that_refuses_is_left_alone_for_a_minute():
    book = ProviderBook()
    book.failed(A, 0.0, is_refusal=True)
    assert not book.may_try(A, 59.0)
    assert book.may_try(A, 60.0)


def test_the_search_is_quick_while_there_is_nobody_and_slows_down_when_there_is():
    book = ProviderBook()
    assert [book.look_again_s(peers=0) for _ in range(3)] == [2.0, 2.0, 2.0]
    with_peers = [book.look_again_s(peers=3) for _ in range(20)]
    assert with_peers == sorted(with_peers)
    assert with_peers[-1] == 15.0
    assert book.look_again_s(peers=0) == 2.0


def test_the_book_is_bounded():
    book = ProviderBook()
    for number in range(1100):
        book.failed(PeerId(str(number)), 0.0, is_refusal=True)
    assert book.may_try(PeerId("0"), 1.0)
    assert not book.may_try(PeerId("1099"), 1.0)
