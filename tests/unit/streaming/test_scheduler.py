"""Single decisions of the scheduler."""

from __future__ import annotations

from marina.ids import PeerId
from storage.content.layout import SegmentPlan
from streaming.scheduler import Cancel, Request, Scheduler, SchedulerConfig

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")
PLAN = SegmentPlan(6_000_000)


def scheduler_of(*peers, here=frozenset(), **config):
    scheduler = Scheduler(PLAN, frozenset(here), config=SchedulerConfig(**config))
    for peer in peers:
        scheduler.add_peer(peer, None)
    return scheduler


def asked(actions, peer=None):
    requests = [each for each in actions if isinstance(each, Request) and peer in (None, each.peer)]
    return [index for each in requests for index in each.indices]


def teach(scheduler, peer, *, rate_bps, now_s, index=0):
    """Let a peer deliver one segment at a rate."""
    assert index in asked(scheduler.actions(now_s), peer)
    scheduler.arrived(peer, index, now_s + PLAN.ciphertext(index).length / rate_bps)


def test_head_and_tail_are_asked_for_before_any_reader_came():
    assert asked(scheduler_of(A).actions(0.0)) == [0, PLAN.count - 2, PLAN.count - 1]


def test_head_and_tail_are_fetched_once_and_not_again_when_they_are_let_go():
    scheduler = scheduler_of(A)
    for index in asked(scheduler.actions(0.0)):
        scheduler.arrived(A, index, 0.1)
        scheduler.lost(index)
    assert scheduler.actions(0.2) == []
    assert scheduler.next_check_s() == 60.0


def test_what_a_reader_waits_for_comes_before_the_ends_of_the_file():
    scheduler = scheduler_of(A, first_bytes=1 << 20)
    scheduler.demand.set_cursor(1, 10, 40_000, 0.0)
    assert asked(scheduler.actions(0.0))[0] == 10


def test_a_call_that_waits_is_served_though_no_reader_is_near():
    scheduler = scheduler_of(A)
    scheduler.demand.wait_for(12, 0.0)
    assert 12 in asked(scheduler.actions(0.0))


def test_the_first_requests_are_spread_over_the_peers():
    actions = scheduler_of(A, B, C).actions(0.0)
    assert {each.peer for each in actions} == {A, B, C}


def test_a_late_urgent_segment_is_asked_of_a_second_peer_and_the_first_answer_counts():
    scheduler = scheduler_of(A)
    assert 0 in asked(scheduler.actions(0.0), A)
    scheduler.add_peer(B, None)
    assert asked(scheduler.actions(0.1)) == []
    assert 0 in asked(scheduler.actions(0.6), B)
    scheduler.arrived(B, 0, 0.7)
    assert scheduler.wasted_bytes == 0
    scheduler.arrived(A, 0, 0.8)
    assert scheduler.wasted_bytes == PLAN.ciphertext(0).length


def test_hedges_stay_within_their_budget():
    scheduler = scheduler_of(A)
    scheduler.demand.set_cursor(1, 0, 400_000, 0.0)
    scheduler.actions(0.0)
    scheduler.add_peer(B, None)
    doubled = sum(
        PLAN.ciphertext(i).length for t in range(1, 40) for i in asked(scheduler.actions(t / 10), B)
    )
    assert 0 < doubled <= 2 * 256 * 1024


def test_a_liar_is_never_asked_again_even_if_it_comes_back():
    scheduler = scheduler_of(A)
    scheduler.actions(0.0)
    scheduler.lied(A, 0)
    scheduler.add_peer(A, None)
    assert scheduler.is_liar(A)
    assert scheduler.actions(1.0) == []
    scheduler.add_peer(B, None)
    assert 0 in asked(scheduler.actions(1.1), B)


def test_a_lie_about_a_segment_that_is_here_does_not_fetch_it_again():
    scheduler = scheduler_of(A, B)
    scheduler.actions(0.0)
    scheduler.arrived(A, 0, 0.1)
    scheduler.lied(B, 0)
    assert not scheduler.is_missing(0)


def test_a_peer_that_was_never_tried_owes_one_segment_once_another_has_delivered():
    scheduler = scheduler_of(A)
    scheduler.want_all()
    teach(scheduler, A, rate_bps=50_000, now_s=0.0)
    scheduler.add_peer(B, None)
    assert len(asked(scheduler.actions(1.5), B)) == 1


def test_a_peer_that_lacks_a_segment_is_asked_for_it_again_later():
    scheduler = scheduler_of(A)
    scheduler.actions(0.0)
    scheduler.lacks(A, 0, 0.1)
    assert 0 not in asked(scheduler.actions(0.2))
    assert 0 in asked(scheduler.actions(11.0))


def test_a_peer_that_has_nothing_rests_and_gives_way():
    scheduler = scheduler_of(A)
    scheduler.want_all()
    now_s = 0.0
    for _ in range(8):
        for index in asked(scheduler.actions(now_s)):
            scheduler.lacks(A, index, now_s)
        now_s += 0.11
    assert scheduler.actions(now_s) == []
    assert scheduler.idlest_peer(now_s) == A


def test_a_stalled_peer_is_broken_off_and_its_segments_go_to_another():
    scheduler = scheduler_of(A)
    first = asked(scheduler.actions(0.0))
    scheduler.add_peer(B, frozenset())
    actions = scheduler.actions(5.1)
    assert actions[0] == Cancel(A)
    scheduler.add_peer(B, None)
    assert set(first) <= set(asked(scheduler.actions(5.2), B))


def test_while_peers_gather_only_what_is_played_next_is_asked_for():
    scheduler = scheduler_of(A, here={0, PLAN.count - 2, PLAN.count - 1})
    scheduler.demand.set_cursor(1, 1, 40_000, 0.0)
    scheduler.gather_peers(0.25)
    assert asked(scheduler.actions(0.0)) == [1, 2, 3]
    scheduler.add_peer(B, None)
    assert asked(scheduler.actions(0.3), B)


def test_a_peer_that_is_slow_and_not_silent_is_not_broken_off():
    scheduler = scheduler_of(A, B)
    actions = scheduler.actions(0.0)
    scheduler.arrived(B, asked(actions, B)[0], 0.1)
    assert asked(actions, A)
    for tenths in range(1, 100):
        scheduler.progressed(A, 4096, tenths / 10)
        assert Cancel(A) not in scheduler.actions(tenths / 10)


def test_a_peer_that_drips_is_broken_off():
    scheduler = scheduler_of(A)
    scheduler.actions(0.0)
    for tenths in range(1, 60):
        scheduler.progressed(A, 50, tenths / 10)
        if Cancel(A) in scheduler.actions(tenths / 10):
            return
    raise AssertionError("a byte now and then passed for progress")


def test_a_segment_that_waits_behind_others_of_a_slow_peer_is_asked_of_one_that_is_free_in_time():
    scheduler = scheduler_of(A, here={0, PLAN.count - 2, PLAN.count - 1})
    scheduler.demand.set_cursor(1, 1, 20_000, 0.0)
    queue = asked(scheduler.actions(0.0), A)
    assert queue[:2] == [1, 2]
    for tenths in range(1, 11):
        scheduler.progressed(A, 2000, tenths / 10)  # 20 kB/s: the second is here after 6.5 s, due after 3.3
    scheduler.add_peer(B, None)
    assert 2 in asked(scheduler.actions(1.0), B)


def test_what_came_from_another_is_not_waited_for_from_a_slow_peer():
    here = set(range(PLAN.count)) - {1}
    scheduler = scheduler_of(A, B, here=here)
    scheduler.demand.wait_for(1, 0.0)
    (first,) = scheduler.actions(0.0)
    second = B if first.peer == A else A
    scheduler.progressed(first.peer, 1000, 0.1)
    assert asked(scheduler.actions(1.0), second) == [1]
    scheduler.arrived(second, 1, 1.1)
    assert scheduler.actions(1.1) == [Cancel(first.peer)]


def test_a_seek_breaks_off_a_slow_peer_that_owes_nothing_urgent():
    scheduler = scheduler_of(A, here={0, PLAN.count - 2, PLAN.count - 1})
    scheduler.want_all()
    teach(scheduler, A, rate_bps=50_000, now_s=0.0, index=1)
    scheduler.actions(1.4)
    scheduler.demand.set_cursor(1, 15, 40_000, 1.5)
    actions = scheduler.actions(1.5)
    assert actions[0] == Cancel(A)
    assert asked(actions, A)[0] == 15


def test_a_peer_is_not_broken_off_for_an_end_of_the_file_that_nobody_waits_for():
    scheduler = scheduler_of(A)
    scheduler.want_all()
    ends = asked(scheduler.actions(0.0), A)
    assert 0 in ends
    scheduler.add_peer(B, None)
    assert asked(scheduler.actions(0.01), B)
    for index in ends:
        scheduler.lacks(A, index, 0.02)
    assert not [each for each in scheduler.actions(0.02) if isinstance(each, Cancel)]


def test_a_seek_waits_behind_a_fast_peer_instead_of_breaking_it_off():
    scheduler = scheduler_of(A, here={0, PLAN.count - 2, PLAN.count - 1}, window_max_bytes=512 * 1024)
    scheduler.want_all()
    teach(scheduler, A, rate_bps=50e6, now_s=0.0, index=1)
    scheduler.actions(0.01)
    scheduler.demand.set_cursor(1, 15, 40_000, 0.02)
    actions = scheduler.actions(0.02)
    assert actions == [Request(A, (15,))]


def test_an_urgent_segment_waits_for_a_fast_peer_rather_than_come_late_from_a_slow_one():
    scheduler = scheduler_of(here={0, PLAN.count - 2, PLAN.count - 1}, window_max_bytes=300 * 1024)
    scheduler.add_peer(B, frozenset({1}))
    scheduler.want_all()
    teach(scheduler, B, rate_bps=13_000, now_s=0.0, index=1)
    scheduler.add_peer(A, frozenset({2, 3, 4, 5, 6}))
    teach(scheduler, A, rate_bps=500_000, now_s=5.1, index=2)
    assert asked(scheduler.actions(5.4), A)
    scheduler.add_peer(A, None)
    scheduler.add_peer(B, None)
    scheduler.want_all(is_wanted=False)
    scheduler.demand.set_cursor(1, 10, 40_000, 5.4)
    assert 10 not in asked(scheduler.actions(5.4), B)


def test_the_rarest_segment_comes_first_when_all_are_wanted():
    ends = {0, PLAN.count - 2, PLAN.count - 1}
    scheduler = scheduler_of(here=ends)
    scheduler.add_peer(A, frozenset(range(PLAN.count)))
    scheduler.add_peer(B, frozenset(range(PLAN.count)) - {9})
    scheduler.want_all()
    assert asked(scheduler.actions(0.0))[0] == 9


def test_at_the_end_a_late_segment_is_asked_of_a_second_peer():
    last = PLAN.count // 2
    scheduler = scheduler_of(A, here=set(range(PLAN.count)) - {last})
    scheduler.want_all()
    assert asked(scheduler.actions(0.0), A) == [last]
    scheduler.add_peer(B, None)
    assert asked(scheduler.actions(1.0), B) == [last]


def test_a_window_with_a_little_room_left_keeps_the_order_of_the_backlog():
    scheduler = scheduler_of(A, here={0, PLAN.count - 2, PLAN.count - 1}, window_max_bytes=600 * 1024)
    scheduler.want_all()
    owed, now_s = [], 0.0
    for _ in range(12):  # all within the quarter of a second in which the backlog is not made anew
        owed += asked(scheduler.actions(now_s))
        now_s += 0.01
        scheduler.arrived(A, owed.pop(0), now_s)
    assert owed


def test_what_a_peer_lacks_is_asked_of_the_next_one_at_once_when_all_is_wanted():
    here = set(range(PLAN.count)) - {9, 10, 11}
    scheduler = scheduler_of(A, B, C, here=here)
    scheduler.want_all()
    requests = scheduler.actions(0.0)
    seen, now_s = [], 0.0
    for _ in range(10):  # all of it sooner than the backlog is made anew
        now_s += 0.01
        for each in requests:
            for index in each.indices:
                if each.peer is C:
                    scheduler.arrived(C, index, now_s)
                    seen.append(index)
                else:
                    scheduler.lacks(each.peer, index, now_s)
        requests = scheduler.actions(now_s)
    assert sorted(seen) == [9, 10, 11]
